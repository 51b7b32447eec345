package relay

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func whole(most time.Duration) time.Duration { return most } // the longest draw

func TestOneProbeAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUplink(whole)
		for range 3 {
			if probe, err := u.enter(t.Context()); probe != 0 || err != nil {
				t.Fatal(probe, err)
			}
		}
		if !u.failed("refused", "", 0) || u.failed("refused", "", 0) || u.failed("refused", "", 0) {
			t.Error("only the first failure is news")
		}
		entered := make(chan uint64)
		for range 10 {
			go func() {
				probe, _ := u.enter(context.Background())
				entered <- probe
			}()
		}
		began := time.Now()
		probe := <-entered
		if probe == 0 || time.Since(began) != time.Second {
			t.Errorf("probe %d after %s, want one after 1 s", probe, time.Since(began))
		}
		synctest.Wait()
		u.failed("refused", "", probe)
		probe = <-entered
		if probe == 0 || time.Since(began) != 3*time.Second {
			t.Errorf("the second probe after %s, want after 3 s", time.Since(began))
		}
		u.leave(probe) // given back unused: the next one takes it at once
		probe = <-entered
		if probe == 0 || time.Since(began) != 3*time.Second {
			t.Errorf("the third probe after %s", time.Since(began))
		}
		u.failed("refused", "", probe)
		u.kick() // the link came up
		probe = <-entered
		if time.Since(began) != 3*time.Second {
			t.Errorf("the kicked probe after %s", time.Since(began))
		}
		if !u.reached() || u.reached() {
			t.Error("only the first answer is news")
		}
		for range 6 {
			if p := <-entered; p != 0 {
				t.Errorf("a probe while the uplink is up")
			}
		}
		u.leave(probe)
		if time.Since(began) != 3*time.Second || !u.state().Up {
			t.Errorf("the others waited on: %s, %+v", time.Since(began), u.state())
		}
		u.failed("dns", "", 0)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := u.enter(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("entered after its end: %v", err)
		}
	})
}

// A hundred requests that fail together are one failure: the back-off starts
// at its first step.
func TestLateFailuresDoNotLengthenTheBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUplink(whole)
		for range 100 {
			u.failed("refused", "", 0)
		}
		began := time.Now()
		if probe, err := u.enter(t.Context()); probe == 0 || err != nil || time.Since(began) != time.Second {
			t.Errorf("probe %d, %v after %s", probe, err, time.Since(began))
		}
	})
}

// With the longest draws, an outage of ten seconds is noticed as over within
// five more, and one of hours within a minute.
func TestAShortOutageIsNotMadeLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUplink(whole)
		u.failed("refused", "", 0)
		began := time.Now()
		longest := map[bool]time.Duration{}
		for time.Since(began) < 6*time.Hour {
			before := time.Now()
			probe, err := u.enter(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			early := before.Sub(began) <= 10*time.Second
			longest[early] = max(longest[early], time.Since(before))
			u.failed("refused", "", probe)
		}
		if longest[true] > 5*time.Second || longest[false] != time.Minute {
			t.Errorf("waits of %v", longest)
		}
	})
}
