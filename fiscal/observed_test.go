package fiscal_test

import (
	"maps"
	"testing"
	"time"

	"edgegw/fiscal"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/secret"
)

// Every request that was made is told once, with what it was for and how it
// ended; what was never made is not.
func TestRequestsAreObserved(t *testing.T) {
	for _, row := range []struct {
		name string
		do   func(b bench)
		want map[string]int
	}{
		{"a sale", func(b bench) {
			b.must(call(sale.StepComplete, b.open("x/1"), "x/1"))
		}, map[string]int{"start 2xx": 1, "update 2xx": 1, "complete 2xx": 1}},
		{"a cancel", func(b bench) { b.must(call(sale.StepCancel, b.open("x/1"), "x/1")) }, map[string]int{"start 2xx": 1, "update 2xx": 1, "cancel 2xx": 1}},
		{"a look-up by id", func(b bench) {
			c := call(sale.StepUpdate, b.open("x/1"), "x/1")
			_, _ = b.c.Find(t.Context(), c, nil)
		}, map[string]int{"start 2xx": 1, "update 2xx": 1, "lookup 2xx": 1}},
		{"a look-up in the list", func(b bench) { _, _ = b.c.Find(t.Context(), lost(reg, newUUID(), "x/9"), nil) },
			map[string]int{"lookup 4xx": 1, "lookup 2xx": 1}},
		{"a wrong key", func(b bench) { _ = b.c.Probe(t.Context(), reg, secret.FromString("ofk_reg_wrong_1")) }, map[string]int{"probe 4xx": 1}},
		{"a service that fails", func(b bench) {
			b.s.Inject(sandbox.Fault{Step: sandbox.StepStart, Action: sandbox.Answer, Status: 503})
			_, _ = b.c.Do(t.Context(), call(sale.StepStart, newUUID(), "x/1"))
		}, map[string]int{"start 5xx": 1}},
		{"no uplink", func(b bench) {
			b.s.SetDown(true)
			_, _ = b.c.Do(t.Context(), call(sale.StepStart, newUUID(), "x/1"))
		}, map[string]int{"start uplink": 1}},
		{"no answer", func(b bench) {
			b.s.Inject(sandbox.Fault{Step: sandbox.StepStart, After: time.Hour})
			_, _ = b.c.Do(t.Context(), call(sale.StepStart, newUUID(), "x/1"))
		}, map[string]int{"start in_doubt": 1}},
		{"no key", func(b bench) {
			_, _ = b.c.Do(t.Context(), sale.Call{Register: "reg_other", Step: sale.StepStart, Method: "POST", Path: "/registers/reg_other/sales"})
		}, map[string]int{}},
	} {
		got := map[string]int{}
		b := newBench(t, sandbox.Options{})
		b.c = newClient(t, fiscal.Options{BaseURL: sandbox.BaseURL, Transport: b.s, Timeout: 100 * time.Millisecond,
			Observed: func(purpose, outcome string, took time.Duration) {
				got[purpose+" "+outcome]++
				if took < 0 {
					t.Errorf("%s: took %v", row.name, took)
				}
			}}, b.ks)
		row.do(b)
		if !maps.Equal(got, row.want) {
			t.Errorf("%s: got %v, want %v", row.name, got, row.want)
		}
	}
}
