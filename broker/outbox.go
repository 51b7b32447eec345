package broker

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"edgegw/sale"
)

const (
	// maxLetters is how many receipts may wait for their PUBACK on one connection.
	maxLetters = 4
	// maxWindow is how many messages of any kind may; less where the device's
	// Receive Maximum is lower [MQTT-3.3.4-9].
	maxWindow = 32
	// maxAcks is how many sale/ack messages wait for room in the window. Above it
	// they are dropped: ruling 6 keeps none for a device that does not take them.
	maxAcks = 1024
	// storeLimit bounds one call of the mailbox that must outlive the connection.
	storeLimit = 5 * time.Second
	// retryPause is how long a mailbox that failed is left alone.
	retryPause = 2 * time.Second
)

// outbox is what the broker sends to one connection with packet ids of its own.
// Mochi's in-flight table is not used: it is one map for both directions, and a
// PUBLISH of the device with the id of an unacknowledged receipt deletes the
// receipt (FAULTS.md T8).
type outbox struct {
	mu      sync.Mutex
	filters []granted
	receipt grant // of the topic `receipt`
	ack     grant // of the topic `sale/ack`

	window  int // how many may be in flight
	lastID  uint16
	flying  map[uint16]int64 // packet id → number of the letter, 0 for an ack
	letters int              // of them letters

	acks    []message // wait for room
	mail    []sale.Letter
	cursor  int64 // highest letter number taken from the mailbox on this connection
	look    bool  // the mailbox may hold something beyond cursor
	turn    bool  // a letter goes before an ack
	taken   []int64
	asked   map[int64][]byte // Correlation Data of letters that were asked for, by number
	asks    map[uint16]*ask  // messages whose PUBACK somebody waits for, by packet id
	running bool             // pump runs
	writing bool             // pump has taken messages that are not yet on the wire
	closed  bool
}

// granted is one subscription of the device.
type granted struct {
	filter string
	qos    byte
	id     int // subscription identifier, 0 without one
}

// grant is how a topic reaches the device.
type grant struct {
	ok  bool
	qos byte // at most 1
	ids []int
}

// at gives what the subscriptions say about topic: the highest QoS of all that
// match, one message for all of them [MQTT-3.3.4-2].
func (o *outbox) at(topic string) grant {
	var g grant
	for _, f := range o.filters {
		if !matches(f.filter, topic) {
			continue
		}
		g.ok = true
		g.qos = max(g.qos, min(f.qos, 1))
		if f.id > 0 {
			g.ids = append(g.ids, f.id)
		}
	}
	return g
}

// subscribed replaces what is known of the subscriptions. A device that begins
// to take receipts with QoS 1 gets all that wait, except what is in flight.
func (s *session) subscribed(filters []granted) {
	o := &s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	before := o.receipt
	o.filters = filters
	o.receipt, o.ack = o.at(s.prefix+"receipt"), o.at(s.prefix+"sale/ack")
	if o.receipt.ok && (!before.ok || before.qos < o.receipt.qos) {
		o.rewind()
	}
}

// rewind looks through the mailbox from its beginning; what is in flight is
// skipped when it is found again.
func (o *outbox) rewind() {
	o.cursor, o.mail, o.look = 0, nil, true
}

// deliver says that the mailbox holds something new.
func (s *session) deliver() {
	o := &s.out
	o.mu.Lock()
	o.look = true
	if o.receipt.ok {
		s.start()
	}
	o.mu.Unlock()
}

// start starts the pump where there is none. The lock is held.
func (s *session) start() {
	if s.out.running || s.out.closed || !s.settled.Load() {
		return
	}
	s.out.running = true
	s.wg.Add(1)
	go s.pump()
}

func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
}

// acked takes the device's PUBACK. A reason code that says no leaves the receipt
// in the mailbox, for the next connection.
func (s *session) acked(id uint16, code byte) {
	o := &s.out
	o.mu.Lock()
	defer o.mu.Unlock()
	no, ok := o.flying[id]
	if !ok {
		return // an id that this connection was never sent, or a second PUBACK
	}
	delete(o.flying, id)
	o.heard(id, code)
	if no != 0 {
		o.letters--
		if code < packets.ErrUnspecifiedError.Code {
			o.taken = append(o.taken, no)
		}
	}
	if len(o.taken)+len(o.acks)+len(o.mail) > 0 || o.look {
		s.start()
	}
}

