package relay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"golang.org/x/sync/errgroup"

	"edgegw/pacing"
	"edgegw/sale"
)

// queue is the life of one register's queue while it has work. Its goroutine
// owns failures and next.
type queue struct {
	again      bool          // guarded by Relay.mu: there was a kick since the last look
	wake       chan struct{} // what the queue waits for may have ended
	signing    bool          // guarded by Relay.mu: it waits for OpenFiskal's signing
	failures   int           // in a row
	unresolved bool          // an attempt before the one under way is still in doubt
	probe      uint64        // its attempt is the uplink's probe
	live       bool          // what it sends happens now, and is not of a backlog
	doubtOf    int64         // the event whose attempt, begun by this process,
	doubted    time.Time     // has been in doubt since
	next       time.Time     // not before; with the monotonic clock, so a jump of the wall clock does not touch it
}

// Run forwards until ctx ends and every attempt under way has been recorded.
// It returns nil then, and otherwise the failure of the journal that ended it.
func (r *Relay) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	late, over := lastly(ctx)
	defer over()
	r.mu.Lock()
	r.begin = func(id sale.RegisterID, q *queue) {
		g.Go(func() error { return r.forward(ctx, late, id, q) })
	}
	r.mu.Unlock()
	g.Go(func() error { return r.settlePending(ctx) })
	g.Go(func() error {
		defer func() {
			r.mu.Lock()
			r.begin = nil
			r.mu.Unlock()
		}()
		ids, err := r.journal.WithWork(ctx)
		if err != nil {
			return ignoreEnd(ctx, fmt.Errorf("look for waiting calls: %w", err))
		}
		for _, id := range ids {
			r.Kick(id)
		}
		<-ctx.Done() // the group stays open for queues that get work later
		return nil
	})
	return g.Wait()
}

// Kick says that the register's queue has grown.
func (r *Relay) Kick(id sale.RegisterID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if q := r.queues[id]; q != nil {
		q.again = true
		return
	}
	if r.begin == nil {
		return // Run looks for waiting calls when it starts
	}
	q := &queue{wake: make(chan struct{}, 1)}
	r.queues[id] = q
	r.begin(id, q)
}

// Wake says that what blocked the register's queue may have ended: a new key,
// a decision.
func (r *Relay) Wake(id sale.RegisterID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if q := r.queues[id]; q != nil {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

// LinkUp says that the uplink may be back: it is tried now.
func (r *Relay) LinkUp() { r.uplink.kick() }

// Uplink tells the state of the uplink.
func (r *Relay) Uplink() UplinkState { return r.uplink.state() }

// forward sends a register's calls in order, one at a time, until none waits. A request
// under way ends with late, a little after ctx.
func (r *Relay) forward(ctx, late context.Context, id sale.RegisterID, q *queue) error {
	first := true
	r.busy.Add(1)
	defer r.busy.Add(-1)
	for ctx.Err() == nil {
		if err := r.reinstate(ctx, id, q); err != nil {
			return err
		}
		head, err := r.journal.Head(ctx, id)
		switch {
		case errors.Is(err, sale.ErrHeld):
			r.trouble(id, nil)
			r.rest(ctx, q, heldLook) // a decision wakes it
			q.next = time.Time{}
			continue
		case errors.Is(err, sale.ErrNone):
			if r.idle(id, q) {
				return nil
			}
			continue
		case ctx.Err() != nil:
			return nil
		case err != nil:
			// Its calls cannot be read. The register beside it need not stop for
			// that, and an end of the process would only repeat it.
			r.log.Error("the head of a queue cannot be read", "register", id, "cause", err)
			r.trouble(id, err)
			r.rest(ctx, q, time.Minute)
			continue
		}
		r.trouble(id, nil)
		if first {
			first = false
			q.resume(head, r.o.Now())
		}
		if wait := time.Until(q.next); wait > 0 {
			if r.rest(ctx, q, wait) {
				q.next = time.Time{}
			}
			continue
		}
		if r.held(ctx, id) != nil {
			return nil
		}
		err = r.try(ctx, late, head, q)
		r.passed(id)
		if err != nil {
			return err
		}
	}
	return nil
}

// held waits while somebody holds the register's queue.
func (r *Relay) held(ctx context.Context, id sale.RegisterID) error {
	r.busy.Add(-1)
	defer r.busy.Add(1)
	return r.pass(ctx, id)
}

// heldLook is how often a queue that waits for a decision looks by itself.
const heldLook = time.Hour

// trouble notes why a queue's head cannot be read, nil when it can.
func (r *Relay) trouble(id sale.RegisterID, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		delete(r.troubles, id)
	} else {
		r.troubles[id] = err
	}
}

// Troubles gives the registers whose queue cannot be read, and why.
func (r *Relay) Troubles() map[sale.RegisterID]error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.troubles)
}

