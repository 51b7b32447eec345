package gateway

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"edgegw/admin"
	"edgegw/devicekeys"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/secret"
)

// keyed adds a device with a key that nobody may be able to ask about.
func (s *testSite) keyed(id sale.DeviceID, register sale.RegisterID, key string) admin.Credentials {
	s.t.Helper()
	c, err := s.AddDevice(s.t.Context(), admin.AddDevice{DeviceID: id, RegisterID: register, Key: secret.FromString(key)}, "anna")
	if err != nil {
		s.t.Fatal(err)
	}
	s.secrets[id] = c.Password
	return c
}

func (s *testSite) giveKey(id sale.DeviceID, key string) (admin.KeyResult, error) {
	return s.SetKey(s.t.Context(), admin.SetKey{DeviceID: id, Key: secret.FromString(key)}, "anna")
}

// offline takes OpenFiskal away, and with it the connections that were kept alive.
func (s *testSite) cutOffUplink() {
	s.sandbox.SetDown(true)
	s.fiscal.CloseIdle()
}

// askNow asks about keys now, and not in a minute.
func (s *testSite) askNow(r ...sale.RegisterID) {
	for _, id := range r {
		s.Gateway.keys.ask(id)
	}
	s.Gateway.keys.ask("")
}

func (s *testSite) statesOf(r sale.RegisterID) string {
	var all []string
	for _, k := range s.ring.KeyVersions(r) {
		all = append(all, fmt.Sprintf("%d:%s", k.Version, k.State))
	}
	return strings.Join(all, " ")
}

// Two rows with each other's key, entered while nobody could be asked: as long as
// that is so, the second place is refused by name; and once OpenFiskal has
// answered, the right file mends it.
func TestSwappedKeysAreMendedByTheRightFile(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	k1, k2 := s.sandbox.MustAddRegister("reg_1"), s.sandbox.MustAddRegister("reg_2")
	file := func(a, b string) []byte {
		return []byte("device_id,register_id,register_key\npump-1,reg_1," + a + "\npump-2,reg_2," + b + "\n")
	}
	s.cutOffUplink()
	if rows, err := s.imports(file(k2, k1)); err != nil || fmt.Sprint(rows) != "[2 pump-1 added unverified 3 pump-2 added unverified]" {
		t.Fatalf("%q, %v", rows, err)
	}
	if rows, err := s.imports(file(k1, k2)); err != nil || fmt.Sprint(rows) != "[2 pump-1 failed unverified 3 pump-2 failed unverified]" {
		t.Errorf("offline: %q, %v", rows, err)
	}
	_, err := s.giveKey("pump-1", k1)
	refusedWith(t, err, "key_of_other_register", "reg_2 (pump-2)")
	s.sandbox.SetDown(false)
	s.askNow()
	await(t, "both to be refused", func() bool {
		return s.statesOf("reg_1") == "1:refused" && s.statesOf("reg_2") == "1:refused"
	})
	for i, want := range []string{"[2 pump-1 key_changed active 3 pump-2 key_changed active]", "[2 pump-1 unchanged active 3 pump-2 unchanged active]"} {
		if rows, err := s.imports(file(k1, k2)); err != nil || fmt.Sprint(rows) != want {
			t.Errorf("time %d: %q, %v", i+1, rows, err)
		}
	}
	s.sell("pump-1", "s1")
	s.sell("pump-2", "s1")
	s.confirmed(2)
	_, err = s.giveKey("pump-1", k2)
	refusedWith(t, err, "key_of_other_register", "pump-2")
}

// A key of another place that nobody has confirmed there does not stand in the way
// of its own, where OpenFiskal can be asked.
func TestOpenFiskalSaysWhoseKeyItIs(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	k1 := s.sandbox.MustAddRegister("reg_1")
	s.sandbox.MustAddRegister("reg_2")
	s.cutOffUplink()
	s.keyed("pump-2", "reg_2", k1)
	s.sandbox.SetDown(false)
	if c := s.keyed("pump-1", "reg_1", k1); c.Key != "active" {
		t.Errorf("at its own register it is %s: %s", c.Key, c.Notice)
	}
	s.sell("pump-1", "s1")
	s.confirmed(1)
}

