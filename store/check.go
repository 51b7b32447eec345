package store

import (
	"context"
	"strings"
)

// QuickCheck reads the whole file as SQLite's quick_check does and gives what it
// finds first, "" where the file is whole. It ends with ctx, and gives ctx's error
// then. Readers and the writer go on meanwhile.
func (db *DB) QuickCheck(ctx context.Context) (damage string, err error) {
	err = db.query(ctx, `PRAGMA quick_check(1)`, func(scan func(...any) error) error {
		return scan(&damage)
	})
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case deadly(err):
		return err.Error(), nil // it is so broken that it cannot be checked
	case err != nil:
		return "", err
	case damage == "ok":
		return "", nil
	}
	return strings.Join(strings.Fields(damage), " "), nil
}
