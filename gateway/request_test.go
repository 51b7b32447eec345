package gateway

import (
	"fmt"
	"strings"
	"testing"

	"edgegw/broker/brokertest"
	"edgegw/fiscal/sandbox"
)

// A receipt/get is answered in every state of its sale, on the Response Topic of
// the request, by the whole product.
func TestReceiptGetInEveryState(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	s.add("pump-02")
	c := s.connect("pump-01", 5, topic("pump-01", "receipt"), topic("pump-01", "answer"))
	n := uint16(100)
	ask := func(saleID string) string {
		t.Helper()
		n++
		m := brokertest.Message{Topic: topic("pump-01", "receipt/get"), QoS: 1, ID: n, Payload: fmt.Appendf(nil, `{"sale_id":%q}`, saleID),
			ResponseTopic: topic("pump-01", "answer"), Correlation: []byte(saleID)}
		if err := c.Send(m.Bytes(true)); err != nil {
			t.Fatal(err)
		}
		p := readTopic(t, c, "/answer")
		if string(p.Props.Correlation) != saleID {
			t.Errorf("Correlation Data %q", p.Props.Correlation)
		}
		return string(p.Payload)
	}
	says := func(saleID, want string) {
		t.Helper()
		if got := ask(saleID); !strings.Contains(got, want) || !strings.Contains(got, fmt.Sprintf(`{"sale_id":%q,`, saleID)) {
			t.Errorf("the receipt of %s: %s, want %s", saleID, got, want)
		}
	}
	says("s1", `"state":"none","delayed":false,"error":{"code":"not_found"`)
	send := func(id uint16, what, payload string) {
		t.Helper()
		if err := c.Publish(topic("pump-01", what), 1, id, payload); err != nil {
			t.Fatal(err)
		}
		if p, _, err := c.Await(brokertest.PUBACK); err != nil || p.Code != 0 {
			t.Fatalf("PUBACK %#x, %v", p.Code, err)
		}
	}
	send(1, "sale/start", fmt.Sprintf(startEvent, "s1"))
	says("s1", `"code":"not_yet"`)
	s.sandbox.SetDown(true)
	send(2, "sale/complete", fmt.Sprintf(completeEvent, "s1"))
	says("s1", `"code":"not_yet"`)
	s.sandbox.SetDown(false)
	first := string(readTopic(t, c, "/receipt").Payload)
	for range 2 {
		if again := ask("s1"); again != first {
			t.Errorf("asked for: %s, before %s", again, first)
		}
	}
	await(t, "the mailbox to be empty", func() bool {
		before, err := c.Ping()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range before { // the copies on `receipt`
			if err := c.Answer(brokertest.PUBACK, p.ID); err != nil {
				t.Fatal(err)
			}
		}
		d, err := s.Device(t.Context(), "pump-01")
		return err == nil && d.Receipts == 0
	})
	other := s.connect("pump-02", 5, topic("pump-02", "receipt"))
	if err := other.Publish(topic("pump-02", "receipt/get"), 1, 1, `{"sale_id":"s1"}`); err != nil {
		t.Fatal(err)
	}
	if got := string(readTopic(t, other, "/receipt").Payload); !strings.Contains(got, "not_found") {
		t.Errorf("another device's receipt: %s", got)
	}
	s.off()
}
