package gateway

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edgegw/admin"
	"edgegw/broker/brokertest"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/secret"
)

func (s *testSite) keyOf(id sale.DeviceID) string {
	s.t.Helper()
	d, err := s.Device(s.t.Context(), id)
	if err != nil {
		s.t.Fatal(err)
	}
	return d.Key
}

func (s *testSite) sell(id sale.DeviceID, saleID string) {
	s.t.Helper()
	c := s.connect(id, 5)
	if err := c.Publish(topic(id, "sale"), 1, 1, fmt.Sprintf(wholeEvent, saleID)); err != nil {
		s.t.Fatal(err)
	}
	if p, _, err := c.Await(brokertest.PUBACK); err != nil || p.Code != 0 {
		s.t.Fatalf("PUBACK %#x, %v", p.Code, err)
	}
	c.Close()
}

// A key that nobody could ask about does not take the place of one that works,
// and takes it when it is right and the old one is not any more.
func TestAKeyIsProbedBeforeItReplacesOneThatWorks(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	elsewhere := s.sandbox.MustAddRegister("reg_elsewhere")
	s.sandbox.SetDown(true)
	wrong, err := s.SetKey(t.Context(), admin.SetKey{DeviceID: "pump-01", Key: secret.FromString(elsewhere)}, "test")
	if err != nil || wrong.Key != "pending" {
		t.Fatalf("stored as %+v, %v", wrong, err)
	}
	if got := s.keyOf("pump-01"); got != "active" {
		t.Errorf("the key in use is %s", got)
	}
	s.sandbox.SetDown(false)
	s.sell("pump-01", "s1") // under the key that works
	await(t, "the sale to be confirmed", func() bool { st, err := s.Status(t.Context()); return err == nil && st.Totals.Confirmed == 1 })
	s.sandbox.SetDown(true)
	right := s.sandbox.Rotate("reg_pump-01") // the old one is dead from now on
	if r, err := s.SetKey(t.Context(), admin.SetKey{DeviceID: "pump-01", Key: secret.FromString(right)}, "test"); err != nil || r.Key != "pending" {
		t.Fatalf("stored as %+v, %v", r, err)
	}
	s.sell("pump-01", "s2")
	s.sandbox.SetDown(false)
	await(t, "the new key to take its place", func() bool { st, err := s.Status(t.Context()); return err == nil && st.Totals.Confirmed == 2 })
	await(t, "the new key to be active", func() bool { return s.keyOf("pump-01") == "active" })
	if err := s.sandbox.Check([]sandbox.Expect{{Register: "reg_pump-01", ExternalID: "s1", Total: 7622}, {Register: "reg_pump-01", ExternalID: "s2", Total: 7622}}); err != nil {
		t.Error(err)
	}
	s.off()
}

func TestARefusedKeyIsSaidToBeRefused(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	s.sandbox.Revoke("reg_pump-01")
	s.sell("pump-01", "s1")
	await(t, "the key to be said refused", func() bool { return s.keyOf("pump-01") == "refused" })
	st, err := s.Status(t.Context())
	if err != nil || !hasCondition(st, "key_refused") {
		t.Errorf("conditions %+v, %v", st.Conditions, err)
	}
	if err := s.RemoveDevice(t.Context(), "pump-01", "test"); err != nil {
		t.Fatal(err)
	}
	// The device is gone, its sale waits on: the register itself takes the key.
	if _, err := s.SetKey(t.Context(), admin.SetKey{RegisterID: "reg_pump-01", Key: secret.FromString(s.sandbox.Rotate("reg_pump-01"))}, "test"); err != nil {
		t.Fatal(err)
	}
	await(t, "the sale to go out", func() bool { st, err := s.Status(t.Context()); return err == nil && st.Totals.Confirmed == 1 })
	s.off()
}

func hasCondition(st admin.Status, code string) bool {
	for _, c := range st.Conditions {
		if c.Code == code {
			return true
		}
	}
	return false
}

