package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/backup"
	"edgegw/broker/brokertest"
	"edgegw/config"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/store"
)

var phrase = secret.FromString("correct horse battery")

// backedUp makes a backup of the site.
func (s *testSite) backedUp() []byte {
	s.t.Helper()
	var b bytes.Buffer
	must(s.t, s.Backup(s.t.Context(), phrase, &b, "anna"))
	return b.Bytes()
}

// restore puts a backup back. The gateway must be off.
func (s *testSite) restore(file []byte, setAside bool) (Restored, error) {
	s.t.Helper()
	c, err := config.Load(config.Options{Flags: s.flags, Search: []string{}})
	must(s.t, err)
	return Restore(s.t.Context(), c, s.options, bytes.NewReader(file), phrase, setAside, "anna")
}

// elsewhere ends the box, and puts a backup back on another one.
func (s *testSite) elsewhere(file []byte) Restored {
	s.t.Helper()
	s.off()
	s.dir = s.t.TempDir()
	s.flags["data_dir"] = s.dir
	r, err := s.restore(file, false)
	must(s.t, err)
	return r
}

// report sends events of a device and waits until each is acknowledged.
func (s *testSite) report(id sale.DeviceID, events ...[2]string) {
	s.t.Helper()
	c := s.connect(id, 5)
	defer c.Close()
	for i, e := range events {
		must(s.t, c.Publish(topic(id, e[0]), 1, uint16(i+1), e[1]))
		if p, _, err := c.Await(brokertest.PUBACK); err != nil || p.Code != 0 {
			s.t.Fatalf("PUBACK %#x, %v", p.Code, err)
		}
	}
}

func started(id string) [2]string { return [2]string{"sale/start", fmt.Sprintf(startEvent, id)} }
func completed(id string) [2]string {
	return [2]string{"sale/complete", fmt.Sprintf(completeEvent, id)}
}
func whole(id string) [2]string { return [2]string{"sale", fmt.Sprintf(wholeEvent, id)} }

// happened is a whole sale of a time.
func happened(id string, at time.Time) [2]string {
	return [2]string{"sale", strings.ReplaceAll(fmt.Sprintf(wholeEvent, id), "2026-11-22T08:33:00+01:00", at.Format(time.RFC3339))}
}

func updated(id string) [2]string {
	return [2]string{"sale/update", `{"sale_id":"` + id + `","occurred_at":"2026-11-22T08:32:00+01:00","line_items":[{"description":"Super E10","quantity":"1","unit":"l","unit_price":"1.799","amount":180,"tax":{"rate":"0.19","category":"standard"}}]}`}
}
func cancelled(id string) [2]string {
	return [2]string{"sale/cancel", `{"sale_id":"` + id + `","occurred_at":"2026-11-22T08:33:00+01:00"}`}
}

