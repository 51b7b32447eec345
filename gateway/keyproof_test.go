package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/config"
	"edgegw/devicekeys"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/store"
)

// A file is read while a key of one of its registers is rotated: what was found out
// about the row before is of the past, and the new key stays.
func TestAnImportDestroysNoKeyThatWasJustMade(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	s.add("pump-02")
	file := "device_id,register_id,register_key\npump-02,reg_pump-02," + s.sandbox.Key("reg_pump-02") + "\npump-01,reg_pump-01," + s.sandbox.Key("reg_pump-01") + "\n"
	var said []string
	err := s.Import(t.Context(), []byte(file), "back office", func(r admin.ImportRow) {
		if said = append(said, r.Result); len(said) == 1 { // both were asked about
			if got, err := s.rotate("pump-01"); err != nil || got.Key != "active" {
				t.Errorf("%+v, %v", got, err)
			}
		}
	})
	if err != nil || fmt.Sprint(said) != "[unchanged failed]" || s.statesOf("reg_pump-01") != "2:active" {
		t.Errorf("%q, %v, %s", said, err, s.statesOf("reg_pump-01"))
	}
	s.sell("pump-01", "s1")
	s.confirmed(1)
}

// A row that could not be asked about with the others is asked about when it may be.
func TestARowIsAskedAboutWhenItMayBe(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-02")
	s.sandbox.MustAddRegister("reg_1")
	old := s.sandbox.Key("reg_pump-02")
	rows, err := s.imports([]byte("device_id,register_id,register_key\npump-02,reg_pump-02," + s.sandbox.Rotate("reg_pump-02") + "\npump-1,reg_1," + old + "\n"))
	if err != nil || fmt.Sprint(rows) != "[2 pump-02 key_changed active 3 pump-1 failed]" {
		t.Errorf("%q, %v", rows, err)
	}
}

// failing is a disk that takes no state of a key.
type failing struct{ *store.DB }

func (failing) SetKeyState(context.Context, sale.RegisterID, int64, sale.KeyState, string) error {
	return errors.New("disk I/O error")
}

// A row whose key cannot be put to use adds no device whose password nobody has.
func TestARowIsNotDoneByHalf(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	must(t, s.ring.SetKeyState(t.Context(), "reg_pump-01", 1, sale.KeyStateRefused, "test"))
	s.off()
	c, err := config.Load(config.Options{Flags: s.flags, Search: []string{}})
	must(t, err)
	b, err := OpenOffline(t.Context(), c, s.options)
	must(t, err)
	k := b.(*control)
	kek, _, err := devicekeys.LoadKEK(k.kekOptions(true))
	must(t, err)
	k.ring, err = devicekeys.Open(t.Context(), failing{k.db}, kek)
	must(t, err)
	file := []byte("device_id,register_id,register_key\nkiosk-1,reg_pump-01," + s.sandbox.Key("reg_pump-01") + "\n")
	must(t, k.Import(t.Context(), file, "back office", func(r admin.ImportRow) {
		if r.Result != admin.RowFailed {
			t.Errorf("%+v", r)
		}
	}))
	must(t, b.Close())
	s.on()
	defer s.off()
	if rows, err := s.imports(file); err != nil || fmt.Sprint(rows) != "[2 kiosk-1 added active]" {
		t.Errorf("%q, %v", rows, err)
	}
}

// What OpenFiskal made is not dropped because it is slow to know it.
func TestAMadeKeyIsNotDropped(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	_, err := s.takeNewKey(t.Context(), "reg_pump-01", sale.KeyRotate, secret.FromString("ofk_reg_test_made_and_not_known_everywhere"), "anna")
	must(t, err)
	must(t, s.ring.SetKeyState(t.Context(), "reg_pump-01", 2, sale.KeyStateRefused, "test"))
	s.verifyKeys(t.Context(), true)
	if got := s.statesOf("reg_pump-01"); got != "2:refused 1:active" {
		t.Errorf("%s", got)
	}
	// One that somebody has entered again meanwhile is not dropped, either.
	must(t, s.ring.SetKeyState(t.Context(), "reg_pump-01", 2, sale.KeyStatePending, "test"))
	if err := s.ring.DropRefused(t.Context(), "reg_pump-01", 2, "test"); !errors.Is(err, devicekeys.ErrChanged) {
		t.Errorf("%v", err)
	}
}