// fly takes a packet id for a message of QoS 1. The lock is held.
func (o *outbox) fly(no int64) uint16 {
	if o.flying == nil {
		o.flying = make(map[uint16]int64)
	}
	for {
		o.lastID++
		if _, used := o.flying[o.lastID]; o.lastID != 0 && !used {
			o.flying[o.lastID] = no
			if no != 0 {
				o.letters++
			}
			return o.lastID
		}
	}
}

// appendAck appends the sale/ack of p to what the answering goroutine is about
// to write, and the answer on the device's Response Topic.
func (s *session) appendAck(w *batch, p pending, v sale.Verdict) {
	o := &s.out
	o.mu.Lock()
	heard := o.ack.ok || p.reply != nil
	o.mu.Unlock()
	if !heard {
		return
	}
	body, err := json.Marshal(ackOf(*p.event, v))
	if err != nil {
		s.b.log.Error("encoding a sale/ack failed", "device", s.id, "error", err)
		return
	}
	s.say(w, s.prefix+"sale/ack", body, p.reply)
}

// say sends body on topic, and on the Response Topic of the request that it
// answers; one message where they are the same.
func (s *session) say(w *batch, topic string, body []byte, r *reply) {
	m := message{topic: topic, payload: body}
	if r != nil && r.topic == topic {
		m.correlation = r.correlation
	}
	s.sendWhereWanted(w, m)
	if r != nil && r.topic != topic {
		s.sayAt(w, r, body)
	}
}

// sayAt sends body to whoever asked.
func (s *session) sayAt(w *batch, r *reply, body []byte) {
	s.sendWhereWanted(w, message{topic: r.topic, payload: body, correlation: r.correlation})
}

// sendWhereWanted sends m where the device has subscribed to its topic.
func (s *session) sendWhereWanted(w *batch, m message) {
	o := &s.out
	o.mu.Lock()
	g := o.ack
	if m.topic != s.prefix+"sale/ack" {
		g = o.at(m.topic)
	}
	o.mu.Unlock()
	if g.ok {
		m.qos, m.ids = g.qos, g.ids
		s.sendAck(w, m)
	}
}

// sendAck puts m behind its PUBACK. Where there is no room for it now it is left
// to the pump, after the PUBACK is on the wire and behind the acks that wait.
func (s *session) sendAck(w *batch, m message) {
	if s.tooLong(&m) {
		return
	}
	o := &s.out
	o.mu.Lock()
	if len(o.acks) == 0 && !o.writing && (m.qos == 0 || len(o.flying) < o.window) {
		if m.qos > 0 {
			m.id = o.fly(0)
		}
		w.b = m.append(w.b, s.v5)
		o.mu.Unlock()
		return
	}
	o.mu.Unlock()
	w.flush()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.acks) >= maxAcks {
		s.b.n.acksDropped.Add(1)
		return
	}
	o.acks = append(o.acks, m)
	s.start()
}

// send writes one message with QoS 0 or 1 to the device, where it has subscribed
// to its topic.
func (s *session) send(topic string, payload []byte) bool {
	return s.enqueue(topic, payload, nil) == ""
}

// tooLong reports, and counts, a message beyond the device's Maximum Packet
// Size, which must not be sent [MQTT-3.1.2-24].
func (s *session) tooLong(m *message) bool {
	if s.maxPacket == 0 || m.size(s.v5) <= s.maxPacket {
		return false
	}
	s.b.n.oversize.Add(1)
	s.b.grumble.oversize.Do(func() {
		s.b.log.Warn("a message is longer than the device takes; it is not sent", "device", s.id, "topic", m.topic, "limit", s.maxPacket)
	})
	return true
}

