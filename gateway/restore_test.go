package gateway

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/backup"
	"edgegw/config"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/store"
)

// holds reports what OpenFiskal has of a register, and fails where that is another
// number of sales.
func (s *testSite) holds(register string, want int) {
	s.t.Helper()
	all := s.sandbox.Operations(register)
	if len(all) == want {
		return
	}
	var ids []string
	for _, o := range all {
		ids = append(ids, fmt.Sprintf("%s (%s, %s)", o.ExternalID, o.ID, o.State))
	}
	s.t.Errorf("OpenFiskal has %d sales of %s, want %d: %s", len(all), register, want, strings.Join(ids, ", "))
}

// A backup is put back on a box without an uplink, which is backed up before it has
// asked OpenFiskal for anything, or after it has, and then lost as well. What the
// first box sent is still not sent again.
func TestABackupOfARestoredBox(t *testing.T) {
	for _, read := range []bool{false, true} {
		t.Run(fmt.Sprintf("was read back %v", read), func(t *testing.T) {
			s := newSite(t, sandbox.Options{ServerIDs: true}).on()
			s.add("pump-01")
			s.cutOffUplink()
			s.report("pump-01", whole("waits"))
			first := s.backedUp()
			s.sandbox.SetDown(false)
			later := [][2]string{whole("unknown")}
			for n := range 60 { // so that it is not on the first page of a list
				later = append(later, whole(fmt.Sprint("later-", n)))
			}
			s.report("pump-01", later...)
			s.confirmed(62)
			s.options.Clock.Wall = func() time.Time { return time.Now().Add(72 * time.Hour) } // days go by
			if !read {
				s.sandbox.SetDown(true)
			}
			s.elsewhere(first)
			s.on()
			if read {
				s.confirmed(1)
			}
			second := s.backedUp()
			s.sandbox.SetDown(false)
			s.elsewhere(second)
			s.on()
			s.report("pump-01", whole("unknown"), whole("new"))
			s.confirmed(3)
			s.holds("reg_pump-01", 63)
			s.off()
		})
	}
}

// The copy that an update has made takes the place of what came after it, with the
// site's authority that is there. What was sent since is read back like behind a backup.
func TestTheCopyOfBeforeAnUpdate(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	s.cutOffUplink()
	s.report("pump-01", whole("waits"))
	path := filepath.Join(t.TempDir(), "copy") // as an update makes it
	_, err := s.db.Backup(t.Context(), path)
	must(t, err)
	file, err := os.ReadFile(path)
	must(t, err)
	s.sandbox.SetDown(false)
	s.report("pump-01", whole("since"))
	s.confirmed(2)
	s.off()
	if _, err := s.restore(file[:4096], true); err == nil || !strings.Contains(err.Error(), "Nothing was changed") {
		t.Errorf("half a copy was taken: %v", err)
	}
	if _, err := s.restore(file, false); err == nil || !strings.Contains(err.Error(), "--set-aside") {
		t.Errorf("what is there was put away without a word: %v", err)
	}
	r, err := s.restore(file, true)
	if err != nil || r.Sales != 1 || r.Waiting != 1 || r.SetAside == "" {
		t.Fatalf("%+v, %v", r, err)
	}
	s.on()
	s.report("pump-01", whole("since"), whole("new")) // by the authority that the device knows
	s.confirmed(3)
	if err := s.sandbox.Check([]sandbox.Expect{{Register: "reg_pump-01", ExternalID: "waits", Total: 7622}, {Register: "reg_pump-01", ExternalID: "since", Total: 7622}, {Register: "reg_pump-01", ExternalID: "new", Total: 7622}}); err != nil {
		t.Error(err)
	}
	s.off()
}

// The log of a database that is gone is data: nobody puts a backup beside it, and the
// question whether there is data does not have SQLite delete it.
func TestARestoreBesideALogWithoutItsDatabase(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	file := s.backedUp()
	s.off()
	for name, harm := range map[string]func(path string) error{"no bytes": func(path string) error { return os.Truncate(path, 0) }, "no name": os.Remove} {
		path := filepath.Join(s.dir, store.FileName)
		must(t, os.WriteFile(path, nil, 0o600))
		must(t, harm(path))
		log := []byte("7\x7f\x06\x82 and what was sold last")
		must(t, os.WriteFile(path+"-wal", log, 0o600))
		if _, err := s.restore(file, false); err == nil || !strings.Contains(err.Error(), "--set-aside") {
			t.Errorf("%s: what is there was put away without a word: %v", name, err)
		}
		if b, err := os.ReadFile(path + "-wal"); err != nil || !bytes.Equal(b, log) {
			t.Fatalf("%s: the log has %d bytes (%v)", name, len(b), err)
		}
	}
	r, err := s.restore(file, true)
	must(t, err)
	if _, err := os.Stat(filepath.Join(r.SetAside, store.FileName+"-wal")); err != nil {
		t.Error(err)
	}
	s.on()
	s.report("pump-01", whole("1"))
	s.confirmed(1)
	s.off()
}

