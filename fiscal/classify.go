package fiscal

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"

	"edgegw/sale"
)

// Codes of our own, for ends that the service has no word for.
const (
	codeDNS         = "dns"
	codeRefused     = "refused"
	codeUnreachable = "unreachable"
	codeTLS         = "tls"
	codeProxy       = "proxy"
	codeTimeout     = "timeout"
	codeCut         = "cut"
	codeUnreadable  = "unreadable"
	codeCancelled   = "cancelled"

	codeOtherOperation = "other_operation"
	codeOtherState     = "other_state"
)

// purpose is what a request was for. A request that is neither look-up nor
// probe is a call of a queue.
type purpose struct {
	step   sale.Step
	replay bool // not the first attempt of the call
	lookup bool
	probe  bool
}

func (p purpose) call() bool { return !p.lookup && !p.probe }

// facts are what the table decides on.
type facts struct {
	purpose
	fault        string // what is wrong with the body, "" for nothing
	fiscalErrors bool
	retryable    bool
}

// row is one line of the table: the first that matches decides.
type row struct {
	from, to int                // HTTP statuses
	when     func(f facts) bool // nil: always
	class    sale.Class
	code     string // where the service gives none
	own      bool   // code stands even where the service gives one
}

func one(status int, when func(facts) bool, class sale.Class, code string) row {
	return row{from: status, to: status, when: when, class: class, code: code}
}

func own(r row) row { r.own = true; return r }

// table is CONTRACT.md section 3, for answers. A look-up or probe that is
// refused says nothing about a sale, so it never ends in "poison"; and a status
// nobody foresaw blocks a queue in the open, it does not throw sales out of it.
var table = []row{
	// 2xx with a well-formed body: confirmed; otherwise in doubt (decision 6, FAULTS.md H4).
	{from: 200, to: 299, when: whole, class: sale.Confirmed},
	{from: 200, to: 299, class: sale.InDoubt, code: codeUnreadable, own: true},

	// 429
	one(429, nil, sale.Throttled, "rate_limit_exceeded"),

	// 5xx, 408, 425
	one(408, nil, sale.Transient, "request_timeout"),
	one(425, nil, sale.Transient, "too_early"),
	{from: 500, to: 599, class: sale.Transient, code: "server_error"},

	// Look-up not possible: the sale stays in doubt.
	own(one(403, isLookup, sale.InDoubt, sale.CodeLookUpRefused)),
	own(one(405, isLookup, sale.InDoubt, sale.CodeLookUpRefused)),

	// 401, 403
	one(401, nil, sale.KeyRefused, "unauthorized"),
	one(403, nil, sale.KeyRefused, "forbidden"),

	// 404 for the register; for an operation, read it back by its external id.
	one(404, afterStart, sale.Resolve, "operation_not_found"),
	one(404, nil, sale.RegisterUnknown, "register_not_found"),
	one(410, afterStart, sale.Resolve, "operation_gone"),
	one(410, nil, sale.RegisterUnknown, "register_gone"),

	// 409 on a replayed call. A cut body does not matter: it is read back anyway.
	one(409, isReplay, sale.Resolve, "conflict"),

	// A refusal whose words did not come whole: they decide what it is.
	own(one(400, cut, sale.InDoubt, codeCut)),
	own(one(409, cut, sale.InDoubt, codeCut)),
	own(one(413, cut, sale.InDoubt, codeCut)),
	own(one(415, cut, sale.InDoubt, codeCut)),
	own(one(422, cut, sale.InDoubt, codeCut)),

	// 422 with fiscal_errors; the later generation says retryable (decision 8).
	one(422, signing, sale.SigningDown, "fiscalization_failed"),

	// 400, 409, 413, 415, 422 otherwise
	one(400, isCall, sale.Poison, "invalid_request"),
	one(409, isCall, sale.Poison, "conflict"),
	one(413, isCall, sale.Poison, "body_too_large"),
	one(415, isCall, sale.Poison, "unsupported_media_type"),
	one(422, isCall, sale.Poison, "unprocessable"),

	// any redirect
	{from: 300, to: 399, class: sale.Misconfigured, code: "redirect", own: true},

	// Unknown statuses.
	{from: 400, to: 499, when: isLookup, class: sale.InDoubt, code: sale.CodeLookUpRefused, own: true},
	{from: 400, to: 499, when: func(f facts) bool { return f.retryable }, class: sale.Transient, code: "unexpected_status"},
	{from: 400, to: 499, class: sale.Misconfigured, code: "unexpected_status"},
	{from: 0, to: 199, class: sale.InDoubt, code: "unexpected_status", own: true},
	{from: 600, to: 999, class: sale.InDoubt, code: "unexpected_status", own: true},
}

func whole(f facts) bool    { return f.fault == "" }
func cut(f facts) bool      { return f.fault != "" }
func isLookup(f facts) bool { return f.lookup }
func isCall(f facts) bool   { return f.call() }
func isReplay(f facts) bool { return f.call() && f.replay }
func signing(f facts) bool  { return f.call() && (f.fiscalErrors || f.retryable) }
func afterStart(f facts) bool {
	return f.call() && f.step != sale.StepStart
}

// decide finds the row of a status. The table has no holes: the last rows take
// every number an HTTP answer can carry.
func decide(status int, f facts) row {
	for _, r := range table {
		if status >= r.from && status <= r.to && (r.when == nil || r.when(f)) {
			return r
		}
	}
	return row{class: sale.InDoubt, code: "unexpected_status", own: true}
}

