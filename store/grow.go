package store

import (
	"errors"
	"io/fs"
	"os"
)

// logBytes is the write-ahead log when it is copied into the database: its header, and
// checkpointPages frames, each of a page and a header of its own.
const logBytes = logHeader + checkpointPages*(frameHeader+4096)

// growLog makes the write-ahead log as long as it is going to be, with zeros at its end.
// A commit then writes over bytes that are there: a file that grows, or a first write to
// space that was only set aside (fallocate), has the file system write its own journal
// with each sale. SQLite takes zeros for no log, and behind a log for its end, for no
// checksum fits.
//
// It is called before anything else writes, and closes no lock: SQLite's are on the
// database and on -shm. Where there is no room the log stays as it was.
func growLog(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a database that is in no WAL mode yet
	}
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	from := info.Size()
	// A page at a time, so that the kernel keeps it in pages: in larger pieces it would
	// count a whole piece as written with each commit, although only the page is.
	zeros := make([]byte, 4096)
	for at := from; err == nil && at < logBytes; {
		var n int
		n, err = f.WriteAt(zeros[:min(int64(len(zeros)), logBytes-at)], at)
		at += int64(n)
	}
	if err == nil && from < logBytes {
		err = f.Sync()
	}
	if err != nil {
		err = errors.Join(err, f.Truncate(from))
	}
	return errors.Join(err, f.Close())
}
