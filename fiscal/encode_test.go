package fiscal_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"edgegw/fiscal"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
)

func encode(t *testing.T, k sale.Kind, open bool, payload string) []sale.Call {
	t.Helper()
	e, f := sale.Parse(k, []byte(payload))
	if f != nil {
		t.Fatalf("%s: %v", payload, f)
	}
	n := 0
	x := fiscal.Encoder{NewKey: func() string { n++; return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }}
	exp, ok := sale.Exponent(e.Currency)
	if !ok {
		exp = 2
	}
	return x.Encode(e, "reg_1", sale.Device{ID: "pump-07", Label: `Pump "7"`}, "0192f1de-7c1a-7b3e-9c51-6f0f6d1d2a10", open, exp)
}

const at = "2026-11-22T08:33:00+01:00"

// The bodies to the letter: a change here is a change of what goes out.
func TestEncodeGolden(t *testing.T) {
	whole := `{"sale_id":"s/1","started_at":"2026-11-22T08:31:07.250+01:00","occurred_at":"` + at + `","currency":"EUR","metadata": {"nozzle": "2"} ,
		"line_items":[{"description":"Super \"E10\"","product_ref":"E10","quantity":"42.37","unit":"l","unit_price":"1.799","amount":7500,"tax":{"rate":"0.19","category":"standard","x":1},"discounts":[{"label":"card","amount":122}]},
			{"description":"Coffee","quantity":2,"unit_price":"2.5","amount":500,"tax":{"rate":"0.19","category":"standard"},"flags":["tip"]}],
		"payments":[{"method":"cash","direction":"inbound","amount":10000,"cash":{"amount_tendered":10000},"card":{"scheme":"x"}},{"method":"cash","direction":"outbound","amount":2000,"reference":null}],
		"meter":{"begin":"1","end":"43.37","unit":"l"},"ocmf":"OCMF|{\"a\":1}|x"}`
	want := []string{
		`POST /registers/reg_1/sales {"id":"0192f1de-7c1a-7b3e-9c51-6f0f6d1d2a10","external_id":"s/1","cashier":{"id":"pump-07","display_name":"Pump \"7\""},"currency":"EUR","occurred_at":"2026-11-22T08:31:07.250+01:00","metadata":{"nozzle": "2"}}`,
		`PATCH /sales/{operation} {"occurred_at":"` + at + `","line_items":[{"description":"Super \"E10\" (42.37 l × 1.799)","quantity":1,"unit_price_gross":7622,"tax":{"rate":"0.19","category":"standard"},"line_discounts":[{"source":"manual","label":"card","amount":122}],"product_ref":"E10"},{"description":"Coffee","quantity":2,"unit_price_gross":250,"tax":{"rate":"0.19","category":"standard"},"flags":["tip"]}],"metadata":{"nozzle": "2","lines":[{"line":1,"quantity":"42.37","unit":"l","unit_price":"1.799"}],"meter":{"begin":"1","end":"43.37","unit":"l"},"ocmf":"OCMF|{\"a\":1}|x"}}`,
		`POST /sales/{operation}/complete {"occurred_at":"` + at + `","payments":[{"method":"cash","direction":"inbound","amount":10000,"cash":{"amount_tendered":10000}},{"method":"cash","direction":"outbound","amount":2000,"reference":null}]}`,
	}
	calls := encode(t, sale.Whole, true, whole)
	if len(calls) != len(want) {
		t.Fatalf("%d calls", len(calls))
	}
	keys := map[string]bool{}
	for i, c := range calls {
		if got := c.Method + " " + c.Path + " " + string(c.Body); got != want[i] {
			t.Errorf("call %d\n got %s\nwant %s", i, got, want[i])
		}
		keys[c.IdempotencyKey] = true
	}
	if len(keys) != 3 {
		t.Errorf("calls share an idempotency key")
	}
	c := encode(t, sale.Cancel, false, `{"sale_id":"s1","occurred_at":"`+at+`"}`)
	if len(c) != 1 || string(c[0].Body) != `{"occurred_at":"`+at+`","reason":"cancelled at the device"}` {
		t.Errorf("cancel %v", c)
	}
	c = encode(t, sale.Start, true, `{"sale_id":"s1","occurred_at":"`+at+`","currency":"EUR","cashier":{"id":"c1"}}`)
	if len(c) != 1 || !strings.Contains(string(c[0].Body), `"cashier":{"id":"c1","display_name":"Pump \"7\""}`) {
		t.Errorf("start %s", c[0].Body)
	}
}

