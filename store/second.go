package store

import (
	"context"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Second is a second journal beside the database: frames that were synced, and
// nothing of what they hold. It is used by one goroutine at a time.
type Second interface {
	Generations() []SecondGeneration // that count, the older one first
	Read(frame func(generation int, payload []byte) error) error
	Continue() error
	Begin(id string, schema int) error
	Append(frame []byte, whole bool) error
	Room() int64
	Half() bool // of the room of a generation is used
	Close() error
}

// SecondGeneration is a part of it that counts.
type SecondGeneration struct {
	ID     string
	Before string // that it follows
	Schema int
	Whole  bool // needs no other one
	Lost   int  // frames that cannot be read
}

// SecondState is how the second journal is, for people.
type SecondState struct {
	Used  bool      // there is one
	On    bool      // it follows the database
	Cause string    // why it does not; "" while it is written for the first time
	Since time.Time // that it does not
	Left  int64     // unsent sales for which it has no room
}

const (
	// secondPatience is how long a commit waits for a second journal that hangs.
	secondPatience = 5 * time.Second
	// secondAgain is how long after a failure everything is written anew.
	secondAgain = time.Minute
	// secondRest is the room at which the next generation begins.
	secondRest = 1 << 20
	// partBytes is about how much of what counts is written in one transaction.
	partBytes = 256 << 10
)

var errHangs = errors.New("the second journal does not answer")

// request is what the writer asks of the goroutine that owns the second journal.
type request struct {
	frame []byte
	begin string // a generation of this id first
	shape int    // its schema
	whole bool
}

type reply struct {
	err  error
	room int64
	half bool
}

// follower is the writer's side of the second journal. Its fields belong to the
// writer's goroutine, but for those that say otherwise.
type follower struct {
	j       Second
	on      bool
	begin   string // the id of the generation that the next frame begins
	whole   bool   // the next frame makes the generation whole
	isWhole bool
	void    bool // the frame before was not committed
	stale   bool // the database still says that this one follows it
	busy    bool // a request has not been answered
	half    bool
	left    int64 // sales that the generation has no room for
	buf     []byte
	schema  int // of the tables
	shapes  []*shape
	no      map[string]int
	row     []any
	fault   error

	ask    chan request
	answer chan reply
	need   chan struct{} // a generation is to be begun
	done   chan struct{} // both goroutines have ended
	stop   context.CancelFunc
	state  atomic.Pointer[SecondState] // of all
}

// newFollower is nil without a second journal.
func newFollower(j Second) *follower {
	if j == nil {
		return nil
	}
	s := &follower{j: j, ask: make(chan request, 1), answer: make(chan reply, 1), need: make(chan struct{}, 1), done: make(chan struct{})}
	s.state.Store(&SecondState{Used: true})
	return s
}

// hook is nil where nobody listens.
func (s *follower) hook() sqlite.PreUpdateHookFn {
	if s == nil {
		return nil
	}
	return s.changed
}

// changed is SQLite's word that a row of the open transaction changes.
func (s *follower) changed(d sqlite.SQLitePreUpdateData) {
	if s == nil || !s.on || s.fault != nil {
		return
	}
	no, ok := s.no[d.TableName]
	if !ok {
		return
	}
	n := len(s.shapes[no].columns)
	if cap(s.row) < n {
		s.row = make([]any, n)
	}
	var old []byte
	if d.Op != sqlite3.SQLITE_INSERT {
		row, err := s.values(no, d.Old)
		if err != nil {
			s.fault = err
			return
		}
		old = s.shapes[no].keyOf(row)
		if d.Op == sqlite3.SQLITE_DELETE {
			s.remove(no, old, row)
			return
		}
	}
	row, err := s.values(no, d.New)
	if err != nil {
		s.fault = err
		return
	}
	if old != nil && string(old) != string(s.shapes[no].keyOf(row)) {
		s.remove(no, old, row)
	}
	s.put(no, row)
}

func (s *follower) values(no int, get func(...any) error) ([]driver.Value, error) {
	into := s.row[:len(s.shapes[no].columns)]
	clear(into)
	if err := get(into...); err != nil {
		return nil, fmt.Errorf("read a row of %s that changes: %w", s.shapes[no].name, err)
	}
	row := make([]driver.Value, len(into))
	for i, v := range into {
		row[i] = v
	}
	return row, nil
}

// ofCanary reports rows that stand for nothing (store/canary.go).
func (s *follower) ofCanary(no int, row []driver.Value) bool {
	return s.shapes[no].name == "update_seen" && row[0] == int64(0)
}

func (s *follower) put(no int, row []driver.Value) {
	if !s.ofCanary(no, row) {
		s.buf = appendRow(binary.AppendUvarint(append(s.buf, opPut), uint64(no)), row)
	}
}

func (s *follower) remove(no int, key []byte, row []driver.Value) {
	if !s.ofCanary(no, row) {
		s.buf = append(binary.AppendUvarint(append(s.buf, opDelete), uint64(no)), key...)
	}
}

// mark and back undo what a job has changed that failed.
func (s *follower) mark() int {
	if s == nil {
		return 0
	}
	return len(s.buf)
}

func (s *follower) back(to int) {
	if s != nil {
		s.buf = s.buf[:to]
	}
}

// send gives the transaction's rows to the second journal, which syncs them while
// SQLite syncs its commit. sent is false where there is nothing to wait for.
func (s *follower) send() (sent bool) {
	if s == nil || !s.on || len(s.buf) == 0 && s.begin == "" && !s.whole {
		return false
	}
	r := request{begin: s.begin, whole: s.whole}
	if s.begin != "" {
		r.shape = s.schema
		for i, t := range s.shapes {
			r.frame = appendShape(r.frame, i, t)
		}
	}
	if s.void {
		r.frame = append(r.frame, opVoid)
	}
	r.frame = append(r.frame, s.buf...)
	if len(r.frame) == 0 {
		r.frame = appendShape(nil, 0, s.shapes[0]) // a frame must hold something
	}
	s.buf, s.busy = s.buf[:0], true
	s.ask <- r
	return true
}

// wait gives what became of the frame that was sent.
func (s *follower) wait(committed bool) error {
	t := time.NewTimer(secondPatience)
	defer t.Stop()
	select {
	case r := <-s.answer:
		s.busy = false
		if r.err != nil {
			return r.err
		}
		if s.begin != "" {
			s.isWhole = false
		}
		if s.whole {
			s.isWhole = true
			s.tell(SecondState{Used: true, On: true, Left: s.left})
		}
		s.begin, s.whole, s.void, s.half = "", false, !committed, r.half
		if s.isWhole && r.room < secondRest {
			s.ring()
		}
		return nil
	case <-t.C:
		return errHangs
	}
}

func (s *follower) ring() {
	select {
	case s.need <- struct{}{}:
	default:
	}
}

// off turns the second journal off: it has failed. Sales go on.
func (w *writer) off(cause error) {
	s := w.second
	s.on, s.stale, s.begin, s.whole, s.isWhole, s.fault = false, true, "", false, false, nil
	s.buf = s.buf[:0]
	s.tell(SecondState{Used: true, Cause: cause.Error(), Since: w.db.now()})
	w.db.log.Error("the second journal is off; sales go on", "cause", cause)
	s.ring()
}

func (s *follower) tell(state SecondState) { s.state.Store(&state) }

// disown has the database say that no second journal follows it. It is committed
// before anything else is acknowledged, or an old one would be believed later.
func (w *writer) disown(t *tx) error {
	if w.second == nil || !w.second.stale {
		return nil
	}
	_, err := t.exec(`UPDATE second SET generation = ''`)
	return err
}

// disownNow is disown in a transaction of its own.
func (w *writer) disownNow(t *tx) {
	_, err := t.exec("BEGIN IMMEDIATE")
	if err == nil {
		if err = w.disown(t); err == nil {
			_, err = t.exec("COMMIT")
		}
		if err != nil {
			_, _ = t.exec("ROLLBACK") // what went wrong is said below
		}
	}
	if err != nil {
		w.db.log.Error("that the second journal is off cannot be written down yet", "cause", err)
		return
	}
	w.second.stale = false
}

// follow says which tables the rows to come are of.
func (s *follower) follow(schema int, shapes []*shape) {
	s.schema, s.shapes, s.no = schema, shapes, map[string]int{}
	for i, t := range shapes {
		s.no[t.name] = i
	}
}

// own is the goroutine that the second journal belongs to.
func (s *follower) own() {
	for r := range s.ask {
		var err error
		if r.begin != "" {
			err = s.j.Begin(r.begin, r.shape)
		}
		if err == nil {
			err = s.j.Append(r.frame, r.whole)
		}
		s.answer <- reply{err, s.j.Room(), s.j.Half()}
	}
}

// run starts what lives beside the writer.
func (db *DB) runSecond() {
	s := db.w.second
	if s == nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go func() {
		defer close(s.done)
		db.keep(ctx)
	}()
}

// end lets the second journal go once the writer has ended. One that hangs is left.
func (s *follower) end(clean bool) error {
	if s == nil {
		return nil
	}
	if s.busy {
		return nil
	}
	if clean && s.on && s.isWhole {
		s.buf = append(s.buf[:0], opClean)
		if s.send() {
			_ = s.wait(true) // without the mark the next start compares
		}
	}
	close(s.ask)
	if s.busy {
		return nil
	}
	return s.j.Close()
}

// SecondState says how the second journal is.
func (db *DB) SecondState() SecondState {
	if db.w.second == nil {
		return SecondState{}
	}
	return *db.w.second.state.Load()
}
