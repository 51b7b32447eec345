package broker_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"edgegw/broker/brokertest"
	"edgegw/sale"
)

func decide(status sale.Status, err error, fault *sale.Fault) func(sale.Message) sale.Verdict {
	return func(m sale.Message) sale.Verdict {
		v := brokertest.Queued(m)
		v.Ack.Status, v.Err, v.Ack.Error = status, err, fault
		return v
	}
}

// The whole answer matrix, on the wire: CONTRACT.md 2.3, rulings 7 and 16.
func TestAnswers(t *testing.T) {
	disk := errors.New("database or disk is full")
	bad := &sale.Fault{Code: "required", Field: "/currency", Message: "is missing"}
	outcomes := []struct {
		name   string
		decide func(sale.Message) sale.Verdict
		v5q1   byte // reason code
		stored bool
	}{
		{"stored", nil, 0, true},
		{"duplicate", decide(sale.Duplicate, nil, nil), 0, true},
		{"conflict", decide(sale.Conflict, nil, nil), 0, true},
		{"quarantined", decide(sale.Quarantined, nil, bad), 0x99, true},
		{"store fails", decide("", disk, nil), 0x83, false},
		{"takes no sales now", decide("", fmt.Errorf("append: %w", sale.ErrNotReady), nil), 0x97, false},
		{"unknown status", decide("", nil, nil), 0x83, false},
	}
	for _, o := range outcomes {
		s := start(t, func(s *site, _ *optionsOf) { s.accept.Decide = o.decide })
		for _, version := range []byte{4, 5} {
			for qos := byte(0); qos <= 2; qos++ {
				t.Run(fmt.Sprintf("%s/v%d/qos%d", o.name, version, qos), func(t *testing.T) {
					c := s.device(version, "pump-01")
					must(t, c.Publish(topic("pump-01", "sale"), qos, 7, "{}"))
					switch {
					case qos == 0:
						nothing(t, c)
					case version == 5 && qos == 1:
						p := readID(t, c, brokertest.PUBACK, 7, o.v5q1)
						if want := o.v5q1 == 0x99; want != strings.Contains(p.Props.Reason, "/currency: is missing") {
							t.Fatalf("reason string %q", p.Props.Reason)
						}
						nothing(t, c)
					case !o.stored:
						got, err := c.AwaitEnd()
						if err != nil || len(got) > 0 {
							t.Fatalf("want the line dropped without an answer: %+v, %v", got, err)
						}
					case qos == 1:
						readID(t, c, brokertest.PUBACK, 7, 0)
						nothing(t, c)
					default:
						readID(t, c, brokertest.PUBREC, 7, 0)
						must(t, c.Answer(brokertest.PUBREL, 7))
						readID(t, c, brokertest.PUBCOMP, 7, 0)
						nothing(t, c)
					}
					_ = c.Close()
				})
			}
		}
	}
}

func TestReasonStringOnlyWhereWanted(t *testing.T) {
	s := start(t, func(s *site, _ *optionsOf) {
		s.accept.Decide = decide(sale.Quarantined, nil, &sale.Fault{Field: "/x", Message: strings.Repeat("ä", 400)})
	})
	l := login(5, "pump-01")
	l.NoProblemInfo = true
	c := s.connect(l)
	must(t, c.Publish(topic("pump-01", "sale"), 1, 1, "{}"))
	if p := readID(t, c, brokertest.PUBACK, 1, 0x99); p.Props.Reason != "" {
		t.Fatalf("reason string %q for a device that wants none", p.Props.Reason)
	}
	_ = c.Close()
	c = s.device(5, "pump-01")
	must(t, c.Publish(topic("pump-01", "sale"), 1, 1, "{}"))
	if p := readID(t, c, brokertest.PUBACK, 1, 0x99); len(p.Props.Reason) == 0 || len(p.Props.Reason) > 256 {
		t.Fatalf("reason string of %d bytes", len(p.Props.Reason))
	}
	l = login(5, "pump-02")
	l.MaximumPacketSize = 40
	c = s.connect(l)
	must(t, c.Publish(topic("pump-02", "sale"), 1, 1, "{}"))
	if p := readID(t, c, brokertest.PUBACK, 1, 0x99); p.Props.Reason != "" {
		t.Fatalf("reason string beyond the device's Maximum Packet Size: %q", p.Props.Reason)
	}
}

// Answers come in the order of the PUBLISH packets, whatever the order of the
// verdicts [MQTT-4.6.0-2], and nothing is answered before its verdict.
func TestOrderOfAnswers(t *testing.T) {
	for _, version := range []byte{4, 5} {
		t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
			s := start(t, func(s *site, _ *optionsOf) { s.accept.Hold = true })
			c := s.device(version, "pump-01")
			const n = 63
			for i := range n {
				must(t, c.Publish(topic("pump-01", "sale"), 1, uint16(1000-i), fmt.Sprint(i)))
			}
			must(t, c.Publish(topic("pump-01", "status"), 1, 2000, "{}")) // is ready at once, and waits all the same
			if !s.accept.AwaitHeld(n) {
				t.Fatal("not all events came")
			}
			nothing(t, c) // none acknowledged, and the connection is still read
			s.accept.Release(func(n int) []int {
				order := make([]int, n)
				for i := range order {
					order[i] = n - 1 - i
				}
				return order
			})
			for i := range n {
				readID(t, c, brokertest.PUBACK, uint16(1000-i), 0)
			}
			readID(t, c, brokertest.PUBACK, 2000, 0)
		})
	}
}

