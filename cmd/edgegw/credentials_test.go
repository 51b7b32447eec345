package main

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"edgegw/admin"
	"edgegw/fiscal/sandbox"
	"edgegw/siteca"
)

// A device's life by its credentials: each command prints what it makes once,
// and the files of a certificate are whole, private, and never written over.
func TestCredentials(t *testing.T) {
	flags, _ := uplink(t, sandbox.Options{})
	b := newBox(t, flags...)
	defer b.start()()
	dir := t.TempDir()
	made := decode[handed](t, b.edgegw("device", "add", "pump-1", "--register", "reg_1", "--cert", "--out", dir, "--json"))
	if made.Password != "" || made.Certificate == nil || made.Username != "pump-1" || made.MQTTURL == "" {
		t.Fatalf("%+v", made)
	}
	f := made.Certificate
	for _, path := range []string{f.CertFile, f.KeyFile, f.P12File, f.CAFile} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	if _, err := tls.LoadX509KeyPair(f.CertFile, f.KeyFile); err != nil {
		t.Error(err)
	}
	key, err := os.ReadFile(f.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(key)
	for what, secret := range map[string]struct {
		bytes []byte
		kept  bool
	}{"its serial number": {[]byte(f.Serial), true}, "its key in PEM": {key[40:100], false}, "its key": {block.Bytes[36:68], false}, "the password of PKCS#12": {[]byte(f.P12Password), false}} {
		if holds(t, b.dir, secret.bytes) != secret.kept {
			t.Errorf("the gateway's data and %s: kept %v, want %v", what, !secret.kept, secret.kept)
		}
	}
	p12, err := os.ReadFile(f.P12File)
	if err != nil {
		t.Fatal(err)
	}
	if _, cert, ca, err := pkcs12.DecodeChain(p12, f.P12Password); err != nil || cert.Subject.CommonName != "pump-1" || len(ca) != 1 {
		t.Errorf("PKCS#12: %v, %d certificates beside it", err, len(ca))
	}
	b.edgegw("device", "cert", "pump-1", "--out", dir).want(t, 1, "is there already")
	b.edgegw("device", "replace", "pump-1", "--cert", "--out", filepath.Join(dir, "none")).want(t, 1, "is no folder")
	d := decode[admin.Device](t, b.edgegw("device", "show", "pump-1", "--json"))
	if d.Password || len(d.Certificates) != 1 || d.Certificates[0].Serial != f.Serial || d.Certificates[0].State != "valid" {
		t.Errorf("show: %+v", d)
	}
	if o := b.edgegw("device", "revoke", "pump-1", "--serial", strings.ToUpper(f.Serial)); o.code != 0 || !strings.Contains(o.out, "revoked") {
		t.Errorf("revoke: %+v", o)
	}
	b.edgegw("device", "revoke", "pump-1").want(t, 1, "edgegw device show pump-1")
	if o := b.edgegw("device", "show", "pump-1"); !regexp.MustCompile(`(?m)^`+f.Serial+` +revoked +20\d\d-\S+ +20\d\d-\d\d-\d\d +20\d\d-`).MatchString(o.out) || !regexp.MustCompile(`logs in with +-`).MatchString(o.out) {
		t.Errorf("show: %s", o.out)
	}
	first := decode[handed](t, b.edgegw("device", "replace", "pump-1", "--json"))
	second := decode[handed](t, b.edgegw("device", "password", "pump-1", "--json"))
	if first.Password == "" || second.Password == "" || first.Password == second.Password {
		t.Errorf("passwords %q and %q", first.Password, second.Password)
	}
	for _, row := range []struct{ command, state, want string }{{"disable", "disabled", "disabled"}, {"enable", "enabled", "offline"}} {
		if got := decode[map[string]string](t, b.edgegw("device", row.command, "pump-1", "--json")); got["state"] != row.state {
			t.Errorf("%s: %v", row.command, got)
		}
		if d := decode[admin.Device](t, b.edgegw("device", "show", "pump-1", "--json")); d.State != row.want {
			t.Errorf("after %s: %s", row.command, d.State)
		}
	}
	for _, command := range []string{"disable", "enable", "replace", "password", "cert", "revoke"} {
		args := []string{"device", command, "pump-9"}
		if command == "cert" {
			args = append(args, "--out", t.TempDir())
		}
		b.edgegw(args...).want(t, 1, "there is no device")
	}
}

// A pump that is told localhost looks for the gateway in itself.
func TestCredentialsSayWhatLocalhostIs(t *testing.T) {
	for address, want := range map[string]bool{"mqtts://localhost:8883": true, "mqtts://10.0.0.2:8883": false, "": false} {
		var text bytes.Buffer
		handed{Credentials: admin.Credentials{DeviceID: "pump-1", Username: "pump-1", Password: "p", MQTTURL: address}}.words(&text, "It is added.", 80)
		if got := strings.Contains(text.String(), "localhost is this box."); got != want {
			t.Errorf("%q: %s", address, text.String())
		}
	}
}

// holds reports whether some file below dir has these bytes.
func holds(t *testing.T, dir string, secret []byte) (found bool) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		found = found || bytes.Contains(content, secret)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Credentials that nobody saw let nobody in, and leave no key lying about. What
// the device had before goes on where it should.
func TestCredentialsThatAreLost(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("this system has no /dev/full")
	}
	defer func() { _ = full.Close() }()
	flags, _ := uplink(t, sandbox.Options{})
	b := newBox(t, flags...)
	b.edgegw("device", "add", "pump-1", "--register", "reg_1").want(t, 0)
	dir := t.TempDir()
	for _, row := range []struct {
		args []string
		says string
	}{
		{[]string{"add", "pump-8", "--register", "reg_8", "--cert", "--out", dir}, "is removed again"},
		{[]string{"cert", "pump-1", "--out", dir}, "what it had before still works"},
		{[]string{"replace", "pump-1", "--cert", "--out", dir}, "what it had before has ended"},
		{[]string{"password", "pump-1"}, "what it had before has ended"},
	} {
		b.into(full, append([]string{"device"}, row.args...)...).want(t, 1, "could not be handed over", row.says)
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("%s left %v, %v", row.args[0], left, err)
		}
	}
	d := decode[admin.Device](t, b.edgegw("device", "show", "pump-1", "--json"))
	if len(d.Certificates) != 2 || d.Certificates[0].State != "revoked" || d.Certificates[1].State != "revoked" {
		t.Errorf("certificates that nobody holds: %+v", d.Certificates)
	}

	// A file that cannot be written takes those before it along.
	if err := os.Mkdir(filepath.Join(dir, "here"), 0o700); err != nil {
		t.Fatal(err)
	}
	made := &admin.ClientCertificate{PEM: "no PEM"}
	if _, err := (certificate{Out: dir}).write("pump-1", made); err == nil {
		t.Error("what is no certificate was written")
	}
	here := certificate{Out: filepath.Join(dir, "here")}
	if err := os.Symlink("nowhere/at-all", here.files("pump-1").CAFile); err != nil {
		t.Fatal(err)
	}
	made = issue(t)
	if _, err := here.write("pump-1", made); err == nil {
		t.Error("it wrote over what was there")
	}
	if left, err := os.ReadDir(here.Out); err != nil || len(left) != 1 {
		t.Errorf("left are %v, %v", left, err)
	}
}

// issue makes a client certificate as the gateway does.
func issue(t *testing.T) *admin.ClientCertificate {
	t.Helper()
	ca, err := siteca.Open(t.TempDir(), siteca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := ca.IssueDevice("pump-1")
	if err != nil {
		t.Fatal(err)
	}
	return &admin.ClientCertificate{PEM: string(cert), Key: string(key.Reveal()), CA: string(ca.CAPEM())}
}
