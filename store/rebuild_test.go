package store

import (
	"bytes"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"edgegw/mirror"
	"edgegw/sale"
)

// soundSite is a database whose log was copied into it, and what it holds.
func soundSite(t testing.TB) (dir string, want map[string]string) {
	t.Helper()
	db := openBoth(t, t.TempDir(), mirror.Options{})
	busyDay(t, db)
	dir = kill(t, db)
	alone := sql.OpenDB(connector{dsn: "file:" + filepath.Join(dir, FileName) + "?_dqs=0"})
	alone.SetMaxOpenConns(1)
	var events, busy, pages, copied int // without a first look at it SQLite does not know that there is a log
	err := errors.Join(alone.QueryRow("SELECT count(*) FROM event").Scan(&events),
		alone.QueryRow("PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &copied), alone.Close())
	if err != nil || events == 0 || busy != 0 {
		t.Fatal(events, busy, err)
	}
	remove(t, filepath.Join(dir, FileName+"-wal")) // it was copied, the whole of it: nobody else reads
	remove(t, filepath.Join(dir, FileName+"-shm"))
	return dir, dump(t, db)
}

// harms are what can happen to a database's files. Each must be noticed.
var harms = []struct {
	name string
	do   func(t testing.TB, db string)
}{
	{"missing", func(t testing.TB, db string) { remove(t, db); remove(t, db+"-wal") }},
	{"zero length", func(t testing.TB, db string) { write(t, db, nil); remove(t, db+"-wal") }},
	{"garbage header", func(t testing.TB, db string) { spoil(t, db, 0, 100) }},
	{"garbage", func(t testing.TB, db string) { spoil(t, db, 0, len(read(t, db))) }},
	{"cut in half", func(t testing.TB, db string) { b := read(t, db); write(t, db, b[:len(b)/8192*4096]) }},
	{"corrupted page", func(t testing.TB, db string) {
		at := bytes.LastIndex(read(t, db), []byte(`{"sale_id":"w5"`))
		spoil(t, db, at/4096*4096, 4096)
	}},
	{"every third page", func(t testing.TB, db string) {
		for page := 4; page*4096 < len(read(t, db)); page += 3 {
			spoil(t, db, page*4096, 4096)
		}
	}},
}

func remove(t testing.TB, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

// spoil overwrites bytes of a file.
func spoil(t testing.TB, path string, at, n int) {
	t.Helper()
	b := read(t, path)
	for i := at; i < min(at+n, len(b)); i++ {
		b[i] = byte(i*31 + 7)
	}
	write(t, path, b)
}

// files gives what lies in a directory itself.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			all[e.Name()] = string(read(t, filepath.Join(dir, e.Name())))
		}
	}
	return all
}

func rebuild(t testing.TB, dir string, second bool, step func(string) error) error {
	t.Helper()
	o := RebuildOptions{Suspect: "a test", Expected: true, Step: step}
	if second {
		o.Second = secondIn(t, dir, mirror.Options{Bytes: 4 << 20})
		defer func() {
			if err := o.Second.Close(); err != nil {
				t.Error(err)
			}
		}()
	}
	return Rebuild(t.Context(), dir, o)
}

