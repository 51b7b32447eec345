package sandbox

import (
	"bytes"
	"net/http"
	"time"
)

// Operation is one operation as the service holds it now.
type Operation struct {
	Number         int       `json:"number"` // order of starts over all registers, from 1
	Register       string    `json:"register_id"`
	ID             string    `json:"id"`
	ClientID       string    `json:"client_id"` // the `id` the start carried; differs from ID where the service chose
	ExternalID     string    `json:"external_id"`
	State          string    `json:"state"` // open, completed, cancelled
	FiscalState    string    `json:"fiscal_state"`
	Currency       string    `json:"currency"`
	Total          int64     `json:"total"` // minor units
	Payments       []Payment `json:"payments"`
	Reason         string    `json:"reason,omitempty"`
	DocumentNumber string    `json:"document_number,omitempty"`
	StartedAt      string    `json:"started_at"` // occurred_at of the start, as it came
	UpdatedAt      string    `json:"updated_at"` // … of the last PATCH
	EndedAt        string    `json:"ended_at"`   // … of complete or cancel
	Opened         time.Time `json:"opened"`     // the service's clock
	Closed         time.Time `json:"closed,omitzero"`
}

func (o *operation) ledger(now time.Time) Operation {
	return Operation{Number: o.number, Register: o.register.id, ID: o.id, ClientID: o.clientID, ExternalID: o.externalID,
		State: o.state, FiscalState: o.fiscalState(now), Currency: o.currency, Total: o.totals.TotalGross,
		Payments: append([]Payment{}, o.payments...), Reason: o.reason, DocumentNumber: o.documentNumber,
		StartedAt: o.startedAt, UpdatedAt: o.updatedAt, EndedAt: o.endedAt, Opened: o.created, Closed: o.ended}
}

// Operations lists the operations of one register, or of all for "", in the
// order of their starts.
func (s *Service) Operations(register string) []Operation {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	out := []Operation{}
	for _, o := range s.order {
		if register == "" || o.register.id == register {
			out = append(out, o.ledger(now))
		}
	}
	return out
}

// Totals count what the service holds.
type Totals struct {
	Open      int              `json:"open"`
	Completed int              `json:"completed"`
	Cancelled int              `json:"cancelled"`
	Money     map[string]int64 `json:"money"` // of completed operations: minor units by currency
}

// Totals counts all operations.
func (s *Service) Totals() Totals {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := Totals{Money: map[string]int64{}}
	for _, o := range s.order {
		switch o.state {
		case stateOpen:
			t.Open++
		case stateCancelled:
			t.Cancelled++
		case stateCompleted:
			t.Completed++
			t.Money[o.currency] += o.totals.TotalGross
		}
	}
	return t
}

// Request is one request as it arrived, with its end.
type Request struct {
	Number         int       `json:"number"` // order of arrival, from 1
	At             time.Time `json:"at"`
	Method         string    `json:"method"`
	Path           string    `json:"path"` // escaped, with /v1, without the query
	Query          string    `json:"query,omitempty"`
	Step           Step      `json:"step"`
	Register       string    `json:"register_id,omitempty"`
	Operation      string    `json:"operation_id,omitempty"` // what it made or was about
	ExternalID     string    `json:"external_id,omitempty"`
	IdempotencyKey string    `json:"idempotency_key,omitempty"`
	Credential     string    `json:"credential"` // register, platform, several or none; never the key
	Body           []byte    `json:"body,omitempty"`
	Outcome        string    `json:"outcome"`   // processed, replayed, refused, "fault …", …
	Processed      bool      `json:"processed"` // it changed something
	Answered       bool      `json:"answered"`  // the client was sent the whole answer
	Status         int       `json:"status,omitempty"`
	Code           string    `json:"code,omitempty"`
}

// Requests lists every request in the order of arrival; the oldest are
// forgotten beyond Options.KeepRequests.
func (s *Service) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Request, 0, len(s.requests))
	for _, r := range s.requests {
		c := *r
		c.Body = bytes.Clone(r.Body)
		out = append(out, c)
	}
	return out
}

// recorder writes the end of one request into the ledger.
type recorder struct {
	s *Service
	r *Request
}

func (s *Service) record(q *request, r *http.Request, body []byte) *recorder {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requestNo++
	v := &Request{Number: s.requestNo, At: time.Now(), Method: q.method, Path: q.path, Query: r.URL.RawQuery, Step: q.step,
		Register: s.registerOf(q), Operation: q.vars["operation"], IdempotencyKey: q.header.Get(headerIdempotency),
		Credential: credentialKind(q.header), Body: body, Outcome: "under way"}
	s.requests = append(s.requests, v)
	if keep := s.opt.KeepRequests; len(s.requests) > keep+keep/10 { // a tenth at a time: one copy per tenth, not per request
		over := len(s.requests) - keep
		s.forgotten += over
		s.requests = append([]*Request{}, s.requests[over:]...)
	}
	return &recorder{s: s, r: v}
}

func credentialKind(h http.Header) string {
	r, p := len(h.Values(headerRegisterKey)), len(h.Values("Authorization"))
	switch {
	case r+p == 0:
		return "none"
	case r+p > 1:
		return "several"
	case r == 1:
		return "register"
	}
	return "platform"
}

// id is the request's X-Request-Id. The letter in the middle keeps it from looking like
// the number of a card.
func (c *recorder) id() string { return "req_" + c.s.run + "x" + hex12(c.r.Number) }

func hex12(n int) string {
	const digits = "0123456789abcdef"
	b := []byte("000000000000")
	for i := len(b) - 1; n > 0; i-- {
		b[i] = digits[n&15]
		n >>= 4
	}
	return string(b)
}

func (c *recorder) finish(outcome string, status int, answered bool) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.r.Outcome, c.r.Status, c.r.Answered = outcome, status, answered
}

// note is called by process, with the lock held.
func (c *recorder) note(q *request, outcome string, status int, code string) {
	c.r.Outcome, c.r.Status, c.r.Code, c.r.Answered = outcome, status, code, true
	c.r.Processed = outcome == "processed" && q.method != http.MethodGet
	if q.op != nil {
		c.r.Operation, c.r.ExternalID = q.op.id, q.op.externalID
		if c.r.Processed {
			reg := q.op.register.id
			c.s.effects[reg] = append(c.s.effects[reg], Effect{Step: q.step, ExternalID: q.op.externalID, Operation: q.op.id})
		}
	}
}

func (c *recorder) answered(yes bool) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.r.Answered = yes
}

// overwrite notes that a fault answered in the place of the service.
func (c *recorder) overwrite(status int) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.r.Answered, c.r.Status = false, status
}
