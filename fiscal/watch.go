package fiscal

import (
	"crypto/tls"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
)

// watch is one request on a lane. It learns from the transport, on whose goroutines it
// is told, whether a byte of it may have left.
type watch struct {
	lane    *lane
	asked   atomic.Bool // for a connection
	met     atomic.Bool // a connection was there
	secure  atomic.Bool // a TLS handshake began and did not end
	looking atomic.Bool // it stands in the lane's door
}

// roundTrip makes a request that has w's trace, once it is its turn to look for a
// connection.
func (w *watch) roundTrip(r *http.Request) (*http.Response, error) {
	if !w.lane.open.Load() {
		if err := w.lane.enter(r.Context()); err != nil {
			w.asked.Store(true) // in vain: nothing has left
			return nil, err
		}
		w.looking.Store(true)
		defer w.found()
	}
	res, err := w.lane.transport.RoundTrip(r)
	if err == nil && res.ProtoMajor < 2 {
		w.lane.open.Store(true) // each request needs a connection of its own
	}
	return res, err
}

// found lets the next one look for a connection: there is one now, or none.
func (w *watch) found() {
	if w.looking.CompareAndSwap(true, false) {
		w.lane.leave()
	}
}

func (w *watch) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn: func(string) { w.asked.Store(true) },
		GotConn: func(httptrace.GotConnInfo) {
			w.met.Store(true)
			w.found()
		},
		TLSHandshakeStart: func() { w.secure.Store(true) },
		TLSHandshakeDone: func(s tls.ConnectionState, err error) {
			w.secure.Store(err != nil)
			if err == nil && s.NegotiatedProtocol != "h2" {
				w.lane.open.Store(true)
			}
		},
	}
}

// state gives whether bytes can have left, and whether TLS had begun.
func (w *watch) state() (mayHaveLeft, inHandshake bool) {
	return w.met.Load() || !w.asked.Load(), w.secure.Load()
}
