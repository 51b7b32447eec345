package sale

import (
	"encoding/json"
	"strings"
	"testing"
)

const (
	startJSON = `{"sale_id":"0192f1de-7c1a-7b3e-9c51-6f0f6d1d2a10","occurred_at":"2026-11-22T08:31:07.250+01:00","currency":"EUR",
		"seq":4711,"cashier":{"id":"c1","display_name":"Maria"},"clock":"synchronised","metadata":{"nozzle":"2"},"unknown":[1,{"a":null}]}`
	completeJSON = `{"sale_id":"s1","occurred_at":"2026-11-22T08:33:00+01:00","seq":4712,
		"line_items":[{"description":"Super E10","product_ref":"E10","quantity":"42.37","unit":"l","unit_price":1.799,"amount":7622,
			"tax":{"rate":"0.19","category":"standard"}}],
		"payments":[{"method":"card","direction":"inbound","amount":7622,"card":{"scheme":"visa","last4":"4242","acquirer":"x"},"cash":{"amount_tendered":1}}],
		"meter":{"begin":"104233.91","end":"104276.28","unit":"l"},"ocmf":"OCMF|{\"FV\":\"1.0\"}|{\"SD\":\"30\"}"}`
)

func TestParse(t *testing.T) {
	e, f := Parse(Start, []byte(startJSON))
	if f != nil {
		t.Fatal(f)
	}
	if e.SaleID != "0192f1de-7c1a-7b3e-9c51-6f0f6d1d2a10" || e.OccurredAt != "2026-11-22T08:31:07.250+01:00" || e.Currency != "EUR" ||
		e.Seq != 4711 || !e.HasSeq || string(e.Cashier.Name) != `"Maria"` || e.Clock != "synchronised" || string(e.Metadata) != `{"nozzle":"2"}` {
		t.Errorf("start: %+v", e)
	}
	e, f = Parse(Complete, []byte(completeJSON))
	if f != nil {
		t.Fatal(f)
	}
	l, p := e.Lines[0], e.Payments[0]
	if l.Quantity.String() != "42.37" || l.UnitPrice.String() != "1.799" || l.Amount != 7622 || l.TaxRate.String() != "0.19" || e.Total != 7622 {
		t.Errorf("line: %+v", l)
	}
	if string(p.Detail) != `{"scheme":"visa","last4":"4242"}` {
		t.Errorf("only the sub-object of the method counts, got %s", p.Detail)
	}
	if f := e.CheckCurrency("JPY"); f == nil {
		t.Error("76.22 EUR passed for yen")
	}
	e.Payments[0].Currency = []byte(`"USD"`)
	if f := e.CheckCurrency("EUR"); f == nil || f.Field != "/payments/0/currency" {
		t.Errorf("a payment in USD of a sale in EUR: %v", f)
	}
	e.Payments[0].Currency = nil
	if string(e.OCMF) != `"OCMF|{\"FV\":\"1.0\"}|{\"SD\":\"30\"}"` {
		t.Errorf("signed meter data was touched: %s", e.OCMF)
	}
	if f := e.CheckCurrency("EUR"); f != nil {
		t.Error(f)
	}
}

