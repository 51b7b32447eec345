package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"edgegw/broker"
	"edgegw/broker/brokertest"
	"edgegw/sale"
)

// openBox has a sale that is still open.
type openBox struct{ *brokertest.Mailbox }

func (m openBox) Again(ctx context.Context, d sale.DeviceID, saleID string) (sale.Letter, error) {
	if saleID == "open" {
		return sale.Letter{}, broker.ErrNoReceipt
	}
	return m.Mailbox.Again(ctx, d, saleID)
}

// request is a PUBLISH to receipt/get.
func request(payload string, qos byte, id uint16, to string) brokertest.Message {
	m := brokertest.Message{Topic: topic("pump-01", "receipt/get"), QoS: qos, ID: id, Payload: []byte(payload)}
	if to != "" {
		m.ResponseTopic, m.Correlation = to, []byte("c1")
	}
	return m
}

// answered reads the acknowledgement of a request.
func answered(t testing.TB, c *brokertest.Client, qos byte, id uint16, code byte) {
	t.Helper()
	switch qos {
	case 1:
		readID(t, c, brokertest.PUBACK, id, code)
	case 2:
		readID(t, c, brokertest.PUBREC, id, 0)
	}
}

// A receipt/get is never met with silence: what cannot be sent is said, with a
// code, on `receipt`, and on the Response Topic where there is one.
func TestReceiptGetThatFindsNothing(t *testing.T) {
	for _, row := range []struct {
		name, payload string
		code          byte // v5, QoS 1
		saleID, fault string
	}{
		{"an unknown sale", `{"sale_id":"nobody"}`, 0, "nobody", "not_found"},
		{"a sale that is open", `{"sale_id":"open","more":1}`, 0, "open", "not_yet"},
		{"no JSON", `nonsense`, 0x99, "", "not_json"},
		{"nothing", ``, 0x99, "", "not_json"},
		{"no object", `["sale_id"]`, 0x99, "", "not_json"},
		{"null", `null`, 0x99, "", "not_json"},
		{"no sale id", `{"Sale_ID":"s1"}`, 0x99, "", "missing"},
		{"a number", `{"sale_id":4711}`, 0x99, "", "wrong_type"},
		{"a null sale id", `{"sale_id":null}`, 0x99, "", "wrong_type"},
		{"an empty sale id", `{"sale_id":""}`, 0x99, "", "invalid"},
		{"too long", fmt.Sprintf(`{"sale_id":"%065d"}`, 1), 0x99, "", "invalid"},
	} {
		s := start(t, func(s *site, _ *optionsOf) { s.box = openBox{s.mail} })
		for _, version := range []byte{4, 5} {
			for qos := byte(0); qos <= 2; qos++ {
				t.Run(fmt.Sprintf("%s/v%d/qos%d", row.name, version, qos), func(t *testing.T) {
					c := s.device(version, "pump-01")
					defer c.Close()
					to, want := "", []string{"receipt"}
					if version == 5 {
						to, want = topic("pump-01", "answer"), []string{"receipt", "answer"}
					}
					subscribe(t, c, 1, topic("pump-01", "receipt"), topic("pump-01", "answer"))
					must(t, c.Send(request(row.payload, qos, 7, to).Bytes(c.V5)))
					code := byte(0)
					if version == 5 {
						code = row.code
					}
					answered(t, c, qos, 7, code)
					for _, on := range want {
						p := read(t, c, brokertest.PUBLISH)
						var got struct {
							SaleID string `json:"sale_id"`
							State  string
							Error  *sale.Fault
						}
						must(t, json.Unmarshal(p.Payload, &got))
						if p.Topic != topic("pump-01", on) || (on == "answer") != (string(p.Props.Correlation) == "c1") ||
							got.SaleID != row.saleID || got.State != "none" || got.Error == nil || got.Error.Code != row.fault {
							t.Fatalf("%+v %s", p, p.Payload)
						}
						must(t, c.Answer(brokertest.PUBACK, p.ID))
					}
					nothing(t, c)
				})
			}
		}
	}
}

// A mailbox that fails: nothing positive is said, and why where the line lives on.
func TestReceiptGetFromABrokenMailbox(t *testing.T) {
	s := start(t, func(s *site, _ *optionsOf) { s.mail.Fail = errors.New("disk: SECRET") })
	for _, version := range []byte{4, 5} {
		for qos := byte(0); qos <= 2; qos++ {
			c := s.device(version, "pump-01")
			subscribe(t, c, 1, topic("pump-01", "receipt"))
			must(t, c.Send(request(`{"sale_id":"s1"}`, qos, 7, "").Bytes(c.V5)))
			if qos == 2 || qos == 1 && version == 4 {
				if got, err := c.AwaitEnd(); err != nil || len(got) > 0 {
					t.Fatalf("%+v, %v", got, err)
				}
				continue
			}
			answered(t, c, qos, 7, 0x83)
			p := read(t, c, brokertest.PUBLISH)
			if got := string(p.Payload); got != `{"sale_id":"s1","state":"none","delayed":false,"error":{"code":"not_ready","field":"","message":"the mailbox could not be read: ask again"}}` {
				t.Fatal(got)
			}
			_ = c.Close()
		}
	}
}