// Yesterday's backup is put back on another box. All that was sold and sent since
// is at OpenFiskal; the backup knows it as waiting, or not at all, and devices
// report it again. Nothing goes there twice, whether OpenFiskal takes the gateway's
// ids or makes its own.
func TestYesterdaysBackupRewindsNothing(t *testing.T) {
	for _, own := range []bool{false, true} {
		t.Run(fmt.Sprintf("ids of its own %v", own), func(t *testing.T) {
			s := newSite(t, sandbox.Options{ServerIDs: own}).on()
			s.add("pump-01")
			s.add("kiosk-1")
			s.report("pump-01", whole("before"), started("open"), started("ended-since"), started("cancelled-since"))
			await(t, "the day to be sent", func() bool { return len(s.sandbox.Operations("reg_pump-01")) == 4 })
			s.confirmed(1)
			s.cutOffUplink()
			s.report("pump-01", whole("waits"), started("begun"), started("steps"), updated("steps"), completed("steps"), started("gone"), updated("gone"), whole("reused"))
			s.report("kiosk-1", whole("waits"))
			file := s.backedUp()
			s.sandbox.SetDown(false)
			s.report("pump-01", completed("begun"), completed("ended-since"), cancelled("cancelled-since"), cancelled("gone"), whole("unknown"))
			s.report("kiosk-1", whole("unknown"))
			s.confirmed(11)
			totals := s.sandbox.Totals()
			if r := s.elsewhere(file); r.Waiting == 0 || r.SetAside != "" || r.KEK != "inside" {
				t.Fatalf("%+v", r)
			}
			s.on()
			// Before anything else devices report again what they are not sure of.
			again := [][2]string{completed("begun"), completed("ended-since"), cancelled("cancelled-since"), cancelled("gone"), whole("unknown"), whole("waits")}
			s.report("pump-01", again...)
			s.report("kiosk-1", whole("unknown"))
			await(t, "all to be known as sent", func() bool {
				st, err := s.Status(t.Context())
				return err == nil && st.Totals.Waiting == 1 // the one that is open
			})
			if now := s.sandbox.Totals(); !reflect.DeepEqual(now, totals) {
				t.Errorf("OpenFiskal held %+v, and now %+v", totals, now)
			}
			s.report("pump-01", completed("open"), whole("new"))
			s.confirmed(13)
			if items, err := s.db.Items(t.Context(), store.ItemFilter{Open: true}); err != nil || len(items) != 0 {
				t.Errorf("in quarantine: %+v, %v", items, err)
			}
			var expect []sandbox.Expect
			for _, id := range []string{"before", "open", "ended-since", "cancelled-since", "waits", "begun", "steps", "gone", "reused", "unknown", "new"} {
				expect = append(expect, sandbox.Expect{Register: "reg_pump-01", ExternalID: id, Total: 7622, Cancelled: id == "cancelled-since" || id == "gone"})
			}
			for _, id := range []string{"waits", "unknown"} {
				expect = append(expect, sandbox.Expect{Register: "reg_kiosk-1", ExternalID: id, Total: 7622})
			}
			if err := s.sandbox.Check(expect); err != nil {
				t.Error(err)
			}
			if text, there := s.condition("restored"); there {
				t.Errorf("all was read back: %s", text)
			}
			s.off()
		})
	}
}

// A register that came after the backup is read back as well when it is added again.
func TestARegisterThatTheBackupDoesNotKnow(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	file := s.backedUp()
	s.add("pump-02")
	s.report("pump-02", whole("s1"))
	s.confirmed(1)
	s.elsewhere(file)
	s.on()
	s.keyed("pump-02", "reg_pump-02", s.sandbox.Key("reg_pump-02"))
	s.report("pump-02", whole("s1"), whole("s2"))
	s.confirmed(2)
	if n := len(s.sandbox.Operations("reg_pump-02")); n != 2 {
		t.Errorf("OpenFiskal has %d sales, want 2", n)
	}
	s.off()
}

// A device that used a sale id again, for another sum, is no reason to lose either
// sale, nor to send one as the other: a person decides. So it is where two devices
// of a register count alike: each has its own.
func TestAnotherSaleOfTheSameIDAfterARestore(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	c, err := s.AddDevice(t.Context(), admin.AddDevice{DeviceID: "kiosk-1", RegisterID: "reg_pump-01"}, "anna")
	must(t, err)
	s.secrets["kiosk-1"] = c.Password
	file := s.backedUp()
	s.report("pump-01", whole("1"))
	s.confirmed(1)
	s.elsewhere(file)
	s.on()
	s.report("kiosk-1", whole("1"))
	s.confirmed(1)
	s.report("pump-01", [2]string{"sale", strings.NewReplacer("7622", "7600", "1.799", "1.7937").Replace(fmt.Sprintf(wholeEvent, "1"))})
	await(t, "a person to be asked", func() bool {
		items, err := s.db.Items(t.Context(), store.ItemFilter{Open: true})
		return err == nil && len(items) == 1 && items[0].Device == "pump-01"
	})
	if n := len(s.sandbox.Operations("reg_pump-01")); n != 2 {
		t.Errorf("OpenFiskal has %d sales, want 2", n)
	}
	s.off()
}

// Without an uplink nothing is known, nothing is sent, and that is said. When it is
// back, all goes on.
func TestARestoreWaitsForTheUplink(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	s.cutOffUplink()
	s.report("pump-01", whole("waits"))
	file := s.backedUp()
	s.sandbox.SetDown(false)
	s.confirmed(1)
	s.sandbox.SetDown(true)
	s.elsewhere(file)
	for range 2 { // also after a restart in the middle
		s.on()
		await(t, "the uplink to be seen down", func() bool { return !s.relay.Uplink().Up })
		if text, there := s.condition("restored"); !there || !strings.Contains(text, "reg_pump-01") {
			t.Errorf("said: %q", text)
		}
		s.off()
	}
	s.sandbox.SetDown(false)
	s.on()
	s.confirmed(1)
	if n := len(s.sandbox.Operations("reg_pump-01")); n != 1 {
		t.Errorf("OpenFiskal has %d sales, want 1", n)
	}
	s.off()
}

