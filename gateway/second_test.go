package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"edgegw/broker/brokertest"
	"edgegw/fiscal/sandbox"
	"edgegw/mirror"
	"edgegw/store"
)

// sold is a site that has sold: some sales are over, others wait for the uplink, one
// is open.
func sold(t *testing.T) (s *testSite, expect []sandbox.Expect) {
	t.Helper()
	s = newSite(t, sandbox.Options{})
	s.flags["store.mirror_bytes"] = "64MiB"
	s.on()
	s.add("pump-01")
	c := s.connect("pump-01", 5, topic("pump-01", "receipt"))
	publish := func(kind, payload string, n int) {
		t.Helper()
		if err := c.Publish(topic("pump-01", kind), 1, uint16(n), payload); err != nil {
			t.Fatal(err)
		}
		if p, _, err := c.Await(brokertest.PUBACK); err != nil || p.Code != 0 {
			t.Fatalf("%s: %v, code %d", payload, err, p.Code)
		}
	}
	n := 0
	for i := range 12 {
		if i == 4 {
			publish("sale/start", fmt.Sprintf(startEvent, "open"), 100)
			await(t, "the first to be confirmed", func() bool { st, err := s.Status(t.Context()); return err == nil && st.Totals.Confirmed == 4 })
			await(t, "the open one to be started", func() bool {
				q, err := s.db.Queues(t.Context())
				return err == nil && q[0].Idle
			})
			s.sandbox.SetDown(true)
		}
		n++
		id := fmt.Sprintf("s%02d", i)
		publish("sale", fmt.Sprintf(wholeEvent, id), n)
		expect = append(expect, sandbox.Expect{Register: "reg_pump-01", ExternalID: id, Total: 7622})
	}
	return s, expect
}

