package store

import (
	"context"
	"database/sql"
	"errors"
	"strings"
)

// QuickCheck reads the whole file as SQLite's quick_check does and gives what it
// finds first, "" where the file is whole. It ends with ctx, and gives ctx's error
// then. Readers and the writer go on meanwhile.
func (db *DB) QuickCheck(ctx context.Context) (damage string, err error) {
	err = db.query(ctx, quickCheck, func(scan func(...any) error) error {
		return scan(&damage)
	})
	return damageOf(ctx, damage, err)
}

// CheckFile is QuickCheck of a database that nobody has open.
func CheckFile(ctx context.Context, path string) (damage string, err error) {
	from := sql.OpenDB(connector{dsn: fileDSN(path)})
	err = from.QueryRowContext(ctx, quickCheck).Scan(&damage)
	return damageOf(ctx, damage, errors.Join(err, from.Close()))
}

const quickCheck = `PRAGMA quick_check(1)`

func damageOf(ctx context.Context, said string, err error) (damage string, _ error) {
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case deadly(err):
		return err.Error(), nil // it is so broken that it cannot be checked
	case err != nil:
		return "", err
	case said == "ok":
		return "", nil
	}
	return strings.Join(strings.Fields(said), " "), nil
}