// The answer to a rotation was lost. One that OpenFiskal refuses afterwards
// changes nothing about that.
func TestALostAnswerStaysLostWhenTheNextRequestIsRefused(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	s.sandbox.Inject(sandbox.Fault{Step: sandbox.StepPlatform, Action: sandbox.DropAnswer, Times: 1})
	_, err := s.rotate("pump-01")
	refusedWith(t, err, "answer_lost", "Rotate again")
	said := func(when string) {
		t.Helper()
		lost, err := s.lostRequests(t.Context())
		if q, there := lost["reg_pump-01"]; err != nil || !there || q.Version != 1 || q.Kind != sale.KeyRotate {
			t.Errorf("%s: it is forgotten: %+v, %v", when, lost, err)
		}
		await(t, "it to be said "+when, func() bool {
			st, err := s.Status(t.Context())
			return err == nil && strings.Contains(st.Sentence, "edgegw key rotate pump-01 --key-stdin")
		})
	}
	await(t, "the key to be refused", func() bool { return s.keyOf("pump-01") == "refused" })
	_, err = s.RequestKey(t.Context(), admin.KeyRequest{KeyOf: admin.KeyOf{DeviceID: "pump-01"}, Kind: sale.KeyRotate, PlatformKey: secret.FromString("ofk_platform_test_wrong"), Organization: "org_sandbox"}, "anna")
	refusedWith(t, err, "key_refused", "the answer to an earlier request was lost")
	said("after a wrong platform key")
	s.cutOffUplink()
	_, err = s.rotate("pump-01")
	refusedWith(t, err, "key_refused", "Try again when the uplink is back")
	s.sandbox.SetDown(false)
	said("after a request that never left")
	_, err = s.RequestKey(t.Context(), admin.KeyRequest{KeyOf: admin.KeyOf{DeviceID: "pump-01"}, Kind: sale.KeyIssue, PlatformKey: s.platformKey(), Organization: "org_sandbox"}, "anna")
	refusedWith(t, err, "key_refused", "edgegw key rotate")
	said("after another kind of request")
	s.off()
	s.on()
	said("after a restart")
	if got, err := s.rotate("pump-01"); err != nil || got.Key != "active" {
		t.Fatalf("%+v, %v", got, err)
	}
	if q, err := s.db.KeyRequests(t.Context()); err != nil || len(q) != 0 {
		t.Errorf("left: %+v, %v", q, err)
	}
	s.off()
}

// What nobody could confirm destroys nothing: neither the right key, whichever of
// two it is, nor that a file can be sent again.
func TestAnUnconfirmedKeyDestroysNothing(t *testing.T) {
	for _, rightFirst := range []bool{true, false} {
		s := newSite(t, sandbox.Options{}).on()
		right, other := s.sandbox.MustAddRegister("reg_1"), s.sandbox.MustAddRegister("reg_elsewhere")
		keys := []string{other, right}
		if rightFirst {
			keys = []string{right, other}
		}
		s.cutOffUplink()
		for i, want := range []string{"added", "key_changed", "unchanged", "unchanged"} {
			file := "device_id,register_id,register_key\npump-1,reg_1," + keys[i%2] + "\n"
			if rows, err := s.imports([]byte(file)); err != nil || fmt.Sprint(rows) != "[2 pump-1 "+want+" unverified]" {
				t.Errorf("right one first %v, time %d: %q, %v", rightFirst, i+1, rows, err)
			}
		}
		s.sell("pump-1", "s1")
		s.sandbox.SetDown(false)
		s.askNow()
		s.confirmed(1)
		await(t, "the right key to be in use", func() bool { return s.keyOf("pump-1") == "active" })
		s.off()
	}
}

// A key that waits beside one that works is put to use, when it is entered again
// and nothing works any more.
func TestAPendingKeyIsPutToUseWhereNothingWorks(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	s.cutOffUplink()
	next := "ofk_reg_test_of_the_back_office"
	if r, err := s.giveKey("pump-01", next); err != nil || r.Key != "pending" {
		t.Fatalf("%+v, %v", r, err)
	}
	must(t, s.ring.SetKeyState(t.Context(), "reg_pump-01", 1, sale.KeyStateRefused, "test"))
	if r, err := s.giveKey("pump-01", next); err != nil || r.Key != "unverified" {
		t.Errorf("%+v, %v", r, err)
	}
}