// idle ends the queue's life, unless there was a kick in the meantime.
func (r *Relay) idle(id sale.RegisterID, q *queue) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if q.again {
		q.again = false
		return false
	}
	delete(r.queues, id)
	return true
}

// resume takes over the wait that an earlier process wrote down in wall time.
func (q *queue) resume(h sale.Head, now time.Time) {
	q.failures = max(0, h.Attempts-1)
	if h.Class == sale.KeyRefused {
		return // a start may bring the key, or what opens it
	}
	if wait := h.NextAttempt.Sub(now); wait > 0 && !h.NextAttempt.IsZero() {
		q.next = time.Now().Add(min(wait, sale.LongestWait))
	}
}

// Busy reports whether some queue wants to send, or sends, and does not merely wait
// until a time or for a person. While it does, requests end one after the other: each
// is bounded, and an uplink that is down is tried every minute.
func (r *Relay) Busy() bool { return r.busy.Load() > 0 }

// rest waits; it gives true if it was woken.
func (r *Relay) rest(ctx context.Context, q *queue, d time.Duration) bool {
	r.busy.Add(-1)
	defer r.busy.Add(1)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-q.wake:
		return true
	}
	return false
}

// try makes at most one attempt of the call, when the site may send.
func (r *Relay) try(ctx, late context.Context, head sale.Head, q *queue) error {
	probe, err := r.uplink.enter(ctx)
	if err != nil {
		return nil // the relay ends
	}
	defer r.uplink.leave(probe)
	q.probe = probe
	q.live = r.o.Now().Sub(head.Accepted) < liveAge
	if r.pace.enter(ctx, q.live) != nil {
		return nil
	}
	defer r.pace.leave()
	call := head.Call
	if head.Restored != nil {
		if known, err := r.restored(ctx, &call, *head.Restored, q); err != nil || !known {
			return err
		}
	}
	if !call.InDoubtSince.IsZero() {
		sendAgain, err := r.lookUp(ctx, &call, q)
		if err != nil || !sendAgain {
			return err
		}
	}
	begun, err := r.note(ctx, &call, q)
	if err != nil || !begun {
		return err
	}
	return r.sendEvent(ctx, late, call, head.Rest, q)
}

// liveAge is how long after its acceptance an event counts as one that happens
// now, and not as part of a backlog.
const liveAge = 10 * time.Second

