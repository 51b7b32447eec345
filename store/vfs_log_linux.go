package store

import (
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// SQLite writes the log in two pieces for each page, its header and itself: a lone sale
// has some fourteen of them, a batch of fifty more than a hundred, each a system call.
// Here they are put together, and written as one where it matters that they are: before
// a sync, before anything is read of the log, and before its size counts. Until then only
// the transaction that wrote them knows of them, for SQLite tells other connections of a
// commit behind its sync (synchronous=FULL, which prepareFile asserts).

// tailBytes is how much of a log is kept back at most, some 31 pages: SQLite's own write
// takes no more at once (seekAndWriteFd).
const tailBytes = 1<<17 - 1

// logTail is what a connection has written to the log and not given to the system yet.
// It stands in SQLite's memory, behind its own unixFile; of a file that is no log there
// is only own.
type logTail struct {
	own uintptr // SQLite's own way to this file, a *Tsqlite3_io_methods
	mem uintptr // tailBytes, once there was something to write
	at  int64   // where in the file
	n   int64
}

func tailOf(file uintptr) *logTail { return (*logTail)(inC(file + dataVFS.tail)) }

// logMethods are those of a write-ahead log, made from SQLite's own.
func logMethods(m *sqlite3.Tsqlite3_io_methods) {
	m.FxWrite, m.FxSync = funcOf(writeTail), funcOf(syncTail)
	m.FxRead, m.FxTruncate, m.FxFileSize, m.FxClose = funcOf(readTail), funcOf(truncateTail), funcOf(sizeTail), funcOf(closeTail)
}

func (l *logTail) methods() *sqlite3.Tsqlite3_io_methods {
	return (*sqlite3.Tsqlite3_io_methods)(inC(l.own))
}

type (
	transferFunc = func(_ *libc.TLS, file, bytes uintptr, n int32, at int64) int32
	truncateFunc = func(_ *libc.TLS, file uintptr, size int64) int32
	sizeFunc     = func(_ *libc.TLS, file, out uintptr) int32
	closeFunc    = func(_ *libc.TLS, file uintptr) int32
)

// flush gives the system what was kept back. What cannot be written is given up, as
// SQLite does: it undoes the transaction.
func (l *logTail) flush(tls *libc.TLS, file uintptr) int32 {
	n := l.n
	if l.n = 0; n == 0 {
		return sqlite3.SQLITE_OK
	}
	return call[transferFunc](l.methods().FxWrite)(tls, file, l.mem, int32(n), l.at)
}

func writeTail(tls *libc.TLS, file, bytes uintptr, n int32, at int64) int32 {
	l := tailOf(file)
	if at != l.at+l.n || l.n+int64(n) > tailBytes {
		if rc := l.flush(tls, file); rc != sqlite3.SQLITE_OK {
			return rc
		}
		l.at = at
	}
	if l.mem == 0 {
		l.mem = libc.Xmalloc(tls, tailBytes)
	}
	if l.mem == 0 || n > tailBytes {
		return call[transferFunc](l.methods().FxWrite)(tls, file, bytes, n, at)
	}
	copy(unsafe.Slice((*byte)(inC(l.mem+uintptr(l.n))), n), unsafe.Slice((*byte)(inC(bytes)), n))
	l.n += int64(n)
	return sqlite3.SQLITE_OK
}

func syncTail(tls *libc.TLS, file uintptr, flags int32) int32 {
	if rc := tailOf(file).flush(tls, file); rc != sqlite3.SQLITE_OK {
		return rc
	}
	return syncData(tls, file, flags)
}

func readTail(tls *libc.TLS, file, into uintptr, n int32, at int64) int32 {
	l := tailOf(file)
	if rc := l.flush(tls, file); rc != sqlite3.SQLITE_OK {
		return rc
	}
	return call[transferFunc](l.methods().FxRead)(tls, file, into, n, at)
}

func truncateTail(tls *libc.TLS, file uintptr, size int64) int32 {
	l := tailOf(file)
	if rc := l.flush(tls, file); rc != sqlite3.SQLITE_OK {
		return rc
	}
	return call[truncateFunc](l.methods().FxTruncate)(tls, file, size)
}

func sizeTail(tls *libc.TLS, file, out uintptr) int32 {
	l := tailOf(file)
	if rc := l.flush(tls, file); rc != sqlite3.SQLITE_OK {
		return rc
	}
	return call[sizeFunc](l.methods().FxFileSize)(tls, file, out)
}

// closeTail drops what no commit has synced: nobody was told of it.
func closeTail(tls *libc.TLS, file uintptr) int32 {
	l := tailOf(file)
	libc.Xfree(tls, l.mem)
	own := l.methods().FxClose
	*l = logTail{}
	return call[closeFunc](own)(tls, file)
}
