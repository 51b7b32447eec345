package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"edgegw/sale"
)

// A batch holds what waits, and what comes while it is being written, up to
// this many jobs. It never waits for more: a lone sale is synced at once, and
// under load batches form by themselves. Only jobs that say so wait a little for
// company (patient): each alone would write the same few pages again.
const maxBatch = 1024

// job is one change: all of it or nothing, whatever becomes of its neighbours
// in the batch.
//
// do changes the writer's caches only after its last statement, so that a job
// that fails leaves nothing behind in them.
//
// first, where it is set, is tried before: it makes at most one statement that
// writes, which SQLite itself does wholly or not at all, so it needs no
// savepoint. done ends the job.
type job struct {
	bytes int           // of rows, about
	wait  time.Duration // so long the commit may wait for others of this kind
	first func(*tx) (done bool, err error)
	do    func(*tx) error
	after func(error) // once, after the commit that holds the change, or its failure
}

// writer is the one connection that writes. Its goroutine owns all its fields
// but jobs and the life cycle.
type writer struct {
	db    *DB
	conn  driver.Conn
	stmts map[string]driver.Stmt
	args  []driver.NamedValue
	jobs  chan job
	slow  patient
	quit  chan struct{}
	done  chan struct{}
	mu    sync.RWMutex // guards stopped against a send on jobs
	ended bool
	own   []error // of the batch's jobs
	next  int64   // number of the next event
	rows  cache
	dirty map[int64]*tally
	seen  []seen // event counters of the batch

	second   *follower // nil: there is none
	known    known     // of it, at the opening
	side     *checkpointer
	logPages int  // written since the log began anew, about
	kicked   bool // the side is copying
}

func openWriter(ctx context.Context, c driver.Connector, db *DB, second *follower) (*writer, error) {
	conn, err := c.Connect(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{db: db, second: second, conn: conn, stmts: map[string]driver.Stmt{}, jobs: make(chan job, maxBatch),
		quit: make(chan struct{}), done: make(chan struct{}), dirty: map[int64]*tally{}}
	if err := w.prepareFile(); err != nil {
		w.release()
		return nil, err
	}
	if err := growLog(db.path + "-wal"); err != nil {
		db.log.Warn("the write-ahead log cannot be made in one piece: each sale has it grow", "cause", err)
	}
	if w.side, err = openCheckpointer(ctx, c, db.notCopied); err != nil {
		_ = w.second.end(false) // the error of the opening counts
		w.release()
		return nil, err
	}
	go w.run()
	return w, nil
}

// prepareFile asserts what promise 1 rests on, migrates and fills the caches.
func (w *writer) prepareFile() error {
	t := &tx{w}
	for _, must := range []struct {
		pragma string
		value  driver.Value
	}{{"journal_mode", "wal"}, {"synchronous", int64(2)}, {"foreign_keys", int64(1)}} {
		got, err := t.value("PRAGMA " + must.pragma)
		if err != nil {
			return err
		}
		if got != must.value {
			return fmt.Errorf("PRAGMA %s is %v, not %v: an acknowledgement would not mean that a sale is on disk",
				must.pragma, got, must.value)
		}
	}
	known, err := w.compare(t)
	if err != nil {
		return err
	}
	if err := w.migrate(t); err != nil {
		return err
	}
	if err := w.rows.load(t, &w.next); err != nil {
		return err
	}
	return w.goOn(t, known)
}

// submit queues a job; it blocks while the queue is full, which is the
// back-pressure that reaches the devices. after is called exactly once.
func (w *writer) submit(ctx context.Context, j job) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.ended {
		j.after(ErrClosed)
		return
	}
	select {
	case w.jobs <- j:
	case <-ctx.Done():
		j.after(context.Cause(ctx))
	case <-w.db.fatal:
		j.after(w.db.cause)
	}
}

// change runs one job and waits for its commit. It waits even when ctx ends:
// what was submitted may be committed, and the caller must know.
func (db *DB) change(ctx context.Context, do func(*tx) error) error {
	return db.changeOf(ctx, 400, do)
}

// changeOf is change for rows of a known size.
func (db *DB) changeOf(ctx context.Context, bytes int, do func(*tx) error) error {
	return db.changeWith(ctx, bytes, 0, do)
}

