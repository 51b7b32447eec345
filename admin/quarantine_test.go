package admin

import (
	"reflect"
	"strings"
	"testing"

	"edgegw/sale"
)

// A decision arrives whole, with the person who made it; a second one is a
// conflict, like everywhere in HTTP.
func TestDecisionsArriveWhole(t *testing.T) {
	m, path, _ := serve(t)
	c, ctx := dial(t, path), t.Context()
	want := []Decision{
		{ID: "7", Decision: sale.DecisionRetry, Reason: "tax rate is there now"},
		{ID: "s/1 &x", Decision: sale.DecisionResolve, Reason: "entered by hand: \"größer\"", Operation: "op_01HX"},
		{ID: "7", Decision: sale.DecisionDiscard, Reason: strings.Repeat("ä", 500)},
	}
	for _, d := range want {
		r, err := c.Decide(ctx, d, "person:anna")
		if err != nil || r.ID != "7" || r.Decision != d.Decision || r.Operation != d.Operation || r.Notice != "noted" {
			t.Errorf("%s: %+v, %v", d.Decision, r, err)
		}
	}
	if !reflect.DeepEqual(m.decided, want) {
		t.Errorf("arrived as %+v, want %+v", m.decided, want)
	}
	if m.who[0] != "person:anna" {
		t.Errorf("the audit trail names %q", m.who)
	}
	if _, err := c.Decide(ctx, want[0], ""); refusalCode(err) != "conflict" {
		t.Errorf("a second decision: %v", err)
	}
	for _, bad := range []string{"", ".", "..", "ofk_reg_live_0123456789"} {
		if _, err := c.Decide(ctx, Decision{ID: bad, Decision: sale.DecisionRetry, Reason: "x"}, ""); refusalCode(err) != "not_found" {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if len(m.decided) != 4 {
		t.Errorf("%d decisions arrived, want 4", len(m.decided))
	}
}

func TestQuarantineArrivesWhole(t *testing.T) {
	m, path, _ := serve(t)
	c, ctx := dial(t, path), t.Context()
	filter := QuarantineFilter{State: "all", DeviceID: "pump-1", SaleID: "a/b&c=d #1", Limit: 7}
	all, err := c.Quarantine(ctx, filter)
	if err != nil || len(all) != 1 || all[0].SaleID != "s/1 &x" || all[0].Allowed == nil || all[0].Request != nil {
		t.Errorf("listed %+v, %v", all, err)
	}
	if m.looked[0] != filter {
		t.Errorf("the filter arrived as %+v, want %+v", m.looked[0], filter)
	}
	for _, id := range []string{"7", "s/1 &x"} {
		i, err := c.QuarantineItem(ctx, id)
		if err != nil || i.ID != "7" || i.Payload != "{}" || i.Request.Method != "POST" || i.Answer.Status != 422 || len(i.Allowed) != 1 {
			t.Errorf("%s: %+v, %v", id, i, err)
		}
	}
	if _, err := c.QuarantineItem(ctx, "8"); refusalCode(err) != "not_found" {
		t.Errorf("an item that is not there: %v", err)
	}
}
