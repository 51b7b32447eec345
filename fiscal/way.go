package fiscal

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// way is the connections to OpenFiskal, in lanes. After a request that failed on its
// way, later ones make connections of their own: the name may mean another address by
// now, and an HTTP/2 connection that has gone dead looks alive, and would take each of
// them along until a ping finds out. What is under way on the old ones is left to end
// there.
type way struct {
	mu    sync.Mutex
	lanes []*lane // at least one
}

// laneRoom is how many requests share a lane: no server of HTTP/2 should allow fewer on
// one connection (RFC 9113, section 6.5.2).
const laneRoom = 100

// lane is a transport of its own, and with HTTP/2 one connection. Left to itself
// net/http makes a connection for each request that finds none, or none with room: a
// site whose hundred queues begin at once would pay a hundred TLS handshakes, and keep
// one.
type lane struct {
	transport http.RoundTripper
	busy      int           // requests under way; guarded by way.mu
	door      chan struct{} // holds the request that looks for a connection
	open      atomic.Bool   // no request needs to wait for another one's connection
}

func newLane(t http.RoundTripper) *lane {
	l := &lane{transport: t, door: make(chan struct{}, 1)}
	if _, ok := t.(*http.Transport); !ok {
		l.open.Store(true) // a stand-in's, without connections
	}
	return l
}

// another gives a lane with the same settings, and no connection.
func (l *lane) another() *lane {
	if t, ok := l.transport.(*http.Transport); ok {
		return newLane(t.Clone())
	}
	return l
}

// take gives the first lane that has room, so that no more connections are open than
// are needed. The caller gives it back with leave.
func (w *way) take() *lane {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.lanes, func(l *lane) bool { return l.busy < laneRoom })
	if i < 0 {
		if more := w.lanes[0].another(); more != w.lanes[0] {
			w.lanes = append(w.lanes, more)
		}
		i = len(w.lanes) - 1
	}
	w.lanes[i].busy++
	return w.lanes[i]
}

func (w *way) leave(l *lane) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l.busy--
}

// enter waits until the caller may look for a connection; leave lets the next one in.
// The error is ctx's.
func (l *lane) enter(ctx context.Context) error {
	select {
	case l.door <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *lane) leave() { <-l.door }

// retire takes every lane out of use, unless another failure did so before. Requests on
// them end within limit.
func (w *way) retire(failed *lane, limit time.Duration) {
	failed.open.Store(true) // who waits at its door fails as it did, and at once
	w.mu.Lock()
	defer w.mu.Unlock()
	fresh := failed.another()
	if fresh == failed || !slices.Contains(w.lanes, failed) {
		return
	}
	old := w.lanes
	w.lanes = []*lane{fresh}
	closeAll := func() {
		for _, l := range old {
			closeIdle(l.transport)
		}
	}
	closeAll()
	time.AfterFunc(limit+time.Second, closeAll)
}

// closeIdle drops the connections that no request uses.
func (w *way) closeIdle() {
	w.mu.Lock()
	lanes := slices.Clone(w.lanes)
	w.mu.Unlock()
	for _, l := range lanes {
		closeIdle(l.transport)
	}
}

func closeIdle(r http.RoundTripper) {
	if t, ok := r.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}
