package store

import (
	"embed"
	"fmt"
	"io/fs"
	"math"
	"slices"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate runs each numbered file once, in a transaction of its own. A file is
// never edited after its release.
func (w *writer) migrate(t *tx) error { return w.migrateTo(t, math.MaxInt) }

// migrateTo goes as far as that version.
func (w *writer) migrateTo(t *tx, version int) error {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	slices.Sort(names)
	v, err := t.value("PRAGMA user_version")
	if err != nil {
		return err
	}
	at := int(v.(int64))
	if at > len(names) {
		return fmt.Errorf("%w: its schema is %d, this edgegw knows %d", ErrNewer, at, len(names))
	}
	for i := at; i < min(len(names), version); i++ {
		text, err := migrations.ReadFile(names[i])
		if err != nil {
			return err
		}
		if err := w.bringTo(t, i+1, string(text)); err != nil {
			w.script(t, "ROLLBACK")
			return fmt.Errorf("migrate the database with %s: %w", names[i], err)
		}
	}
	return nil
}

// inGo is what a numbered file needs done that SQL cannot do, in its transaction.
var inGo = map[int]func(*tx) error{5: chainOld}

func (w *writer) bringTo(t *tx, version int, text string) error {
	if err := w.script(t, "BEGIN IMMEDIATE", text); err != nil {
		return err
	}
	if do := inGo[version]; do != nil {
		if err := do(t); err != nil {
			return err
		}
	}
	return w.script(t, fmt.Sprintf("PRAGMA user_version = %d", version), "COMMIT")
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
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return 0
	}
	return len(names)
}
