package fiscal_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"edgegw/fiscal"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/secret"
)

func TestFind(t *testing.T) {
	for _, o := range []sandbox.Options{{}, {ServerIDs: true}} {
		b := newBench(t, o)
		id := newUUID()
		op := b.must(call(sale.StepStart, id, "x/1")).Operation
		for i := range 230 { // more than a page
			b.must(call(sale.StepStart, newUUID(), fmt.Sprint("y/", i)))
		}
		for _, by := range []struct{ operation, external string }{{op, "x/1"}, {op, ""}, {id, "x/1"}, {"", "x/1"}, {"not an id", "x/1"}} {
			a, err := b.c.Find(t.Context(), lost(reg, by.operation, by.external), nil)
			if err != nil || a.Operation != op || a.State != sale.StateOpen || !a.Adopted || !strings.Contains(string(a.Body), op) {
				t.Errorf("%+v: %v %+v", by, err, a)
			}
		}
		b.must(call(sale.StepUpdate, op, "x/1"))
		b.must(call(sale.StepComplete, op, "x/1"))
		if a, err := b.c.Find(t.Context(), lost(reg, op, "x/1"), nil); err != nil || a.State != sale.StateCompleted || a.DocumentNumber == "" {
			t.Errorf("the completed operation by its id: %+v, %v", a, err)
		}
		if a, err := b.c.Find(t.Context(), lost(reg, "", "x/1"), nil); !errors.Is(err, sale.ErrNone) {
			t.Errorf("a start in doubt cannot have made a completed operation: %+v, %v", a, err)
		}
		for _, by := range []struct{ operation, external string }{{newUUID(), "x/2"}, {"", "x/2"}, {newUUID(), ""}} {
			if a, err := b.c.Find(t.Context(), lost(reg, by.operation, by.external), nil); !errors.Is(err, sale.ErrNone) {
				t.Errorf("%+v: %v %+v, want none", by, err, a)
			}
		}
		_, err := b.c.Find(t.Context(), lost(reg, op, "x/9"), nil)
		if !o.ServerIDs {
			problem(t, err, sale.InDoubt, "other_operation")
		}
	}
}

// A device that took another's place may count its sales from 1 again. Where
// the service keeps client-made ids, the other device's sale is not ours.
func TestFindDoesNotAdoptAnotherSaleOfTheSameName(t *testing.T) {
	b := newBench(t, sandbox.Options{})
	b.must(call(sale.StepStart, newUUID(), "1"))
	if a, err := b.c.Find(t.Context(), lost(reg, newUUID(), "1"), nil); !errors.Is(err, sale.ErrNone) {
		t.Errorf("adopted %+v, %v", a, err)
	}
	b = newBench(t, sandbox.Options{ServerIDs: true})
	op := b.must(call(sale.StepStart, newUUID(), "1")).Operation
	if a, err := b.c.Find(t.Context(), lost(reg, newUUID(), "1"), nil); err != nil || a.Operation != op {
		t.Errorf("found %+v, %v; want %s", a, err, op)
	}
}

// Where the service makes ids of its own that look like the client's, only the
// external id can tell.
func TestFindWhereTheServiceMakesUUIDs(t *testing.T) {
	theirs := newUUID()
	v := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == "POST":
			_, _ = io.WriteString(w, `{"id":"`+theirs+`","state":"open"}`)
		case strings.HasPrefix(r.URL.Path, "/sales/"):
			w.WriteHeader(404)
		default:
			_, _ = io.WriteString(w, `{"data":[{"id":"`+theirs+`","external_id":"1","state":"open"}]}`)
		}
	}))
	defer v.Close()
	c := newClient(t, fiscal.Options{BaseURL: v.URL}, keyRing{reg: "ofk_reg_test_1"})
	if _, err := c.Do(t.Context(), call(sale.StepStart, newUUID(), "1")); err != nil {
		t.Fatal(err)
	}
	if a, err := c.Find(t.Context(), lost(reg, newUUID(), "1"), nil); err != nil || a.Operation != theirs {
		t.Errorf("found %+v, %v; want %s", a, err, theirs)
	}
	c.CloseIdle()
}