// A device whose clock is years ahead reports again what was sent since the backup.
func TestADeviceAheadOfItsTimeAfterARestore(t *testing.T) {
	s := newSite(t, sandbox.Options{ServerIDs: true}).on()
	s.add("pump-01")
	ahead := func(id string) [2]string {
		return [2]string{"sale", strings.ReplaceAll(fmt.Sprintf(wholeEvent, id), "2026-11-22", "2036-11-22")}
	}
	s.cutOffUplink()
	s.report("pump-01", ahead("waits"))
	file := s.backedUp()
	s.sandbox.SetDown(false)
	s.report("pump-01", ahead("unknown"))
	s.confirmed(2)
	s.elsewhere(file)
	s.on()
	s.report("pump-01", ahead("unknown"))
	s.confirmed(2)
	s.holds("reg_pump-01", 2)
	s.off()
}

// A backup of a box on which no device was yet.
func TestABackupOfAnEmptyBox(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	file := s.backedUp()
	s.add("pump-01")
	s.report("pump-01", whole("1"))
	s.confirmed(1)
	s.elsewhere(file)
	s.on()
	s.keyed("pump-01", "reg_pump-01", s.sandbox.Key("reg_pump-01"))
	s.report("pump-01", whole("1"))
	s.confirmed(1)
	s.holds("reg_pump-01", 1)
	s.off()
}

// What is set aside stays whatever the clock says: two restores in one second, or on
// a box whose clock begins anew with each start.
func TestWhatIsSetAsideIsNotOverwritten(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	file := s.backedUp()
	s.cutOffUplink()
	s.report("pump-01", whole("1"))
	s.off()
	for range 3 {
		if _, err := s.restore(file, true); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.salesSetAside(); n != 1 {
		t.Errorf("%d of the sales that were set aside are left, want 1", n)
	}
}

func (s *testSite) salesSetAside() (n int64) {
	s.t.Helper()
	all, err := filepath.Glob(filepath.Join(s.dir, "before-restore-*", store.FileName))
	must(s.t, err)
	for _, path := range all {
		e, err := store.Look(s.t.Context(), path)
		must(s.t, err)
		n += e.Sales
	}
	return n
}

// The start named a cashier, and the device reports the end again, which names none.
func TestAnEndWithoutItsCashierAfterARestore(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	file := s.backedUp()
	start := [2]string{"sale/start", strings.Replace(fmt.Sprintf(startEvent, "1"), "{", `{"cashier":{"id":"anna"},`, 1)}
	end := [2]string{"sale/complete", strings.Replace(fmt.Sprintf(completeEvent, "1"), "{", `{"currency":"EUR",`, 1)}
	s.report("pump-01", start, end)
	s.confirmed(1)
	s.elsewhere(file)
	s.on()
	s.report("pump-01", end)
	await(t, "the sale to be known, or a person to be asked", func() bool {
		st, err := s.Status(t.Context())
		return err == nil && (st.Totals.Confirmed == 1 || st.Totals.Quarantined == 1)
	})
	s.holds("reg_pump-01", 1)
	s.off()
}

// Two devices of one register count alike and are used by the same cashier.
func TestTwoDevicesOfOneCashierAfterARestore(t *testing.T) {
	s := newSite(t, sandbox.Options{ServerIDs: true}).on()
	s.add("pump-01")
	c, err := s.AddDevice(t.Context(), admin.AddDevice{DeviceID: "kiosk-1", RegisterID: "reg_pump-01"}, "anna")
	must(t, err)
	s.secrets["kiosk-1"] = c.Password
	file := s.backedUp()
	by := func(id string) [2]string {
		return [2]string{"sale", strings.Replace(fmt.Sprintf(wholeEvent, id), "{", `{"cashier":{"id":"anna"},`, 1)}
	}
	s.report("pump-01", by("1"))
	s.confirmed(1)
	s.elsewhere(file)
	s.on()
	s.report("pump-01", by("1"))
	s.confirmed(1)
	s.report("kiosk-1", by("1"))
	s.confirmed(2)
	s.holds("reg_pump-01", 2)
	s.off()
}

// What refused the list was not OpenFiskal, or not for ever. It is asked again, by the
// next start at the latest.
func TestAListThatIsGivenLater(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	file := s.backedUp()
	s.report("pump-01", whole("unknown"))
	s.confirmed(1)
	s.sandbox.Inject(sandbox.Fault{Step: sandbox.StepLookup, Action: sandbox.Answer, Status: 403})
	s.elsewhere(file)
	s.on()
	s.report("pump-01", happened("new", time.Now().Add(time.Minute)))
	s.confirmed(1)
	s.off()
	s.sandbox.ClearFaults()
	s.on()
	s.report("pump-01", whole("unknown"))
	s.confirmed(2)
	s.holds("reg_pump-01", 2)
	if text, there := s.condition("restored_unread"); there {
		t.Errorf("all was read back: %s", text)
	}
	s.off()
}

// Where the list is never given, what may have been sent by the box that was lost is
// asked of a person, and goes on his word.
func TestARepeatedSaleWhereTheListIsRefused(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	file := s.backedUp()
	sold := happened("unknown", time.Now())
	s.report("pump-01", sold)
	s.confirmed(1)
	s.sandbox.Inject(sandbox.Fault{Step: sandbox.StepLookup, Action: sandbox.Answer, Status: 403})
	s.options.Clock.Wall = func() time.Time { return time.Now().Add(time.Minute) }
	s.elsewhere(file)
	s.on()
	s.report("pump-01", sold, happened("new", time.Now().Add(time.Hour)))
	s.confirmed(1)
	item := s.onlyItem(t)
	if item.SaleID != "unknown" || item.Code != "repeat_unproven" {
		t.Errorf("%+v", item)
	}
	s.holds("reg_pump-01", 2)
	s.decide(t, item.ID, sale.DecisionRetry, "")
	s.confirmed(2)
	s.holds("reg_pump-01", 3)
	s.off()
}

// Who has the passphrase may have made the file himself. It brings a site's data, and
// nothing that says where keys are sent.
func TestABackupOfSomethingElse(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	must(t, os.WriteFile(filepath.Join(s.dir, config.SettingsFile), []byte("site:\n  name: mine\n"), 0o600))
	for _, names := range [][]string{{}, {"site-ca.pem"}, {store.FileName, config.SettingsFile}, {store.FileName, "edgegw.lock"}} {
		from := t.TempDir()
		for _, name := range names {
			must(t, os.WriteFile(filepath.Join(from, name), []byte("site:\n  name: theirs\n"), 0o600))
		}
		var file bytes.Buffer
		must(t, backup.Write(&file, phrase, backup.Manifest{}, from, names))
		_, err := s.restore(file.Bytes(), true)
		refusedWith(t, err, "invalid", "this is no backup of edgegw")
	}
	text, err := os.ReadFile(filepath.Join(s.dir, config.SettingsFile))
	left, _ := filepath.Glob(filepath.Join(s.dir, ".*"))
	if err != nil || !strings.Contains(string(text), "mine") || len(left) != 0 {
		t.Errorf("%q, %v, left %q", text, err, left)
	}
}

// A person decided since the backup, in which the sale still waits for him. He decides
// again, and the sale is not sent again.
func TestADecisionThatTheBackupDoesNotKnow(t *testing.T) {
	for _, step := range []sandbox.Step{sandbox.StepStart, sandbox.StepComplete} {
		for _, own := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, ids of its own %v", step, own), func(t *testing.T) {
				s := newSite(t, sandbox.Options{ServerIDs: own}).on()
				s.add("pump-01")
				s.sandbox.Inject(sandbox.Fault{Step: step, Times: 1, Action: sandbox.Answer, Status: 400})
				s.report("pump-01", whole("refused"))
				await(t, "a person to be asked", func() bool {
					st, err := s.Status(t.Context())
					return err == nil && st.Totals.Quarantined == 1
				})
				file := s.backedUp()
				s.decide(t, s.onlyItem(t).ID, sale.DecisionRetry, "")
				s.confirmed(1)
				s.elsewhere(file)
				s.on()
				s.decide(t, s.onlyItem(t).ID, sale.DecisionRetry, "")
				s.confirmed(1)
				s.holds("reg_pump-01", 1)
				s.off()
			})
		}
	}
}