// Where OpenFiskal does not say what it has, a person decides about what may have
// been sent, and new sales go on.
func TestARestoreWhereTheListIsRefused(t *testing.T) {
	s := newSite(t, sandbox.Options{ServerIDs: true})
	s.options.Clock.Synchronised = func() bool { return false } // so that nobody knows how old the backup is
	s.on()
	s.add("pump-01")
	s.cutOffUplink()
	s.report("pump-01", whole("waits"))
	file := s.backedUp()
	s.sandbox.SetDown(false)
	s.confirmed(1)
	s.sandbox.Inject(sandbox.Fault{Step: sandbox.StepLookup, Action: sandbox.Answer, Status: 403})
	s.elsewhere(file)
	s.on()
	s.report("pump-01", happened("new", time.Now().Add(time.Minute)))
	// Where the attempt of before was cut, it is in doubt since then, and the same
	// idempotency key may go out again: the service itself tells a repeated call.
	await(t, "a person to be asked about what waited, or the service to have told it", func() bool {
		items, err := s.db.Items(t.Context(), store.ItemFilter{Open: true})
		st, statusErr := s.Status(t.Context())
		return err == nil && statusErr == nil && (len(items) == 1 && items[0].SaleID == "waits" && st.Totals.Confirmed == 1 || len(items) == 0 && st.Totals.Confirmed == 2)
	})
	if text, there := s.condition("restored_unread"); !there {
		t.Errorf("said: %q", text)
	}
	if n := len(s.sandbox.Operations("reg_pump-01")); n != 2 {
		t.Errorf("OpenFiskal has %d sales, want 2", n)
	}
	s.off()
}

// What is there is never replaced without a word, and never deleted.
func TestARestoreOverData(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	file := s.backedUp()
	if _, err := s.restore(file, true); !errors.Is(err, ErrRunning) {
		t.Errorf("under a running gateway: %v", err)
	}
	s.report("pump-01", whole("s1"))
	s.confirmed(1)
	s.cutOffUplink()
	s.report("pump-01", whole("s2"))
	s.off()
	_, err := s.restore(file, false)
	refusedWith(t, err, "conflict", "2 sales were accepted, of which 1 waits to be sent; 2 events are newer than the backup")
	_, err = s.restore(file[:len(file)-9], true)
	refusedWith(t, err, "invalid", "Nothing was changed")
	s.sandbox.SetDown(false)
	s.on() // as it was
	s.confirmed(2)
	s.off()
	r, err := s.restore(file, true)
	if err != nil || !strings.HasPrefix(filepath.Base(r.SetAside), "before-restore-") {
		t.Fatalf("%+v, %v", r, err)
	}
	aside, err := store.Look(t.Context(), filepath.Join(r.SetAside, store.FileName))
	if err != nil || aside.Sales != 2 {
		t.Errorf("set aside: %+v, %v", aside, err)
	}
	s.on()
	s.report("pump-01", whole("s1"), whole("s2"), whole("s3"))
	s.confirmed(3)
	if n := len(s.sandbox.Operations("reg_pump-01")); n != 3 {
		t.Errorf("OpenFiskal has %d sales, want 3", n)
	}
	s.off()
}