// pump writes what waits for room, fetches letters, and records PUBACKs, until
// there is nothing to do. There is at most one per connection, and none for an
// idle one.
func (s *session) pump() {
	defer s.wg.Done()
	defer s.b.recovered(s.conn, "mailbox")
	o := &s.out
	for {
		o.mu.Lock()
		buf := s.fill(nil)
		taken := o.taken
		o.taken = nil
		fetch := o.look && len(o.mail) == 0 && o.receipt.ok && o.letters < maxLetters
		if o.closed || (len(buf) == 0 && len(taken) == 0 && !fetch) {
			o.running = false
			o.mu.Unlock()
			s.deliveredAll(taken) // a PUBACK counts, though the device has gone since
			return
		}
		o.writing = len(buf) > 0
		after, most := o.cursor, maxLetters+o.letters
		if fetch {
			o.look = false // Deliver sets it again, also while Waiting looks
		}
		o.mu.Unlock()

		if len(buf) > 0 {
			_, _ = s.conn.Write(buf)
			o.mu.Lock()
			o.writing = false
			o.mu.Unlock()
		}
		s.deliveredAll(taken)
		if fetch {
			s.fetch(after, most)
		}
	}
}

// fill takes what the window has room for, acks and letters in turn, and gives
// their bytes. The lock is held.
func (s *session) fill(buf []byte) []byte {
	o := &s.out
	for len(buf) < flushAt {
		room := len(o.flying) < o.window
		ack := len(o.acks) > 0 && (room || o.acks[0].qos == 0)
		letter := len(o.mail) > 0 && o.receipt.ok &&
			(o.receipt.qos == 0 || room && o.letters < maxLetters)
		switch {
		case letter && (o.turn || !ack):
			o.turn = false
			buf = s.fillLetter(buf)
		case ack:
			o.turn = true
			m := o.acks[0]
			o.acks = o.acks[1:]
			if m.qos > 0 {
				m.id = o.fly(0)
			}
			o.leaves(&m)
			buf = m.append(buf, s.v5)
		default:
			if len(o.acks) == 0 {
				o.acks = nil
			}
			return buf
		}
	}
	return buf
}

// fillLetter takes the oldest letter at hand. One that goes out with QoS 0,
// because the device subscribed so, is never acknowledged and so stays in the
// mailbox for the next connection.
func (s *session) fillLetter(buf []byte) []byte {
	o := &s.out
	l := o.mail[0]
	o.mail = o.mail[1:]
	m := message{topic: s.prefix + "receipt", payload: l.Body, qos: o.receipt.qos, ids: o.receipt.ids, correlation: o.asked[l.No]}
	delete(o.asked, l.No)
	if s.tooLong(&m) {
		return buf
	}
	if m.qos > 0 {
		m.id = o.fly(l.No)
	}
	s.b.n.lettersSent.Add(1)
	return m.append(buf, s.v5)
}

// fetch takes the next letters out of the mailbox.
func (s *session) fetch(after int64, most int) {
	found, err := s.b.mailbox.Waiting(s.conn.life, s.id, after, most)
	o := &s.out
	if err != nil {
		if s.conn.life.Err() != nil {
			return
		}
		s.b.grumble.store.Do(func() {
			s.b.log.Warn("reading a mailbox failed; trying again", "device", s.id, "error", err)
		})
		time.AfterFunc(retryPause, func() { s.deliver() }) // does nothing once the connection has ended
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.cursor != after {
		return // rewound meanwhile; look is set
	}
	for _, l := range found {
		o.cursor = max(o.cursor, l.No)
		if !o.has(l.No) {
			o.mail = append(o.mail, l)
		}
	}
	o.look = o.look || len(found) >= most
}

// has reports whether a letter is at hand already.
func (o *outbox) has(no int64) bool {
	return o.flies(no) || slices.ContainsFunc(o.mail, func(l sale.Letter) bool { return l.No == no })
}

// flies reports whether a letter waits for its PUBACK, or for that to be
// recorded.
func (o *outbox) flies(no int64) bool {
	for _, n := range o.flying {
		if n == no {
			return true
		}
	}
	return slices.Contains(o.taken, no)
}

// deliveredAll records PUBACKs. They have been given, so the record must not end
// with the connection. Where it fails the letter stays, and goes out again with
// the next connection: at least once.
func (s *session) deliveredAll(nos []int64) {
	if len(nos) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeLimit)
	defer cancel()
	for _, no := range nos {
		if err := s.b.mailbox.Delivered(ctx, s.id, no); err != nil {
			s.b.grumble.store.Do(func() {
				s.b.log.Warn("recording a delivered receipt failed; it will be sent again", "device", s.id, "letter", no, "error", err)
			})
			continue
		}
		s.b.n.letters.Add(1)
	}
}
