package broker_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"edgegw/broker/brokertest"
	"edgegw/sale"
)

// logged starts a site whose log can be read.
func logged(t testing.TB, opts ...option) (*site, *locked) {
	t.Helper()
	var out locked
	opts = append(opts, func(_ *site, o *optionsOf) { o.Log = slog.New(slog.NewTextHandler(&out, nil)) })
	return start(t, opts...), &out
}

// few fails when a log that one cause has filled is as long as the cause: 20
// lines, and one for each second.
func few(t testing.TB, out *locked, line string) {
	t.Helper()
	if n := strings.Count(out.String(), line); n < 1 || n > 60 {
		t.Errorf("%d lines with %q", n, line)
	}
}

// A device in a loop does not bury the log.
func TestOneCauseDoesNotFillTheLog(t *testing.T) {
	const n = 300
	t.Run("messages too long for the device", func(t *testing.T) {
		s, out := logged(t)
		l := login(5, "pump-01")
		l.MaximumPacketSize = 60
		c := s.connect(l)
		subscribe(t, c, 0, topic("pump-01", "sale/ack"))
		for i := range n {
			must(t, c.Publish(topic("pump-01", "sale"), 1, uint16(i+1), fmt.Sprint(i)))
			readID(t, c, brokertest.PUBACK, uint16(i+1), 0)
		}
		eventually(t, "all are too long", func() bool { return s.b.Stats().Oversize == n })
		few(t, out, "longer than the device takes")
	})
	t.Run("connecting anew", func(t *testing.T) {
		s, out := logged(t)
		const n = 100 // lines that nobody ends: each has its grace
		for range n {
			s.device(4, "pump-01")
		}
		eventually(t, "taken over", func() bool { return s.b.Stats().TakenOver == n-1 })
		few(t, out, "connected anew")
	})
	t.Run("what mochi says", func(t *testing.T) {
		s, out := logged(t)
		for range n {
			c := s.device(4, "pump-01")
			must(t, c.Send(login(4, "pump-01").Bytes())) // a second CONNECT
			_, err := c.AwaitEnd()
			must(t, err)
		}
		few(t, out, "error processing packet")
	})
	t.Run("panics", func(t *testing.T) {
		s, out := logged(t)
		for range n {
			c := s.device(5, "pump-01")
			must(t, c.Send([]byte{0x82, 6, 0, 1, 0, 0, 1, 0x61}))
			_, err := c.AwaitEnd()
			must(t, err)
		}
		eventually(t, "all panics are counted", func() bool { return s.b.Stats().Panics == n })
		few(t, out, "a panic was stopped")
	})
	t.Run("bad events", func(t *testing.T) {
		s, out := logged(t, func(s *site, _ *optionsOf) {
			s.accept.Decide = decide(sale.Quarantined, nil, &sale.Fault{Code: "required", Field: "/currency"})
		})
		c := s.device(5, "pump-01")
		for i := range n {
			must(t, c.Publish(topic("pump-01", "sale"), 1, uint16(i+1), fmt.Sprint(i)))
			readID(t, c, brokertest.PUBACK, uint16(i+1), 0x99)
		}
		few(t, out, "a person must look")
	})
}

// DISCONNECT with 0x04 is a goodbye that asks for the will, and no fault.
func TestGoodbyeWithWillIsNoFault(t *testing.T) {
	s, out := logged(t)
	l := login(5, "pump-01")
	l.Will, l.WillTopic, l.WillPayload = true, topic("pump-01", "status"), `{"gone":1}`
	c := s.connect(l)
	must(t, c.Send([]byte{brokertest.DISCONNECT << 4, 2, 0x04, 0}))
	_, err := c.AwaitEnd()
	must(t, err)
	eventually(t, "the will", func() bool { return string(s.b.Presence()[0].Status) == `{"gone":1}` })
	eventually(t, "the end", func() bool { return s.b.Stats().Sockets == 0 })
	if log := out.String(); strings.Contains(log, "WARN") {
		t.Fatalf("%s", log)
	}
}

// What a person must look at is said, with where and why and without content.
func TestBadEventsAreLogged(t *testing.T) {
	for _, status := range []sale.Status{sale.Quarantined, sale.Conflict} {
		for qos := byte(0); qos <= 2; qos++ {
			t.Run(fmt.Sprintf("%s/qos%d", status, qos), func(t *testing.T) {
				s, out := logged(t, func(s *site, _ *optionsOf) {
					s.accept.Decide = decide(status, nil, &sale.Fault{Code: "required", Field: "/currency", Message: "SECRET"})
				})
				c := s.device(4, "pump-01")
				must(t, c.Publish(topic("pump-01", "sale"), qos, 1, "SECRET"))
				eventually(t, "a line in the log", func() bool { return strings.Contains(out.String(), "a person must look") })
				log := out.String()
				for _, want := range []string{"WARN", "device=pump-01", "status=" + string(status), "code=required", "field=/currency"} {
					if !strings.Contains(log, want) {
						t.Errorf("%s is missing: %s", want, log)
					}
				}
				if strings.Contains(log, "SECRET") || strings.Count(log, "\n") != 1 {
					t.Errorf("too much is said: %s", log)
				}
			})
		}
	}
	t.Run("a bad event without a fault", func(t *testing.T) {
		s, out := logged(t, func(s *site, _ *optionsOf) { s.accept.Decide = decide(sale.Conflict, nil, nil) })
		c := s.device(4, "pump-01")
		must(t, c.Publish(topic("pump-01", "sale"), 1, 1, "x"))
		readID(t, c, brokertest.PUBACK, 1, 0)
		few(t, out, "status=conflict")
	})
}