// A restore that is cut off at any step leaves the old data or the new, whole.
func TestARestoreIsCutOff(t *testing.T) {
	template := newSite(t, sandbox.Options{}).on()
	template.add("pump-01")
	template.off()
	old, err := store.Look(t.Context(), filepath.Join(template.dir, store.FileName))
	must(t, err)
	dir := t.TempDir()
	must(t, os.CopyFS(dir, os.DirFS(template.dir)))
	nest := filepath.Join(dir, restoreNest)
	must(t, os.Mkdir(nest, 0o700))
	must(t, os.WriteFile(filepath.Join(nest, store.FileName), []byte("half"), 0o600))
	must(t, os.WriteFile(filepath.Join(nest, planName+".new"), []byte(`{"files":["edge`), 0o600))
	must(t, finishRestore(dir)) // without a whole plan: as if nothing had been
	if now, err := store.Look(t.Context(), filepath.Join(dir, store.FileName)); err != nil || now != old {
		t.Errorf("%+v, %v", now, err)
	}
	names := []string{store.FileName, "site-ca.pem", "site-ca-key.pem", "kek"}
	plan := restorePlan{Files: names, Aside: "before"}
	for steps := range 2*len(names) + 3 { // renames that were done before the power went
		dir := t.TempDir()
		nest := filepath.Join(dir, restoreNest)
		must(t, os.Mkdir(nest, 0o700))
		for _, name := range names {
			must(t, os.WriteFile(filepath.Join(dir, name), []byte("old"), 0o600))
			must(t, os.WriteFile(filepath.Join(nest, name), []byte("new"), 0o600))
		}
		must(t, plan.write(dir, nest))
		done := 0
		step := func(f func() error) {
			if done++; done <= steps {
				must(t, f())
			}
		}
		step(func() error { return os.Mkdir(filepath.Join(dir, plan.Aside), 0o700) })
		for _, name := range names {
			step(func() error { return os.Rename(filepath.Join(dir, name), filepath.Join(dir, plan.Aside, name)) })
		}
		step(func() error { return writeSynced(filepath.Join(nest, movedName), nil) })
		for _, name := range names {
			step(func() error { return os.Rename(filepath.Join(nest, name), filepath.Join(dir, name)) })
		}
		must(t, finishRestore(dir))
		for _, name := range names {
			now, _ := os.ReadFile(filepath.Join(dir, name))
			before, _ := os.ReadFile(filepath.Join(dir, plan.Aside, name))
			if string(now) != "new" || string(before) != "old" {
				t.Errorf("after %d steps: %s is %q, set aside %q", steps, name, now, before)
			}
		}
		if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) != 0 {
			t.Errorf("left: %q", left)
		}
	}
}

// A backup is made while sales come in, and holds them all up to a moment.
func TestABackupWhileSellingHoldsAWholeMoment(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	ctx, stop := context.WithCancel(t.Context())
	sold := make(chan int)
	go func() {
		c := s.connect("pump-01", 5)
		n := 0
		for ; ctx.Err() == nil; n++ {
			if c.Publish(topic("pump-01", "sale"), 1, uint16(n+1), fmt.Sprintf(wholeEvent, fmt.Sprint(n))) != nil {
				break
			}
			if p, _, err := c.Await(brokertest.PUBACK); err != nil || p.Code != 0 {
				break
			}
		}
		sold <- n
	}()
	var last int64
	for range 5 {
		file := s.backedUp()
		m, err := backup.Verify(bytes.NewReader(file), phrase)
		if err != nil || m.Sales < last || m.Clock != "synchronised" || m.MadeBy != "anna" || time.Since(m.MadeAt) > time.Minute {
			t.Errorf("%+v, %v", m, err)
		}
		last = m.Sales
		for _, key := range append(slices.Clone(s.keys), s.secrets["pump-01"]) {
			if bytes.Contains(file, []byte(key)) {
				t.Error("a secret stands in it in clear")
			}
		}
	}
	stop()
	n := <-sold
	file := s.backedUp()
	m, err := backup.Verify(bytes.NewReader(file), phrase)
	if err != nil || m.Sales != int64(n) || n == 0 {
		t.Errorf("%d sold, %+v, %v", n, m, err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, backupNest)); len(left) != 0 {
		t.Errorf("a copy in clear is left: %q", left)
	}
	refusedWith(t, s.Backup(t.Context(), secret.FromString("short"), &bytes.Buffer{}, "anna"), "invalid", "at least 12")
	lines, err := s.Audit(t.Context(), admin.AuditFilter{What: "backup made"})
	if err != nil || len(lines) != 6 || lines[0].Who != "anna" {
		t.Errorf("audit: %+v, %v", lines, err)
	}
	s.off()
}

// A restore that is done does not begin anew, whatever of its folder is left: without
// the mark a plan would set the backup aside, over what was set aside before.
func TestTheEndOfARestoreTakesThePlanFirst(t *testing.T) {
	nest := t.TempDir()
	for _, name := range []string{planName, movedName} {
		if err := os.WriteFile(filepath.Join(nest, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := removePlan(nest); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(nest)
	if err != nil || len(left) != 1 || left[0].Name() != movedName {
		t.Errorf("%v is left, %v", left, err)
	}
}
