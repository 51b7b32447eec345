package gateway

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/fiscal"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/secret"
)

func (s *testSite) platformKey() secret.Text { return secret.FromString(s.sandbox.PlatformKey()) }

func platformOf(s *testSite) fiscal.Platform {
	return fiscal.Platform{Key: s.platformKey(), Organization: "org_sandbox"}
}

func (s *testSite) rotate(id sale.DeviceID) (admin.KeyResult, error) {
	return s.RequestKey(s.t.Context(), admin.KeyRequest{KeyOf: admin.KeyOf{DeviceID: id}, Kind: sale.KeyRotate, PlatformKey: s.platformKey(), Organization: "org_sandbox"}, "anna")
}

func (s *testSite) confirmed(n int64) {
	s.t.Helper()
	await(s.t, fmt.Sprintf("%d confirmed sales", n), func() bool {
		st, err := s.Status(s.t.Context())
		return err == nil && st.Totals.Confirmed == n
	})
}

func (s *testSite) condition(code string) (string, bool) {
	s.t.Helper()
	st, err := s.Status(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, c := range st.Conditions {
		if c.Code == code {
			return c.Title + " | " + c.Remedy, true
		}
	}
	return "", false
}

func refusedWith(t *testing.T, err error, code, says string) {
	t.Helper()
	if f := (*admin.Refusal)(nil); !errors.As(err, &f) || f.Code != code || !strings.Contains(f.Error(), says) {
		t.Errorf("got %v, want %s: %s", err, code, says)
	}
}

// The key dies in the middle of selling, and nobody but the register's own queue
// notices.
func TestRotate(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	s.sell("pump-01", "s1")
	s.confirmed(1)
	got, err := s.rotate("pump-01")
	if err != nil || got.Key != "active" {
		t.Fatalf("%+v, %v", got, err)
	}
	s.sell("pump-01", "s2")
	s.confirmed(2)
	if n := len(s.ring.KeyVersions("reg_pump-01")); n != 1 {
		t.Errorf("%d keys are kept", n)
	}
	if q, err := s.db.KeyRequests(t.Context()); err != nil || len(q) != 0 {
		t.Errorf("requests left: %+v, %v", q, err)
	}
	for _, r := range s.sandbox.Requests() {
		if r.Status == 401 {
			t.Errorf("a request went out with the dead key: %s %s", r.Method, r.Path)
		}
	}
	_, err = s.RequestKey(t.Context(), admin.KeyRequest{KeyOf: admin.KeyOf{DeviceID: "pump-01"}, Kind: sale.KeyRotate, PlatformKey: secret.FromString("ofk_platform_test_wrong"), Organization: "org_sandbox"}, "anna")
	refusedWith(t, err, "key_refused", "Nothing has changed. Check the platform key and the organization")
	_, err = s.RequestKey(t.Context(), admin.KeyRequest{KeyOf: admin.KeyOf{DeviceID: "pump-01"}, Kind: sale.KeyRotate, PlatformKey: s.platformKey()}, "anna")
	refusedWith(t, err, "invalid", "--organization")
	_, err = s.RequestKey(t.Context(), admin.KeyRequest{KeyOf: admin.KeyOf{DeviceID: "pump-01"}, Kind: sale.KeyIssue, PlatformKey: s.platformKey(), Organization: "org_sandbox"}, "anna")
	refusedWith(t, err, "key_refused", "edgegw key rotate")
	s.sandbox.SetDown(true)
	s.fiscal.CloseIdle()
	_, err = s.rotate("pump-01")
	refusedWith(t, err, "key_refused", "Try again when the uplink is back")
	s.sandbox.SetDown(false)
	s.sell("pump-01", "s3")
	s.confirmed(3)
	if text, there := s.condition("key_request_lost"); there {
		t.Errorf("nothing was lost: %s", text)
	}
	s.off()
}

// OpenFiskal has made a new key and its answer is lost: the old one is dead, and
// that is said, also after a restart. Rotating again mends it.
func TestRotateWithALostAnswer(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	s.add("pump-02")
	s.sandbox.Inject(sandbox.Fault{Step: sandbox.StepPlatform, Action: sandbox.DropAnswer, Times: 1})
	_, err := s.rotate("pump-01")
	refusedWith(t, err, "answer_lost", "Rotate again: edgegw key rotate pump-01 --key-stdin")
	s.sell("pump-01", "s1")
	s.sell("pump-02", "s1")
	s.confirmed(1) // the neighbour's
	says := func(when string) {
		t.Helper()
		await(t, "the lost answer to be said", func() bool {
			st, err := s.Status(t.Context())
			return err == nil && strings.Contains(st.Sentence, "the answer was lost, and its key before is dead. ") && strings.Count(st.Sentence, "edgegw key rotate pump-01 --key-stdin") == 1
		})
		if text, there := s.condition("key_request_lost"); !there || !strings.Contains(text, "pump-01") {
			t.Errorf("%s: %q", when, text)
		}
	}
	says("at once")
	s.off()
	s.on()
	says("after a restart")
	if got, err := s.rotate("pump-01"); err != nil || got.Key != "active" {
		t.Fatalf("rotated again: %+v, %v", got, err)
	}
	s.confirmed(2)
	if text, there := s.condition("key_request_lost"); there {
		t.Errorf("it is over: %s", text)
	}
	s.off()
}

// A register that was never fiscalized gets its unit and its key from the box,
// and the sales that waited for it go out when the unit is active, not before:
// they would only be refused.
func TestIssue(t *testing.T) {
	s := newSite(t, sandbox.Options{Provisioning: 1500 * time.Millisecond}).on()
	if err := s.sandbox.AddBareRegister("reg_new"); err != nil {
		t.Fatal(err)
	}
	c, err := s.AddDevice(t.Context(), admin.AddDevice{DeviceID: "pump-01", RegisterID: "reg_new"}, "anna")
	if err != nil || c.Key != "missing" {
		t.Fatal(c.Key, err)
	}
	s.secrets["pump-01"] = c.Password
	s.sell("pump-01", "s1")
	got, err := s.RequestKey(t.Context(), admin.KeyRequest{KeyOf: admin.KeyOf{DeviceID: "pump-01"}, Kind: sale.KeyIssue, PlatformKey: s.platformKey(), Organization: "org_sandbox"}, "anna")
	if err != nil || got.Key != "active" {
		t.Fatalf("%+v, %v", got, err)
	}
	s.confirmed(1)
	s.off()
}

// The same where nobody waits for the unit, and a key that came another way.
func TestAKeyWaitsForItsFiscalUnit(t *testing.T) {
	s := newSite(t, sandbox.Options{Provisioning: time.Hour}).on()
	if err := s.sandbox.AddBareRegister("reg_new"); err != nil {
		t.Fatal(err)
	}
	key, err := s.fiscal.IssueKey(t.Context(), "reg_new", platformOf(s))
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.AddDevice(t.Context(), admin.AddDevice{DeviceID: "pump-01", RegisterID: "reg_new", Key: key}, "anna")
	if err != nil || c.Key != "pending" || !strings.Contains(c.Notice, "no active fiscal unit") {
		t.Fatalf("%+v, %v", c, err)
	}
	s.secrets["pump-01"] = c.Password
	s.sell("pump-01", "s1")
	await(t, "the wait to be said", func() bool {
		text, there := s.condition("key_pending")
		return there && strings.Contains(text, "1 sale waits; its key waits until OpenFiskal confirms it") && strings.Contains(text, "edgegw key check pump-01")
	})
	if all, err := s.CheckKey(t.Context(), admin.KeyOf{DeviceID: "pump-01"}); err != nil || len(all) != 1 || all[0].Verdict != "no_fiscal_unit" || all[0].State != "pending" {
		t.Errorf("check: %+v, %v", all, err)
	}
	if n := len(s.sandbox.Effects("reg_new")); n != 0 {
		t.Errorf("%d calls reached a register that cannot take them", n)
	}
	s.off()
}
