package sandbox_test

import (
	"strings"
	"testing"

	"edgegw/fiscal/sandbox"
)

// Each row is one request that the service must refuse, and how.
func TestStrictness(t *testing.T) {
	with := func(body, old, new string) string { return strings.Replace(body, old, new, 1) }
	start := startBody("00000000-0000-4000-8000-0000000000ff", "x/1")
	patch := func(old, new string) string { return with(content, old, new) }
	pay := func(old, new string) string { return with(paid, old, new) }
	const (
		sales = "/registers/" + reg + "/sales"
		open  = "/sales/{open}"
		done  = "/sales/{done}"
	)
	for _, row := range []struct {
		name, method, path, body string
		header                   []string
		status                   int
		code, param              string
	}{
		{"no such path", "POST", "/sales", start, nil, 404, "not_found", ""},
		{"wrong method", "PUT", sales, start, nil, 405, "method_not_allowed", ""},
		{"dots in a path", "GET", "/sales/..", "", nil, 404, "not_found", ""},
		{"escapes in a path", "GET", "/sales/%2e%2e", "", nil, 404, "not_found", ""},
		{"no credential", "POST", sales, start, []string{"X-Register-Api-Key", ""}, 401, "unauthorized", ""},
		{"wrong key", "POST", sales, start, []string{"X-Register-Api-Key", "ofk_reg_test_no"}, 401, "unauthorized", ""},
		{"two credentials", "POST", sales, start, []string{"Authorization", "Bearer x"}, 400, "invalid_request", "X-Register-Api-Key"},
		{"organization with a register key", "POST", sales, start, []string{"OpenFiskal-Organization", "org_sandbox"}, 400, "invalid_request", "OpenFiskal-Organization"},
		{"register of another", "POST", "/registers/reg_2/sales", start, nil, 403, "forbidden", ""},
		{"register nobody knows", "POST", "/registers/reg_9/sales", start, nil, 404, "register_not_found", ""},
		{"operation of another", "GET", "/sales/{other}", "", nil, 404, "operation_not_found", ""},
		{"administrative path", "POST", "/registers/" + reg + "/credentials/rotate", "", nil, 403, "forbidden", ""},
		{"no content type", "POST", sales, start, []string{"Content-Type", ""}, 415, "unsupported_media_type", "Content-Type"},
		{"form", "POST", sales, start, []string{"Content-Type", "text/plain"}, 415, "unsupported_media_type", "Content-Type"},
		{"no idempotency key", "POST", sales, start, []string{"Idempotency-Key", ""}, 400, "invalid_request", "Idempotency-Key"},
		{"idempotency key is no UUID", "PATCH", open, content, []string{"Idempotency-Key", "4711"}, 400, "invalid_request", "Idempotency-Key"},
		{"body too large", "POST", sales, `{"external_id":"` + strings.Repeat("x", 1<<20) + `"}`, nil, 413, "body_too_large", ""},
		{"no JSON", "POST", sales, `{"external_id":`, nil, 400, "invalid_request", ""},
		{"an array", "POST", sales, `[]`, nil, 400, "invalid_request", ""},
		{"two objects", "POST", sales, start + `{}`, nil, 400, "invalid_request", ""},
		{"not UTF-8", "POST", sales, with(start, "x/1", "\xff"), nil, 400, "invalid_request", ""},
		{"unknown field", "POST", sales, with(start, `"currency"`, `"curency"`), nil, 400, "invalid_request", "curency"},
		{"wrong case", "POST", sales, with(start, `"currency"`, `"Currency"`), nil, 400, "invalid_request", "Currency"},
		{"field twice", "POST", sales, with(start, `{"id"`, `{"currency":"EUR","id"`), nil, 400, "invalid_request", "currency"},
		{"no external_id", "POST", sales, with(start, `"external_id":"x/1",`, ""), nil, 400, "invalid_request", "external_id"},
		{"no cashier", "POST", sales, with(start, `"cashier":{"id":"pump-07","display_name":"Pump 7"},`, ""), nil, 400, "invalid_request", "cashier"},
		{"cashier without name", "POST", sales, with(start, `,"display_name":"Pump 7"`, ""), nil, 400, "invalid_request", "cashier.display_name"},
		{"id is no UUID", "POST", sales, with(start, "00000000-0000-4000-8000-0000000000ff", "sale-1"), nil, 400, "invalid_request", "id"},
		{"currency is no code", "POST", sales, with(start, `"EUR"`, `"eur"`), nil, 400, "invalid_request", "currency"},
		{"time without offset", "POST", sales, with(start, "+01:00", ""), nil, 400, "invalid_request", "occurred_at"},
		{"metadata is no object", "POST", sales, with(start, `{"nozzle":"2"}`, `"2"`), nil, 400, "invalid_request", "metadata"},
		{"quantity as string", "PATCH", open, patch(`"quantity":1`, `"quantity":"1"`), nil, 400, "invalid_request", "line_items[0].quantity"},
		{"quantity zero", "PATCH", open, patch(`"quantity":1`, `"quantity":0`), nil, 400, "invalid_request", "line_items[0].quantity"},
		{"quantity with exponent", "PATCH", open, patch(`"quantity":1`, `"quantity":1e400`), nil, 400, "invalid_request", "line_items[0].quantity"},
		{"price as decimal", "PATCH", open, patch(`7622`, `76.22`), nil, 400, "invalid_request", "line_items[0].unit_price_gross"},
		{"price as string", "PATCH", open, patch(`7622`, `"7622"`), nil, 400, "invalid_request", "line_items[0].unit_price_gross"},
		{"price negative", "PATCH", open, patch(`7622`, `-1`), nil, 400, "invalid_request", "line_items[0].unit_price_gross"},
		{"amount not whole", "PATCH", open, patch(`"quantity":1`, `"quantity":42.37`), nil, 422, "amount_not_whole", "line_items[0]"},
		{"rate as number", "PATCH", open, patch(`"0.19"`, `0.19`), nil, 400, "invalid_request", "line_items[0].tax.rate"},
		{"rate in percent", "PATCH", open, patch(`"0.19"`, `"19"`), nil, 400, "invalid_request", "line_items[0].tax.rate"},
		{"no tax", "PATCH", open, patch(`,"tax":{"rate":"0.19","category":"standard"}`, ""), nil, 400, "invalid_request", "line_items[0].tax"},
		{"unknown flag", "PATCH", open, patch(`"unit":"l"`, `"flags":["tip","fuel"]`), nil, 400, "invalid_request", "line_items[0].flags[1]"},
		{"discount without label", "PATCH", open, patch(`"unit":"l"`, `"line_discounts":[{"source":"manual","amount":10}]`), nil, 400, "invalid_request", "line_items[0].line_discounts[0].label"},
		{"discount of nothing", "PATCH", open, patch(`"unit":"l"`, `"line_discounts":[{"source":"manual","label":"a","amount":0}]`), nil, 400, "invalid_request", "line_items[0].line_discounts[0].amount"},
		{"discount above the line", "PATCH", open, patch(`"unit":"l"`, `"line_discounts":[{"source":"manual","label":"a","amount":7623}]`), nil, 422, "discount_too_large", "line_items[0].line_discounts"},
		{"payments in a PATCH", "PATCH", open, patch(`{"line_items"`, `{"payments":[],"line_items"`), nil, 400, "invalid_request", "payments"},
		{"no payments", "POST", open + "/complete", `{}`, nil, 400, "invalid_request", "payments"},
		{"empty payments", "POST", open + "/complete", `{"payments":[]}`, nil, 400, "invalid_request", "payments"},
		{"unknown method of payment", "POST", open + "/complete", pay(`"card","dir`, `"fleet","dir`), nil, 400, "invalid_request", "payments[0].method"},
		{"unknown direction", "POST", open + "/complete", pay(`"inbound"`, `"in"`), nil, 400, "invalid_request", "payments[0].direction"},
		{"negative payment", "POST", open + "/complete", pay(`7622`, `-7622`), nil, 400, "invalid_request", "payments[0].amount"},
		{"payment in another currency", "POST", open + "/complete", pay(`"amount"`, `"currency":"CHF","amount"`), nil, 400, "invalid_request", "payments[0].currency"},
		{"unknown card field", "POST", open + "/complete", pay(`"last4"`, `"pan"`), nil, 400, "invalid_request", "payments[0].card.pan"},
		{"payments do not add up", "POST", open + "/complete", pay(`7622`, `7621`), nil, 422, "payment_total_mismatch", "payments"},
		{"PATCH after the end", "PATCH", done, content, nil, 409, "operation_not_open", ""},
		{"complete after the end", "POST", done + "/complete", paid, nil, 409, "operation_not_open", ""},
		{"cancel after the end", "POST", done + "/cancel", `{"reason":"x"}`, nil, 409, "operation_not_open", ""},
		{"receipt of an open sale", "GET", "/operations/{open}/receipt", "", nil, 409, "operation_not_completed", ""},
		{"limit too large", "GET", "/registers/" + reg + "/operations?limit=201", "", nil, 400, "invalid_request", "limit"},
		{"limit zero", "GET", "/registers/" + reg + "/operations?limit=0", "", nil, 400, "invalid_request", "limit"},
		{"foreign cursor", "GET", "/registers/" + reg + "/operations?cursor=abc", "", nil, 400, "invalid_request", "cursor"},
		{"unknown parameter", "GET", "/registers/" + reg + "/operations?external_id=1", "", nil, 400, "invalid_request", "external_id"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newClient(t, sandbox.Options{})
			other := client{t: t, s: c.s, key: c.s.MustAddRegister("reg_2")}
			ids := strings.NewReplacer(
				"{other}", other.must(201, "POST", "/registers/reg_2/sales", startBody(newUUID(), "o/1")).text("id"),
				"{done}", c.sell("x/done"), "{open}", c.open("x/open"))
			if strings.HasSuffix(row.path, "{open}/complete") {
				c.must(200, "PATCH", ids.Replace("/sales/{open}"), content)
			}
			before := len(c.s.Effects(reg))
			got := c.must(row.status, row.method, ids.Replace(row.path), row.body, row.header...)
			if got.text("code") != row.code || got.text("param") != row.param {
				t.Errorf("code %q, param %q; want %q, %q", got.text("code"), got.text("param"), row.code, row.param)
			}
			if got.text("object") != "error" || got.text("request_id") == "" || got.header.Get("X-Request-Id") != got.text("request_id") {
				t.Errorf("not the error envelope with its request id: %s", got.raw)
			}
			if after := len(c.s.Effects(reg)); after != before {
				t.Errorf("a refused request changed something: %d effects, want %d", after, before)
			}
		})
	}
}