// A register that is unknown at OpenFiskal, or that the key may not touch, says
// nothing of a platform key that opens the others.
func TestAPlatformKeyIsJudgedByAllRegisters(t *testing.T) {
	for _, status := range []int{404, 403} {
		s := newSite(t, sandbox.Options{})
		s.flags["openfiskal.topology"], s.flags["openfiskal.organization"] = "server_side", "org_sandbox"
		s.on()
		for _, n := range []string{"1", "2"} {
			s.sandbox.MustAddRegister("reg_" + n)
			c, err := s.AddDevice(t.Context(), admin.AddDevice{DeviceID: sale.DeviceID("pump-" + n), RegisterID: sale.RegisterID("reg_" + n)}, "anna")
			must(t, err)
			s.secrets[sale.DeviceID("pump-"+n)] = c.Password
		}
		id := s.sandbox.Inject(sandbox.Fault{Register: "reg_1", Action: sandbox.Answer, Status: status})
		if got, err := s.SetPlatformKey(t.Context(), s.platformKey(), "anna"); err != nil || got.Key != "active" {
			t.Errorf("%d at the first register: %+v, %v", status, got, err)
		}
		s.sell("pump-2", "s1")
		s.confirmed(1)
		s.sell("pump-1", "s1") // refused, which is its own trouble
		s.askNow(sale.PlatformKey)
		s.sell("pump-2", "s2")
		s.confirmed(2)
		if got := s.statesOf(sale.PlatformKey); got != "1:active" {
			t.Errorf("%d: the platform key is %s", status, got)
		}
		s.sandbox.Remove(id)
		_, err := s.SetPlatformKey(t.Context(), secret.FromString("ofk_platform_test_wrong"), "anna")
		refusedWith(t, err, "key_refused", "Nothing was stored")
		s.off()
	}
}

// What OpenFiskal has made is kept, whatever it looks like.
func TestAKeyOfAnotherFormIsKept(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	made := "of_live_0123456789abcdef0123456789abcdef"
	got, err := s.takeNewKey(t.Context(), "reg_pump-01", sale.KeyRotate, secret.FromString(made), "anna")
	if err != nil || got.Key != "pending" {
		t.Errorf("%+v, %v", got, err)
	}
	kept, _, err := s.ring.Pending(t.Context(), "reg_pump-01")
	if err != nil || string(kept.Reveal()) != made {
		t.Errorf("it is not kept: %v", err)
	}
	kept.Wipe()
}

// One that cannot be kept is as lost as one whose answer was: that is said, and
// not that all is well.
func TestAMadeKeyThatCannotBeKeptIsLost(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	must(t, s.db.AskKey(t.Context(), sale.KeyRequest{Register: "reg_pump-01", Kind: sale.KeyRotate, At: s.now(), By: "anna"}))
	must(t, s.ring.UseKEK(devicekeys.KEK{})) // gone in this moment
	_, err := s.takeNewKey(t.Context(), "reg_pump-01", sale.KeyRotate, secret.FromString(s.sandbox.Rotate("reg_pump-01")), "anna")
	refusedWith(t, err, "answer_lost", "cannot be stored")
	if lost, err := s.lostRequests(t.Context()); err != nil || len(lost) != 1 || !s.lostKeys.Load() {
		t.Errorf("lost: %+v, %v", lost, err)
	}
	s.off()
}

// A key that OpenFiskal has just made is not wrong because it is not known
// everywhere yet.
func TestAJustMadeKeyThatIsNotTakenYet(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	id := s.sandbox.Inject(sandbox.Fault{Step: sandbox.StepProbe, Register: "reg_pump-01", Action: sandbox.Answer, Status: 401})
	got, err := s.rotate("pump-01")
	if err != nil || got.Key != "pending" || s.statesOf("reg_pump-01") != "2:pending 1:active" && s.statesOf("reg_pump-01") != "2:pending 1:refused" {
		t.Errorf("said %+v, %v, and stored %s", got, err, s.statesOf("reg_pump-01"))
	}
	s.sandbox.Remove(id)
	s.sell("pump-01", "s1")
	s.askNow()
	s.confirmed(1)
}

// What would break the request is refused before anything is written down.
func TestAnOrganizationThatIsNone(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	for _, organization := range []string{"org_x\r", "org_x\n", "org x", "örg", strings.Repeat("x", 129), "ofk_platform_test_key"} {
		_, err := s.RequestKey(t.Context(), admin.KeyRequest{KeyOf: admin.KeyOf{DeviceID: "pump-01"}, Kind: sale.KeyRotate, PlatformKey: s.platformKey(), Organization: organization}, "anna")
		refusedWith(t, err, "invalid", "organization")
		if err != nil && strings.Contains(err.Error(), "ofk_") {
			t.Errorf("a key is shown: %v", err)
		}
	}
	if q, err := s.db.KeyRequests(t.Context()); err != nil || len(q) != 0 {
		t.Errorf("noted: %+v, %v", q, err)
	}
}

