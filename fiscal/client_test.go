package fiscal_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"edgegw/fiscal"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/secret"
)

const reg sale.RegisterID = "reg_1"

// keyRing is a real Keys: what is in the map, asked anew for each request.
type keyRing map[sale.RegisterID]string

var errNoKey = errors.New("no such register")

func (k keyRing) Credential(_ context.Context, r sale.RegisterID) (secret.Text, error) {
	if key, ok := k[r]; ok {
		return secret.FromString(key), nil
	}
	return secret.Text{}, errNoKey
}

var uuids atomic.Int64

func newUUID() string { return fmt.Sprintf("00000000-0000-4000-8000-%012x", uuids.Add(1)) }

// bench is a stand-in and a client for it.
type bench struct {
	t  *testing.T
	s  *sandbox.Service
	c  *fiscal.Client
	ks keyRing
}

func newBench(t *testing.T, o sandbox.Options) bench {
	t.Helper()
	s := sandbox.New(o)
	ks := keyRing{reg: s.MustAddRegister(string(reg))}
	return bench{t: t, s: s, ks: ks, c: newClient(t, fiscal.Options{BaseURL: sandbox.BaseURL, Transport: s}, ks)}
}

// overTLS is a bench over a real HTTPS socket.
func overTLS(t *testing.T, o sandbox.Options, timeout time.Duration) (bench, *sandbox.Server) {
	t.Helper()
	s := sandbox.New(o)
	v, err := s.ListenTLS("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	ks := keyRing{reg: s.MustAddRegister(string(reg))}
	return bench{t: t, s: s, ks: ks, c: newClient(t, fiscal.Options{BaseURL: v.URL(), Transport: transportFor(t, v), Timeout: timeout}, ks)}, v
}

func transportFor(t *testing.T, v *sandbox.Server) *http.Transport {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(v.CAPEM()) {
		t.Fatal("no CA certificate")
	}
	tr := fiscal.NewTransport(fiscal.TransportOptions{RootCAs: pool})
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

func newClient(t *testing.T, o fiscal.Options, k fiscal.Keys) *fiscal.Client {
	t.Helper()
	c, err := fiscal.New(o, k)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// call makes a frozen call of a sale of 12.00, its first attempt.
func call(step sale.Step, operation, saleID string) sale.Call {
	c := sale.Call{Register: reg, SaleID: saleID, Step: step, Method: "POST", Operation: operation, IdempotencyKey: newUUID(), Attempts: 1}
	const at = `"occurred_at":"2026-11-22T08:31:07.250+01:00"`
	switch step {
	case sale.StepStart:
		c.Path = "/registers/" + string(reg) + "/sales"
		c.Body = fmt.Appendf(nil, `{"id":%q,"external_id":%q,"cashier":{"id":"p","display_name":"P"},"currency":"EUR",%s}`, operation, saleID, at)
	case sale.StepUpdate:
		c.Method, c.Path = "PATCH", "/sales/{operation}"
		c.Body = []byte(`{"line_items":[{"description":"E10","quantity":1,"unit_price_gross":1200,"tax":{"rate":"0.19","category":"standard"}}],` + at + `}`)
	case sale.StepComplete:
		c.Path = "/sales/{operation}/complete"
		c.Body = []byte(`{"payments":[{"method":"card","direction":"inbound","amount":1200}],` + at + `}`)
	case sale.StepCancel:
		c.Path = "/sales/{operation}/cancel"
		c.Body = []byte(`{"reason":"nozzle returned",` + at + `}`)
	}
	return c
}

func (b bench) must(c sale.Call) sale.Answer {
	b.t.Helper()
	a, err := b.c.Do(b.t.Context(), c)
	if err != nil {
		b.t.Fatalf("%s: %v", c.Step, err)
	}
	return a
}

// open starts a sale and puts its content in.
func (b bench) open(saleID string) string {
	b.t.Helper()
	op := b.must(call(sale.StepStart, newUUID(), saleID)).Operation
	b.must(call(sale.StepUpdate, op, saleID))
	return op
}

// problem asserts that an error is a *sale.Problem of a class and code.
func problem(t *testing.T, err error, class sale.Class, code string) *sale.Problem {
	t.Helper()
	p, ok := err.(*sale.Problem)
	if !ok {
		t.Fatalf("error %v (%T), want a *sale.Problem %s %s", err, err, class, code)
	}
	if p.Class != class || p.Code != code {
		t.Errorf("problem %s %q (status %d, %s), want %s %q", p.Class, p.Code, p.Status, p.Detail, class, code)
	}
	return p
}

func TestNewRefusesBaseURLs(t *testing.T) {
	for _, row := range []struct {
		url  string
		fine bool
	}{
		{"https://api.openfiskal.com/v1", true},
		{"https://api.openfiskal.com/v1/", true},
		{"https://api.openfiskal.com", true},
		{"http://127.0.0.1:8000/v1", true},
		{"http://[::1]:8000/v1", true},
		{"http://localhost/v1", true},
		{"http://api.openfiskal.com/v1", false},
		{"http://127.0.0.1.nip.test/v1", false},
		{"http://localhost.test/v1", false},
		{"ftp://127.0.0.1/v1", false},
		{"https://user:pw@api.openfiskal.com/v1", false},
		{"https://api.openfiskal.com/v1?x=1", false},
		{"https://api.openfiskal.com/v1#x", false},
		{"https://api.openfiskal.com/../v1", false},
		{"https://api.openfiskal.com/%2e%2e/v1", false},
		{"https:///v1", false},
		{"api.openfiskal.com/v1", false},
		{"://", false},
		{"", false},
	} {
		_, err := fiscal.New(fiscal.Options{BaseURL: row.url}, keyRing{})
		if (err == nil) != row.fine {
			t.Errorf("%q: error %v, want fine %v", row.url, err, row.fine)
		}
		if err != nil && strings.Contains(err.Error(), "pw") {
			t.Errorf("the error shows a password: %v", err)
		}
	}
	if _, err := fiscal.New(fiscal.Options{BaseURL: sandbox.BaseURL}, nil); err == nil {
		t.Error("a client without keys")
	}
}

func TestOneSale(t *testing.T) {
	for _, o := range []sandbox.Options{{}, {ServerIDs: true}} {
		b, _ := overTLS(t, o, 0)
		id := newUUID()
		start := b.must(call(sale.StepStart, id, "x/1"))
		if (start.Operation == id) == o.ServerIDs || start.State != sale.StateOpen || start.ExternalID != "x/1" || start.RequestID == "" {
			t.Errorf("start: %+v", start)
		}
		b.must(call(sale.StepUpdate, start.Operation, "x/1"))
		done := b.must(call(sale.StepComplete, start.Operation, "x/1"))
		if done.State != sale.StateCompleted || done.FiscalState != "succeeded" || done.DocumentNumber == "" || done.CompletedAt == "" ||
			!strings.Contains(string(done.Fiscal), `"end_event"`) || !strings.Contains(string(done.Body), string(done.Fiscal)) || done.Adopted {
			t.Errorf("complete: %+v", done)
		}
		op := b.open("x/2")
		if got := b.must(call(sale.StepCancel, op, "x/2")); got.State != sale.StateCancelled {
			t.Errorf("cancel: %+v", got)
		}
		want := []sandbox.Expect{{Register: string(reg), ExternalID: "x/1", Total: 1200}, {Register: string(reg), ExternalID: "x/2", Cancelled: true}}
		if err := errors.Join(b.s.Check(want), b.s.CheckFrozen()); err != nil {
			t.Error(err)
		}
	}
}

// What goes over the wire: decision 1, and bytes as they were frozen.
func TestWhatIsSent(t *testing.T) {
	type seen struct {
		method, path, body string
		header             http.Header
	}
	var got []seen
	v := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, seen{r.Method, r.URL.RequestURI(), string(body), r.Header})
		_, _ = io.WriteString(w, `{"id":"op_1","state":"completed"}`)
	}))
	defer v.Close()
	c := newClient(t, fiscal.Options{BaseURL: v.URL + "/v1", Version: "1.2.3"}, keyRing{reg: "ofk_reg_test_1"})
	frozen := call(sale.StepComplete, "op_1", "")
	frozen.Body = []byte("{ \"a\":\t1.10 }\n")
	empty := frozen
	empty.Body = nil
	for _, f := range []sale.Call{frozen, empty} {
		if _, err := c.Do(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	for i, f := range []sale.Call{frozen, empty} {
		g := got[i]
		if g.method != "POST" || g.path != "/v1/sales/op_1/complete" || g.body != string(f.Body) {
			t.Errorf("sent %+v", g)
		}
		for name, want := range map[string]string{"X-Register-Api-Key": "ofk_reg_test_1", "Idempotency-Key": f.IdempotencyKey,
			"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "edgegw/1.2.3", "Authorization": "", "Openfiskal-Organization": ""} {
			if v := strings.Join(g.header.Values(name), "|"); v != want {
				t.Errorf("%s: %q, want %q", name, v, want)
			}
		}
	}
}

// A path that could leave the API's prefix is never sent (FAULTS.md H3, F58).
func TestOddPathsAreNotSent(t *testing.T) {
	b := newBench(t, sandbox.Options{})
	for _, op := range []string{"..", ".", "", "a/../b", "a//b", "%2e%2e", "?x", "#", "a b", "{operation}", "é"} {
		_, err := b.c.Do(t.Context(), call(sale.StepComplete, op, "x/1"))
		problem(t, err, sale.Poison, "bad_path")
	}
	odd := call(sale.StepComplete, newUUID(), "x/1")
	odd.Method = "DELETE"
	_, err := b.c.Do(t.Context(), odd)
	problem(t, err, sale.Poison, "bad_path")
	for _, r := range []sale.RegisterID{"..", "../../platform/keys", "a/b", "", "?x", "#"} {
		problem(t, b.c.Probe(t.Context(), r, secret.FromString("ofk_reg_test_1")), sale.RegisterUnknown, "bad_register")
		_, err := b.c.Find(t.Context(), lost(r, "", "x"), nil)
		problem(t, err, sale.RegisterUnknown, "bad_register")
	}
	if n := len(b.s.Requests()); n != 0 {
		t.Errorf("%d requests were sent, want none", n)
	}
}

func TestKeysThatCannotBeSent(t *testing.T) {
	b := newBench(t, sandbox.Options{})
	for key, code := range map[string]string{"": "no_key", "ofk_reg\r\nX: y": "bad_key", "ofk reg": "bad_key", "\ufeffofk": "bad_key", "ofk\x00": "bad_key"} {
		b.ks[reg] = key
		_, err := b.c.Do(t.Context(), call(sale.StepStart, newUUID(), "x/1"))
		problem(t, err, sale.KeyRefused, code)
	}
	delete(b.ks, reg)
	_, err := b.c.Do(t.Context(), call(sale.StepStart, newUUID(), "x/1"))
	problem(t, err, sale.KeyRefused, "no_key")
	if n := len(b.s.Requests()); n != 0 {
		t.Errorf("%d requests were sent, want none", n)
	}
}

// A rotated key needs no restart: it is asked for each time.
func TestRotatedKey(t *testing.T) {
	b := newBench(t, sandbox.Options{})
	op := b.open("x/1")
	b.ks[reg] = b.s.Rotate(string(reg))
	b.must(call(sale.StepComplete, op, "x/1"))
}

// A service that repeats the key in every place it can must not bring it into
// an error or an answer.
func TestKeyIsInNoError(t *testing.T) {
	const canary = "ofk_reg_live_CANARY0123456789"
	status := 400
	v := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k := r.Header.Get("X-Register-Api-Key")
		if k != canary {
			t.Errorf("the key did not arrive")
		}
		w.Header().Set("X-Request-Id", k)
		w.Header().Set("Location", "https://"+k+"/")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"code":%q,"message":"key %s","param":%q,"request_id":%q,"id":"op_1","state":"completed","x":%q}`, k, k, k, k, k)
	}))
	defer v.Close()
	c := newClient(t, fiscal.Options{BaseURL: v.URL}, keyRing{reg: canary})
	for _, status = range []int{200, 307, 400, 401, 403, 404, 409, 422, 500} {
		a, err := c.Do(t.Context(), call(sale.StepComplete, "op_1", ""))
		var body []byte
		if p, ok := err.(*sale.Problem); ok {
			body = p.Body
			p.Body = nil
		}
		if s := fmt.Sprintf("%v %+v %#v %s %+v %s", err, err, err, body, a, a.Body); strings.Contains(s, "CANARY") {
			t.Errorf("status %d: the key stands in %s", status, s)
		}
		if !strings.Contains(string(body)+string(a.Body), secret.Redacted) {
			t.Errorf("status %d: the answer was not kept", status)
		}
	}
	v.Close()
	_, err := c.Do(t.Context(), call(sale.StepComplete, "op_1", ""))
	if strings.Contains(fmt.Sprintf("%+v %#v", err, err), "CANARY") {
		t.Errorf("the key stands in %v", err)
	}
}
