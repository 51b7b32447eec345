package relay

import (
	"context"
	"slices"
	"sync"
	"time"

	"edgegw/pacing"
)

// pace says when a request may leave: at most so many under way at once, and so
// many in a second, over the whole site. Sales that happen now and those of a
// backlog take turns, so that neither waits for the other: a sale on an idle
// register overtakes twenty thousand that wait on others.
//
// A 429 halves the rate; each success afterwards raises it a little, up to what
// is configured (CONTRACT.md ruling 9).
type pace struct {
	mu    sync.Mutex
	rate  pacing.Rate
	free  int // requests that may still be under way
	lines [2]line
	next  int    // the line that is served first
	came  uint64 // turns that there ever were
	timer *time.Timer
}

// line is the requests that wait, in the order they came: apart, because without a free
// slot those that need one must not be looked at each time.
type line struct{ need, have []*turn }

// turn is one request that waits.
type turn struct {
	slot bool   // it needs one; a request that follows its own has one
	no   uint64 // which one it is
	goes chan struct{}
}

func (l *line) of(slot bool) *[]*turn {
	if slot {
		return &l.need
	}
	return &l.have
}

// first gives the oldest that may go, nil if none may.
func (l *line) first(free bool) *turn {
	switch {
	case !free || len(l.need) == 0:
		if len(l.have) == 0 {
			return nil
		}
		return l.have[0]
	case len(l.have) == 0 || l.need[0].no < l.have[0].no:
		return l.need[0]
	}
	return l.have[0]
}

// pop takes out what first gave.
func (l *line) pop(t *turn) {
	q := l.of(t.slot)
	(*q)[0] = nil
	*q = (*q)[1:]
}

// remove takes a turn out wherever it stands; false where it is gone.
func (l *line) remove(t *turn) bool {
	q := l.of(t.slot)
	i := slices.Index(*q, t)
	if i < 0 {
		return false
	}
	*q = slices.Delete(*q, i, i+1)
	return true
}

func newPace(perSecond, concurrency int) *pace {
	return &pace{rate: pacing.NewRate(perSecond, time.Now()), free: concurrency}
}

func lineOf(live bool) int {
	if live {
		return 0
	}
	return 1
}

// enter waits for a slot and a token. leave gives the slot back.
func (p *pace) enter(ctx context.Context, live bool) error { return p.wait(ctx, live, true) }

// again waits for another token; the caller has a slot.
func (p *pace) again(ctx context.Context, live bool) error { return p.wait(ctx, live, false) }

func (p *pace) wait(ctx context.Context, live, slot bool) error {
	t := &turn{slot: slot, goes: make(chan struct{})}
	l := &p.lines[lineOf(live)]
	p.mu.Lock()
	p.came++
	t.no = p.came
	*l.of(slot) = append(*l.of(slot), t)
	p.serve()
	p.mu.Unlock()
	select {
	case <-t.goes:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !l.remove(t) { // it was let in just now
		p.rate.Return()
		if slot {
			p.free++
		}
	}
	p.serve() // others may go past it, or instead of it
	return ctx.Err()
}

// spread waits before a request that has a token leaves. Between the two lies a commit, and
// a disk that stops for a moment would let all that waited for it leave at once.
func (p *pace) spread(ctx context.Context) error {
	p.mu.Lock()
	wait := p.rate.Spread(time.Now())
	p.mu.Unlock()
	if wait <= 0 {
		return ctx.Err()
	}
	return pause(ctx, wait, nil)
}

// heldUp is how long those that could go now, were it not for the rate, have to do with
// it.
func (p *pace) heldUp() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, l := range p.lines {
		n += len(l.have) + min(len(l.need), max(0, p.free))
	}
	return p.rate.For(n)
}

func (p *pace) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free++
	p.serve()
}

// serve lets in who may go now, and sets a timer for the next. The lock is held.
func (p *pace) serve() {
	p.rate.Refill(time.Now())
	for {
		t, l := p.first()
		if t == nil {
			return
		}
		if wait, ok := p.rate.Take(); !ok {
			p.later(wait)
			return
		}
		if t.slot {
			p.free--
		}
		p.lines[l].pop(t)
		p.next = 1 - l
		close(t.goes)
	}
}

// first gives who is next: the oldest of the line whose turn it is, or else of
// the other. Without a free slot only those that have one may go.
func (p *pace) first() (*turn, int) {
	for _, l := range []int{p.next, 1 - p.next} {
		if t := p.lines[l].first(p.free > 0); t != nil {
			return t, l
		}
	}
	return nil, 0
}

func (p *pace) later(d time.Duration) {
	d = max(d, time.Microsecond)
	if p.timer != nil {
		p.timer.Reset(d)
		return
	}
	p.timer = time.AfterFunc(d, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.serve()
	})
}

// throttled notes a 429.
func (p *pace) throttled() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate.Throttled(time.Now())
}

// succeeded notes a confirmation.
func (p *pace) succeeded() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate.Succeeded(time.Now())
}

// now gives the present rate in requests per second, and the configured one.
func (p *pace) now() (rate, most float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rate.Now()
}

// slowed gives the time of the last halving, zero before the first.
func (p *pace) slowed() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rate.Slowed()
}
