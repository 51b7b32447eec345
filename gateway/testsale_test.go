package gateway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/doctor"
	"edgegw/fiscal/sandbox"
	"edgegw/secret"
)

// rehearsed makes a sale on a site of its own, as the command does.
func rehearsed(t *testing.T, r Rehearsal, meanwhile func()) (done Rehearsed, err error) {
	inner := newSite(t, sandbox.Options{})
	inner.options.Transport, inner.options.NoSocket = inner.sandbox, true
	inner.flags["data_dir"], inner.flags["openfiskal.base_url"], inner.flags["http.listen"] = r.Dir, sandbox.BaseURL, ""
	inner.on()
	defer inner.off()
	key := inner.sandbox.MustAddRegister(string(r.Device.Register))
	c, err := inner.AddDevice(t.Context(), admin.AddDevice{DeviceID: r.Device.ID, RegisterID: r.Device.Register, Kind: r.Device.Kind, Key: secret.FromString(key)}, "test")
	if err != nil {
		return done, err
	}
	inner.secrets[r.Device.ID] = c.Password
	device := inner.connect(r.Device.ID, 5, topic(r.Device.ID, "receipt"))
	if err := device.Publish(topic(r.Device.ID, "sale"), 1, 1, fmt.Sprintf(wholeEvent, "test")); err != nil {
		return done, err
	}
	hears(t, device, "test", "completed")
	meanwhile()
	story, err := inner.SaleStory(t.Context(), r.Device.ID, "test", true)
	return Rehearsed{What: "a sale in " + r.Currency, Receipt: []byte(`{"state":"completed"}`), Took: time.Second, Parts: story.Parts}, err
}

// rows counts the rows of every table, with what numbering goes by.
func (s *apiSite) rows() (all []string) {
	s.t.Helper()
	for _, table := range s.column(`SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name`) {
		only := ""
		if table == "update_seen" {
			only = ` WHERE sale <> 0` // the gateway's own canaries
		}
		all = append(all, s.column(`SELECT '`+table+` ' || count(*) FROM "`+table+`"`+only)...)
	}
	return append(all, s.column(`SELECT register || ' ' || head || ' ' || tail || ' ' || accepted || ' ' || confirmed || ' ' || waiting FROM queue ORDER BY register`)...)
}

