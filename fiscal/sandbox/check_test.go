package sandbox_test

import (
	"fmt"
	"strings"
	"testing"

	"edgegw/fiscal/sandbox"
)

// The checker must pass what is right and name what is wrong: each row tells it
// of sales that differ from the three that were made.
func TestCheck(t *testing.T) {
	c := newClient(t, sandbox.Options{})
	c.sell("x/1")
	c.sell("x/2")
	c.must(200, "POST", "/sales/"+c.open("x/3")+"/cancel", `{"reason":"returned"}`)
	one := sandbox.Expect{Register: reg, ExternalID: "x/1", Total: 7622}
	two := sandbox.Expect{Register: reg, ExternalID: "x/2", Total: 7622}
	three := sandbox.Expect{Register: reg, ExternalID: "x/3", Cancelled: true}
	changed, ended, moved := two, three, two
	changed.Total, ended.Cancelled, moved.Register = 7621, false, "reg_2"
	for _, row := range []struct {
		name   string
		expect []sandbox.Expect
		says   []string // "" means no deviation
	}{
		{"right", []sandbox.Expect{one, two, three}, nil},
		{"lost", []sandbox.Expect{one, two, three, {Register: reg, ExternalID: "x/4"}}, []string{"x/4: lost"}},
		{"stray", []sandbox.Expect{one, three}, []string{"x/2: not expected"}},
		{"reordered", []sandbox.Expect{two, one, three}, []string{"reordered: x/1 came at place 1, want x/2"}},
		{"amount", []sandbox.Expect{one, changed, three}, []string{"total 7622, want 7621"}},
		{"end", []sandbox.Expect{one, two, ended}, []string{"is cancelled, want completed"}},
		{"register", []sandbox.Expect{one, moved, three}, []string{"reg_1: x/2: not expected", "reg_2: x/2: lost"}},
		{"expected twice", []sandbox.Expect{one, one, two, three}, []string{"x/1: expected twice"}},
		{"several", []sandbox.Expect{three}, []string{"x/1: not expected", "x/2: not expected"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := c.s.Check(row.expect)
			if len(row.says) == 0 && err != nil {
				t.Fatalf("deviation: %v", err)
			}
			for _, want := range row.says {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
		})
	}
}

func TestCheckSeesADoubledAndAnOpenSale(t *testing.T) {
	c := newClient(t, sandbox.Options{})
	c.sell("x/1")
	c.sell("x/1")
	c.open("x/2")
	err := c.s.Check([]sandbox.Expect{{Register: reg, ExternalID: "x/1", Total: 7622}, {Register: reg, ExternalID: "x/2", Total: 7622}})
	for _, want := range []string{"x/1: 2 operations, want one", "is open, want completed"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestCheckFrozen(t *testing.T) {
	path := "/registers/" + reg + "/sales"
	body := startBody(newUUID(), "x/1")
	for _, row := range []struct {
		name, method, path, body string
		says                     string
	}{
		{"the same", "POST", path, body, ""},
		{"another body", "POST", path, body + "\n", "bodies of requests 1 and 2 differ"},
		{"another path", "POST", "/sales/x/complete", body, "request 2 is POST /v1/sales/x/complete"},
		{"another method", "PATCH", path, body, "request 2 is PATCH"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newClient(t, sandbox.Options{})
			k := newUUID()
			c.must(201, "POST", path, body, "Idempotency-Key", k)
			if _, err := c.send(row.method, row.path, row.body, "Idempotency-Key", k); err != nil {
				t.Fatal(err)
			}
			err := c.s.CheckFrozen()
			if (err == nil) != (row.says == "") || err != nil && !strings.Contains(err.Error(), row.says) {
				t.Errorf("got %v, want %q", err, row.says)
			}
		})
	}
}

func TestLedger(t *testing.T) {
	c := newClient(t, sandbox.Options{KeepRequests: 20})
	c.sell("x/1")
	c.s.Inject(sandbox.Fault{Action: sandbox.DropAnswer, Step: sandbox.StepStart, Times: 1})
	if _, err := c.send("POST", "/registers/"+reg+"/sales", startBody(newUUID(), "x/2")); err == nil {
		t.Fatal("an answer came")
	}
	c.must(401, "GET", "/registers/"+reg, "", "X-Register-Api-Key", "")
	var got []string
	for _, r := range c.s.Requests() {
		got = append(got, fmt.Sprint(r.Number, r.Step, r.ExternalID, r.Outcome, r.Status, r.Processed, r.Answered, r.Credential))
	}
	want := []string{
		fmt.Sprint(1, "start", "x/1", "processed", 201, true, true, "register"),
		fmt.Sprint(2, "update", "x/1", "processed", 200, true, true, "register"),
		fmt.Sprint(3, "complete", "x/1", "processed", 200, true, true, "register"),
		fmt.Sprint(4, "start", "x/2", "processed", 201, true, false, "register"),
		fmt.Sprint(5, "probe", "", "refused", 401, false, true, "none"),
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if e := fmt.Sprint(c.s.Effects(reg)); !strings.HasPrefix(e, "[{start x/1 ") || len(c.s.Effects(reg)) != 4 {
		t.Errorf("effects %s", e)
	}
	if m := c.s.Totals(); m.Completed != 1 || m.Open != 1 || m.Cancelled != 0 || m.Money["EUR"] != 7622 {
		t.Errorf("totals %+v", m)
	}
	o := c.s.Operations(reg)[0]
	if o.StartedAt != "2026-11-22T08:31:07.250+01:00" || o.EndedAt != o.StartedAt || o.Total != 7622 || len(o.Payments) != 1 {
		t.Errorf("operation %+v", o)
	}
	for range 30 {
		c.must(200, "GET", "/registers/"+reg, "")
	}
	if n := len(c.s.Requests()); n > 22 {
		t.Errorf("%d requests kept, want 22 at most", n)
	}
	if err := c.s.CheckFrozen(); err == nil || !strings.Contains(err.Error(), "forgotten") {
		t.Errorf("a checker that forgot says %v", err)
	}
}
