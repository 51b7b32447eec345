package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
)

const countPendingQuery = `SELECT count(*) FROM sale WHERE fiscal_state = 'pending'`

// CountPending counts the ended sales whose fiscal state is pending.
func (db *DB) CountPending(ctx context.Context) (n int64, err error) {
	err = db.queryOne(ctx, countPendingQuery, nil, &n)
	return n, err
}

// Kept counts the sales that the journal still holds: what was accepted, without what
// was removed since.
func (db *DB) Kept(ctx context.Context) (n int64, err error) {
	err = db.queryOne(ctx, `SELECT (SELECT coalesce(sum(accepted), 0) FROM queue) - (SELECT coalesce(sum(confirmed + resolved), 0) FROM forgotten)`, nil, &n)
	return n, err
}

// Sizes gives the bytes that the database and its write-ahead log take on disk.
func (db *DB) Sizes() (database, log int64, err error) {
	if database, err = size(db.path); err != nil {
		return 0, 0, err
	}
	log, err = size(db.path + "-wal")
	return database, log, err
}

// takes gives what the files of a database take; one that cannot be asked counts for
// nothing.
func takes(path string) (bytes int64) {
	for _, name := range []string{path, path + "-wal"} {
		if n, err := size(name); err == nil {
			bytes += n
		}
	}
	return bytes
}

// size never opens the file: closing a second descriptor of it would take
// SQLite's locks away.
func size(path string) (int64, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
