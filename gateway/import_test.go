package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"edgegw/admin"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/secret"
)

// imports sends a file and gives what became of its rows, in words.
func (s *testSite) imports(file []byte) (words []string, err error) {
	s.t.Helper()
	err = s.Import(s.t.Context(), file, "back office", func(r admin.ImportRow) {
		words = append(words, strings.TrimSpace(fmt.Sprintf("%d %s %s %s", r.Line, r.DeviceID, r.Result, r.Key)))
		if r.Password != "" {
			s.secrets[r.DeviceID] = r.Password
		}
		if strings.Contains(fmt.Sprintf("%+v", r), "ofk_reg_test_") {
			s.t.Errorf("a row shows a key: %+v", r)
		}
	})
	return words, err
}

func TestImport(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	key := map[int]string{}
	for n := 1; n <= 20; n++ {
		key[n] = s.sandbox.MustAddRegister(fmt.Sprintf("reg_%d", n))
	}
	file := func(rows ...string) []byte {
		return []byte("device_id,register_id,kind,label,register_key\n" + strings.Join(rows, "\n") + "\n")
	}
	first := file("pump-1,reg_1,pump,Pump 1,"+key[1], "pump-2,reg_2,charger,,"+key[3], "Pump 3,reg_3,,,", "pump-4,reg_4,,,", "pump-5,reg_5,,,ofk_platform_live_CANARY",
		"pump-6,reg_1,,,"+key[1], "pump-7,reg_7,turbine,,"+key[7], "pump-8,reg_9999,,,"+key[8], "pump-9,reg_9,,,"+key[9])
	for i, want := range [][]string{
		{"2 pump-1 added active", "3 pump-2 failed", "4  failed", "5 pump-4 added missing", "6 pump-5 failed", "7 pump-6 added active", "8 pump-7 failed", "9 pump-8 failed", "10 pump-9 added active"},
		{"2 pump-1 unchanged active", "3 pump-2 failed", "4  failed", "5 pump-4 unchanged missing", "6 pump-5 failed", "7 pump-6 unchanged active", "8 pump-7 failed", "9 pump-8 failed", "10 pump-9 unchanged active"},
	} {
		if got, err := s.imports(first); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("time %d, %v:\ngot  %q\nwant %q", i+1, err, got, want)
		}
	}
	if n := len(s.ring.Registers()); n != 2 {
		t.Errorf("%d registers have a key, want 2", n)
	}
	got, err := s.imports(file("pump-4,reg_4,,,"+key[4], "pump-1,reg_2,,,", "pump-1,reg_1,,,"+s.sandbox.Rotate("reg_1")))
	if want := "[2 pump-4 key_changed active 3 pump-1 failed 4 pump-1 failed]"; err != nil || fmt.Sprint(got) != want { // a device twice in one file
		t.Errorf("%v: got %q, want %s", err, got, want)
	}
	for _, d := range []sale.DeviceID{"pump-4", "pump-9"} {
		s.sell(d, "s1")
	}
	s.confirmed(2)

	for name, bad := range map[string][]byte{"no CSV": []byte("a,b\n"), "one bad quote at the end": append(file("pump-10,reg_10,,,"), "x,\"y\n"...)} {
		rows, err := s.imports(bad)
		refusedWith(t, err, "invalid", "Nothing was done")
		if len(rows) != 0 {
			t.Errorf("%s: %q was done", name, rows)
		}
	}
	if _, err := s.ring.Get("pump-10"); !errors.Is(err, sale.ErrNone) {
		t.Error("a row of a file that is no CSV was done")
	}
}

// Without an uplink nobody waits for each row, the keys are unverified, and they
// are asked about when it is back.
func TestImportOffline(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	var file strings.Builder
	file.WriteString("device_id,register_id,register_key\n")
	for n := range 40 {
		fmt.Fprintf(&file, "pump-%d,reg_%d,%s\n", n, n, s.sandbox.MustAddRegister(fmt.Sprintf("reg_%d", n)))
	}
	s.sandbox.SetDown(true)
	before := len(s.sandbox.Requests())
	rows, err := s.imports([]byte(file.String()))
	if err != nil || len(rows) != 40 || rows[39] != "41 pump-39 added unverified" {
		t.Fatalf("%v, %q", err, rows)
	}
	if n := len(s.sandbox.Requests()) - before; n > askAtOnce {
		t.Errorf("OpenFiskal was asked %d times", n)
	}
	s.sandbox.SetDown(false)
	s.Gateway.keys.ask("") // now, and not in a minute
	await(t, "the keys to be confirmed", func() bool { return s.keyOf("pump-39") == "active" && s.keyOf("pump-0") == "active" })
}

