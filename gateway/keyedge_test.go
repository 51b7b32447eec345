package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/secret"
)

// loses notes a request whose answer was lost some time ago.
func (s *testSite) loses(r sale.RegisterID, ago time.Duration) sale.KeyRequest {
	s.t.Helper()
	must(s.t, s.db.AskKey(s.t.Context(), sale.KeyRequest{Register: r, Kind: sale.KeyRotate, At: s.now().Add(-ago), By: "anna"}))
	must(s.t, s.db.EndKeyRequest(s.t.Context(), r, true, "cut", "anna"))
	lost, err := s.lostRequests(s.t.Context())
	must(s.t, err)
	return lost[r]
}

// That the old key is still taken says something of the request that was known when
// it was asked about, and nothing of one that came meanwhile.
func TestAnAnswerAboutTheOldKeyEndsNoLaterRequest(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	info, err := s.ring.KeyInfo("reg_pump-01")
	must(t, err)
	first := s.loses("reg_pump-01", time.Hour)
	second := s.loses("reg_pump-01", time.Minute)
	if left := s.stillTaken(t.Context(), info, first, true); !left {
		t.Error("nothing is left to ask")
	}
	if lost, err := s.lostRequests(t.Context()); err != nil || lost["reg_pump-01"] != second {
		t.Errorf("the second is forgotten: %+v, %v", lost, err)
	}
}

// The disk did not take that an answer was lost. The next request, which is
// refused, does not forget it, and it is said before a restart as well.
func TestALossThatCouldNotBeNoted(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	s.sandbox.Rotate("reg_pump-01")
	must(t, s.db.AskKey(t.Context(), sale.KeyRequest{Register: "reg_pump-01", Kind: sale.KeyRotate, At: s.now(), By: "anna"}))
	if lost, err := s.lostRequests(t.Context()); err != nil || len(lost) != 1 {
		t.Errorf("it is not said: %+v, %v", lost, err)
	}
	_, err := s.RequestKey(t.Context(), admin.KeyRequest{KeyOf: admin.KeyOf{DeviceID: "pump-01"}, Kind: sale.KeyRotate, PlatformKey: secret.FromString("ofk_platform_test_wrong"), Organization: "org_sandbox"}, "anna")
	refusedWith(t, err, "key_refused", "the answer to an earlier request was lost")
	if q, err := s.db.KeyRequests(t.Context()); err != nil || len(q) != 1 || q[0].State != sale.KeyLost {
		t.Errorf("forgotten: %+v, %v", q, err)
	}
	if !s.requests.begin("reg_pump-01") {
		t.Fatal("it is still under way")
	}
	must(t, s.db.AskKey(t.Context(), sale.KeyRequest{Register: "reg_pump-01", Kind: sale.KeyRotate, At: s.now(), By: "anna"}))
	if lost, err := s.lostRequests(t.Context()); err != nil || len(lost) != 0 {
		t.Errorf("one that is under way is not lost: %+v, %v", lost, err)
	}
	s.requests.end("reg_pump-01")
}

// What a site does not send with is nobody's to mend: neither a lost answer about a
// register key, nor one that stays shut.
func TestRegisterKeysOfAServerSideSite(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	s.flags["vault.kek_file"] = writeSecret(t, string(masterKEK.Reveal()))
	s.on()
	s.add("pump-01")
	s.loses("reg_pump-01", time.Hour)
	s.off()
	s.flags["vault.kek_file"] = writeSecret(t, strings.Repeat("0123456789abcdef", 4))
	s.flags["openfiskal.topology"], s.flags["openfiskal.organization"] = "server_side", "org_sandbox"
	s.on()
	defer s.off()
	if got, err := s.SetPlatformKey(t.Context(), s.platformKey(), "anna"); err != nil || got.Key != "active" {
		t.Fatal(got, err)
	}
	s.sell("pump-01", "s1")
	s.confirmed(1)
	s.verifyKeys(t.Context(), true)
	for _, code := range []string{"key_request_lost", "key_sealed", "key_new_refused", "key_pending"} {
		if text, there := s.condition(code); there {
			t.Errorf("all goes out, and: %s", text)
		}
	}
	if checks, err := s.Doctor(t.Context(), "test"); err != nil {
		t.Error(err)
	} else {
		for _, c := range checks {
			if c.Check == "keys_open" && c.State == "failed" {
				t.Errorf("%+v", c)
			}
		}
	}
}

