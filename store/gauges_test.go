package store

import (
	"database/sql/driver"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"edgegw/sale"
)

// A commit is told before what it holds is answered, a transaction that was
// undone never.
func TestCommitsAreTold(t *testing.T) {
	var commits, changes, negative atomic.Int64
	db, err := Open(t.Context(), t.TempDir(), Options{Committed: func(took time.Duration, n int) {
		commits.Add(1)
		changes.Add(int64(n))
		if took < 0 {
			negative.Add(1)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	addDevice(t, db, "pump-01", "reg_1")
	const sales = 20
	ends := make(chan error, sales)
	for i := range sales {
		db.Append(t.Context(), entry("pump-01", "reg_1", sale.Whole, fmt.Sprint("s", i), "a"), func(_ sale.Accepted, err error) { ends <- err })
	}
	for range sales {
		if err := <-ends; err != nil {
			t.Fatal(err)
		}
	}
	if got := changes.Load(); got != sales+1 || commits.Load() < 2 || commits.Load() > got || negative.Load() != 0 {
		t.Errorf("%d commits of %d changes, %d of them with a negative time; want %d changes", commits.Load(), got, negative.Load(), sales+1)
	}
}

func TestAnUndoneTransactionIsNotTold(t *testing.T) {
	var told atomic.Int64
	fail := &atomic.Pointer[string]{}
	db, err := Open(t.Context(), t.TempDir(), Options{
		Disk:      func(c driver.Connector) driver.Connector { return fickle{c, fail} },
		Committed: func(time.Duration, int) { told.Add(1) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	addDevice(t, db, "pump-01", "reg_1")
	before, commit := told.Load(), "COMMIT"
	fail.Store(&commit)
	if _, err := appendNow(t, db, entry("pump-01", "reg_1", sale.Whole, "s1", "a")); err == nil {
		t.Fatal("the commit did not fail")
	}
	if before == 0 || told.Load() != before {
		t.Errorf("%d commits were told before and %d after, want one or more and no other", before, told.Load())
	}
}

func TestSizesAndPending(t *testing.T) {
	dir := t.TempDir()
	db := openIn(t, dir)
	addDevice(t, db, "pump-01", "reg_1")
	mustAppend(t, db, entry("pump-01", "reg_1", sale.Whole, "s1", "a"), sale.Queued)
	if n, err := db.CountPending(t.Context()); n != 0 || err != nil {
		t.Errorf("%d pending, %v; want none", n, err)
	}
	pend(t, db, "reg_1")
	if n, err := db.CountPending(t.Context()); n != 1 || err != nil {
		t.Errorf("%d pending, %v; want 1", n, err)
	}
	database, log, err := db.Sizes()
	if err != nil || database == 0 || log == 0 {
		t.Errorf("sizes %d and %d, %v", database, log, err)
	}
	if info, err := os.Stat(filepath.Join(dir, FileName)); err != nil || info.Size() != database {
		t.Errorf("the file has %v bytes, %v; want %d", info, err, database)
	}
}

// pend confirms the whole sale at the head of r, with a fiscal state that is
// still open.
func pend(t *testing.T, db *DB, r sale.RegisterID) {
	t.Helper()
	confirm(t, db, r)
	confirm(t, db, r)
	h, err := db.Head(t.Context(), r)
	if err != nil || h.Step != sale.StepComplete {
		t.Fatalf("head %+v, %v", h, err)
	}
	if err := db.Begin(t.Context(), sale.Attempt{Call: h.Call, At: t0, Next: t0}); err != nil {
		t.Fatal(err)
	}
	a, err := sale.ParseAnswer(200, "req_1", fmt.Appendf(nil, `{"id":%q,"state":"completed","fiscal_state":"pending"}`, h.Operation))
	if err != nil {
		t.Fatal(err)
	}
	h.Attempts++
	if _, err := db.Settle(t.Context(), sale.Outcome{Call: h.Call, Answer: &a, At: t0}); err != nil {
		t.Fatal(err)
	}
}