// A wrong key must not tell whether it ever existed.
func TestUnauthorizedIsAlwaysTheSame(t *testing.T) {
	c := newClient(t, sandbox.Options{})
	old := c.key
	c.s.Rotate(reg)
	shape := func(key string) string {
		r := c.must(401, "GET", "/registers/"+reg, "", "X-Register-Api-Key", key)
		return strings.ReplaceAll(r.raw, r.text("request_id"), "")
	}
	if a, b := shape(old), shape("ofk_reg_test_never"); a != b {
		t.Errorf("revoked key: %s, unknown key: %s", a, b)
	}
}

// What stands in the documents is taken: every optional field once.
func TestEverythingDocumentedIsTaken(t *testing.T) {
	c := newClient(t, sandbox.Options{})
	id := c.must(201, "POST", "/registers/"+reg+"/sales", `{"external_id":"x/1","cashier":{"id":"c","display_name":"C"}}`).text("id")
	if !strings.HasPrefix(id, "op_") {
		t.Errorf("id %q, want one of the service", id)
	}
	got := c.must(200, "PATCH", "/sales/"+id, `{"line_items":[
		{"description":"Strom","quantity":12.5,"unit_price_gross":58,"unit":"kWh","tax":{"rate":"0.19","category":"standard","included_in_price":true},
		 "flags":["tip"],"product_ref":null,"line_discounts":[{"source":"manual","type":"percentage","label":"App","rate":"0.10","amount":25}]},
		{"description":"Kaffee","quantity":2,"unit_price_gross":250,"tax":{"rate":"0.07","category":"reduced"}}],"metadata":{"lines":[1]}}`)
	if total := got.text("data.totals.total_gross"); total != "1200" {
		t.Errorf("total %s, want 1200", total)
	}
	got = c.must(200, "POST", "/sales/"+id+"/complete", `{"payments":[
		{"method":"cash","direction":"inbound","amount":1500,"currency":"EUR","reference":"r","cash":{"amount_tendered":1500}},
		{"method":"cash","direction":"outbound","amount":300}]}`)
	if got.text("state") != "completed" || got.text("fiscal_state") != "succeeded" {
		t.Errorf("state %s, fiscal_state %s", got.text("state"), got.text("fiscal_state"))
	}
	if data := got.text("fiscal.end_event.process_data"); data != "Beleg^7.00_5.00_0.00_0.00_0.00^12.00:Bar" {
		t.Errorf("process_data %q", data)
	}
	if r := c.must(200, "GET", "/operations/"+id+"/receipt", ""); r.text("operation.external_id") != "x/1" || r.text("totals.total_gross") != "1200" {
		t.Errorf("receipt: %s", r.raw)
	}
}
