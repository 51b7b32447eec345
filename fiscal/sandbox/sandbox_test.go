package sandbox_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"edgegw/fiscal/sandbox"
)

const reg = "reg_1"

var uuids atomic.Int64

// newUUID is unique within the test run.
func newUUID() string { return fmt.Sprintf("00000000-0000-4000-8000-%012x", uuids.Add(1)) }

type reply struct {
	status int
	header http.Header
	proto  string
	raw    string
	body   map[string]any
}

func (r reply) text(path string) string {
	var v any = r.body
	for _, p := range strings.Split(path, ".") {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// client talks to a service in process.
type client struct {
	t   *testing.T
	s   *sandbox.Service
	key string
}

func newClient(t *testing.T, o sandbox.Options) client {
	s := sandbox.New(o)
	return client{t: t, s: s, key: s.MustAddRegister(reg)}
}

// send makes one request; header pairs override the defaults, "" removes one.
func (c client) send(method, path, body string, header ...string) (reply, error) {
	c.t.Helper()
	var rd io.Reader
	if body != "" {
		rd = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(c.t.Context(), method, sandbox.BaseURL+path, rd)
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("X-Register-Api-Key", c.key)
	if method != http.MethodGet {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", newUUID())
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i+1] == "" {
			r.Header.Del(header[i])
		} else {
			r.Header.Set(header[i], header[i+1])
		}
	}
	res, err := c.s.RoundTrip(r)
	if err != nil {
		return reply{}, err
	}
	return read(res)
}

func read(res *http.Response) (reply, error) {
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return reply{}, err
	}
	out := reply{status: res.StatusCode, header: res.Header, raw: string(b)}
	_ = json.Unmarshal(b, &out.body) // some answers are no JSON on purpose
	return out, nil
}

func (c client) must(status int, method, path, body string, header ...string) reply {
	c.t.Helper()
	r, err := c.send(method, path, body, header...)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	if r.status != status {
		c.t.Fatalf("%s %s: status %d, want %d: %s", method, path, r.status, status, r.raw)
	}
	return r
}

const (
	line    = `{"description":"Super E10","quantity":1,"unit_price_gross":7622,"tax":{"rate":"0.19","category":"standard"},"unit":"l","product_ref":"E10"}`
	at      = `"occurred_at":"2026-11-22T08:31:07.250+01:00"`
	content = `{"line_items":[` + line + `],` + at + `}`
	paid    = `{"payments":[{"method":"card","direction":"inbound","amount":7622,"card":{"scheme":"visa","last4":"4242"}}],` + at + `}`
)

func startBody(id, external string) string {
	return fmt.Sprintf(`{"id":%q,"external_id":%q,"cashier":{"id":"pump-07","display_name":"Pump 7"},"currency":"EUR",%s,"metadata":{"nozzle":"2"}}`, id, external, at)
}

// open starts a sale and gives its operation id.
func (c client) open(external string) string {
	c.t.Helper()
	return c.must(201, "POST", "/registers/"+reg+"/sales", startBody(newUUID(), external)).text("id")
}

// sell makes a whole sale of 76.22.
func (c client) sell(external string) string {
	c.t.Helper()
	id := c.open(external)
	c.must(200, "PATCH", "/sales/"+id, content)
	c.must(200, "POST", "/sales/"+id+"/complete", paid)
	return id
}
