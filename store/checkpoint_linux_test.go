package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"edgegw/sale"
)

// The sync of the database fails once, while the log is copied into it, by the writer or
// beside it. What was copied may be on no disk, and no later sync would say so: the store
// ends, and leaves the log to the next start, which copies the whole of it.
func TestACopyOfTheLogThatFailsEndsTheStore(t *testing.T) {
	for _, who := range []string{"beside", "writer"} {
		t.Run(who, func(t *testing.T) {
			dir := t.TempDir()
			var fails atomic.Bool
			fdatasync = func(fd int) error {
				name, err := os.Readlink(fmt.Sprint("/proc/self/fd/", fd))
				if err == nil && name == filepath.Join(dir, FileName) && fails.CompareAndSwap(true, false) {
					return syscall.EIO
				}
				return syscall.Fdatasync(fd)
			}
			t.Cleanup(func() { fdatasync = syscall.Fdatasync })
			db, err := Open(t.Context(), dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			addDevice(t, db, "pump-01", "reg_1")
			mustAppend(t, db, entry("pump-01", "reg_1", sale.Whole, "s1", "a"), sale.Queued)
			fails.Store(true)
			if who == "beside" {
				db.w.side.kick <- struct{}{}
			} else {
				db.w.submit(t.Context(), job{bytes: pageEstimate * mostPages, do: func(*tx) error { return nil }, after: func(error) {}})
			}
			<-db.Failed()
			if !strings.Contains(db.Cause().Error(), "copy the write-ahead log") {
				t.Errorf("the cause is %v", db.Cause())
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(dir, FileName+"-wal")); err != nil {
				t.Errorf("the log is gone: %v", err)
			}
			if n, err := openIn(t, kill(t, db)).Kept(t.Context()); err != nil || n != 1 {
				t.Errorf("%d sales are kept, want 1 (%v)", n, err)
			}
		})
	}
}
