package store

import (
	"context"
	"fmt"
)

// Shape is how the database's file is built, for somebody who cannot see it.
type Shape struct {
	UserVersion   int64  `json:"user_version"` // migrations that have run
	SQLite        string `json:"sqlite"`
	JournalMode   string `json:"journal_mode"`
	PageSize      int64  `json:"page_size"`
	PageCount     int64  `json:"page_count"`
	FreelistCount int64  `json:"freelist_count"`
	DatabaseBytes int64  `json:"database_bytes"`
	LogBytes      int64  `json:"log_bytes"` // of the write-ahead log
}

// Shape reads how the database is built. It looks at the header, not at the rows.
func (db *DB) Shape(ctx context.Context) (s Shape, err error) {
	for _, q := range []struct {
		text string
		into any
	}{
		{`PRAGMA user_version`, &s.UserVersion},
		{`SELECT sqlite_version()`, &s.SQLite},
		{`PRAGMA journal_mode`, &s.JournalMode},
		{`PRAGMA page_size`, &s.PageSize},
		{`PRAGMA page_count`, &s.PageCount},
		{`PRAGMA freelist_count`, &s.FreelistCount},
	} {
		if err := db.queryOne(ctx, q.text, nil, q.into); err != nil {
			return s, fmt.Errorf("read how the database is built: %w", err)
		}
	}
	s.DatabaseBytes, s.LogBytes, err = db.Sizes()
	return s, err
}
