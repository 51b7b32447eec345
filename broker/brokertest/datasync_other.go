//go:build !linux

package brokertest

import "os"

func datasync(f *os.File) error { return f.Sync() }
