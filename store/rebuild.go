package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// RebuildOptions say what is known of the database, and what a test may replace.
type RebuildOptions struct {
	Second   Second // nil: there is none
	Suspect  string // why the file is to be read whole before it is believed; "": it is not
	Only     bool   // look only: ErrDamaged where something is to be done
	Expected bool   // something beside it says that there must be one
	Log      *slog.Logger
	Now      func() time.Time
	Free     func(dir string) (int64, error) // bytes that can be written; nil: nobody knows
	Step     func(name string) error         // before each step that changes the disk; nil: nothing
}

// ErrDamaged is given where a database is to be made again, and was only looked at.
var ErrDamaged = errors.New("the database is damaged, or missing")

// ErrNoRoom is given where a damaged database cannot be made again for want of space.
var ErrNoRoom = errors.New("there is not enough free space to make the database again")

const (
	rebuildNest = ".rebuild"
	rebuildPlan = ".plan"
	rebuildMark = ".moved"
	// rebuildRoom is what is needed beside two copies of what is there.
	rebuildRoom = 16 << 20
)

// IsDamage reports whether an error says that the file is no sound database, as
// opposed to a disk that does not answer.
func IsDamage(err error) bool { return deadly(err) && primary(err) != ioErr }

type rebuilder struct {
	RebuildOptions
	dir, path string
	name      string // that the damaged file gets
}

// Rebuild looks whether the database in dir is sound, and where it is not, makes it
// again from what can be read of it and from the second journal. What was damaged is
// moved aside whole, never deleted and never written to. Cut off at any moment, it has
// changed nothing, or the next call carries it to its end.
func Rebuild(ctx context.Context, dir string, o RebuildOptions) error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Step == nil {
		o.Step = func(string) error { return nil }
	}
	r := &rebuilder{RebuildOptions: o, dir: dir, path: filepath.Join(dir, FileName)}
	if o.Only {
		return r.look(ctx)
	}
	err := r.finish()
	if err == nil {
		var damage string
		if damage, err = r.examine(ctx); err == nil && damage != "" {
			o.Log.Error("the database is damaged and is made again", "damage", damage)
			err = r.rebuild(ctx, damage)
		}
	}
	if err != nil {
		return fmt.Errorf("make the database again: %w", err)
	}
	return nil
}

// look changes nothing.
func (r *rebuilder) look(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(r.dir, rebuildNest, rebuildPlan)); err == nil {
		return fmt.Errorf("%w: it is about to be made again", ErrDamaged)
	}
	damage, err := r.examine(ctx)
	if err == nil && damage != "" {
		err = fmt.Errorf("%w: %s", ErrDamaged, damage)
	}
	return err
}

// examine says what is wrong with the database; "" where nothing is.
func (r *rebuilder) examine(ctx context.Context) (damage string, err error) {
	if damage, err := orphan(r.path); err != nil || damage != "" {
		return damage, err
	}
	info, err := os.Stat(r.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if r.secondKnows() || r.Expected {
			return "it is missing", nil
		}
		return "", nil
	case err != nil:
		return "", err
	case info.Size() == 0:
		if r.secondKnows() || r.Expected {
			return "it is empty", nil
		}
		return "", nil
	}
	if r.hasJournal() {
		if r.Only {
			return "", nil // the next start takes back what was cut off
		}
		if err := r.rollBack(ctx); err != nil {
			return r.judge(ctx, err)
		}
	}
	from := sql.OpenDB(connector{dsn: "file:" + r.path + "?mode=ro&_pragma=busy_timeout(5000)&_pragma=query_only(1)&_dqs=0"})
	defer func() { _ = from.Close() }() // it was only read
	var tables int
	err = from.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema WHERE type = 'table'`).Scan(&tables)
	switch {
	case err != nil:
		return r.judge(ctx, err)
	case tables == 0 && (r.secondKnows() || r.Expected):
		return "it holds nothing", nil
	case r.Suspect == "":
		return "", nil
	}
	r.Log.Warn("the database is read whole before it is used", "why", r.Suspect)
	err = from.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&damage)
	if err != nil {
		return r.judge(ctx, err)
	}
	if damage == "ok" {
		return "", nil
	}
	return strings.Join(strings.Fields(damage), " "), nil
}

func (r *rebuilder) judge(ctx context.Context, err error) (string, error) {
	if ctx.Err() == nil && IsDamage(err) {
		return err.Error(), nil
	}
	return "", err // a disk that does not answer holds the data still
}

// hasJournal reports whether a transaction of before the write-ahead log was cut off: a
// site's first moments are written so.
func (r *rebuilder) hasJournal() bool {
	info, err := os.Stat(r.path + "-journal")
	return err == nil && info.Size() > 0
}

// rollBack has SQLite take it back, which it cannot where it may only read.
func (r *rebuilder) rollBack(ctx context.Context) error {
	db := sql.OpenDB(connector{dsn: "file:" + r.path + "?mode=rw&_pragma=busy_timeout(5000)&_dqs=0"})
	var n int
	err := db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema`).Scan(&n)
	return errors.Join(err, db.Close())
}

