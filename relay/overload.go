package relay

import (
	"maps"
	"sync"
	"time"

	"edgegw/sale"
)

// overload tells a service that cannot do more from one that fails for single sales:
// then several registers get a 503 within a minute, or all where the site has but one,
// and what was refused goes through later. A register of which nothing goes through
// counts once a minute, and after some minutes no more, until something of it is
// confirmed: it must not keep the others slow.
type overload struct {
	mu      sync.Mutex
	refused map[sale.RegisterID]time.Time // when it last counted
	since   map[sale.RegisterID]time.Time // when it first did since its last confirmation
}

const (
	overloadWindow  = time.Minute
	overloadSeveral = 2
	overloadMost    = 10 * time.Minute
)

func newOverload() overload {
	return overload{refused: map[sale.RegisterID]time.Time{}, since: map[sale.RegisterID]time.Time{}}
}

// note takes a 503; true where it counts, and others had the same.
func (o *overload) note(r sale.RegisterID, registers int, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch since, stuck := o.since[r]; {
	case !stuck:
		o.since[r] = now
	case now.Sub(since) > overloadMost || now.Sub(o.refused[r]) < overloadWindow:
		return false
	}
	maps.DeleteFunc(o.refused, func(_ sale.RegisterID, at time.Time) bool { return now.Sub(at) >= overloadWindow })
	o.refused[r] = now
	return len(o.refused) >= min(overloadSeveral, max(1, registers))
}

// confirmed notes that a call of the register went through.
func (o *overload) confirmed(r sale.RegisterID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.since, r)
}

// isOverload reports whether a problem says that the service cannot do more. Each 503 is
// followed by a look-up, which takes of what is short: sites that went on as fast as
// before would keep the service busy with saying that nothing was done.
func (r *Relay) isOverload(id sale.RegisterID, p *sale.Problem) bool {
	return p.Class == sale.Transient && p.Status == 503 && r.overload.note(id, r.roster.Registers(), time.Now())
}
