package brokertest

import (
	"os"
	"syscall"
)

// datasync makes the file's data durable, and of its metadata only what is
// needed to read it.
func datasync(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }
