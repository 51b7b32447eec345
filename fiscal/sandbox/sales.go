package sandbox

import (
	"fmt"
	"net/http"
)

// start opens a sale: POST /registers/{register}/sales.
func (s *Service) start(q *request) (int, any, *fail) {
	r := &reader{}
	b := r.body(q.body, "id", "external_id", "cashier", "currency", "occurred_at", "metadata")
	o := &operation{
		register: q.reg, unit: q.reg.activeUnit(), state: stateOpen, created: q.now,
		clientID: b.text("id", false, 36), externalID: b.text("external_id", true, 256), cashier: b.cashier(),
		currency: b.text("currency", false, 3), startedAt: b.moment("occurred_at"), metadata: b.free("metadata"),
	}
	if o.currency == "" {
		o.currency = "EUR"
	}
	if o.clientID != "" && !validUUID(o.clientID) {
		r.fail("id", "A UUID is needed here.")
	}
	if !codeText.MatchString(o.currency) {
		r.fail("currency", "A currency code of ISO 4217 is needed here.")
	}
	switch {
	case r.err != nil:
		return 0, nil, r.err
	case o.unit == nil:
		return 0, nil, &fail{status: http.StatusConflict, code: "no_active_fiscal_unit",
			message: "The register has no active fiscal unit and cannot process operations."}
	}
	o.id = o.clientID
	if o.id == "" || s.opt.ServerIDs || s.ops[o.id] != nil {
		o.id = s.newID("op")
	}
	if regimes[q.reg.jurisdiction].signsStart {
		o.start = s.sign(o, "", "", q.now)
	}
	q.reg.ops = append(q.reg.ops, o)
	s.order = append(s.order, o)
	o.number, o.sequence = len(s.order), len(q.reg.ops)
	s.ops[o.id] = o
	q.op = o
	return http.StatusCreated, o.view(q.now), nil
}

// update replaces the content of an open sale: PATCH /sales/{operation}.
func (s *Service) update(q *request) (int, any, *fail) {
	r := &reader{}
	b := r.body(q.body, "line_items", "metadata", "occurred_at")
	at, meta := b.moment("occurred_at"), b.free("metadata")
	lines, err := b.readLines()
	switch {
	case r.err != nil:
		return 0, nil, r.err
	case err != nil:
		return 0, nil, err
	case q.op.state != stateOpen:
		return 0, nil, notOpen()
	}
	for i := range lines {
		lines[i].ID = fmt.Sprintf("li_%d_%02d", q.op.number, i+1)
	}
	if _, ok := b.vals["line_items"]; ok {
		q.op.lines, q.op.totals = lines, sum(lines)
	}
	if meta != nil {
		q.op.metadata = meta
	}
	q.op.updatedAt, q.op.updated = at, q.now
	return http.StatusOK, q.op.view(q.now), nil
}

// complete ends a sale with its payments: POST /sales/{operation}/complete.
func (s *Service) complete(q *request) (int, any, *fail) {
	r := &reader{}
	b := r.body(q.body, "payments", "occurred_at")
	at := b.moment("occurred_at")
	payments := b.readPayments(q.op.currency)
	switch {
	case r.err != nil:
		return 0, nil, r.err
	case q.op.state != stateOpen:
		return 0, nil, notOpen()
	}
	var paid int64
	for _, p := range payments {
		if p.Direction == "inbound" {
			paid += p.Amount
		} else {
			paid -= p.Amount
		}
	}
	if paid != q.op.totals.TotalGross {
		return 0, nil, unprocessable("payment_total_mismatch", "payments",
			fmt.Sprintf("Inbound minus outbound payments are %d, the sale's total is %d.", paid, q.op.totals.TotalGross))
	}
	q.op.state, q.op.payments, q.op.endedAt, q.op.ended = stateCompleted, payments, at, q.now
	if q.fault.Action == Pend {
		q.op.pendUntil, q.op.pendTo = q.now.Add(q.fault.PendFor), q.fault.PendTo
	}
	s.finish(q.op, q.now)
	return http.StatusOK, q.op.view(q.now), nil
}

// cancel ends a sale with nothing sold: POST /sales/{operation}/cancel.
func (s *Service) cancel(q *request) (int, any, *fail) {
	r := &reader{}
	b := r.body(q.body, "reason", "occurred_at")
	at, reason := b.moment("occurred_at"), b.text("reason", false, mostText)
	switch {
	case r.err != nil:
		return 0, nil, r.err
	case q.op.state != stateOpen:
		return 0, nil, notOpen()
	}
	q.op.state, q.op.reason, q.op.endedAt, q.op.ended = stateCancelled, reason, at, q.now
	if regimes[q.reg.jurisdiction].signsStart {
		q.op.end = s.sign(q.op, "Kassenbeleg-V1", "AVBelegabbruch^0.00_0.00_0.00_0.00_0.00^", q.now)
	}
	return http.StatusOK, q.op.view(q.now), nil
}