// Each row makes the look-up fail; none may say that the sale is absent.
func TestFindThatCannotSay(t *testing.T) {
	for _, row := range []struct {
		name   string
		faults []sandbox.Fault
		class  sale.Class
		code   string
	}{
		{"403", []sandbox.Fault{{Action: sandbox.Answer, Status: 403}}, sale.InDoubt, "lookup_refused"},
		{"405", []sandbox.Fault{{Action: sandbox.Answer, Status: 405}}, sale.InDoubt, "lookup_refused"},
		{"404 by id, then 403", []sandbox.Fault{{Skip: 1, Action: sandbox.Answer, Status: 403}}, sale.InDoubt, "lookup_refused"},
		{"404 by id, then 400", []sandbox.Fault{{Skip: 1, Action: sandbox.Answer, Status: 400}}, sale.InDoubt, "lookup_refused"},
		{"404 by id, then 422 with fiscal errors", []sandbox.Fault{{Skip: 1, Action: sandbox.SigningDown}}, sale.InDoubt, "lookup_refused"},
		{"404 by id, then 404", []sandbox.Fault{{Skip: 1, Action: sandbox.Answer, Status: 404}}, sale.RegisterUnknown, "injected_fault"},
		{"401", []sandbox.Fault{{Action: sandbox.Answer, Status: 401}}, sale.KeyRefused, "injected_fault"},
		{"429", []sandbox.Fault{{Action: sandbox.Throttle}}, sale.Throttled, "rate_limit_exceeded"},
		{"503", []sandbox.Fault{{Action: sandbox.Answer, Status: 503}}, sale.Transient, "injected_fault"},
		{"refused", []sandbox.Fault{{Action: sandbox.Refuse}}, sale.Uplink, "refused"},
		{"cut", []sandbox.Fault{{Action: sandbox.DropAnswer}}, sale.InDoubt, "cut"},
		{"captive portal", []sandbox.Fault{{Action: sandbox.CaptivePortal}}, sale.InDoubt, "unreadable"},
		{"captive portal at the list", []sandbox.Fault{{Skip: 1, Action: sandbox.CaptivePortal}}, sale.InDoubt, "unreadable"},
		{"half a list", []sandbox.Fault{{Skip: 1, Action: sandbox.CutAnswer}}, sale.InDoubt, "cut"},
		{"entry without id", []sandbox.Fault{{Skip: 1, Action: sandbox.Answer, Status: 200, Body: `{"data":[{"state":"open"}]}`}}, sale.InDoubt, "unreadable"},
		{"no list", []sandbox.Fault{{Skip: 1, Action: sandbox.Answer, Status: 200, Body: `{"ok":true}`}}, sale.InDoubt, "unreadable"},
		{"more, but no way to it", []sandbox.Fault{{Skip: 1, Action: sandbox.Answer, Status: 200, Body: `{"data":[],"has_more":true}`}}, sale.InDoubt, "unreadable"},
		{"a circle", []sandbox.Fault{{Skip: 1, Action: sandbox.Answer, Status: 200, Body: `{"data":[],"cursor":"7"}`}}, sale.InDoubt, "unreadable"},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newBench(t, sandbox.Options{})
			for _, f := range row.faults {
				f.Step = sandbox.StepLookup
				b.s.Inject(f)
			}
			_, err := b.c.Find(t.Context(), lost(reg, newUUID(), "x/1"), nil)
			problem(t, err, row.class, row.code)
		})
	}
}

// A key that may list but not read one by its id still gets its proof.
func TestFindByListWhereTheIDIsRefused(t *testing.T) {
	b := newBench(t, sandbox.Options{})
	op := b.open("x/1")
	b.s.Inject(sandbox.Fault{Step: sandbox.StepLookup, Action: sandbox.Answer, Status: 403, Times: 1})
	if a, err := b.c.Find(t.Context(), lost(reg, op, "x/1"), nil); err != nil || a.Operation != op {
		t.Errorf("%v %+v", err, a)
	}
}

// Sales with much metadata make pages that are longer than an answer may be.
func TestFindAmongLargeSales(t *testing.T) {
	b := newBench(t, sandbox.Options{})
	op := b.open("x/1")
	for i := range 45 {
		c := call(sale.StepStart, newUUID(), fmt.Sprint("y/", i))
		c.Body = []byte(strings.Replace(string(c.Body), `"currency"`, `"metadata":{"ocmf":"`+strings.Repeat("0", 50<<10)+`"},"currency"`, 1))
		b.must(c)
	}
	if a, err := b.c.Find(t.Context(), lost(reg, "", "x/1"), nil); err != nil || a.Operation != op {
		t.Errorf("%v %s", err, a.Operation)
	}
	if _, err := b.c.Find(t.Context(), lost(reg, newUUID(), "x/2"), nil); !errors.Is(err, sale.ErrNone) {
		t.Errorf("%v, want none", err)
	}
}

