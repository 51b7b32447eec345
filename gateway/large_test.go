package gateway

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"edgegw/devicekeys"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/secret"
)

// Large scenes: a whole site with many registers, in fake time, against the
// stand-in.

func pumpNo(n int) sale.DeviceID   { return sale.DeviceID(fmt.Sprintf("pump-%02d", n)) }
func regNo(n int) sale.RegisterID  { return sale.RegisterID(fmt.Sprintf("reg_%02d", n)) }
func saleNo(n, i int) string       { return fmt.Sprintf("%02d-%05d", n, i) }
func moneyOf(n, i int) (cents int) { return 100 + (n*7919+i*104729)%20_000 }
func wholeSale(id string, c int) string {
	return fmt.Sprintf(`{"sale_id":%q,"occurred_at":"2026-11-22T08:31:07+01:00","currency":"EUR","line_items":[{"description":"Super","quantity":"1","unit":"l","unit_price":"%d.%02d","amount":%d,"tax":{"rate":"0.19","category":"standard"}}],"payments":[{"method":"card","direction":"inbound","amount":%d}]}`,
		id, c/100, c%100, c, c)
}

// largeSite plays a scene on a site of so many pumps, each on a register of its
// own with its key.
func largeSite(t *testing.T, pumps int, o sandbox.Options, set func(*world), play func(t *testing.T, w *world, l *life)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o.KeepRequests = 2_000_000
		w := newWorld(t, t.TempDir(), o, nil)
		if set != nil {
			set(w)
		}
		l := w.start(newPower(0))
		for n := range pumps {
			if _, err := l.ring.Add(t.Context(), devicekeys.NewDevice{ID: pumpNo(n), Register: regNo(n)}, "test"); err != nil {
				t.Fatal(err)
			}
			if err := l.giveKey(regNo(n), secret.FromString(w.sandbox.MustAddRegister(string(regNo(n))))); err != nil {
				t.Fatal(err)
			}
		}
		w.on(l)
		play(t, w, l)
		w.now().end()
	})
}

// sell lets each pump report so many whole sales, each so long after the one
// before, and gives what must be at OpenFiskal.
func (w *world) sell(pumps, each int, pause time.Duration) (expect []sandbox.Expect) {
	for n := range pumps {
		var events []event
		for i := range each {
			events = append(events, event{pause, sale.Whole, wholeSale(saleNo(n, i), moneyOf(n, i))})
			expect = append(expect, sandbox.Expect{Register: string(regNo(n)), ExternalID: saleNo(n, i), Total: int64(moneyOf(n, i))})
		}
		w.done.Go(func() { w.device(pumpNo(n), events) })
	}
	return expect
}

// drained waits until nothing waits at the site, and gives how long that took.
func (w *world) drained(t *testing.T, most time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	for time.Since(began) < most {
		left, _, _ := w.totals(t)
		if left == 0 {
			return time.Since(began)
		}
		<-time.After(time.Second)
	}
	left, confirmed, quarantined := w.totals(t)
	t.Errorf("after %s %d sales wait still, %d are confirmed, %d in quarantine", most, left, confirmed, quarantined)
	return most
}

