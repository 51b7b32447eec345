package relay

import (
	"testing"
	"testing/synctest"
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
		if got := r.patience(&queue{}); got < row.want*95/100 || got > row.want {
			t.Errorf("%d queues, %v: %v, want %v", row.busy, row.took, got, row.want)
		}
	}
}

// A backlog that waits for the rate lends its time to the commits; a sale that happens
// now does not, and neither does a backlog that waits for places.
func TestPatienceOfABacklogThatTheRateHoldsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{Rate: 100, Concurrency: 50}, nil, nil, nil, nil)
		r.busy.Store(100)
		for range 35 { // 25 leave at once
			go func() { _ = r.pace.enter(t.Context(), false) }()
		}
		synctest.Wait()
		if got := r.patience(&queue{}); got != mostHeldUp {
			t.Errorf("a backlog of ten at 100/s: %v, want %v", got, mostHeldUp)
		}
		if got := r.patience(&queue{live: true}); got != 0 {
			t.Errorf("a live sale: %v", got)
		}
		<-time.After(70 * time.Millisecond)
		if got := r.patience(&queue{}); got < 5*time.Millisecond || got > 10*time.Millisecond {
			t.Errorf("a backlog of three at 100/s: %v", got)
		}
		for range 50 {
			go func() { _ = r.pace.enter(t.Context(), false) }()
		}
		<-time.After(time.Second) // all places are taken
		if got := r.patience(&queue{}); got != 0 {
			t.Errorf("without places: %v", got)
		}
	})
}
