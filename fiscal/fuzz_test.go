package fiscal_test

import (
	"fmt"
	"testing"

	"edgegw/fiscal"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
)

// Whatever a device reports as a whole sale: what is taken from it is taken by
// the strict stand-in as well, with the same money. A sale that we acknowledge
// and OpenFiskal refuses is one that a person has to decide about.
func FuzzEvent(f *testing.F) {
	const tax = `"tax":{"rate":"0.19","category":"standard"}`
	for _, s := range []string{
		fmt.Sprintf(`{"sale_id":"s1","occurred_at":%q,"currency":"EUR","line_items":[%s],"payments":[{"method":"card","direction":"inbound","amount":7622}]}`, at, line("42.37", "l", "1.799", 7622, 0, "0.19")),
		fmt.Sprintf(`{"sale_id":"s1","occurred_at":%q,"currency":"JPY","line_items":[%s],"payments":[{"method":"cash","direction":"inbound","amount":10000},{"method":"cash","direction":"outbound","amount":2776}]}`, at, line("42.37", "l", "170.5", 7224, 0, "0.10")),
		fmt.Sprintf(`{"sale_id":"s1","started_at":%q,"occurred_at":%q,"currency":"EUR","line_items":[%s],"payments":[{"method":"card","direction":"inbound","amount":7500,"card":{"scheme":"visa","last4":"4242"}}],"metadata":{"nozzle":"2"},"meter":{"begin":"1","end":"2","unit":"l"},"ocmf":"OCMF|{}|x"}`, at, at, line("42.37", "l", "1.799", 7500, 122, "0.19")),
		`{"sale_id":"\u0073","occurred_at":"2026-11-22T08:33:00Z","currency":"EUR","cashier":{"id":"c","display_name":"C"},"line_items":[{"description":"ä\n","quantity":-1,"unit_price":1,"amount":-100,` + tax + `},{"description":"x","quantity":2,"unit_price":1e0,"amount":200,` + tax + `}],"payments":[{"method":"other","direction":"inbound","amount":100,"reference":"r"}]}`,
		`{"sale_id":"s","occurred_at":"2026-11-22T08:33:00+14:00","currency":"KWD","line_items":[{"description":"","quantity":"0.001","unit":"kWh","unit_price":"999999.999","amount":1000000,"flags":["tip"],"product_ref":null,` + tax + `}],"payments":[{"method":"voucher","direction":"inbound","amount":1000000}]}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		e, fault := sale.Parse(sale.Whole, []byte(payload))
		if fault != nil {
			if fault.Code == "" || fault.Message == "" {
				t.Errorf("a fault without words: %+v", fault)
			}
			return
		}
		s := sandbox.New(sandbox.Options{})
		client := newClient(t, fiscal.Options{BaseURL: sandbox.BaseURL, Transport: s}, keyRing{"reg_1": s.MustAddRegister("reg_1")})
		for _, call := range encode(t, sale.Whole, true, payload) {
			call.Register, call.SaleID, call.Operation = "reg_1", e.SaleID, "0192f1de-7c1a-7b3e-9c51-6f0f6d1d2a10"
			if _, err := client.Do(t.Context(), call); err != nil {
				t.Fatalf("%s: %v\n%s", call.Step, err, call.Body)
			}
		}
		if err := s.Check([]sandbox.Expect{{Register: "reg_1", ExternalID: e.SaleID, Total: e.Total}}); err != nil {
			t.Error(err)
		}
	})
}
