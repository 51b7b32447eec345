package gateway

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"edgegw/admin"
	"edgegw/broker/brokertest"
	"edgegw/sale"
)

const ownersPassword = "blue lorry eats 7 stairs"

// surfer is a browser without JavaScript that trusts the site CA.
type surfer struct {
	*apiSite
	*http.Client
	base string
}

func (s *apiSite) surf() *surfer {
	s.t.Helper()
	return s.surfFrom("127.0.0.1")
}

// surfFrom is a browser at another address of this machine.
func (s *apiSite) surfFrom(address string) *surfer {
	s.t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.authority.CAPEM())
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
		return from.DialContext(ctx, "tcp4", addr)
	}}
	s.t.Cleanup(tr.CloseIdleConnections)
	_, port, err := net.SplitHostPort(s.pageTLS.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	return &surfer{s, &http.Client{Jar: jar, Transport: tr}, "https://localhost:" + port}
}

func (b *surfer) page(path string) (status int, at, text string) {
	b.t.Helper()
	return b.read(b.Get(b.base + path))
}

func (b *surfer) send(path string, form url.Values) (status int, at, text string) {
	b.t.Helper()
	return b.read(b.PostForm(b.base+path, form))
}

func (b *surfer) read(r *http.Response, err error) (int, string, string) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return r.StatusCode, r.Request.URL.Path, string(text)
}

// A technician claims a site, adds a pump that sells, sees it live, and is gone with
// his session; who did what stands in the audit trail.
func TestThePageFromClaimToSale(t *testing.T) {
	s := newAPISite(t)
	defer s.off()
	b := s.surf()
	if status, at, _ := b.page("/devices"); status != 200 || at != "/claim" {
		t.Fatalf("a new site: %d at %s", status, at)
	}
	st, err := s.Status(t.Context())
	if err != nil || st.Claim.Claimed || st.Claim.Code == "" || len(st.Page) != 2 {
		t.Fatalf("%+v, %v", st.Claim, err)
	}
	claim := url.Values{"code": {"AAAA-AAAA-AAAA-AAAA"}, "name": {"anna"}, "password": {ownersPassword}, "again": {ownersPassword}}
	if status, _, text := b.send("/claim", claim); status != 401 || !strings.Contains(text, "that is not the code") {
		t.Errorf("with a wrong code: %d %s", status, text)
	}
	claim.Set("code", st.Claim.Code)
	if status, at, text := b.send("/claim", claim); status != 200 || at != "/" || !strings.Contains(text, "There is no device yet.") {
		t.Fatalf("claimed: %d at %s\n%s", status, at, text)
	}
	if st, err = s.Status(t.Context()); err != nil || !st.Claim.Claimed || st.Claim.Code != "" || strings.Contains(s.logs.String(), ownersPassword) {
		t.Errorf("%+v, %v", st.Claim, err)
	}

	key := s.sandbox.MustAddRegister("reg_pump-01")
	status, _, text := b.send("/devices/new", url.Values{"device_id": {"pump-01"}, "register_id": {"reg_pump-01"}, "kind": {"pump"}, "register_key": {key}})
	_, password, found := strings.Cut(text, `id="password">`)
	password, _, _ = strings.Cut(password, "<")
	if status != 200 || !found || strings.Contains(text, key) {
		t.Fatalf("added: %d\n%s", status, text)
	}
	s.secrets["pump-01"] = password

	live, err := b.Get(b.base + "/live")
	if err != nil {
		t.Fatal(err)
	}
	defer live.Body.Close()
	lines := bufio.NewScanner(live.Body)
	lines.Scan() // it is open
	s.sell("pump-01", "s1")
	for told := false; !told && lines.Scan(); {
		told = lines.Text() == "event: changed"
	}
	s.confirmed(1)
	if status, _, text := b.page("/sales/pump-01/s1"); status != 200 || !strings.Contains(text, "confirmed") {
		t.Errorf("the sale: %d\n%s", status, text)
	}

	// A technician with a PIN, in another browser; what he may not.
	made, err := s.AddPerson(t.Context(), admin.AddPerson{Name: "tom", Role: sale.RoleAuditor}, "test")
	if err != nil {
		t.Fatal(err)
	}
	tom := s.surf()
	if status, at, _ := tom.send("/login", url.Values{"name": {"tom"}, "password": {made.PIN}}); status != 200 || at != "/" {
		t.Fatalf("with a PIN: %d at %s", status, at)
	}
	if status, _, _ := tom.send("/devices/pump-01/disable", url.Values{}); status != 403 {
		t.Errorf("an auditor disables: %d", status)
	}
	if status, _, _ := b.send("/devices/pump-01/disable", url.Values{}); status != 200 {
		t.Errorf("the owner disables: %d", status)
	}
	if d, err := s.Device(t.Context(), "pump-01"); err != nil || d.State != "disabled" {
		t.Errorf("%+v, %v", d, err)
	}
	if err := s.RemovePerson(t.Context(), "tom", "test"); err != nil {
		t.Fatal(err)
	}
	if _, at, _ := tom.page("/"); at != "/login" {
		t.Errorf("a removed person sees %s", at)
	}
	if _, at, _ := b.send("/logout", url.Values{}); at != "/login" {
		t.Errorf("logged out: %s", at)
	}
	if _, at, _ := b.page("/"); at != "/login" {
		t.Errorf("after the log-out: %s", at)
	}
	for lines.Scan() { // the stream has ended with the session, or does at the next change
		if lines.Text() == "event: changed" {
			continue
		}
	}
	s.audited("person added", "anna", "claim")
	s.audited("device disabled", "pump-01", "person:anna")
}