// envelope is the error of either generation (decision 8).
type envelope struct {
	Code         string            `json:"code"`
	Message      string            `json:"message"`
	Param        string            `json:"param"`
	FiscalErrors []json.RawMessage `json:"fiscal_errors"`
	RequestID    string            `json:"request_id"`
	Retryable    bool              `json:"retryable"`
}

// classify gives the problem of an answer, nil for a confirmation. fault says
// what is wrong with the body.
func classify(r reply, p purpose, fault string) *sale.Problem {
	var e envelope
	if r.status/100 != 2 {
		e = readEnvelope(r.body)
	}
	row := decide(r.status, facts{purpose: p, fault: fault, fiscalErrors: len(e.FiscalErrors) > 0, retryable: e.Retryable})
	if row.class == sale.Confirmed {
		return nil
	}
	out := &sale.Problem{Class: row.class, Status: r.status, Code: clean(e.Code, maxToken), Detail: clean(e.Message, maxDetail),
		Param: clean(e.Param, maxToken), RequestID: r.requestID, RetryAfter: r.retryAfter, Body: r.body[:min(len(r.body), maxProblemBody)]}
	if out.Code == "" || row.own {
		out.Code = row.code
	}
	if row.own && fault != "" && row.class == sale.InDoubt && row.code != sale.CodeLookUpRefused {
		out.Code = fault
	}
	if out.RequestID == "" {
		out.RequestID = clean(e.RequestID, maxToken)
	}
	if out.Detail == "" {
		out.Detail = details[out.Code]
	}
	if row.class == sale.Misconfigured && r.location != "" {
		out.Detail = "the service redirects to " + r.location + "; nothing was sent there"
	}
	return out
}

// readEnvelope takes what it understands: a field of another type must not hide
// the others.
func readEnvelope(body []byte) envelope {
	var raw map[string]json.RawMessage
	var e envelope
	if json.Unmarshal(body, &raw) != nil {
		return e
	}
	for name, into := range map[string]any{"code": &e.Code, "message": &e.Message, "param": &e.Param,
		"fiscal_errors": &e.FiscalErrors, "request_id": &e.RequestID, "retryable": &e.Retryable} {
		if v, ok := raw[name]; ok {
			_ = json.Unmarshal(v, into) // an odd type counts as absent
		}
	}
	return e
}

// details are the words for people where the service has none.
var details = map[string]string{
	codeTimeout:            "the answer did not come in time",
	codeCut:                "the connection ended before the whole answer was there",
	codeUnreadable:         "the answer is not one of OpenFiskal; a captive portal or a proxy may stand between",
	codeOtherOperation:     "the answer speaks of another operation",
	codeOtherState:         "the answer has another state than the call leads to",
	sale.CodeLookUpRefused: "OpenFiskal does not let this key look operations up",
	"redirect":             "the service redirects; redirects are not followed",
	"unexpected_status":    "a status that OpenFiskal does not use; check openfiskal.base_url",
}

// notSent is the problem of a caller that gave up before anything was sent.
func notSent(err error) *sale.Problem {
	code := codeCancelled
	if errors.Is(err, context.DeadlineExceeded) {
		code = codeTimeout
	}
	return &sale.Problem{Class: sale.Uplink, Code: code, Detail: "given up before anything was sent"}
}

// transportProblem splits errors of the transport by whether a byte of the
// request may have left (CONTRACT.md section 3): on a connection that was
// there, new or kept alive, everything may have happened.
func transportProblem(err error, w *watch) *sale.Problem {
	mayHaveLeft, inHandshake := w.state()
	var op *net.OpError
	if errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect") {
		mayHaveLeft = false // there never was a connection
	}
	if mayHaveLeft {
		code := codeCut
		switch {
		case errors.Is(err, context.Canceled):
			code = codeCancelled
		case timedOut(err):
			code = codeTimeout
		}
		return &sale.Problem{Class: sale.InDoubt, Code: code, Detail: err.Error()}
	}
	return &sale.Problem{Class: sale.Uplink, Code: connectCode(err, op, inHandshake), Detail: err.Error()}
}

// connectCode names what kept a connection from being made.
func connectCode(err error, op *net.OpError, inHandshake bool) string {
	var proxy *proxyError
	var dns *net.DNSError
	switch {
	case errors.Is(err, context.Canceled):
		return codeCancelled
	case errors.As(err, &proxy) || op != nil && op.Op == "proxyconnect":
		return codeProxy
	case errors.As(err, &dns):
		return codeDNS
	case errors.Is(err, syscall.ECONNREFUSED):
		return codeRefused
	case isTLS(err):
		return codeTLS
	case timedOut(err) && !inHandshake:
		return codeTimeout
	case inHandshake:
		return codeTLS
	}
	return codeUnreachable
}

func timedOut(err error) bool {
	var n net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}

func isTLS(err error) bool {
	var (
		record  tls.RecordHeaderError
		alert   tls.AlertError
		verify  *tls.CertificateVerificationError
		unknown x509.UnknownAuthorityError
	)
	return errors.As(err, &record) || errors.As(err, &alert) || errors.As(err, &verify) || errors.As(err, &unknown) ||
		strings.HasPrefix(err.Error(), "tls: ") // crypto/tls has no type for most of its errors; this only picks a word for people
}
