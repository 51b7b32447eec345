package broker

import (
	"cmp"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"

	"edgegw/sale"
)

// maxInFlight is how many PUBLISH packets of one connection may wait for their
// answer: the Receive Maximum that MQTT 5 devices are told. One that goes beyond
// it, and every MQTT 3.1.1 device, is simply not read from until answers are out.
const maxInFlight = 64

// maxOpen is how many QoS 2 messages of one session may wait for their PUBREL,
// over all its connections. MQTT 3.1.1 has no Receive Maximum, and mochi counts
// that of MQTT 5 anew with each connection.
const maxOpen = 256

// flushAt bounds what is collected for one write, in bytes.
const flushAt = 16 << 10

// session is the broker's side of one connection, from CONNECT to its end. What
// outlives the connection is in device, and in the stores.
type session struct {
	b      *Broker
	conn   *conn
	cl     *mqtt.Client
	id     sale.DeviceID
	prefix string

	v5          bool
	problemInfo bool // the device wants reason strings [MQTT-3.1.2-29]
	maxPacket   int  // the device's Maximum Packet Size, 0 where it has none

	dev        *device     // set when the device has proved itself
	turn       uint64      // which connection of the device this is, from 1; guarded by device.mu
	revoked    atomic.Bool // what it logged in with has ended meanwhile
	superseded atomic.Bool // a newer connection of the device has taken over
	takenAt    time.Time   // when it did; set before superseded
	takenBy    string      // its address
	settled    atomic.Bool // CONNACK is out; PUBLISH may be taken

	taken   chan taken   // by the crew; made with the first event
	pending chan pending // answers owed, in the order of arrival; made with the first
	late    *owedAck     // what a QoS 2 PUBLISH is told, owed after mochi's PUBREC
	passed  bool         // a QoS 2 PUBLISH is on disk and may be answered by mochi
	excess  []int        // places in the SUBSCRIBE at hand that are beyond maxFilters
	out     outbox
	wg      sync.WaitGroup // answer and pump
}

// pending is one answer owed to the device.
type pending struct {
	id      uint16
	qos     byte
	event   *sale.Message       // nil where no sale/ack goes out
	verdict <-chan sale.Verdict // nil where done says it already
	done    outcome
	reply   *reply
	request *request // of a receipt/get
}

// reply is where an MQTT 5 device wants its answer as well (CONTRACT.md 2.3).
type reply struct {
	topic       string
	correlation []byte
}

// owe puts an answer into the queue. It blocks while maxInFlight are owed, which
// stops the reading of this connection, and reports false when the connection
// has ended. Only the reading goroutine calls it.
func (s *session) owe(p pending) bool {
	if s.pending == nil {
		s.pending = make(chan pending, maxInFlight-1) // and one in the hand of the answering goroutine
		s.wg.Add(1)
		go s.answer(s.pending)
	}
	select {
	case s.pending <- p:
		return true
	case <-s.conn.life:
		return false
	}
}

// batch collects packets for one write.
type batch struct {
	c *conn
	b []byte
}

func (w *batch) flush() {
	if len(w.b) == 0 {
		return
	}
	_, _ = w.c.Write(w.b) // a failed write has closed the connection
	if cap(w.b) > 2*flushAt {
		w.b = nil
	}
	w.b = w.b[:0]
}

// answer writes the answers in the order in which the PUBLISH packets came
// [MQTT-4.6.0-2], each after its verdict. Whatever is ready goes out in one
// write. It ends with the connection; an answer not written by then is owed to
// nobody, and the device sends again.
func (s *session) answer(queue <-chan pending) {
	defer s.wg.Done()
	defer s.b.recovered(s.conn, "answers")
	w := &batch{c: s.conn}
	for {
		var p pending
		select {
		case p = <-queue:
		default:
			w.flush()
			select {
			case p = <-queue:
			case <-s.conn.life:
				return
			}
		}
		v, ok := s.await(p, w)
		if !ok {
			return
		}
		if drop := s.appendAnswer(w, p, v); drop {
			w.flush()
			_ = s.conn.Close()
			return
		}
		if len(w.b) >= flushAt {
			w.flush()
		}
	}
}

