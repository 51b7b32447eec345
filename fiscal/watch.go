package fiscal

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptrace"
	"sync"
)

// watch is one request on a lane. It learns from the transport whether a byte of it may
// have left.
type watch struct {
	lane *lane

	mu     sync.Mutex
	asked  bool // for a connection
	met    bool // a connection was there
	secure bool // a TLS handshake began and did not end
}

// roundTrip makes the request, once it is its turn to look for a connection.
func (w *watch) roundTrip(ctx context.Context, request func(context.Context) *http.Request) (*http.Response, error) {
	found, err := w.lane.enter(ctx)
	if err != nil {
		w.asked = true // in vain: nothing has left
		return nil, err
	}
	defer found()
	res, err := w.lane.transport.RoundTrip(request(httptrace.WithClientTrace(ctx, w.trace(found))))
	if err == nil && res.ProtoMajor < 2 {
		w.lane.open.Store(true) // each request needs a connection of its own
	}
	return res, err
}

func (w *watch) trace(found func()) *httptrace.ClientTrace {
	set := func(f func()) {
		w.mu.Lock()
		defer w.mu.Unlock()
		f()
	}
	return &httptrace.ClientTrace{
		GetConn: func(string) { set(func() { w.asked = true }) },
		GotConn: func(httptrace.GotConnInfo) {
			set(func() { w.met = true })
			found()
		},
		TLSHandshakeStart: func() { set(func() { w.secure = true }) },
		TLSHandshakeDone: func(s tls.ConnectionState, err error) {
			set(func() { w.secure = err != nil })
			if err == nil && s.NegotiatedProtocol != "h2" {
				w.lane.open.Store(true)
			}
		},
	}
}

// state gives whether bytes can have left, and whether TLS had begun.
func (w *watch) state() (mayHaveLeft, inHandshake bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.met || !w.asked, w.secure
}
