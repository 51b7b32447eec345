package broker

import (
	"context"
	"encoding/json"
	"errors"

	"edgegw/sale"
)

// request is a receipt/get: which sale it asks for, and what was found.
type request struct {
	saleID string
	letter sale.Letter
	fault  *sale.Fault // why there is no receipt to send; nil: letter is it
}

// Faults of a receipt/get, beside those of its JSON. Like those of a sale/ack
// they hold nothing of their cause.
var (
	faultNotFound  = sale.Fault{Code: "not_found", Field: "/sale_id", Message: "this device has reported no such sale"}
	faultNotYet    = sale.Fault{Code: "not_yet", Field: "/sale_id", Message: "there is no receipt yet; it comes by itself"}
	faultUnread    = sale.Fault{Code: "not_ready", Message: "the mailbox could not be read: ask again"}
	faultTooLong   = sale.Fault{Code: "too_large", Message: "the receipt is longer than the device's Maximum Packet Size"}
	faultNoSaleID  = sale.Fault{Code: "missing", Field: "/sale_id", Message: "is required"}
	faultIDType    = sale.Fault{Code: "wrong_type", Field: "/sale_id", Message: "must be a string"}
	faultNoJSON    = sale.Fault{Code: "not_json", Message: "is not a JSON object"}
	faultIDInvalid = sale.Fault{Code: "invalid", Field: "/sale_id", Message: "must be 1 to 64 printable ASCII characters"}
)

// noReceipt is what the device hears in place of a receipt it has asked for.
type noReceipt struct {
	SaleID  string      `json:"sale_id"`
	State   string      `json:"state"` // none
	Delayed bool        `json:"delayed"`
	Error   *sale.Fault `json:"error"`
}

// maxAskedID bounds the sale id that an answer repeats, in bytes. A longer one
// names no sale.
const maxAskedID = 64

// readRequest understands the payload of a receipt/get.
func readRequest(payload []byte) *request {
	var fields map[string]json.RawMessage // exact names, unlike a struct
	if json.Unmarshal(payload, &fields) != nil || fields == nil {
		return &request{fault: &faultNoJSON}
	}
	raw, ok := fields["sale_id"]
	if !ok {
		return &request{fault: &faultNoSaleID}
	}
	var id *string
	if json.Unmarshal(raw, &id) != nil || id == nil {
		return &request{fault: &faultIDType}
	}
	if *id == "" || len(*id) > maxAskedID {
		return &request{fault: &faultIDInvalid}
	}
	return &request{saleID: *id}
}

// again answers receipt/get: it puts the receipt back into the mailbox. That
// there is none is no fault of the message; that nobody can understand it is
// (in words of the wire: 0x99, where the device can hear it).
func (s *session) again(payload []byte) (outcome, *request) {
	q := readRequest(payload)
	if q.fault != nil {
		return quarantined, q
	}
	ctx, cancel := context.WithTimeout(s.conn.life, storeLimit)
	defer cancel()
	var err error
	q.letter, err = s.b.mailbox.Again(ctx, s.id, q.saleID)
	switch {
	case err == nil:
		return stored, q
	case errors.Is(err, sale.ErrNone):
		q.fault = &faultNotFound
		return stored, q
	case errors.Is(err, ErrNoReceipt):
		q.fault = &faultNotYet
		return stored, q
	}
	s.b.grumble.store.Do(func() {
		s.b.log.Warn("putting a receipt back into the mailbox failed", "device", s.id, "error", err)
	})
	q.fault = &faultUnread
	return unstored, q
}

// appendReceipt answers a request behind its PUBACK: with the receipt, or with
// why there is none, on `receipt` and on the Response Topic.
func (s *session) appendReceipt(w *batch, q *request, r *reply) {
	topic := s.prefix + "receipt"
	fault := q.fault
	if fault == nil && s.tooLong(s.letterFor(q, r)) {
		fault = &faultTooLong
	}
	if fault != nil {
		body, err := json.Marshal(noReceipt{SaleID: q.saleID, State: "none", Error: fault})
		if err != nil {
			s.b.log.Error("encoding the answer to a receipt/get failed", "device", s.id, "error", err)
			return
		}
		s.say(w, topic, body, r)
		return
	}
	if r == nil || r.topic == topic {
		s.repeat(w, q.letter, r)
		return
	}
	s.repeat(w, q.letter, nil)
	s.sayAt(w, r, q.letter.Body)
}

// letterFor is the longest message that the answer to q would be.
func (s *session) letterFor(q *request, r *reply) *message {
	m := &message{topic: s.prefix + "receipt", payload: q.letter.Body, qos: 1}
	if r != nil {
		m.topic, m.correlation = r.topic, r.correlation
	}
	return m
}

// repeat sends the one letter that the device has asked for, in its turn. It
// stays in the mailbox until its PUBACK. One that waits for that on this
// connection has been sent; only a request that wants its own answer, by its
// Correlation Data, gets another copy.
func (s *session) repeat(w *batch, l sale.Letter, r *reply) {
	w.flush() // the PUBACK first, then the pump
	o := &s.out
	o.mu.Lock()
	if o.flies(l.No) {
		o.mu.Unlock()
		if r != nil {
			s.sayAt(w, r, l.Body)
		}
		return
	}
	defer o.mu.Unlock()
	if !o.receipt.ok {
		return
	}
	if r != nil && len(o.asked) < maxAcks {
		if o.asked == nil {
			o.asked = make(map[int64][]byte)
		}
		o.asked[l.No] = r.correlation
	}
	if l.No > o.cursor {
		o.look = true
	} else if !o.has(l.No) {
		o.mail = append(o.mail, l)
	}
	s.start()
}