// changeWith is changeOf for a commit that may wait so long for others to share it.
func (db *DB) changeWith(ctx context.Context, bytes int, wait time.Duration, do func(*tx) error) error {
	end := make(chan error, 1)
	db.w.submit(ctx, job{bytes: bytes, wait: wait, do: do, after: func(err error) { end <- err }})
	return <-end
}

func (w *writer) run() {
	defer close(w.done)
	batch := make([]job, 0, maxBatch)
	for {
		batch = w.wait(batch[:0])
		if len(batch) == 0 {
			return
		}
		batch = w.commit(batch)
		clear(batch)
	}
}

// commit carries out a batch in one transaction, and gives it with the jobs
// that joined it.
func (w *writer) commit(batch []job) []job {
	select {
	case <-w.db.fatal:
		for _, j := range batch {
			j.after(w.db.cause)
		}
		return batch
	default:
	}
	batch, err := w.transact(batch)
	if primary(err) == sqlite3.SQLITE_FULL && len(batch) > 1 {
		// One large event must not keep a receipt or an attempt from the last
		// free pages: each tries for itself.
		for i := range batch {
			w.commit(batch[i : i+1 : i+1])
		}
		return batch
	}
	w.finish(batch, err)
	return batch
}

// finish tells every job of a transaction how it ended.
func (w *writer) finish(batch []job, err error) {
	if err != nil {
		err = explain(err)
		if deadly(err) {
			w.db.fail(fmt.Errorf("write %s: %w", w.db.path, err))
		}
	}
	bytes := 0
	for i, j := range batch {
		bytes += j.bytes
		if err != nil {
			j.after(err)
		} else {
			j.after(w.own[i])
		}
	}
	if err == nil {
		w.tend(bytes)
	}
}

// transact gives the batch with what joined it, each job's own error in w.own,
// or the error that undid them all.
func (w *writer) transact(batch []job) (_ []job, err error) {
	t, begun := &tx{w}, time.Now()
	w.own = w.own[:0]
	w.second.back(0)
	defer func() {
		if err != nil {
			w.second.back(0)
			err = errors.Join(err, w.rollback(t))
		}
	}()
	if _, err := t.exec("BEGIN IMMEDIATE"); err != nil {
		return batch, err
	}
	for i := 0; i < len(batch); i++ {
		own, err := w.one(t, batch[i])
		if err != nil {
			return batch, err
		}
		w.own = append(w.own, own)
		if i == len(batch)-1 && cap(batch) > 1 {
			batch = w.join(batch)
		}
	}
	if err := w.flush(t); err != nil {
		return batch, err
	}
	if err = w.sync(t); err == nil {
		w.db.told(time.Since(begun), len(batch))
	}
	return batch, err
}

// sync commits, while the second journal syncs the same rows. Where that one fails,
// the commit counts all the same.
func (w *writer) sync(t *tx) error {
	s := w.second
	if s != nil && s.fault != nil {
		w.off(s.fault)
	}
	if err := w.disown(t); err != nil {
		return err
	}
	sent := s.send()
	_, err := t.exec("COMMIT")
	if s == nil {
		return err
	}
	s.stale = s.stale && err != nil
	if sent {
		if failed := s.wait(err == nil); failed != nil {
			if w.off(failed); err == nil {
				w.disownNow(t)
			}
		}
	}
	return err
}

// join adds the jobs that have come meanwhile. Those that may wait do, where what is
// being written did not wait for them.
func (w *writer) join(batch []job) []job {
	waited := batch[0].wait > 0
	for len(batch) < maxBatch {
		select {
		case j := <-w.jobs:
			if j.wait > 0 && !waited {
				w.slow.add(j)
				continue
			}
			batch = append(batch, j)
		default:
			return batch
		}
	}
	return batch
}

// one runs a job inside its own savepoint, so that a bad row fails alone.
func (w *writer) one(t *tx, j job) (own, all error) {
	mark := w.second.mark()
	if j.first != nil {
		done, err := guard(t, j.first)
		if err != nil {
			w.second.back(mark)
		}
		if endsTransaction(err) {
			return nil, err
		}
		if done || err != nil {
			return explain(err), nil
		}
	}
	if _, err := t.exec("SAVEPOINT job"); err != nil {
		return nil, err
	}
	trail := w.rows.trail
	_, own = guard(t, func(t *tx) (bool, error) { return true, j.do(t) })
	if own != nil {
		if endsTransaction(own) {
			return nil, own
		}
		if _, err := t.exec("ROLLBACK TO job"); err != nil {
			return nil, err // a full disk may have ended the transaction itself
		}
		w.second.back(mark)
		w.rows.trail = trail // its lines are undone, and the next one follows what is there
	}
	_, all = t.exec("RELEASE job")
	return explain(own), all
}

