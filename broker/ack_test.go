package broker_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"edgegw/broker/brokertest"
	"edgegw/sale"
)

// heard is what a device reads in a sale/ack.
type heard struct {
	SaleID string `json:"sale_id"`
	Event  string
	Status string
	Seq    *int64
	At     string `json:"accepted_at"`
	Error  *sale.Fault
}

func readAck(t testing.TB, c *brokertest.Client) heard {
	t.Helper()
	p := read(t, c, brokertest.PUBLISH)
	if p.Topic != topic("pump-01", "sale/ack") || p.QoS() != 1 || p.Retain() {
		t.Fatalf("%+v", p)
	}
	must(t, c.Answer(brokertest.PUBACK, p.ID))
	var h heard
	must(t, json.Unmarshal(p.Payload, &h))
	return h
}

// What a device hears in sale/ack, for everything that can become of an event:
// CONTRACT.md 2.3, ruling 6. What is not stored is `rejected`, with a code,
// wherever the connection lives on; where the line is dropped, that is the
// answer. The acknowledgement comes before it and says the same.
func TestSaleAckMatrix(t *testing.T) {
	const payload = `{"sale_id":"4711","seq":9,"occurred_at":"2026-11-22T08:33:40+01:00"}`
	seq := int64(9)
	known := func(status sale.Status, err error, fault *sale.Fault) func(sale.Message) sale.Verdict {
		return func(m sale.Message) sale.Verdict {
			return sale.Verdict{Err: err, Ack: sale.Ack{SaleID: "4711", Event: m.Kind, Status: status, Seq: &seq,
				AcceptedAt: m.Received, Uplink: "up", Error: fault}}
		}
	}
	early := func(err error) func(sale.Message) sale.Verdict { // it failed before anybody knew which sale it is
		return func(sale.Message) sale.Verdict { return sale.Verdict{Err: err} }
	}
	fault := func(code string) *sale.Fault {
		return &sale.Fault{Code: code, Field: "/sale_id", Message: "said by the acceptor"}
	}
	full := fmt.Errorf("append: SECRET: %w", sale.ErrNotReady)
	for _, o := range []struct {
		name         string
		decide       func(sale.Message) sale.Verdict
		puback       byte // v5, QoS 1
		status, code string
	}{
		{"stored", known(sale.Queued, nil, nil), 0, "queued", ""},
		{"stored before", known(sale.Duplicate, nil, nil), 0, "duplicate", ""},
		{"stored before with another content", known(sale.Conflict, nil, fault("conflict")), 0, "conflict", "conflict"},
		{"no part of a sale", known(sale.Quarantined, nil, fault("missing")), 0x99, "quarantined", "missing"},
		{"the disk fails", known("", errors.New("disk: SECRET"), nil), 0x83, "rejected", "not_stored"},
		{"the disk is full", known("", full, nil), 0x97, "rejected", "not_ready"},
		{"the disk fails early", early(errors.New("disk: SECRET")), 0x83, "rejected", "not_stored"},
		{"the disk is full early", early(full), 0x97, "rejected", "not_ready"},
		{"a verdict that means nothing", known("", nil, nil), 0x83, "rejected", "not_stored"},
		{"the acceptor says why", known(sale.Rejected, errors.New("SECRET"), fault("not_now")), 0x83, "rejected", "not_now"},
	} {
		s := start(t, func(s *site, _ *optionsOf) { s.accept.Decide = o.decide })
		for _, version := range []byte{4, 5} {
			for qos := byte(0); qos <= 2; qos++ {
				t.Run(fmt.Sprintf("%s/v%d/qos%d", o.name, version, qos), func(t *testing.T) {
					c := s.device(version, "pump-01")
					defer c.Close()
					subscribe(t, c, 1, topic("pump-01", "sale/ack"))
					must(t, c.Publish(topic("pump-01", "sale"), qos, 7, payload))
					switch {
					case o.status == "rejected" && (qos == 2 || qos == 1 && version == 4):
						if got, err := c.AwaitEnd(); err != nil || len(got) > 0 {
							t.Fatalf("want the line dropped without an answer: %+v, %v", got, err)
						}
						return
					case qos == 1 && version == 5:
						readID(t, c, brokertest.PUBACK, 7, o.puback)
					case qos == 1:
						readID(t, c, brokertest.PUBACK, 7, 0)
					case qos == 2:
						readID(t, c, brokertest.PUBREC, 7, 0)
					}
					h := readAck(t, c)
					if h.SaleID != "4711" || h.Event != "sale" || h.Status != o.status || h.Seq == nil || *h.Seq != 9 || h.At < "2" {
						t.Fatalf("%+v", h)
					}
					if (h.Error == nil) != (o.code == "") || h.Error != nil && (h.Error.Code != o.code || strings.Contains(h.Error.Message, "SECRET")) {
						t.Fatalf("error %+v, want %q", h.Error, o.code)
					}
					nothing(t, c)
				})
			}
		}
	}
}

// A request that is not stored is answered where it asked to be.
func TestRejectedAckOnTheResponseTopic(t *testing.T) {
	s := start(t, func(s *site, _ *optionsOf) { s.accept.Decide = decide("", sale.ErrNotReady, nil) })
	c := s.device(5, "pump-01")
	subscribe(t, c, 1, topic("pump-01", "answer"))
	must(t, c.Send(brokertest.Message{Topic: topic("pump-01", "sale/cancel"), QoS: 1, ID: 3, Payload: []byte(`{"sale_id":"s1"}`),
		ResponseTopic: topic("pump-01", "answer"), Correlation: []byte("c1")}.Bytes(true)))
	readID(t, c, brokertest.PUBACK, 3, 0x97)
	p := read(t, c, brokertest.PUBLISH)
	var h heard
	must(t, json.Unmarshal(p.Payload, &h))
	if p.Topic != topic("pump-01", "answer") || string(p.Props.Correlation) != "c1" || h.Status != "rejected" || h.Event != "cancel" {
		t.Fatalf("%+v %s", p, p.Payload)
	}
}
