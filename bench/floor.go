package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Floor is what the disk itself costs: a page of 4 KiB that is written over and synced,
// one at a time. Nothing that promises to be on the disk can be quicker than that.
type Floor struct {
	Times
	Bytes int64 `json:"page_bytes"`
}

const pageBytes = 4096

// floorPages is how large the file is: the pages are written in turn, so that none is
// waited for.
const floorPages = 256

// MeasureFloor writes and syncs pages in dir for as long as it is told.
func MeasureFloor(ctx context.Context, dir string, lasts time.Duration) (f Floor, err error) {
	file, err := os.OpenFile(filepath.Join(dir, "floor"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return f, fmt.Errorf("measure the disk: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	page := make([]byte, pageBytes)
	for i := range page {
		page[i] = byte(i * 7) // a disk may leave out zeros
	}
	for range floorPages {
		if _, err := file.Write(page); err != nil {
			return f, fmt.Errorf("measure the disk: %w", err)
		}
	}
	if err := file.Sync(); err != nil {
		return f, fmt.Errorf("measure the disk: %w", err)
	}
	var all []time.Duration
	began := time.Now()
	for n := int64(0); time.Since(began) < lasts && ctx.Err() == nil; n++ {
		from := time.Now()
		page[0]++
		if _, err := file.WriteAt(page, n%floorPages*pageBytes); err != nil {
			return f, fmt.Errorf("measure the disk: %w", err)
		}
		if err := syncData(file); err != nil {
			return f, fmt.Errorf("measure the disk: %w", err)
		}
		all = append(all, time.Since(from))
	}
	return Floor{Sum(all, time.Since(began)), pageBytes}, ctx.Err()
}
