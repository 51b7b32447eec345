package fiscal

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"edgegw/sale"
	"edgegw/secret"
)

// Keys gives the key that opens a register: its own, or with
// Options.Organization the platform key. It is asked for each request, so
// that a rotated key needs no restart; an error or an empty key means that
// there is none to send.
type Keys interface {
	Credential(ctx context.Context, r sale.RegisterID) (secret.Text, error)
}

// Options of a Client.
type Options struct {
	BaseURL   string            // with the version, e.g. https://api.openfiskal.com/v1; http:// for loopback only
	Transport http.RoundTripper // nil means NewTransport of the zero options
	Timeout   time.Duration     // of one request from dialling to the last byte; 0 means 10 s
	Version   string            // of this program, for the User-Agent; "" means dev
	// Organization is set in the server-side topology: the keys are platform keys
	// and act for it (decision 11).
	Organization string
	Date         func(time.Time) // told of the Date of every whole answer; nil: nobody
	// Observed is told of each request that was made, once: what it was for
	// (start, update, complete, cancel, lookup or probe), how it ended (2xx, 3xx,
	// 4xx or 5xx where a whole answer came; uplink where nothing was sent;
	// in_doubt otherwise), and how long it took. It is called by many goroutines,
	// and the request waits for it. Nil: nobody asks.
	Observed func(purpose, outcome string, took time.Duration)
}

// Client speaks to one OpenFiskal. It is safe for concurrent use.
type Client struct {
	base     url.URL
	way      way
	timeout  time.Duration
	agent    string
	observed func(purpose, outcome string, took time.Duration)
	date     func(time.Time)
	keys     Keys
	acts     string // the organization that keys act for; "" means register keys

	// clientIDs is set while the service is known to take the client-made id of
	// a start: then an operation with another client-made id is another sale.
	clientIDs atomic.Bool
}

// New makes a client. The error names what is wrong with the base URL.
func New(o Options, k Keys) (*Client, error) {
	base, err := parseBase(o.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("read OpenFiskal base URL: %w", err)
	}
	if k == nil {
		return nil, errors.New("make OpenFiskal client: no keys")
	}
	c := &Client{base: *base, timeout: o.Timeout, agent: "edgegw/dev", observed: o.Observed, date: o.Date, keys: k, acts: o.Organization}
	if o.Transport == nil {
		o.Transport = NewTransport(TransportOptions{})
	}
	c.way.lanes = []*lane{newLane(o.Transport)}
	if c.date == nil {
		c.date = func(time.Time) {}
	}
	if c.timeout <= 0 {
		c.timeout = defaultTimeout
	}
	if c.observed == nil {
		c.observed = func(string, string, time.Duration) {}
	}
	if o.Version != "" {
		c.agent = "edgegw/" + o.Version
	}
	return c, nil
}

// parseBase refuses everything a key must not be sent to.
func parseBase(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("it is not a URL") // the cause repeats the text, which may carry a password
	}
	switch {
	case u.Host == "" || u.Hostname() == "":
		return nil, errors.New("it has no host")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("it must be scheme, host and path only")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, errors.New("http:// is for loopback only: use https://")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("its scheme must be https")
	}
	u.Path = strings.TrimRight(u.Path, "/")
	if u.RawPath != "" || u.Path != "" && !plainPath(u.Path) {
		return nil, errors.New("its path must be plain, such as /v1")
	}
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// plainPath accepts what stands in a path for itself: neither PathEscape nor
// JoinPath makes "..", "?" or "%2e" harmless (FAULTS.md H3).
func plainPath(p string) bool {
	if !strings.HasPrefix(p, "/") {
		return false
	}
	for part := range strings.SplitSeq(p[1:], "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
		for i := 0; i < len(part); i++ {
			c := part[i]
			if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
				return false
			}
		}
	}
	return true
}

// CloseIdle drops idle connections, so that the next request makes a new one:
// for after an uplink failure, which kept-alive connections do not survive.
func (c *Client) CloseIdle() { c.way.closeIdle() }

