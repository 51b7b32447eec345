package store

import (
	"fmt"
	"sync"
	"syscall"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// SQLite as it comes here syncs its files with fsync(2), for want of a switch at its
// build (HAVE_FDATASYNC), and so the time of the last change is written with every
// commit: on a file system with a journal that doubles what a lone sale costs. This is
// SQLite's own way to files but for that call. fdatasync(2) brings to the disk whatever is
// needed to read what was written, the size of the file among it.

// vfsName is how a connection asks for it.
const vfsName = "edgegw"

// dataVFS is registered once and never taken away: its memory is SQLite's for as long
// as the process lives, and no garbage collector looks at it.
var dataVFS struct {
	sync.Mutex
	unix    uintptr            // SQLite's own, a *Tsqlite3_vfs
	tail    uintptr            // where the logTail of a file begins, behind what is SQLite's own of it
	methods map[openAs]uintptr // of open files, *Tsqlite3_io_methods with our sync
}

// openAs is SQLite's own way to an open file, and whether that is a write-ahead log.
type openAs struct {
	own uintptr
	log bool
}

// useDataVFS registers it, and gives what asks for it at the end of a DSN.
func useDataVFS() (string, error) {
	v := &dataVFS
	v.Lock()
	defer v.Unlock()
	if v.unix != 0 {
		return "&vfs=" + vfsName, nil
	}
	tls := libc.NewTLS()
	defer tls.Close()
	v.unix = sqlite3.Xsqlite3_vfs_find(tls, 0)
	name, err := libc.CString(vfsName)
	if v.unix == 0 || err != nil {
		return "", fmt.Errorf("register a way to files: %w", err)
	}
	ours := copyOf[sqlite3.Tsqlite3_vfs](tls, v.unix)
	if ours == 0 {
		return "", fmt.Errorf("register a way to files: no memory")
	}
	vfs := (*sqlite3.Tsqlite3_vfs)(inC(ours))
	vfs.FpNext, vfs.FzName, vfs.FxOpen = 0, name, funcOf(openData)
	v.tail = uintptr(vfs.FszOsFile+7) &^ 7
	vfs.FszOsFile = int32(v.tail + unsafe.Sizeof(logTail{}))
	v.methods = map[openAs]uintptr{}
	if rc := sqlite3.Xsqlite3_vfs_register(tls, ours, 0); rc != sqlite3.SQLITE_OK {
		return "", fmt.Errorf("register a way to files: SQLite says %d", rc)
	}
	return "&vfs=" + vfsName, nil
}

// openData opens a file as SQLite does, and gives it our sync.
func openData(tls *libc.TLS, _, name, file uintptr, flags int32, out uintptr) int32 {
	v := &dataVFS
	rc := call[openFunc]((*sqlite3.Tsqlite3_vfs)(inC(v.unix)).FxOpen)(tls, v.unix, name, file, flags, out)
	f := (*sqlite3.Tsqlite3_file)(inC(file))
	if f.FpMethods == 0 {
		return rc
	}
	v.Lock()
	defer v.Unlock()
	as := openAs{f.FpMethods, flags&sqlite3.SQLITE_OPEN_WAL != 0}
	if v.methods[as] == 0 {
		ours := copyOf[sqlite3.Tsqlite3_io_methods](tls, as.own)
		if ours == 0 {
			return rc // it syncs as SQLite does
		}
		m := (*sqlite3.Tsqlite3_io_methods)(inC(ours))
		if m.FxSync = funcOf(syncData); as.log {
			logMethods(m)
		}
		v.methods[as] = ours
	}
	*tailOf(file) = logTail{own: as.own}
	f.FpMethods = v.methods[as]
	return rc
}

type (
	openFunc = func(_ *libc.TLS, vfs, name, file uintptr, flags int32, out uintptr) int32
	syncFunc = func(_ *libc.TLS, file uintptr, flags int32) int32
)

// fdatasync is what a test replaces.
var fdatasync = syscall.Fdatasync

// syncData is xSync. The first of a file that was just made syncs its name as well,
// which is left to SQLite.
func syncData(tls *libc.TLS, file uintptr, flags int32) int32 {
	f := (*sqlite3.TunixFile)(inC(file))
	if f.FctrlFlags&sqlite3.UNIXFILE_DIRSYNC != 0 {
		return call[syncFunc](tailOf(file).methods().FxSync)(tls, file, flags)
	}
	for {
		switch err := fdatasync(int(f.Fh)); err {
		case nil:
			return sqlite3.SQLITE_OK
		case syscall.EINTR:
			continue // nothing was promised yet
		default:
			errno, _ := err.(syscall.Errno)
			f.FlastErrno = int32(errno)
			return sqlite3.SQLITE_IOERR_FSYNC
		}
	}
}

// inC is memory that C owns.
func inC(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }

// copyOf copies a struct into memory of C; 0 where there is none.
func copyOf[T any](tls *libc.TLS, from uintptr) uintptr {
	var t T
	to := libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(t)))
	if to != 0 {
		*(*T)(inC(to)) = *(*T)(inC(from))
	}
	return to
}

// call is a function of C as Go calls it.
func call[F any](f uintptr) F { return *(*F)(unsafe.Pointer(&struct{ uintptr }{f})) }

// funcOf is a function of this package as C calls it.
func funcOf[F any](f F) uintptr { return *(*uintptr)(unsafe.Pointer(&f)) }
