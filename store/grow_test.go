package store

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"edgegw/sale"
)

// A commit changes no file's size, on a site that is new and on one that was killed: a
// file that grows costs a second write, of the file system's own journal.
func TestNoCommitHasAFileGrow(t *testing.T) {
	dir := t.TempDir()
	for _, from := range []int{0, 50} { // the second time behind a log that was left
		db := openIn(t, dir)
		if from == 0 {
			addDevice(t, db, "pump1", "r1")
		}
		database, log, err := db.Sizes()
		if err != nil || log != logBytes {
			t.Errorf("the log has %d bytes, want %d (%v)", log, logBytes, err)
		}
		for n := range 50 { // far fewer pages than a checkpoint waits for
			mustAppend(t, db, entry("pump1", "r1", sale.Whole, fmt.Sprint("s", from+n), "x"), sale.Queued)
		}
		if d, l, err := db.Sizes(); err != nil || d != database || l != log {
			t.Errorf("the database has %d bytes and its log %d, before %d and %d (%v)", d, l, database, log, err)
		}
		dir = kill(t, db)
	}
	db := openIn(t, dir)
	if n, err := db.Kept(t.Context()); err != nil || n != 100 {
		t.Errorf("%d sales are kept, want 100 (%v)", n, err)
	}
}

func TestGrowLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := growLog(path); err != nil {
		t.Errorf("no log: %v", err)
	}
	for _, have := range []int{0, 5000, logBytes - 1, logBytes, logBytes + 4120} {
		content := bytes.Repeat([]byte{7}, have)
		write(t, path, content)
		if err := growLog(path); err != nil {
			t.Errorf("%d bytes: %v", have, err)
		}
		want := append(content, make([]byte, max(0, logBytes-have))...)
		if got := read(t, path); !bytes.Equal(got, want) {
			t.Errorf("of %d bytes it made %d", have, len(got))
		}
	}
	if err := growLog(os.DevNull + "/x"); err == nil {
		t.Error("a log that cannot be opened is no error")
	}
}

// A log of nothing but zeros beside an empty database is not a site.
func TestALogOfZerosHoldsNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	for _, c := range []struct {
		name string
		log  []byte
		want bool
	}{{"none", nil, false}, {"empty", []byte{}, false}, {"made", make([]byte, logBytes), false}, {"begun", []byte("7\x7f\x06\x82 and more"), true}} {
		if c.log != nil {
			write(t, path+"-wal", c.log)
		}
		if logBeside(path) != c.want {
			t.Errorf("%s: logBeside says %v", c.name, !c.want)
		}
	}
}
