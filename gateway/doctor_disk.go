package gateway

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"slices"
	"time"
)

// syncTries is how many writes are timed: one may meet a checkpoint.
const syncTries = 5

// tryDisk writes into dir, syncs and reads back. took is the median of a sync.
func tryDisk(dir string) (took time.Duration, err error) {
	f, err := os.CreateTemp(dir, ".doctor-*.tmp")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	written := []byte(rand.Text())
	times := make([]time.Duration, syncTries)
	for i := range times {
		if _, err := f.WriteAt(written, int64(i*len(written))); err != nil {
			return 0, err
		}
		began := time.Now()
		if err := f.Sync(); err != nil {
			return 0, err
		}
		times[i] = time.Since(began)
	}
	back := make([]byte, len(written))
	if _, err := f.ReadAt(back, int64((syncTries-1)*len(written))); err != nil {
		return 0, err
	}
	if !bytes.Equal(back, written) {
		return 0, errors.New("what was read back is not what was written")
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}
