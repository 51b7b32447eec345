package gateway

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/secret"
)

// Whatever one register meets, its sales end exactly once, in order, to the
// cent, and the register beside it never waits for it (CONTRACT.md section 3).
// Each row with idempotency honoured and ignored.
func TestWhatComesBackForOneRegister(t *testing.T) {
	fault := func(step sandbox.Step, action sandbox.Action) sandbox.Fault {
		return sandbox.Fault{Register: "reg_1", Step: step, Action: action, Times: 2}
	}
	status := func(code, times int) sandbox.Fault {
		return sandbox.Fault{Register: "reg_1", Action: sandbox.Answer, Status: code, Times: times}
	}
	rows := []struct {
		name  string
		fault sandbox.Fault
		class sale.Class
		site  bool // it is the uplink itself: everybody may wait
	}{
		{"connection refused", sandbox.Fault{Register: "reg_1", Action: sandbox.Refuse, Times: 5}, sale.Uplink, true},
		{"start lost on the way", fault(sandbox.StepStart, sandbox.DropRequest), sale.InDoubt, false},
		{"update lost on the way", fault(sandbox.StepUpdate, sandbox.DropRequest), sale.InDoubt, false},
		{"complete lost on the way", fault(sandbox.StepComplete, sandbox.DropRequest), sale.InDoubt, false},
		{"answer to start lost", fault(sandbox.StepStart, sandbox.DropAnswer), sale.InDoubt, false},
		{"answer to update lost", fault(sandbox.StepUpdate, sandbox.DropAnswer), sale.InDoubt, false},
		{"answer to complete lost", fault(sandbox.StepComplete, sandbox.DropAnswer), sale.InDoubt, false},
		{"half an answer to start", fault(sandbox.StepStart, sandbox.CutAnswer), sale.InDoubt, false},
		{"half an answer to complete", fault(sandbox.StepComplete, sandbox.CutAnswer), sale.InDoubt, false},
		{"garbage", fault("", sandbox.Garbage), sale.InDoubt, false},
		{"an empty 200", fault("", sandbox.Empty), sale.InDoubt, false},
		{"a captive portal", fault("", sandbox.CaptivePortal), sale.InDoubt, false},
		{"start answered after the time limit", sandbox.Fault{Register: "reg_1", Step: sandbox.StepStart, Action: sandbox.Pass, After: 15 * time.Second, Times: 1}, sale.InDoubt, false},
		{"complete answered after the time limit", sandbox.Fault{Register: "reg_1", Step: sandbox.StepComplete, Action: sandbox.Pass, After: 15 * time.Second, Times: 1}, sale.InDoubt, false},
		{"throttled", sandbox.Fault{Register: "reg_1", Action: sandbox.Throttle, RetryAfter: "30", Times: 3}, sale.Throttled, false},
		{"throttled without a time", sandbox.Fault{Register: "reg_1", Action: sandbox.Throttle, Times: 3}, sale.Throttled, false},
		{"500 before it did anything", status(500, 4), sale.Transient, false},
		{"503", status(503, 10), sale.Transient, false},
		{"408", status(408, 3), sale.Transient, false},
		{"425", status(425, 3), sale.Transient, false},
		{"502 after a start was carried out", sandbox.Fault{Register: "reg_1", Step: sandbox.StepStart, Action: sandbox.ProcessThenAnswer, Status: 502, Times: 1}, sale.Transient, false},
		{"504 after a complete was carried out", sandbox.Fault{Register: "reg_1", Step: sandbox.StepComplete, Action: sandbox.ProcessThenAnswer, Status: 504, Times: 1}, sale.Transient, false},
		{"401 for a while", status(401, 2), sale.KeyRefused, false},
		{"403 for a while", status(403, 2), sale.KeyRefused, false},
		{"404 for the register for a while", sandbox.Fault{Register: "reg_1", Step: sandbox.StepStart, Action: sandbox.Answer, Status: 404, Times: 2}, sale.RegisterUnknown, false},
		{"a redirect for a while", sandbox.Fault{Register: "reg_1", Action: sandbox.Redirect, Location: "https://elsewhere.test/", Times: 2}, sale.Misconfigured, false},
		{"signing down for a while", fault(sandbox.StepComplete, sandbox.SigningDown), sale.SigningDown, false},
	}
	template := t.TempDir()
	prepare(t, template)
	for _, row := range rows {
		for _, mode := range []sandbox.Idempotency{sandbox.Honour, sandbox.Ignore} {
			t.Run(fmt.Sprintf("%s/%v", strings.ReplaceAll(row.name, " ", "_"), mode), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					dir := t.TempDir()
					copyFiles(t, template, dir)
					w := newWorld(t, dir, sandbox.Options{Idempotency: mode}, nil)
					l := w.start(newPower(0))
					defer l.end()
					for _, r := range []sale.RegisterID{"reg_1", "reg_2"} {
						if err := l.giveKey(r, secret.FromString(w.sandbox.MustAddRegister(string(r)))); err != nil {
							t.Fatal(err)
						}
					}
					w.sandbox.Inject(row.fault)
					w.on(l)
					var expect []sandbox.Expect
					for d, r := range map[sale.DeviceID]string{"pump-1": "reg_1", "pump-2": "reg_2"} {
						var events []event
						for i := range 3 {
							id := fmt.Sprintf("%s-%d", d, i)
							events = append(events, event{0, sale.Start, fmt.Sprintf(startEvent, id)}, event{0, sale.Complete, fmt.Sprintf(completeEvent, id)})
							expect = append(expect, sandbox.Expect{Register: r, ExternalID: id, Total: 7622})
						}
						w.done.Go(func() { w.device(d, events) })
					}
					w.done.Wait()
					<-time.After(2 * time.Second)
					if q := l.queue(t, "reg_2"); !row.site && q.Waiting != 0 {
						t.Errorf("the neighbour waits: %+v", q)
					}
					met := l.queue(t, "reg_1").Class
					<-time.After(time.Hour)
					if err := w.sandbox.Check(expect); err != nil {
						t.Error(err)
					}
					if err := w.sandbox.CheckFrozen(); err != nil {
						t.Error(err)
					}
					if q := l.queue(t, "reg_1"); q.Waiting != 0 || q.Confirmed != 3 || !q.BlockedSince.IsZero() {
						t.Errorf("queue %+v", q)
					}
					if left := w.sandbox.Faults(); len(left) != 0 {
						t.Errorf("the fault was not met: %+v", left)
					}
					attempts, err := l.db.Attempts(t.Context(), "reg_1")
					if err != nil || len(attempts) == 0 || attempts[0].Class != row.class {
						t.Errorf("journal says %+v (met %s), %v; want %s", attempts, met, err, row.class)
					}
				})
			})
		}
	}
}