// What the back office encrypts for this box nobody else reads, and a box with
// another KEK says so and keeps what it cannot open.
func TestImportBundle(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	key := s.sandbox.MustAddRegister("reg_1")
	to, err := s.Recipient(t.Context(), false, "anna")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.Recipient(t.Context(), false, "anna"); err != nil || again != to {
		t.Errorf("the recipient changes: %q, then %q, %v", to, again, err)
	}
	bundle := encrypted(t, to, "device_id,register_id,register_key\npump-1,reg_1,"+key+"\n")
	if rows, err := s.imports(bundle); err != nil || fmt.Sprint(rows) != "[2 pump-1 added active]" {
		t.Errorf("%q, %v", rows, err)
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.imports(encrypted(t, other.Recipient().String(), "device_id,register_id\npump-2,reg_1\n"))
	refusedWith(t, err, "invalid", "encrypted for another box")
	_, err = s.imports(bundle[:len(bundle)-5])
	refusedWith(t, err, "invalid", "damaged")
	s.off()
	s.flags["vault.kek_file"] = writeSecret(t, strings.Repeat("0123456789abcdef", 4))
	if err := os.Rename(s.dir+"/kek", s.dir+"/away"); err != nil {
		t.Fatal(err)
	}
	s.on()
	if _, err := s.Recipient(t.Context(), false, "anna"); err == nil || !strings.Contains(err.Error(), "sealed with another key-encryption key") {
		t.Errorf("under a wrong KEK: %v", err)
	}
	s.off()
	delete(s.flags, "vault.kek_file")
	if err := os.Rename(s.dir+"/away", s.dir+"/kek"); err != nil {
		t.Fatal(err)
	}
	s.on()
	if again, err := s.Recipient(t.Context(), false, "anna"); err != nil || again != to {
		t.Errorf("with the right KEK again: %q, %v", again, err)
	}
	s.off()
}

func writeSecret(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func encrypted(t testing.TB, to, text string) []byte {
	t.Helper()
	r, err := age.ParseX25519Recipient(to)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w, err := age.Encrypt(&b, r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// One platform key for all registers: the same calls in the same order, no
// register key, and the loss that it would be is said.
func TestServerSideTopology(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	s.flags["openfiskal.topology"], s.flags["openfiskal.organization"] = "server_side", "org_sandbox"
	s.on()
	register := s.sandbox.MustAddRegister("reg_1")
	c, err := s.AddDevice(t.Context(), admin.AddDevice{DeviceID: "pump-1", RegisterID: "reg_1"}, "anna")
	if err != nil || c.Key != "missing" || !strings.Contains(c.Notice, platformKeyCommand) {
		t.Fatalf("%+v, %v", c, err)
	}
	s.secrets["pump-1"] = c.Password
	s.sell("pump-1", "s1")
	await(t, "the missing key to be said", func() bool {
		text, there := s.condition("key_missing")
		return there && strings.Contains(text, "1 sale waits") && strings.Contains(text, platformKeyCommand)
	})
	_, err = s.SetKey(t.Context(), admin.SetKey{DeviceID: "pump-1", Key: secret.FromString(register)}, "anna")
	refusedWith(t, err, "invalid", "takes no register keys")
	_, err = s.SetPlatformKey(t.Context(), secret.FromString("ofk_platform_test_wrong"), "anna")
	refusedWith(t, err, "key_refused", "Nothing was stored")
	_, err = s.SetPlatformKey(t.Context(), secret.FromString(register), "anna")
	refusedWith(t, err, "invalid", "ofk_platform_")
	if n := len(s.ring.KeyVersions(sale.PlatformKey)); n != 0 {
		t.Errorf("%d platform keys are stored", n)
	}
	if got, err := s.SetPlatformKey(t.Context(), s.platformKey(), "anna"); err != nil || got.Key != "active" {
		t.Fatalf("%+v, %v", got, err)
	}
	s.confirmed(1)
	if text, there := s.condition("topology_server_side"); !there || !strings.Contains(text, "whoever steals the box") {
		t.Errorf("the loss is not said: %q", text)
	}
	if got := s.keyOf("pump-1"); got != "active" {
		t.Errorf("the key of pump-1 is %s", got)
	}
	if all, err := s.CheckKey(t.Context(), admin.KeyOf{DeviceID: "pump-1"}); err != nil || len(all) != 1 || all[0].Verdict != "accepted" {
		t.Errorf("check: %+v, %v", all, err)
	}
	s.off()
	for _, r := range s.sandbox.Requests() {
		if r.Status == 400 {
			t.Errorf("%s %s was refused: %s", r.Method, r.Path, r.Code)
		}
	}
	s.on()
	s.sell("pump-1", "s2")
	s.confirmed(2)
	s.off()
}