// A request is answered with the receipt itself, on the Response Topic with its
// Correlation Data, and in the mailbox as ever.
func TestReceiptGetWithAResponseTopic(t *testing.T) {
	for qos := byte(0); qos <= 2; qos++ {
		t.Run(fmt.Sprintf("qos%d", qos), func(t *testing.T) {
			s := start(t)
			no := s.mail.Put("pump-01", "s1", "r1")
			c := s.device(5, "pump-01")
			subscribe(t, c, 1, topic("pump-01", "receipt"), topic("pump-01", "answer"))
			_, ids := letters(t, c, 1)
			must(t, c.Answer(brokertest.PUBACK, ids[0]))
			delivered(t, s, no)

			must(t, c.Send(request(`{"sale_id":"s1"}`, qos, 7, topic("pump-01", "answer")).Bytes(true)))
			answered(t, c, qos, 7, 0)
			seen := map[string]brokertest.Packet{}
			for range 2 {
				p := read(t, c, brokertest.PUBLISH)
				seen[p.Topic] = p
				must(t, c.Answer(brokertest.PUBACK, p.ID))
			}
			mail, answer := seen[topic("pump-01", "receipt")], seen[topic("pump-01", "answer")]
			if string(mail.Payload) != "r1" || len(mail.Props.Correlation) > 0 ||
				string(answer.Payload) != "r1" || string(answer.Props.Correlation) != "c1" || answer.QoS() != 1 {
				t.Fatalf("%+v", seen)
			}
			delivered(t, s, no) // by the PUBACK of `receipt`

			// One message serves both, and its PUBACK takes the receipt.
			must(t, c.Send(request(`{"sale_id":"s1"}`, qos, 8, topic("pump-01", "receipt")).Bytes(true)))
			answered(t, c, qos, 8, 0)
			p := read(t, c, brokertest.PUBLISH)
			if string(p.Payload) != "r1" || string(p.Props.Correlation) != "c1" {
				t.Fatalf("%+v", p)
			}
			nothing(t, c)

			// Under way already: only who wants an answer of its own gets another copy.
			must(t, c.Send(request(`{"sale_id":"s1"}`, qos, 9, "").Bytes(true)))
			answered(t, c, qos, 9, 0)
			nothing(t, c)
			must(t, c.Send(request(`{"sale_id":"s1"}`, qos, 10, topic("pump-01", "receipt")).Bytes(true)))
			answered(t, c, qos, 10, 0)
			copied := read(t, c, brokertest.PUBLISH)
			if string(copied.Payload) != "r1" || string(copied.Props.Correlation) != "c1" {
				t.Fatalf("%+v", copied)
			}
			must(t, c.Answer(brokertest.PUBACK, copied.ID)) // is none for the mailbox
			nothing(t, c)
			if s.mail.Left("pump-01") != 1 {
				t.Fatal("the PUBACK of a copy took the receipt out of the mailbox")
			}
			must(t, c.Answer(brokertest.PUBACK, p.ID))
			delivered(t, s, no)
		})
	}
}

// Without a subscription to `receipt` the answer comes where it was asked for,
// and the receipt waits.
func TestReceiptGetOnTheResponseTopicAlone(t *testing.T) {
	s := start(t)
	s.mail.Put("pump-01", "s1", "r1")
	c := s.device(5, "pump-01")
	subscribe(t, c, 0, topic("pump-01", "answer"))
	must(t, c.Send(request(`{"sale_id":"s1"}`, 1, 7, topic("pump-01", "answer")).Bytes(true)))
	answered(t, c, 1, 7, 0)
	if p := read(t, c, brokertest.PUBLISH); string(p.Payload) != "r1" || p.QoS() != 0 {
		t.Fatalf("%+v", p)
	}
	nothing(t, c)
	if s.mail.Left("pump-01") != 1 {
		t.Fatal("the receipt has left the mailbox")
	}
}

// Whoever has subscribed with QoS 0 gets what was asked for and nothing else of
// what was sent before.
func TestReceiptGetWithQoS0SendsOne(t *testing.T) {
	s := start(t)
	for i := 1; i <= 9; i++ {
		s.mail.Put("pump-01", fmt.Sprint(i), fmt.Sprintf("r%d", i))
	}
	c := s.device(4, "pump-01")
	subscribe(t, c, 0, topic("pump-01", "receipt"))
	letters(t, c, 9)
	for range 2 {
		must(t, c.Publish(topic("pump-01", "receipt/get"), 1, 1, `{"sale_id":"3"}`))
		readID(t, c, brokertest.PUBACK, 1, 0)
		got, _ := letters(t, c, 1)
		equal(t, got, "r3")
		nothing(t, c)
	}
	s.mail.Put("pump-01", "10", "r10")
	must(t, c.Publish(topic("pump-01", "receipt/get"), 1, 2, `{"sale_id":"10"}`)) // nobody has told of it yet
	readID(t, c, brokertest.PUBACK, 2, 0)
	got, _ := letters(t, c, 1)
	equal(t, got, "r10")
	nothing(t, c)
}

// A receipt that the device cannot take is said to be too long.
func TestReceiptGetBeyondTheMaximumPacketSize(t *testing.T) {
	s := start(t)
	s.mail.Put("pump-01", "s1", fmt.Sprintf("%0500d", 1))
	l := login(5, "pump-01")
	l.MaximumPacketSize = 300
	c := s.connect(l)
	subscribe(t, c, 0, topic("pump-01", "receipt"))
	must(t, c.Publish(topic("pump-01", "receipt/get"), 1, 1, `{"sale_id":"s1"}`))
	readID(t, c, brokertest.PUBACK, 1, 0)
	var got struct{ Error *sale.Fault }
	must(t, json.Unmarshal(read(t, c, brokertest.PUBLISH).Payload, &got))
	if got.Error == nil || got.Error.Code != "too_large" {
		t.Fatalf("%+v", got.Error)
	}
}
