package broker_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"edgegw/broker/brokertest"
	"edgegw/sale"
)

// letters reads n receipts and gives their bodies and packet ids.
func letters(t testing.TB, c *brokertest.Client, n int) (bodies []string, ids []uint16) {
	t.Helper()
	for range n {
		p := read(t, c, brokertest.PUBLISH)
		if !strings.HasSuffix(p.Topic, "/receipt") {
			t.Fatalf("a receipt came on %s", p.Topic)
		}
		bodies, ids = append(bodies, string(p.Payload)), append(ids, p.ID)
	}
	return bodies, ids
}

func delivered(t testing.TB, s *site, want int64) {
	t.Helper()
	select {
	case d := <-s.mail.Deliveries():
		if d.No != want {
			t.Fatalf("letter %d was recorded, want %d", d.No, want)
		}
	case <-time.After(brokertest.Patience):
		t.Fatalf("letter %d was not recorded", want)
	}
}

func equal(t testing.TB, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Fatalf("got %q, want %q", got, want)
	}
}

// CONTRACT.md 2.3 "Receipts wait for the device", ruling 19.
func TestReceipts(t *testing.T) {
	for _, version := range []byte{4, 5} {
		t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
			s := start(t)
			for i := 1; i <= 6; i++ {
				s.mail.Put("pump-01", fmt.Sprint(i), fmt.Sprintf("r%d", i))
			}
			c := s.device(version, "pump-01")
			nothing(t, c) // not subscribed
			subscribe(t, c, 1, topic("pump-01", "receipt"))
			got, ids := letters(t, c, 4)
			equal(t, got, "r1", "r2", "r3", "r4")
			subscribe(t, c, 1, topic("pump-01", "receipt"))
			subscribe(t, c, 1, topic("pump-01", "#"))
			nothing(t, c) // four at most, and nothing that is in flight again
			must(t, c.Answer(brokertest.PUBACK, ids[0]))
			delivered(t, s, 1)
			got, _ = letters(t, c, 1)
			equal(t, got, "r5")
			nothing(t, c)
			_ = c.Close()

			// The next connection: what is not acknowledged, oldest first, without a
			// new SUBSCRIBE since the MQTT session was kept.
			c = s.device(version, "pump-01")
			got, ids = letters(t, c, 4)
			equal(t, got, "r2", "r3", "r4", "r5")
			for i, id := range ids {
				must(t, c.Answer(brokertest.PUBACK, id))
				delivered(t, s, int64(i+2))
			}
			got, ids = letters(t, c, 1)
			equal(t, got, "r6")
			must(t, c.Answer(brokertest.PUBACK, ids[0]))
			delivered(t, s, 6)

			// A letter that comes while the device is online.
			s.mail.Put("pump-01", "7", "r7")
			s.b.Deliver("pump-01")
			got, ids = letters(t, c, 1)
			equal(t, got, "r7")
			must(t, c.Answer(brokertest.PUBACK, ids[0]))
			delivered(t, s, 7)

			// And one that is asked for again.
			must(t, c.Publish(topic("pump-01", "receipt/get"), 1, 77, `{"sale_id":"3"}`))
			readID(t, c, brokertest.PUBACK, 77, 0)
			got, _ = letters(t, c, 1)
			equal(t, got, "r3")
			nothing(t, c)
		})
	}
}

// A PUBACK with a reason code that says no is not a receipt taken.
func TestReceiptRefusedByDevice(t *testing.T) {
	s := start(t)
	s.mail.Put("pump-01", "1", "r1")
	c := s.device(5, "pump-01")
	subscribe(t, c, 1, topic("pump-01", "receipt"))
	_, ids := letters(t, c, 1)
	must(t, c.Send([]byte{brokertest.PUBACK << 4, 3, byte(ids[0] >> 8), byte(ids[0]), 0x97}))
	nothing(t, c)
	_ = c.Close()
	c = s.device(5, "pump-01")
	got, _ := letters(t, c, 1)
	equal(t, got, "r1")
}

