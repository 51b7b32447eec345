package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"edgegw/pacing"
	"edgegw/sale"
)

// restored finds out about a call of a register whose journal is a backup's: the
// register is read back first, once, and a call that may have been carried out
// since the backup is marked to be looked up. known is false where that has to be
// tried again.
func (r *Relay) restored(ctx context.Context, call *sale.Call, m sale.Restored, q *queue) (known bool, err error) {
	if m.Refused {
		r.askAgain(ctx, call.Register, m)
	}
	if !m.Read {
		if read, err := r.readBack(ctx, call, m, q); err != nil || !read {
			return false, err
		}
	}
	sent, err := r.journal.Sent(ctx, *call)
	if err != nil {
		return false, ignoreEnd(ctx, err)
	}
	if !sent.May {
		return true, nil
	}
	call.Made, call.Restored, call.Unproven = sent.Operation, true, sent.Unproven
	return r.doubt(ctx, call, m, q)
}

// doubt notes that a call may have been carried out since the backup.
func (r *Relay) doubt(ctx context.Context, call *sale.Call, m sale.Restored, q *queue) (bool, error) {
	if !call.InDoubtSince.IsZero() {
		return true, nil
	}
	since := m.Since
	if since.IsZero() {
		since = time.UnixMilli(1) // nobody knows: long ago
	}
	call.InDoubtSince = since
	return r.note(ctx, call, q)
}

// refusedAgain is how long a list that was refused is not asked for.
const refusedAgain = 15 * time.Minute

// askAgain asks once more for a list that was refused: what stood in the way may have
// been a proxy, or a right that the key has got since. Where that leads to nothing all
// stays as it was.
func (r *Relay) askAgain(ctx context.Context, register sale.RegisterID, m sale.Restored) {
	if !r.mayList(register) {
		return
	}
	list, err := r.fiscal.List(ctx, register, m.Since)
	if err != nil {
		return
	}
	r.reached()
	if err := r.journal.ReadBack(context.WithoutCancel(ctx), register, list, false); err != nil {
		r.log.Warn("what was read back cannot be stored", "register", register, "cause", err)
	}
}

// mayList reports whether a list was not asked for lately, and notes that it is now.
func (r *Relay) mayList(register sale.RegisterID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if asked, was := r.listed[register]; was && time.Since(asked) < refusedAgain {
		return false
	}
	r.listed[register] = time.Now()
	return true
}

// readBack reads what OpenFiskal has of the register.
func (r *Relay) readBack(ctx context.Context, call *sale.Call, m sale.Restored, q *queue) (bool, error) {
	r.mayList(call.Register)
	list, err := r.fiscal.List(ctx, call.Register, m.Since)
	var p *sale.Problem
	refused := false
	switch {
	case ctx.Err() != nil:
		return false, nil
	case err == nil:
		r.reached()
	case !errors.As(err, &p):
		return false, fmt.Errorf("read back register %s: %w", call.Register, err)
	case p.Code == sale.CodeLookUpRefused:
		refused = true
	default:
		begun := *call // the trouble is noted as that of the call, which stays as it is
		if noted, err := r.doubt(ctx, &begun, m, q); err != nil || !noted {
			return false, err
		}
		_, err = r.settle(ctx, r.outcome(begun, p, true, q), q)
		return false, err
	}
	if err := r.journal.ReadBack(context.WithoutCancel(ctx), call.Register, list, refused); err != nil {
		r.log.Warn("what was read back cannot be stored", "register", call.Register, "cause", err)
		q.next = time.Now().Add(pacing.Backoff(time.Second, time.Minute, q.failures, r.o.Jitter))
		q.failures++
		return false, nil
	}
	r.log.Info("a register whose data is a backup's was read back", "register", call.Register, "operations", len(list), "refused", refused)
	return true, nil
}
