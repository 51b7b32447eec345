package fiscal_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"edgegw/fiscal"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/secret"
)

// dying answers the first POST of a connection and keeps it alive; at the
// second it reads the request and cuts the connection. It counts POSTs.
type dying struct {
	ln    net.Listener
	mu    sync.Mutex
	posts int
	wg    sync.WaitGroup
}

func newDying(t *testing.T) *dying {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &dying{ln: ln}
	d.wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			d.wg.Go(func() { d.serve(conn) })
		}
	})
	t.Cleanup(func() { _ = ln.Close(); d.wg.Wait() })
	return d
}

func (d *dying) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	for n := 1; ; n++ {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		d.mu.Lock()
		d.posts++
		d.mu.Unlock()
		if n == 2 {
			return // the answer is lost with the connection
		}
		const body = `{"id":"op_1","state":"open"}`
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
}

func (d *dying) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.posts
}

// FAULTS.md H1: one Do is at most one POST, also when the kept-alive connection
// dies under it, and also with an empty body.
func TestOneDoIsOnePOST(t *testing.T) {
	for _, body := range []string{`{"a":1}`, ""} {
		d := newDying(t)
		tr := fiscal.NewTransport(fiscal.TransportOptions{})
		c := newClient(t, fiscal.Options{BaseURL: "http://" + d.ln.Addr().String(), Transport: tr}, keyRing{reg: "ofk_reg_test_1"})
		one := call(sale.StepUpdate, "op_1", "")
		one.Method, one.Body = "POST", []byte(body)
		if _, err := c.Do(t.Context(), one); err != nil {
			t.Fatal(err)
		}
		_, err := c.Do(t.Context(), one)
		problem(t, err, sale.InDoubt, "cut")
		if n := d.count(); n != 2 {
			t.Errorf("body %q: %d POSTs for two Do, want 2", body, n)
		}
		tr.CloseIdleConnections()
	}
}

// The tripwire of H1: net/http by itself still sends such a POST again. When
// this fails, the workaround in newRequest is no longer needed.
func TestTripwirePlainClientPostsTwice(t *testing.T) {
	d := newDying(t)
	h := &http.Client{Transport: &http.Transport{}}
	defer h.CloseIdleConnections()
	for range 2 {
		r, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+d.ln.Addr().String()+"/", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Idempotency-Key", newUUID())
		res, err := h.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
	if n := d.count(); n != 3 {
		t.Errorf("%d POSTs for two requests, want 3: has net/http changed?", n)
	}
}

// FAULTS.md H2, F23: the key never travels to another host.
func TestRedirectsAreNotFollowed(t *testing.T) {
	var elsewhere []string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		elsewhere = append(elsewhere, r.Header.Get("X-Register-Api-Key"))
	}))
	b, _ := overTLS(t, sandbox.Options{}, 0)
	for _, status := range []int{301, 302, 303, 307, 308} {
		b.s.Inject(sandbox.Fault{Action: sandbox.Redirect, Status: status, Location: other.URL + "/v1/sales"})
		_, err := b.c.Do(t.Context(), call(sale.StepStart, newUUID(), "x/1"))
		if p := problem(t, err, sale.Misconfigured, "redirect"); !strings.Contains(p.Detail, other.URL) {
			t.Errorf("the detail does not say where to: %s", p.Detail)
		}
		problem(t, b.c.Probe(t.Context(), reg, secret.FromString(b.ks[reg])), sale.Misconfigured, "redirect")
		_, err = b.c.Find(t.Context(), lost(reg, newUUID(), "x/1"), nil)
		problem(t, err, sale.Misconfigured, "redirect")
		b.s.ClearFaults()
	}
	other.Close()
	if len(elsewhere) != 0 {
		t.Errorf("%d requests reached the other host", len(elsewhere))
	}
}