// With QoS 0 there is no PUBACK, so the receipt stays.
func TestReceiptWithQoS0StaysInTheMailbox(t *testing.T) {
	s := start(t)
	for i := 1; i <= 9; i++ {
		s.mail.Put("pump-01", fmt.Sprint(i), fmt.Sprintf("r%d", i))
	}
	c := s.device(4, "pump-01")
	subscribe(t, c, 0, topic("pump-01", "receipt"))
	letters(t, c, 9)
	nothing(t, c)
	if n := s.mail.Left("pump-01"); n != 9 {
		t.Fatalf("%d receipts left, want 9", n)
	}
	subscribe(t, c, 2, topic("pump-01", "receipt")) // now they can be acknowledged
	got, _ := letters(t, c, 4)
	equal(t, got, "r1", "r2", "r3", "r4")
}

// Both sides count packet ids from 1, so they collide all the time (FAULTS.md
// T8). A receipt must come again until its own PUBACK, and that one must be
// recognised.
func TestPacketIDCollision(t *testing.T) {
	for _, version := range []byte{4, 5} {
		for qos := byte(1); qos <= 2; qos++ {
			t.Run(fmt.Sprintf("v%d/qos%d", version, qos), func(t *testing.T) {
				s := start(t)
				no := s.mail.Put("pump-01", "1", "r1")
				c := s.device(version, "pump-01")
				subscribe(t, c, 1, topic("pump-01", "receipt"))
				for range 2 {
					_, ids := letters(t, c, 1)
					must(t, c.Publish(topic("pump-01", "sale"), qos, ids[0], "x"))
					if qos == 1 {
						readID(t, c, brokertest.PUBACK, ids[0], 0)
					} else {
						readID(t, c, brokertest.PUBREC, ids[0], 0)
						must(t, c.Answer(brokertest.PUBREL, ids[0]))
						readID(t, c, brokertest.PUBCOMP, ids[0], 0)
					}
					nothing(t, c)
					if s.mail.Left("pump-01") != 1 {
						t.Fatal("the receipt counts as delivered")
					}
					_ = c.Close()
					c = s.device(version, "pump-01")
				}
				_, ids := letters(t, c, 1)
				must(t, c.Publish(topic("pump-01", "sale"), 2, ids[0], "y"))
				readID(t, c, brokertest.PUBREC, ids[0], 0)
				must(t, c.Answer(brokertest.PUBACK, ids[0])) // for the receipt
				delivered(t, s, no)
				must(t, c.Answer(brokertest.PUBREL, ids[0])) // for the sale
				readID(t, c, brokertest.PUBCOMP, ids[0], 0)
			})
		}
	}
}