// The right platform key comes to use also where no device is left, and sales wait.
func TestAPlatformKeyWithoutDevices(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	s.flags["openfiskal.topology"], s.flags["openfiskal.organization"] = "server_side", "org_sandbox"
	s.on()
	defer s.off()
	s.sandbox.MustAddRegister("reg_1")
	c, err := s.AddDevice(t.Context(), admin.AddDevice{DeviceID: "pump-1", RegisterID: "reg_1"}, "anna")
	must(t, err)
	s.secrets["pump-1"] = c.Password
	s.cutOffUplink()
	_, err = s.SetPlatformKey(t.Context(), secret.FromString("ofk_platform_test_before"), "anna")
	must(t, err)
	must(t, s.ring.SetKeyState(t.Context(), sale.PlatformKey, 1, sale.KeyStateActive, "test")) // it worked, and was revoked
	s.sell("pump-1", "s1")
	must(t, s.RemoveDevice(t.Context(), "pump-1", "anna"))
	s.sandbox.SetDown(false)
	await(t, "the queue to be refused", func() bool { return s.queueOf(t, "reg_1").Class == sale.KeyRefused })
	if got, err := s.SetPlatformKey(t.Context(), s.platformKey(), "anna"); err != nil || got.Key != "active" {
		t.Errorf("%+v, %v", got, err)
	}
	s.confirmed(1)
}

// Who enters the key in use again, and hears that OpenFiskal refuses it, hears it of
// the site as well.
func TestTheKeyInUseIsRefusedWhenItIsEnteredAgain(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	key := s.sandbox.Key("reg_pump-01")
	s.sandbox.Revoke("reg_pump-01")
	_, err := s.giveKey("pump-01", key)
	refusedWith(t, err, "key_refused", "")
	if got := s.statesOf("reg_pump-01"); got != "1:refused" {
		t.Errorf("the key in use is %s", got)
	}
}

// An answer that was lost while the clock was ahead is settled all the same.
func TestALossFromTheFuture(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	s.loses("reg_pump-01", -8760*time.Hour)
	s.verifyKeys(t.Context(), false)
	if text, there := s.condition("key_request_lost"); there {
		t.Errorf("for a year: %s", text)
	}
}

// A key that nobody was asked about was not refused by OpenFiskal.
func TestTheAuditTrailSaysWhyAKeyWasDropped(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.sandbox.MustAddRegister("reg_1")
	s.cutOffUplink()
	s.keyed("pump-1", "reg_1", "ofk_reg_test_one_of_the_office")
	s.keyed("pump-2", "reg_2", "ofk_reg_test_two_of_the_office")
	_, err := s.giveKey("pump-2", "ofk_reg_test_one_of_the_office")
	refusedWith(t, err, "key_of_other_register", "")
	lines, err := s.Audit(t.Context(), admin.AuditFilter{What: "register key dropped"})
	if err != nil || len(lines) != 1 || strings.Contains(lines[0].Detail, "OpenFiskal") {
		t.Errorf("%+v, %v", lines, err)
	}
}

// A key that OpenFiskal repeats in its words goes no further.
func TestAKeyInOpenFiskalsWords(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	shown := func(key string, err error) {
		t.Helper()
		lines, auditErr := s.Audit(t.Context(), admin.AuditFilter{})
		must(t, auditErr)
		for where, text := range map[string]string{"error": err.Error(), "audit trail": fmt.Sprintf("%+v", lines), "log": s.logs.String()} {
			if strings.Contains(text, key) {
				t.Errorf("it stands in the %s", where)
			}
		}
	}
	s.sandbox.Inject(sandbox.Fault{Step: sandbox.StepPlatform, Action: sandbox.Answer, Status: 403, Times: 1, Body: `{"code":"forbidden","message":"key ` + s.sandbox.PlatformKey() + ` is not allowed"}`})
	_, err := s.rotate("pump-01")
	shown(s.sandbox.PlatformKey(), err)
	const key = "ofk_reg_test_1234567890abcdef"
	s.sandbox.Inject(sandbox.Fault{Step: sandbox.StepProbe, Action: sandbox.Answer, Status: 401, Times: 1, Body: `{"code":"unauthorized","message":"key ` + key + ` is not known"}`})
	_, err = s.giveKey("pump-01", key)
	shown(key, err)
}

// What was found out about a key while somebody was asking about it counts.
func TestAKeyIsConfirmedWhileItIsEnteredAgain(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	must(t, s.ring.SetKeyState(t.Context(), "reg_pump-01", 1, sale.KeyStateRefused, "test"))
	ask := func(ctx context.Context) (checkedKey, error) {
		s.verifyKeys(ctx, true)
		return checkedKey{state: sale.KeyStateUnverified}, nil
	}
	got, err := s.setKey(t.Context(), "reg_pump-01", secret.FromString(s.sandbox.Key("reg_pump-01")), ask, "anna")
	if err != nil || got.Key != "active" || s.statesOf("reg_pump-01") != "1:active" {
		t.Errorf("%+v, %v, %s", got, err, s.statesOf("reg_pump-01"))
	}
}

// A refusal stays one that a person can act on, whatever went wrong beside it.
func TestAlso(t *testing.T) {
	refused := error(&admin.Refusal{Code: "key_refused"})
	if also(refused, nil) != refused || !errors.Is(also(refused, sale.ErrNone), sale.ErrNone) {
		t.Error("one of the two is lost")
	}
}
