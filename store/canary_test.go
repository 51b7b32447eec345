package store

import (
	"errors"
	"strconv"
	"testing"

	"edgegw/sale"
)

// mostPagesNow bounds the file at so many pages more than it has.
func mostPagesNow(t *testing.T, db *DB, more int64) {
	t.Helper()
	if err := db.change(t.Context(), func(t *tx) error {
		pages, err := t.value("PRAGMA page_count")
		if err != nil {
			return err
		}
		_, err = t.exec("PRAGMA max_page_count = " + strconv.FormatInt(pages.(int64)+more, 10))
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// rowsLeft counts what canaries have left behind.
func rowsLeft(t *testing.T, db *DB) (n int) {
	t.Helper()
	if err := db.queryOne(t.Context(), `SELECT count(*) FROM update_seen`, nil, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestCanaryLeavesNothingBehind(t *testing.T) {
	db := openTest(t)
	for range 2 {
		if err := db.Canary(t.Context()); err != nil || rowsLeft(t, db) != 0 {
			t.Fatalf("on a disk with room: %v, %d rows left", err, rowsLeft(t, db))
		}
	}
}

// A disk with room for a small write and none for a sale is full.
func TestCanaryOnAFullDisk(t *testing.T) {
	db := openTest(t)
	mostPagesNow(t, db, 3)
	for range 2 {
		if err := db.Canary(t.Context()); !errors.Is(err, ErrFull) || !errors.Is(err, sale.ErrNotReady) {
			t.Fatalf("on a full disk: %v", err)
		}
	}
	addDevice(t, db, "pump-01", "reg_1") // small things still fit
	mostPagesNow(t, db, 1000)
	if err := db.Canary(t.Context()); err != nil {
		t.Fatalf("after there was room again: %v", err)
	}
	select {
	case <-db.Failed():
		t.Errorf("a full disk is no reason to die: %v", db.Cause())
	default:
	}
}

// It really writes and syncs: a commit that fails is seen, and what it left is
// taken away by the next one.
func TestCanaryOnASickDisk(t *testing.T) {
	db, fail := openFickle(t)
	fail("DELETE FROM update_seen") // half of it is done
	if err := db.Canary(t.Context()); err == nil {
		t.Fatal("nobody noticed")
	}
	fail("COMMIT")
	if err := db.Canary(t.Context()); err == nil || errors.Is(err, sale.ErrNotReady) {
		t.Fatalf("a commit failed: %v", err)
	}
	fail("nothing fails")
	if err := db.Canary(t.Context()); err != nil || rowsLeft(t, db) != 0 {
		t.Fatalf("%v, %d rows left", err, rowsLeft(t, db))
	}
}
