package store

import (
	"bytes"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"edgegw/mirror"
	"edgegw/sale"
)

// besides is a second journal in files, as the gateway has it.
type besides struct{ *mirror.Journal }

func (b besides) Generations() (list []SecondGeneration) {
	for _, g := range b.Journal.Generations() {
		list = append(list, SecondGeneration{ID: g.ID, Before: g.Before, Schema: g.Schema, Whole: g.Whole, Lost: g.Lost})
	}
	return list
}

func (b besides) Read(frame func(int, []byte) error) error {
	return b.Journal.Read(func(g mirror.Generation, payload []byte) error { return frame(int(g.No), payload) })
}

func secondIn(t testing.TB, dir string, o mirror.Options) Second {
	t.Helper()
	j, err := mirror.Open(filepath.Join(dir, "mirror"), o)
	if err != nil {
		t.Fatal(err)
	}
	return besides{j}
}

// openBoth opens a journal with a second one that follows it.
func openBoth(t testing.TB, dir string, o mirror.Options) *DB {
	t.Helper()
	if o.Bytes == 0 {
		o.Bytes = 4 << 20
	}
	db, err := Open(t.Context(), dir, Options{Second: secondIn(t, dir, o)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	awaitSecond(t, db)
	return db
}

// awaitSecond waits until the second journal holds all that counts.
func awaitSecond(t testing.TB, db *DB) {
	t.Helper()
	for !db.SecondState().On {
		if c := db.SecondState().Cause; c != "" {
			t.Fatal(c)
		}
		if err := db.change(t.Context(), func(*tx) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
}

// kill copies what is on the disk now into another directory, as a process leaves it
// that is killed.
func kill(t testing.TB, db *DB) string {
	t.Helper()
	to := t.TempDir()
	from := filepath.Dir(db.path)
	for _, name := range []string{FileName, FileName + "-wal"} {
		copyTest(t, filepath.Join(from, name), filepath.Join(to, name))
	}
	files, err := filepath.Glob(filepath.Join(from, "mirror", "*"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(to, "mirror"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		copyTest(t, f, filepath.Join(to, "mirror", filepath.Base(f)))
	}
	return to
}

func copyTest(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// dump gives all rows of the tables that the second journal follows.
func dump(t testing.TB, db *DB) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := db.change(t.Context(), func(t *tx) error {
		shapes, err := t.shapes()
		for _, s := range shapes {
			if err != nil {
				return err
			}
			err = t.query("SELECT "+strings.Join(s.columns, ", ")+" FROM "+s.name, func(row []driver.Value) error {
				all[s.name+fmt.Sprintf(" %x", s.keyOf(row))] = fmt.Sprintf("%x", appendRow(nil, row))
				return nil
			})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// busyDay has sales in all states.
func busyDay(t testing.TB, db *DB) {
	t.Helper()
	addDevice(t, db, "pump-01", "reg_1")
	addDevice(t, db, "pump-02", "reg_2")
	mustAppend(t, db, entry("pump-01", "reg_1", sale.Whole, "over", "a"), sale.Queued)
	for range 3 {
		confirm(t, db, "reg_1")
	}
	mustAppend(t, db, entry("pump-01", "reg_1", sale.Start, "open", "a"), sale.Queued)
	confirm(t, db, "reg_1")
	mustAppend(t, db, entry("pump-02", "reg_2", sale.Start, "s2", "a"), sale.Queued)
	mustAppend(t, db, entry("pump-02", "reg_2", sale.Update, "s2", "b"), sale.Queued)
	mustAppend(t, db, entry("pump-02", "reg_2", sale.Complete, "s2", "c"), sale.Queued)
	mustAppend(t, db, entry("pump-02", "reg_2", sale.Complete, "s2", "another"), sale.Conflict)
	for i := range 20 {
		mustAppend(t, db, entry("pump-01", "reg_1", sale.Whole, fmt.Sprint("w", i), "a"), sale.Queued)
	}
}

// All that a commit changes is in the second journal, whatever it was: the image of
// its frames is the database.
func TestTheSecondJournalHoldsWhatTheDatabaseHolds(t *testing.T) {
	db := openBoth(t, t.TempDir(), mirror.Options{})
	busyDay(t, db)
	want := dump(t, db)
	m, err := readImage(secondIn(t, filepath.Dir(db.path), mirror.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, x := range m.rows {
		if x.newest != nil {
			got[x.of.name+fmt.Sprintf(" %x", x.key)] = fmt.Sprintf("%x", x.newest)
		}
	}
	for key, row := range want {
		if got[key] != row {
			t.Errorf("%s: %s, want %s", key, got[key], row)
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			t.Errorf("%s is not in the database", key)
		}
	}
	if len(want) < 40 {
		t.Errorf("only %d rows", len(want))
	}
}

// SQLite leaves out the end of a write-ahead log that was damaged or cut, and says
// nothing. What was acknowledged is there all the same.
func TestWhatADamagedLogLostComesBack(t *testing.T) {
	db := openBoth(t, t.TempDir(), mirror.Options{})
	busyDay(t, db)
	want := dump(t, db)
	size := len(written(read(t, filepath.Join(kill(t, db), FileName+"-wal"))))
	for _, harm := range []struct {
		name string
		do   func(wal string)
	}{
		{"flipped", func(wal string) { b := read(t, wal); b[size*2/3] ^= 4; write(t, wal, b) }},
		{"cut", func(wal string) { write(t, wal, read(t, wal)[:size/2]) }},
		{"gone", func(wal string) { write(t, wal, nil) }},
	} {
		t.Run(harm.name, func(t *testing.T) {
			dir := kill(t, db)
			harm.do(filepath.Join(dir, FileName+"-wal"))
			alone, err := Open(t.Context(), onlyDatabase(t, dir), Options{})
			if err == nil {
				got := dump(t, alone)
				alone.Close()
				if maps.Equal(got, want) && harm.name == "gone" {
					t.Skip("the log was copied into the database just before: there is nothing to lose")
				}
				if maps.Equal(got, want) {
					t.Fatal("the damage did no harm")
				}
			}
			back, err := Open(t.Context(), dir, Options{Second: secondIn(t, dir, mirror.Options{Bytes: 4 << 20})})
			if err != nil {
				t.Fatal(err)
			}
			defer back.Close()
			got := dump(t, back)
			for key, row := range want {
				if got[key] != row {
					t.Errorf("%s: %.80s, want %.80s", key, got[key], row)
				}
			}
			news, err := back.RebuiltNews(t.Context())
			if err != nil || len(news) != 1 || !strings.Contains(news[0].Cause, "write-ahead log") {
				t.Errorf("it says %+v, %v", news, err)
			}
		})
	}
	t.Run("whole", func(t *testing.T) {
		dir := kill(t, db)
		back := openBoth(t, dir, mirror.Options{})
		if news, err := back.RebuiltNews(t.Context()); err != nil || len(news) != 0 {
			t.Errorf("it says %+v, %v", news, err)
		}
	})
}

func onlyDatabase(t testing.TB, dir string) string {
	to := t.TempDir()
	for _, name := range []string{FileName, FileName + "-wal"} {
		copyTest(t, filepath.Join(dir, name), filepath.Join(to, name))
	}
	return to
}

// written is a write-ahead log without the zeros behind it, which growLog has made.
func written(log []byte) []byte { return bytes.TrimRight(log, "\x00") }

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A database that is ahead by the commit which the second journal did not finish
// stays as it is.
func TestADatabaseThatIsAheadStaysSo(t *testing.T) {
	db := openBoth(t, t.TempDir(), mirror.Options{})
	busyDay(t, db)
	old := kill(t, db)
	confirm(t, db, "reg_2")
	mustAppend(t, db, entry("pump-01", "reg_1", sale.Whole, "last", "a"), sale.Queued)
	want := dump(t, db)
	now := kill(t, db)
	if err := os.RemoveAll(filepath.Join(now, "mirror")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(old, "mirror"), filepath.Join(now, "mirror")); err != nil {
		t.Fatal(err)
	}
	got := dump(t, openBoth(t, now, mirror.Options{}))
	for key, row := range want {
		if got[key] != row {
			t.Errorf("%s: %s, want %s", key, got[key], row)
		}
	}
}

// sickFile fails on command.
type sickFile struct {
	mirror.File
	sick *atomic.Bool
}

func (f sickFile) Sync() error {
	if f.sick.Load() {
		return errors.New("input/output error")
	}
	return f.File.Sync()
}

// A second journal that fails stops no sale; the database knows that it is old.
func TestASecondJournalThatFailsStopsNoSale(t *testing.T) {
	sick := &atomic.Bool{}
	dir := t.TempDir()
	db := openBoth(t, dir, mirror.Options{Disk: func(f mirror.File) mirror.File { return sickFile{f, sick} }})
	busyDay(t, db)
	sick.Store(true)
	mustAppend(t, db, entry("pump-01", "reg_1", sale.Whole, "after", "a"), sale.Queued)
	if st := db.SecondState(); st.On || !strings.Contains(st.Cause, "input/output error") || st.Since.IsZero() {
		t.Errorf("%+v", st)
	}
	mustAppend(t, db, entry("pump-01", "reg_1", sale.Whole, "after that", "a"), sale.Queued)
	want := dump(t, db)
	left := kill(t, db)
	sick.Store(false)
	back := openBoth(t, left, mirror.Options{}) // an old second journal puts nothing back
	got := dump(t, back)
	for key, row := range want {
		if got[key] != row {
			t.Errorf("%s: %s, want %s", key, got[key], row)
		}
	}
	if st := back.SecondState(); !st.On {
		t.Errorf("%+v", st)
	}
}

// The second journal goes round and round in its room, and always holds what counts.
func TestTheSecondJournalGoesRound(t *testing.T) {
	dir := t.TempDir()
	db := openBoth(t, dir, mirror.Options{Bytes: 5 << 20})
	busyDay(t, db)
	addDevice(t, db, "pump-03", "reg_3")
	for i := range 30 {
		mustAppend(t, db, entry("pump-03", "reg_3", sale.Whole, fmt.Sprint("big", i), strings.Repeat("x", 50_000+i)), sale.Queued)
		for range 3 {
			confirm(t, db, "reg_3")
		}
	}
	for i := range 100 {
		mustAppend(t, db, entry("pump-03", "reg_3", sale.Whole, fmt.Sprint("huge", i), strings.Repeat("y", 30_000)), sale.Queued)
		for range 3 {
			confirm(t, db, "reg_3")
		}
	}
	m, err := readImage(secondIn(t, dir, mirror.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	live := 0
	for _, x := range m.rows {
		if x.newest != nil && x.of.name == "event" && (strings.Contains(string(x.newest), `"w`) || strings.Contains(string(x.newest), `"open"`)) {
			live++
		}
	}
	if live != 21 {
		t.Errorf("%d of 21 sales that wait", live)
	}
	if st := db.SecondState(); !st.On || st.Left != 0 {
		t.Errorf("%+v", st)
	}
}
