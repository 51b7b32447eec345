package fiscal_test

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"edgegw/fiscal"
	"edgegw/sale"
)

// crowd is a server that answers nobody until so many are there.
type crowd struct {
	*httptest.Server
	mu    sync.Mutex
	here  int
	all   int
	full  chan struct{} // closed when all are there
	conns int
}

func newCrowd(t *testing.T, http2 bool, all int) *crowd {
	t.Helper()
	c := &crowd{all: all, full: make(chan struct{})}
	c.Server = httptest.NewUnstartedServer(c)
	c.EnableHTTP2 = http2
	c.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if s == http.StateNew {
			c.conns++
		}
	}
	c.StartTLS()
	t.Cleanup(c.Close)
	return c
}

func (c *crowd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	if c.here++; c.here == c.all {
		close(c.full)
	}
	c.mu.Unlock()
	select {
	case <-c.full:
	case <-r.Context().Done():
	}
	w.WriteHeader(http.StatusServiceUnavailable)
}

// rush makes the requests all at once, and gives the connections that they took.
func (c *crowd) rush(t *testing.T) int {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(c.Certificate())
	client := newClient(t, fiscal.Options{BaseURL: c.URL + "/v1", Transport: fiscal.NewTransport(fiscal.TransportOptions{RootCAs: pool})}, keyRing{reg: "ofk_reg_test_1"})
	defer client.CloseIdle()
	var wg sync.WaitGroup
	for i := range c.all {
		wg.Go(func() {
			_, err := client.Do(t.Context(), call(sale.StepStart, newUUID(), fmt.Sprintf("x/%d", i)))
			if p, ok := err.(*sale.Problem); !ok || p.Class != sale.Transient {
				t.Errorf("request %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conns
}

// Whatever begins at once shares connections: one for each hundred.
func TestManyRequestsShareFewConnections(t *testing.T) {
	for _, row := range []struct{ requests, want int }{{40, 1}, {100, 1}, {101, 2}, {360, 4}} {
		if got := newCrowd(t, true, row.requests).rush(t); got != row.want {
			t.Errorf("%d requests at once took %d connections, want %d", row.requests, got, row.want)
		}
	}
}

// Without HTTP/2 each has a connection of its own, and waits for no other one.
func TestWithoutHTTP2NobodyWaitsForAConnection(t *testing.T) {
	if got := newCrowd(t, false, 40).rush(t); got != 40 {
		t.Errorf("40 requests at once took %d connections", got)
	}
}
