package gateway

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/clock"
	"edgegw/fiscal/sandbox"
	"edgegw/health"
	"edgegw/sale"
)

// apiSite is a site whose API other programs use over real TLS.
type apiSite struct {
	*testSite
	ahead atomic.Int64 // how far its clock is moved
	disk  driver.Connector
}

func newAPISite(t *testing.T, flags ...string) *apiSite {
	t.Helper()
	s := &apiSite{testSite: newSite(t, sandbox.Options{})}
	s.flags["http.tls_listen"] = "127.0.0.1:0"
	for i := 0; i < len(flags); i += 2 {
		s.flags[flags[i]] = flags[i+1]
	}
	s.options.Clock = clock.Options{Synchronised: func() bool { return true }, Wall: func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }}
	s.options.Disk = func(c driver.Connector) driver.Connector {
		s.disk = c
		return c
	}
	s.on()
	return s
}

func (s *apiSite) token(name string, scope sale.Scope, valid time.Duration) admin.MadeToken {
	s.t.Helper()
	made, err := s.AddToken(s.t.Context(), admin.NewToken{Name: name, Scope: scope, Seconds: int64(valid / time.Second)}, "test")
	if err != nil {
		s.t.Fatal(err)
	}
	return made
}

// program is a client that trusts the site's CA.
func (s *apiSite) program(http2 bool) *http.Client {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.authority.CAPEM())
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "localhost"}, ForceAttemptHTTP2: http2}
	s.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func (s *apiSite) secure(path string) string { return "https://" + s.pageTLS.Addr().String() + path }

// reply is what came back; reused says that an old connection served.
type reply struct {
	*http.Response
	text   string
	reused bool
}

func (s *apiSite) ask(c *http.Client, method, url, token, body string, headers ...string) reply {
	s.t.Helper()
	var r reply
	ctx := httptrace.WithClientTrace(s.t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { r.reused = i.Reused }})
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	if r.Response, err = c.Do(req); err != nil {
		s.t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	r.text = string(text)
	return r
}

// code is that of a refusal.
func (r reply) code() string {
	var f admin.Refusal
	_ = json.Unmarshal([]byte(r.text), &f)
	return f.Code
}