// A key that cannot be opened keeps none from being used.
func TestAShutKeyDoesNotWork(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	s.flags["vault.kek_file"] = writeSecret(t, string(masterKEK.Reveal()))
	s.on()
	s.add("pump-01")
	s.off()
	s.flags["vault.kek_file"] = writeSecret(t, strings.Repeat("0123456789abcdef", 4))
	s.on()
	defer s.off()
	s.sandbox.Inject(sandbox.Fault{Step: sandbox.StepProbe, Action: sandbox.Answer, Status: 503})
	r, err := s.SetKey(t.Context(), admin.SetKey{DeviceID: "pump-01", Key: secret.FromString(s.sandbox.Key("reg_pump-01")), Unverified: true}, "anna")
	if err != nil || r.Key != "unverified" {
		t.Errorf("%+v, %v", r, err)
	}
	s.sell("pump-01", "s1")
	s.confirmed(1)
}

// A key of a day, sealed under another KEK, is forgotten when the right one is
// entered again.
func TestAShutKeyAboveTheRightOne(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	right := writeSecret(t, string(masterKEK.Reveal()))
	s.flags["vault.kek_file"] = right
	s.on()
	s.add("pump-01")
	s.off()
	s.flags["vault.kek_file"] = writeSecret(t, strings.Repeat("0123456789abcdef", 4))
	s.on()
	must(t, func() error {
		_, err := s.ring.SetKey(t.Context(), "reg_pump-01", secret.FromString("ofk_reg_test_of_the_back_office"), sale.KeyStatePending, "test")
		return err
	}())
	s.off()
	s.flags["vault.kek_file"] = right
	s.on()
	defer s.off()
	if got, err := s.giveKey("pump-01", s.sandbox.Key("reg_pump-01")); err != nil || got.Key != "active" {
		t.Fatal(got, err)
	}
	if text, there := s.condition("key_sealed"); there || s.statesOf("reg_pump-01") != "1:active" {
		t.Errorf("%s: %s", s.statesOf("reg_pump-01"), text)
	}
}

// A register without a fiscal unit would refuse its sales: its key waits, whether
// it was entered offline or not, and a request for one that was lost is settled.
func TestAKeyOfARegisterWithoutUnit(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	must(t, s.sandbox.AddBareRegister("reg_1"))
	key := s.sandbox.Rotate("reg_1")
	s.cutOffUplink()
	if c := s.keyed("pump-1", "reg_1", key); c.Key != "unverified" {
		t.Fatalf("%+v", c)
	}
	s.loses("reg_1", time.Hour)
	s.sandbox.SetDown(false)
	s.verifyKeys(t.Context(), true)
	s.verifyKeys(t.Context(), true)
	if got := s.statesOf("reg_1"); got != "1:pending" {
		t.Errorf("%s", got)
	}
	s.sell("pump-1", "s1")
	await(t, "the sale to wait for its key", func() bool { q := s.queueOf(t, "reg_1"); return q.Class == sale.KeyRefused && q.Waiting == 1 })
	if n := len(s.sandbox.Operations("reg_1")); n != 0 || s.queueOf(t, "reg_1").Quarantined != 0 {
		t.Errorf("%d sales reached it", n)
	}
}

// An active key whose register lost its unit is taken all the same: a request that
// was lost has made none.
func TestALossIsSettledWithoutAUnit(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	s.loses("reg_pump-01", time.Hour)
	s.sandbox.Inject(sandbox.Fault{Step: sandbox.StepProbe, Action: sandbox.Answer, Status: 200, Body: `{"id":"reg_pump-01","active_fiscal_unit":null}`})
	s.verifyKeys(t.Context(), true)
	if text, there := s.condition("key_request_lost"); there {
		t.Error(text)
	}
}

