package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edgegw/admin"
	"edgegw/fiscal/sandbox"
)

func keep(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The ways of a key, with a gateway and without one: what is said, what the exit
// code is, and that no key is.
func TestKeyCommands(t *testing.T) {
	for _, running := range []bool{false, true} {
		flags, service := uplink(t, sandbox.Options{})
		b := newBox(t, flags...)
		key := keep(t, service.MustAddRegister("reg_1"))
		platform := keep(t, service.PlatformKey()+"\n")
		if err := service.AddBareRegister("reg_new"); err != nil {
			t.Fatal(err)
		}
		b.edgegw("device", "add", "pump-1", "--register", "reg_1", "--key-file", key).want(t, 0)
		b.edgegw("device", "add", "pump-2", "--register", "reg_new").want(t, 0)
		if running {
			defer b.start()()
		}
		said := []outcome{
			b.edgegw("key", "check", "pump-1"),
			b.edgegw("key", "rotate", "pump-1", "--key-file", platform, "--organization", "org_sandbox"),
			b.edgegw("key", "issue", "pump-2", "--key-file", platform, "--organization", "org_sandbox"),
		}
		for i, want := range []string{"accepted", "The key of register reg_1 is stored: active.", "The key of register reg_new is stored: active."} {
			if said[i].want(t, 0); !strings.Contains(said[i].out, want) {
				t.Errorf("running %v: %s%s", running, said[i].out, said[i].err)
			}
		}
		if all := decode[[]admin.KeyCheck](t, b.edgegw("key", "check", "reg_1", "--json")); len(all) != 1 || all[0].Version != 2 || all[0].Verdict != "accepted" || all[0].RegisterID != "reg_1" {
			t.Errorf("check: %+v", all)
		}
		b.edgegw("device", "remove", "pump-2").want(t, 0)
		if all := decode[[]admin.KeyToRotate](t, b.edgegw("device", "list", "--for-rotation", "--json")); len(all) != 2 || all[0].RegisterID != "reg_1" || len(all[0].DeviceIDs) != 1 || all[1].RegisterID != "reg_new" || len(all[1].DeviceIDs) != 0 {
			t.Errorf("for rotation: %+v", all) // a removed device's key is on the box as well
		}
		if o := b.edgegw("device", "list", "--for-rotation"); !strings.Contains(o.out, "reg_new") || !strings.Contains(o.out, "edgegw key rotate --register") || !strings.Contains(o.out, "edgegw key set --register") {
			t.Errorf("for rotation: %s", o.out)
		}
		service.Revoke("reg_1")
		refused := b.edgegw("key", "check", "pump-1")
		if refused.want(t, 1); !strings.Contains(refused.out, "refused") || refused.err != "" {
			t.Errorf("a refused key: %q, %q", refused.out, refused.err)
		}
		for _, row := range []struct {
			args []string
			code int
			want string
		}{
			{[]string{"key", "rotate", "pump-1", "--key-file", platform}, 1, "--organization"},
			{[]string{"key", "rotate", "pump-1", "--key-file", key, "--organization", "org_sandbox"}, 1, "begins with ofk_platform_"},
			{[]string{"key", "rotate", "pump-9", "--key-file", platform, "--organization", "org_sandbox"}, 1, "there is no device"},
			{[]string{"key", "rotate", "pump-1"}, 2, "--key-file FILE or --key-stdin"},
			{[]string{"key", "issue", service.PlatformKey(), "--key-stdin"}, 2, "where an id belongs"},
			{[]string{"key", "rotate", "pump-1", "--key-stdin", "--organization", service.PlatformKey()}, 2, "where an id belongs"},
			{[]string{"key", "set", "--platform", "pump-1", "--key-stdin"}, 2, "--platform alone"},
			{[]string{"key", "set", "--platform", "--key-file", platform}, 1, "topology"},
			{[]string{"key", "check"}, 2, "whose key"},
		} {
			o := b.edgegw(row.args...)
			o.want(t, row.code, row.want)
			said = append(said, o)
		}
		for _, o := range said {
			if strings.Contains(o.out+o.err, service.PlatformKey()) || strings.Contains(o.out+o.err, "ofk_reg_test_") {
				t.Errorf("a key is shown: %s%s", o.out, o.err)
			}
		}
	}
}

func TestImportCommand(t *testing.T) {
	flags, service := uplink(t, sandbox.Options{})
	b := newBox(t, flags...)
	file := keep(t, "device_id,register_id,register_key\npump-1,reg_1,"+service.MustAddRegister("reg_1")+"\npump-2,reg_2,ofk_reg_test_wrong\npump-3,reg_3,\n")
	kept := filepath.Join(t.TempDir(), "credentials")
	to := b.edgegw("import", "--recipient")
	if to.want(t, 0); !strings.HasPrefix(to.out, "age1") {
		t.Errorf("recipient %q", to.out)
	}
	defer b.start()()
	if again := b.edgegw("import", "--recipient"); again.out != to.out {
		t.Errorf("the recipient changes: %q, %q", to.out, again.out)
	}
	o := b.edgegw("import", file, "--credentials", kept)
	if o.want(t, 1); !strings.Contains(o.out, "3 rows: 2 added, 0 with a new key, 0 updated, 0 unchanged, 1 failed.") || strings.Contains(o.out, "password ") || o.err != "" {
		t.Errorf("import: %q, %q", o.out, o.err)
	}
	info, err := os.Stat(kept)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("credentials: %v, %v", info, err)
	}
	text, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		var c map[string]string
		if err := json.Unmarshal([]byte(line), &c); err != nil || c["device_id"] != []string{"pump-1", "pump-3"}[i] || c["password"] == "" || c["mqtt_url"] == "" || c["ca_file"] == "" {
			t.Errorf("line %d: %s, %v", i, line, err)
		}
	}
	again := b.edgegw("import", file, "--json")
	var rows []admin.ImportRow
	if err := json.Unmarshal([]byte(again.out), &rows); again.code != 1 || err != nil || len(rows) != 3 || rows[0].Result != "unchanged" || rows[1].Result != "failed" || rows[2].Password != "" {
		t.Errorf("again: %d, %s, %v", again.code, again.out, err)
	}
	open := keep(t, "")
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	b.edgegw("import", file, "--credentials", open).want(t, 1, "chmod 600")
	b.edgegw("import", keep(t, "no header\n")).want(t, 1, "Nothing was done")
	b.edgegw("import").want(t, 2, "--recipient")
	b.edgegw("import", "missing.csv").want(t, 1, "check its name")
}