// What a device took is what OpenFiskal records: each golden line goes to the
// strict stand-in, which does its own sums.
func TestEncodedSalesAreTakenToTheCent(t *testing.T) {
	for _, c := range []struct {
		name, currency, lines string
		total                 int64
	}{
		{"fuel", "EUR", line("42.37", "l", "1.799", 7622, 0, "0.19"), 7622},
		{"energy", "EUR", line("31.415", "kWh", "0.5899", 1853, 0, "0.19"), 1853},
		{"a free line beside a paid one", "EUR", line("1", "piece", "0", 0, 0, "0.19") + "," + line("2", "piece", "2.50", 500, 0, "0.07"), 500},
		{"yen", "JPY", line("12.5", "l", "170", 2125, 0, "0.10"), 2125},
		{"yen with a broken price", "JPY", line("42.37", "l", "170.5", 7224, 0, "0.10"), 7224},
		{"a hundred thousand litres", "EUR", line("100000", "l", "1.799", 17990000, 0, "0.19"), 17990000},
		{"a line discount", "EUR", line("42.37", "l", "1.799", 7500, 122, "0.19"), 7500},
		{"several tax rates", "EUR", line("3", "piece", "9.99", 2997, 0, "0.19") + "," + line("0.333", "kg", "7.77", 259, 0, "0.07") + "," + line("1", "piece", "1.00", 100, 0, "0"), 3356},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := sandbox.New(sandbox.Options{})
			client := newClient(t, fiscal.Options{BaseURL: sandbox.BaseURL, Transport: s}, keyRing{"reg_1": s.MustAddRegister("reg_1")})
			payload := fmt.Sprintf(`{"sale_id":"s1","occurred_at":%q,"currency":%q,"line_items":[%s],"payments":[{"method":"card","direction":"inbound","amount":%d}]}`, at, c.currency, c.lines, c.total)
			for _, call := range encode(t, sale.Whole, true, payload) {
				call.Register, call.SaleID, call.Operation = "reg_1", "s1", "0192f1de-7c1a-7b3e-9c51-6f0f6d1d2a10"
				if _, err := client.Do(t.Context(), call); err != nil {
					t.Fatalf("%s: %v\n%s", call.Step, err, call.Body)
				}
			}
			if err := s.Check([]sandbox.Expect{{Register: "reg_1", ExternalID: "s1", Total: c.total}}); err != nil {
				t.Error(err)
			}
		})
	}
}

func line(quantity, unit, price string, amount, discount int64, rate string) string {
	d := ""
	if discount > 0 {
		d = fmt.Sprintf(`,"discounts":[{"label":"bonus","amount":%d}]`, discount)
	}
	return fmt.Sprintf(`{"description":"thing","quantity":%q,"unit":%q,"unit_price":%q,"amount":%d,"tax":{"rate":%q,"category":"standard"}%s}`,
		quantity, unit, price, amount, rate, d)
}

// Two devices of a register that count alike: a look-up must not take the one
// for the other where the service makes ids of its own.
func TestFindPassesOverForeignOperations(t *testing.T) {
	s := sandbox.New(sandbox.Options{ServerIDs: true})
	client := newClient(t, fiscal.Options{BaseURL: sandbox.BaseURL, Transport: s}, keyRing{"reg_1": s.MustAddRegister("reg_1")})
	start := encode(t, sale.Start, true, `{"sale_id":"1","occurred_at":"`+at+`","currency":"EUR"}`)[0]
	start.Register, start.SaleID, start.Operation = "reg_1", "1", "0192f1de-7c1a-7b3e-9c51-6f0f6d1d2a10"
	other, err := client.Do(t.Context(), start)
	if err != nil {
		t.Fatal(err)
	}
	mine := "11111111-7c1a-7b3e-9c51-6f0f6d1d2a10"
	foreign := func(op string) bool { return op == other.Operation }
	if a, err := client.Find(t.Context(), lost("reg_1", mine, "1"), foreign); err != sale.ErrNone {
		t.Errorf("took another device's operation: %+v, %v", a, err)
	}
	if a, err := client.Find(t.Context(), lost("reg_1", mine, "1"), nil); err != nil || a.Operation != other.Operation {
		t.Errorf("found %+v, %v", a, err)
	}
}

// lost is a start whose answer never came.
func lost(r sale.RegisterID, operation, externalID string) sale.Call {
	return sale.Call{Register: r, Step: sale.StepStart, Operation: operation, SaleID: externalID, InDoubtSince: time.Now(),
		Body: []byte(`{"currency":"EUR","occurred_at":"` + at + `"}`)}
}

// A box that lost its data looks for a start and meets what an earlier device
// left under the same external id: none of it is the start in doubt.
func TestFindTakesNoOtherSaleForTheStartInDoubt(t *testing.T) {
	old := time.Now().Add(-time.Hour).Format(time.RFC3339)
	young := time.Now().Format(time.RFC3339)
	for _, row := range []struct {
		name, entry string
		want        bool
	}{
		{"made since the attempt", `{"id":"op_1","external_id":"1","state":"open","created_at":"` + young + `"}`, true},
		{"begun when ours began", `{"id":"op_1","external_id":"1","state":"open","started_at":"2026-11-22T07:33:00Z","created_at":"` + old + `"}`, true},
		{"nothing speaks against it", `{"id":"op_1","external_id":"1","state":"open"}`, true},
		{"made long before", `{"id":"op_1","external_id":"1","state":"open","created_at":"` + old + `"}`, false},
		{"completed", `{"id":"op_1","external_id":"1","state":"completed","created_at":"` + young + `"}`, false},
		{"in another currency", `{"id":"op_1","external_id":"1","state":"open","data":{"currency":"CHF"},"created_at":"` + young + `"}`, false},
		{"a refund", `{"id":"op_1","external_id":"1","type":"refund","state":"open","created_at":"` + young + `"}`, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			v := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, "/sales/") {
					w.WriteHeader(404)
					return
				}
				fmt.Fprintf(w, `{"data":[%s]}`, row.entry)
			}))
			defer v.Close()
			c := newClient(t, fiscal.Options{BaseURL: v.URL}, keyRing{"reg_1": "ofk_reg_test_1"})
			a, err := c.Find(t.Context(), lost("reg_1", "0192f1de-7c1a-7b3e-9c51-6f0f6d1d2a10", "1"), nil)
			if (err == nil) != row.want || err != nil && err != sale.ErrNone {
				t.Errorf("found %+v, %v", a, err)
			}
			later := lost("reg_1", "op_9", "1")
			later.Step = sale.StepComplete
			if a, err := c.Find(t.Context(), later, nil); err != sale.ErrNone {
				t.Errorf("a complete took another operation: %+v, %v", a, err)
			}
			c.CloseIdle()
		})
	}
}
