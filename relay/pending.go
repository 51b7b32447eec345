package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"edgegw/sale"
)

// Times of the polling for a fiscal state (CONTRACT.md ruling 9).
const (
	pollFirst = 2 * time.Second
	pollMost  = time.Minute
	pollRound = 5000 // sales looked at in one round
)

// poll is one sale whose fiscal state is pending, as long as this process
// lives; a new process begins anew.
type poll struct {
	failures int
	next     time.Time
}

// Follow says that a fiscal state may be pending that was not before: of an
// answer that a person has adopted, too.
func (r *Relay) Follow() {
	select {
	case r.pending <- struct{}{}:
	default:
	}
}

// settlePending asks for the fiscal state of ended sales until it is succeeded
// or failed, and posts each change to the device.
func (r *Relay) settlePending(ctx context.Context) error {
	polls := map[int64]*poll{}
	for ctx.Err() == nil {
		wait, err := r.pollRound(ctx, polls)
		if err != nil {
			return ignoreEnd(ctx, err)
		}
		if err := pause(ctx, wait, r.pending); err != nil {
			return nil
		}
	}
	return nil
}

// pollRound asks for what is due and gives how long to wait, a negative time
// where nothing is pending.
func (r *Relay) pollRound(ctx context.Context, polls map[int64]*poll) (time.Duration, error) {
	sales, err := r.journal.Pending(ctx, pollRound)
	if err != nil {
		return 0, fmt.Errorf("look for pending fiscal states: %w", err)
	}
	seen := make(map[int64]bool, len(sales))
	wait := time.Duration(-1)
	for _, p := range sales {
		seen[p.No] = true
		s := polls[p.No]
		if s == nil {
			s = &poll{next: time.Now().Add(pollFirst)}
			polls[p.No] = s
		}
		if time.Now().Before(s.next) || !r.uplink.state().Up {
			wait = sooner(wait, max(time.Until(s.next), pollFirst/2))
			continue
		}
		settled, err := r.pollOne(ctx, p)
		if err != nil {
			return 0, err
		}
		if settled {
			continue
		}
		s.failures++
		step := pollMost
		if s.failures < 6 {
			step = min(pollMost, pollFirst<<s.failures)
		}
		s.next = time.Now().Add(step)
		wait = sooner(wait, step)
	}
	for no := range polls {
		if !seen[no] {
			delete(polls, no)
		}
	}
	return wait, nil
}

func sooner(a, b time.Duration) time.Duration {
	if a < 0 || b < a {
		return b
	}
	return a
}

// pollOne reads one operation back. Its queue has gone on long ago, so nothing
// that goes wrong here touches it.
func (r *Relay) pollOne(ctx context.Context, p sale.Pending) (settled bool, err error) {
	if r.pace.enter(ctx, false) != nil {
		return false, nil
	}
	defer r.pace.leave()
	call := sale.Call{Register: p.Register, Operation: p.Operation, SaleID: p.SaleID, Step: sale.StepComplete}
	answer, err := r.fiscal.Find(ctx, call, nil)
	var problem *sale.Problem
	switch {
	case err == nil:
	case errors.Is(err, sale.ErrNone), errors.As(err, &problem):
		r.log.Info("a fiscal state cannot be read", "register", p.Register, "sale", p.SaleID, "cause", err)
		return false, nil
	default:
		return false, ignoreEnd(ctx, err)
	}
	r.reached()
	if answer.FiscalState == "" || answer.FiscalState == sale.FiscalPending {
		return false, nil
	}
	posted, err := r.journal.SettleFiscal(context.WithoutCancel(ctx), p, answer, r.o.Now())
	if err != nil {
		r.log.Error("a fiscal state cannot be recorded", "register", p.Register, "sale", p.SaleID, "cause", err)
		return false, nil
	}
	if posted != "" {
		r.o.Posted(posted)
	}
	return true, nil
}
