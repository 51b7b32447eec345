// Package store keeps the site's journal in SQLite: rows and transactions, and
// nothing about what they mean. It promises that what a method has returned
// nil for is synced to disk, and that one event's failure never touches
// another's. It is the only package that knows the SQLite driver.
package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"edgegw/sale"
)

// FileName is the database inside the data directory.
const FileName = "edgegw.db"

// Errors that callers test for.
var (
	ErrClosed = errors.New("the store is closed")
	ErrExists = errors.New("there is one already")
	ErrFull   = errors.New("no space left for the database")
	// ErrNewer is given for a database of a later edgegw; nothing was written.
	ErrNewer = errors.New("the database was written by a newer edgegw")
)

// Options are what a test may replace. The zero value is production.
type Options struct {
	Disk func(driver.Connector) driver.Connector // wraps every connection
	Log  *slog.Logger
	// Committed is told of each commit: how long the transaction took, from its
	// BEGIN to the end of its sync, and how many changes it held. The writer
	// waits for it.
	Committed func(took time.Duration, changes int)
	// Second is a second journal, which the store closes; nil: there is none.
	Second Second
	// Now is what lines of the audit trail are written with where the caller gives
	// no time; nil: the box's clock.
	Now func() time.Time
	// Free gives the bytes that can still be written in a folder; nil: nobody knows.
	Free func(dir string) (int64, error)
}

// DB is the journal: one writer and a pool of readers on one file.
type DB struct {
	path    string
	log     *slog.Logger
	now     func() time.Time
	told    func(took time.Duration, changes int) // Options.Committed
	reader  driver.Connector
	read    *sql.DB
	reads   statements
	wide    chan struct{} // full while there are as many wide searches as may be
	w       *writer
	closing sync.Once
	closed  error
	fatal   chan struct{}
	cause   error
	once    sync.Once

	givesBack atomic.Bool // GiveBack is under way
	free      func(dir string) (int64, error)
}

// Open opens the journal in dir, made if absent, brings its schema up to date
// and starts the writer. Close ends it.
func Open(ctx context.Context, dir string, o Options) (*DB, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Committed == nil {
		o.Committed = func(time.Duration, int) {}
	}
	path := filepath.Join(dir, FileName)
	if err := refuseOrphan(path); err != nil {
		return nil, err
	}
	if err := createPrivate(path); err != nil {
		return nil, err
	}
	if err := syncLog(path); err != nil {
		return nil, fmt.Errorf("bring the log of the last run to the disk: %w", err)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	db := &DB{path: path, log: o.Log, now: o.Now, told: o.Committed, free: o.Free, fatal: make(chan struct{})}
	wrap := o.Disk
	if wrap == nil {
		wrap = func(c driver.Connector) driver.Connector { return c }
	}
	second := newFollower(o.Second)
	w, err := openWriter(ctx, wrap(connector{writerDSN(path), second.hook()}), db, second)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	db.w = w
	db.runSecond()
	db.reader = wrap(connector{dsn: readerDSN(path)})
	db.read = sql.OpenDB(db.reader)
	db.read.SetMaxOpenConns(readers)
	db.read.SetMaxIdleConns(4)
	db.wide = make(chan struct{}, searches)
	db.reads.db = db.read
	err = db.read.PingContext(ctx)
	if err == nil {
		err = db.tellMended(ctx)
	}
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("open %s for reading: %w", path, err)
	}
	return db, nil
}

// createPrivate makes the file with mode 0600 before SQLite would make it with
// another: -wal and -shm take the database's mode.
func createPrivate(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("make the database: %w", err)
	}
	return f.Close() // safe: no other descriptor of it is open in this process yet
}

// writerDSN. What is new can shrink piece by piece (GiveBack); on a database that is
// there the pragma does nothing. It costs a page of SQLite's map of pages wherever a
// commit makes the file grow: 7 % of what a lone sale writes.
func writerDSN(path string) string {
	return "file:" + path + "?_pragma=auto_vacuum(2)&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)" +
		"&_pragma=foreign_keys(1)&_pragma=temp_store(2)&_pragma=trusted_schema(0)&_pragma=wal_autocheckpoint(0)&_pragma=cache_size(-16384)" +
		"&_pragma=journal_size_limit(16777216)&_dqs=0"
}

func readerDSN(path string) string {
	return "file:" + path + "?mode=ro&_pragma=busy_timeout(5000)&_pragma=query_only(1)&_pragma=temp_store(2)&_dqs=0"
}