// lookUp reads back what became of a call in doubt and records it. again says
// that the call must be sent: the same bytes under the same key.
func (r *Relay) lookUp(ctx context.Context, call *sale.Call, q *queue) (again bool, err error) {
	foreign, err := r.journal.Foreign(ctx, *call)
	if err != nil {
		return false, ignoreEnd(ctx, err)
	}
	wanted := *call
	if call.Made != "" {
		wanted.Operation = call.Made
	}
	answer, err := r.fiscal.Find(ctx, wanted, func(op string) bool { return foreign[op] })
	var p *sale.Problem
	judged := sale.Find(0)
	switch {
	case ctx.Err() != nil:
		return false, nil
	case err == nil:
		r.reached()
		judged = call.Judge(answer)
	case errors.Is(err, sale.ErrNone):
		r.reached()
		judged = call.JudgeAbsent()
	case errors.As(err, &p):
	default:
		return false, fmt.Errorf("look up sale %s: %w", call.SaleID, err)
	}
	switch judged {
	case sale.Adopt:
		answer.Adopted = true
		_, err := r.settle(ctx, sale.Outcome{Call: *call, Answer: &answer, At: r.o.Now()}, q)
		return false, err
	case sale.Resend:
		call.InDoubtSince = time.Time{}
		return true, nil
	case sale.Contradict:
		p = &sale.Problem{Class: sale.Poison, Code: "contradiction", RequestID: answer.RequestID, Body: answer.Body,
			Detail: "OpenFiskal's record of the operation and the gateway's cannot both be: state there is " + stateWord(answer)}
	}
	if p.Code == sale.CodeLookUpRefused {
		if age := q.doubtAge(*call, r.o.Now()); age >= 0 && age < r.o.Window && !call.Unproven {
			return true, nil // inside the window the service itself tells a repeated call
		}
		p = &sale.Problem{Class: sale.Poison, Code: "window_over", RequestID: p.RequestID,
			Detail: "the call may have been carried out, cannot be looked up, and is too old to be sent again safely"}
		if call.Unproven {
			p.Code, p.Detail = "repeat_unproven", "the sale happened before the backup was put back, and may have been sent by the gateway before: OpenFiskal does not give the list in which it would stand"
		}
	}
	_, err = r.settle(ctx, r.outcome(*call, p, true, q), q)
	return false, err
}

func stateWord(a sale.Answer) string {
	if a.State == "" {
		return "absent"
	}
	return a.State
}

// note puts the begin of an attempt on disk before its bytes leave. It gives
// false where there is nothing to send.
func (r *Relay) note(ctx context.Context, call *sale.Call, q *queue) (bool, error) {
	if ctx.Err() != nil {
		return false, nil
	}
	a := r.nextAttempt(*call, q)
	err := r.journal.Begin(context.WithoutCancel(ctx), a)
	if errors.Is(err, sale.ErrNone) {
		return false, nil // superseded by a newer update just now
	}
	if err != nil {
		// Nothing was sent. A full disk may get room again.
		r.log.Warn("an attempt cannot be noted", "register", call.Register, "cause", err)
		q.next = time.Now().Add(pacing.Backoff(time.Second, time.Minute, q.failures, r.o.Jitter))
		q.failures++
		return false, nil
	}
	q.begun(call, a.At)
	return true, nil
}

// nextAttempt is an attempt that begins now.
func (r *Relay) nextAttempt(c sale.Call, q *queue) sale.Attempt {
	now := r.o.Now()
	return sale.Attempt{Call: c, At: now, Next: now.Add(sale.SettleDelay), MayWait: r.patience(q)}
}

// begun takes over what the journal has noted of the attempt.
func (q *queue) begun(call *sale.Call, at time.Time) {
	q.unresolved = !call.InDoubtSince.IsZero()
	call.Attempts++
	if !q.unresolved {
		call.InDoubtSince = at
		q.doubtOf, q.doubted = call.Event, time.Now()
	}
}

// sendEvent sends a call whose begin is noted, and then the calls of the same
// event behind it: the commit that settles the one notes the begin of the next,
// so that nothing waits in between.
func (r *Relay) sendEvent(ctx, late context.Context, call sale.Call, rest []sale.Call, q *queue) error {
	for {
		then, err := r.send(ctx, late, call, rest, q)
		if err != nil || then == nil {
			return err
		}
		call, rest = then.Call, rest[1:]
		q.begun(&call, then.At)
		if r.pace.again(ctx, q.live) != nil {
			return nil // noted as in doubt, and looked up at the next start
		}
	}
}