// The copy that an update has made is put back, and nothing of it is sent twice. A
// database without its log is refused, in which the last sales may stand, and so is a
// copy that is torn.
func TestTheCopyOfAnUpdateIsPutBack(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	copied := func() []byte {
		to := filepath.Join(t.TempDir(), store.FileName)
		_, err := s.db.Backup(t.Context(), to)
		must(t, err)
		text, err := os.ReadFile(to)
		must(t, err)
		return text
	}
	s.add("pump-01")
	begun := copied()
	s.off()
	if _, err := s.restore(begun, true); err != nil {
		t.Fatal(err)
	}
	s.on()
	s.cutOffUplink()
	s.report("pump-01", whole("s1"))
	update := copied()
	s.off()
	live, err := os.ReadFile(filepath.Join(s.dir, store.FileName))
	must(t, err)
	_, err = s.restore(live, true)
	refusedWith(t, err, "invalid", "-wal")
	for at := 4096; at < len(update); at += 5 * 4096 {
		torn := bytes.Clone(update)
		clear(torn[at : at+4096])
		_, err = s.restore(torn, true)
		refusedWith(t, err, "invalid", "Nothing was changed")
	}
	s.sandbox.SetDown(false)
	s.on()
	s.report("pump-01", whole("s2"))
	s.confirmed(2)
	s.off()
	r, err := s.restore(update, true)
	if err != nil || r.Sales != 1 || r.Waiting != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	s.on()
	s.report("pump-01", whole("s1"), whole("s2"), whole("s3"))
	s.confirmed(3)
	s.holds("reg_pump-01", 3)
	s.off()
}