// guard keeps a panic in one job from taking the batch with it unanswered.
func guard(t *tx, do func(*tx) (bool, error)) (done bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("change the journal: %v", r)
		}
	}()
	return do(t)
}

// rollback undoes the transaction and reads again what was cached of it.
func (w *writer) rollback(t *tx) error {
	_, err := t.exec("ROLLBACK")
	if primary(err) != 0 && !deadly(err) {
		err = nil // SQLite had ended the transaction by itself
	}
	clear(w.dirty)
	w.seen = w.seen[:0]
	if err = errors.Join(err, w.rows.load(t, &w.next)); err != nil {
		// What the file holds is not known any more: a store that refused every
		// event from now on would look alive.
		w.db.fail(fmt.Errorf("undo a transaction in %s: %w", w.db.path, err))
	}
	return err
}

func (w *writer) close() error {
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	if w.second != nil {
		w.second.stop()
		<-w.second.done // before the writer ends, whom it asks
	}
	close(w.quit)
	<-w.done
	w.side.close()
	select {
	case <-w.db.fatal:
		return errors.Join(w.second.end(false), w.release())
	default:
	}
	err := w.release()
	return errors.Join(err, w.second.end(err == nil))
}

func (w *writer) release() error {
	for _, s := range w.stmts {
		s.Close()
	}
	return w.conn.Close()
}

// tx runs statements of the transaction that is open. Times and texts are the
// caller's; nothing here decides.
type tx struct{ w *writer }

func (t *tx) stmt(text string) (driver.Stmt, error) {
	if s := t.w.stmts[text]; s != nil {
		return s, nil
	}
	s, err := t.w.conn.Prepare(text)
	if err != nil {
		return nil, err
	}
	t.w.stmts[text] = s
	return s, nil
}

func (t *tx) bind(args []any) []driver.NamedValue {
	t.w.args = t.w.args[:0]
	for i, a := range args {
		switch v := a.(type) {
		case int:
			a = int64(v)
		case uint8:
			a = int64(v)
		case bool:
			a = int64(0)
			if v {
				a = int64(1)
			}
		case sale.Kind:
			a = int64(v)
		case sale.Step:
			a = int64(v)
		case sale.State:
			a = int64(v)
		case sale.Class:
			a = int64(v)
		}
		t.w.args = append(t.w.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return t.w.args
}

func (t *tx) run(text string, args []any) (driver.Result, error) {
	s, err := t.stmt(text)
	if err != nil {
		return nil, err
	}
	return s.(driver.StmtExecContext).ExecContext(context.Background(), t.bind(args))
}

// exec gives the number of rows changed.
func (t *tx) exec(text string, args ...any) (int64, error) {
	r, err := t.run(text, args)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// insert gives the number of the new row.
func (t *tx) insert(text string, args ...any) (int64, error) {
	r, err := t.run(text, args)
	if err != nil {
		return 0, err
	}
	return r.LastInsertId()
}

// query calls row for each row of a SELECT; its slice is only good until row
// returns, its byte slices longer.
func (t *tx) query(text string, row func([]driver.Value) error, args ...any) error {
	s, err := t.stmt(text)
	if err != nil {
		return err
	}
	rows, err := s.(driver.StmtQueryContext).QueryContext(context.Background(), t.bind(args))
	if err != nil {
		return err
	}
	defer rows.Close()
	dest := make([]driver.Value, len(rows.Columns()))
	for {
		if err := rows.Next(dest); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := row(dest); err != nil {
			return err
		}
	}
}

// value gives the first column of the last row, nil if there is none.
func (t *tx) value(text string, args ...any) (v driver.Value, err error) {
	err = t.query(text, func(row []driver.Value) error {
		v = row[0]
		return nil
	}, args...)
	return v, err
}
