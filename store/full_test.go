package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"edgegw/sale"
)

// A large event that does not fit into the last free pages must not keep an
// attempt or an outcome from them: with nothing going out, nothing gets free.
func TestAFullDiskFailsWhatDoesNotFitAndNotItsNeighbours(t *testing.T) {
	db := openTest(t)
	addDevice(t, db, "pump-01", "reg_1")
	mustAppend(t, db, entry("pump-01", "reg_1", sale.Whole, "s1", "a"), sale.Queued)
	h, err := db.Head(t.Context(), "reg_1")
	if err != nil {
		t.Fatal(err)
	}
	mostPagesNow(t, db, 2)
	hold, held := make(chan struct{}), make(chan struct{})
	db.w.submit(t.Context(), job{do: func(*tx) error { close(held); <-hold; return nil }, after: func(error) {}})
	<-held
	big := make(chan error, 1)
	db.Append(t.Context(), entry("pump-01", "reg_1", sale.Whole, "s2", strings.Repeat("x", 50_000)), func(_ sale.Accepted, err error) { big <- err })
	began := make(chan error, 1)
	db.w.submit(t.Context(), job{do: func(t *tx) error {
		_, err := t.exec(`UPDATE queue SET attempts = attempts + 1`)
		return err
	}, after: func(err error) { began <- err }})
	close(hold)
	if err := <-big; !errors.Is(err, ErrFull) || !errors.Is(err, sale.ErrNotReady) {
		t.Errorf("the large event: %v", err)
	}
	if err := <-began; err != nil {
		t.Errorf("its neighbour: %v", err)
	}
	if again, err := db.Head(t.Context(), "reg_1"); err != nil || again.Event != h.Event || again.Attempts != 1 {
		t.Errorf("head %+v, %v", again, err)
	}
	select {
	case <-db.Failed():
		t.Errorf("a full disk is no reason to die: %v", db.Cause())
	default:
	}
}

// A disk that fails while each of a batch tries for itself ends that as well: what is
// committed behind it could be gone.
func TestNothingIsTriedBehindAFailedDisk(t *testing.T) {
	db := openTest(t)
	addDevice(t, db, "pump-01", "reg_1")
	mostPagesNow(t, db, 2)
	hold, held := make(chan struct{}), make(chan struct{})
	db.w.submit(t.Context(), job{do: func(*tx) error { close(held); <-hold; return nil }, after: func(error) {}})
	<-held
	sick, ends, runs := errors.New("the disk is sick"), make(chan error, 3), [3]int{}
	for i := range 3 {
		db.w.submit(t.Context(), job{do: func(t *tx) error {
			if runs[i]++; i == 0 && runs[i] == 2 {
				db.fail(sick)
			}
			_, err := t.exec(`INSERT INTO update_seen (sale, mark, event) VALUES (0, zeroblob(?), 1)`, 1+50_000*i)
			return err
		}, after: func(err error) { ends <- err }})
	}
	close(hold)
	<-ends // the first one had ended before
	for range 2 {
		if err := <-ends; !errors.Is(err, sick) {
			t.Errorf("behind it: %v", err)
		}
	}
	if runs != [3]int{2, 1, 0} { // the second one met the full disk, and so all were undone
		t.Errorf("they were tried %v times", runs)
	}
}

// fickle fails statements on command.
type fickle struct {
	driver.Connector
	fail *atomic.Pointer[string] // a part of the statements that fail
}

func (f fickle) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := f.Connector.Connect(ctx)
	return fickleConn{c, f.fail}, err
}

type fickleConn struct {
	driver.Conn
	fail *atomic.Pointer[string]
}

func (c fickleConn) Prepare(text string) (driver.Stmt, error) {
	s, err := c.Conn.Prepare(text)
	return fickleStmt{s, text, c.fail}, err
}

type fickleStmt struct {
	driver.Stmt
	text string
	fail *atomic.Pointer[string]
}

func (s fickleStmt) sick() error {
	if part := s.fail.Load(); part != nil && strings.Contains(s.text, *part) {
		return errors.New("it is said to have failed")
	}
	return nil
}

func (s fickleStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	r, err := s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args) // carried out all the same: the ambiguous case
	if sick := s.sick(); sick != nil {
		return nil, sick
	}
	return r, err
}

func (s fickleStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	if sick := s.sick(); sick != nil {
		return nil, sick
	}
	return s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
}

func openFickle(t *testing.T) (*DB, func(part string)) {
	t.Helper()
	fail := &atomic.Pointer[string]{}
	db, err := Open(t.Context(), t.TempDir(), Options{Disk: func(c driver.Connector) driver.Connector { return fickle{c, fail} }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db, func(part string) { fail.Store(&part) }
}

// A commit that is said to have failed may be there: the repetition is a
// duplicate, and wakes the queue that nobody has told of its call.
func TestTheRepetitionOfAnAmbiguousCommitWakesItsQueue(t *testing.T) {
	db, fail := openFickle(t)
	addDevice(t, db, "pump-01", "reg_1")
	fail("COMMIT")
	if _, err := appendNow(t, db, entry("pump-01", "reg_1", sale.Whole, "s1", "a")); err == nil {
		t.Fatal("acknowledged although the commit failed")
	}
	fail("nothing fails")
	a, err := appendNow(t, db, entry("pump-01", "reg_1", sale.Whole, "s1", "a"))
	if err != nil || a.Status != sale.Duplicate || a.Register != "reg_1" {
		t.Errorf("the repetition: %+v, %v", a, err)
	}
	mustAppend(t, db, entry("pump-01", "reg_1", sale.Whole, "s2", "a"), sale.Queued) // numbers were read anew
}

// A store that cannot tell any more what its file holds must not look alive.
func TestAStoreThatCannotReadItselfEnds(t *testing.T) {
	db, fail := openFickle(t)
	addDevice(t, db, "pump-01", "reg_1")
	fail("M") // COMMIT, and SELECT … FROM after it
	if _, err := appendNow(t, db, entry("pump-01", "reg_1", sale.Whole, "s1", "a")); err == nil {
		t.Fatal("acknowledged although the commit failed")
	}
	<-db.Failed()
	fail("nothing fails")
	if _, err := appendNow(t, db, entry("pump-01", "reg_1", sale.Whole, "s1", "a")); err == nil {
		t.Error("accepted after the end")
	}
}