// Each row changes one piece of a good event and names the place of the fault.
func TestParseNamesTheFault(t *testing.T) {
	whole := strings.Replace(completeJSON, `"seq":4712`, `"currency":"EUR"`, 1)
	for _, c := range []struct {
		name        string
		kind        Kind
		old, new    string
		field, code string
	}{
		{"no sale id", Whole, `"sale_id":"s1",`, ``, "/sale_id", "missing"},
		{"empty sale id", Whole, `"s1"`, `""`, "/sale_id", "invalid"},
		{"sale id with a newline", Whole, `"s1"`, `"s\n1"`, "/sale_id", "invalid"},
		{"sale id beyond ASCII", Whole, `"s1"`, `"ß"`, "/sale_id", "invalid"},
		{"sale id too long", Whole, `"s1"`, `"` + strings.Repeat("x", 65) + `"`, "/sale_id", "invalid"},
		{"sale id a number", Whole, `"s1"`, `1`, "/sale_id", "wrong_type"},
		{"time without offset", Whole, `08:33:00+01:00`, `08:33:00`, "/occurred_at", "invalid"},
		{"no currency", Whole, `"currency":"EUR",`, ``, "/currency", "missing"},
		{"unknown currency", Whole, `"EUR"`, `"EUX"`, "/currency", "invalid"},
		{"no lines", Whole, `"line_items"`, `"lines"`, "/line_items", "missing"},
		{"lines not an array", Whole, `"line_items":[`, `"line_items":{},"x":[`, "/line_items", "wrong_type"},
		{"no payments", Whole, `"payments"`, `"paid"`, "/payments", "missing"},
		{"amount as text", Whole, `"amount":7622,
			"tax"`, `"amount":"7622",
			"tax"`, "/line_items/0/amount", "wrong_type"},
		{"amount with a fraction", Whole, `"amount":7622,
			"tax"`, `"amount":76.22,
			"tax"`, "/line_items/0/amount", "wrong_type"},
		{"negative amount", Whole, `"amount":7622,
			"tax"`, `"amount":-7622,
			"tax"`, "/line_items/0/amount", "invalid"},
		{"amount beyond reason", Whole, `"amount":7622,
			"tax"`, `"amount":1000000000000001,
			"tax"`, "/line_items/0/amount", "invalid"},
		{"amount off by two", Whole, `"amount":7622,
			"tax"`, `"amount":7625,
			"tax"`, "/line_items/0/amount", "amount_mismatch"},
		{"quantity in words", Whole, `"42.37"`, `"much"`, "/line_items/0/quantity", "invalid"},
		{"quantity NaN", Whole, `"42.37"`, `NaN`, "/line_items/0/quantity", "wrong_type"},
		{"no tax", Whole, `"tax"`, `"vat"`, "/line_items/0/tax", "missing"},
		{"no tax rate", Whole, `"rate"`, `"percent"`, "/line_items/0/tax/rate", "missing"},
		{"no tax category", Whole, `"category"`, `"class"`, "/line_items/0/tax/category", "missing"},
		{"tax rate in percent", Whole, `"0.19"`, `"19"`, "/line_items/0/tax/rate", "invalid"},
		{"nothing paid", Whole, `"payments":[{"method":"card","direction":"inbound","amount":7622,"card":{"scheme":"visa","last4":"4242","acquirer":"x"},"cash":{"amount_tendered":1}}]`, `"payments":[]`, "/payments", "invalid"},
		{"a payment of nothing", Whole, `"payments":[`, `"payments":[{"method":"cash","direction":"inbound","amount":0},`, "/payments/0/amount", "invalid"},
		{"an empty tax category", Whole, `"standard"`, `""`, "/line_items/0/tax/category", "invalid"},
		{"a tax rate of many digits", Whole, `"0.19"`, `"0.190000001"`, "/line_items/0/tax/rate", "invalid"},
		{"last4 as a number", Whole, `"4242"`, `4242`, "/payments/0/card/last4", "wrong_type"},
		{"a payment in another currency", Whole, `"direction":"inbound"`, `"direction":"inbound","currency":"USD"`, "/payments/0/currency", "invalid"},
		{"an hour of one digit", Whole, `T08:33:00`, `T8:33:00`, "/occurred_at", "invalid"},
		{"a fraction after a comma", Whole, `:00+01:00`, `:00,5+01:00`, "/occurred_at", "invalid"},
		{"an offset of a day", Whole, `+01:00`, `+24:00`, "/occurred_at", "invalid"},
		{"the year 0", Whole, `2026-11-22`, `0000-11-22`, "/occurred_at", "invalid"},
		{"a control character in an escape", Whole, "Super E10", "Super\\u00\x120", "", "not_json"},
		{"amount twice", Whole, `"quantity":"42.37"`, `"amount":1,"quantity":"42.37"`, "/line_items/0/amount", "repeated"},
		{"sale id twice", Whole, `"sale_id":"s1"`, `"sale_id":"s1","sale_id":"s2"`, "/sale_id", "repeated"},
		{"unknown method", Whole, `"method":"card"`, `"method":"beads"`, "/payments/0/method", "invalid"},
		{"unknown direction", Whole, `"inbound"`, `"sideways"`, "/payments/0/direction", "invalid"},
		{"paid too little", Whole, `"direction":"inbound","amount":7622`, `"direction":"inbound","amount":7621`, "/payments", "payments_mismatch"},
		{"sub-object not an object", Whole, `"card":{"scheme":"visa","last4":"4242","acquirer":"x"}`, `"card":"visa"`, "/payments/0/card", "wrong_type"},
		{"not JSON", Whole, `"seq"`, `seq`, "", ""},
		{"cut off", Whole, `,"ocmf"`, ``, "", "not_json"},
		{"something after it", Whole, `{"sale_id":"s1"`, `{} {"sale_id":"s1"`, "", "not_json"},
		{"an array", Whole, `{"sale_id":"s1"`, `[{"sale_id":"s1"`, "", "wrong_type"},
		{"control character", Whole, "Super E10", "Super\x01", "", "not_json"},
		{"not UTF-8", Whole, "Super E10", "Super\xff", "", "not_utf8"},
		{"unknown clock", Whole, `"currency":"EUR"`, `"currency":"EUR","clock":"sundial"`, "/clock", "invalid"},
		{"negative seq", Whole, `"currency":"EUR"`, `"currency":"EUR","seq":-1`, "/seq", "invalid"},
		{"metadata a string", Whole, `"currency":"EUR"`, `"currency":"EUR","metadata":"x"`, "/metadata", "wrong_type"},
		{"unknown flag", Whole, `"product_ref":"E10"`, `"flags":["nice"]`, "/line_items/0/flags/0", "invalid"},
		{"discount without amount", Whole, `"product_ref":"E10"`, `"discounts":[{"label":"x"}]`, "/line_items/0/discounts/0/amount", "missing"},
		{"discount not taken off", Whole, `"product_ref":"E10"`, `"discounts":[{"label":"x","amount":100}]`, "/line_items/0/amount", "amount_mismatch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			payload := strings.Replace(whole, c.old, c.new, 1)
			if payload == whole && c.name != "not JSON" {
				t.Fatalf("the row changes nothing")
			}
			if c.name == "not JSON" {
				payload = `{sale_id:1}`
				c.code = "not_json"
			}
			_, f := Parse(c.kind, []byte(payload))
			if f == nil {
				t.Fatalf("taken: %s", payload)
			}
			if f.Field != c.field || f.Code != c.code {
				t.Errorf("fault %q at %q (%s), want %q at %q", f.Code, f.Field, f.Message, c.code, c.field)
			}
		})
	}
}

