package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edgegw/admin"
	"edgegw/fiscal/sandbox"
)

func TestSimulate(t *testing.T) {
	t.Parallel()
	flags, service := uplink(t, sandbox.Options{})
	b := newBox(t, flags...)
	b.start()
	logins := ""
	for i, kind := range []string{"pump", "charger", "kiosk"} {
		register := "reg_" + kind
		o := edgegw(t, service.MustAddRegister(register), append(append([]string{}, b.flags...), "device", "add", kind+"-1", "--kind", kind,
			"--register", register, "--key-stdin", "--json")...)
		o.want(t, 0)
		if logins += o.out; i == 2 {
			break
		}
	}
	file := filepath.Join(t.TempDir(), "logins")
	if err := os.WriteFile(file, []byte(logins), 0o600); err != nil {
		t.Fatal(err)
	}
	o := edgegw(t, "", "simulate", "--credentials", file, "--sales", "2", "--pace", "10ms", "--fill", "20ms")
	o.want(t, 0)
	if !strings.Contains(o.out, "3 devices: ") || !strings.Contains(o.out, "acknowledged 6 of 6, receipts 6") {
		t.Errorf("summary:\n%s", o.out)
	}
	if n := len(service.Operations("")); n != 6 {
		t.Errorf("OpenFiskal holds %d operations, want 6", n)
	}
	if all := decode[[]admin.Sale](t, b.edgegw("sales", "--json", "--device", "kiosk-1")); len(all) != 2 || all[0].State != "confirmed" {
		t.Errorf("sales: %+v", all)
	}
	b.edgegw("sales").want(t, 0)

	service.SetDown(true) // sales are taken, and no receipt comes
	o = edgegw(t, "", "simulate", "--quiet", "--credentials", file, "--devices", "1", "--pace", "10ms", "--fill", "10ms", "--for", "300ms", "--settle", "300ms")
	o.want(t, 1, "differ", "edgegw status")
	wrong := filepath.Join(t.TempDir(), "wrong")
	if err := os.WriteFile(wrong, []byte("not the password\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	url, ca := decode[admin.Status](t, b.edgegw("status", "--json")).MQTT[0], filepath.Join(b.dir, "site-ca.pem")
	edgegw(t, "", "simulate", "--quiet", "--url", url, "--ca-file", ca, "--device", "pump-1:"+wrong, "--for", "300ms", "--settle", "1s").
		want(t, 1, "pump-1", "refused the connection", "password")
	edgegw(t, "", "simulate", "--url", url, "--device", "pump-1:"+os.DevNull).want(t, 1, "is empty")
}

func TestSandbox(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	dir := t.TempDir()
	c := command(ctx, "sandbox", "--listen", "127.0.0.1:0", "--register", "reg_1:DE", "--register", "reg_2:AT", "--key-dir", dir)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	for buf := make([]byte, 4096); !strings.Contains(said.String(), "edgegw run"); {
		n, err := out.Read(buf)
		said.Write(buf[:n])
		if err != nil {
			t.Fatalf("it ended early: %v\n%s", err, said.String())
		}
	}
	_ = c.Process.Signal(os.Interrupt)
	rest, _ := io.ReadAll(out) // the pipe's end is the command's end
	if err := c.Wait(); err != nil {
		t.Fatalf("it ended with %v", err)
	}
	for _, name := range []string{"reg_1.key", "reg_2.key"} {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		key, err := os.ReadFile(path)
		if err != nil || info.Mode().Perm() != 0o600 || !bytes.HasPrefix(key, []byte("ofk_reg_")) {
			t.Errorf("%s: %v, mode %v", name, err, info.Mode())
		}
		if strings.Contains(said.String()+string(rest), strings.TrimSpace(string(key))) {
			t.Errorf("the key in %s was printed as well", name)
		}
	}
	edgegw(t, "", "sandbox", "--plain", "--listen", "0.0.0.0:0").want(t, 1, "loopback", "--listen")
	edgegw(t, "", "sandbox", "--register", "reg_1:XX").want(t, 2, "DE, AT or IT")
}

// TestSimulateSettles: after its sales a run does not wait for ever for receipts
// that do not come, and the next one knows whose they are.
func TestSimulateSettles(t *testing.T) {
	t.Parallel()
	flags, service := uplink(t, sandbox.Options{})
	b := newBox(t, flags...)
	b.start()
	file := filepath.Join(t.TempDir(), "login")
	o := edgegw(t, service.MustAddRegister("reg_1"), append(append([]string{}, b.flags...), "device", "add", "kiosk-1", "--kind", "kiosk",
		"--register", "reg_1", "--key-stdin", "--json")...)
	o.want(t, 0)
	if err := os.WriteFile(file, []byte(o.out), 0o600); err != nil {
		t.Fatal(err)
	}
	service.SetDown(true)
	o = edgegw(t, "", "simulate", "--quiet", "--credentials", file, "--sales", "2", "--pace", "10ms", "--fill", "10ms", "--settle", "300ms")
	o.want(t, 1, "differ")
	if !strings.Contains(o.out, "NOT BALANCED: 2 sales were acknowledged and have no receipt") {
		t.Errorf("the summary does not say what is missing:\n%s", o.out)
	}
	service.SetDown(false)
	o = edgegw(t, "", "simulate", "--quiet", "--credentials", file, "--sales", "1", "--pace", "10ms", "--fill", "10ms")
	o.want(t, 0)
	if !strings.Contains(o.out, "2 receipts from before this run") || strings.Contains(o.out, "WRONG") {
		t.Errorf("the summary of the second run:\n%s", o.out)
	}
}