// counted are the metrics of sales, and of requests to OpenFiskal.
func (s *testSite) counted(t *testing.T) (lines []string) {
	for line := range strings.Lines(string(s.exposed(t).text)) {
		for _, name := range []string{"edgegw_sales", "edgegw_openfiskal", "edgegw_receipts", "edgegw_queue", "edgegw_oldest", "edgegw_events", "edgegw_messages", "edgegw_quarantine"} {
			if strings.HasPrefix(line, name) {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// A test sale reaches nobody and leaves nothing: no row, no number, no count, no
// request, no file. It says that the next real sale will go out, and shows the way.
func TestATestSaleLeavesNothing(t *testing.T) {
	during := ""
	s := newAPISite(t)
	defer s.off()
	dir := filepath.Join(s.dir, rehearsalNest)
	s.add("pump-01")
	c := s.connect("pump-01", 5, topic("pump-01", "receipt"))
	if err := c.Publish(topic("pump-01", "sale"), 1, 1, strings.Replace(fmt.Sprintf(wholeEvent, "real"), "EUR", "CHF", 1)); err != nil {
		t.Fatal(err)
	}
	hears(t, c, "real", "completed")
	s.empty(t)
	asked := Rehearsal{}
	s.control.options.Rehearse = func(_ context.Context, r Rehearsal) (Rehearsed, error) {
		asked = r
		if info, err := os.Stat(r.Dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("the folder: %v, %v", info, err)
		}
		return rehearsed(t, r, func() { during = fmt.Sprint(s.rows()) })
	}
	rows, counts, requests, operations := s.rows(), s.counted(t), len(s.sandbox.Requests()), s.sandbox.Totals()
	got, err := s.TestSale(t.Context(), "pump-01", "person:anna")
	if err != nil {
		t.Fatal(err)
	}
	if !got.Ready || got.Sentence != "The way through this gateway works. pump-01 is connected; its key works; the next real sale will go out." ||
		got.Notice != "No fiscal record was made. Only the device itself can make a real sale." || got.Currency != "CHF" || len(got.Parts) < 5 || got.TookMS != 1000 {
		t.Errorf("%+v", got)
	}
	if asked.Dir != dir || asked.Device.ID != "pump-01" || asked.Device.Register != "reg_pump-01" || asked.Device.Kind != "pump" || asked.Currency != "CHF" {
		t.Errorf("the rehearsal: %+v", asked)
	}
	if now := s.rows(); !slices.Equal(now, rows) || during != fmt.Sprint(rows) || len(rows) < 25 {
		t.Errorf("rows before\n%s\nmeanwhile\n%s\nafter\n%s", rows, during, now)
	}
	if now := s.counted(t); !slices.Equal(now, counts) || len(now) < 8 {
		t.Errorf("counted before\n%s\nafter\n%s", counts, now)
	}
	if now := s.sandbox.Totals(); len(s.sandbox.Requests()) != requests || fmt.Sprint(now) != fmt.Sprint(operations) {
		t.Errorf("OpenFiskal has heard of it: %d requests, %+v", len(s.sandbox.Requests())-requests, now)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is left: %v", err)
	}
}

// Whatever becomes of it, the folder goes: after an error, when the gateway ends
// meanwhile, and where a process died, at the next start.
func TestTheFolderOfATestSaleGoes(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	dir := filepath.Join(s.dir, rehearsalNest)
	write := func() {
		must(t, errors.Join(os.MkdirAll(filepath.Join(dir, "deep"), 0o700), os.WriteFile(filepath.Join(dir, "deep", "kek"), []byte("x"), 0o600)))
	}
	gone := func(when string) {
		t.Helper()
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the folder is left: %v", when, err)
		}
	}
	write() // as a process left it that died
	began := make(chan struct{}, 1)
	s.options.Rehearse = func(ctx context.Context, r Rehearsal) (Rehearsed, error) {
		if left, err := os.ReadDir(r.Dir); err != nil || len(left) > 0 {
			t.Errorf("it is not empty: %v, %v", left, err)
		}
		write()
		began <- struct{}{}
		if r.Device.ID == "pump-01" {
			return Rehearsed{}, errors.New("database or disk is full")
		}
		<-ctx.Done()
		return Rehearsed{}, ctx.Err()
	}
	s.on()
	gone("after a start")
	s.add("pump-01")
	s.add("pump-02")
	got, err := s.TestSale(t.Context(), "pump-01", "test")
	<-began
	if err != nil || got.Ready || !strings.Contains(got.Sentence, "It could not be made: database or disk is full. Look at everything: edgegw doctor.") {
		t.Errorf("%+v, %v", got, err)
	}
	gone("after an error")
	write() // what could not be removed
	ended := make(chan error, 1)
	go func() {
		_, err := s.TestSale(t.Context(), "pump-02", "test")
		ended <- err
	}()
	<-began
	refusal := (*admin.Refusal)(nil)
	if _, err := s.TestSale(t.Context(), "pump-01", "test"); !errors.As(err, &refusal) || refusal.Code != "conflict" {
		t.Errorf("a second one beside it: %v", err)
	}
	s.off()
	gone("when the gateway has ended")
	<-ended
}

// A disk that takes nothing is no reason to say nothing.
func TestATestSaleWithoutRoom(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	s.control.options.Rehearse = func(context.Context, Rehearsal) (Rehearsed, error) {
		t.Error("it was tried all the same")
		return Rehearsed{}, nil
	}
	s.trials = filepath.Join(s.dir, "edgegw.lock") // nothing can be made below a file
	got, err := s.TestSale(t.Context(), "pump-01", "test")
	if err != nil || !strings.Contains(got.Sentence, "It could not be made: make a folder for it: ") || state(got.Checks, checkStandIn) != doctor.Failed || state(got.Checks, checkGateway) != doctor.OK {
		t.Errorf("%+v, %v", got, err)
	}
	small := t.TempDir()
	if !smallDisk(t, small, rehearsalRoom/2) {
		return
	}
	s.trials = small
	got, err = s.TestSale(t.Context(), "pump-01", "test")
	if err != nil || !strings.Contains(got.Sentence, "MB of free space in "+small+", and real sales need them") {
		t.Errorf("a full disk: %+v, %v", got, err)
	}
}

// Each thing that stands in the way is said, with what to do.
func TestWhatStandsInTheWayOfTheNextSale(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	s.options.Rehearse = func(context.Context, Rehearsal) (Rehearsed, error) {
		return Rehearsed{What: "a sale", Took: time.Millisecond}, nil
	}
	s.on()
	defer s.off()
	s.add("pump-01")
	says := func(want string, failed ...string) {
		t.Helper()
		got, err := s.TestSale(t.Context(), "pump-01", "test")
		var bad []string
		for _, c := range got.Checks {
			if c.State == doctor.Failed {
				bad = append(bad, c.Check)
			}
			if c.State == doctor.Failed && c.Fix == "" || c.Found == "" || c.Title == "" {
				t.Errorf("nothing is said: %+v", c)
			}
		}
		if err != nil || !strings.Contains(got.Sentence, want) || !slices.Equal(bad, failed) || got.Ready != (len(failed) == 0) || got.Notice != admin.NoFiscalRecord {
			t.Errorf("%q, failed %v, %v\nwant %q, %v", got.Sentence, bad, err, want, failed)
		}
	}
	says("pump-01 has not connected since the gateway started. Check its power", checkDevice)
	if all, err := s.Devices(t.Context()); err != nil || all[0].Queue != "idle" || !all[0].LastSaleAt.IsZero() {
		t.Errorf("the list before a sale: %+v, %v", all, err)
	}
	s.connect("pump-01", 5)
	says("the next real sale will go out")
	s.sandbox.Revoke("reg_pump-01")
	s.sell("pump-01", "s1") // its own connection takes the place of the other
	await(t, "OpenFiskal to refuse the key", func() bool { q := s.queueOf(t, "reg_pump-01"); return !q.BlockedSince.IsZero() })
	await(t, "pump-01 to be gone", func() bool { d, err := s.Device(t.Context(), "pump-01"); return err == nil && d.State == "offline" })
	if all, err := s.Devices(t.Context()); err != nil || all[0].Queue != "blocked" || all[0].Waiting != 1 || time.Since(all[0].LastSaleAt) > time.Hour {
		t.Errorf("the list: %+v, %v", all, err)
	}
	says("pump-01 is not connected, since ", checkDevice, checkKey)
	c := s.connect("pump-01", 5)
	says("OpenFiskal refuses its key (401). Enter a new key: edgegw key set pump-01 --key-stdin. What pump-01 sells meanwhile is taken, and waits.", checkKey)
	s.sandbox.SetDown(true)
	says("does not answer", checkKey, checkQueue)
	s.sandbox.SetDown(false)
	must(t, s.DisableDevice(t.Context(), "pump-01", "test"))
	says("pump-01 is disabled and cannot connect. To let it in again: edgegw device enable pump-01.", checkDevice, checkKey)
	c.Close()
	refusal := (*admin.Refusal)(nil)
	if _, err := s.TestSale(t.Context(), "pump-99", "test"); !errors.As(err, &refusal) || refusal.Code != "not_found" {
		t.Errorf("a device that is none: %v", err)
	}
}

// A sale in quarantine is a sale: its device has sold.
func TestTheLastSaleOfADeviceInQuarantine(t *testing.T) {
	s, c := quarantineSite(t, "step_over")
	defer s.off()
	s.refuse(sandbox.StepComplete, sandbox.Answer)
	must(t, c.Publish(topic("pump-01", "sale"), 1, 1, fmt.Sprintf(wholeEvent, "s1")))
	hears(t, c, "s1", "quarantined")
	if all, err := s.Devices(t.Context()); err != nil || all[0].LastSaleAt.IsZero() {
		t.Errorf("%+v, %v", all, err)
	}
}