// killed is the site as a process leaves it that is killed: what is on the disk now.
func (s *testSite) killed(t *testing.T) {
	t.Helper()
	left := t.TempDir()
	copyTree(t, s.dir, left)
	s.off()
	s.dir = left
	s.flags["data_dir"] = left
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.Walk(from, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch {
		case info.IsDir():
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		case info.Mode().IsRegular():
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(to, name), b, 0o600)
		}
		return nil // a socket
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (s *testSite) hasCondition(code string) bool {
	s.t.Helper()
	st, err := s.Status(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, c := range st.Conditions {
		if c.Code == code {
			return true
		}
	}
	return false
}

// ends lets the site drain and ends its open sale, and asks the stand-in: each sale
// once, in order, with its money, and nothing else.
func (s *testSite) ends(expect []sandbox.Expect) {
	s.t.Helper()
	s.sandbox.SetDown(false)
	c := s.connect("pump-01", 5, topic("pump-01", "receipt"))
	if err := c.Publish(topic("pump-01", "sale/complete"), 1, 7, fmt.Sprintf(completeEvent, "open")); err != nil {
		s.t.Fatal(err)
	}
	if p, _, err := c.Await(brokertest.PUBACK); err != nil || p.Code != 0 {
		s.t.Fatalf("%v, code %d", err, p.Code)
	}
	var q []store.Queue
	await(s.t, "the queue to drain", func() bool {
		var err error
		q, err = s.db.Queues(s.t.Context())
		return err == nil && len(q) == 1 && q[0].Waiting == 0
	})
	if n := int64(len(expect) + 1); len(q) == 1 && (q[0].Accepted != n || q[0].Confirmed != n) {
		s.t.Errorf("%+v", q[0])
	}
	all := append([]sandbox.Expect{}, expect[:4]...)
	all = append(all, sandbox.Expect{Register: "reg_pump-01", ExternalID: "open", Total: 7622})
	all = append(all, expect[4:]...)
	if err := s.sandbox.Check(all); err != nil {
		s.t.Error(err)
	}
	if faults, err := s.db.Recount(s.t.Context()); err != nil || len(faults) > 0 {
		s.t.Errorf("%v, %v", faults, err)
	}
}

// harm is one row of the table of docs/reliability.md: what happens to the files of a
// site whose process was killed with sales waiting.
func harm(t *testing.T, do func(t *testing.T, db string), aside bool) {
	t.Helper()
	s, expect := sold(t)
	s.killed(t)
	db := filepath.Join(s.dir, store.FileName)
	do(t, db)
	before := map[string][]byte{}
	for _, end := range []string{"", "-wal"} {
		if b, err := os.ReadFile(db + end); err == nil {
			before[end] = b
		}
	}
	s.on()
	if !s.hasCondition("database_rebuilt") {
		t.Error("nobody is told")
	}
	kept, err := filepath.Glob(db + ".damaged-*")
	if err != nil || (len(kept) > 0) != aside {
		t.Errorf("set aside: %v, %v", kept, err)
	}
	for _, path := range kept {
		if b, err := os.ReadFile(path); err != nil || !strings.HasSuffix(path, "-wal") && !strings.HasSuffix(path, "-shm") && !bytes.Equal(b, before[""]) {
			t.Errorf("%s is not as it was: %v", path, err)
		}
	}
	s.ends(expect)
	if v, err := s.Verify(t.Context(), nil); err != nil || aside && v.Note == "" {
		t.Errorf("the audit trail is said to be whole: %+v, %v", v, err)
	}
	if n, err := s.Acknowledge(t.Context(), "anna"); err != nil || n != 1 || s.hasCondition("database_rebuilt") {
		t.Errorf("acknowledged: %d, %v", n, err)
	}
	s.off()
	s.on() // and it stays so
	if s.hasCondition("database_rebuilt") {
		t.Error("it was made again once more")
	}
	s.off()
}

func TestADeletedDatabaseIsMadeAgain(t *testing.T) {
	harm(t, func(t *testing.T, db string) {
		for _, end := range []string{"", "-wal", "-shm"} {
			if err := os.Remove(db + end); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
	}, false)
}

func TestAnEmptyDatabaseIsMadeAgain(t *testing.T) {
	harm(t, func(t *testing.T, db string) {
		if err := errors.Join(os.WriteFile(db, nil, 0o600), os.Remove(db+"-wal")); err != nil {
			t.Fatal(err)
		}
	}, true)
}

func TestAGarbageHeaderIsMadeGood(t *testing.T) {
	harm(t, func(t *testing.T, db string) {
		overwrite(t, db, 0, bytes.Repeat([]byte{0xa5}, 100))
		overwrite(t, db+"-wal", 0, bytes.Repeat([]byte{0xa5}, 100))
	}, true)
}

func TestAFlippedBitInTheLogLosesNothing(t *testing.T) {
	harm(t, func(t *testing.T, db string) {
		b := logOf(t, db)
		at := len(b) * 2 / 3
		overwrite(t, db+"-wal", int64(at), []byte{b[at] ^ 8})
	}, false)
}

func TestACutOffLogLosesNothing(t *testing.T) {
	harm(t, func(t *testing.T, db string) {
		if err := os.Truncate(db+"-wal", int64(len(logOf(t, db))/2)); err != nil {
			t.Fatal(err)
		}
	}, false)
}

// logOf is the write-ahead log of a database, without the zeros that it was made of.
func logOf(t *testing.T, db string) []byte {
	t.Helper()
	b, err := os.ReadFile(db + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimRight(b, "\x00")
}

func overwrite(t *testing.T, path string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(b, at)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// The shared-memory file holds nothing: SQLite makes it anew, and nobody is bothered.
func TestADeletedShmIsNothing(t *testing.T) {
	s, expect := sold(t)
	s.killed(t)
	_ = os.Remove(filepath.Join(s.dir, store.FileName+"-shm")) // it may not be there at all
	s.on()
	if s.hasCondition("database_rebuilt") {
		t.Error("the database was made again")
	}
	s.ends(expect)
	s.off()
}

// Damage that the gateway meets while it runs ends it; the next start makes the
// database again.
// corrupt has pump-01 sell once more and ends the gateway; then a page of that sale is
// overwritten.
func (s *testSite) corrupt(t *testing.T) {
	t.Helper()
	filler := strings.Repeat("x", 20_000) + "middle of a long message" + strings.Repeat("y", 20_000)
	c := s.connect("pump-01", 5)
	if err := c.Publish(topic("pump-01", "sale"), 1, 50, strings.Replace(fmt.Sprintf(wholeEvent, "long"), "{", `{"filler":"`+filler+`",`, 1)); err != nil {
		t.Fatal(err)
	}
	if p, _, err := c.Await(brokertest.PUBACK); err != nil || p.Code != 0 {
		t.Fatalf("%v, code %d", err, p.Code)
	}
	whole := filepath.Join(t.TempDir(), store.FileName) // with nothing in its log
	if _, err := s.db.Backup(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	s.off()
	db := filepath.Join(s.dir, store.FileName)
	if err := errors.Join(os.Rename(whole, db), os.Remove(db+"-wal")); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte("middle of a long message"))
	if at < 0 {
		t.Fatal("the sale was not found")
	}
	overwrite(t, db, int64(at/4096*4096), []byte{0xff, 0xff, 0xff, 0xff}) // where the message goes on
}

func TestACorruptedPageEndsTheRunAndIsMadeGood(t *testing.T) {
	s, expect := sold(t)
	expect = append(expect, sandbox.Expect{Register: "reg_pump-01", ExternalID: "long", Total: 7622})
	s.corrupt(t)
	s.sandbox.SetDown(false)
	s.on()
	if err := <-s.ended; !store.IsDamage(err) {
		t.Fatalf("the run ended with %v", err)
	}
	s.on()
	if !s.hasCondition("database_rebuilt") {
		t.Error("nobody is told")
	}
	s.ends(expect)
	s.off()
}

// Where nothing can be made again, a damaged page stops the one queue it lies in, and
// no start after the other: the site sells, and says what is wrong.
func TestACorruptedPageStopsOneQueueWithoutASecondJournal(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	s.on()
	s.add("pump-01")
	s.add("pump-02")
	s.sandbox.SetDown(true)
	s.corrupt(t)
	must(t, os.WriteFile(filepath.Join(s.dir, runningFile), []byte(`{"since":"2026-11-22T08:00:00Z","times":0}`), 0o600)) // as after a kill
	s.sandbox.SetDown(false)
	s.on()
	await(t, "the damage to be found", func() bool { return s.hasCondition("database_damaged") })
	await(t, "the queue to be unreadable", func() bool { return s.hasCondition("queue_unreadable") })
	s.sell("pump-02", "s1")
	await(t, "the other queue to go on", func() bool { st, err := s.Status(t.Context()); return err == nil && st.Totals.Confirmed == 1 })
	s.off()
}

// sickSecond is a file of the second journal that fails on command.
type sickSecond struct {
	mirror.File
	sick *atomic.Bool
}

func (f sickSecond) Sync() error {
	if f.sick.Load() {
		return errors.New("input/output error")
	}
	return f.File.Sync()
}

// A second journal whose disk fails stops no sale; somebody is told.
func TestASecondJournalThatIsGoneStopsNoSale(t *testing.T) {
	sick := &atomic.Bool{}
	s := newSite(t, sandbox.Options{})
	s.flags["store.mirror_bytes"] = "64MiB"
	s.options.Second = func(f mirror.File) mirror.File { return sickSecond{f, sick} }
	s.on()
	s.add("pump-01")
	await(t, "the second journal", func() bool { return s.db.SecondState().On })
	sick.Store(true)
	c := s.connect("pump-01", 5, topic("pump-01", "receipt"))
	if err := c.Publish(topic("pump-01", "sale"), 1, 7, fmt.Sprintf(wholeEvent, "s1")); err != nil {
		t.Fatal(err)
	}
	if r := awaitReceipt(t, c, nil); r.SaleID != "s1" {
		t.Errorf("receipt of %s", r.SaleID)
	}
	if !s.hasCondition("second_journal_off") {
		t.Error("nobody is told")
	}
	s.off()
	// One that cannot even be opened.
	if err := os.RemoveAll(filepath.Join(s.dir, mirrorName)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, mirrorName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	sick.Store(false)
	s.on()
	await(t, "the condition", func() bool { return s.hasCondition("second_journal_off") })
	s.off()
}

// A damaged second journal is no reason to believe it, nor to stop.
func TestADamagedSecondJournalIsWrittenAnew(t *testing.T) {
	s, expect := sold(t)
	s.killed(t)
	files, err := filepath.Glob(filepath.Join(s.dir, mirrorName, "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		for at := int64(5000); at < 20000; at += 1700 {
			overwrite(t, f, at, []byte{0xee})
		}
	}
	s.on()
	await(t, "the second journal", func() bool { return s.db.SecondState().On })
	if s.hasCondition("database_rebuilt") || s.hasCondition("second_journal_off") {
		t.Error("it was believed, or is off")
	}
	s.ends(expect)
	s.off()
}
