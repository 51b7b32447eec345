package fiscal

import (
	"net/http"
	"sync"
	"time"
)

// way is the connections to OpenFiskal. After a request that failed on its way,
// later ones make connections of their own: the name may mean another address by
// now, and an HTTP/2 connection that has gone dead looks alive, and would take
// each of them along until a ping finds out. What is under way on the old ones
// is left to end there.
type way struct {
	mu        sync.Mutex
	transport http.RoundTripper
}

func (w *way) now() http.RoundTripper {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.transport
}

// retire takes a way out of use, unless another failure did so before. Requests
// on it end within limit.
func (w *way) retire(failed http.RoundTripper, limit time.Duration) {
	old, ok := failed.(*http.Transport)
	if !ok {
		return // a stand-in's, without connections
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.transport != failed {
		return
	}
	w.transport = old.Clone() // with its settings, and no connection
	old.CloseIdleConnections()
	time.AfterFunc(limit+time.Second, old.CloseIdleConnections)
}

func closeIdle(r http.RoundTripper) {
	if t, ok := r.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}
