package pacing

import (
	"testing"
	"time"
)

func whole(most time.Duration) time.Duration { return most } // the longest draw

func TestBackoffDoublesToItsMost(t *testing.T) {
	for _, c := range []struct {
		failures int
		want     time.Duration
	}{{0, time.Second}, {1, 2 * time.Second}, {5, 32 * time.Second}, {6, time.Minute}, {1000, time.Minute}, {1 << 40, time.Minute}} {
		if got := Backoff(time.Second, time.Minute, c.failures, whole); got != c.want {
			t.Errorf("after %d failures %s, want %s", c.failures, got, c.want)
		}
	}
	if got := Backoff(time.Second, time.Minute, 9, func(time.Duration) time.Duration { return 0 }); got != 100*time.Millisecond {
		t.Errorf("the shortest draw waits %s", got)
	}
}

// A probe waits no longer than half of what the outage has lasted, and never longer than
// a minute.
func TestProbeKeepsToTheLengthOfTheOutage(t *testing.T) {
	for _, c := range []struct {
		down     time.Duration
		failures int
		want     time.Duration
	}{{0, 0, time.Second}, {0, 9, 2 * time.Second}, {20 * time.Second, 9, 10 * time.Second}, {2 * time.Hour, 3, 8 * time.Second}, {2 * time.Hour, 9, time.Minute}} {
		if got := Probe(c.down, c.failures, whole); got != c.want {
			t.Errorf("down for %v, %d failures: %v, want %v", c.down, c.failures, got, c.want)
		}
	}
}

// What the service asked for is the least, and all do not come back at its end.
func TestLaterIsNeverSooner(t *testing.T) {
	for _, c := range []struct{ wait, asked, want time.Duration }{
		{3 * time.Second, 0, 3 * time.Second},
		{time.Second, time.Second, 1500 * time.Millisecond},
		{8 * time.Second, 8 * time.Second, 10 * time.Second},
	} {
		if got := Later(c.wait, c.asked, whole); got != c.want {
			t.Errorf("%v, asked for %v: %v, want %v", c.wait, c.asked, got, c.want)
		}
	}
}