// await gives the verdict of p. Before it has to wait it flushes, so that no
// answer that is ready lies behind one that is not.
func (s *session) await(p pending, w *batch) (sale.Verdict, bool) {
	if p.verdict == nil {
		return sale.Verdict{}, true
	}
	select {
	case v, ok := <-p.verdict:
		return given(v, ok), true
	default:
	}
	w.flush()
	select {
	case v, ok := <-p.verdict:
		return given(v, ok), true
	case <-s.conn.life:
		return sale.Verdict{}, false
	}
}

func given(v sale.Verdict, ok bool) sale.Verdict {
	if !ok {
		return sale.Verdict{Err: errNoVerdict}
	}
	return v
}

// appendAnswer appends PUBACK and sale/ack; drop says that the connection must
// end instead.
func (s *session) appendAnswer(w *batch, p pending, v sale.Verdict) (drop bool) {
	o := p.done
	if p.verdict != nil {
		o = s.judge(v, p.qos)
	}
	a := answerTo(s.v5, p.qos, o)
	if a.drop {
		return true
	}
	if a.ack {
		reason := ""
		if o == quarantined && s.problemInfo {
			reason = reasonFor(p, v)
		}
		from := len(w.b)
		w.b = appendPuback(w.b, s.v5, p.id, a.code, reason)
		if s.maxPacket > 0 && len(w.b)-from > s.maxPacket {
			w.b = appendPuback(w.b[:from], s.v5, p.id, a.code, "") // [MQTT-3.4.2-2]
		}
	}
	s.tell(w, p, v)
	return false
}

// tell appends what is said beside the acknowledgement.
func (s *session) tell(w *batch, p pending, v sale.Verdict) {
	switch {
	case p.event != nil:
		s.appendAck(w, p, v)
	case p.request != nil:
		s.appendReceipt(w, p.request, p.reply)
	}
}

// judge counts a verdict and gives its outcome.
func (s *session) judge(v sale.Verdict, qos byte) outcome {
	o := outcomeOf(v)
	n := &s.b.n
	if o == quarantined || v.Err == nil && v.Ack.Status == sale.Conflict {
		s.report(v)
	}
	switch o {
	case stored:
		if !s.b.isCanary(s.id) {
			n.accepted.Add(1)
		}
		s.b.judged(nil)
	case quarantined:
		n.quarantined.Add(1)
		s.b.judged(nil)
	default:
		n.unstored.Add(1)
		s.b.judged(cmp.Or(v.Err, errNoVerdict))
		s.b.grumble.store.Do(func() {
			s.b.log.Warn("a sale event could not be stored; it is not acknowledged", "device", s.id, "qos", qos, "error", v.Err)
		})
	}
	return o
}

// report says that an event waits for a person. Nothing of its content is said,
// nor anything that could hold some: the fault's message is left out.
func (s *session) report(v sale.Verdict) {
	var fault sale.Fault
	if v.Ack.Error != nil {
		fault = *v.Ack.Error
	}
	s.b.grumble.verdict.Do(func() {
		s.b.log.Warn("a sale event cannot be sent as it is; a person must look", "device", s.id, "status", string(v.Ack.Status),
			"code", cut(fault.Code, maxFaultWord), "field", cut(fault.Field, maxFaultWord))
	})
}

// maxFaultWord is the longest code or field of a fault that is logged, in bytes.
const maxFaultWord = 128

// end stops everything that runs for this connection and waits for it.
func (s *session) end() {
	_ = s.conn.Close()
	s.out.close()
	s.wg.Wait()
}

// owedAck is a sale/ack, or the answer to a request, whose PUBREC mochi has yet
// to write.
type owedAck struct {
	p pending
	v sale.Verdict
}
