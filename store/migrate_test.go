package store

import (
	"bytes"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"edgegw/sale"
)

// nextRelease is an edgegw that has one migration more.
func nextRelease(t *testing.T, oldest int) (ends func()) {
	t.Helper()
	later = []step{{name: "next", oldest: oldest, text: `ALTER TABLE sale ADD COLUMN note TEXT NOT NULL DEFAULT 'of before';
		CREATE TABLE extra (no INTEGER PRIMARY KEY, what TEXT NOT NULL) STRICT; INSERT INTO extra VALUES (1, 'kept')`}}
	ends = func() { later = nil }
	t.Cleanup(ends)
	return ends
}

func sellTo(t *testing.T, db *DB, id string) {
	t.Helper()
	if a, err := appendNow(t, db, entry("pump-01", "reg_1", sale.Whole, id, "content")); err != nil || a.Status != sale.Queued {
		t.Fatal(a, err)
	}
}

// journalled are the sales in the order of the queue, and what the site's books say.
func journalled(t *testing.T, dir string) (ids []string, at, oldest int, extra string) {
	t.Helper()
	db := openIn(t, dir)
	defer db.Close()
	err := db.change(t.Context(), func(tx *tx) (err error) {
		if at, oldest, err = tx.schema(); err != nil {
			return err
		}
		if v, err := tx.value(`PRAGMA quick_check`); err != nil || v != "ok" {
			return fmt.Errorf("quick_check: %v, %w", v, err)
		}
		if at > migrationCount()-len(later) {
			v, err := tx.value(`SELECT what || coalesce((SELECT max(note) FROM sale), '') FROM extra`)
			if extra, _ = v.(string); err != nil {
				return err
			}
		}
		return tx.query(`SELECT ref FROM event WHERE ref IS NOT NULL ORDER BY rseq`, func(row []driver.Value) error {
			ids = append(ids, row[0].(string))
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids, at, oldest, extra
}

// A release is taken back: the edgegw of before goes on with the database of the newer
// one, and the newer one with what that has written. Nothing is lost, and the order is
// as it was.
func TestOneVersionBackGoesOn(t *testing.T) {
	dir, known := t.TempDir(), migrationCount()
	db := openIn(t, dir)
	addDevice(t, db, "pump-01", "reg_1")
	sellTo(t, db, "by the old one")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	ends := nextRelease(t, known)
	db = openIn(t, dir)
	sellTo(t, db, "by the new one")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	ends()
	db = openIn(t, dir)
	sellTo(t, db, "by the old one again")
	begun, err := db.Head(t.Context(), "reg_1")
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Begin(t.Context(), sale.Attempt{Call: begun.Call, At: time.UnixMilli(1), Next: time.UnixMilli(2)}); err != nil {
		t.Errorf("the old one cannot send: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	nextRelease(t, known)
	ids, at, oldest, extra := journalled(t, dir)
	if want := []string{"by the old one", "by the new one", "by the old one again"}; !slices.Equal(ids, want) || at != known+1 || oldest != known || !strings.HasPrefix(extra, "kept") {
		t.Errorf("%q, schema %d, since %d, %q", ids, at, oldest, extra)
	}
}

// Behind a migration that an older edgegw cannot live with, it refuses and changes
// nothing.
func TestALaterSchemaShutsOutWhoCannotLiveWithIt(t *testing.T) {
	dir, known := t.TempDir(), migrationCount()
	openIn(t, dir).Close()
	ends := nextRelease(t, known+1)
	openIn(t, dir).Close()
	ends()
	_, err := Open(t.Context(), dir, Options{})
	if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "install that version again") {
		t.Errorf("got %v", err)
	}
	nextRelease(t, known+1)
	if _, at, oldest, extra := journalled(t, dir); at != known+1 || oldest != known+1 || extra != "kept" {
		t.Errorf("it has changed the database: schema %d, since %d, %q", at, oldest, extra)
	}
}

// Before the database is brought to a newer schema it is copied, for its owner only, and
// the copy is what it was. One copy is kept, and no longer than it is told.
func TestACopyBeforeEachMigration(t *testing.T) {
	dir, known := t.TempDir(), migrationCount()
	db := openIn(t, dir)
	addDevice(t, db, "pump-01", "reg_1")
	sellTo(t, db, "s1")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	copies := func() []string {
		found, err := filepath.Glob(filepath.Join(dir, copyName+"*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if found := copies(); len(found) != 0 {
		t.Errorf("a new database was copied: %v", found)
	}
	for _, left := range []string{copyName + "3", copyName + "7.part"} { // of an earlier update, and of one that was cut off
		if err := os.WriteFile(filepath.Join(dir, left), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	nextRelease(t, known)
	openIn(t, dir).Close()
	want := filepath.Join(dir, fmt.Sprint(copyName, known+1))
	info, err := os.Stat(want)
	if found := copies(); err != nil || len(found) != 1 || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v: %v, %v", found, info, err)
	}
	if e, err := Look(t.Context(), want); err != nil || e.Sales != 1 || e.Waiting != 1 {
		t.Errorf("the copy holds %+v, %v", e, err)
	}
	openIn(t, dir).Close()
	if found := copies(); len(found) != 1 {
		t.Errorf("a start without a migration has made %v", found)
	}
	// The clock of the box that made it is not believed: one that is counts from when it sees it.
	now, kept := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), 30*24*time.Hour
	for _, look := range []struct {
		at     time.Time
		copies int
	}{{now, 1}, {now.Add(kept), 1}, {now.Add(kept + time.Second), 0}} {
		if err := RemoveCopies(dir, look.at, kept); err != nil || len(copies()) != look.copies {
			t.Errorf("at %s there is %v, %v", look.at, copies(), err)
		}
	}
}

// Where there is no room for a copy, the site starts all the same if there is a way
// back without it, and else says what to do.
func TestNoRoomForACopy(t *testing.T) {
	known := migrationCount()
	for oldest, starts := range map[int]bool{known: true, known + 1: false} {
		dir := t.TempDir()
		openIn(t, dir).Close()
		ends := nextRelease(t, oldest)
		var log bytes.Buffer
		db, err := Open(t.Context(), dir, Options{Log: slog.New(slog.NewTextHandler(&log, nil)), Free: func(string) (int64, error) { return copyMargin, nil }})
		if starts != (err == nil) {
			t.Fatalf("since %d: %v", oldest, err)
		}
		if starts {
			db.Close()
		}
		if starts && !strings.Contains(log.String(), "without a copy") || !starts && (!errors.Is(err, ErrNoRoom) || !strings.Contains(err.Error(), "make room")) {
			t.Errorf("since %d: %v, %s", oldest, err, log.String())
		}
		if found, _ := filepath.Glob(filepath.Join(dir, copyName+"*")); len(found) != 0 {
			t.Errorf("left behind: %v", found)
		}
		ends()
	}
}

// What a copy that was cut off has left, and a copy of an earlier update, take no room
// from the next one: a site whose disk they fill would not start any more.
func TestLeftoversTakeNoRoomFromACopy(t *testing.T) {
	dir, known := t.TempDir(), migrationCount()
	openIn(t, dir).Close()
	const disk = copyMargin + 4<<20 + 2*logBytes // the log is there, and counts for what a copy may take
	for _, left := range []string{"3", "8.part"} {
		if err := os.WriteFile(filepath.Join(dir, copyName+left), make([]byte, 3<<20), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	free := func(string) (int64, error) {
		left := int64(disk)
		entries, err := os.ReadDir(dir)
		for _, e := range entries {
			if info, err := e.Info(); err == nil {
				left -= info.Size()
			}
		}
		return left, err
	}
	nextRelease(t, known+1)
	db, err := Open(t.Context(), dir, Options{Free: free})
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err := os.Stat(filepath.Join(dir, fmt.Sprint(copyName, known+1))); err != nil {
		t.Error(err)
	}
}

// Nothing that a person has put beside the database is removed for a copy, or keeps the
// site from starting.
func TestOnlyItsOwnCopiesAreRemoved(t *testing.T) {
	dir, known := t.TempDir(), migrationCount()
	openIn(t, dir).Close()
	mine := filepath.Join(dir, copyName+"update")
	folders := []string{filepath.Join(dir, copyName+"4"), filepath.Join(dir, fmt.Sprint(copyName, known+1, ".part"))}
	for _, f := range folders {
		if err := os.MkdirAll(filepath.Join(f, "full"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(mine, []byte("a technician's own"), 0o600); err != nil {
		t.Fatal(err)
	}
	nextRelease(t, known)
	db, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	if err := RemoveCopies(dir, time.Now().AddDate(1, 0, 0), time.Hour); err != nil {
		t.Error(err)
	}
	for _, path := range append(folders, mine) {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}

// An update whose second step fails has done nothing: started again and again, it leaves
// the copy of what the release before can go on with.
func TestAnUpdateIsWholeOrNot(t *testing.T) {
	dir, known := t.TempDir(), migrationCount()
	db := openIn(t, dir)
	addDevice(t, db, "pump-01", "reg_1")
	sellTo(t, db, "s1")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	ends := nextRelease(t, known+1)
	later = append(later, step{name: "fails", oldest: known + 2, text: `CREATE TABLE more (no INTEGER) STRICT; INSERT INTO nowhere VALUES (1)`})
	for range 2 {
		if db, err := Open(t.Context(), dir, Options{}); err == nil {
			db.Close()
			t.Fatal("it has begun with half an update")
		}
	}
	ends()
	if ids, at, _, _ := journalled(t, dir); at != known || !slices.Equal(ids, []string{"s1"}) {
		t.Errorf("schema %d, sales %q", at, ids)
	}
}
