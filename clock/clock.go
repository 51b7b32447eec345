// Package clock says what time it probably is at a site, and how far that can be
// believed. Boxes boot in 1970, lose their battery, and are set by hand; what
// the gateway writes down, and what it checks a certificate by, must not follow
// every jump. It promises an estimate that only moves with real time, or with
// somebody who knows better; waiting is not its business: that is monotonic.
package clock

import (
	"runtime/debug"
	"sync"
	"time"
)

// Quality says how far a time can be believed, in the words of site/time
// (CONTRACT.md 2.3).
type Quality string

const (
	Synchronised Quality = "synchronised" // the kernel says that something keeps its clock right
	Informative  Quality = "informative"  // plausible, and nobody vouches for it
	Unknown      Quality = "unknown"      // the clock cannot be right, and nobody has said what is
)

// Source says where the estimate comes from.
type Source string

const (
	Kernel     Source = "kernel"     // the clock, which the kernel calls synchronised
	Wall       Source = "clock"      // the clock as it is
	OpenFiskal Source = "openfiskal" // the Date of OpenFiskal's last answer, and the time since
	Continued  Source = "continued"  // what was known before the clock jumped, and the time since
	Floor      Source = "floor"      // the last time that has certainly passed, and the time since the start
)

const (
	// plausibleFor is how long after its build a gateway believes a clock.
	plausibleFor = 30 * 365 * 24 * time.Hour
	// agree is how far the clock may be from OpenFiskal's and still be taken as
	// it is: Date has whole seconds, and an answer takes its time.
	agree = 5 * time.Second
	// late is how far the Date of an answer may lag behind a better one.
	late = time.Minute
	// renew is how long a hint is carried on before a worse one takes its place:
	// crystals drift.
	renew = time.Hour
	// jump is what a clock that nobody keeps right may not do, at once or in steps.
	jump = 2 * time.Minute
	// believe is how long the kernel's word on its clock is taken for the present
	// one, while that clock goes as time does: it is asked for each sale, and each
	// time costs a system call.
	believe = 100 * time.Millisecond
	// step is by how much the clock may differ from the time that has passed before
	// the kernel is asked anew: whoever set it has made it unsynchronised.
	step = 10 * time.Millisecond
)

// Options of a Clock. Zero fields are production.
type Options struct {
	Built        time.Time        // no right clock is before it; zero: when this program was built
	Journal      time.Time        // the newest time in the journal; zero: none
	Vouched      time.Time        // the newest one that was written while the kernel kept the clock right; zero: none
	Wall         func() time.Time // the box's clock, which may jump; nil: time.Now
	Synchronised func() bool      // whether the kernel's clock is kept right; nil: asks the kernel
}

// Clock is the clock of one gateway, safe for many goroutines.
type Clock struct {
	built, journal, vouched time.Time
	wall                    func() time.Time
	synchronised            func() bool

	mu      sync.Mutex
	known   bool      // there is an estimate
	at      time.Time // the last estimate …
	taken   time.Time // … and when it was made, with the monotonic clock
	kept    bool      // what the kernel said of its clock …
	asked   time.Time // … and when, with the monotonic clock
	quality Quality
	source  Source
	seen    time.Time // what the box's clock said then
	base    time.Time // what a clock that nobody keeps right is measured by …
	based   time.Time // … and when that was, with the monotonic clock
	hint    time.Time // OpenFiskal's Date …
	hinted  time.Time // … and when it came, with the monotonic clock
	jumped  time.Duration
	jumpAt  time.Time
}

// New makes a clock.
func New(o Options) *Clock {
	if o.Built.IsZero() {
		o.Built = built()
	}
	if o.Wall == nil {
		o.Wall = time.Now
	}
	if o.Synchronised == nil {
		o.Synchronised = kernelSynchronised
	}
	c := &Clock{built: o.Built, journal: o.Journal, vouched: o.Vouched, wall: o.Wall, synchronised: o.Synchronised}
	if c.journal.After(c.built.Add(plausibleFor)) {
		c.journal = time.Time{} // a clock wrote it that could not be right
	}
	c.Now()
	return c
}

// noEarlier is a time before which no right clock can be: this was written then.
var noEarlier = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// built is the time of the commit this program was made from, where it is known.
func built() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return noEarlier
	}
	for _, s := range info.Settings {
		if s.Key != "vcs.time" {
			continue
		}
		if t, err := time.Parse(time.RFC3339, s.Value); err == nil && t.After(noEarlier) {
			return t
		}
	}
	return noEarlier
}

// Now is the best estimate of the time, without a monotonic reading: for what is
// written down. It is never a time to wait by.
func (c *Clock) Now() time.Time {
	now, _ := c.read()
	return now
}

