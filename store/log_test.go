package store

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A log whose database has lost its bytes, or its name, is not deleted by whoever looks.
// What stands in it, here all there ever was, is put into the new database.
func TestALogWithoutItsDatabase(t *testing.T) {
	db := openIn(t, t.TempDir())
	busyDay(t, db)
	killed := kill(t, db)
	want := dump(t, db)
	for _, harm := range []struct {
		name string
		do   func(path string)
	}{
		{"no bytes", func(path string) { write(t, path, nil) }},
		{"no name", func(path string) { remove(t, path) }},
	} {
		t.Run(harm.name, func(t *testing.T) {
			dir := clone(t, killed)
			harm.do(filepath.Join(dir, FileName))
			before := files(t, dir)
			if err := Rebuild(t.Context(), dir, RebuildOptions{Only: true}); !errors.Is(err, ErrDamaged) {
				t.Errorf("a look says %v", err)
			}
			if db, err := Open(t.Context(), dir, Options{}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), FileName+"-wal") {
				t.Errorf("the opening says %v", err)
				if err == nil {
					db.Close()
				}
			}
			if _, err := Look(t.Context(), filepath.Join(dir, FileName)); !errors.Is(err, ErrDamaged) {
				t.Errorf("a count says %v", err)
			}
			if !maps.Equal(files(t, dir), before) {
				t.Fatal("they have changed something")
			}
			if err := Rebuild(t.Context(), dir, RebuildOptions{}); err != nil {
				t.Fatal(err)
			}
			found := false
			for name, b := range files(t, dir) {
				found = found || strings.HasPrefix(name, FileName+".damaged-") && strings.HasSuffix(name, "-wal") && b == before[FileName+"-wal"]
			}
			if !found {
				t.Error("the log is not there as it was")
			}
			db := openIn(t, dir)
			got := dump(t, db)
			for key, row := range want {
				if table, _, _ := strings.Cut(key, " "); (table == "event" || table == "device" || table == "sale") && got[key] != row {
					t.Errorf("%s: %.100s, want %.100s", key, got[key], row)
				}
			}
			inOrder(t, db)
			news, err := db.RebuiltNews(t.Context())
			if err != nil || len(news) != 1 || news[0].Aside == "" {
				t.Errorf("it says %+v, %v", news, err)
			}
			if _, err := os.Stat(filepath.Join(dir, news[0].Aside)); err != nil {
				t.Errorf("it names what is not there: %v", err)
			}
		})
	}
}

// Whatever lies there as a log, it has the same bytes afterwards.
func TestSyncLog(t *testing.T) {
	db := openIn(t, t.TempDir())
	busyDay(t, db)
	whole := read(t, filepath.Join(kill(t, db), FileName+"-wal"))
	path := filepath.Join(t.TempDir(), FileName)
	if err := syncLog(path); err != nil {
		t.Errorf("no log: %v", err)
	}
	for name, log := range map[string][]byte{"empty": {}, "made": make([]byte, logBytes), "half a header": whole[:20], "a header": whole[:logHeader],
		"cut off": whole[:logHeader+3*(frameHeader+4096)-1], "whole": whole, "no log": []byte(strings.Repeat("x", 5000))} {
		write(t, path+"-wal", log)
		if err := syncLog(path); err != nil || !bytes.Equal(read(t, path+"-wal"), log) {
			t.Errorf("%s: %v, or it has other bytes", name, err)
		}
	}
	remove(t, path+"-wal")
	if err := os.Mkdir(path+"-wal", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syncLog(path); err == nil {
		t.Error("a log that cannot be written is no error")
	}
}
