package gateway

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"edgegw/admin"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/secret"
)

// Austria and Italy give nothing at the start of a sale: nothing is missing then,
// nobody is alarmed, and the device gets the one receipt at the end, with
// whatever block its country has.
func TestCountriesThatGiveNothingAtTheStart(t *testing.T) {
	for _, country := range []struct{ jurisdiction, inBlock string }{{"AT", `"rksv"`}, {"IT", `"rt"`}, {"DE", `"tse"`}} {
		t.Run(country.jurisdiction, func(t *testing.T) {
			s := newSite(t, sandbox.Options{}).on()
			r, err := s.sandbox.AddRegister("reg_1", country.jurisdiction)
			if err != nil {
				t.Fatal(err)
			}
			made, err := s.AddDevice(t.Context(), admin.AddDevice{DeviceID: "pump-01", RegisterID: "reg_1", Kind: "pump", Key: secret.FromString(r.Key)}, "test")
			if err != nil || made.Key != "active" {
				t.Fatalf("key %s, %v", made.Key, err)
			}
			s.secrets["pump-01"] = made.Password
			c := s.connect("pump-01", 4, topic("pump-01", "receipt"), topic("pump-01", "sale/ack"))
			send := func(id uint16, what, payload string) {
				t.Helper()
				if err := c.Publish(topic("pump-01", what), 1, id, payload); err != nil {
					t.Fatal(err)
				}
				if got := readStatus(t, c, "/sale/ack"); got != "queued" {
					t.Fatalf("%s: sale/ack says %s", what, got)
				}
			}
			calm := func() {
				t.Helper()
				st, err := s.Status(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range st.Conditions {
					if c.Code != "kek_self_made" && c.Code != "data_volatile" && c.Code != "unclaimed" { // of every test
						t.Errorf("somebody is alarmed: %+v", c)
					}
				}
				for line := range strings.Lines(s.logs.String()) {
					if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") {
						t.Error(line)
					}
				}
			}
			send(1, "sale/start", fmt.Sprintf(startEvent, "s1"))
			await(t, "the start to be confirmed", func() bool {
				q, err := s.db.Queues(t.Context())
				return err == nil && len(q) == 1 && q[0].Idle && q[0].Waiting == 1
			})
			calm()
			send(2, "sale/complete", fmt.Sprintf(completeEvent, "s1"))
			p := readTopic(t, c, "/receipt")
			var got sale.Receipt
			if err := json.Unmarshal(p.Payload, &got); err != nil {
				t.Fatal(err)
			}
			if got.SaleID != "s1" || got.State != "completed" || got.FiscalState != "succeeded" || got.DocumentNumber == "" || !strings.Contains(string(got.Fiscal), country.inBlock) {
				t.Errorf("receipt %s", p.Payload)
			}
			send(3, "sale/start", fmt.Sprintf(startEvent, "s2"))
			send(4, "sale/cancel", `{"sale_id":"s2","occurred_at":"2026-11-22T08:31:09+01:00"}`)
			if err := json.Unmarshal(readTopic(t, c, "/receipt").Payload, &got); err != nil || got.SaleID != "s2" || got.State != "cancelled" {
				t.Errorf("the cancelled sale: %+v, %v", got, err)
			}
			calm()
			if err := s.sandbox.Check([]sandbox.Expect{{Register: "reg_1", ExternalID: "s1", Total: 7622}, {Register: "reg_1", ExternalID: "s2", Cancelled: true}}); err != nil {
				t.Error(err)
			}
			if err := c.Publish(topic("pump-01", "receipt/get"), 1, 5, `{"sale_id":"s1"}`); err != nil {
				t.Fatal(err)
			}
			if again := readTopic(t, c, "/receipt"); string(again.Payload) != string(p.Payload) {
				t.Errorf("asked for again: %s, before %s", again.Payload, p.Payload)
			}
			s.off()
		})
	}
}