// trail reads the audit trail past the store, which only writes it.
func (s *apiSite) trail(who string) (lines []string) {
	s.t.Helper()
	c, err := s.disk.Connect(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	st, err := c.Prepare(`SELECT what || ' ' || subject FROM audit WHERE who = '` + who + `' ORDER BY no`)
	if err != nil {
		s.t.Fatal(err)
	}
	defer st.Close()
	rows, err := st.(driver.StmtQueryContext).QueryContext(s.t.Context(), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	defer rows.Close()
	row := make([]driver.Value, 1)
	for rows.Next(row) == nil {
		lines = append(lines, row[0].(string))
	}
	return lines
}

// A back office pushes over TLS, each token within its scope, and the audit trail
// says which program it was.
func TestABackOfficePushes(t *testing.T) {
	s := newAPISite(t)
	defer s.off()
	key := s.sandbox.MustAddRegister("reg_1")
	held := map[sale.Scope]string{"": ""}
	for _, scope := range sale.Scopes {
		held[scope] = s.token("my-"+string(scope), scope, 0).Secret
	}
	for _, http2 := range []bool{false, true} {
		c := s.program(http2)
		device := fmt.Sprintf("pump-%v", http2)
		for _, row := range []struct {
			what, body string
			want       map[sale.Scope]int
		}{
			{"GET /readyz", "", map[sale.Scope]int{"": 200, "metrics": 200, "read": 200, "provision": 200}},
			{"GET /metrics", "", map[sale.Scope]int{"": 401, "metrics": 200, "read": 200, "provision": 403}},
			{"GET /api/v1/status", "", map[sale.Scope]int{"": 401, "metrics": 403, "read": 200, "provision": 200}},
			{"GET /api/v1/sales", "", map[sale.Scope]int{"": 401, "metrics": 403, "read": 200, "provision": 403}},
			{"POST /api/v1/devices", `{"device_id":"` + device + `","register_id":"reg_1","kind":"pump","register_key":"` + key + `"}`, map[sale.Scope]int{"": 401, "metrics": 403, "read": 403, "provision": 200}},
			{"PUT /api/v1/devices/" + device + "/key", `{"register_key":"` + key + `"}`, map[sale.Scope]int{"": 401, "metrics": 403, "read": 403, "provision": 200}},
			{"POST /api/v1/devices/" + device + "/disable", "", map[sale.Scope]int{"": 401, "metrics": 403, "read": 403, "provision": 403}},
			{"DELETE /api/v1/devices/" + device, "", map[sale.Scope]int{"": 401, "metrics": 403, "read": 403, "provision": 403}},
			{"POST /api/v1/tokens", `{"name":"more","scope":"provision"}`, map[sale.Scope]int{"": 401, "metrics": 403, "read": 403, "provision": 403}},
			{"GET /api/v1/tokens", "", map[sale.Scope]int{"": 401, "metrics": 403, "read": 403, "provision": 403}},
			{"POST /api/v1/quarantine/1/discard", `{"reason":"x"}`, map[sale.Scope]int{"": 401, "metrics": 403, "read": 403, "provision": 403}},
		} {
			method, path, _ := strings.Cut(row.what, " ")
			for _, scope := range []sale.Scope{"", sale.ScopeMetrics, sale.ScopeRead, sale.ScopeProvision} {
				r := s.ask(c, method, s.secure(path), held[scope], row.body, admin.HeaderBy, "somebody else")
				if r.StatusCode != row.want[scope] || strings.Contains(r.text, key) {
					t.Errorf("%s over %s with scope %q: %s, want %d: %s", row.what, r.Proto, scope, r.Status, row.want[scope], r.text)
				}
				if path != "/readyz" && r.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s may be kept by a cache", row.what)
				}
			}
		}
	}
	if got := s.trail("token:my-provision"); !slices.Contains(got, "device added pump-false") || !slices.Contains(got, "device added pump-true") {
		t.Errorf("the audit trail has %q of the token", got)
	}
	if got := s.trail("somebody else"); len(got) > 0 {
		t.Errorf("a header got into the audit trail: %q", got)
	}
	if list, err := s.Tokens(t.Context()); err != nil || len(list) != 3 || slices.ContainsFunc(list, func(i admin.Token) bool { return i.UsedAt.IsZero() }) {
		t.Errorf("used: %+v, %v", list, err)
	}
	if d, err := s.Device(t.Context(), "pump-true"); err != nil || d.Key != "active" {
		t.Errorf("%+v, %v", d, err)
	}
}

// What ends a token ends it for a connection that was opened with it, too.
func TestATokenEndsOnAnOpenConnection(t *testing.T) {
	for _, row := range []struct {
		name string
		end  func(s *apiSite, m admin.MadeToken)
	}{
		{"removed", func(s *apiSite, m admin.MadeToken) {
			if err := s.RemoveToken(s.t.Context(), m.ID, "test"); err != nil {
				s.t.Fatal(err)
			}
		}},
		{"expired by the site's clock", func(s *apiSite, _ admin.MadeToken) { s.ahead.Store(int64(time.Hour)) }},
	} {
		for _, http2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s http2=%v", row.name, http2), func(t *testing.T) {
				s := newAPISite(t)
				defer s.off()
				m := s.token("back-office", sale.ScopeProvision, time.Hour)
				c := s.program(http2)
				for i := range 2 {
					if r := s.ask(c, "GET", s.secure("/api/v1/devices"), m.Secret, ""); r.StatusCode != http.StatusOK || r.reused != (i > 0) {
						t.Fatalf("before: %s, reused %v: %s", r.Status, r.reused, r.text)
					}
				}
				s.ahead.Store(int64(59 * time.Minute))
				if r := s.ask(c, "GET", s.secure("/api/v1/devices"), m.Secret, ""); r.StatusCode != http.StatusOK {
					t.Errorf("a minute before its end: %s", r.Status)
				}
				row.end(s, m)
				if r := s.ask(c, "GET", s.secure("/api/v1/devices"), m.Secret, ""); r.StatusCode != http.StatusUnauthorized || !r.reused {
					t.Errorf("after: %s, reused %v", r.Status, r.reused)
				}
			})
		}
	}
}