// Do sends a call once. The error is a *sale.Problem, or nil where the service
// confirmed the call with an operation in the state the step leads to.
func (c *Client) Do(ctx context.Context, call sale.Call) (sale.Answer, error) {
	p := purpose{step: call.Step, replay: call.Attempts > 1}
	path := call.URLPath()
	if !plainPath(path) || call.Method != http.MethodPost && call.Method != http.MethodPatch {
		return sale.Answer{}, &sale.Problem{Class: sale.Poison, Code: "bad_path", Detail: "the call has no path that can be sent"}
	}
	r, problem := c.send(ctx, call.Register, request{purpose: call.Step.String(), method: call.Method, path: path, idempotencyKey: call.IdempotencyKey, body: call.Body})
	if problem != nil {
		return sale.Answer{}, problem
	}
	answer, fault := sale.Answer{}, r.fault()
	if r.status/100 == 2 && fault == "" {
		answer, fault = check(r, expected(call))
	}
	if fault == codeUnreadable && r.html {
		fault = codeCaptivePortal
	}
	if problem := classify(r, p, fault); problem != nil {
		return sale.Answer{}, problem
	}
	if call.Step == sale.StepStart && isUUID(call.Operation) {
		c.clientIDs.Store(answer.Operation == call.Operation)
	}
	return answer, nil
}

// expected gives what an answer to the call must be of: of a start, our sale. Of
// a later call the operation's id says enough: a person may have named one that
// was entered by hand, under an external id of its own.
func expected(call sale.Call) sale.Call {
	if call.Step != sale.StepStart {
		call.SaleID = ""
	}
	return call
}

// check reads a 2xx: whole JSON with id and state (decision 6), of the
// operation that was asked for, in the state the step leads to. Anything else
// is not a confirmation but something between us and the service.
func check(r reply, call sale.Call) (sale.Answer, string) {
	answer, err := sale.ParseAnswer(r.status, r.requestID, r.body)
	switch {
	case err != nil:
		return sale.Answer{}, codeUnreadable
	case call.Step != sale.StepStart && answer.Operation != call.Operation:
		return sale.Answer{}, codeOtherOperation
	case answer.ExternalID != "" && call.SaleID != "" && answer.ExternalID != call.SaleID:
		return sale.Answer{}, codeOtherOperation
	case call.Step == sale.StepComplete && answer.State != sale.StateCompleted,
		call.Step == sale.StepCancel && answer.State != sale.StateCancelled:
		return sale.Answer{}, codeOtherState
	}
	return answer, ""
}

// send asks for the register's key and makes one request. The problem is set
// where no answer came at all.
func (c *Client) send(ctx context.Context, register sale.RegisterID, q request) (reply, *sale.Problem) {
	key, err := c.keys.Credential(ctx, register)
	switch {
	case ctx.Err() != nil:
		return reply{}, notSent(ctx.Err())
	case err != nil || key.Empty():
		// The cause is not repeated: it comes from where keys are handled.
		return reply{}, &sale.Problem{Class: sale.KeyRefused, Code: "no_key", Detail: "there is no register key to send"}
	}
	return c.exchange(ctx, credential{key, c.acts}, q)
}

// ErrNoUnit says that a key is right, and that its register cannot take a sale
// yet: it has no active fiscal unit.
var ErrNoUnit = errors.New("the register has no active fiscal unit")

// Probe asks read-only whether a key opens its register (decision 10). It gives
// nil, ErrNoUnit, or a *sale.Problem.
func (c *Client) Probe(ctx context.Context, register sale.RegisterID, key secret.Text) error {
	if !register.Valid() {
		return &sale.Problem{Class: sale.RegisterUnknown, Code: "bad_register", Detail: "this cannot be a register id"}
	}
	if key.Empty() {
		return &sale.Problem{Class: sale.KeyRefused, Code: "no_key", Detail: "there is no register key to send"}
	}
	cred := credential{key, c.acts}
	r, problem := c.exchange(ctx, cred, request{purpose: "probe", method: http.MethodGet, path: registerPath(register)})
	if problem != nil {
		return problem
	}
	about := r.register()
	formed := func(id sale.RegisterID) bool { return about.ID == id }
	if r.status == http.StatusNotFound || r.status == http.StatusMethodNotAllowed {
		q := request{purpose: "probe", method: http.MethodGet, path: registerSalesPath(register), query: url.Values{"limit": {"1"}}}
		if r, problem = c.exchange(ctx, cred, q); problem != nil {
			return problem
		}
		about = registerView{}
		formed = func(sale.RegisterID) bool { _, ok := r.page(); return ok }
	}
	fault := r.fault()
	if fault == "" && r.status/100 == 2 && about.ID != register && about.ID.Valid() {
		return &sale.Problem{Class: sale.KeyRefused, Status: r.status, Code: CodeOtherRegister, RequestID: r.requestID,
			Detail: "this key opens the register " + string(about.ID)}
	}
	if fault == "" && r.status/100 == 2 && !formed(register) {
		fault = codeUnreadable
	}
	if problem := classify(r, purpose{probe: true}, fault); problem != nil {
		return problem
	}
	if about.withoutUnit() {
		return ErrNoUnit
	}
	return nil
}