// connector is SQLite's own, without the registry of database/sql.
type connector struct {
	dsn     string
	changed sqlite.PreUpdateHookFn // is told of each row that changes; may be nil
}

func (c connector) Connect(context.Context) (driver.Conn, error) {
	vfs, err := useDataVFS()
	if err != nil {
		return nil, err
	}
	conn, err := c.Driver().Open(c.dsn + vfs)
	if err != nil || c.changed == nil {
		return conn, err
	}
	conn.(sqlite.HookRegisterer).RegisterPreUpdateHook(c.changed)
	return conn, nil
}

func (c connector) Driver() driver.Driver { return &sqlite.Driver{} }

// Failed is closed when the disk has failed in a way that leaves the file's
// state unknown, such as a failed fsync. Nothing is accepted after it; the
// process should end with Cause and start anew: a second fsync may lie, and Open brings
// what the log holds to the disk before anybody believes it.
func (db *DB) Failed() <-chan struct{} { return db.fatal }

// Cause is why Failed is closed.
func (db *DB) Cause() error { return db.cause }

func (db *DB) fail(err error) {
	db.once.Do(func() {
		db.cause = err
		close(db.fatal)
	})
}

// Close ends the writer after what is queued, and closes the file. Safe twice.
func (db *DB) Close() error {
	db.closing.Do(func() {
		// Those who may only read are the last: SQLite has the last one who may write
		// copy the log and delete it, also where a copy has failed before.
		err := db.w.close()
		db.reads.close()
		db.closed = errors.Join(err, db.read.Close())
	})
	return db.closed
}

// How many may read at once, and how many of them may look through much of the file for
// a sale: the heads of queues, and the events of sales that were begun before a restart,
// do not wait for what somebody asks.
const (
	readers  = 6
	searches = 2
)

// statements prepares each text once for the pool of readers.
type statements struct {
	db *sql.DB
	mu sync.Mutex
	m  map[string]*sql.Stmt
}

func (s *statements) get(ctx context.Context, text string) (*sql.Stmt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.m[text]; st != nil {
		return st, nil
	}
	st, err := s.db.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	if s.m == nil {
		s.m = map[string]*sql.Stmt{}
	}
	s.m[text] = st
	return st, nil
}

func (s *statements) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.m {
		st.Close()
	}
	s.m = nil
}

// query runs a SELECT on the pool and calls row for each of its rows.
func (db *DB) query(ctx context.Context, text string, row func(scan func(...any) error) error, args ...any) error {
	st, err := db.reads.get(ctx, text)
	if err != nil {
		return db.met(err)
	}
	rows, err := st.QueryContext(ctx, args...)
	if err != nil {
		return db.met(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return db.met(err)
		}
	}
	return db.met(rows.Err())
}

// queryOne runs a SELECT of at most one row; sql.ErrNoRows if there is none.
func (db *DB) queryOne(ctx context.Context, text string, args []any, into ...any) error {
	st, err := db.reads.get(ctx, text)
	if err != nil {
		return db.met(err)
	}
	return db.met(st.QueryRowContext(ctx, args...).Scan(into...))
}

// met ends the store where a look at the file has met damage and a second journal
// follows it: the next start makes the database again. Without one the next start
// would meet the same page, so what cannot be read stays where it is, and the rest
// goes on.
func (db *DB) met(err error) error {
	if db.w.second != nil && IsDamage(err) {
		db.fail(fmt.Errorf("read %s: %w", db.path, err))
	}
	return err
}

// primary gives SQLite's primary result code of err, 0 for other errors.
func primary(err error) int {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return 0
	}
	return e.Code() & 0xff
}

const ioErr = sqlite3.SQLITE_IOERR

// explain turns SQLite's words into ours where callers decide by them.
func explain(err error) error {
	switch primary(err) {
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w: %w: %w", ErrFull, sale.ErrNotReady, err)
	}
	return err
}

// deadly reports errors after which the state of the file is not known.
func deadly(err error) bool {
	switch primary(err) {
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return true
	}
	return false
}

// endsTransaction reports errors after which SQLite may have rolled back the
// whole transaction by itself: what follows would be committed piece by piece.
func endsTransaction(err error) bool {
	switch primary(err) {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_INTERRUPT:
		return true
	}
	return deadly(err)
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func instant(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