// FAULTS.md H4, H5, F14, F28: answers that lie about their end or their size.
func TestOddAnswers(t *testing.T) {
	const good = `{"id":"op_1","state":"completed"}`
	zip := func(s string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = io.WriteString(w, s)
		_ = w.Close()
		return b.String()
	}
	for _, row := range []struct {
		name, header, body string
		code               string // "" means confirmed
	}{
		{"whole", "Content-Length: 33\r\n", good, ""},
		{"whole until the end of the connection", "Connection: close\r\n", good, ""},
		{"half until the end of the connection", "Connection: close\r\n", good[:20], "unreadable"},
		{"nothing until the end of the connection", "Connection: close\r\n", "", "unreadable"},
		{"shorter than announced", "Content-Length: 90\r\n", good, "cut"},
		{"chunks without an end", "Transfer-Encoding: chunked\r\n", "21\r\n" + good + "\r\n", "cut"},
		{"zipped", "Connection: close\r\nContent-Encoding: gzip\r\n", zip(good), ""},
		{"zipped and cut", "Connection: close\r\nContent-Encoding: gzip\r\n", zip(good)[:30], "cut"},
		{"bomb", "Connection: close\r\nContent-Encoding: gzip\r\n", zip(`{"id":"op_1","state":"completed","x":"` + strings.Repeat("0", 8<<20) + `"}`), "unreadable"},
		{"too long", "Connection: close\r\n", good + strings.Repeat(" ", 1<<20), "unreadable"},
		{"too deep", "Connection: close\r\n", `{"id":"op_1","state":"completed","x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, "unreadable"},
		{"headers without end", strings.Repeat("X-Filler: "+strings.Repeat("x", 1000)+"\r\n", 100), "", "cut"},
		{"not HTTP", "no colon\r\n", "", "cut"},
	} {
		t.Run(row.name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			wg.Go(func() {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				defer func() { _ = conn.Close() }()
				r, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, r.Body)
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+row.header+"\r\n"+row.body)
			})
			c := newClient(t, fiscal.Options{BaseURL: "http://" + ln.Addr().String()}, keyRing{reg: "ofk_reg_test_1"})
			_, err = c.Do(t.Context(), call(sale.StepComplete, "op_1", ""))
			if row.code == "" && err != nil {
				t.Errorf("not confirmed: %v", err)
			}
			if row.code != "" {
				problem(t, err, sale.InDoubt, row.code)
			}
			_ = ln.Close()
			wg.Wait()
			c.CloseIdle()
		})
	}
}

// Whatever keeps the connection from being made is the uplink's, by its cause.
func TestNoConnection(t *testing.T) {
	_, v := overTLS(t, sandbox.Options{}, 0)
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	closed := nobodyAt(t)
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(407) }))
	defer refusing.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	parse := func(s string) *url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	noDNS := fiscal.NewTransport(fiscal.TransportOptions{})
	noDNS.DialContext = (&net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no name server")
	}}}).DialContext
	names := newNameServer(t)
	unknownName := fiscal.NewTransport(fiscal.TransportOptions{})
	unknownName.DialContext = names.dialer().DialContext
	sick := newNameServer(t)
	sick.set("", rcodeFailure)
	sickDNS := fiscal.NewTransport(fiscal.TransportOptions{})
	sickDNS.DialContext = sick.dialer().DialContext
	denying := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }))
	defer denying.Close()
	hole := fiscal.NewTransport(fiscal.TransportOptions{})
	hole.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	old := transportFor(t, v)
	old.TLSClientConfig.ServerName = "other.test"
	for _, row := range []struct {
		name string
		base string
		tr   http.RoundTripper
		code string
	}{
		{"no name server", "https://api.openfiskal.test/v1", noDNS, "dns"},
		{"name not known", "https://api.openfiskal.test/v1", unknownName, "dns_no_such_name"},
		{"name server out of order", "https://api.openfiskal.test/v1", sickDNS, "dns"},
		{"refused", "https://" + closed, nil, "refused"},
		{"black hole", "https://192.0.2.1/v1", hole, "timeout"},
		{"unknown CA", v.URL(), nil, "tls_issuer"},
		{"wrong name", v.URL(), old, "tls_name"},
		{"no TLS at all", strings.Replace(plain.URL, "http", "https", 1), nil, "tls_missing"},
		{"handshake that hangs", "https://" + silent.Addr().String(), nil, "tls_timeout"},
		{"proxy refuses", v.URL(), fiscal.NewTransport(fiscal.TransportOptions{Proxy: parse(denying.URL)}), "proxy"},
		{"proxy wants a login", v.URL(), fiscal.NewTransport(fiscal.TransportOptions{Proxy: parse(refusing.URL)}), "proxy_login"},
		{"proxy is not there", v.URL(), fiscal.NewTransport(fiscal.TransportOptions{Proxy: parse("http://" + closed)}), "proxy_unreachable"},
	} {
		t.Run(row.name, func(t *testing.T) {
			timeout := time.Minute // a busy machine is no fault of the line
			if strings.HasSuffix(row.code, "timeout") {
				timeout = 300 * time.Millisecond
			}
			c := newClient(t, fiscal.Options{BaseURL: row.base, Transport: row.tr, Timeout: timeout}, keyRing{reg: "ofk_reg_test_1"})
			_, err := c.Do(t.Context(), call(sale.StepStart, newUUID(), "x/1"))
			problem(t, err, sale.Uplink, row.code)
			c.CloseIdle()
		})
	}
}

// The environment's proxy is not ours (FAULTS.md F24).
func TestEnvironmentProxyIsIgnored(t *testing.T) {
	if p := fiscal.NewTransport(fiscal.TransportOptions{}).Proxy; p != nil {
		t.Error("a proxy without being asked for one")
	}
}

func TestUplinkCutAndBack(t *testing.T) {
	b, _ := overTLS(t, sandbox.Options{}, 0)
	b.open("x/1")
	b.s.SetDown(true)
	b.c.CloseIdle()
	_, err := b.c.Do(t.Context(), call(sale.StepStart, newUUID(), "x/2"))
	problem(t, err, sale.Uplink, "refused")
	b.s.SetDown(false)
	b.c.CloseIdle()
	b.open("x/2")
}

// A request that was sent and not answered in time is in doubt, over a real
// connection as in process.
func TestTimeoutAfterSending(t *testing.T) {
	b, _ := overTLS(t, sandbox.Options{}, 300*time.Millisecond)
	b.s.Inject(sandbox.Fault{Step: sandbox.StepStart, After: time.Hour})
	_, err := b.c.Do(t.Context(), call(sale.StepStart, newUUID(), "x/1"))
	problem(t, err, sale.InDoubt, "timeout")

	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, sandbox.Options{})
		b.s.SetLatency(time.Hour)
		begin := time.Now()
		_, err := b.c.Do(t.Context(), call(sale.StepStart, newUUID(), "x/1"))
		problem(t, err, sale.InDoubt, "timeout")
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("gave up after %v, want 10s", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err = b.c.Do(ctx, call(sale.StepStart, newUUID(), "x/1"))
		problem(t, err, sale.InDoubt, "cancelled")
		_, err = b.c.Do(ctx, call(sale.StepStart, newUUID(), "x/1"))
		problem(t, err, sale.Uplink, "cancelled")
	})
}

// In process the stand-in must look to the client as a real connection does.
func TestInProcessTransportErrors(t *testing.T) {
	b := newBench(t, sandbox.Options{})
	for action, want := range map[sandbox.Action]struct {
		class sale.Class
		code  string
	}{
		sandbox.Refuse:      {sale.Uplink, "refused"},
		sandbox.DropRequest: {sale.InDoubt, "cut"},
		sandbox.DropAnswer:  {sale.InDoubt, "cut"},
		sandbox.CutAnswer:   {sale.InDoubt, "cut"},
	} {
		b.s.Inject(sandbox.Fault{Action: action, Times: 1})
		_, err := b.c.Do(t.Context(), call(sale.StepStart, newUUID(), "x/1"))
		problem(t, err, want.class, want.code)
	}
	b.s.SetDown(true)
	_, err := b.c.Do(t.Context(), call(sale.StepStart, newUUID(), "x/1"))
	problem(t, err, sale.Uplink, "unreachable")
}

// A transport that tells nothing about its connections is not believed.
func TestSilentTransportIsInDoubt(t *testing.T) {
	c := newClient(t, fiscal.Options{BaseURL: sandbox.BaseURL, Transport: roundTripper(func(*http.Request) (*http.Response, error) {
		return nil, errors.New("something broke")
	})}, keyRing{reg: "ofk_reg_test_1"})
	_, err := c.Do(t.Context(), call(sale.StepStart, newUUID(), "x/1"))
	problem(t, err, sale.InDoubt, "cut")
	// Only where it says itself that there never was a connection.
	c = newClient(t, fiscal.Options{BaseURL: sandbox.BaseURL, Transport: roundTripper(func(*http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "dial", Err: errors.New("no route")}
	})}, keyRing{reg: "ofk_reg_test_1"})
	_, err = c.Do(t.Context(), call(sale.StepStart, newUUID(), "x/1"))
	problem(t, err, sale.Uplink, "unreachable")
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestRetryAfterReachesTheProblem(t *testing.T) {
	b, _ := overTLS(t, sandbox.Options{}, 0)
	for value, want := range map[string]time.Duration{"17": 17 * time.Second, "nonsense": 0, "1000000000": time.Hour} {
		b.s.Inject(sandbox.Fault{Action: sandbox.Throttle, RetryAfter: value, Times: 1})
		_, err := b.c.Do(t.Context(), call(sale.StepStart, newUUID(), "x/1"))
		if p := problem(t, err, sale.Throttled, "rate_limit_exceeded"); p.RetryAfter != want {
			t.Errorf("%q: %v, want %v", value, p.RetryAfter, want)
		}
	}
}

func TestTransport(t *testing.T) {
	tr := fiscal.NewTransport(fiscal.TransportOptions{})
	if tr.TLSClientConfig.MinVersion != tls.VersionTLS12 || tr.MaxResponseHeaderBytes != 64<<10 || tr.TLSHandshakeTimeout == 0 ||
		tr.ResponseHeaderTimeout == 0 || tr.IdleConnTimeout == 0 || !tr.ForceAttemptHTTP2 {
		t.Errorf("limits are missing: %+v", tr)
	}
	dir := t.TempDir()
	_, v := overTLS(t, sandbox.Options{}, 0)
	good, bad := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "bad.pem")
	for file, content := range map[string][]byte{good: v.CAPEM(), bad: []byte("nothing")} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{bad, filepath.Join(dir, "none.pem")} {
		if _, err := fiscal.LoadCA(file); err == nil {
			t.Errorf("%s was taken", file)
		}
	}
	pool, err := fiscal.LoadCA(good)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, fiscal.Options{BaseURL: v.URL(), Transport: fiscal.NewTransport(fiscal.TransportOptions{RootCAs: pool})}, keyRing{reg: "ofk_reg_test_none"})
	_, err = c.Do(t.Context(), call(sale.StepStart, newUUID(), "x/1"))
	problem(t, err, sale.KeyRefused, "unauthorized")
	c.CloseIdle()
}

// nobodyAt gives an address that refuses connections: bound, so that nobody else
// gets it meanwhile, and not listened on.
func nobodyAt(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	addr, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", addr.(*syscall.SockaddrInet4).Port)
}
