package gateway

import (
	"context"
	"slices"
	"sync"
	"time"

	"edgegw/admin"
	"edgegw/clock"
	"edgegw/relay"
)

const (
	historySpan = 24 * time.Hour
	// historyLook is how often the gateway looks at what waits, historySlot the time
	// of which the most is kept, and historySlots how many of those there are.
	historyLook  = time.Minute
	historySlot  = 10 * time.Minute
	historySlots = int(historySpan / historySlot)
	// mostStretches bounds what is kept of an uplink that comes and goes.
	mostStretches = 1000
)

// history remembers how the uplink was and what waited. Times of this run are kept as
// distances: whatever the box's clock does, they stay where they were. Those of the
// runs before are as they were written down.
type history struct {
	mu      sync.Mutex
	began   time.Time // this run, with the monotonic clock
	earlier []stretch // of the runs before
	own     []mark    // of this one
	slots   [historySlots]int64
	slot    int64 // the newest, counted from began; -1: none yet
	tally   tally
}

// stretch is a time in which the uplink was as it was.
type stretch struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	State   string    `json:"state"`
	Cause   string    `json:"cause,omitempty"`
	Undated bool      `json:"undated,omitempty"` // the clock was not known when it was written down
}

// mark is a change of the uplink.
type mark struct {
	at           time.Time // with the monotonic clock
	wall         time.Time // the same by the gateway's clock, as it was told last
	state, cause string
}

// steady is how far a time that is told may be from where it belongs, so that it is
// told as before.
const steady = 2 * time.Second

// place dates a mark by what time it is now.
func (m *mark) place(now time.Time) time.Time {
	if at := now.Add(-time.Since(m.at)); at.Sub(m.wall).Abs() > steady {
		m.wall = at.UTC().Truncate(time.Millisecond)
	}
	return m.wall
}

func newHistory(earlier []stretch) *history {
	return &history{began: time.Now(), earlier: earlier, slot: -1}
}

// note takes how the uplink is, and says whether that is new. The first cause of an
// outage stands for it.
func (h *history) note(u relay.UplinkState, now time.Time) bool {
	m := mark{at: time.Now(), wall: now.UTC().Truncate(time.Millisecond), state: admin.UplinkUntried}
	switch {
	case !u.Up:
		m.state, m.cause = admin.UplinkDown, u.Problem
	case u.Known:
		m.state = admin.UplinkUp
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.own)
	if n > 0 && h.own[n-1].state == m.state {
		return false
	}
	if n == mostStretches { // the oldest two become one of which nothing is known
		h.own = slices.Delete(h.own, 1, 2)
		h.own[0].state, h.own[0].cause = admin.UplinkUnknown, ""
	}
	h.own = append(h.own, m)
	return true
}

// waits takes how many sales wait.
func (h *history) waits(n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := int64(time.Since(h.began) / historySlot)
	for h.slot < now {
		h.slot++
		h.slots[h.slot%int64(historySlots)] = n // it was so, or nobody looked
	}
	at := &h.slots[now%int64(historySlots)]
	*at = max(*at, n)
}

// waited gives what waits took, the oldest first; now is the gateway's estimate.
func (h *history) waited(now time.Time) (all []admin.WaitingSales) {
	h.mu.Lock()
	defer h.mu.Unlock()
	began := now.Add(-time.Since(h.began))
	for i := max(0, h.slot-int64(historySlots)+1); i <= h.slot; i++ {
		all = append(all, admin.WaitingSales{At: began.Add(time.Duration(i) * historySlot), Waiting: h.slots[i%int64(historySlots)]})
	}
	return all
}

// mine gives those of this run, dated by what time it is now. The lock is held.
func (h *history) mine(now time.Time) (all []stretch) {
	for i := range h.own {
		m := &h.own[i]
		if i > 0 {
			all[i-1].To = m.place(now)
		}
		all = append(all, stretch{From: m.place(now), To: now, State: m.state, Cause: m.cause})
	}
	return all
}

