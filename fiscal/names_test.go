package fiscal_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"edgegw/fiscal"
	"edgegw/sale"
)

// Answers of a name server beside an address [RFC 1035, 4.1.1].
const (
	rcodeFailure = 2
	rcodeNoName  = 3
)

// nameServer answers every question with one IPv4 address, over UDP on loopback;
// as long as it has none, with a code.
type nameServer struct {
	conn net.PacketConn
	mu   sync.Mutex
	ip   net.IP
	code byte
}

func newNameServer(t *testing.T) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{conn: conn, code: rcodeNoName}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(s.answer(buf[:n]), from)
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-ended })
	return s
}

func (s *nameServer) set(ip string, code byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ip, s.code = net.ParseIP(ip).To4(), code
}

// answer repeats the question, and gives an A record where that is asked for.
func (s *nameServer) answer(q []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	end := 12
	for q[end] != 0 { // the labels of the name
		end += int(q[end]) + 1
	}
	end += 5 // and the type and class behind them
	a := append([]byte{}, q[:end]...)
	a[2], a[3] = 0x81, 0x80|s.code // an answer, to a question that may be passed on
	copy(a[4:12], []byte{0, 1, 0, 0, 0, 0, 0, 0})
	if s.ip != nil && binary.BigEndian.Uint16(q[end-4:]) == 1 {
		a[7] = 1
		a = append(a, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4) // the name of the question, A, IN, for 0 s
		a = append(a, s.ip...)
	}
	return a
}

func (s *nameServer) dialer() *net.Dialer {
	return &net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", s.conn.LocalAddr().String())
	}}}
}

// OpenFiskal moves to another address under its name, and the old one goes dead
// without a word: after the failure that this costs, requests go to the new one.
func TestTheServiceMoves(t *testing.T) {
	a := newAuthority(t)
	answer := func(id string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"id":"`+id+`"}`) })
	}
	first := serveTLS(t, a, "127.0.0.1:0", answer("before"), "api.openfiskal.test")
	_, port, err := net.SplitHostPort(first.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	second := serveTLS(t, a, net.JoinHostPort("127.0.0.2", port), answer("after"), "api.openfiskal.test")
	names := newNameServer(t)
	names.set("127.0.0.1", 0)
	dead := newRelay(t, first.Listener.Addr().String())
	tr := fiscal.NewTransport(fiscal.TransportOptions{RootCAs: a.pool, Host: "api.openfiskal.test", Bounds: func() (time.Time, time.Time) { return time.Now(), time.Now() }})
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := names.dialer().DialContext(ctx, network, addr)
		if err == nil && conn.RemoteAddr().String() == first.Listener.Addr().String() {
			_ = conn.Close() // by way of the relay, which can go dead
			return (&net.Dialer{}).DialContext(ctx, network, dead.Addr().String())
		}
		return conn, err
	}
	c := newClient(t, fiscal.Options{BaseURL: "https://api.openfiskal.test:" + port + "/v1", Transport: tr, Timeout: 400 * time.Millisecond}, keyRing{reg: "ofk_reg_test_1"})
	defer c.CloseIdle()
	asks := func() (string, error) {
		_, err := c.Do(t.Context(), call(sale.StepStart, newUUID(), "x/1"))
		p, ok := err.(*sale.Problem)
		if !ok {
			t.Fatalf("%v", err)
		}
		return string(p.Body), err
	}
	for range 3 {
		if body, err := asks(); body != `{"id":"before"}` {
			t.Fatalf("%s, %v", body, err)
		}
	}
	names.set("127.0.0.2", 0)
	dead.freeze()
	// Many requests under way on the dead connection at one time end together.
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			_, err := c.Do(t.Context(), call(sale.StepStart, newUUID(), "x/1"))
			if p, ok := err.(*sale.Problem); !ok || p.Class != sale.InDoubt {
				t.Errorf("on the dead connection: %v", err)
			}
		})
	}
	all.Wait()
	for range 3 {
		if body, err := asks(); body != `{"id":"after"}` {
			t.Errorf("%s, %v", body, err)
		}
	}
	_ = second
}

// serveTLS serves HTTP/2 with a certificate of a for names, or for the address.
func serveTLS(t *testing.T, a authority, addr string, h http.Handler, names ...string) *httptest.Server {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var ip net.IP
	if len(names) == 0 {
		ip = l.Addr().(*net.TCPAddr).IP
	}
	return serveWith(t, l, h, a.sign(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour), ip, names...))
}
