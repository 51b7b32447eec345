package broker

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"edgegw/sale"
)

// How many logins in vain are answered in a second: over all, by address, and
// by the device that is claimed. Only the answer to a wrong one waits, and at
// most maxFailWait: nobody can lock out a device, or the site behind his own
// address, by guessing.
const (
	failuresPerSecond = 20
	failuresByAddress = 10
	failuresByDevice  = 2
	failureBurst      = 20
	maxFailWait       = connectLimit / 2

	// mostCulprits bounds what is remembered of those who fail; the longest
	// silent are forgotten first.
	mostCulprits = 4096
	// failureMemory is how long a failure counts.
	failureMemory = 10 * time.Minute
)

// Culprit is an address or a claimed device from which logins fail.
type Culprit struct {
	Address string        // "" where it is a device
	Device  sale.DeviceID // "" where it is an address
	Since   time.Time     // the first of the failures that are counted
	Last    time.Time
	Times   int
}

// failures knows who fails to log in, and how long he waits for his answer.
type failures struct {
	mu  sync.Mutex
	all *rate.Limiter
	of  map[Culprit]*record // by address or device alone
	now func() time.Time
}

type record struct {
	limit       *rate.Limiter
	since, last time.Time
	times       int
}

func newFailures() *failures {
	return &failures{all: rate.NewLimiter(failuresPerSecond, 50), of: map[Culprit]*record{}, now: time.Now}
}

// wait notes a failure and says how long its answer waits. A flood builds no
// debt beyond the longest wait, which those who only mistyped would have to pay
// long after it.
func (f *failures) wait(address string, d sale.DeviceID) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return max(owed(f.all, failuresPerSecond), f.note(Culprit{Address: address}, failuresByAddress), f.note(Culprit{Device: d}, failuresByDevice))
}

// note counts a failure. The lock is held.
func (f *failures) note(who Culprit, perSecond float64) time.Duration {
	now := f.now()
	r := f.of[who]
	if r == nil {
		f.makeRoom(now)
		r = &record{limit: rate.NewLimiter(rate.Limit(perSecond), failureBurst), since: now}
		f.of[who] = r
	}
	if now.Sub(r.last) > failureMemory {
		r.since, r.times = now, 0
	}
	r.last = now
	r.times++
	return owed(r.limit, perSecond)
}

// guessing reports whether logins from an address fail faster than they are
// answered. New sockets from there are closed for the moment, before a TLS
// hand-shake costs what ten sales cost; a device behind the same address gets its
// turn between two guesses.
func (f *failures) guessing(address string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.of[Culprit{Address: address}]
	return r != nil && r.limit.Tokens() < 0
}

func owed(l *rate.Limiter, perSecond float64) time.Duration {
	if l.Tokens() < -perSecond*maxFailWait.Seconds() {
		return maxFailWait
	}
	return min(l.Reserve().Delay(), maxFailWait)
}

// makeRoom forgets those who have been silent, and half of all where that is not
// enough: a flood of made-up names must not fill the memory, and whoever is
// forgotten waits less, not more.
func (f *failures) makeRoom(now time.Time) {
	if len(f.of) < mostCulprits {
		return
	}
	for who, r := range f.of {
		if now.Sub(r.last) > failureMemory {
			delete(f.of, who)
		}
	}
	for who := range f.of {
		if len(f.of) <= mostCulprits/2 {
			return
		}
		delete(f.of, who)
	}
}

// worst gives those with at least so many failures of late, the worst first.
func (f *failures) worst(least int) []Culprit {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []Culprit
	for who, r := range f.of {
		if r.times >= least && f.now().Sub(r.last) <= failureMemory {
			who.Since, who.Last, who.Times = r.since, r.last, r.times
			list = append(list, who)
		}
	}
	slices.SortFunc(list, func(a, b Culprit) int {
		return cmp.Or(cmp.Compare(b.Times, a.Times), cmp.Compare(a.Address, b.Address), cmp.Compare(a.Device, b.Device))
	})
	return list
}

// Culprits gives the addresses and claimed devices from which at least so many
// logins have failed in the last ten minutes, the worst first.
func (b *Broker) Culprits(least int) []Culprit { return b.failures.worst(least) }
