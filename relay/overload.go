package relay

import (
	"maps"
	"sync"
	"time"

	"edgegw/sale"
)

// overload tells a service that cannot do more from one that fails for a single sale:
// then several registers are refused within a minute, or all where the site has but one.
type overload struct {
	mu      sync.Mutex
	refused map[sale.RegisterID]time.Time
}

const (
	overloadWindow  = time.Minute
	overloadSeveral = 2
)

// note takes an answer of 5xx; true where others had the same.
func (o *overload) note(r sale.RegisterID, registers int, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.DeleteFunc(o.refused, func(_ sale.RegisterID, at time.Time) bool { return now.Sub(at) > overloadWindow })
	if o.refused == nil {
		o.refused = map[sale.RegisterID]time.Time{}
	}
	o.refused[r] = now
	return len(o.refused) >= min(overloadSeveral, max(1, registers))
}

// isOverload reports whether a problem says that the service cannot do more. Each answer of
// 5xx is followed by a look-up, which takes of what is short: sites that went on as fast
// as before would keep the service busy with saying that nothing was done.
func (r *Relay) isOverload(id sale.RegisterID, p *sale.Problem) bool {
	return p.Class == sale.Transient && p.Status >= 500 && r.overload.note(id, r.roster.Registers(), time.Now())
}
