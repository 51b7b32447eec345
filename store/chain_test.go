package store

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"edgegw/audit"
)

// note writes a line of the audit trail.
func note(t *testing.T, db *DB, what, detail string) {
	t.Helper()
	if err := db.change(t.Context(), func(t *tx) error { return t.audit(1_764_000_000_000, "person:anna", what, "pump-07", detail) }); err != nil {
		t.Fatal(err)
	}
}

// judged goes along the trail of a database; last is how far it went when that was
// noted, heads are values that somebody noted.
func judged(t *testing.T, db *DB, last audit.Point, heads ...audit.Chain) (*audit.Check, *audit.Fault) {
	t.Helper()
	k, fault := &audit.Check{Wants: heads}, (*audit.Fault)(nil)
	err := db.Trail(t.Context(), func(l audit.Line, chain []byte) bool {
		fault = k.Take(l, chain)
		return fault == nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if fault == nil {
		fault = k.End(last)
	}
	return k, fault
}

// outside is somebody else's connection to the file.
func outside(t *testing.T, dir string, statements ...string) {
	t.Helper()
	conn, err := connector{dsn: "file:" + filepath.Join(dir, FileName) + "?_pragma=busy_timeout(5000)"}.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, text := range statements {
		s, err := conn.Prepare(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = s.(driver.StmtExecContext).ExecContext(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
}

// What was changed in the file by somebody else is found, and the first line of it
// is named.
func TestAnAlteredTrailIsFound(t *testing.T) {
	for _, c := range []struct {
		name   string
		change []string
		no     int64
		kind   string
	}{
		{"nothing", nil, 0, ""},
		{"one byte of who", []string{`UPDATE audit SET who = 'person:anne' WHERE no = 5`}, 5, audit.Altered},
		{"one byte of what", []string{`UPDATE audit SET what = 'thing D' WHERE no = 5`}, 5, audit.Altered},
		{"one byte of subject", []string{`UPDATE audit SET subject = 'pump-08' WHERE no = 5`}, 5, audit.Altered},
		{"one byte of detail", []string{`UPDATE audit SET detail = 'detail 6' WHERE no = 5`}, 5, audit.Altered},
		{"a millisecond", []string{`UPDATE audit SET at = at + 1 WHERE no = 5`}, 5, audit.Altered},
		{"a byte from one field into the next", []string{`UPDATE audit SET who = who || 't', what = 'hing 5' WHERE no = 5`}, 5, audit.Altered},
		{"one byte of the chain", []string{`UPDATE audit SET chain = unhex('00' || substr(hex(chain), 3)) WHERE no = 5`}, 5, audit.Altered},
		{"the chain emptied", []string{`UPDATE audit SET chain = x'' WHERE no = 5`}, 5, audit.Altered},
		{"the first line", []string{`UPDATE audit SET detail = '' WHERE no = 1`}, 1, audit.Altered},
		{"the last line", []string{`UPDATE audit SET detail = '' WHERE no = 9`}, 9, audit.Altered},
		{"a line in the middle gone", []string{`DELETE FROM audit WHERE no = 5`}, 5, audit.Missing},
		{"the first line gone", []string{`DELETE FROM audit WHERE no = 1`}, 1, audit.Missing},
		{"the last line gone", []string{`DELETE FROM audit WHERE no = 9`}, 9, audit.Missing},
		{"all gone", []string{`DELETE FROM audit`}, 1, audit.Missing},
		{"a line gone and the others moved up", []string{`DELETE FROM audit WHERE no = 5`, `UPDATE audit SET no = no - 1 WHERE no > 5`}, 5, audit.Altered},
		{"two lines swapped", []string{`UPDATE audit SET no = -4 WHERE no = 4`, `UPDATE audit SET no = 4 WHERE no = 6`, `UPDATE audit SET no = 6 WHERE no = -4`}, 4, audit.Altered},
		{"a line put before the first", []string{`INSERT INTO audit VALUES (0, 1, 'x', 'x', 'x', 'x', x'')`}, 0, audit.Inserted},
		{"a line put behind the last", []string{`INSERT INTO audit VALUES (10, 1, 'x', 'x', 'x', 'x', x'')`}, 10, audit.Altered},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			db := openIn(t, dir)
			for i := range 9 {
				note(t, db, fmt.Sprint("thing ", i+1), fmt.Sprint("detail ", i+1))
			}
			outside(t, dir, c.change...)
			last, err := db.TrailEnd(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			k, fault := judged(t, db, last)
			switch {
			case c.kind == "" && (fault != nil || k.Lines != 9 || k.At != last):
				t.Errorf("%+v after %d lines", fault, k.Lines)
			case c.kind != "" && (fault == nil || fault.Kind != c.kind || fault.Record != c.no):
				t.Errorf("got %+v, want %s %d", fault, c.kind, c.no)
			}
		})
	}
}

// A tail that was cut off while no gateway ran leaves a trail that fits; a value
// that somebody noted before says that it was longer. The same for a trail that was
// made anew as a whole.
func TestACutTrailIsFoundByAValueNotedBefore(t *testing.T) {
	dir := t.TempDir()
	db := openIn(t, dir)
	for i := range 5 {
		note(t, db, "thing", fmt.Sprint(i))
	}
	noted, err := db.TrailEnd(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	outside(t, dir, `DELETE FROM audit WHERE no = 5`)
	db = openIn(t, dir)
	note(t, db, "thing", "another")
	last, err := db.TrailEnd(t.Context())
	if err != nil || last.No != 5 {
		t.Fatalf("%+v, %v", last, err)
	}
	if _, fault := judged(t, db, last); fault != nil {
		t.Errorf("what nobody can see is seen: %+v", fault)
	}
	if _, fault := judged(t, db, last, noted.Chain); fault == nil || fault.Kind != audit.Missing || !strings.Contains(fault.Message, noted.Chain.String()) {
		t.Errorf("a value noted before: %+v", fault)
	}
	if _, fault := judged(t, db, last, last.Chain, audit.Chain{}); fault != nil {
		t.Errorf("values that occur: %+v", fault)
	}
}

// A job that fails after its line, and a transaction that is undone as a whole,
// leave the chain where it was.
func TestTheChainFollowsWhatIsCommitted(t *testing.T) {
	dir := t.TempDir()
	db := openIn(t, dir)
	note(t, db, "first", "")
	broken := errors.New("broken")
	half := func(err error) func(*tx) error {
		return func(t *tx) error {
			return errors.Join(t.audit(1, "x", "half", "", ""), t.audit(2, "x", "half", "", ""), err)
		}
	}
	if err := db.change(t.Context(), half(broken)); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	note(t, db, "second", "")
	if err := db.change(t.Context(), func(t *tx) error { defer panic("a fault"); return half(nil)(t) }); err == nil {
		t.Fatal("a panic was no error")
	}
	// The whole transaction, with a line of its neighbour: a job that ends it from
	// within makes its COMMIT fail.
	hold, held, ends := make(chan struct{}), make(chan struct{}), make(chan error, 3)
	put := func(do func(*tx) error) {
		db.w.submit(context.Background(), job{do: do, after: func(err error) { ends <- err }})
	}
	put(func(*tx) error { close(held); <-hold; return nil })
	<-held
	put(half(nil))
	put(func(t *tx) error { _, err := t.exec("ROLLBACK"); return err })
	close(hold)
	failed := 0
	for range 3 {
		if <-ends != nil {
			failed++
		}
	}
	if failed == 0 {
		t.Fatal("the transaction was committed: this test shows nothing")
	}
	note(t, db, "third", "")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openIn(t, dir)
	note(t, db, "fourth", "")
	last, err := db.TrailEnd(t.Context())
	if k, fault := judged(t, db, last); err != nil || fault != nil || k.Lines != 4 {
		t.Errorf("%+v, %v: %d lines", fault, err, k.Lines)
	}
}

// A trail of the version before is chained when it is opened first, all of it or
// nothing, and loses its card numbers.
func TestAnOldTrailIsChained(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	if err := createPrivate(path); err != nil {
		t.Fatal(err)
	}
	conn, err := connector{dsn: writerDSN(path)}.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{conn: conn, stmts: map[string]driver.Stmt{}}
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	for _, name := range names[:4] {
		text, err := migrations.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.script(&tx{w}, string(text)); err != nil {
			t.Fatal(err)
		}
	}
	const old = 1203
	if err := w.script(&tx{w}, "PRAGMA user_version = 4", fmt.Sprintf(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		INSERT INTO audit SELECT i, i * 1000, 'edgegw', 'sale quarantined', CASE i WHEN 700 THEN '4111 1111 1111 1111' ELSE 's' || i END, '' FROM n`, old)); err != nil {
		t.Fatal(err)
	}
	w.release()
	db := openIn(t, dir)
	note(t, db, "new", "also of 4111111111111111 and ofk_reg_live_0123456789abcdef and \xff")
	last, err := db.TrailEnd(t.Context())
	if k, fault := judged(t, db, last); err != nil || fault != nil || k.Lines != old+1 {
		t.Errorf("%+v, %v: %d lines", fault, err, k.Lines)
	}
	var cards int
	if err := db.queryOne(t.Context(), `SELECT count(*) FROM audit WHERE subject LIKE '%1111 1%' OR detail LIKE '%411111%' OR detail LIKE '%0123456789%'`, nil, &cards); err != nil || cards != 0 {
		t.Errorf("%d lines hold a card number, %v", cards, err)
	}
}

// An export shows a trail as it is, and so its check names the same line.
func TestAnAlteredTrailIsFoundInAnExport(t *testing.T) {
	dir := t.TempDir()
	db := openIn(t, dir)
	for i := range 9 {
		note(t, db, "thing", fmt.Sprint("detail ", i+1))
	}
	for _, c := range []struct {
		change string
		no     int64
		kind   string
	}{
		{`UPDATE audit SET at = at`, 0, ""},
		{`UPDATE audit SET detail = 'detail 9' WHERE no = 7`, 7, audit.Altered},
		{`DELETE FROM audit WHERE no = 6`, 6, audit.Missing},
		{`UPDATE audit SET chain = x'' WHERE no = 3`, 3, audit.Altered},
	} {
		outside(t, dir, c.change)
		var out bytes.Buffer
		x, err := audit.NewWriter(&out, audit.Manifest{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Snapshot(t.Context(), func(s *Snapshot) error {
			span, err := s.Span(t.Context(), Period{instant(1), instant(1 << 60)})
			return errors.Join(err, x.Trail(span, func(add func(audit.Line, []byte) error) error { return s.Lines(t.Context(), span, add) }))
		})
		if err = errors.Join(err, x.Close()); err != nil {
			t.Fatal(err)
		}
		_, fault := audit.Verify(bytes.NewReader(out.Bytes()), int64(out.Len()), nil, nil)
		if c.kind == "" && fault != nil || c.kind != "" && (fault == nil || fault.Kind != c.kind || fault.Record != c.no) {
			t.Errorf("%s: %+v", c.change, fault)
		}
	}
}
