package relay

import (
	"context"
	"time"

	"edgegw/pacing"
	"edgegw/sale"
)

// outcome turns a problem into what is recorded and waited for.
func (r *Relay) outcome(call sale.Call, p *sale.Problem, unresolved bool, q *queue) sale.Outcome {
	p = r.isSigning(call, p)
	course := p.Course()
	o := sale.Outcome{Call: call, Problem: p, At: r.o.Now(), InDoubt: course.InDoubt || unresolved, Blocked: course.Blocked}
	if p.Status != 0 {
		r.reached()
	}
	switch {
	case course.Quarantine:
		o.Quarantine, o.Blocked = true, r.o.Block
		q.failures, q.next = 0, time.Time{}
	case p.Class == sale.Uplink:
		if r.uplink.failed(p.Code, p.Detail, q.probe) {
			r.log.Warn("the uplink is down", "code", p.Code, "detail", p.Detail)
			r.o.Changed(r.uplink.state())
		}
		r.fiscal.CloseIdle()
	default:
		if p.Class == sale.Throttled || r.isOverload(call.Register, p) {
			r.pace.throttled()
		}
		wait := r.wait(p, course, q)
		q.next = time.Now().Add(wait)
		q.failures++
		o.Next = o.At.Add(wait)
	}
	return o
}

// wait is how long to leave a call alone after a problem.
func (r *Relay) wait(p *sale.Problem, course sale.Course, q *queue) time.Duration {
	wait := max(p.Least(), pacing.Backoff(course.First, course.Most, q.failures, r.o.Jitter))
	if course.Blocked {
		wait = course.Most
	}
	return pacing.Later(wait, p.RetryAfter, r.o.Jitter)
}

// isSigning reads a 422 that says nothing of signing as signing being down while
// several registers get it at once, and takes back what was quarantined before
// that was known.
func (r *Relay) isSigning(call sale.Call, p *sale.Problem) *sale.Problem {
	plain := p.Class == sale.Poison && p.Status == 422
	if !plain && p.Class != sale.SigningDown {
		return p
	}
	was := r.signing.state()
	down, others := r.signing.refuse(call.Register, call.Step, plain, r.roster.Registers(), time.Now())
	if down && was.IsZero() {
		r.log.Warn("OpenFiskal's signing seems to be down", "register", call.Register, "step", call.Step, "code", p.Code)
	}
	for _, id := range others {
		r.Kick(id)
		r.Wake(id)
	}
	if !down || !plain {
		return p
	}
	q := *p
	q.Class = sale.SigningDown
	return &q
}

// reinstate takes back sales of the register that were quarantined before the
// site knew that signing is down. It runs on the queue's own goroutine, between
// two attempts, so that nothing is under way behind them.
func (r *Relay) reinstate(ctx context.Context, id sale.RegisterID, q *queue) error {
	since, ok := r.signing.takeBack(id)
	if !ok {
		return nil
	}
	at := r.o.Now()
	n, err := r.journal.Reinstate(context.WithoutCancel(ctx), id, at.Add(-time.Since(since)-time.Second), at, "several registers were refused at once: signing is down")
	if err != nil {
		r.log.Error("sales cannot be taken back from quarantine", "register", id, "cause", err)
		return nil // a person can still do it
	}
	if n > 0 {
		r.log.Info("sales were taken back from quarantine: signing is down", "register", id, "sales", n)
		course := (&sale.Problem{Class: sale.SigningDown}).Course()
		q.next = time.Now().Add(pacing.Backoff(course.First, course.Most, 0, r.o.Jitter))
	}
	return nil
}

// SigningDown gives since when OpenFiskal's signing is taken to be down; the
// zero time means that it is not.
func (r *Relay) SigningDown() time.Time { return r.signing.state() }

// Rate gives how many requests a second the site makes at most now, after 429s,
// and what is configured.
func (r *Relay) Rate() (now, most float64) { return r.pace.now() }

// Slowed gives when a 429 halved that rate for the last time, zero if none has.
func (r *Relay) Slowed() time.Time { return r.pace.slowed() }

// waitsForSigning notes whether the queue does.
func (r *Relay) waitsForSigning(q *queue, yes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	q.signing = yes
}

// signingBack lets the queues that wait for signing go on soon, not all at the
// same moment: each may have minutes of its back-off left.
func (r *Relay) signingBack() {
	r.log.Info("OpenFiskal's signing is back")
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, q := range r.queues {
		if q.signing {
			time.AfterFunc(r.o.Jitter(signingSpread), func() { r.Wake(id) })
		}
	}
}