// A connection that a panic has ended leaves no more behind than any other.
func TestPanicEndsLikeAnyOtherEnd(t *testing.T) {
	for _, row := range []struct {
		name  string
		delay byte // Will Delay Interval, in seconds
	}{{"at once", 0}, {"after its delay", 1}} {
		t.Run(row.name, func(t *testing.T) {
			s := start(t)
			l := login(5, "pump-01")
			l.Will, l.WillTopic, l.WillPayload, l.WillRetain = true, topic("pump-01", "status"), `{"gone":1}`, true
			l.SessionExpiry, l.WillDelay = uint32(row.delay)*2, uint32(row.delay)
			c := s.connect(l)
			subscribe(t, c, 1, topic("pump-01", "receipt"), topic("pump-01", "status"), "edgegw/v1/site/status")
			must(t, c.Send([]byte{0x82, 6, 0, 1, 0, 0, 1, 0x61}))
			_, err := c.AwaitEnd()
			must(t, err)
			eventually(t, "the end", func() bool { return s.b.Stats().Sockets == 0 })
			if n := s.b.Stats().Panics; n != 1 {
				t.Fatalf("%d panics", n)
			}
			eventually(t, "the will", func() bool { p := s.b.Presence()[0]; return !p.Online && string(p.Status) == `{"gone":1}` })
			l.Will, l.WillRetain = false, false
			if row.delay == 0 {
				c = s.connect(l)
				if c.Ack.SessionPresent {
					t.Fatal("a session that was to end with its connection is present")
				}
				// Nor has mochi kept its filters: the first word about the site is the
				// retained one, after a SUBSCRIBE.
				s.b.SetSite([]byte(`{"accept":"yes"}`))
				_, before, err := c.Subscribe(1, 0, "edgegw/v1/site/status")
				must(t, err)
				if p := read(t, c, brokertest.PUBLISH); len(before) > 0 || !p.Retain() {
					t.Fatalf("%+v %+v", before, p)
				}
			}
			c = s.connect(l)
			codes, before, err := c.Subscribe(1, 0, topic("pump-01", "status"))
			must(t, err)
			if len(codes) != 1 || codes[0] != 0 || len(before) > 0 {
				t.Fatalf("% x %+v", codes, before)
			}
			if p := read(t, c, brokertest.PUBLISH); string(p.Payload) != `{"gone":1}` || !p.Retain() {
				t.Fatalf("%+v", p)
			}
		})
	}
}

// The will of a panicked connection says nothing against a device that is back.
func TestWillAfterPanicOfADeviceThatIsBack(t *testing.T) {
	s := start(t)
	l := login(5, "pump-01")
	l.Will, l.WillTopic, l.WillPayload, l.WillDelay = true, topic("pump-01", "status"), `{"gone":1}`, 1
	c := s.connect(l)
	must(t, c.Send([]byte{0x82, 6, 0, 1, 0, 0, 1, 0x61}))
	_, err := c.AwaitEnd()
	must(t, err)
	l.Will = false
	c = s.connect(l)
	must(t, c.Publish(topic("pump-01", "status"), 1, 1, `{"ok":1}`))
	readID(t, c, brokertest.PUBACK, 1, 0)
	must(t, c.Goodbye())
	eventually(t, "gone", func() bool { return s.b.Stats().Sockets == 0 })
	// Another device's will of the same moment, and delay, has come after it.
	l2 := login(5, "pump-02")
	l2.Will, l2.WillTopic, l2.WillPayload, l2.WillDelay = true, topic("pump-02", "status"), `{"gone":2}`, 1
	c = s.connect(l2)
	must(t, c.Send([]byte{0x82, 6, 0, 1, 0, 0, 1, 0x61}))
	_, err = c.AwaitEnd()
	must(t, err)
	eventually(t, "the other will", func() bool { return string(s.b.Presence()[1].Status) == `{"gone":2}` })
	if p := s.b.Presence()[0]; string(p.Status) != `{"ok":1}` {
		t.Fatalf("%s", p.Status)
	}
}
