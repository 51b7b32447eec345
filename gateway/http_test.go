package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edgegw/sale"
	"edgegw/siteca"
	"edgegw/tokens"
)

// dialPage connects to http.tls_listen.
func (s *apiSite) dialPage() net.Conn {
	s.t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.authority.CAPEM())
	conn, err := tls.Dial("tcp", s.pageTLS.Addr().String(), &tls.Config{RootCAs: pool, ServerName: "localhost"})
	if err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// On a network without TLS a key is turned away before it is read; the metrics
// hold none.
func TestAListenerWithoutTLSThatOthersCanReach(t *testing.T) {
	s := newAPISite(t, "http.listen", "0.0.0.0:0")
	defer s.off()
	provision, metrics := s.token("back-office", sale.ScopeProvision, 0).Secret, s.token("scraper", sale.ScopeMetrics, 0).Secret
	_, port, err := net.SplitHostPort(s.page.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The answer must come although the body does not: nobody may wait for it.
	fmt.Fprintf(conn, "POST /api/v1/devices HTTP/1.1\r\nHost: box\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n", provision)
	all, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(all); !strings.HasPrefix(got, "HTTP/1.1 403 ") || !strings.Contains(got, "\r\nConnection: close\r\n") || !strings.Contains(got, `"tls_required"`) {
		t.Errorf("a key over a network in clear: %s", got)
	}
	url := "http://127.0.0.1:" + port
	for _, row := range []struct {
		what, token, body string
		want              int
		code              string
	}{
		{"POST /api/v1/devices", provision, `{"device_id":"pump-1","register_id":"reg_1","register_key":"ofk_reg_test_x","unverified":true}`, 403, "tls_required"},
		{"GET /api/v1/devices", provision, "", 403, "tls_required"},
		{"GET /api/v1/devices", "", "", 403, "tls_required"},
		{"GET /api/v1/nothing", "", "", 403, "tls_required"},
		{"GET /metrics", "", "", 401, "token"},
		{"GET /metrics", "edgegw_wrong", "", 401, "token"},
		{"GET /metrics", provision, "", 403, "scope"},
		{"GET /metrics", metrics, "", 200, ""},
		{"GET /readyz", "", "", 200, ""},
	} {
		method, path, _ := strings.Cut(row.what, " ")
		r := s.ask(http.DefaultClient, method, url+path, row.token, row.body)
		if r.StatusCode != row.want || r.code() != row.code || row.code == "tls_required" && !r.Close {
			t.Errorf("%s: %s %s, closes %v", row.what, r.Status, r.text, r.Close)
		}
	}
	if d, err := s.Devices(t.Context()); err != nil || len(d) != 0 {
		t.Errorf("devices %+v, %v", d, err)
	}
}

// This machine itself needs no TLS, but a token.
func TestTheAPIOnLoopback(t *testing.T) {
	s := newAPISite(t)
	defer s.off()
	read, provision := s.token("reader", sale.ScopeRead, 0).Secret, s.token("back-office", sale.ScopeProvision, 0).Secret
	for _, row := range []struct {
		what, token, host string
		want              int
	}{
		{"GET /api/v1/devices", "", "", 401},
		{"GET /api/v1/devices", provision, "", 200},
		{"GET /api/v1/devices", provision, "box.proxy", 200},
		{"GET /api/v1/sales", provision, "", 403},
		{"GET /metrics", "", "", 200},
		{"GET /metrics", "", "evil.test", 421},
		{"GET /metrics", read, "", 200},
		{"GET /metrics", read, "box.proxy", 200},
		{"GET /metrics", provision, "", 403},
		{"GET /metrics", "edgegw_wrong", "", 401},
	} {
		method, path, _ := strings.Cut(row.what, " ")
		req, err := http.NewRequestWithContext(t.Context(), method, s.url(path), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = row.host
		if row.token != "" {
			req.Header.Set("Authorization", "bearer "+row.token) // the scheme's case does not count
		}
		r, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != row.want {
			t.Errorf("%s to %q: %s, want %d", row.what, row.host, r.Status, row.want)
		}
	}
}

// However many addresses try, what is kept of them has an end, and a new one is
// still told from those that are too many.
func TestStrangersAtTheDoorAreBounded(t *testing.T) {
	s := newAPISite(t)
	defer s.off()
	d := newDoor(s.control)
	for i := range 5 * mostStrangers {
		d.tooMany(fmt.Sprintf("[2001:db8:%x:%x::1]:443", i>>8, i&255), tokens.ErrRefused)
	}
	if len(d.strangers) > mostStrangers {
		t.Errorf("%d addresses are kept", len(d.strangers))
	}
	if !d.tooMany("[2001:db8:ffff::1]:443", tokens.ErrRefused) {
		t.Error("where there is no room an address has an account of its own")
	}
	quiet := 0
	for _, k := range d.strangers {
		k.said = k.said.Add(-time.Hour)
		k.limit = newStranger().limit
		quiet++
	}
	if d.tooMany("10.0.0.1:443", tokens.ErrRefused) || len(d.strangers) != 1 {
		t.Errorf("%d of %d quiet ones are kept", len(d.strangers), quiet)
	}
	for at, want := range map[string]string{"10.0.0.7:1": "10.0.0.7/32", "[2001:db8::1]:1": "2001:db8::/64", "[::ffff:10.0.0.7]:1": "10.0.0.7/32", "[fe80::1%eth0]:1": "fe80::/64", "@": ""} {
		got := neighbours(at)
		if want == "" && got.IsValid() || want != "" && got != netip.MustParsePrefix(want) {
			t.Errorf("%s is %s, want %s", at, got, want)
		}
	}
}

// Connections that are too many are closed at once, and make room again.
func TestConnectionsToTheAPIAreBounded(t *testing.T) {
	s := newAPISite(t)
	defer s.off()
	right := s.token("back-office", sale.ScopeRead, 0).Secret
	var held []net.Conn
	for range mostCallersPerAddress {
		conn, err := net.Dial("tcp", s.pageTLS.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	one, err := net.Dial("tcp", s.pageTLS.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := one.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := one.Read(make([]byte, 1)); n != 0 || err == nil || os.IsTimeout(err) {
		t.Errorf("one too many: %d bytes, %v", n, err)
	}
	one.Close()
	for _, c := range held {
		c.Close()
	}
	c := s.program(false)
	await(t, "room", func() bool {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.secure("/api/v1/status"), nil)
		req.Header.Set("Authorization", "Bearer "+right)
		r, err := c.Do(req)
		if err == nil {
			r.Body.Close()
		}
		return err == nil && r.StatusCode == http.StatusOK
	})
	if got := s.exposed(t).value(t, "edgegw_http_turned_away_total"); got < 1 {
		t.Errorf("%v connections are counted as turned away", got)
	}
}

func mustDial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// net/http quotes what it could not read; that is not for the log.
func TestTheServersLogQuotesNothing(t *testing.T) {
	logs := &lockedBuffer{}
	q := quiet{slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	for _, line := range []string{"http2: server: error reading preface from client 10.0.0.7:1: bogus greeting \"edgegw_ABC\"\n", "http: one\nedgegw_ABC\n"} {
		if n, err := q.Write([]byte(line)); n != len(line) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if got := logs.String(); strings.Contains(got, "edgegw_ABC") || !strings.Contains(got, "bogus greeting") || !strings.Contains(got, "http: one") || strings.Count(got, "level=DEBUG") != 2 {
		t.Errorf("the log: %s", got)
	}
}

// A fault while a key is under way ends one connection, and says nothing of it.
func TestAFaultOfARequestShowsNothing(t *testing.T) {
	s := newAPISite(t)
	defer s.off()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- serve(ctx, newServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { panic("key " + r.URL.RawQuery) }), s.log), l)
	}()
	if _, err := http.Get("http://" + l.Addr().String() + "/?ofk_reg_live_x"); err == nil {
		t.Error("a fault was answered")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if log := s.logs.String(); strings.Contains(log, "ofk_reg_live_x") || !strings.Contains(log, "a fault of the gateway") {
		t.Errorf("the log: %s", log)
	}
}

// TLS 1.2 at the least, with the certificate that devices see, the operator's
// where there is one; a browser that another page sends here is turned away.
func TestHowTheAPIIsServed(t *testing.T) {
	own := t.TempDir()
	theirs, err := siteca.Open(own, siteca.Options{SiteName: "the operator's"})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name  string
		flags []string
	}{
		{"site CA", nil},
		{"the operator's", []string{"mqtt.cert_file", filepath.Join(own, "server.pem"), "mqtt.key_file", filepath.Join(own, "server-key.pem")}},
		{"no MQTT with TLS", []string{"mqtt.tls_listen", "", "mqtt.plain_listen", "127.0.0.1:0"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newAPISite(t, row.flags...)
			defer s.off()
			want := s.authority.Leaf()
			if s.files != nil {
				want = theirs.Leaf()
			}
			conn := tls.Client(mustDial(t, s.pageTLS.Addr().String()), &tls.Config{InsecureSkipVerify: true, // what is served is looked at
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
					t.Error("it asks for a device's certificate")
					return &tls.Certificate{}, nil
				}})
			defer conn.Close()
			if err := conn.Handshake(); err != nil || !conn.ConnectionState().PeerCertificates[0].Equal(want) {
				t.Errorf("another certificate is served, %v", err)
			}
			old := tls.Client(mustDial(t, s.pageTLS.Addr().String()), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
			defer old.Close()
			if err := old.Handshake(); err == nil {
				t.Error("TLS 1.1 is served")
			}
		})
	}
	s := newAPISite(t)
	defer s.off()
	m := s.token("back-office", sale.ScopeProvision, 0)
	if m.URL != s.secure("/api/v1") || m.CAFile != s.CAFile() || m.Notice != "" {
		t.Errorf("the token is for %q, %q; %q", m.URL, m.CAFile, m.Notice)
	}
	body := `{"device_id":"pump-1","register_id":"reg_1"}`
	if r := s.ask(s.program(true), "POST", s.secure("/api/v1/devices"), m.Secret, body, "Origin", "https://evil.test"); r.StatusCode != http.StatusForbidden || r.code() != "cross_origin" {
		t.Errorf("a browser from another page: %s %s", r.Status, r.text)
	}
	if r := s.ask(s.program(false), "GET", s.secure("/api/v1/devices"), m.Secret, "", "X-Long", strings.Repeat("x", 64<<10)); r.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("long headers: %s", r.Status)
	}
	if r := s.ask(s.program(true), "POST", s.secure("/api/v1/devices"), m.Secret, `{"label":"`+strings.Repeat("x", mostRequest)+`"}`); r.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a long body: %s %s", r.Status, r.text)
	}
}
