package fiscal

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"time"

	"edgegw/sale"
	"edgegw/secret"
)

// request is what one exchange sends.
type request struct {
	purpose        string // as Options.Observed is told
	method, path   string
	query          url.Values
	idempotencyKey string
	body           []byte
}

// reply is an answer as it was read. Its body is free of the key.
type reply struct {
	status     int
	requestID  string
	retryAfter time.Duration
	location   string // scheme and host of a redirect
	html       bool   // it is a page for people
	body       []byte
	readErr    error // the body did not come whole
}

var errTooLong = errors.New("the answer is longer than 1 MiB")

// exchange makes one request and reads the answer to its end. It uses the
// transport itself: an http.Client would follow redirects and take the key
// along to another host (FAULTS.md H2).
func (c *Client) exchange(ctx context.Context, cred credential, q request) (reply, *sale.Problem) {
	key := cred.key
	if !validKey(key.Reveal()) {
		return reply{}, &sale.Problem{Class: sale.KeyRefused, Code: "bad_key", Detail: "the register key holds characters that no key has"}
	}
	if err := KeyFits(c.base.Hostname(), key); err != nil {
		return reply{}, &sale.Problem{Class: sale.KeyRefused, Code: codeWrongHost, Detail: err.Error()}
	}
	if err := ctx.Err(); err != nil {
		return reply{}, notSent(err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	begun := time.Now()
	lane := c.way.take()
	defer c.way.leave(lane)
	w := watch{lane: lane}
	res, err := w.roundTrip(c.newRequest(httptrace.WithClientTrace(ctx, w.trace()), cred, q))
	if err != nil {
		c.way.retire(lane, c.timeout)
		p := transportProblem(err, &w)
		c.observed(q.purpose, p.Class.String(), time.Since(begun))
		p.Detail = clean(string(scrub([]byte(p.Detail), key)), maxDetail)
		return reply{}, p
	}
	defer func() { _ = res.Body.Close() }()
	body, err := readBody(res)
	switch {
	case err != nil:
		c.way.retire(lane, c.timeout)
	case len(body) > maxAnswer:
		err = errTooLong
	default:
		if at, bad := http.ParseTime(res.Header.Get("Date")); bad == nil {
			c.date(at)
		}
	}
	c.observed(q.purpose, outcome(res.StatusCode, err), time.Since(begun))
	return reply{
		status:     res.StatusCode,
		requestID:  clean(string(scrub([]byte(res.Header.Get(headerRequestID)), key)), maxToken),
		retryAfter: retryAfter(res.Header),
		location:   hostOf(string(scrub([]byte(res.Header.Get("Location")), key))),
		html:       isHTML(res.Header.Get("Content-Type"), body),
		body:       scrub(body, key),
		readErr:    err,
	}, nil
}

// readBody reads an answer to its end, or one byte more than it may have.
func readBody(res *http.Response) ([]byte, error) {
	var b bytes.Buffer
	if n := res.ContentLength; n > 0 {
		b.Grow(int(min(n, maxFirst)) + bytes.MinRead) // Buffer reads so much at a time
	}
	_, err := b.ReadFrom(io.LimitReader(res.Body, maxAnswer+1))
	return b.Bytes(), err
}

// outcome is the word for an answer that Options.Observed is told.
func outcome(status int, readErr error) string {
	if hundreds := status / 100; readErr == nil && hundreds >= 2 && hundreds <= 5 {
		return strconv.Itoa(hundreds) + "xx"
	}
	return sale.InDoubt.String()
}

func (c *Client) newRequest(ctx context.Context, cred credential, q request) *http.Request {
	u := c.base
	u.Path += q.path
	u.RawQuery = q.query.Encode()
	req := (&http.Request{
		Method: q.method, URL: &u, Host: u.Host, Header: http.Header{},
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	cred.stamp(req.Header)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.agent)
	if q.method == http.MethodGet {
		return req
	}
	if q.idempotencyKey != "" {
		req.Header.Set(headerIdempotency, q.idempotencyKey)
	}
	if len(q.body) > 0 || q.idempotencyKey != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	// net/http sends a request with an Idempotency-Key again by itself when a
	// kept-alive connection dies under it, if it can make the body again
	// (FAULTS.md H1). So it must not be able to: GetBody stays nil, and there is
	// a body also where it is empty, because no body can always be made again.
	req.GetBody = nil
	req.Body = io.NopCloser(bytes.NewReader(q.body))
	req.ContentLength = int64(len(q.body))
	return req
}

// isHTML reports whether an answer is a page for people: what captive portals and
// proxies say in the place of OpenFiskal.
func isHTML(contentType string, body []byte) bool {
	begin := bytes.ToLower(bytes.TrimSpace(body[:min(len(body), 200)]))
	return strings.HasPrefix(contentType, "text/html") || bytes.HasPrefix(begin, []byte("<!doctype html")) || bytes.HasPrefix(begin, []byte("<html"))
}

// fault says what keeps the body from being read; "" means nothing.
func (r reply) fault() string {
	switch {
	case r.readErr == nil:
		return ""
	case errors.Is(r.readErr, errTooLong):
		return codeUnreadable
	case timedOut(r.readErr):
		return codeTimeout
	}
	return codeCut
}

// validKey refuses what cannot be in a header (FAULTS.md F59).
func validKey(k []byte) bool {
	for _, c := range k {
		if c <= 0x20 || c >= 0x7f {
			return false
		}
	}
	return len(k) <= 4096
}

// leastKey is the length from which a key is taken out of answers: a shorter
// one protects nothing, and taking it out could break an honest answer.
const leastKey = 8

// scrub takes the key out of what came back: a service that repeats it in an
// error must not make it stand in our journal.
func scrub(b []byte, key secret.Text) []byte {
	if len(key.Reveal()) < leastKey || !bytes.Contains(b, key.Reveal()) {
		return b
	}
	return bytes.ReplaceAll(b, key.Reveal(), []byte(secret.Redacted))
}

// clean makes text from outside fit for a log line: printable, and short.
func clean(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfffd {
			return ' '
		}
		return r
	}, s)
	for i := range s {
		if i > most {
			return s[:i] + " …"
		}
	}
	return s
}

func hostOf(location string) string {
	u, err := url.Parse(location)
	if err != nil || u.Host == "" {
		return ""
	}
	return clean(u.Scheme+"://"+u.Host, maxToken)
}

// retryAfter reads Retry-After in seconds or as a date, clamped to 0…1 h;
// nonsense counts as absent. A date is measured against the answer's own Date,
// and without one it says nothing: a site has no clock to rely on.
func retryAfter(h http.Header) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" {
		return 0
	}
	if strings.Trim(v, "0123456789") == "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n > int64(maxRetryAfter/time.Second) {
			return maxRetryAfter
		}
		return time.Duration(n) * time.Second
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}