func (r *rebuilder) generations() []SecondGeneration {
	if r.Second == nil {
		return nil
	}
	return r.Second.Generations()
}

func (r *rebuilder) secondKnows() bool { return len(r.generations()) > 0 }

// rebuild makes a new database beside the damaged one, and puts it in its place.
func (r *rebuilder) rebuild(ctx context.Context, damage string) error {
	if err := r.room(); err != nil {
		return err
	}
	r.name = r.aside()
	nest := filepath.Join(r.dir, rebuildNest)
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"nest", func() error { return os.Mkdir(nest, 0o700) }},
		{"copy", func() error { return r.copyOld(nest) }},
		{"fill", func() error { return r.fill(ctx, nest, damage) }},
		{"plan", func() error { return r.plan(nest) }},
	} {
		if err := r.Step(step.name); err != nil {
			return err
		}
		if err := step.do(); err != nil {
			return err
		}
	}
	return r.finish()
}

func (r *rebuilder) room() error {
	if r.Free == nil {
		return nil
	}
	free, err := r.Free(r.dir)
	if err != nil {
		return err
	}
	need := rebuildRoom + 2*takes(r.path)
	if free < need {
		return fmt.Errorf("%w: %d bytes are free and %d are needed: make room on the disk of %s and start again; nothing was changed", ErrNoRoom, free, need, r.dir)
	}
	return nil
}

const (
	oldName = "old.db"
	newName = "new.db"
)

// copyOld copies what is damaged: to read a database may write to it.
func (r *rebuilder) copyOld(nest string) error {
	for _, end := range []string{"", "-wal"} {
		from, err := os.Open(r.path + end)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		to, err := os.OpenFile(filepath.Join(nest, oldName+end), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = io.Copy(to, from)
			err = errors.Join(err, to.Close())
		}
		if err = errors.Join(err, from.Close()); err != nil {
			return err
		}
	}
	damage, err := orphan(r.path)
	if err == nil && damage != "" { // a page to begin with, or SQLite deletes the log
		err = os.WriteFile(filepath.Join(nest, oldName), make([]byte, 4096), 0o600)
	}
	return err
}

// fill makes the new database.
func (r *rebuilder) fill(ctx context.Context, nest, damage string) error {
	path := filepath.Join(nest, newName)
	if err := createPrivate(path); err != nil {
		return err
	}
	dsn := "file:" + path + "?_pragma=journal_mode(MEMORY)&_pragma=synchronous(OFF)&_pragma=foreign_keys(0)&_pragma=temp_store(2)&_pragma=cache_size(-16384)&_dqs=0"
	conn, err := connector{dsn: dsn}.Connect(ctx)
	if err != nil {
		return err
	}
	db := &DB{path: path, log: r.Log, now: r.Now, fatal: make(chan struct{})}
	w := &writer{db: db, conn: conn, stmts: map[string]driver.Stmt{}, dirty: map[int64]*tally{}}
	db.w = w
	err = r.fillIn(ctx, &tx{w}, nest, damage)
	if err = errors.Join(err, w.release()); err != nil {
		return err
	}
	if err := checkWhole(ctx, path); err != nil {
		return fmt.Errorf("check what was made: %w", err)
	}
	return syncFile(path)
}

func checkWhole(ctx context.Context, path string) error {
	db := sql.OpenDB(connector{dsn: "file:" + path + "?mode=ro&immutable=1&_pragma=query_only(1)&_dqs=0"})
	var said string
	err := db.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&said)
	if err == nil && said != "ok" {
		err = errors.New(said)
	}
	return errors.Join(err, db.Close())
}