// One that comes while OpenFiskal is making another would be taken for its answer.
func TestNoKeyIsEnteredWhileOneIsBeingMade(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	key := s.sandbox.Key("reg_pump-01")
	if !s.requests.begin("reg_pump-01") {
		t.Fatal("it is asked for already")
	}
	_, err := s.giveKey("pump-01", key)
	refusedWith(t, err, "conflict", "Wait")
	_, err = s.AddDevice(t.Context(), admin.AddDevice{DeviceID: "kiosk-1", RegisterID: "reg_pump-01", Key: secret.FromString(key)}, "anna")
	refusedWith(t, err, "conflict", "Wait")
	if _, err := s.ring.Get("kiosk-1"); err == nil {
		t.Error("the device was added all the same")
	}
	if rows, err := s.imports([]byte("device_id,register_id,register_key\npump-01,reg_pump-01," + key + "\n")); err != nil || fmt.Sprint(rows) != "[2 pump-01 failed]" {
		t.Errorf("%q, %v", rows, err)
	}
	s.requests.end("reg_pump-01")
	if r, err := s.giveKey("pump-01", key); err != nil || r.Key != "active" {
		t.Errorf("%+v, %v", r, err)
	}
}

// A new box whose configuration names a key-encryption key that nobody has made yet.
func TestADeviceWithAKeyWhereNothingSealsIt(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	s.flags["vault.kek_file"] = filepath.Join(t.TempDir(), "kek")
	s.on()
	_, err := s.AddDevice(t.Context(), admin.AddDevice{DeviceID: "pump-1", RegisterID: "reg_1", Key: secret.FromString(s.sandbox.MustAddRegister("reg_1"))}, "anna")
	refusedWith(t, err, "invalid", "there is no key-encryption key")
	refusedWith(t, err, "invalid", "edgegw doctor")
	s.off()
}

// Of a bundle that nobody can open it is said why.
func TestABundleWithoutItsKEK(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	file := writeSecret(t, string(masterKEK.Reveal()))
	s.flags["vault.kek_file"] = file
	s.on()
	to, err := s.Recipient(t.Context(), false, "anna")
	must(t, err)
	s.off()
	must(t, os.Rename(file, file+".away"))
	s.on()
	_, err = s.imports(encrypted(t, to, "device_id,register_id\npump-1,reg_1\n"))
	refusedWith(t, err, "not_ready", "key-encryption key")
	if err != nil && strings.Contains(err.Error(), "this box has no key that opens bundles") {
		t.Errorf("it has one: %v", err)
	}
	s.off()
}

// A KEK of before that cannot be read is said: keys that it sealed stay shut.
func TestAPreviousKEKThatCannotBeRead(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	s.flags["vault.kek_file"] = writeSecret(t, string(masterKEK.Reveal()))
	previous := writeSecret(t, strings.Repeat("0123456789abcdef", 4))
	must(t, os.Chmod(previous, 0o644))
	s.flags["vault.previous_kek_file"] = previous
	s.on()
	if text, there := s.condition("kek_previous"); !there || !strings.Contains(text, "chmod 600 "+previous) {
		t.Errorf("said: %q", text)
	}
	s.off()
	must(t, os.Chmod(previous, 0o600))
	s.on()
	if text, there := s.condition("kek_previous"); there {
		t.Errorf("it can be read: %s", text)
	}
	s.off()
}

// A key that was refused and is taken now is said to be taken, also where it comes
// with another device of its register.
func TestAFormerlyRefusedKeyComesWithANewDevice(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	must(t, s.ring.SetKeyState(t.Context(), "reg_pump-01", 1, sale.KeyStateRefused, "test"))
	if c := s.keyed("kiosk-1", "reg_pump-01", s.sandbox.Key("reg_pump-01")); c.Key != "active" || s.statesOf("reg_pump-01") != "1:active" {
		t.Errorf("said %s, stored %s", c.Key, s.statesOf("reg_pump-01"))
	}
}

// Two who ask for the recipient first get the same.
func TestOneRecipientForAll(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	var wg sync.WaitGroup
	got := make([]string, 8)
	for i := range got {
		wg.Go(func() { got[i], _ = s.Recipient(t.Context(), false, "anna") })
	}
	wg.Wait()
	for _, to := range got {
		if to == "" || to != got[0] {
			t.Fatalf("recipients %q", got)
		}
	}
}