// A key that OpenFiskal neither takes nor refuses is said.
func TestAKeyThatIsNotConfirmedIsSaid(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.cutOffUplink()
	s.keyed("pump-1", "reg_1", s.sandbox.MustAddRegister("reg_1"))
	s.sandbox.Inject(sandbox.Fault{Register: "reg_1", Action: sandbox.Answer, Status: 404})
	s.sandbox.SetDown(false)
	s.verifyKeys(t.Context(), true)
	await(t, "it to be said", func() bool {
		text, there := s.condition("key_unverified")
		return there && strings.Contains(text, "pump-1") && strings.Contains(text, "edgegw key check pump-1")
	})
}

// Where every register says no, the platform key, or its organization, is wrong; and
// where they only are unknown, it is said what OpenFiskal answered.
func TestAPlatformKeyThatNobodyTakes(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	s.flags["openfiskal.topology"], s.flags["openfiskal.organization"] = "server_side", "org_of_another"
	s.on()
	defer s.off()
	for _, n := range []string{"1", "2"} {
		_, err := s.AddDevice(t.Context(), admin.AddDevice{DeviceID: sale.DeviceID("pump-" + n), RegisterID: sale.RegisterID("reg_" + n)}, "anna")
		must(t, err)
	}
	got, err := s.SetPlatformKey(t.Context(), s.platformKey(), "anna") // both are unknown
	if err != nil || got.Key != "unverified" || !strings.Contains(got.Notice, "openfiskal.organization") {
		t.Errorf("%+v, %v", got, err)
	}
	s.sandbox.MustAddRegister("reg_1") // another organization's: 403
	_, err = s.SetPlatformKey(t.Context(), s.platformKey(), "anna")
	refusedWith(t, err, "key_refused", "organization org_of_another")
	if got := s.statesOf(sale.PlatformKey); got != "1:refused" {
		t.Errorf("%s", got)
	}
}

// A shut platform key that the site does not send with can be removed.
func TestAShutPlatformKeyThatIsNotNeeded(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	s.flags["vault.kek_file"] = writeSecret(t, string(masterKEK.Reveal()))
	s.on()
	_, err := s.ring.SetKey(t.Context(), sale.PlatformKey, s.platformKey(), sale.KeyStateActive, "test")
	must(t, err)
	s.off()
	s.flags["vault.kek_file"] = writeSecret(t, strings.Repeat("0123456789abcdef", 4))
	s.on()
	defer s.off()
	if text, there := s.condition("key_sealed"); there {
		t.Errorf("nobody needs it: %s", text)
	}
	if _, there := s.condition("platform_key_kept"); !there {
		t.Error("it is not said")
	}
	must(t, s.ForgetPlatformKey(t.Context(), "anna"))
}

// A refusal that comes late does not count against what was found out since.
func TestALateRefusalIsOfThePast(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	info, err := s.ring.KeyInfo("reg_pump-01")
	must(t, err)
	info.State = sale.KeyStateUnverified // as it was when it was asked about
	s.sandbox.Inject(sandbox.Fault{Step: sandbox.StepProbe, Action: sandbox.Answer, Status: 401, Times: 1})
	if v := s.verify(t.Context(), info); v != keyOpen || s.statesOf("reg_pump-01") != "1:active" {
		t.Errorf("%d, %s", v, s.statesOf("reg_pump-01"))
	}
}

// A key-encryption key under which nothing opens is likely a mistyped one: no key
// that is given once is sealed with it unless somebody says so.
func TestNoKeyIsMadeUnderAKEKThatOpensNothing(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	s.flags["vault.kek_file"] = writeSecret(t, string(masterKEK.Reveal()))
	s.on()
	s.add("pump-01")
	must(t, s.sandbox.AddBareRegister("reg_new"))
	_, err := s.AddDevice(t.Context(), admin.AddDevice{DeviceID: "pump-02", RegisterID: "reg_new"}, "anna")
	must(t, err)
	s.off()
	s.flags["vault.kek_file"] = writeSecret(t, strings.Repeat("0123456789abcdef", 4))
	s.on()
	defer s.off()
	_, err = s.RequestKey(t.Context(), admin.KeyRequest{KeyOf: admin.KeyOf{DeviceID: "pump-02"}, Kind: sale.KeyIssue, PlatformKey: s.platformKey(), Organization: "org_sandbox"}, "anna")
	refusedWith(t, err, "not_ready", "--new-kek")
}