// A refused key stops its own queue and goes on by itself with the new one.
func TestARefusedKeyWaitsForItsSuccessor(t *testing.T) {
	template := t.TempDir()
	prepare(t, template)
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		copyFiles(t, template, dir)
		w := newWorld(t, dir, sandbox.Options{}, nil)
		l := w.start(newPower(0))
		defer l.end()
		w.sandbox.MustAddRegister("reg_1")
		w.on(l)
		w.device("pump-1", []event{{0, sale.Whole, fmt.Sprintf(wholeEvent, "s1")}})
		<-time.After(time.Minute)
		if q := l.queue(t, "reg_1"); q.BlockedSince.IsZero() || q.Class != sale.KeyRefused || !strings.Contains(q.Problem, "no_key") {
			t.Errorf("queue %+v", q)
		}
		if n := len(w.sandbox.Requests()); n != 0 {
			t.Errorf("%d requests without a key", n)
		}
		if err := l.giveKey("reg_1", secret.FromString(w.sandbox.Rotate("reg_1"))); err != nil {
			t.Fatal(err)
		}
		l.relay.Wake("reg_1")
		<-time.After(5 * time.Second)
		if err := w.sandbox.Check([]sandbox.Expect{{Register: "reg_1", ExternalID: "s1", Total: 7622}}); err != nil {
			t.Error(err)
		}
	})
}
