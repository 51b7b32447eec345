package gateway

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"edgegw/fiscal/sandbox"
	"edgegw/relay"
	"edgegw/sale"
	"edgegw/secret"
)

// scenes start a world with one register and one device each, in a bubble.
func inBubble(t *testing.T, tune func(*relay.Options), play func(t *testing.T, w *world, l *life)) {
	t.Helper()
	template := t.TempDir()
	prepare(t, template)
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		copyFiles(t, template, dir)
		w := newWorld(t, dir, sandbox.Options{}, nil)
		w.tune = tune
		l := w.start(newPower(0))
		defer func() { l.end() }()
		for _, r := range []sale.RegisterID{"reg_1", "reg_2"} {
			if err := l.giveKey(r, secret.FromString(w.sandbox.MustAddRegister(string(r)))); err != nil {
				t.Fatal(err)
			}
		}
		w.on(l)
		play(t, w, l)
	})
}

// at gives when the requests of a step arrived.
func arrivals(s *sandbox.Service, step sandbox.Step) (at []time.Time) {
	for _, r := range s.Requests() {
		if r.Step == step {
			at = append(at, r.At)
		}
	}
	return at
}

func TestRetryAfterIsHonoured(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world, _ *life) {
		w.sandbox.Inject(sandbox.Fault{Step: sandbox.StepStart, Action: sandbox.Throttle, RetryAfter: "45", Times: 2})
		w.device("pump-1", []event{{0, sale.Whole, fmt.Sprintf(wholeEvent, "s1")}})
		<-time.After(5 * time.Minute)
		at := arrivals(w.sandbox, sandbox.StepStart)
		if len(at) != 3 || at[1].Sub(at[0]) < 45*time.Second || at[2].Sub(at[1]) < 45*time.Second || at[2].Sub(at[0]) > 2*time.Minute {
			t.Errorf("starts at %v", at)
		}
	})
}

// A look-up right after an attempt was lost could find nothing and be wrong a
// moment later.
func TestADoubtIsLeftToSettle(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world, _ *life) {
		w.sandbox.Inject(sandbox.Fault{Step: sandbox.StepStart, Action: sandbox.DropAnswer, Times: 1})
		w.device("pump-1", []event{{0, sale.Whole, fmt.Sprintf(wholeEvent, "s1")}})
		<-time.After(time.Minute)
		starts, lookups := arrivals(w.sandbox, sandbox.StepStart), arrivals(w.sandbox, sandbox.StepLookup)
		if len(starts) != 1 || len(lookups) == 0 || lookups[0].Sub(starts[0]) < 3*time.Second {
			t.Errorf("starts %v, look-ups %v", starts, lookups)
		}
	})
}

// Where no look-up is possible, the window decides.
func TestTheWindowDecidesWhereNothingCanBeLookedUp(t *testing.T) {
	for _, row := range []struct {
		outage time.Duration
		sent   int
	}{{time.Hour, 2}, {30 * time.Hour, 1}} {
		t.Run(row.outage.String(), func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, w *world, l *life) {
				w.sandbox.Inject(sandbox.Fault{Step: sandbox.StepLookup, Action: sandbox.Answer, Status: 403})
				w.sandbox.Inject(sandbox.Fault{Step: sandbox.StepStart, Action: sandbox.DropAnswer, Times: 1})
				w.device("pump-1", []event{{0, sale.Whole, fmt.Sprintf(wholeEvent, "s1")}})
				<-time.After(time.Second)
				w.sandbox.SetDown(true)
				<-time.After(row.outage)
				w.sandbox.SetDown(false)
				<-time.After(20 * time.Minute)
				if at := arrivals(w.sandbox, sandbox.StepStart); len(at) != row.sent {
					t.Errorf("sent %d times, want %d", len(at), row.sent)
				}
				if q := l.queue(t, "reg_1"); q.Quarantined != int64(2-row.sent) || q.Confirmed != int64(row.sent-1) || !q.BlockedSince.IsZero() {
					t.Errorf("queue %+v", q)
				}
			})
		})
	}
}

// A wait that is read back from disk is bounded, however the clock has jumped.
func TestAWaitOnDiskIsBounded(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world, l *life) {
		w.sandbox.Inject(sandbox.Fault{Step: sandbox.StepStart, Action: sandbox.Answer, Status: 503, Times: 1})
		w.device("pump-1", []event{{0, sale.Whole, fmt.Sprintf(wholeEvent, "s1")}})
		<-time.After(100 * time.Millisecond)
		w.off()
		l.end()
		h := w.start(newPower(0)) // it would wait for the time on disk, which a jumped clock has put far away
		db := h.db
		head, err := db.Head(t.Context(), "reg_1")
		if err != nil {
			t.Fatal(err)
		}
		h.end()
		*l = *w.startWith(func(life *life) {
			p := &sale.Problem{Class: sale.Transient, Status: 503, Code: "x"}
			if _, err := life.db.Settle(t.Context(), sale.Outcome{Call: head.Call, Problem: p, At: time.Now(), Next: time.Now().Add(50 * 365 * 24 * time.Hour)}); err != nil {
				t.Fatal(err)
			}
		})
		<-time.After(sale.LongestWait + time.Minute)
		if q := l.queue(t, "reg_1"); q.Waiting != 0 {
			t.Errorf("the queue sleeps: %+v", q)
		}
	})
}

// The site's bucket and the limit on requests under way hold.
func TestRateAndConcurrencyAreKept(t *testing.T) {
	inBubble(t, func(o *relay.Options) { o.Rate, o.Concurrency = 10, 1 }, func(t *testing.T, w *world, _ *life) {
		w.sandbox.SetLatency(time.Millisecond)
		var under, most atomic.Int32
		w.watch = func(enter bool) {
			if !enter {
				under.Add(-1)
				return
			}
			if n := under.Add(1); n > most.Load() {
				most.Store(n)
			}
		}
		began := time.Now()
		for d := range map[sale.DeviceID]bool{"pump-1": true, "pump-2": true} {
			var events []event
			for i := range 20 {
				events = append(events, event{0, sale.Whole, fmt.Sprintf(wholeEvent, fmt.Sprint(i))})
			}
			w.done.Go(func() { w.device(d, events) })
		}
		w.done.Wait()
		<-time.After(time.Minute)
		all := w.sandbox.Requests()
		if len(all) != 120 {
			t.Fatalf("%d requests", len(all))
		}
		if took := all[len(all)-1].At.Sub(began); took < 11*time.Second || took > 13*time.Second {
			t.Errorf("120 requests at 10/s with a burst of 5 took %s", took)
		}
		if most.Load() != 1 {
			t.Errorf("%d requests under way at once", most.Load())
		}
	})
}