// A device that sends more than the gateway has answered is not read from, and
// loses nothing.
func TestInFlightCap(t *testing.T) {
	s := start(t, func(s *site, _ *optionsOf) { s.accept.Hold = true })
	c := s.device(4, "pump-01")
	const n = 300
	sent := make(chan error, 1)
	go func() {
		for i := range n {
			if err := c.Publish(topic("pump-01", "sale"), 1, uint16(i+1), fmt.Sprint(i)); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for done, next := 0, uint16(1); done < n; {
		if !s.accept.AwaitHeld(1) {
			t.Fatal("nothing came")
		}
		k := s.accept.Release(nil)
		if k > 66 { // 64 in the queue and the hand, one that waits for a place, one in Accept
			t.Fatalf("%d events in flight", k)
		}
		for ; k > 0; k-- {
			readID(t, c, brokertest.PUBACK, next, 0)
			next++
			done++
		}
	}
	must(t, <-sent)
	got := s.accept.Got()
	for i, m := range got {
		if string(m.Payload) != fmt.Sprint(i) {
			t.Fatalf("event %d is %s", i, m.Payload)
		}
	}
}

// What is not stored is not acknowledged on the next connection either.
func TestNoAnswerOnTheWrongConnection(t *testing.T) {
	s := start(t, func(s *site, _ *optionsOf) { s.accept.Hold = true })
	old := s.device(4, "pump-01")
	for i := range 10 {
		must(t, old.Publish(topic("pump-01", "sale"), 1, uint16(i+1), fmt.Sprint(i)))
	}
	if !s.accept.AwaitHeld(10) {
		t.Fatal("not all events came")
	}
	c := s.device(4, "pump-01") // takes over
	if got, err := old.AwaitEnd(); err != nil || len(got) > 0 {
		t.Fatalf("old connection: %+v, %v", got, err)
	}
	s.accept.Release(nil)
	nothing(t, c)
	must(t, c.Publish(topic("pump-01", "sale"), 1, 3, "new"))
	if !s.accept.AwaitHeld(1) {
		t.Fatal("the new event did not come")
	}
	s.accept.Release(nil)
	readID(t, c, brokertest.PUBACK, 3, 0)
	nothing(t, c)
}

// QoS 2: stored once in effect, PUBREC repeated with success, PUBCOMP at the end
// [MQTT-4.3.3].
func TestQoS2ExactlyOnce(t *testing.T) {
	for _, version := range []byte{4, 5} {
		t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
			s := start(t)
			c := s.device(version, "pump-01")
			m := brokertest.Message{Topic: topic("pump-01", "sale"), QoS: 2, ID: 5, Payload: []byte("a")}
			must(t, c.Send(m.Bytes(c.V5)))
			readID(t, c, brokertest.PUBREC, 5, 0)
			_ = c.Close() // the device did not see it

			c = s.device(version, "pump-01")
			if !c.Ack.SessionPresent {
				t.Fatal("the MQTT session is lost")
			}
			for p := brokertest.Packet(read(t, c, brokertest.PUBREC)); p.ID != 5 || p.Code != 0; {
				t.Fatalf("mochi sends its PUBREC again: %+v", p)
			}
			m.Dup = true
			must(t, c.Send(m.Bytes(c.V5)))
			readID(t, c, brokertest.PUBREC, 5, 0)
			must(t, c.Answer(brokertest.PUBREL, 5))
			readID(t, c, brokertest.PUBCOMP, 5, 0)
			if n := len(s.accept.Got()); n != 1 {
				t.Fatalf("stored %d times", n)
			}

			// The same id again, before PUBREL, from a device that forgot it: another sale.
			must(t, c.Send(brokertest.Message{Topic: topic("pump-01", "sale"), QoS: 2, ID: 6, Payload: []byte("b")}.Bytes(c.V5)))
			readID(t, c, brokertest.PUBREC, 6, 0)
			must(t, c.Send(brokertest.Message{Topic: topic("pump-01", "sale"), QoS: 2, ID: 6, Payload: []byte("c")}.Bytes(c.V5)))
			readID(t, c, brokertest.PUBREC, 6, 0)
			if n := len(s.accept.Got()); n != 3 {
				t.Fatalf("stored %d events, want a, b and c", n)
			}
		})
	}
}

// An Acceptor that panics, or breaks its promise, costs one connection and
// acknowledges nothing.
func TestBrokenAcceptor(t *testing.T) {
	for _, name := range []string{"panics", "closes its channel"} {
		for qos := byte(1); qos <= 2; qos++ {
			t.Run(fmt.Sprintf("%s/qos%d", name, qos), func(t *testing.T) {
				s := start(t, func(s *site, o *optionsOf) { s.broken = breaking(name) })
				c := s.device(4, "pump-01")
				other := s.device(5, "pump-02")
				must(t, c.Publish(topic("pump-01", "sale"), qos, 1, "x"))
				if got, err := c.AwaitEnd(); err != nil || len(got) > 0 {
					t.Fatalf("%+v, %v", got, err)
				}
				nothing(t, other)
				if n := s.b.Stats().Panics; (n == 1) != (name == "panics") {
					t.Fatalf("%d panics counted", n)
				}
				if s.b.Stats().Accepted != 0 {
					t.Fatal("counted as accepted")
				}
			})
		}
	}
}