// Following our own notice: the KEK moves to a place of its own, and the queue
// goes on.
func TestTheKEKMovesToItsNewPlace(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	st, err := s.Status(t.Context())
	if err != nil || !hasCondition(st, "kek_self_made") {
		t.Fatalf("conditions %+v, %v", st.Conditions, err)
	}
	s.off()
	file := filepath.Join(t.TempDir(), "kek")
	if err := os.WriteFile(file, masterKEK.Reveal(), 0o600); err != nil {
		t.Fatal(err)
	}
	s.flags["vault.kek_file"] = file
	s.on()
	s.sell("pump-01", "s1")
	await(t, "the sale to go out", func() bool { st, err := s.Status(t.Context()); return err == nil && st.Totals.Confirmed == 1 })
	if st, err = s.Status(t.Context()); err != nil || len(st.Conditions) != 1 || !hasCondition(st, "unclaimed") {
		t.Errorf("conditions %+v, %v", st.Conditions, err)
	}
	s.off()
	// A wrong one afterwards stops sending, not selling, and says so.
	if err := os.Remove(filepath.Join(s.dir, "kek")); err != nil {
		t.Fatal(err)
	}
	delete(s.flags, "vault.kek_file")
	s.on()
	s.sell("pump-01", "s2")
	await(t, "the queue to be blocked", func() bool {
		st, err = s.Status(t.Context())
		return err == nil && hasCondition(st, "kek_missing") && hasCondition(st, "key_sealed") && !hasCondition(st, "key_refused") && st.Totals.Waiting == 1
	})
	s.off()
	s.flags["vault.kek_file"] = file
	s.on()
	await(t, "the sale to go out at once", func() bool { st, err := s.Status(t.Context()); return err == nil && st.Totals.Confirmed == 2 })
	s.off()
}

// From one given key-encryption key to another, with both at hand for one start;
// after that the old one opens nothing.
func TestTheKEKIsChanged(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	first, second := writeSecret(t, string(masterKEK.Reveal())), writeSecret(t, strings.Repeat("0123456789abcdef", 4))
	s.flags["vault.kek_file"] = first
	s.on()
	s.add("pump-01")
	if _, err := s.Recipient(t.Context(), false, "anna"); err != nil {
		t.Fatal(err)
	}
	s.off()
	s.flags["vault.kek_file"] = second // the old one is forgotten
	s.on()
	s.sell("pump-01", "s1")
	await(t, "the wrong KEK to be said", func() bool {
		text, there := s.condition("key_sealed")
		return there && strings.Contains(text, "cannot be opened")
	})
	_, err := s.rotate("pump-01")
	refusedWith(t, err, "not_ready", "none was asked for")
	s.off()
	s.flags["vault.previous_kek_file"] = first
	s.on()
	s.confirmed(1)
	s.off()
	delete(s.flags, "vault.previous_kek_file")
	s.on()
	s.sell("pump-01", "s2")
	s.confirmed(2)
	if bad := s.ring.Check(); len(bad) != 0 {
		t.Errorf("shut: %+v", bad)
	}
	s.off()
	s.flags["vault.kek_file"] = first
	s.on()
	if bad := s.ring.Check(); len(bad) != 2 {
		t.Errorf("the old KEK still opens something: %+v", bad)
	}
	s.off()
}

// A KEK that lies on something mounted late, or that somebody made readable, is
// no reason not to sell. As soon as it is there, sales go out.
func TestAKEKThatIsNotThereYet(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	file := writeSecret(t, string(masterKEK.Reveal()))
	s.flags["vault.kek_file"] = file
	s.on()
	s.add("pump-01")
	s.off()
	for _, row := range []struct {
		name       string
		harm, mend func() error
	}{
		{"gone", func() error { return os.Rename(file, file+".away") }, func() error { return os.Rename(file+".away", file) }},
		{"readable by others", func() error { return os.Chmod(file, 0o644) }, func() error { return os.Chmod(file, 0o600) }},
		{"damaged", func() error { return os.WriteFile(file, []byte("no KEK"), 0o600) }, func() error { return os.WriteFile(file, masterKEK.Reveal(), 0o600) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := row.harm(); err != nil {
				t.Fatal(err)
			}
			s.on()
			s.sell("pump-01", "s-"+strings.ReplaceAll(row.name, " ", "-"))
			await(t, "the queue to wait", func() bool {
				text, there := s.condition("kek_missing")
				return there && strings.Contains(text, file)
			})
			if _, err := os.Stat(filepath.Join(s.dir, "kek")); err == nil {
				t.Error("a KEK was made in its place")
			}
			if err := row.mend(); err != nil {
				t.Fatal(err)
			}
			s.lookForKEK(t.Context()) // at the next look, and not in 15 s
			await(t, "the sale to go out", func() bool { st, err := s.Status(t.Context()); return err == nil && st.Totals.Waiting == 0 })
			if text, there := s.condition("kek_missing"); there {
				t.Errorf("it is there: %s", text)
			}
			s.off()
		})
	}
}
