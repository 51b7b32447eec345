package simulator

import (
	"time"

	"edgegw/sale"
)

// lastEventPacketID bounds the packet identifiers of events; the few above it
// are for subscriptions and the device's own status.
const lastEventPacketID = 60000

// event is one message of the outbox. Its bytes are made once.
type event struct {
	kind     sale.Kind
	payload  []byte
	record   *Record
	packetID uint16 // kept until the PUBACK, over connections too [MQTT-4.4.0-1]
	sends    int
	sentAt   time.Time
	inFlight bool // sent on the connection that is up, and not answered yet
}

// outbox holds the events that the gateway has not taken yet, oldest first.
// It is plain data: the device's lock guards it. A real device keeps it on
// flash, so that it outlives a power cut.
type outbox struct {
	events   []*event
	byID     map[uint16]*event
	lastID   uint16
	inFlight int
	sales    int // how many sales have an event here
}

func (o *outbox) add(ev *event) {
	if ev.record.waiting == 0 {
		o.sales++
	}
	ev.record.waiting++
	o.events = append(o.events, ev)
}

// next gives the event that may leave now, nil where none may. Events leave in
// the order in which they happened, no more than limit are in flight, and of one
// sale only one: the next waits until the one before is stored, and everything
// behind it waits too.
func (o *outbox) next(limit int) *event {
	if o.inFlight >= limit {
		return nil
	}
	for _, ev := range o.events {
		if ev.inFlight {
			continue
		}
		if ev.record.inFlight {
			return nil
		}
		return ev
	}
	return nil
}

// sent marks ev as in flight. again reports whether this packet went out
// before: a first packet has no identifier yet, and one that was answered with
// a refusal has none any more.
func (o *outbox) sent(ev *event, now time.Time) (again bool) {
	again = ev.packetID != 0
	if !again {
		ev.packetID = o.freeID()
		o.byID[ev.packetID] = ev
	}
	ev.inFlight, ev.record.inFlight = true, true
	ev.sentAt = now
	ev.sends++
	o.inFlight++
	return again
}

// silence is how long the oldest event in flight has been without an answer, 0
// where none is in flight.
func (o *outbox) silence(now time.Time) (longest time.Duration) {
	left := o.inFlight
	for _, ev := range o.events {
		if left == 0 {
			break
		}
		if ev.inFlight {
			longest = max(longest, now.Sub(ev.sentAt), 1)
			left--
		}
	}
	return longest
}

func (o *outbox) freeID() uint16 {
	if o.byID == nil {
		o.byID = make(map[uint16]*event)
	}
	for {
		if o.lastID++; o.lastID > lastEventPacketID {
			o.lastID = 1
		}
		if o.byID[o.lastID] == nil {
			return o.lastID
		}
	}
}

// lost says that the connection is gone: nothing is in flight any more and
// everything will be sent again, from the oldest.
func (o *outbox) lost() {
	for _, ev := range o.events {
		o.land(ev)
	}
}

func (o *outbox) land(ev *event) {
	if ev.inFlight {
		ev.inFlight, ev.record.inFlight = false, false
		o.inFlight--
	}
}

// settle removes an event that the gateway has stored.
func (o *outbox) settle(ev *event) {
	o.land(ev)
	delete(o.byID, ev.packetID)
	for i, e := range o.events {
		if e == ev {
			o.events = append(o.events[:i], o.events[i+1:]...)
			break
		}
	}
	if ev.record.waiting--; ev.record.waiting == 0 {
		o.sales--
	}
}

// refused keeps an event whose PUBACK was negative. Its packet identifier is
// free again by the protocol; the next sending takes a new one.
func (o *outbox) refused(ev *event) {
	o.land(ev)
	delete(o.byID, ev.packetID)
	ev.packetID = 0
}
