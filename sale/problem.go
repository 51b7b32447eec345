package sale

import (
	"fmt"
	"time"
)

// Class says what came back for a call and so what happens next: the rows of
// CONTRACT.md section 3. Everybody decides by the class, never by a text. The
// numbers are stored.
type Class uint8

const (
	Confirmed       Class = iota // 2xx with a well-formed body
	Uplink                       // could not connect: DNS, TCP, TLS, proxy; no byte of the request left
	InDoubt                      // sent, but no answer, a cut or an unreadable one
	Throttled                    // 429
	Transient                    // 5xx, 408, 425
	KeyRefused                   // 401, 403, or there is no key to send
	RegisterUnknown              // 404 for the register
	Resolve                      // 409 on a replayed call: read the operation back
	SigningDown                  // 422 with fiscal_errors
	Poison                       // 400, 409, 413, 415, 422 otherwise
	Misconfigured                // any redirect
)

var classNames = [...]string{"confirmed", "uplink", "in_doubt", "throttled", "transient", "key_refused",
	"register_unknown", "resolve", "signing_down", "poison", "misconfigured"}

func (c Class) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return fmt.Sprintf("class(%d)", uint8(c))
}

func (c Class) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Problem is why an attempt did not confirm its call. It is stored, shown and
// filtered on; it never carries a key or a payload.
type Problem struct {
	Class      Class
	Status     int           // HTTP status, 0 if none came
	Code       string        // the service's error code, or ours: dns, refused, tls, timeout, cut, unreadable …
	Detail     string        // for people
	Param      string        // the field of the request the service names
	RequestID  string        // X-Request-Id, for the vendor's support
	RetryAfter time.Duration // from Retry-After, 0 if none
	Body       []byte        // the answer verbatim, where there was one; at most 64 KiB
}

func (p *Problem) Error() string {
	s := p.Class.String()
	if p.Status != 0 {
		s += fmt.Sprintf(" (%d)", p.Status)
	}
	if p.Code != "" {
		s += " " + p.Code
	}
	if p.Detail != "" {
		s += ": " + p.Detail
	}
	return s
}

// CodeLookUpRefused is the Code of a look-up that the service does not allow
// (403, 405); the call itself stays in doubt.
const CodeLookUpRefused = "lookup_refused"
