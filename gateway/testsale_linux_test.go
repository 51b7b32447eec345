package gateway

import (
	"fmt"
	"syscall"
	"testing"
)

// smallDisk makes a disk of so many bytes at dir, where the test may.
func smallDisk(t *testing.T, dir string, bytes int64) bool {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Logf("NOT TESTED, it takes root: a disk that is full: %v", err)
		return false
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return true
}