// Quality says how far Now can be believed.
func (c *Clock) Quality() Quality {
	_, q := c.read()
	return q
}

// Bounds gives the estimate and a time that has certainly passed; they are the
// same where the kernel or OpenFiskal vouches for the estimate. What else stands
// in the journal does not count here: a clock that ran ahead may have written it,
// and OpenFiskal, which could say so, would be kept out for its certificate.
func (c *Clock) Bounds() (now, least time.Time) {
	c.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.quality == Synchronised || !c.hint.IsZero():
		return c.at, c.at
	case c.vouched.After(c.built):
		return c.at, c.vouched
	}
	return c.at, c.built
}

func (c *Clock) read() (time.Time, Quality) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall, mono := c.wall().Round(0), time.Now()
	by := wall.Sub(c.seen) - mono.Sub(c.taken)
	if !c.known || by.Abs() > step || mono.Sub(c.asked) > believe {
		c.kept, c.asked = c.synchronised(), mono
	}
	f := facts{wall: wall, synchronised: c.kept, built: c.built, journal: c.journal}
	if c.known {
		f.before, f.continued = c.quality, c.base.Add(mono.Sub(c.based))
		if by.Abs() > jump {
			c.jumped, c.jumpAt = by, f.continued
		}
	}
	if !c.hint.IsZero() {
		f.hint = c.hint.Add(mono.Sub(c.hinted))
	}
	c.at, c.quality, c.source = f.judge()
	if !c.hint.IsZero() || c.source != Wall || f.before != Informative && f.before != Synchronised {
		c.base, c.based = c.at, mono // a clock that follows itself could go anywhere, in small steps
	}
	c.known, c.taken, c.seen = true, mono, wall
	return c.at, c.quality
}

// Hint takes the Date of an answer that came over an authenticated connection.
// It is cut to the second and was under way, so it is never ahead of the
// service's clock: the hint that says it is latest knows best. A worse one is
// taken where the one in use has grown old, or where the two contradict.
func (c *Clock) Hint(date time.Time) {
	mono := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if date.Before(c.built) || date.After(c.built.Add(plausibleFor)) {
		return // a service that does not know the time either
	}
	if !c.hint.IsZero() {
		age := mono.Sub(c.hinted)
		if behind := c.hint.Add(age).Sub(date); behind >= 0 && behind < late && age < renew {
			return
		}
	}
	c.hint, c.hinted = date.Round(0), mono
}

// State is what people are told.
type State struct {
	Now     time.Time
	Wall    time.Time // what the box's clock says
	Quality Quality
	Source  Source
	Off     time.Duration // how far Wall is ahead of what OpenFiskal says; 0 where it has said nothing
	Hinted  bool          // OpenFiskal has said what time it is
	Jumped  time.Duration // the last jump of the box's clock that was seen; 0: none
	JumpAt  time.Time
}

// State gives it.
func (c *Clock) State() State {
	c.read()
	mono := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := State{Now: c.at, Wall: c.seen, Quality: c.quality, Source: c.source, Jumped: c.jumped, JumpAt: c.jumpAt}
	if !c.hint.IsZero() {
		s.Hinted, s.Off = true, c.seen.Sub(c.hint.Add(mono.Sub(c.hinted)))
	}
	return s
}

// facts are what the estimate is made from.
type facts struct {
	wall           time.Time
	synchronised   bool
	built, journal time.Time
	hint           time.Time // OpenFiskal's, continued until now; zero: none
	continued      time.Time // the estimate before, continued until now; zero: none
	before         Quality   // its quality
}

// judge gives the estimate: the whole policy.
func (f facts) judge() (time.Time, Quality, Source) {
	possible := !f.wall.Before(f.built) && f.wall.Before(f.built.Add(plausibleFor))
	jumped := f.before == Synchronised || f.before == Informative
	jumped = jumped && f.wall.Sub(f.continued).Abs() > jump
	switch {
	case possible && f.synchronised:
		return f.wall, Synchronised, Kernel // also below the journal's time, which a wrong clock may have written
	case !f.hint.IsZero() && possible && f.wall.Sub(f.hint).Abs() <= agree:
		return f.wall, Informative, Wall
	case !f.hint.IsZero():
		return f.hint, Informative, OpenFiskal
	case jumped:
		return f.continued, Informative, Continued
	case possible && !f.wall.Before(f.journal):
		return f.wall, Informative, Wall
	case !f.continued.IsZero():
		return f.continued, Unknown, Floor
	case f.journal.After(f.built):
		return f.journal, Unknown, Floor
	}
	return f.built, Unknown, Floor
}
