package store

import (
	"os"
	"syscall"
	"testing"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// A sync that fails is an error of SQLite's, with its cause: it is what ends a run.
func TestASyncThatFailsIsSaid(t *testing.T) {
	db := openIn(t, t.TempDir())
	addDevice(t, db, "pump-01", "reg_1")
	if len(dataVFS.methods) == 0 {
		t.Fatal("no file of the journal was opened with our sync")
	}
	tls := libc.NewTLS()
	defer tls.Close()
	r, w, err := os.Pipe() // nothing of it can be synced
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	whole, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close()
	for _, row := range []struct {
		name  string
		fd    uintptr
		want  int32
		errno syscall.Errno
	}{
		{"a file", whole.Fd(), sqlite3.SQLITE_OK, 0},
		{"a pipe", w.Fd(), sqlite3.SQLITE_IOERR_FSYNC, syscall.EINVAL},
		{"no file", 1 << 20, sqlite3.SQLITE_IOERR_FSYNC, syscall.EBADF},
	} {
		f := sqlite3.TunixFile{Fh: int32(row.fd)}
		if rc := syncData(tls, uintptr(unsafe.Pointer(&f)), sqlite3.SQLITE_SYNC_NORMAL); rc != row.want || f.FlastErrno != int32(row.errno) {
			t.Errorf("%s: %d, errno %d", row.name, rc, f.FlastErrno)
		}
	}
}
