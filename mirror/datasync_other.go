//go:build !linux

package mirror

import "os"

type dataFile struct{ *os.File }
