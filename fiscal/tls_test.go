package fiscal_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"edgegw/fiscal"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
)

// authority signs server certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter: time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a := authority{cert, key, x509.NewCertPool()}
	a.pool.AddCert(cert)
	return a
}

func (a authority) sign(t *testing.T, from, to time.Time, ip net.IP, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "leaf"}, NotBefore: from, NotAfter: to,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, DNSNames: names}
	if ip != nil {
		c.IPAddresses = []net.IP{ip}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// A clock that nobody vouches for does not cost the uplink; a name, an authority
// and an end that has certainly come are never forgiven.
func TestCertificatesAreCheckedByTheSitesClock(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	day := func(y int, m time.Month) time.Time { return time.Date(y, m, 1, 0, 0, 0, 0, time.UTC) }
	from, to := day(2027, 3), day(2027, 9)
	loopback := net.IPv4(127, 0, 0, 1)
	for _, row := range []struct {
		name       string
		signer     authority
		from, to   time.Time
		ip         net.IP
		names      []string
		host       string
		now, least time.Time
		code       string
	}{
		{"the right time", ours, from, to, loopback, nil, "127.0.0.1", day(2027, 5), day(2027, 5), ""},
		{"by name", ours, from, to, nil, []string{"localhost"}, "localhost", day(2027, 5), day(2027, 5), ""},
		{"1970, the journal knows better", ours, from, to, loopback, nil, "127.0.0.1", day(1970, 1), day(2027, 4), ""},
		{"1970, a certificate newer than the journal", ours, from, to, loopback, nil, "127.0.0.1", day(1970, 1), day(2027, 1), ""},
		{"2077", ours, from, to, loopback, nil, "127.0.0.1", day(2077, 1), day(2027, 4), ""},
		{"2077 that somebody vouches for", ours, from, to, loopback, nil, "127.0.0.1", day(2077, 1), day(2077, 1), "tls_time"},
		{"1970 that somebody vouches for", ours, from, to, loopback, nil, "127.0.0.1", day(1970, 1), day(1970, 1), "tls_time"},
		{"ended before the journal's last time", ours, from, to, loopback, nil, "127.0.0.1", day(2077, 1), day(2027, 10), "tls_time"},
		{"another address in 1970", ours, from, to, net.IPv4(127, 0, 0, 2), nil, "127.0.0.1", day(1970, 1), day(2027, 4), "tls_name"},
		{"another name", ours, from, to, loopback, []string{"other.test"}, "localhost", day(2027, 5), day(2027, 5), "tls_name"},
		{"another authority in 1970", theirs, from, to, loopback, nil, "127.0.0.1", day(1970, 1), day(2027, 4), "tls_issuer"},
	} {
		t.Run(row.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := serveWith(t, l, connected, row.signer.sign(t, row.from, row.to, row.ip, row.names...))
			tr := fiscal.NewTransport(fiscal.TransportOptions{RootCAs: ours.pool, Host: row.host, Bounds: func() (time.Time, time.Time) { return row.now, row.least }})
			c := newClient(t, fiscal.Options{BaseURL: strings.Replace(s.URL, "127.0.0.1", row.host, 1) + "/v1", Transport: tr}, keyRing{"reg_1": "ofk_reg_test_1"})
			defer c.CloseIdle()
			_, err = c.Do(t.Context(), call(sale.StepStart, newUUID(), "x/1"))
			if row.code == "" {
				problem(t, err, sale.InDoubt, "unreadable") // it connected, and the answer is no operation
				return
			}
			problem(t, err, sale.Uplink, row.code)
		})
	}
}

