package gateway

import (
	"crypto/x509"
	"net/http"
	"runtime"
	"sync/atomic"
	"time"

	"edgegw/broker"
	"edgegw/sale"
)

// rest is how long no secret has passed through the gateway when its memory is
// tidied. Idle connections are closed before that, so that their buffers can go:
// the commands' after 30 s (idleLimit), those to OpenFiskal after 20 s, and their
// last ping is over 15 s later (fiscal/decisions.go); until then a timer of
// net/http holds them.
const rest = 40 * time.Second

// tidy takes out of memory what secrets have left behind: register keys in the
// headers and buffers of net/http, device secrets in those of the broker, both in
// JSON. Nobody holds them any more, but they stand there until the garbage
// collector comes by, which on a site at rest takes it minutes. What it frees is
// overwritten (cmd/edgegw/harden_linux.go).
//
// The price: two collections after each rest, a few milliseconds each; none on a
// site that never rests, where the collector comes by of itself.
type tidy struct {
	handled atomic.Int64 // a nanosecond behind the last secret that passed through, since begun; 0: none since the last tidying
	begun   time.Time
}

func newTidy() *tidy { return &tidy{begun: time.Now()} }

// touched says that a secret is passing through.
func (t *tidy) touched() { t.handled.Store(int64(time.Since(t.begun)) + 1) }

// look tidies where it is time to, and says whether it did.
func (t *tidy) look() bool {
	last := t.handled.Load()
	if last == 0 || time.Since(t.begun)-time.Duration(last-1) < rest || !t.handled.CompareAndSwap(last, 0) {
		return false
	}
	// Twice, because a sync.Pool, where net/http and crypto/tls keep their
	// buffers, gives its things up with the second.
	runtime.GC()
	runtime.GC()
	return true
}

// seen is the guard of the devices, with each login noted.
type seen struct {
	broker.Guard
	*tidy
}

func (s seen) Authenticate(username string, secret []byte, cert *x509.Certificate) (sale.DeviceID, error) {
	s.touched()
	return s.Guard.Authenticate(username, secret, cert)
}

// handler notes each request: a key may come with it, and a device's secret go.
func (t *tidy) handler(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer t.touched()
		h.ServeHTTP(w, r)
	})
}
