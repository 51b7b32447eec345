package broker

import (
	"context"
	"slices"

	"github.com/mochi-mqtt/server/v2/packets"

	"edgegw/sale"
)

// Fate is what became of a message that a device was to hear.
type Fate string

// The fates. Of Silent and Unconfirmed nobody knows whether the device has heard.
const (
	Absent       Fate = "not_connected"
	Unsubscribed Fate = "not_subscribed" // it is connected and does not ask for such messages
	Unsent       Fate = "not_sent"       // it acknowledges nothing, or takes no message of that size
	Delivered    Fate = "delivered"      // its own PUBACK came
	Declined     Fate = "declined"       // a PUBACK of MQTT 5 that says no
	Unconfirmed  Fate = "unconfirmed"    // it subscribed with QoS 0, where there is no PUBACK
	Silent       Fate = "silent"         // sent with QoS 1, and no PUBACK came
)

// ask is a message whose fate somebody waits for.
type ask struct {
	sent bool      // it has left the queue for the wire; guarded by outbox.mu
	fate chan Fate // one, buffered
}

// Identify asks the device to show itself (topic `identify`), and waits until ctx
// ends for its acknowledgement. It is for who is connected now: nothing is kept for
// later, and no device can publish or hear another's.
func (b *Broker) Identify(ctx context.Context, d sale.DeviceID, payload []byte) Fate {
	dev := b.devices.get(d)
	if dev == nil {
		return Absent
	}
	s := dev.session()
	if s == nil {
		return Absent
	}
	return s.ask(ctx, s.prefix+"identify", payload)
}

// ask sends one message, where the device has subscribed to its topic, and waits for
// its fate.
func (s *session) ask(ctx context.Context, topic string, payload []byte) Fate {
	a := &ask{fate: make(chan Fate, 1)}
	if fate := s.enqueue(topic, payload, a); fate != "" {
		return fate
	}
	select {
	case f := <-a.fate:
		return f
	case <-ctx.Done():
		return s.forsake(a, Unsent)
	case <-s.conn.life:
		return s.forsake(a, Absent)
	}
}

// enqueue puts a message into the queue for the wire; why says that it cannot be.
func (s *session) enqueue(topic string, payload []byte, a *ask) (why Fate) {
	o := &s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	g := o.at(topic)
	m := message{topic: topic, payload: payload, qos: g.qos, ids: g.ids, ask: a}
	switch {
	case o.closed:
		return Absent
	case !g.ok:
		return Unsubscribed
	case len(o.acks) >= maxAcks || s.tooLong(&m):
		return Unsent
	}
	o.acks = append(o.acks, m)
	s.start()
	return ""
}

// forsake ends the waiting. What has not left yet never will: nobody waits for it.
func (s *session) forsake(a *ask, unsent Fate) Fate {
	o := &s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case f := <-a.fate: // it came in the same moment
		return f
	default:
	}
	o.acks = slices.DeleteFunc(o.acks, func(m message) bool { return m.ask == a })
	for id, other := range o.asks {
		if other == a {
			delete(o.asks, id)
		}
	}
	if a.sent {
		return Silent
	}
	return unsent
}

// leaves notes that a message goes on the wire. The lock is held.
func (o *outbox) leaves(m *message) {
	a := m.ask
	if a == nil {
		return
	}
	a.sent = true
	if m.qos == 0 {
		a.fate <- Unconfirmed
		return
	}
	if o.asks == nil {
		o.asks = make(map[uint16]*ask)
	}
	o.asks[m.id] = a
}

// heard tells who waits that the PUBACK of a message came. The lock is held.
func (o *outbox) heard(id uint16, code byte) {
	a := o.asks[id]
	if a == nil {
		return
	}
	delete(o.asks, id)
	if code >= packets.ErrUnspecifiedError.Code {
		a.fate <- Declined
		return
	}
	a.fate <- Delivered
}
