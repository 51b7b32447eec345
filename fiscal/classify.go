package fiscal

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"

	"edgegw/sale"
	"edgegw/secret"
)

// CodeOtherRegister is the code of a key that opens another register than the
// one it was probed for.
const CodeOtherRegister = "other_register"

// Codes of our own, for ends that the service has no word for.
const (
	codeDNS           = "dns"
	codeRefused       = "refused"
	codeUnreachable   = "unreachable"
	codeTLS           = "tls"
	codeProxy         = "proxy"
	codeProxyLogin    = "proxy_login"
	codeNoProxy       = "proxy_unreachable"
	codeTLSName       = "tls_name"
	codeTLSIssuer     = "tls_issuer"
	codeTLSTime       = "tls_time"
	codeTLSTimeout    = "tls_timeout"
	codeTLSVersion    = "tls_version"
	codeTLSMissing    = "tls_missing"
	codeNoSuchName    = "dns_no_such_name"
	codeTimeout       = "timeout"
	codeCut           = "cut"
	codeUnreadable    = "unreadable"
	codeCaptivePortal = "captive_portal"
	codeCancelled     = "cancelled"

	codeOtherOperation = "other_operation"
	codeOtherState     = "other_state"
	codeWrongHost      = "wrong_host"
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
	if row.Class == sale.Confirmed {
		return nil
	}
	out := &sale.Problem{Class: row.Class, Status: r.status, Code: clean(withoutKeys(e.Code), maxToken), Detail: clean(withoutKeys(e.Message), maxDetail),
		Param: clean(e.Param, maxToken), RequestID: r.requestID, RetryAfter: r.retryAfter, Body: r.body[:min(len(r.body), maxProblemBody)]}
	if out.Code == "" || row.Own {
		out.Code = row.Code
	}
	if row.Own && fault != "" && row.Class == sale.InDoubt && row.Code != sale.CodeLookUpRefused {
		out.Code = fault
	}
	if r.html && (r.status == http.StatusNetworkAuthenticationRequired || row.Class == sale.Misconfigured) {
		out.Code = codeCaptivePortal
	}
	if out.RequestID == "" {
		out.RequestID = clean(e.RequestID, maxToken)
	}
	if out.Detail == "" {
		out.Detail = details[out.Code]
	}
	if row.Class == sale.Misconfigured && r.location != "" {
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
	codeUnreadable:         "the answer is not one of OpenFiskal; something may stand between",
	codeCaptivePortal:      "a page for people came in the place of OpenFiskal's answer: a captive portal or a proxy stands between",
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
	case errors.As(err, &proxy) && proxy.status == http.StatusProxyAuthRequired:
		return codeProxyLogin
	case errors.As(err, &proxy), op != nil && op.Op == "proxyconnect" && isTLS(err):
		return codeProxy
	case op != nil && op.Op == "proxyconnect":
		return codeNoProxy
	case errors.As(err, &dns) && dns.IsNotFound:
		return codeNoSuchName
	case errors.As(err, &dns):
		return codeDNS
	case errors.Is(err, syscall.ECONNREFUSED):
		return codeRefused
	case isTLS(err):
		return tlsCode(err)
	case timedOut(err) && !inHandshake:
		return codeTimeout
	case timedOut(err):
		return codeTLSTimeout
	case inHandshake:
		return tlsCode(err)
	}
	return codeUnreachable
}

// tlsCode tells what is wrong with the other side.
func tlsCode(err error) string {
	var (
		record  tls.RecordHeaderError
		name    x509.HostnameError
		issuer  x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &name):
		return codeTLSName
	case errors.As(err, &issuer):
		return codeTLSIssuer
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return codeTLSTime
	case errors.As(err, &record):
		return codeTLSMissing // its first bytes are no TLS
	case strings.Contains(err.Error(), "protocol version"): // of an alert, or ours: there is no type for it
		return codeTLSVersion
	}
	return codeTLS
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

// withoutKeys keeps a key that the service repeats out of errors, logs and the
// journal.
func withoutKeys(text string) string { return string(secret.WithoutKeys([]byte(text))) }
