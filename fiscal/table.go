package fiscal

import "edgegw/sale"

// Body says which bodies a row of the table is for.
type Body uint8

const (
	AnyBody   Body = iota
	Whole          // a whole operation, the one that was asked for, in the state the call leads to
	Broken         // cut short, or not what it should be
	Signing        // the error envelope with fiscal_errors, or retryable (decision 8)
	Retryable      // the error envelope with retryable
)

// Of says which requests a row is for.
type Of uint8

const (
	AnyRequest Of = iota
	AnyCall       // a call of a queue, not a look-up or a probe
	AfterStart    // … of an operation that was there
	Replay        // … that was sent before
	LookUp
)

// Row is one line of the table: the first that matches decides. Code is the
// problem's where the service gives none; with Own it stands in any case.
type Row struct {
	From, To int // HTTP statuses
	Body     Body
	Of       Of
	Class    sale.Class
	Code     string
	Own      bool
}

func one(status int, b Body, of Of, c sale.Class, code string) Row {
	return Row{From: status, To: status, Body: b, Of: of, Class: c, Code: code}
}

func own(r Row) Row { r.Own = true; return r }

// table is CONTRACT.md section 3, for answers: the one place that says which
// answer is of which class. What follows from a class is sale.Class.Course. A
// look-up or probe that is refused says nothing about a sale, so it never ends
// in "poison"; and a status nobody foresaw blocks a queue in the open, it does
// not throw sales out of it. docs/answers.md shows this table; a test keeps the
// two the same, and another drives each row through a gateway.
var table = []Row{
	// 2xx with a well-formed body: confirmed; otherwise in doubt (decision 6, FAULTS.md H4).
	{From: 200, To: 299, Body: Whole, Class: sale.Confirmed},
	{From: 200, To: 299, Class: sale.InDoubt, Code: codeUnreadable, Own: true},

	// 429
	one(429, AnyBody, AnyRequest, sale.Throttled, "rate_limit_exceeded"),

	// 5xx, 408, 425
	one(408, AnyBody, AnyRequest, sale.Transient, "request_timeout"),
	one(425, AnyBody, AnyRequest, sale.Transient, "too_early"),
	{From: 500, To: 599, Class: sale.Transient, Code: "server_error"},

	// Look-up not possible: the sale stays in doubt.
	own(one(403, AnyBody, LookUp, sale.InDoubt, sale.CodeLookUpRefused)),
	own(one(405, AnyBody, LookUp, sale.InDoubt, sale.CodeLookUpRefused)),

	// 401, 403
	one(401, AnyBody, AnyRequest, sale.KeyRefused, "unauthorized"),
	one(403, AnyBody, AnyRequest, sale.KeyRefused, "forbidden"),

	// 404 for the register; for an operation, read it back by its external id.
	one(404, AnyBody, AfterStart, sale.Resolve, "operation_not_found"),
	one(404, AnyBody, AnyRequest, sale.RegisterUnknown, "register_not_found"),
	one(410, AnyBody, AfterStart, sale.Resolve, "operation_gone"),
	one(410, AnyBody, AnyRequest, sale.RegisterUnknown, "register_gone"),

	// 409 on a replayed call. A cut body does not matter: it is read back anyway.
	one(409, AnyBody, Replay, sale.Resolve, "conflict"),

	// A refusal whose words did not come whole: they decide what it is.
	own(one(400, Broken, AnyRequest, sale.InDoubt, codeCut)),
	own(one(409, Broken, AnyRequest, sale.InDoubt, codeCut)),
	own(one(413, Broken, AnyRequest, sale.InDoubt, codeCut)),
	own(one(415, Broken, AnyRequest, sale.InDoubt, codeCut)),
	own(one(422, Broken, AnyRequest, sale.InDoubt, codeCut)),

	// 422 with fiscal_errors; the later generation says retryable (decision 8).
	one(422, Signing, AnyCall, sale.SigningDown, "fiscalization_failed"),

	// 400, 409, 413, 415, 422 otherwise. A 422 of several registers at once is
	// read as signing being down by the relay, which sees them all.
	one(400, AnyBody, AnyCall, sale.Poison, "invalid_request"),
	one(409, AnyBody, AnyCall, sale.Poison, "conflict"),
	one(413, AnyBody, AnyCall, sale.Poison, "body_too_large"),
	one(415, AnyBody, AnyCall, sale.Poison, "unsupported_media_type"),
	one(422, AnyBody, AnyCall, sale.Poison, "unprocessable"),

	// any redirect
	{From: 300, To: 399, Class: sale.Misconfigured, Code: "redirect", Own: true},

	// Unknown statuses.
	{From: 400, To: 499, Of: LookUp, Class: sale.InDoubt, Code: sale.CodeLookUpRefused, Own: true},
	{From: 400, To: 499, Body: Retryable, Class: sale.Transient, Code: "unexpected_status"},
	{From: 400, To: 499, Class: sale.Misconfigured, Code: "unexpected_status"},
	{From: 0, To: 199, Class: sale.InDoubt, Code: "unexpected_status", Own: true},
	{From: 600, To: 999, Class: sale.InDoubt, Code: "unexpected_status", Own: true},
}

// Table gives the rows, in the order in which they are tried.
func Table() []Row { return append([]Row{}, table...) }

// matches reports whether the row is for an answer.
func (r Row) matches(status int, f facts) bool {
	return status >= r.From && status <= r.To && r.Body.holds(f) && r.Of.holds(f)
}

func (b Body) holds(f facts) bool {
	switch b {
	case Whole:
		return f.fault == ""
	case Broken:
		return f.fault != ""
	case Signing:
		return f.fiscalErrors || f.retryable
	case Retryable:
		return f.retryable
	}
	return true
}

func (o Of) holds(f facts) bool {
	switch o {
	case AnyCall:
		return f.call()
	case AfterStart:
		return f.call() && f.step != sale.StepStart
	case Replay:
		return f.call() && f.replay
	case LookUp:
		return f.lookup
	}
	return true
}

// decide finds the row of a status. The table has no holes: the last rows take
// every number an HTTP answer can carry.
func decide(status int, f facts) Row {
	for _, r := range table {
		if r.matches(status, f) {
			return r
		}
	}
	return Row{Class: sale.InDoubt, Code: "unexpected_status", Own: true}
}
