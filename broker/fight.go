package broker

import (
	"io"
	"net"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Two boxes with one device id and secret end each other's connection for ever:
// a copied memory card, a replaced box that somebody switched on again, a thief.
// Both go on selling, so neither is locked out; but somebody must be told, and
// it must cost nobody else anything.
//
// A take-over alone proves nothing: a device whose line died comes back on
// another one, again and again behind a bad router. What tells a fight is that
// the connection that was taken over was alive. The broker asks it: it ends its
// own half of the line, and a box that is there ends the other half. A reset is
// no answer, since a box that has just started anew, or a router, resets lines
// that it does not know. Where nothing comes back an address counts that goes
// away and returns.
const (
	fightWindow    = 2 * time.Minute
	fightTakeOvers = 3                // so many in the window are a fight
	fightQuiet     = 10 * time.Minute // without one end it
	// fightPause is the least time between two take-overs in a fight: what each
	// side holds the connection for. A CONNECT waits as long for its CONNACK.
	fightPause = 3 * time.Second
	// fightWaiting is how many connections may wait at a time; those above it are
	// turned away.
	fightWaiting = 3
	// graceLimit is how long a connection that is about to be taken over has to
	// turn out to be ended already, by a box that closed it and came back at once.
	graceLimit = 20 * time.Millisecond
	// lastWordLimit is how long the answer of a box that is there may take.
	lastWordLimit = time.Second
	// fightAddresses bounds what is remembered of addresses.
	fightAddresses = 16
)

// Fight is two connections that take one client identifier from each other.
type Fight struct {
	Since   time.Time // its first take-over
	Last    time.Time
	Times   int       // take-overs so far
	Remotes [2]string // addresses of the last two connections, the newer one last
}

// fight is what is known of the take-overs of one device; guarded by device.mu.
type fight struct {
	now     Fight
	on      bool
	recent  []time.Time          // contested take-overs in the window, while it is no fight
	lost    map[string]time.Time // IP addresses that were taken over by another one
	turn    time.Time            // the last take-over, or the one that was granted
	waiting int
}

// takenOver weighs a take-over and reports whether a fight has begun with it.
// answered says that the connection before it was alive.
func (f *fight) takenOver(at time.Time, before, after string, answered bool) (began bool) {
	f.settle(at)
	if !f.returned(at, ipOf(before), ipOf(after)) && !answered {
		return false
	}
	f.now.Last, f.now.Remotes = at, [2]string{before, after}
	if f.on {
		f.now.Times++
		return false
	}
	f.recent = append(f.recent, at)
	if len(f.recent) < fightTakeOvers {
		return false
	}
	f.on = true
	f.now.Since, f.now.Times = f.recent[0], len(f.recent)
	f.recent = nil
	return true
}

// settle forgets what is too old.
func (f *fight) settle(now time.Time) {
	if f.on && now.Sub(f.now.Last) >= fightQuiet {
		f.on = false
	}
	for len(f.recent) > 0 && now.Sub(f.recent[0]) > fightWindow {
		f.recent = f.recent[1:]
	}
	for ip, at := range f.lost {
		if now.Sub(at) > fightWindow {
			delete(f.lost, ip)
		}
	}
}

// returned reports whether an address comes back that another one took over
// from a moment ago, and remembers the one that is taken over now.
func (f *fight) returned(at time.Time, before, after string) bool {
	if before == after {
		return false
	}
	_, back := f.lost[after]
	if f.lost == nil {
		f.lost = make(map[string]time.Time)
	}
	if len(f.lost) < fightAddresses {
		f.lost[before] = at
	}
	return back
}

func ipOf(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote
	}
	return host
}

// at gives the fight of this moment, nil where there is none.
func (f *fight) at(now time.Time) *Fight {
	f.settle(now)
	if !f.on {
		return nil
	}
	told := f.now
	return &told
}

// wait says how long the next take-over must wait; 0 grants it.
func (f *fight) wait(now time.Time) time.Duration {
	f.settle(now)
	if f.on {
		if left := fightPause - now.Sub(f.turn); left > 0 && left <= fightPause {
			return left
		}
	}
	f.turn = now
	return 0
}

// mayConnect holds up a connection that would end another one of its device, and
// reports whether it may go on. A device that is alone never waits.
func (h *hook) mayConnect(s *session) bool {
	before := s.dev.session()
	if before == nil {
		return true
	}
	if !h.idle(s, before.conn.life, graceLimit) {
		return false
	}
	wait := s.dev.takeOverWait(time.Now())
	if wait == 0 {
		return true
	}
	if !s.dev.queue() {
		h.turnAway(s)
		return false
	}
	defer s.dev.leaveQueue()
	for wait > 0 {
		if !h.idle(s, nil, wait) {
			return false
		}
		wait = s.dev.takeOverWait(time.Now())
	}
	return true
}

// idle lets d pass, or less where sooner is closed, and reports whether the
// connection has outlived it.
func (h *hook) idle(s *session, sooner <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-sooner:
	case <-s.conn.life:
		return false
	case <-h.b.closed:
		return false
	}
	return true
}

// turnAway ends a CONNECT that cannot even wait.
func (h *hook) turnAway(s *session) {
	code := packets.ErrServerUnavailable
	if s.v5 {
		code = packets.ErrConnectionRateExceeded
	}
	_ = h.refuse(s.cl, code, "too many connections of one device wait for each other")
	_ = s.conn.Close() // mochi would answer a second time
}

// takeOverWait says how long a new connection of the device must wait before it
// may end the one that is there.
func (d *device) takeOverWait(now time.Time) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current == nil {
		return 0
	}
	return d.fight.wait(now)
}

// queue takes a place among those who wait, where there is one.
func (d *device) queue() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fight.waiting >= fightWaiting {
		return false
	}
	d.fight.waiting++
	return true
}

func (d *device) leaveQueue() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fight.waiting--
}

// contest weighs the take-over that ended s.
func (b *Broker) contest(s *session) {
	if !s.conn.parting.Load() {
		return // it had ended before
	}
	answered := s.conn.lastWord()
	d := s.dev
	d.mu.Lock()
	began := d.fight.takenOver(s.takenAt, s.conn.RemoteAddr().String(), s.takenBy, answered)
	times := d.fight.now.Times
	d.mu.Unlock()
	if began {
		b.log.Warn("two connections fight for the name of one device; each is slowed down", "device", s.id,
			"old_remote", s.conn.RemoteAddr().String(), "new_remote", s.takenBy, "times", times)
	}
}

// takenOverBy ends a session whose device has connected anew. Mochi writes a
// DISCONNECT to it, and the new connection waits for that.
func (s *session) takenOverBy(next *session, now time.Time) {
	s.takenAt, s.takenBy = now, next.conn.RemoteAddr().String()
	s.superseded.Store(true)
	s.conn.part()
	s.conn.hurry()
}

// part makes Close leave the socket open for lastWord.
func (c *conn) part() {
	if c.life.Err() == nil {
		c.parting.Store(true)
	}
}

// lastWord ends a line that was parted from, and reports whether anybody is
// there, who then ends the other half. It says nothing in TLS: a device that
// closes with that unread would reset the line.
func (c *conn) lastWord() (answered bool) {
	limit := time.AfterFunc(lastWordLimit, func() { _ = c.raw.Close() })
	defer limit.Stop()
	_ = c.raw.SetReadDeadline(time.Time{})
	half, ok := c.raw.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return false
	}
	_, err := io.Copy(io.Discard, c.raw)
	return err == nil
}