// The device's Receive Maximum holds, and no message is ever stuck, while sales
// with QoS 1 and 2 come in. Mochi's table, which holds the PUBRECs meanwhile,
// cannot deadlock here (TestTrapRecursiveReadLocks): nothing outbound is in it,
// so only the reading goroutine ever changes it.
func TestReceiveMaximumOfTheDevice(t *testing.T) {
	const sales, receipts = 20000, 500
	s := start(t)
	for i := range receipts {
		s.mail.Put("pump-01", fmt.Sprint(i), fmt.Sprintf("r%d", i))
	}
	l := login(5, "pump-01")
	l.ReceiveMaximum = 2
	c := s.connect(l)
	subscribe(t, c, 1, topic("pump-01", "#"))
	sent := make(chan error, 1)
	unreleased := make(chan struct{}, 32) // below the Receive Maximum of the broker
	go func() {
		for i := range sales {
			qos := byte(1)
			if i%4 == 0 {
				qos = 2
				unreleased <- struct{}{}
			}
			if err := c.Publish(topic("pump-01", "sale"), qos, uint16(i%1000+1), fmt.Sprint(i)); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	var pubacks, mails, acks int
	last := map[bool]int{false: -1, true: -1} // QoS 2? → the last sale/ack; each QoS has an order of its own
	answered := map[bool]int{}
	var unanswered []uint16
	for pubacks < sales || mails < receipts || acks < 1000 {
		p, err := c.Read(brokertest.Patience)
		if err != nil {
			t.Fatalf("after %d PUBACK, %d receipts, %d acks: %v", pubacks, mails, acks, err)
		}
		switch {
		case p.Type == brokertest.PUBACK:
			pubacks++
			answered[false]++
			continue
		case p.Type == brokertest.PUBREC && p.Code == 0:
			pubacks++
			answered[true]++
			must(t, c.Answer(brokertest.PUBREL, p.ID))
			continue
		case p.Type == brokertest.PUBCOMP && p.Code == 0:
			<-unreleased
			continue
		case p.Type == brokertest.PINGRESP:
			// The broker has had the time to send more than it may, and has not.
			for _, id := range unanswered {
				must(t, c.Answer(brokertest.PUBACK, id))
			}
			unanswered = nil
			continue
		case p.Type != brokertest.PUBLISH || p.QoS() != 1:
			t.Fatalf("%+v", p)
		case strings.HasSuffix(p.Topic, "/receipt"):
			if want := fmt.Sprintf("r%d", mails); string(p.Payload) != want {
				t.Fatalf("receipt %s, want %s", p.Payload, want)
			}
			mails++
		default:
			var ack struct {
				SaleID int `json:"sale_id,string"`
			}
			must(t, json.Unmarshal(p.Payload, &ack))
			two, rank := ack.SaleID%4 == 0, ack.SaleID/4 // rank: how many of its QoS came before it
			if !two {
				rank = ack.SaleID - ack.SaleID/4 - 1
			}
			if ack.SaleID <= last[two] || rank >= answered[two] {
				t.Fatalf("sale/ack %d after %d, and after %d answers", ack.SaleID, last[two], answered[two])
			}
			last[two] = ack.SaleID
			acks++
		}
		switch unanswered = append(unanswered, p.ID); len(unanswered) {
		case 1:
			if pubacks == sales && mails == receipts { // maybe the last one
				must(t, c.Send([]byte{brokertest.PINGREQ << 4, 0}))
			}
		case 2:
			must(t, c.Send([]byte{brokertest.PINGREQ << 4, 0}))
		default:
			t.Fatalf("%d messages in flight to a device with Receive Maximum 2", len(unanswered))
		}
	}
	must(t, <-sent)
	eventually(t, "all receipts recorded", func() bool { return s.mail.Left("pump-01") <= 2 }) // but those just sent
}

// sale/ack comes behind its PUBACK, for every kind of event and QoS, and on the
// Response Topic too.
func TestSaleAck(t *testing.T) {
	for _, version := range []byte{4, 5} {
		t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
			s := start(t)
			c := s.device(version, "pump-01")
			subscribe(t, c, 1, topic("pump-01", "sale/ack"))
			for qos, answer := range []byte{0, brokertest.PUBACK, brokertest.PUBREC} {
				payload := fmt.Sprintf("sale-%d", qos)
				must(t, c.Publish(topic("pump-01", "sale/start"), byte(qos), uint16(qos)*10, payload))
				if answer != 0 {
					readID(t, c, answer, uint16(qos)*10, 0)
				}
				p := read(t, c, brokertest.PUBLISH)
				var ack sale.Ack
				var raw struct{ Event string }
				must(t, json.Unmarshal(p.Payload, &raw))
				if err := json.Unmarshal([]byte(strings.Replace(string(p.Payload), `"start"`, "1", 1)), &ack); err != nil {
					t.Fatal(err)
				}
				if p.Topic != topic("pump-01", "sale/ack") || p.QoS() != 1 || p.Retain() || ack.SaleID != payload || ack.Status != sale.Queued || raw.Event != "start" {
					t.Fatalf("%+v %s", p, p.Payload)
				}
				must(t, c.Answer(brokertest.PUBACK, p.ID))
			}
			if n := s.b.Stats().Unsafe; n != 1 {
				t.Fatalf("%d unsafe sales counted, want 1", n)
			}
		})
	}
}

