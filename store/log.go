package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// The write-ahead log begins with a header, and each of its pages with one of its own.
// Both hold the salt that the log was begun with: what an earlier turn has left behind
// the last page of this one has another.
const (
	logHeader   = 32
	frameHeader = 24
	logSalt     = 16 // where it stands in the log's header
	frameSalt   = 8  // and in a page's
	saltBytes   = 8
)

// hasLog reports whether there is a log with something in it: one that was only made
// (growLog) begins with zeros.
func hasLog(path string) bool {
	f, err := os.Open(path + "-wal")
	if err != nil {
		return false
	}
	defer f.Close()
	var magic [4]byte
	_, err = io.ReadFull(f, magic[:])
	return err == nil && magic != [4]byte{}
}

// refuseOrphan keeps SQLite from a log whose database is gone: at the first look it
// would take it for the rest of another one, and delete it.
func refuseOrphan(path string) error {
	damage, err := orphan(path)
	if err != nil || damage == "" {
		return err
	}
	return fmt.Errorf("%w: %s. It was left as it is; with store.mirror_bytes set, the next start makes the database again from it", ErrDamaged, damage)
}

// orphan says so where there is a log and no page of its database.
func orphan(path string) (damage string, err error) {
	info, err := os.Stat(path)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", err
	case err == nil && info.Size() > 0, !hasLog(path):
		return "", nil
	case err != nil:
		return fmt.Sprintf("it is missing, and its log is there: %s-wal", filepath.Base(path)), nil
	}
	return fmt.Sprintf("it is empty, and its log is not: %s-wal", filepath.Base(path)), nil
}