// A key-encryption key that comes late opens the platform key, too.
func TestAPlatformKeyWhoseKEKComesLate(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	s.flags["openfiskal.topology"], s.flags["openfiskal.organization"] = "server_side", "org_sandbox"
	file := writeSecret(t, string(masterKEK.Reveal()))
	s.flags["vault.kek_file"] = file
	s.on()
	s.sandbox.MustAddRegister("reg_1")
	c, err := s.AddDevice(t.Context(), admin.AddDevice{DeviceID: "pump-1", RegisterID: "reg_1"}, "anna")
	must(t, err)
	s.secrets["pump-1"] = c.Password
	_, err = s.SetPlatformKey(t.Context(), s.platformKey(), "anna")
	must(t, err)
	s.off()
	must(t, os.Rename(file, file+".away"))
	s.on()
	s.sell("pump-1", "s1")
	await(t, "the queue to wait", func() bool { return s.queueOf(t, "reg_1").Class == sale.KeyRefused })
	must(t, os.Rename(file+".away", file))
	s.lookForKEK(t.Context())
	s.confirmed(1)
	s.off()
}

// What a file says of a device that is there already is taken over.
func TestImportOfAnotherLabel(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	for _, row := range []struct{ kind, label, want string }{
		{"pump", "Pump 1", "[2 pump-1 added missing]"},
		{"pump", "Pump 1", "[2 pump-1 unchanged missing]"},
		{"", "", "[2 pump-1 unchanged missing]"}, // says nothing of either
		{"charger", "Ladesäule 1", "[2 pump-1 updated missing]"},
		{"charger", "", "[2 pump-1 unchanged missing]"},
		{"turbine", "", "[2 pump-1 failed]"},
	} {
		if rows, err := s.imports([]byte("device_id,register_id,kind,label\npump-1,reg_1," + row.kind + "," + row.label + "\n")); err != nil || fmt.Sprint(rows) != row.want {
			t.Errorf("%q %q: %q, %v", row.kind, row.label, rows, err)
		}
	}
	if d, err := s.ring.Get("pump-1"); err != nil || d.Kind != "charger" || d.Label != "Ladesäule 1" {
		t.Errorf("%+v, %v", d, err)
	}
}

// Where the KEK is lost for good, the site comes back register by register, and
// nothing that is still shut elsewhere stands in the way.
func TestAKEKThatIsLostForGood(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	s.flags["vault.kek_file"] = writeSecret(t, string(masterKEK.Reveal()))
	s.on()
	s.add("pump-01")
	s.add("pump-02")
	before, err := s.Recipient(t.Context(), false, "anna")
	must(t, err)
	s.off()
	s.flags["vault.kek_file"] = writeSecret(t, strings.Repeat("0123456789abcdef", 4))
	s.on()
	_, err = s.rotate("pump-01")
	refusedWith(t, err, "not_ready", "add --new-kek")
	if r, err := s.giveKey("pump-02", s.sandbox.Rotate("reg_pump-02")); err != nil || r.Key != "active" {
		t.Fatalf("%+v, %v", r, err)
	}
	if r, err := s.rotate("pump-02"); err != nil || r.Key != "active" { // its key opens, whatever the others' do
		t.Errorf("%+v, %v", r, err)
	}
	r, err := s.RequestKey(t.Context(), admin.KeyRequest{KeyOf: admin.KeyOf{DeviceID: "pump-01"}, Kind: sale.KeyRotate, PlatformKey: s.platformKey(), Organization: "org_sandbox", NewKEK: true}, "anna")
	if err != nil || r.Key != "active" {
		t.Errorf("%+v, %v", r, err)
	}
	_, err = s.Recipient(t.Context(), false, "anna")
	refusedWith(t, err, "not_ready", "edgegw import --recipient --new")
	if to, err := s.Recipient(t.Context(), true, "anna"); err != nil || to == before {
		t.Errorf("recipient %q, %v", to, err)
	}
	if bad := s.ring.Check(); len(bad) != 0 {
		t.Errorf("shut: %+v", bad)
	}
	s.sell("pump-01", "s1")
	s.sell("pump-02", "s1")
	s.confirmed(2)
	s.off()
}