// A token that was removed does not come back with a restart, and one that was
// not does.
func TestTokensOutliveARestart(t *testing.T) {
	s := newAPISite(t)
	kept, gone := s.token("kept", sale.ScopeRead, 0), s.token("gone", sale.ScopeRead, 0)
	if err := s.RemoveToken(t.Context(), gone.ID, "test"); err != nil {
		t.Fatal(err)
	}
	s.off()
	s.on()
	defer s.off()
	c := s.program(false)
	for token, want := range map[string]int{kept.Secret: 200, gone.Secret: 401} {
		if r := s.ask(c, "GET", s.secure("/api/v1/status"), token, ""); r.StatusCode != want {
			t.Errorf("%s, want %d", r.Status, want)
		}
	}
}

// Whatever is wrong with a token, the bytes of the answer are the same.
func TestOneAnswerForWrongTokens(t *testing.T) {
	s := newAPISite(t)
	defer s.off()
	right, removed, expired := s.token("right", sale.ScopeRead, 0), s.token("removed", sale.ScopeRead, 0), s.token("expired", sale.ScopeRead, time.Minute)
	if err := s.RemoveToken(t.Context(), removed.ID, "test"); err != nil {
		t.Fatal(err)
	}
	s.ahead.Store(int64(2 * time.Minute))
	bear := func(token string) []string { return []string{"Authorization: Bearer " + token} }
	first := ""
	for _, row := range []struct {
		name, path string
		headers    []string
	}{
		{"none", "/api/v1/status", nil},
		{"unknown", "/api/v1/status", bear("edgegw_" + strings.Repeat("A", 34))},
		{"wrong", "/api/v1/status", bear(right.Secret[:len(right.Secret)-2] + "77")},
		{"removed", "/api/v1/status", bear(removed.Secret)},
		{"expired", "/api/v1/status", bear(expired.Secret)},
		{"no form", "/api/v1/status", bear("x")},
		{"other scheme", "/api/v1/status", []string{"Authorization: Basic " + right.Secret}},
		{"two", "/api/v1/status", append(bear(right.Secret), bear(right.Secret)...)},
		{"in the address", "/api/v1/status?token=" + right.Secret, nil},
		{"in a cookie", "/api/v1/status", []string{"Cookie: token=" + right.Secret}},
		{"other path", "/api/v1/nothing", nil},
		{"metrics", "/metrics", nil},
	} {
		conn := s.dialPage()
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n", row.path, strings.Join(append(row.headers, ""), "\r\n"))
		all, err := io.ReadAll(conn)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		lines := slices.DeleteFunc(strings.Split(string(all), "\r\n"), func(l string) bool { return strings.HasPrefix(l, "Date: ") })
		got := strings.Join(lines, "\n")
		if first == "" {
			first = got
		}
		if got != first || !strings.HasPrefix(got, "HTTP/1.1 401 ") || !strings.Contains(got, "Www-Authenticate: Bearer") {
			t.Errorf("%s:\n%s\nwant\n%s", row.name, got, first)
		}
	}
	if r := s.ask(s.program(false), "GET", s.secure("/api/v1/status"), right.Secret, ""); r.StatusCode != http.StatusOK {
		t.Errorf("the right one: %s", r.Status)
	}
}

// The commands' socket asks for no token, and takes none for more than it is.
func TestTheSocketNeedsNoToken(t *testing.T) {
	s := newAPISite(t)
	defer s.off()
	m := s.token("scraper", sale.ScopeMetrics, 0).Secret
	for _, token := range []string{"", m, "edgegw_wrong"} {
		if r := s.ask(s.overSocket(), "GET", "http://edgegw/api/v1/tokens", token, ""); r.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", r.Status, r.text)
		}
	}
}

// Hundreds of wrong tokens from the same address are answered, and some turned
// away; the right one is let in each time.
func TestWrongTokensDoNotHinderTheRightOne(t *testing.T) {
	s := newAPISite(t)
	defer s.off()
	right := s.token("back-office", sale.ScopeRead, 0).Secret
	const floods, each = 8, 50
	var all sync.WaitGroup
	var refused, slowed atomic.Int64
	for range floods {
		c := s.program(false)
		all.Go(func() {
			for i := range each {
				switch r := s.ask(c, "GET", s.secure("/api/v1/status"), fmt.Sprintf("edgegw_%034d", i), ""); r.StatusCode {
				case http.StatusUnauthorized:
					refused.Add(1)
				case http.StatusTooManyRequests:
					slowed.Add(1)
				default:
					t.Errorf("a wrong token: %s", r.Status)
				}
			}
		})
	}
	c := s.program(false)
	for range 50 {
		if r := s.ask(c, "GET", s.secure("/api/v1/status"), right, ""); r.StatusCode != http.StatusOK {
			t.Errorf("the right token: %s", r.Status)
		}
	}
	all.Wait()
	if slowed.Load() == 0 || refused.Load() < mostInVain || refused.Load()+slowed.Load() != floods*each {
		t.Errorf("%d refused, %d turned away", refused.Load(), slowed.Load())
	}
	if n := strings.Count(s.logs.String(), "requests without a right token"); n == 0 || n > 3 {
		t.Errorf("%d lines in the log", n)
	}
	if got := s.exposed(t).value(t, "edgegw_http_auth_failures_total"); got != floods*each {
		t.Errorf("%v failures are counted, want %d", got, floods*each)
	}
}

