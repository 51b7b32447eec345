package bench

import (
	"os"
	"syscall"
)

// syncData brings what was written to the disk, as the journal does.
func syncData(f *os.File) error {
	return os.NewSyscallError("fdatasync", syscall.Fdatasync(int(f.Fd())))
}
