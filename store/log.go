package store

import (
	"bytes"
	"encoding/binary"
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

// logBeside reports whether there is a log with something in it: one that was only made
// (growLog) begins with zeros.
func logBeside(path string) bool {
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
	return fmt.Errorf("%w: %s, with what was sold last. Both were left as they are: put %s back beside it, or a backup (edgegw restore --set-aside). Where there is neither, set store.mirror_bytes, and the next start takes what can be read from the log",
		ErrDamaged, damage, filepath.Base(path))
}

// orphan says so where there is a log and no page of its database.
func orphan(path string) (damage string, err error) {
	info, err := os.Stat(path)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", err
	case err == nil && info.Size() > 0, !logBeside(path):
		return "", nil
	case err != nil:
		return fmt.Sprintf("it is missing, and its log is there: %s-wal", filepath.Base(path)), nil
	}
	return fmt.Sprintf("it is empty, and its log is not: %s-wal", filepath.Base(path)), nil
}

// syncLog brings the log of an earlier run to the disk before anybody believes it, by
// writing what it holds over itself. A run that was killed between a commit and its sync,
// or ended by a sync that failed, leaves pages that every reader sees and no disk has;
// after a failed sync the system has let go of them, and syncing again would bring
// nothing. What is found there is acknowledged without another commit: a device that
// reports once more is told that it is a duplicate.
func syncLog(path string) (err error) {
	f, err := os.OpenFile(path+"-wal", os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	head := make([]byte, logHeader)
	if _, err := f.ReadAt(head, 0); err != nil {
		if err == io.EOF {
			return nil
		}
		return err
	}
	page := binary.BigEndian.Uint32(head[8:])
	if page < 512 || page > 65536 {
		return nil // SQLite takes it for no log either
	}
	if _, err := f.WriteAt(head, 0); err != nil {
		return err
	}
	frame := frameHeader + int(page)
	many := make([]byte, 32*frame)
	for at := int64(logHeader); ; {
		n, err := f.ReadAt(many, at)
		if err != nil && err != io.EOF {
			return err
		}
		valid := 0
		for valid+frame <= n && bytes.Equal(many[valid+frameSalt:][:saltBytes], head[logSalt:][:saltBytes]) {
			valid += frame
		}
		if _, err := f.WriteAt(many[:valid], at); err != nil {
			return err
		}
		if at += int64(valid); valid < len(many) {
			return errors.Join(f.Sync(), syncFile(filepath.Dir(path))) // its name, too
		}
	}
}