func (r *rebuilder) fillIn(ctx context.Context, t *tx, nest, damage string) error {
	old := filepath.Join(nest, oldName)
	version, generation, readable := lookOld(ctx, old)
	if g := r.generations(); version == 0 && len(g) > 0 {
		version = g[len(g)-1].Schema
	} else if version == 0 {
		version = migrationCount()
	}
	if err := t.w.migrateTo(t, version); err != nil {
		return err
	}
	second, trusted, err := r.second(t, generation, readable)
	if err != nil {
		return err
	}
	if !readable {
		readable = mendHead(ctx, old, filepath.Join(nest, newName))
	}
	v := &salvage{t: t, kept: map[string]int{}, unread: map[string]int{}}
	if err := t.w.script(t, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if readable {
		v.from = sql.OpenDB(connector{dsn: "file:" + old + "?_pragma=query_only(1)&_pragma=temp_store(2)&_dqs=0"})
		v.from.SetMaxOpenConns(2)
		err := v.take(ctx)
		if err = errors.Join(err, v.from.Close()); err != nil {
			return err
		}
	}
	var did mended
	if second != nil {
		var err error
		if did, err = t.reconcile(second); err != nil {
			return err
		}
	}
	if err := t.w.script(t, "COMMIT"); err != nil {
		return err
	}
	if err := t.w.migrate(t); err != nil {
		return err
	}
	s := &settler{t: t, now: millis(r.Now()), trusted: trusted}
	if err := t.w.script(t, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if err := s.settle(); err != nil {
		return err
	}
	aside := ""
	for _, end := range []string{"-wal", ""} { // the name of what is there
		if _, err := os.Stat(r.path + end); err == nil {
			aside = r.name + end
		}
	}
	if err := t.w.rows.load(t, &t.w.next); err != nil {
		return err
	}
	if err := t.rebuilt(r.report(damage, aside, readable, trusted, second, v, did, s), s.now); err != nil {
		return err
	}
	return t.w.script(t, "COMMIT")
}

// lookOld reads what the copy says of itself, where it can be opened at all.
func lookOld(ctx context.Context, path string) (version int, generation string, readable bool) {
	version = migrationCount()
	if _, err := os.Stat(path); err != nil {
		return 0, "", false
	}
	db := sql.OpenDB(connector{dsn: "file:" + path + "?_pragma=query_only(1)&_dqs=0"})
	defer func() { _ = db.Close() }() // it was only read
	var tables, v int
	if err := db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema WHERE type = 'table'`).Scan(&tables); err != nil || tables == 0 {
		return 0, "", false
	}
	if err := db.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&v); err == nil && v > 0 && v < version {
		version = v
	}
	if err := db.QueryRowContext(ctx, `SELECT generation FROM second`).Scan(&generation); err != nil && IsDamage(err) {
		return version, "", true
	}
	return version, generation, true
}

// mendHead puts a sound header before a copy whose own is garbage: the pages behind
// it may be whole.
func mendHead(ctx context.Context, old, fresh string) bool {
	const head = 100
	f, err := os.OpenFile(old, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // a copy of which nothing is lost
	info, err := f.Stat()
	b, bad := os.ReadFile(fresh)
	if err != nil || bad != nil || len(b) < head || info.Size() < int64(len(b[:head])) {
		return false
	}
	b = b[:head]
	pages := info.Size() / 4096
	for i := range 4 {
		b[28+i] = byte(pages >> (24 - 8*i))
		b[32+i], b[36+i] = 0, 0
	}
	b[18], b[19] = 2, 2 // a write-ahead log
	copy(b[92:96], b[24:28])
	if _, err := f.WriteAt(b, 0); err != nil {
		return false
	}
	_, _, readable := lookOld(ctx, old)
	return readable
}

// aside is the name of the damaged file: one that nothing has yet.
func (r *rebuilder) aside() string {
	name := FileName + ".damaged-" + r.Now().UTC().Format("20060102T150405Z")
	for i := 2; ; i++ {
		taken, err := filepath.Glob(filepath.Join(r.dir, name) + "*") // of a database that was missing there is the log only
		if err == nil && len(taken) == 0 {
			return name
		}
		name = fmt.Sprintf("%s.damaged-%s-%d", FileName, r.Now().UTC().Format("20060102T150405Z"), i)
	}
}

// plan writes down that the new database is whole, and where the old one goes.
func (r *rebuilder) plan(nest string) error {
	text, err := json.Marshal(map[string]string{"aside": r.name})
	if err != nil {
		return err
	}
	path := filepath.Join(nest, rebuildPlan)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	if err := syncFile(path + ".new"); err != nil {
		return err
	}
	return errors.Join(os.Rename(path+".new", path), syncFile(nest))
}

// finish carries a plan out, from wherever it was left. Without one, what is there
// changed nothing and goes.
func (r *rebuilder) finish() error {
	nest := filepath.Join(r.dir, rebuildNest)
	text, err := os.ReadFile(filepath.Join(nest, rebuildPlan))
	if errors.Is(err, fs.ErrNotExist) {
		return os.RemoveAll(nest)
	}
	if err != nil {
		return err
	}
	var plan struct{ Aside string }
	if err := json.Unmarshal(text, &plan); err != nil || plan.Aside != filepath.Base(plan.Aside) || plan.Aside == "." {
		return fmt.Errorf("the plan %s cannot be read: %w", filepath.Join(nest, rebuildPlan), err)
	}
	mark := filepath.Join(nest, rebuildMark)
	if _, err := os.Stat(mark); errors.Is(err, fs.ErrNotExist) {
		for _, end := range []string{"", "-wal", "-shm"} {
			if err := r.move(r.path+end, filepath.Join(r.dir, plan.Aside+end)); err != nil {
				return err
			}
		}
		if err := r.Step("mark"); err != nil {
			return err
		}
		if err := errors.Join(os.WriteFile(mark, nil, 0o600), syncFile(nest)); err != nil {
			return err
		}
	}
	if err := r.move(filepath.Join(nest, newName), r.path); err != nil {
		return err
	}
	if err := r.Step("clear"); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(nest), syncFile(r.dir))
}

func (r *rebuilder) move(from, to string) error {
	if _, err := os.Lstat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := r.Step("move " + filepath.Base(from)); err != nil {
		return err
	}
	return errors.Join(os.Rename(from, to), syncFile(r.dir))
}

// syncFile makes a file's bytes, or a directory's names, last.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