func TestResponseTopic(t *testing.T) {
	s := start(t)
	c := s.device(5, "pump-01")
	subscribe(t, c, 0, topic("pump-01", "answers/+"), topic("pump-01", "sale/ack"))
	send := func(to string) {
		t.Helper()
		must(t, c.Send(brokertest.Message{Topic: topic("pump-01", "sale"), QoS: 1, ID: 1, Payload: []byte("x"),
			ResponseTopic: to, Correlation: []byte{1, 2}}.Bytes(true)))
		readID(t, c, brokertest.PUBACK, 1, 0)
	}
	send(topic("pump-01", "answers/a"))
	if p := read(t, c, brokertest.PUBLISH); p.Topic != topic("pump-01", "sale/ack") || len(p.Props.Correlation) > 0 {
		t.Fatalf("%+v", p)
	}
	if p := read(t, c, brokertest.PUBLISH); p.Topic != topic("pump-01", "answers/a") || string(p.Props.Correlation) != "\x01\x02" {
		t.Fatalf("%+v", p)
	}
	send(topic("pump-01", "sale/ack")) // one message serves both
	if p := read(t, c, brokertest.PUBLISH); string(p.Props.Correlation) != "\x01\x02" {
		t.Fatalf("%+v", p)
	}
	for _, bad := range []string{topic("pump-02", "answers/a"), topic("pump-01", "answers/+"), "$SYS/x", topic("pump-01", "not/subscribed")} {
		send(bad)
		read(t, c, brokertest.PUBLISH) // sale/ack
	}
	nothing(t, c)
}

// What is too long for the device is not sent, and does not stop what follows.
func TestDeviceMaximumPacketSize(t *testing.T) {
	s := start(t)
	s.mail.Put("pump-01", "1", strings.Repeat("x", 500))
	s.mail.Put("pump-01", "2", "r2")
	l := login(5, "pump-01")
	l.MaximumPacketSize = 200
	c := s.connect(l)
	subscribe(t, c, 1, topic("pump-01", "receipt"))
	got, _ := letters(t, c, 1)
	equal(t, got, "r2")
	if s.b.Stats().Oversize != 1 || s.mail.Left("pump-01") != 2 {
		t.Fatalf("%+v, %d left", s.b.Stats(), s.mail.Left("pump-01"))
	}
}

// site/status is retained, site/time comes on subscribe.
func TestSiteTopics(t *testing.T) {
	s := start(t, func(_ *site, o *optionsOf) { o.SiteTime = func() []byte { return []byte(`{"now":"x"}`) } })
	s.b.SetSite([]byte(`{"accept":"yes"}`))
	for _, version := range []byte{4, 5} {
		c := s.device(version, "pump-01")
		subscribe(t, c, 1, "edgegw/v1/site/#")
		got := map[string]string{}
		for range 2 {
			p := read(t, c, brokertest.PUBLISH)
			got[p.Topic] = string(p.Payload)
			if retained := p.Topic == "edgegw/v1/site/status"; p.Retain() != retained {
				t.Fatalf("%+v", p)
			}
			if p.QoS() == 1 {
				must(t, c.Answer(brokertest.PUBACK, p.ID))
			}
		}
		if got["edgegw/v1/site/status"] != `{"accept":"yes"}` || got["edgegw/v1/site/time"] != `{"now":"x"}` {
			t.Fatalf("%v", got)
		}
		must(t, c.Goodbye())
	}
	c := s.device(4, "pump-02")
	subscribe(t, c, 0, "edgegw/v1/site/status")
	read(t, c, brokertest.PUBLISH)
	s.b.SetSite([]byte(`{"accept":"yes"}`)) // the same: not sent
	s.b.SetSite([]byte(`{"accept":"no"}`))
	if p := read(t, c, brokertest.PUBLISH); string(p.Payload) != `{"accept":"no"}` {
		t.Fatalf("%+v", p)
	}
}