func (w *world) totals(t *testing.T) (waiting, confirmed, quarantined int64) {
	t.Helper()
	queues, err := w.now().db.Queues(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range queues {
		waiting, confirmed, quarantined = waiting+q.Waiting, confirmed+q.Confirmed, quarantined+q.Quarantined
	}
	return waiting, confirmed, quarantined
}

// right checks everything that must hold at the end: each sale once, in order,
// to the cent, in frozen bytes, and the books.
func (w *world) right(t *testing.T, expect []sandbox.Expect) {
	t.Helper()
	for what, err := range map[string]error{"sales": w.sandbox.Check(expect), "bytes": w.sandbox.CheckFrozen(), "idempotency keys": oneKeyPerCall(w.sandbox)} {
		if err != nil {
			first, _, _ := strings.Cut(err.Error(), "\n")
			t.Errorf("%s: %d faults, the first: %s", what, strings.Count(err.Error(), "\n")+1, first)
		}
	}
	if faults, err := w.now().db.Recount(t.Context()); err != nil || len(faults) > 0 {
		t.Errorf("the books: %v, %v", faults, err)
	}
}

// One answer in five is lost, whatever it was to, and the service forgets
// idempotency keys at once: two thousand sales of fifty registers are there
// exactly once, in order, to the cent.
func TestAnswersLostAtRandom(t *testing.T) {
	largeSite(t, 50, sandbox.Options{Idempotency: sandbox.Ignore, Rand: rand.New(rand.NewPCG(1, 2)).IntN}, nil, func(t *testing.T, w *world, l *life) {
		w.sandbox.SetLatency(50 * time.Millisecond)
		w.sandbox.Inject(sandbox.Fault{Action: sandbox.DropAnswer, Percent: 20})
		expect := w.sell(50, 40, time.Second)
		w.done.Wait()
		took := w.drained(t, 6*time.Hour)
		w.right(t, expect)
		if _, confirmed, quarantined := w.totals(t); confirmed != 2000 || quarantined != 0 {
			t.Errorf("%d confirmed, %d in quarantine", confirmed, quarantined)
		}
		lost := 0
		for _, r := range w.sandbox.Requests() {
			if !r.Answered {
				lost++
			}
		}
		if lost < 1000 {
			t.Errorf("only %d answers were lost", lost)
		}
		t.Logf("%d requests, %d answers lost, done %s after the last sale", len(w.sandbox.Requests()), lost, took)
	})
}

// A key that is revoked in the middle of a drain stops its own queue, for ten
// hours, and no other.
func TestAKeyIsRevokedInTheMiddleOfADrain(t *testing.T) {
	const pumps, each = 8, 100
	largeSite(t, pumps, sandbox.Options{}, nil, func(t *testing.T, w *world, l *life) {
		w.sandbox.SetLatency(100 * time.Millisecond)
		w.sandbox.SetDown(true)
		expect := w.sell(pumps, each, time.Second)
		w.done.Wait()
		w.sandbox.SetDown(false)
		l.relay.LinkUp()
		<-time.After(10 * time.Second)
		w.sandbox.Revoke(string(regNo(3)))
		before := l.queue(t, regNo(3))
		if before.Confirmed == 0 || before.Confirmed == each {
			t.Fatalf("not in the middle: %+v", before)
		}
		<-time.After(25 * time.Second) // 300 calls of 100 ms in all
		for n := range pumps {
			if q := l.queue(t, regNo(n)); n != 3 && q.Waiting != 0 {
				t.Errorf("a neighbour noticed: %+v", q)
			}
		}
		expect = append(expect, w.sell(pumps, 0, 0)...)
		<-time.After(10 * time.Hour)
		q := l.queue(t, regNo(3))
		if q.BlockedSince.IsZero() || q.Class != sale.KeyRefused || q.Quarantined != 0 || q.Waiting+q.Confirmed != each ||
			q.Confirmed > before.Confirmed+1 { // one call may have been under way
			t.Errorf("queue %+v, %d were confirmed before", q, before.Confirmed)
		}
		if err := l.giveKey(regNo(3), secret.FromString(w.sandbox.Rotate(string(regNo(3))))); err != nil {
			t.Fatal(err)
		}
		l.relay.Wake(regNo(3))
		if took := w.drained(t, time.Hour); took > time.Minute {
			t.Errorf("went on %s after the new key", took)
		}
		w.right(t, expect)
	})
}

// Two hours without signatures: nothing goes to a person, whether OpenFiskal
// says what it is or answers like to a faulty sale; and all drains after it, in
// order.
func TestTwoHoursWithoutSigning(t *testing.T) {
	const pumps, each = 24, 30
	for name, fault := range map[string]sandbox.Fault{
		"with_fiscal_errors": {Action: sandbox.SigningDown},
		"as_a_plain_422":     {Action: sandbox.Answer, Status: 422, Body: `{"object":"error","code":"validation_error","message":"Validation failed."}`},
	} {
		t.Run(name, func(t *testing.T) {
			largeSite(t, pumps, sandbox.Options{}, nil, func(t *testing.T, w *world, l *life) {
				w.sandbox.SetLatency(100 * time.Millisecond)
				expect := w.sell(pumps, each, 5*time.Minute) // two and a half hours
				<-time.After(12 * time.Minute)
				start, complete := fault, fault
				start.Step, complete.Step = sandbox.StepStart, sandbox.StepComplete
				rules := []int{w.sandbox.Inject(start), w.sandbox.Inject(complete)}
				<-time.After(time.Hour)
				if l.relay.SigningDown().IsZero() {
					t.Error("nobody noticed")
				}
				if _, _, quarantined := w.totals(t); quarantined != 0 {
					t.Errorf("%d sales in quarantine", quarantined)
				}
				<-time.After(time.Hour)
				for _, r := range rules {
					w.sandbox.Remove(r)
				}
				<-time.After(5*time.Minute + signingBackWithin)
				waiting, _, quarantined := w.totals(t)
				if waiting > pumps || quarantined != 0 || !l.relay.SigningDown().IsZero() {
					t.Errorf("%d sales wait, %d in quarantine, signing down since %s", waiting, quarantined, l.relay.SigningDown())
				}
				w.done.Wait()
				w.drained(t, time.Hour)
				w.right(t, expect)
			})
		})
	}
}

// signingBackWithin is how long after the longest back-off everything has gone
// out that waited for signing.
const signingBackWithin = time.Minute

// Three days without uplink, then 21,600 sales drain in the time that the
// longest queue needs, and not more than a fifth longer.
func TestThreeDaysWithoutUplink(t *testing.T) {
	if testing.Short() {
		t.Skip("a minute of real time")
	}
	const pumps, each, latency, calls = 24, 900, 300 * time.Millisecond, 3
	rec := &recorder{attempts: map[string][]string{}}
	largeSite(t, pumps, sandbox.Options{}, func(w *world) {
		rec.to = w.sandbox
		w.north = rec
	}, func(t *testing.T, w *world, l *life) {
		w.sandbox.SetLatency(latency)
		w.sandbox.SetDown(true)
		expect := w.sell(pumps, each, 72*time.Hour/each)
		<-time.After(36 * time.Hour)
		w.off()
		l.end()
		l = w.start(newPower(0))
		w.on(l)
		w.done.Wait()
		if waiting, _, _ := w.totals(t); waiting != pumps*each {
			t.Errorf("%d sales wait", waiting)
		}
		w.sandbox.SetDown(false)
		l.relay.LinkUp()
		took := w.drained(t, 2*time.Hour)
		longest := each * calls * latency
		if took > longest*12/10 {
			t.Errorf("drained in %s, want at most 1.2 × %s", took, longest)
		}
		t.Logf("%d sales drained in %s: %.2f × calls × latency of the longest queue", pumps*each, took, took.Seconds()/longest.Seconds())
		w.right(t, expect)
		w.frozen(t, rec, pumps*each*calls)
	})
}

// A sale on an idle register does not wait for twenty thousand of others.
func TestALiveSaleOvertakesABacklog(t *testing.T) {
	const pumps, each = 21, 1000 // twenty thousand sales on twenty of them
	if testing.Short() {
		t.Skip("half a minute of real time")
	}
	largeSite(t, pumps, sandbox.Options{}, nil, func(t *testing.T, w *world, l *life) {
		w.sandbox.SetLatency(300 * time.Millisecond)
		w.sandbox.SetDown(true)
		w.sell(pumps-1, each, time.Millisecond)
		w.done.Wait()
		w.sandbox.SetDown(false)
		l.relay.LinkUp()
		<-time.After(10 * time.Second)
		last := pumps - 1
		var slowest time.Duration
		for i := range 20 {
			began := time.Now()
			w.device(pumpNo(last), []event{{0, sale.Whole, wholeSale(saleNo(last, i), moneyOf(last, i))}})
			for l.queue(t, regNo(last)).Waiting > 0 {
				<-time.After(50 * time.Millisecond)
			}
			slowest = max(slowest, time.Since(began))
			<-time.After(3 * time.Second)
		}
		waiting, _, _ := w.totals(t)
		if waiting < 10_000 {
			t.Errorf("only %d sales wait: there is no backlog", waiting)
		}
		if slowest > 3*time.Second {
			t.Errorf("a live sale took %s", slowest)
		}
		t.Logf("live sales took at most %s beside a backlog of %d", slowest, waiting)
	})
}

// The wall clock boots in 1970, and jumps by fifty years both ways in the middle
// of an outage: nothing is sent early or late, given up, or asked of a person.
func TestTheWallClockJumps(t *testing.T) {
	const pumps, each = 4, 40
	year := 365 * 24 * time.Hour
	var mu sync.Mutex
	offset := -30 * year // synctest begins in 2000
	jump := func(to time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		offset = to
	}
	wall := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return time.Now().Add(offset).Round(0)
	}
	largeSite(t, pumps, sandbox.Options{Idempotency: sandbox.Ignore}, func(w *world) { w.wall = wall }, func(t *testing.T, w *world, l *life) {
		w.sandbox.SetLatency(100 * time.Millisecond)
		w.sandbox.Inject(sandbox.Fault{Action: sandbox.DropAnswer, Skip: 7, Times: 3}) // some are in doubt when it begins
		expect := w.sell(pumps, each, time.Minute)
		<-time.After(5 * time.Minute)
		w.sandbox.SetDown(true)
		for _, to := range []time.Duration{0, 50 * year, -50 * year, 0, 50 * year} {
			<-time.After(3 * time.Minute)
			jump(to)
			<-time.After(3 * time.Minute)
			w.off()
			l.end()
			l = w.start(newPower(0)) // waits are read back from the disk
			w.on(l)
		}
		w.done.Wait()
		w.sandbox.SetDown(false)
		took := w.drained(t, 2*time.Hour)
		if took > 65*time.Second+time.Duration(each)*3*100*time.Millisecond+15*time.Second {
			t.Errorf("drained only %s after the link was back", took)
		}
		if _, _, quarantined := w.totals(t); quarantined != 0 {
			t.Errorf("%d sales were asked of a person", quarantined)
		}
		w.right(t, expect)
	})
}