// connected answers, so that the client knows it has connected, with what is no
// operation.
var connected = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"id":"reg_1"}`) })

func serveWith(t *testing.T, l net.Listener, h http.Handler, c tls.Certificate) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	_ = s.Listener.Close()
	s.Listener = l
	s.TLS = &tls.Config{Certificates: []tls.Certificate{c}}
	s.EnableHTTP2 = true
	s.Config.ErrorLog = quietLog()
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// The dates of an intermediate are forgiven as those of the server: an authority
// that was made anew after the estimate is no unknown one.
func TestAnIntermediateFromTheFuture(t *testing.T) {
	root := newAuthority(t)
	day := func(m time.Month, d int) time.Time { return time.Date(2027, m, d, 0, 0, 0, 0, time.UTC) }
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "intermediate"},
		NotBefore: day(4, 1), NotAfter: day(12, 1), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, root.cert, &key.PublicKey, root.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	leaf := authority{cert: cert, key: key}.sign(t, day(3, 1), day(9, 1), net.IPv4(127, 0, 0, 1))
	leaf.Certificate = append(leaf.Certificate, der)
	for _, row := range []struct {
		name  string
		least time.Time
		code  string
	}{
		{"nobody vouches for the estimate", day(1, 1), ""},
		{"the kernel does", day(3, 15), "tls_time"},
	} {
		t.Run(row.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := serveWith(t, l, connected, leaf)
			tr := fiscal.NewTransport(fiscal.TransportOptions{RootCAs: root.pool, Host: "127.0.0.1", Bounds: func() (time.Time, time.Time) { return day(3, 15), row.least }})
			c := newClient(t, fiscal.Options{BaseURL: s.URL + "/v1", Transport: tr}, keyRing{reg: "ofk_reg_test_1"})
			defer c.CloseIdle()
			_, err = c.Do(t.Context(), call(sale.StepStart, newUUID(), "x/1"))
			if row.code == "" {
				problem(t, err, sale.InDoubt, "unreadable")
				return
			}
			problem(t, err, sale.Uplink, row.code)
		})
	}
}

// crypto/tls names no addresses to whoever checks the certificate: that of a
// proxy must not stand for OpenFiskal's, and none must not mean any.
func TestACertificateIsForTheAddressThatWasCalled(t *testing.T) {
	a := newAuthority(t)
	now := func() (time.Time, time.Time) { return time.Now(), time.Now() }
	tunnel := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		down, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(down, "HTTP/1.1 200 OK\r\n\r\n")
		var both sync.WaitGroup
		for _, way := range [][2]net.Conn{{up, down}, {down, up}} {
			both.Go(func() { _, _ = io.Copy(way[0], way[1]); _ = way[0].Close() })
		}
		both.Wait()
	})
	plainProxy := httptest.NewServer(tunnel)
	t.Cleanup(plainProxy.Close)
	listen := func(addr string) net.Listener {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	signed := func(ip net.IP, names ...string) tls.Certificate {
		return a.sign(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour), ip, names...)
	}
	tlsProxy := httptest.NewUnstartedServer(tunnel)
	tlsProxy.TLS = &tls.Config{Certificates: []tls.Certificate{signed(net.IPv4(127, 0, 0, 1))}}
	tlsProxy.Config.ErrorLog = quietLog()
	tlsProxy.StartTLS()
	t.Cleanup(tlsProxy.Close)
	right := serveWith(t, listen("127.0.0.2:0"), connected, signed(net.IPv4(127, 0, 0, 2)))
	named := serveWith(t, listen("127.0.0.1:0"), connected, signed(nil, "localhost"))
	wrong := serveWith(t, listen("127.0.0.2:0"), connected, signed(net.IPv4(127, 0, 0, 1)))
	for _, row := range []struct {
		name, base, host, proxy string
		code                    string
	}{
		{"an address", right.URL, "127.0.0.2", "", ""},
		{"an address by a proxy", right.URL, "127.0.0.2", plainProxy.URL, ""},
		{"a name by a proxy that is called by its address", strings.Replace(named.URL, "127.0.0.1", "localhost", 1), "localhost", tlsProxy.URL, ""},
		{"the certificate of the proxy's address", wrong.URL, "127.0.0.2", plainProxy.URL, "tls_name"},
		{"no host given", right.URL, "", "", "tls_name"},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := fiscal.TransportOptions{RootCAs: a.pool, Host: row.host, Bounds: now}
			if row.proxy != "" {
				u, err := url.Parse(row.proxy)
				if err != nil {
					t.Fatal(err)
				}
				o.Proxy = u
			}
			c := newClient(t, fiscal.Options{BaseURL: row.base + "/v1", Transport: fiscal.NewTransport(o)}, keyRing{reg: "ofk_reg_test_1"})
			defer c.CloseIdle()
			_, err := c.Do(t.Context(), call(sale.StepStart, newUUID(), "x/1"))
			if row.code == "" {
				problem(t, err, sale.InDoubt, "unreadable")
				return
			}
			problem(t, err, sale.Uplink, row.code)
		})
	}
}

// TLS below 1.2 is refused, whatever the clock says.
func TestOldTLSIsRefused(t *testing.T) {
	a := newAuthority(t)
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{Certificates: []tls.Certificate{a.sign(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour), net.IPv4(127, 0, 0, 1))}, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	s.Config.ErrorLog = quietLog()
	s.StartTLS()
	defer s.Close()
	for _, bounds := range []func() (time.Time, time.Time){nil, func() (time.Time, time.Time) { return time.Now(), time.Unix(0, 0) }} {
		tr := fiscal.NewTransport(fiscal.TransportOptions{RootCAs: a.pool, Host: "127.0.0.1", Bounds: bounds})
		c := newClient(t, fiscal.Options{BaseURL: s.URL + "/v1", Transport: tr}, keyRing{"reg_1": "ofk_reg_test_1"})
		_, err := c.Do(t.Context(), call(sale.StepStart, newUUID(), "x/1"))
		problem(t, err, sale.Uplink, "tls_version")
	}
}

// relay forwards TCP to wherever it is told, or swallows everything.
type tcpRelay struct {
	net.Listener
	mu     sync.Mutex
	to     string
	frozen map[net.Conn]bool
	conns  int
}

func newRelay(t *testing.T, to string) *tcpRelay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &tcpRelay{Listener: l, to: to, frozen: map[net.Conn]bool{}}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			r.conns++
			r.frozen[c] = false
			to := r.to
			r.mu.Unlock()
			up, err := net.Dial("tcp", to)
			if err != nil {
				c.Close()
				continue
			}
			go r.pipe(c, c, up)
			go r.pipe(c, up, c)
		}
	}()
	return r
}

func (r *tcpRelay) pipe(key, from, to net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		r.mu.Lock()
		frozen := r.frozen[key]
		r.mu.Unlock()
		if err != nil {
			to.Close()
			return
		}
		if !frozen {
			_, _ = to.Write(buf[:n])
		}
	}
}

// freeze makes every connection there is a black hole.
func (r *tcpRelay) freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.frozen {
		r.frozen[c] = true
	}
}

// After a failure the next request makes a new connection: to where the name
// leads by now, and not on one that is dead and looks alive.
func TestAFailureEndsTheConnectionsBeforeIt(t *testing.T) {
	b, v := overTLS(t, sandbox.Options{}, 0)
	relay := newRelay(t, strings.TrimPrefix(strings.TrimSuffix(v.URL(), "/v1"), "https://"))
	tr := transportFor(t, v)
	tr.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, relay.Addr().String())
	}
	c := newClient(t, fiscal.Options{BaseURL: v.URL(), Transport: tr, Timeout: 400 * time.Millisecond}, b.ks)
	if _, err := c.Do(t.Context(), call(sale.StepStart, newUUID(), "x/1")); err != nil {
		t.Fatal(err)
	}
	relay.freeze()
	_, err := c.Do(t.Context(), call(sale.StepStart, newUUID(), "x/2"))
	problem(t, err, sale.InDoubt, "timeout")
	if _, err := c.Do(t.Context(), call(sale.StepStart, newUUID(), "x/3")); err != nil {
		t.Errorf("the dead connection was used again: %v", err)
	}
	if relay.conns != 2 {
		t.Errorf("%d connections", relay.conns)
	}
}

func quietLog() *log.Logger { return log.New(io.Discard, "", 0) } // handshakes fail here on purpose
