package store

import (
	"testing"
	"time"

	"edgegw/sale"
)

func TestShapeAndTheNoteOfABundle(t *testing.T) {
	at := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	db, err := Open(t.Context(), t.TempDir(), Options{Now: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s, err := db.Shape(t.Context())
	if err != nil || s.UserVersion < 1 || s.PageSize < 512 || s.PageCount < 10 || s.JournalMode != "wal" || s.SQLite == "" || s.DatabaseBytes+s.LogBytes == 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if err := db.Note(t.Context(), "support bundle made", "", "", "cli:tom"); err != nil {
		t.Fatal(err)
	}
	lines, err := db.Audit(t.Context(), sale.AuditFilter{What: "support bundle made", Limit: 10})
	if err != nil || len(lines) != 1 || lines[0].Who != "cli:tom" || !lines[0].At.Equal(at) {
		t.Errorf("%+v, %v", lines, err)
	}
}