// Where nothing can be looked up, the age of a doubt decides, and a jump of the
// box's clock over a restart must not make it older or younger than it is.
func TestAJumpDoesNotAgeADoubt(t *testing.T) {
	year := 365 * 24 * time.Hour
	for _, row := range []struct {
		jump, outage time.Duration
		asked        bool // of a person
	}{{50 * year, time.Hour, false}, {-50 * year, time.Hour, false}, {50 * year, 30 * time.Hour, true}, {-50 * year, 30 * time.Hour, true}} {
		t.Run(fmt.Sprintf("%.0f_years_after_%s", row.jump.Hours()/24/365, row.outage), func(t *testing.T) {
			offset := time.Duration(0)
			wall := func() time.Time { return time.Now().Add(offset).Round(0) }
			largeSite(t, 2, sandbox.Options{}, func(w *world) { w.wall = wall }, func(t *testing.T, w *world, l *life) {
				w.sandbox.Inject(sandbox.Fault{Register: "reg_00", Step: sandbox.StepLookup, Action: sandbox.Answer, Status: 403})
				w.sandbox.Inject(sandbox.Fault{Register: "reg_00", Step: sandbox.StepStart, Action: sandbox.DropAnswer, Times: 1})
				w.sell(2, 1, time.Second)
				w.done.Wait()
				<-time.After(time.Second)
				w.sandbox.SetDown(true)
				<-time.After(row.outage)
				w.off()
				l.end()
				offset = row.jump
				w.on(w.start(newPower(0)))
				// The other register's sale goes first: its answer says what time it is.
				w.device(pumpNo(1), []event{{0, sale.Whole, wholeSale("x", 100)}})
				<-time.After(time.Minute)
				w.sandbox.SetDown(false)
				<-time.After(20 * time.Minute)
				if _, _, quarantined := w.totals(t); quarantined != 0 != row.asked {
					t.Errorf("%d asked of a person, want %v", quarantined, row.asked)
				}
			})
		})
	}
}
