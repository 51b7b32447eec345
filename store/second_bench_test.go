package store

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"edgegw/mirror"
	"edgegw/sale"
)

// BenchmarkSecondJournal measures what the second journal adds to the acceptance of a
// lone sale: the same sale into a journal alone and into one that a second one
// follows, in turn, so that the disk's moods meet both. of-alone is the ratio of the
// medians; KiB-… is what was written to the disk for a sale, where the test is told which one it is.
func BenchmarkSecondJournal(b *testing.B) {
	sides := []*side{newSide(b, "alone", false), newSide(b, "followed", true)}
	n := 0
	for b.Loop() {
		for i := range sides {
			sides[(i+n)%2].sell(b, n)
		}
		n++
	}
	alone, followed := sides[0].report(b), sides[1].report(b)
	b.ReportMetric(followed/alone, "of-alone")
	b.ReportMetric(0, "ns/op")
}

type side struct {
	name    string
	db      *DB
	took    []time.Duration
	written int64
}

func newSide(b *testing.B, name string, second bool) *side {
	dir := b.TempDir()
	if at := os.Getenv("EDGEGW_BENCH_DIR"); at != "" { // a disk of one's choice
		dir = filepath.Join(at, name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { os.RemoveAll(dir) })
	}
	s := &side{name: name}
	if second {
		s.db = openBoth(b, dir, mirror.Options{Bytes: 64 << 20})
	} else {
		s.db = openIn(b, dir)
	}
	addDevice(b, s.db, "pump-01", "reg_1")
	return s
}

func (s *side) sell(b *testing.B, n int) {
	e := entry("pump-01", "reg_1", sale.Whole, fmt.Sprintf("sale-%09d", n), strings.Repeat("x", 800))
	before, began := writes(), time.Now()
	if a, err := appendNow(b, s.db, e); err != nil || a.Status != sale.Queued {
		b.Fatal(a, err)
	}
	s.took = append(s.took, time.Since(began))
	s.written += writes() - before
}

func (s *side) report(b *testing.B) float64 {
	slices.Sort(s.took)
	median := float64(s.took[len(s.took)/2].Microseconds())
	b.ReportMetric(median, "µs-"+s.name)
	if s.written > 0 {
		b.ReportMetric(float64(s.written)/1024/float64(len(s.took)), "KiB-"+s.name)
	}
	return median
}

// writes is how many bytes have been written to the block device whose statistics
// EDGEGW_BENCH_STAT names (/sys/block/…/stat); 0 without it.
func writes() int64 {
	text, err := os.ReadFile(os.Getenv("EDGEGW_BENCH_STAT"))
	f := strings.Fields(string(text))
	if err != nil || len(f) < 7 {
		return 0
	}
	sectors, _ := strconv.ParseInt(f[6], 10, 64)
	return sectors * 512
}