// Both ways of paging are understood (decision 5).
func TestFindPagesEitherWay(t *testing.T) {
	for _, next := range []string{`"cursor":"c2"`, `"next_cursor":"c2","has_more":true`, `"next_cursor":"c2"`} {
		for _, end := range []string{`"cursor":null`, `"has_more":false,"next_cursor":null`, `"has_more":false,"next_cursor":"c3"`, `"object":"list"`} {
			v := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case strings.HasPrefix(r.URL.Path, "/sales/"):
					w.WriteHeader(404)
				case r.URL.Query().Get("limit") != map[string]string{"": "50", "c2": "200"}[r.URL.Query().Get("cursor")]:
					w.WriteHeader(400)
				case r.URL.Query().Get("cursor") == "":
					_, _ = io.WriteString(w, `{"data":[{"id":"op_3","type":"cash_movement","external_id":"x/1"},{"id":"op_2","external_id":null,"state":"open"}],`+next+`}`)
				case r.URL.Query().Get("cursor") == "c2":
					_, _ = io.WriteString(w, `{"data":[{"id":"op_1","external_id":"x/1","type":"sale","state":"open"}],`+end+`}`)
				default:
					w.WriteHeader(500)
				}
			}))
			c := newClient(t, fiscal.Options{BaseURL: v.URL}, keyRing{reg: "ofk_reg_test_1"})
			if a, err := c.Find(t.Context(), lost(reg, newUUID(), "x/1"), nil); err != nil || a.Operation != "op_1" {
				t.Errorf("%s, %s: %v %+v", next, end, err, a)
			}
			if _, err := c.Find(t.Context(), lost(reg, "", "x/2"), nil); !errors.Is(err, sale.ErrNone) {
				t.Errorf("%s, %s: %v, want none", next, end, err)
			}
			c.CloseIdle()
			v.Close()
		}
	}
}

func TestProbe(t *testing.T) {
	b := newBench(t, sandbox.Options{})
	key := secret.FromString(b.ks[reg])
	probe := func() error { return b.c.Probe(t.Context(), reg, key) }
	if err := probe(); err != nil {
		t.Fatal(err)
	}
	problem(t, b.c.Probe(t.Context(), reg, secret.FromString(b.s.MustAddRegister("reg_2"))), sale.KeyRefused, "forbidden")
	problem(t, b.c.Probe(t.Context(), reg, secret.FromString("ofk_reg_test_no")), sale.KeyRefused, "unauthorized")
	problem(t, b.c.Probe(t.Context(), reg, secret.Text{}), sale.KeyRefused, "no_key")
	problem(t, b.c.Probe(t.Context(), "reg_9", key), sale.RegisterUnknown, "register_not_found")
	for _, status := range []int{404, 405} { // decision 10: then the list of sales
		b.s.Inject(sandbox.Fault{Step: sandbox.StepProbe, Action: sandbox.Answer, Status: status, Times: 1})
		if err := probe(); err != nil {
			t.Errorf("status %d: %v", status, err)
		}
		if r := b.s.Requests(); r[len(r)-1].Path != "/v1/registers/reg_1/sales" || r[len(r)-1].Query != "limit=1" {
			t.Errorf("status %d: asked %+v next", status, r[len(r)-1])
		}
	}
	for _, row := range []struct {
		fault sandbox.Fault
		class sale.Class
		code  string
	}{
		{sandbox.Fault{Action: sandbox.CaptivePortal}, sale.InDoubt, "unreadable"},
		{sandbox.Fault{Action: sandbox.Empty}, sale.InDoubt, "unreadable"},
		{sandbox.Fault{Action: sandbox.CutAnswer}, sale.InDoubt, "cut"},
		{sandbox.Fault{Action: sandbox.Answer, Status: 200, Body: `{"id":"reg_2"}`}, sale.KeyRefused, "other_register"},
		{sandbox.Fault{Action: sandbox.Answer, Status: 200, Body: `{"object":"register"}`}, sale.InDoubt, "unreadable"},
		{sandbox.Fault{Action: sandbox.Answer, Status: 503}, sale.Transient, "injected_fault"},
		{sandbox.Fault{Action: sandbox.Answer, Status: 400}, sale.Misconfigured, "injected_fault"},
		{sandbox.Fault{Action: sandbox.Throttle}, sale.Throttled, "rate_limit_exceeded"},
	} {
		row.fault.Times = 1
		b.s.Inject(row.fault)
		problem(t, probe(), row.class, row.code)
	}
	b.s.SetUnknown(string(reg), true)
	problem(t, probe(), sale.RegisterUnknown, "register_not_found")
	b.s.SetDown(true)
	problem(t, probe(), sale.Uplink, "unreachable")
	if n := len(b.s.Effects(string(reg))); n != 0 {
		t.Errorf("a probe changed something: %d effects", n)
	}
}