// inOrder looks whether a database's totals and its audit trail say what is there.
func inOrder(t testing.TB, db *DB) {
	t.Helper()
	queues, err := db.Queues(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range queues {
		if q.Accepted != q.Confirmed+q.Waiting+q.Quarantined+q.Resolved {
			t.Errorf("%+v does not balance", q)
		}
	}
	if faults, err := db.Recount(t.Context()); err != nil || len(faults) > 0 {
		t.Errorf("%v, %v", faults, err)
	}
	if damage, err := db.QuickCheck(t.Context()); err != nil || damage != "" {
		t.Errorf("%s, %v", damage, err)
	}
	registers, err := db.RestoredRegisters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range registers {
		if r.Read {
			t.Errorf("%s is sent from before it was read back", r.Register)
		}
	}
}

// Whatever becomes of the file: what was accepted and is not over is there again,
// byte for byte, from the second journal and what can be read; the damaged file stays
// as it was; the totals add up.
func TestADamagedDatabaseIsMadeAgain(t *testing.T) {
	sound, want := soundSite(t)
	for _, harm := range harms {
		t.Run(harm.name, func(t *testing.T) {
			dir := clone(t, sound)
			harm.do(t, filepath.Join(dir, FileName))
			before := files(t, dir)
			if err := rebuild(t, dir, true, nil); err != nil {
				t.Fatal(err)
			}
			after := files(t, dir)
			for name, b := range before {
				aside := 0
				for n, a := range after {
					if strings.HasPrefix(n, FileName+".damaged-") && strings.HasSuffix(n, strings.TrimPrefix(name, FileName)) && a == b {
						aside++
					}
				}
				if aside == 0 && name != FileName+"-shm" {
					t.Errorf("%s is not there as it was: %v", name, slices.Collect(maps.Keys(after)))
				}
			}
			db := openBoth(t, dir, mirror.Options{})
			got := dump(t, db)
			for key, row := range want {
				table, _, _ := strings.Cut(key, " ")
				if !slices.Contains([]string{"event", "device", "register", "queue", "sale", "held", "refused", "mailbox", "answer"}, table) {
					continue
				}
				if got[key] != row {
					t.Errorf("%s: %.100s, want %.100s", key, got[key], row)
				}
			}
			inOrder(t, db)
			news, err := db.RebuiltNews(t.Context())
			if err != nil || len(news) != 1 || (news[0].Aside == "") != (harm.name == "missing") {
				t.Errorf("it says %+v, %v", news, err)
			}
			t.Logf("%+v", news)
			mustAppend(t, db, entry("pump-01", "reg_1", sale.Whole, "next", "a"), sale.Queued)
			mustAppend(t, db, entry("pump-01", "reg_1", sale.Complete, "open", "b"), sale.Queued)
			mustAppend(t, db, entry("pump-01", "reg_1", sale.Whole, "w3", "a"), sale.Duplicate)
			for _, want := range []string{"w0", "w0", "w0", "w1"} {
				if h := confirm(t, db, "reg_1"); h.SaleID != want {
					t.Fatalf("the head is %s, want %s", h.SaleID, want)
				}
			}
			if n, err := db.AcknowledgeRebuilt(t.Context(), t0, "anna"); err != nil || n != 1 {
				t.Errorf("%d, %v", n, err)
			}
			if news, err = db.RebuiltNews(t.Context()); err != nil || len(news) != 0 {
				t.Errorf("it still says %+v, %v", news, err)
			}
		})
	}
}

// Without a second journal, what can be read is kept, what is not known is said, and
// the totals add up all the same.
func TestWithoutASecondJournalWhatCanBeReadIsKept(t *testing.T) {
	sound, want := soundSite(t)
	for _, harm := range harms {
		t.Run(harm.name, func(t *testing.T) {
			dir := clone(t, sound)
			if err := os.RemoveAll(filepath.Join(dir, "mirror")); err != nil {
				t.Fatal(err)
			}
			harm.do(t, filepath.Join(dir, FileName))
			if err := rebuild(t, dir, false, nil); err != nil {
				t.Fatal(err)
			}
			db, err := Open(t.Context(), dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			inOrder(t, db)
			news, err := db.RebuiltNews(t.Context())
			if err != nil || len(news) != 1 || !strings.Contains(news[0].Unknown, "no second journal") {
				t.Errorf("it says %+v, %v", news, err)
			}
			t.Logf("%+v", news)
			got := dump(t, db)
			kept := 0
			for key, row := range want {
				if strings.HasPrefix(key, "event ") && got[key] == row {
					kept++
				}
			}
			switch harm.name {
			case "garbage header":
				if kept != 25 {
					t.Errorf("%d events of 25", kept)
				}
			case "corrupted page": // it held some of them
				if kept < 1 || kept > 24 {
					t.Errorf("%d events of 25", kept)
				}
				if !strings.Contains(news[0].Unknown, "could not be read") || !strings.Contains(news[0].Unknown, "lost") {
					t.Errorf("it does not say so: %s", news[0].Unknown)
				}
			}
		})
	}
}

func clone(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// The power goes at each step of it: the damaged files are whole all the while, and the
// next start does it again, or carries it to its end.
func TestARebuildThatIsCutOffIsDoneAgain(t *testing.T) {
	sound, want := soundSite(t)
	steps := 0
	for cut := 1; ; cut++ {
		dir := clone(t, sound)
		spoil(t, filepath.Join(dir, FileName), 0, 100)
		damaged := read(t, filepath.Join(dir, FileName))
		steps = 0
		power := errors.New("the power is off")
		err := rebuild(t, dir, true, func(string) error {
			if steps++; steps == cut {
				return power
			}
			return nil
		})
		if err == nil {
			break
		}
		if !errors.Is(err, power) {
			t.Fatal(err)
		}
		if err := rebuild(t, dir, true, nil); err != nil {
			t.Fatalf("after step %d: %v", cut, err)
		}
		aside := false
		for name, b := range files(t, dir) {
			aside = aside || strings.HasPrefix(name, FileName+".damaged-") && b == string(damaged)
		}
		if !aside {
			t.Errorf("after step %d the damaged file is gone", cut)
		}
		db := openBoth(t, dir, mirror.Options{})
		inOrder(t, db)
		got := dump(t, db)
		for key, row := range want {
			if strings.HasPrefix(key, "event ") && got[key] != row {
				t.Errorf("after step %d, %s: %s", cut, key, got[key])
			}
		}
		if news, err := db.RebuiltNews(t.Context()); err != nil || len(news) != 1 {
			t.Errorf("after step %d it says %+v, %v", cut, news, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	if steps < 7 {
		t.Errorf("only %d steps", steps)
	}
}

// Where there is no room, nothing is changed.
func TestARebuildLooksForRoomFirst(t *testing.T) {
	sound, _ := soundSite(t)
	spoil(t, filepath.Join(sound, FileName), 0, 100)
	before := files(t, sound)
	err := Rebuild(t.Context(), sound, RebuildOptions{Free: func(string) (int64, error) { return 1 << 20, nil }})
	if !errors.Is(err, ErrNoRoom) {
		t.Errorf("%v", err)
	}
	if after := files(t, sound); !maps.Equal(before, after) {
		t.Error("something was changed")
	}
}

// One flipped bit in an event that waits: it is never sent as it is. With a second
// journal it is as it was; without one a person decides.
func TestAFlippedBitInASaleIsNeverSent(t *testing.T) {
	sound, want := soundSite(t)
	b := read(t, filepath.Join(sound, FileName))
	at := bytes.LastIndex(b, []byte(`{"sale_id":"w7"`))
	if at < 0 {
		t.Fatal("the event was not found")
	}
	calls := bytes.Index(b[at:], []byte(`{"of":"`))
	if calls < 0 {
		t.Fatal("its calls were not found")
	}
	for _, second := range []bool{true, false} {
		t.Run(fmt.Sprint("second=", second), func(t *testing.T) {
			dir := clone(t, sound)
			spoiled := slices.Clone(b)
			spoiled[at+calls+3] ^= 1
			write(t, filepath.Join(dir, FileName), spoiled)
			if second {
				db := openBoth(t, dir, mirror.Options{})
				if got := dump(t, db); !maps.EqualFunc(only(want), only(got), func(a, b string) bool { return a == b }) {
					t.Error("it is not as it was")
				}
				if news, err := db.RebuiltNews(t.Context()); err != nil || len(news) != 1 {
					t.Errorf("it says %+v, %v", news, err)
				}
				return
			}
			db, err := Open(t.Context(), dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			for range 7 * 3 {
				confirm(t, db, "reg_1")
			}
			if h, err := db.Head(t.Context(), "reg_1"); err == nil {
				t.Errorf("%+v would be sent", h)
			}
		})
	}
}

// only gives the events.
func only(all map[string]string) map[string]string {
	m := maps.Clone(all)
	maps.DeleteFunc(m, func(key, _ string) bool { return !strings.HasPrefix(key, "event ") })
	return m
}

// The power is cut in a site's first moments: the transaction that makes the database is
// in a rollback journal still, because the write-ahead log comes with the first commit.
// The next start takes it back and opens.
func TestACutInTheFirstMomentsOfADatabase(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	if err := createPrivate(path); err != nil {
		t.Fatal(err)
	}
	conn, err := connector{dsn: "file:" + path + "?_pragma=synchronous(FULL)&_pragma=cache_size(1)&_pragma=cache_spill(1)"}.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{conn: conn, stmts: map[string]driver.Stmt{}}
	tx := &tx{w}
	for _, text := range []string{"CREATE TABLE first (a)", "BEGIN IMMEDIATE", "CREATE TABLE second (a)", "INSERT INTO second SELECT randomblob(100000)", "INSERT INTO first SELECT randomblob(100000)"} {
		if _, err := tx.exec(text); err != nil {
			t.Fatal(err)
		}
	}
	cut := t.TempDir()
	for _, end := range []string{"", "-journal"} {
		write(t, filepath.Join(cut, FileName+end), read(t, path+end))
	}
	if err := w.release(); err != nil {
		t.Fatal(err)
	}
	if len(read(t, filepath.Join(cut, FileName+"-journal"))) == 0 {
		t.Fatal("nothing was cut off")
	}
	if err := Rebuild(t.Context(), cut, RebuildOptions{Expected: true, Only: true}); err != nil {
		t.Errorf("whoever only looks is told of %v", err)
	}
	if err := Rebuild(t.Context(), cut, RebuildOptions{Expected: true}); err != nil {
		t.Errorf("no start: %v", err)
	}
}

// The database of a newer edgegw, with which the one before goes on, is damaged: that one
// makes it again from what it can read and from the second journal, and each sale is there.
func TestADatabaseOfANewerEdgegwIsMadeAgain(t *testing.T) {
	for _, harm := range []string{"missing", "garbage header", "corrupted page"} {
		t.Run(harm, func(t *testing.T) {
			known := migrationCount()
			ends := nextRelease(t, known)
			dir, _ := soundSite(t)
			before := salesIn(t, dir)
			ends()
			for _, h := range harms {
				if h.name == harm {
					h.do(t, filepath.Join(dir, FileName))
				}
			}
			if err := rebuild(t, dir, true, nil); err != nil {
				t.Fatal(err)
			}
			if after := salesIn(t, dir); !slices.Equal(after, before) || len(after) == 0 {
				t.Errorf("sales %q, want %q", after, before)
			}
			nextRelease(t, known) // installed again
			if after := salesIn(t, dir); !slices.Equal(after, before) {
				t.Errorf("with the newer one %q, want %q", after, before)
			}
		})
	}
}

// salesIn are the sales, and how each stands.
func salesIn(t testing.TB, dir string) (all []string) {
	t.Helper()
	db, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	list, err := db.Sales(t.Context(), SaleFilter{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		all = append(all, fmt.Sprintf("%+v", s))
	}
	return all
}