// send makes the one request of an attempt and records its end, whatever
// becomes of ctx: once the service has answered, a shutdown must not make the
// gateway forget (law 2). then is the attempt of the next call, if it was begun
// with it.
func (r *Relay) send(ctx, late context.Context, call sale.Call, rest []sale.Call, q *queue) (then *sale.Attempt, err error) {
	if r.pace.spread(ctx) != nil {
		return nil, nil // noted as in doubt, and looked up at the next start
	}
	from := time.Now()
	answer, err := r.fiscal.Do(late, call)
	if err != nil && late.Err() != nil {
		return nil, nil // nothing new is known: it is noted as in doubt, and looked up at the next start
	}
	if err == nil {
		r.timed(time.Since(from))
		r.reached()
		o := sale.Outcome{Call: call, Answer: &answer, At: r.o.Now(), MayWait: r.patience(q)}
		if len(rest) > 0 && ctx.Err() == nil {
			next := rest[0]
			next.Operation = answer.Operation
			a := r.nextAttempt(next, q)
			o.Then = &a
		}
		recorded, err := r.settle(ctx, o, q)
		if !recorded {
			return nil, err
		}
		return o.Then, err
	}
	var p *sale.Problem
	if !errors.As(err, &p) {
		return nil, fmt.Errorf("send %s of sale %s: %w", call.Step, call.SaleID, err)
	}
	_, err = r.settle(ctx, r.outcome(call, p, q.unresolved, q), q)
	return nil, err
}

// doubtAge is how long the call has been in doubt: by the monotonic clock if
// this process began the attempt, else by the wall clock, which may have jumped.
// A negative age is no age at all.
func (q *queue) doubtAge(c sale.Call, now time.Time) time.Duration {
	if q.doubtOf == c.Event && !q.doubted.IsZero() {
		return time.Since(q.doubted)
	}
	return now.Sub(c.InDoubtSince)
}

// settle records an outcome, and gives false if the relay ended before it
// could. It does not give up while the disk is merely full: the answer in hand
// is worth waiting for.
func (r *Relay) settle(ctx context.Context, o sale.Outcome, q *queue) (bool, error) {
	record := context.WithoutCancel(ctx)
	for failures := 0; ; failures++ {
		posted, err := r.journal.Settle(record, o)
		if err == nil {
			r.settled(o, posted, q)
			return true, nil
		}
		if errors.Is(err, sale.ErrNone) {
			return false, fmt.Errorf("the queue of %s has moved under an attempt: %w", o.Call.Register, err)
		}
		r.log.Error("an outcome cannot be recorded", "register", o.Call.Register, "cause", err)
		if r.rest(ctx, q, pacing.Backoff(time.Second, 10*time.Second, failures, r.o.Jitter)); ctx.Err() != nil {
			return false, nil // in doubt on disk: the next start looks it up
		}
	}
}

func (r *Relay) settled(o sale.Outcome, posted sale.DeviceID, q *queue) {
	r.waitsForSigning(q, o.Problem != nil && o.Problem.Class == sale.SigningDown)
	if o.Answer != nil {
		q.failures, q.next = 0, time.Time{}
		r.pace.succeeded()
		r.overload.confirmed(o.Call.Register)
		if !o.Answer.Adopted && r.signing.succeed(o.Call.Step) {
			r.signingBack()
		}
		if o.Call.Step.Ends() && o.Answer.FiscalState == sale.FiscalPending {
			r.Follow()
		}
		if posted != "" {
			r.o.Posted(posted)
		}
		return
	}
	if posted != "" {
		r.o.Posted(posted)
	}
	if o.Problem.Class == sale.KeyRefused {
		r.o.Refused(o.Call.Register)
	}
	level := r.log.Info
	if o.Blocked || o.Quarantine {
		level = r.log.Warn
	}
	level("a call was not confirmed", "register", o.Call.Register, "sale", o.Call.SaleID, "step", o.Call.Step,
		"class", o.Problem.Class, "status", o.Problem.Status, "code", o.Problem.Code, "request_id", o.Problem.RequestID)
}

// reached notes an answer of any kind.
func (r *Relay) reached() {
	if r.uplink.reached() {
		r.log.Info("the uplink is back")
		r.o.Changed(r.uplink.state())
	}
}

// ignoreEnd forgets errors that only say that the relay ends.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