// stretches gives what is known until now, the oldest first. trusted says that now can
// be compared with the times of the runs before: if not, nobody knows how long ago
// they were.
func (h *history) stretches(now time.Time, trusted bool) []stretch {
	h.mu.Lock()
	defer h.mu.Unlock()
	own := h.mine(now)
	switch {
	case !trusted:
		return own
	case len(own) == 0:
		return clip(h.earlier, now)
	}
	return append(clip(h.earlier, own[0].From), own...)
}

// kept gives what the runs after this one should know.
func (h *history) kept(now time.Time, trusted bool) (all []stretch) {
	if trusted {
		return h.stretches(now, trusted)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	all = slices.Clone(h.earlier)
	for _, s := range h.mine(now) {
		s.Undated = true
		all = append(all, s)
	}
	return all
}

// clip leaves out what a clock that went back has dated behind the end, and twice.
func clip(all []stretch, end time.Time) (kept []stretch) {
	for _, s := range all {
		if n := len(kept); n > 0 && s.From.Before(kept[n-1].To) {
			s.From = kept[n-1].To
		}
		if s.To.After(end) {
			s.To = end
		}
		if s.From.Before(s.To) {
			kept = append(kept, s)
		}
	}
	return kept
}

// dayOf makes of stretches what people see from one time to another: without gaps, and
// never as up what nobody has seen up.
func dayOf(all []stretch, from, to time.Time) (shown []admin.Stretch) {
	add := func(begin, end time.Time, state string) {
		if begin.Before(from) {
			begin = from
		}
		if n := len(shown); n > 0 && shown[n-1].State == state {
			shown[n-1].To = end
		} else if begin.Before(end) {
			shown = append(shown, admin.Stretch{From: begin, To: end, State: state})
		}
	}
	// What lies between two of them, or before the first: nobody ran, or nobody knows.
	between := func(i int) string {
		if i == 0 || all[i-1].Undated || i < len(all) && all[i].Undated {
			return admin.UplinkUnknown
		}
		return admin.UplinkOff
	}
	at := from
	for i, s := range all {
		if !s.To.After(from) {
			continue
		}
		if s.From.After(at) {
			add(at, s.From, between(i))
		}
		if s.Undated {
			s.State = admin.UplinkUnknown
		}
		add(s.From, s.To, s.State)
		at = s.To
	}
	if at.Before(to) {
		add(at, to, between(len(all)))
	}
	return shown
}

// outages are runs of times in which the uplink was down, without one between in
// which it was up, that reach into a time.
func outages(all []stretch, from time.Time) (found []admin.Outage) {
	down := false
	for _, s := range all {
		switch n := len(found); {
		case s.State == admin.UplinkDown && !down:
			found, down = append(found, admin.Outage{Began: s.From, Cause: s.Cause, Why: uplinkWords(relay.UplinkState{Problem: s.Cause}).why.String()}), true
		case s.State == admin.UplinkUp && down:
			found[n-1].Ended, down = s.From, false
		}
	}
	return slices.DeleteFunc(found, func(o admin.Outage) bool { return !o.Ended.IsZero() && !o.Ended.After(from) })
}

// dated reports whether the gateway's time can be compared with what was written down.
func (k *control) dated() bool { return k.clock.Quality() != clock.Unknown }

// uplinkHistory gives how the uplink was; in memory, whoever asks and how often.
func (k *control) uplinkHistory(now time.Time) (all []stretch) {
	if k.relay != nil {
		k.history.note(k.relay.Uplink(), now)
	}
	return k.history.stretches(now, k.dated())
}

// History tells how the last day was.
func (k *control) History(ctx context.Context) (admin.History, error) {
	now := k.now().UTC()
	h := admin.History{From: now.Add(-historySpan), To: now}
	all := k.uplinkHistory(now)
	h.Uplink, h.Outages, h.Waiting = dayOf(all, h.From, h.To), outages(all, h.From), k.history.waited(now)
	t := &k.history.tally
	err := t.catchUp(ctx, k.db, now)
	if err == nil && k.running == nil { // for a command, which asks once
		err = t.finish(ctx, k.db, now)
	}
	if err != nil {
		return h, err
	}
	h.Sales, h.SalesSince = t.hours(now)
	return h, nil
}
