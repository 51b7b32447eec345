package mirror

import (
	"os"
	"syscall"
)

// dataFile syncs what is written, and no times.
type dataFile struct{ *os.File }

func (f dataFile) Sync() error { return syscall.Fdatasync(int(f.Fd())) }