// No part of a token is in any file of the site or in its log at debug level,
// whatever was sent and wherever it was put.
func TestNoTokenInClear(t *testing.T) {
	s := newAPISite(t)
	m, e := s.token("back-office", sale.ScopeProvision, 0), s.token("short", sale.ScopeRead, time.Minute)
	s.ahead.Store(int64(time.Hour))
	c := s.program(false)
	for _, row := range []struct{ url, token string }{
		{s.secure("/api/v1/devices"), m.Secret}, {s.secure("/api/v1/devices"), e.Secret}, {s.secure("/api/v1/devices?token=" + m.Secret), ""},
		{s.secure("/api/v1/devices/" + m.Secret), m.Secret}, {s.secure("/api/v1/explain?subject=" + m.Secret), m.Secret}, {s.url("/api/v1/devices"), m.Secret},
	} {
		s.ask(c, "GET", row.url, row.token, "")
	}
	for _, first := range []string{"GET / HTTP/1.1\r\nAuthorization: Bearer " + m.Secret + "\r\n\r\n", m.Secret + m.Secret, "\x16\x03\x01\x00\x99" + m.Secret} {
		conn, err := net.Dial("tcp", s.pageTLS.Addr().String()) // without TLS
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, first)
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.ReadAll(conn)
		conn.Close()
	}
	h2 := tls.Client(mustDial(t, s.pageTLS.Addr().String()), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}) // it only says nonsense
	fmt.Fprint(h2, m.Secret+m.Secret)
	_, _ = io.ReadAll(h2)
	h2.Close()
	if err := s.RemoveToken(t.Context(), e.ID, "test"); err != nil {
		t.Fatal(err)
	}
	search := func(name string, content []byte) {
		for _, token := range []string{m.Secret, e.Secret} {
			if proof := token[15:]; bytes.Contains(content, []byte(proof)) || bytes.Contains(content, []byte(proof[:10])) || bytes.Contains(content, []byte(proof[13:])) {
				t.Errorf("%s holds a token in clear", name)
			}
		}
	}
	await(t, "the log of the last connection", func() bool { return strings.Count(s.logs.String(), "the HTTP server") >= 3 })
	s.off()
	err := filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var b []byte
			if b, err = os.ReadFile(path); err == nil {
				search(path, b)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	search("the log", []byte(s.logs.String()))
}

func TestATokenThatEndsSoonIsSaid(t *testing.T) {
	s := newAPISite(t)
	defer s.off()
	s.token("for-ever", sale.ScopeRead, 0)
	s.token("quarter", sale.ScopeProvision, 90*24*time.Hour)
	s.token("days", sale.ScopeMetrics, 4*24*time.Hour)
	for _, row := range []struct {
		after time.Duration
		want  []string
	}{
		{0, nil},
		{71 * time.Hour, nil},
		{73 * time.Hour, []string{"days ends"}},
		{75 * 24 * time.Hour, []string{"days has ended"}},
		{77 * 24 * time.Hour, []string{"days has ended", "quarter ends"}},
		{91 * 24 * time.Hour, []string{"days has ended", "quarter has ended"}},
	} {
		s.ahead.Store(int64(row.after))
		b := &health.Board{}
		s.tokenConditions(b)
		list := b.List()
		for i, c := range list {
			if i < len(row.want) && !strings.Contains(c.Title, "The token of "+row.want[i]) || c.Severity != health.Notice || !strings.Contains(c.Remedy, "edgegw token remove ") {
				t.Errorf("after %s: %+v", row.after, c)
			}
		}
		if len(list) != len(row.want) {
			t.Errorf("after %s: %+v, want %q", row.after, list, row.want)
		}
	}
}
