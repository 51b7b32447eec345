package gateway

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"edgegw/broker/brokertest"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/store"
)

// Bad events lose no money and say what is wrong; repeated ones are harmless.
// Each row is published by a device of MQTT 5.0 and looked at on the wire, in
// the journal and at the stand-in.
func TestEventsAndTheirAnswers(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	c := s.connect("pump-01", 5, topic("pump-01", "sale/ack"))
	cent := strings.Replace(wholeEvent, `"amount":7622,"tax"`, `"amount":7600,"tax"`, 1)
	for i, e := range []struct {
		name, topic, payload string
		code                 byte
		status, field        string
	}{
		{"a sale", "sale", fmt.Sprintf(wholeEvent, "s1"), 0, "queued", ""},
		{"the same again", "sale", fmt.Sprintf(wholeEvent, "s1"), 0, "duplicate", ""},
		{"the same with other white space", "sale", strings.Replace(fmt.Sprintf(wholeEvent, "s1"), ",", " , ", 1), 0, "duplicate", ""},
		{"the same id with other money", "sale", strings.ReplaceAll(fmt.Sprintf(wholeEvent, "s1"), "7622", "7623"), 0, "conflict", ""},
		{"not JSON", "sale", `{"sale_id":`, 0x99, "quarantined", ""},
		{"wrong money", "sale", fmt.Sprintf(cent, "s2"), 0x99, "quarantined", "/line_items/0/amount"},
		{"a start", "sale/start", fmt.Sprintf(startEvent, "s3"), 0, "queued", ""},
		{"a cancel", "sale/cancel", `{"sale_id":"s3","occurred_at":"2026-11-22T08:31:09+01:00"}`, 0, "queued", ""},
		{"something after the end", "sale/complete", fmt.Sprintf(completeEvent, "s3"), 0x99, "quarantined", "/sale_id"},
		{"an end without a start", "sale/complete", fmt.Sprintf(completeEvent, "s4"), 0x99, "quarantined", "/sale_id"},
		{"an end that carries all", "sale/complete", strings.Replace(fmt.Sprintf(completeEvent, "s5"), `"line_items"`, `"currency":"EUR","line_items"`, 1), 0, "queued", ""},
		{"an empty payload", "sale", "", 0x99, "quarantined", ""},
	} {
		if err := c.Publish(topic("pump-01", e.topic), 1, uint16(i+1), e.payload); err != nil {
			t.Fatal(err)
		}
		p, _, err := c.Await(brokertest.PUBACK)
		if err != nil || p.Code != e.code || p.ID != uint16(i+1) {
			t.Fatalf("%s: PUBACK %#x, %v; want %#x", e.name, p.Code, err, e.code)
		}
		p, _, err = c.Await(brokertest.PUBLISH)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Answer(brokertest.PUBACK, p.ID); err != nil {
			t.Fatal(err)
		}
		var ack struct {
			SaleID string `json:"sale_id"`
			Event  string
			Status string
			Error  *sale.Fault
		}
		if err := json.Unmarshal(p.Payload, &ack); err != nil {
			t.Fatal(err)
		}
		if ack.Status != e.status || (e.status == "quarantined" || e.status == "conflict") != (ack.Error != nil) || ack.Error != nil && ack.Error.Field != e.field {
			t.Errorf("%s: %s", e.name, p.Payload)
		}
	}
	await(t, "all that is owed to be confirmed", func() bool {
		st, err := s.Status(t.Context())
		return err == nil && st.Totals.Confirmed == 3
	})
	if err := s.sandbox.Check([]sandbox.Expect{{Register: "reg_pump-01", ExternalID: "s1", Total: 7622},
		{Register: "reg_pump-01", ExternalID: "s3", Cancelled: true}, {Register: "reg_pump-01", ExternalID: "s5", Total: 7622}}); err != nil {
		t.Error(err)
	}
	evidence, err := s.db.Items(t.Context(), store.ItemFilter{})
	if err != nil || len(evidence) != 6 {
		t.Fatalf("%d pieces of evidence, %v", len(evidence), err)
	}
	second, err := s.db.Items(t.Context(), store.ItemFilter{No: evidence[len(evidence)-2].No})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(second[0].Raw); got != `{"sale_id":` {
		t.Errorf("evidence is %q, not what the device sent", got)
	}
	s.off()
}
