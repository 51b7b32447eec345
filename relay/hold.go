package relay

import (
	"context"

	"edgegw/sale"
)

// Hold keeps a register's queue from sending, once the attempt under way has
// been recorded, until release is called: its key is about to die. Sales are
// accepted meanwhile. The error is ctx's.
func (r *Relay) Hold(ctx context.Context, id sale.RegisterID) (release func(), err error) {
	if err := r.pass(ctx, id); err != nil {
		return nil, err
	}
	return func() { r.passed(id) }, nil
}

// pass waits for the register's gate, which lets one through at a time.
func (r *Relay) pass(ctx context.Context, id sale.RegisterID) error {
	select {
	case r.gate(id) <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *Relay) passed(id sale.RegisterID) { <-r.gate(id) }

func (r *Relay) gate(id sale.RegisterID) chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.gates[id]
	if g == nil {
		g = make(chan struct{}, 1)
		r.gates[id] = g
	}
	return g
}
