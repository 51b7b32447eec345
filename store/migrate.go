package store

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed migrations/*.sql
var migrations embed.FS

// step is one migration. Two numbers in the file's header say where it stands:
// user_version counts the steps that have run, and application_id is the oldest schema
// whose edgegw can go on with the file, so that a release can be taken back.
type step struct {
	name, text string
	oldest     int // schema whose edgegw can go on after it
}

// additive are the steps that an edgegw of an older schema can go on behind, with that
// schema. It must be right for rows which that one writes meanwhile: a new column has a
// default that is true for them. A step that is not named here shuts out all older ones.
var additive = map[int]int{}

// later are steps of a release that is not there yet; for tests.
var later []step

func steps() ([]step, error) {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var all []step
	for i, name := range names {
		text, err := migrations.ReadFile(name)
		if err != nil {
			return nil, err
		}
		s := step{name: name, text: string(text), oldest: i + 1}
		if o, is := additive[i+1]; is {
			s.oldest = o
		}
		all = append(all, s)
	}
	return append(all, later...), nil
}

// migrate runs each numbered file once. Those of one update are one transaction: an
// update that was cut off, or of which a later file fails, has changed nothing, and the
// copy of before it is the way back from all of it. A file is never edited after its
// release.
func (w *writer) migrate(t *tx) error { return w.migrateTo(t, math.MaxInt) }

// migrateTo goes as far as that version.
func (w *writer) migrateTo(t *tx, version int) error {
	all, err := steps()
	if err != nil {
		return err
	}
	at, oldest, err := t.schema()
	if err != nil {
		return err
	}
	if at > len(all) {
		if oldest == 0 || oldest > len(all) {
			return fmt.Errorf("%w: its schema is %d, this edgegw knows %d, and none before %d can go on with it: install that version again", ErrNewer, at, len(all), max(oldest, at))
		}
		w.db.log.Warn("a newer edgegw has had the database; this one goes on with it", "schema", at, "known", len(all))
		return nil
	}
	end := min(len(all), version)
	if at > 0 && at < end {
		if err := w.copyBefore(t, all[at:end]); err != nil {
			return err
		}
	}
	if at < end {
		if err := w.bring(t, at, oldest, all[at:end]); err != nil {
			w.script(t, "ROLLBACK")
			return fmt.Errorf("migrate the database: %w", err)
		}
	}
	if at == end && oldest == 0 && end == len(all) { // of before these two numbers
		return w.script(t, fmt.Sprintf("PRAGMA application_id = %d", at))
	}
	return nil
}

// schema gives the steps that have run, and the oldest schema whose edgegw can go on; 0
// where that is not known.
func (t *tx) schema() (at, oldest int, err error) {
	v, err := t.value("PRAGMA user_version")
	if err != nil {
		return 0, 0, err
	}
	o, err := t.value("PRAGMA application_id")
	if err != nil {
		return 0, 0, err
	}
	return int(v.(int64)), int(o.(int64)), nil
}

// inGo is what a numbered file needs done that SQL cannot do, in its transaction.
var inGo = map[int]func(*tx) error{5: chainOld}

// bring runs the steps that follow on a schema.
func (w *writer) bring(t *tx, at, oldest int, run []step) error {
	if err := w.script(t, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	for _, s := range run {
		at++
		oldest = max(oldest, s.oldest)
		err := w.script(t, s.text)
		if do := inGo[at]; err == nil && do != nil {
			err = do(t)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return w.script(t, fmt.Sprintf("PRAGMA user_version = %d", at), fmt.Sprintf("PRAGMA application_id = %d", oldest), "COMMIT")
}

// script runs statements that are not worth keeping prepared.
func (w *writer) script(t *tx, texts ...string) error {
	for _, text := range texts {
		_, err := t.exec(text)
		if s := w.stmts[text]; s != nil {
			s.Close()
			delete(w.stmts, text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// migrationCount is the version of the schema that this edgegw brings.
func migrationCount() int {
	all, err := steps()
	if err != nil {
		return 0
	}
	return len(all)
}

// copyName is in the name of what a database was before it was brought to a schema.
const copyName = FileName + ".before-"

// copyBefore keeps the database as it is, in a file beside it, before the steps run.
// Where that is not possible, steps behind which one can go back run all the same: a
// site that does not start sells nothing.
func (w *writer) copyBefore(t *tx, run []step) error {
	at, _, err := t.schema()
	if err != nil {
		return err
	}
	err = w.copyTo(t, fmt.Sprintf("%s%d", filepath.Join(filepath.Dir(w.db.path), copyName), at+1))
	if err == nil || slices.ContainsFunc(run, func(s step) bool { return s.oldest > at }) {
		return err
	}
	w.db.log.Warn("the database is brought up to date without a copy", "cause", err)
	return nil
}

// copyTo makes the copy, and puts it in the place of an earlier one, which is older than
// the way back. What an update that was cut off has left takes none of the room.
func (w *writer) copyTo(t *tx, to string) error {
	dir := filepath.Dir(to)
	for _, c := range copies(dir) {
		if strings.HasSuffix(c.path, partEnd) {
			if err := os.Remove(c.path); err != nil {
				return fmt.Errorf("remove what a copy of the database has left: %w", err)
			}
		}
	}
	need, free, err := w.db.copyNeeds()
	if err != nil {
		return fmt.Errorf("look for room for a copy of the database: %w", err)
	}
	for _, c := range copies(dir) {
		free += c.info.Size()
	}
	if need > free {
		return fmt.Errorf("%w: %d bytes are free and %d are needed for a copy of the database before it is brought to a schema from which there is no other way back: make room on the disk of %s and start again; nothing was changed",
			ErrNoRoom, free, need, dir)
	}
	for _, c := range copies(dir) {
		if err := os.Remove(c.path); err != nil {
			return fmt.Errorf("remove an old copy of the database: %w", err)
		}
	}
	part := to + partEnd
	if err := createPrivate(part); err != nil {
		return err
	}
	began := time.Now()
	if _, err := t.exec("VACUUM INTO ?", part); err != nil {
		return errors.Join(fmt.Errorf("copy the database to %s before it is brought up to date: %w", part, err), os.Remove(part))
	}
	if err := errors.Join(os.Chtimes(part, undated, undated), syncFile(part), os.Rename(part, to), syncFile(dir)); err != nil {
		return fmt.Errorf("copy the database to %s before it is brought up to date: %w", to, err)
	}
	w.db.log.Info("the database was copied before it is brought up to date", "copy", to, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// copyNeeds gives what a copy may need and what is free; both 0 where nobody tells.
func (db *DB) copyNeeds() (need, free int64, err error) {
	if db.free == nil {
		return 0, 0, nil
	}
	if free, err = db.free(filepath.Dir(db.path)); err != nil {
		return 0, 0, err
	}
	return takes(db.path) + copyMargin, free, nil
}

// copyMargin is left over: the copy must not be what fills the disk.
const copyMargin = 16 << 20

// undated is the time of a copy until a clock that can be believed has seen it: the
// clock of a box that has just started may be off by years, and its word would have the
// copy removed at once, or never.
var undated = time.Unix(0, 0)

// partEnd is at the end of the name of a copy that is not whole.
const partEnd = ".part"

type oldCopy struct {
	path string
	info fs.FileInfo
}

// copies are the files that an update has made. What a person has put beside the
// database under a name of their own is theirs.
func copies(dir string) (all []oldCopy) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // what needs the folder says so
	}
	for _, e := range entries {
		no, is := strings.CutPrefix(strings.TrimSuffix(e.Name(), partEnd), copyName)
		if _, err := strconv.ParseUint(no, 10, 31); !is || err != nil {
			continue
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			all = append(all, oldCopy{filepath.Join(dir, e.Name()), info})
		}
	}
	return all
}

// RemoveCopies removes what databases were before they were brought up to date, where
// that was longer ago than kept. The clock must be one that can be believed; the first
// time that it sees a copy counts as when that was made.
func RemoveCopies(dir string, now time.Time, kept time.Duration) error {
	for _, c := range copies(dir) {
		made := c.info.ModTime()
		switch {
		case made.Equal(undated) || made.After(now):
			if err := os.Chtimes(c.path, now, now); err != nil {
				return fmt.Errorf("date a copy of the database: %w", err)
			}
		case made.Before(now.Add(-kept)):
			if err := os.Remove(c.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("remove an old copy of the database: %w", err)
			}
		}
	}
	return nil
}

// IsJournal reports whether a file that begins so is a database, and no sealed backup.
func IsJournal(head []byte) bool {
	return len(head) >= 16 && string(head[:16]) == "SQLite format 3\x00"
}

// HasLog reports whether a database that begins so is one that a gateway writes: its
// newest rows may stand in the log beside it. A copy by SQLite has none.
func HasLog(head []byte) bool {
	return len(head) >= 20 && (head[18] == 2 || head[19] == 2) // https://sqlite.org/fileformat2.html#file_format_version_numbers
}