func TestMetadataLeavesTheGatewaysNames(t *testing.T) {
	e, f := Parse(Start, []byte(strings.Replace(startJSON, `{"nozzle":"2"}`, `{ "lines":[1], "a" : {"lines":2}, "ocmf":"x", "b":"\u00e4" }`, 1)))
	if f != nil || string(e.Metadata) != `{"a":{"lines":2},"b":"\u00e4"}` {
		t.Errorf("metadata %s, %v", e.Metadata, f)
	}
}

func TestParseIsDeepAndWideSafe(t *testing.T) {
	deep := `{"sale_id":"s","x":` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000) + `}`
	if _, f := Parse(Cancel, []byte(deep)); f == nil || f.Code != "not_json" {
		t.Errorf("deep nesting: %v", f)
	}
	if _, f := Parse(Cancel, make([]byte, MaxPayload+1)); f == nil || f.Code != "too_large" {
		t.Errorf("too large: %v", f)
	}
	e, f := Parse(Cancel, []byte(`{"sale_id":"s","occurred_at":"2026-11-22T08:33:00Z","reason":"nozzle returned"}`))
	if f != nil || string(e.Reason) != `"nozzle returned"` {
		t.Errorf("cancel: %v %s", f, e.Reason)
	}
}

// The scanner must take exactly what is JSON: encoding/json is the judge.
func FuzzScanner(f *testing.F) {
	for _, s := range []string{startJSON, completeJSON, `{}`, `{"a":[1,2.5e-3,true,null,"\u00e4\n"]}`, `{"a":01}`, `{"a":"\x"}`, `{"a":1,}`,
		`{"a" : nul}`, ` {"a":tru}`, `{"a":-}`, `{"a":1e}`, "{\"a\":\"\u2028\"}", `{"a":"\ud800"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := scanner{b: b}
		fault := s.document(func(string) *Fault { return s.skip() })
		trimmed := strings.TrimLeft(string(b), " \t\r\n")
		want := json.Valid(b) && strings.HasPrefix(trimmed, "{")
		if fault != nil && (fault.Code == "not_utf8" || strings.HasPrefix(fault.Message, "nested too deeply")) {
			return // stricter on purpose
		}
		if (fault == nil) != want {
			t.Fatalf("%q: fault %v, encoding/json says %v", b, fault, want)
		}
		for _, k := range []Kind{Start, Update, Complete, Cancel, Whole} {
			Parse(k, b) // must not panic
		}
	})
}

func BenchmarkParseWhole(b *testing.B) {
	payload := []byte(strings.Replace(completeJSON, `"seq":4712`, `"currency":"EUR"`, 1))
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		if _, f := Parse(Whole, payload); f != nil {
			b.Fatal(f)
		}
	}
}
