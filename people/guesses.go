package people

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// free is how many logins in vain an address has without waiting.
	free = 5
	// longest is the longest wait. It is short, because people of one site may come
	// from one address, and whoever guesses must not keep them out.
	longest = time.Minute
	// forgotten is when an address that has been quiet begins anew.
	forgotten = 15 * time.Minute
	// mostAddresses bounds how many are told apart; all others share one account,
	// which is slowed down and never closed: whoever sends from thousands of
	// addresses must not keep a newcomer out.
	mostAddresses = 1024
	othersWait    = time.Second
	// written is how often guesses from one address are written down.
	written = 10 * time.Minute
)

// guesses counts logins in vain by address. Whoever gets in does not begin anew: he
// could guess at somebody else in between. Time is that of a monotonic clock, which
// nobody can set.
type guesses struct {
	mu     sync.Mutex
	from   map[netip.Prefix]*guesser
	others guesser
}

type guesser struct {
	times   int       // in vain, in a row
	under   int       // tries under way
	last    time.Time // the last of them
	until   time.Time // nothing is looked at before
	unsaid  int       // not written down yet
	written time.Time
}

func newGuesses() *guesses { return &guesses{from: map[netip.Prefix]*guesser{}} }

// begin lets an address try; a WaitError where it may not. over ends the try, after
// wrong where it was in vain. Tries that are under way count as if they were in vain:
// else many at once would be as many guesses for one wait.
func (g *guesses) begin(from string) (over func(), err error) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.of(from, now)
	if wait := w.until.Sub(now); wait > 0 {
		return nil, &WaitError{wait}
	}
	if w.under > 0 && w.times+w.under >= free {
		return nil, &WaitError{time.Second}
	}
	w.under++
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		w.under--
	}, nil
}

// wrong counts one in vain, and gives how many to write down now, or none.
func (g *guesses) wrong(from string) (write int) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.of(from, now)
	w.times, w.last, w.unsaid = w.times+1, now, w.unsaid+1
	if w.times >= free {
		w.until = now.Add(min(longest, time.Second<<min(w.times-free, 6)))
	}
	if w == &g.others {
		w.until = now.Add(othersWait)
	}
	if w.times < free || !w.written.IsZero() && now.Sub(w.written) < written {
		return 0
	}
	write, w.unsaid, w.written = w.unsaid, 0, now
	return write
}

// of gives the account of an address. The lock is held.
func (g *guesses) of(from string, now time.Time) *guesser {
	p := neighbours(from)
	if w := g.from[p]; w != nil {
		if now.Sub(w.last) >= forgotten {
			w.times = 0
		}
		return w
	}
	if len(g.from) >= mostAddresses {
		for p, w := range g.from {
			if w.under == 0 && now.Sub(w.last) >= forgotten {
				delete(g.from, p)
			}
		}
	}
	if len(g.from) >= mostAddresses {
		return &g.others
	}
	w := &guesser{last: now}
	g.from[p] = w
	return w
}

// neighbours is an address; of IPv6 its network, because one host has the whole.
func neighbours(from string) netip.Prefix {
	a, err := netip.ParseAddr(from)
	if err != nil {
		return netip.Prefix{}
	}
	bits := 32
	if a = a.Unmap(); a.Is6() {
		bits = 64
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