// auditTrail reads it past the store.
func (s *apiSite) auditTrail() string {
	s.t.Helper()
	return strings.Join(s.column(`SELECT what || '|' || subject || '|' || who FROM audit ORDER BY no`), "\n")
}

// column reads the first column of a query past the store.
func (s *apiSite) column(query string) (all []string) {
	s.t.Helper()
	c, err := s.disk.Connect(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	q, err := c.Prepare(query)
	if err != nil {
		s.t.Fatal(err)
	}
	defer q.Close()
	rows, err := q.(driver.StmtQueryContext).QueryContext(s.t.Context(), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	defer rows.Close()
	for line := make([]driver.Value, len(rows.Columns())); rows.Next(line) == nil; {
		text, _ := line[0].(string)
		all = append(all, text)
	}
	return all
}

// audited demands a line of the audit trail.
func (s *apiSite) audited(what, subject, who string) {
	s.t.Helper()
	if !strings.Contains(s.auditTrail(), strings.Join([]string{what, subject, who}, "|")) {
		s.t.Errorf("nobody wrote %s %s %s:\n%s", what, subject, who, s.auditTrail())
	}
}

// Where others can reach a listener without TLS no password is asked for; a page of
// theirs cannot use this machine's names; and a token is no session.
func TestThePageIsServedWhereNobodyListens(t *testing.T) {
	s := newAPISite(t, "http.listen", "0.0.0.0:0")
	defer s.off()
	_, port, err := net.SplitHostPort(s.page.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, secure, err := net.SplitHostPort(s.pageTLS.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	plain := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, row := range []struct {
		method, path string
		status       int
		to           string
	}{
		{"GET", "/devices?x=1", 307, "https://127.0.0.1:" + secure + "/devices?x=1"},
		{"GET", "//evil.example/", 307, "/evil.example/"}, // the same box, where it is sent on
		{"POST", "/login", 403, ""},
		{"POST", "/claim", 403, ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), row.method, "http://127.0.0.1:"+port, strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		req.URL.Opaque = "//127.0.0.1:" + port + row.path
		r, err := plain.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if to := r.Header.Get("Location"); r.StatusCode != row.status || !strings.HasPrefix(to, row.to) || row.to == "" && to != "" {
			t.Errorf("%s %s: %d %s", row.method, row.path, r.StatusCode, to)
		}
	}
}

func TestThePageOnLoopbackAnswersToItsOwnNames(t *testing.T) {
	s := newAPISite(t)
	defer s.off()
	for host, want := range map[string]int{"": 200, "localhost": 200, "evil.example": 421, "box.local": 421} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url("/claim"), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		r, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != want {
			t.Errorf("%q: %d", host, r.StatusCode)
		}
	}
}

// A real site is walked through: the uplink goes, a sale waits, it comes back.
func TestThePageCommissionsASite(t *testing.T) {
	s := newAPISite(t)
	defer s.off()
	b := s.surf()
	st, err := s.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.send("/claim", url.Values{"code": {st.Claim.Code}, "name": {"anna"}, "password": {ownersPassword}, "again": {ownersPassword}})
	s.add("pump-01")
	pump := s.connect("pump-01", 5)
	defer pump.Close()
	sell := func(id string) {
		t.Helper()
		if err := pump.Publish(topic("pump-01", "sale"), 1, 1, fmt.Sprintf(wholeEvent, id)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := pump.Await(brokertest.PUBACK); err != nil {
			t.Fatal(err)
		}
	}
	sell("s1")
	s.confirmed(1)
	says := func(what string) {
		t.Helper()
		await(t, what, func() bool { _, _, text := b.page("/commissioning"); return strings.Contains(text, what) })
	}
	says(`action="/commissioning/begin"`)
	if _, at, text := b.send("/commissioning/begin", url.Values{}); at != "/commissioning" || !strings.Contains(text, `<li class="now"><strong>Unplug the uplink now.`) {
		t.Fatalf("begun: at %s\n%s", at, text)
	}
	s.sandbox.SetDown(true)
	sell("s2")
	says("1 sale queued")
	if _, _, text := b.page("/commissioning"); strings.Contains(text, "Report of the site") {
		t.Error("the report is there while a sale waits")
	}
	s.sandbox.SetDown(false)
	says("Report of the site")
	s.confirmed(2)
}