// A site that goes back to register keys says that the platform key is still there,
// and can be rid of it.
func TestAPlatformKeyThatIsNotNeededAnyMore(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	s.flags["openfiskal.topology"], s.flags["openfiskal.organization"] = "server_side", "org_sandbox"
	s.on()
	s.sandbox.MustAddRegister("reg_1")
	_, err := s.AddDevice(t.Context(), admin.AddDevice{DeviceID: "pump-1", RegisterID: "reg_1"}, "anna")
	must(t, err)
	_, err = s.SetPlatformKey(t.Context(), s.platformKey(), "anna")
	must(t, err)
	refusedWith(t, s.ForgetPlatformKey(t.Context(), "anna"), "invalid", "sends with its platform key")
	s.off()
	s.flags["openfiskal.topology"] = "device_direct"
	s.on()
	if text, there := s.condition("platform_key_kept"); !there || !strings.Contains(text, "edgegw key set --platform --forget") {
		t.Errorf("said: %q", text)
	}
	must(t, s.ForgetPlatformKey(t.Context(), "anna"))
	refusedWith(t, s.ForgetPlatformKey(t.Context(), "anna"), "not_found", "no platform key")
	for range 2 {
		if text, there := s.condition("platform_key_kept"); there {
			t.Errorf("it is gone: %s", text)
		}
		s.off()
		s.on()
	}
	keys, err := s.db.Keys(t.Context())
	must(t, err)
	for _, k := range keys {
		if k.Register == sale.PlatformKey && len(k.Sealed) > 0 {
			t.Error("its bytes are still there")
		}
	}
	s.off()
}

// A key that was entered in the wrong place while nobody could be asked is said to
// be refused, the one in use stays, and the wrong one is forgotten.
func TestAWrongKeyBesideTheRightOneIsForgotten(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	s.cutOffUplink()
	if r, err := s.giveKey("pump-01", "ofk_reg_test_of_another_site"); err != nil || r.Key != "pending" {
		t.Fatalf("%+v, %v", r, err)
	}
	s.sandbox.SetDown(false)
	must(t, s.ring.SetKeyState(t.Context(), "reg_pump-01", 2, sale.KeyStateRefused, "test")) // as ten minutes later
	if text, there := s.condition("key_new_refused"); !there || !strings.Contains(text, "the one in use stays") {
		t.Errorf("said: %q", text)
	}
	id := s.sandbox.Inject(sandbox.Fault{Step: sandbox.StepProbe, Action: sandbox.Answer, Status: 401}) // OpenFiskal refuses everything for a moment
	s.verifyKeys(t.Context(), true)
	if got := s.statesOf("reg_pump-01"); got != "2:refused 1:active" {
		t.Errorf("while both are refused: %s", got)
	}
	s.sandbox.Remove(id)
	s.verifyKeys(t.Context(), true)
	if got := s.statesOf("reg_pump-01"); got != "2:refused 1:active" {
		t.Errorf("within the week: %s", got)
	}
	wrong := s.ring.KeyVersions("reg_pump-01")[0]
	wrong.AddedAt = wrong.AddedAt.Add(-beatenAfter) // as a week later
	s.dropBeaten(t.Context(), wrong)
	if got := s.statesOf("reg_pump-01"); got != "1:active" {
		t.Errorf("kept: %s", got)
	}
	s.sell("pump-01", "s1")
	s.confirmed(1)
}

// Who asked last does not decide which registers are asked about.
func TestSuspectsThatNobodyCouldBeAskedAbout(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	s.add("pump-02")
	s.sandbox.Revoke("reg_pump-01")
	s.sandbox.Revoke("reg_pump-02")
	s.cutOffUplink()
	s.Gateway.keys.mu.Lock()
	s.Gateway.keys.suspects["reg_pump-01"], s.Gateway.keys.suspects["reg_pump-02"] = true, true
	s.Gateway.keys.mu.Unlock()
	if !s.verifyKeys(t.Context(), false) {
		t.Error("nothing is left to ask")
	}
	s.sandbox.SetDown(false)
	s.verifyKeys(t.Context(), false)
	if a, b := s.statesOf("reg_pump-01"), s.statesOf("reg_pump-02"); a != "1:refused" || b != "1:refused" {
		t.Errorf("%s, %s", a, b)
	}
}

// A key in the place of a name gets no further: the database's own memory would
// keep it.
func TestTheAuditTrailIsNotAskedForAKey(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	for _, f := range []admin.AuditFilter{{Who: "ofk_reg_live_x"}, {What: "a OFK_platform_x"}, {Subject: "ofk_reg_live_x"}} {
		_, err := s.Audit(t.Context(), f)
		refusedWith(t, err, "invalid", "key where a name belongs")
	}
}
