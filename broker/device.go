package broker

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"edgegw/sale"
)

// maxStatus is the longest `status` that is kept for technicians, in bytes.
const maxStatus = 16 << 10

// smallFactor is how many PUBACK, PUBREL and PINGREQ packets a device may send
// for one message that it may: far more than any exchange needs.
const smallFactor = 10

// device is what the broker remembers of a device while the gateway runs. It
// outlives connections; only devices that have once proved themselves have one.
type device struct {
	id    sale.DeviceID
	limit *rate.Limiter // messages per second, over all connections of the device
	small *rate.Limiter // packets that cost next to nothing, smallFactor times as many

	mu       sync.Mutex
	current  *session // the newest connection that is established, nil while offline
	turns    uint64   // connections established so far
	since    time.Time
	remote   string
	protocol byte
	status   json.RawMessage
	statusAt time.Time
	fight    fight
}

// devices is the table of them, and of the connections that are just proving
// themselves: a device that is disabled at that moment must not slip through.
type devices struct {
	mu       sync.Mutex
	all      map[sale.DeviceID]*device
	attempts map[*session]struct{}
	perSec   int
}

func newDevices(perSec int) devices {
	return devices{all: make(map[sale.DeviceID]*device), attempts: make(map[*session]struct{}), perSec: perSec}
}

func (t *devices) get(d sale.DeviceID) *device {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all[d]
}

// begin notes a connection that is about to be checked.
func (t *devices) begin(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.attempts[s] = struct{}{}
}

// proved gives the device of s its entry.
func (t *devices) proved(s *session) *device {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.all[s.id]
	if d == nil {
		d = &device{id: s.id, limit: limiter(t.perSec), small: limiter(smallFactor * t.perSec)}
		t.all[s.id] = d
	}
	return d
}

// limiter allows perSec packets in a second; below zero there is no limit.
func limiter(perSec int) *rate.Limiter {
	if perSec < 0 {
		return rate.NewLimiter(rate.Inf, 1)
	}
	return rate.NewLimiter(rate.Limit(perSec), max(perSec, 1))
}

// over forgets an attempt; s is established now, or ended.
func (t *devices) over(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.attempts, s)
}

// connections gives every connection of d, also those that are not established.
func (t *devices) connections(d sale.DeviceID) []*session {
	t.mu.Lock()
	defer t.mu.Unlock()
	var found []*session
	for s := range t.attempts {
		if s.id == d {
			found = append(found, s)
		}
	}
	if dev := t.all[d]; dev != nil {
		dev.mu.Lock()
		if dev.current != nil {
			found = append(found, dev.current)
		}
		dev.mu.Unlock()
	}
	return found
}

func (t *devices) forget(d sale.DeviceID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	dev := t.all[d]
	if dev == nil {
		return
	}
	dev.mu.Lock()
	defer dev.mu.Unlock()
	if dev.current == nil {
		delete(t.all, d)
	}
}

// presence gives all devices, ordered by name.
func (t *devices) presence() []Presence {
	t.mu.Lock()
	all := make([]*device, 0, len(t.all))
	for _, d := range t.all {
		all = append(all, d)
	}
	t.mu.Unlock()
	list, now := make([]Presence, 0, len(all)), time.Now()
	for _, d := range all {
		if !d.id.Valid() {
			continue // the canary
		}
		d.mu.Lock()
		list = append(list, Presence{Device: d.id, Online: d.current != nil, Since: d.since, Remote: d.remote,
			Protocol: d.protocol, Status: d.status, StatusAt: d.statusAt, Fight: d.fight.at(now)})
		d.mu.Unlock()
	}
	slices.SortFunc(list, func(a, b Presence) int { return strings.Compare(string(a.Device), string(b.Device)) })
	return list
}

// online makes s the device's connection and gives the one before, nil if none,
// and whether the two are known to fight.
func (d *device) online(s *session, now time.Time) (_ *session, fights bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.current
	d.turns++
	s.turn = d.turns
	d.current, d.since, d.remote, d.protocol = s, now, s.conn.RemoteAddr().String(), 4
	if s.v5 {
		d.protocol = 5
	}
	return before, d.fight.at(now) != nil
}

// newest reports whether no connection of the device was established after s.
func (d *device) newest(s *session) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return s.turn != 0 && s.turn == d.turns
}

// offline reports whether s was still the device's connection.
func (d *device) offline(s *session, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current != s {
		return false
	}
	d.current, d.since = nil, now
	return true
}

func (d *device) session() *session {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.current
}

// setStatus keeps what technicians are shown. What is no JSON, or too long, is
// not kept; an empty payload clears it, as with a retained message.
func (d *device) setStatus(payload []byte, now time.Time) {
	if len(payload) > maxStatus || (len(payload) > 0 && !json.Valid(payload)) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.status, d.statusAt = nil, now
	if len(payload) > 0 {
		d.status = slices.Clone(payload)
	}
}
