package relay

import (
	"testing"
	"time"
)

// A commit waits for company only where others send as well, and by little beside what
// a request takes.
func TestPatience(t *testing.T) {
	r := New(Options{}, nil, nil, nil, nil)
	for range 100 {
		r.timed(320 * time.Millisecond)
	}
	for _, row := range []struct {
		busy int64
		took time.Duration
		want time.Duration
	}{{0, 0, 0}, {3, 0, 0}, {4, 0, 320 * time.Millisecond / patiencePart}, {400, time.Second, mostPatience}, {400, 64 * time.Millisecond, time.Millisecond}} {
		r.busy.Store(row.busy)
		if row.took > 0 {
			r.took.Store(row.took.Nanoseconds())
		}
		if got := r.patience(); got < row.want*95/100 || got > row.want {
			t.Errorf("%d queues, %v: %v, want %v", row.busy, row.took, got, row.want)
		}
	}
}
