package broker_test

import (
	"context"
	"testing"

	"edgegw/broker"
	"edgegw/broker/brokertest"
)

const asked = `{"requested_at":"2026-11-22T08:31:07Z","seconds":30}`

// identify asks while the test goes on. over ends the waiting.
func (s *site) identify(ctx context.Context) (fate <-chan broker.Fate, over context.CancelFunc) {
	ctx, over = context.WithCancel(ctx)
	said := make(chan broker.Fate, 1)
	go func() { said <- s.b.Identify(ctx, "pump-01", []byte(asked)) }()
	s.t.Cleanup(over)
	return said, over
}

// A device that is asked to show itself hears so, alone, and its own PUBACK says so.
func TestIdentifyIsDeliveredWhenItsPubackCame(t *testing.T) {
	for _, version := range []byte{4, 5} {
		s := start(t)
		c, other := s.device(version, "pump-01"), s.device(version, "pump-02")
		subscribe(t, c, 1, topic("pump-01", "#"))
		subscribe(t, other, 1, topic("pump-02", "#"))
		if codes, _, err := other.Subscribe(7, 1, topic("pump-01", "identify")); err != nil || codes[0] < 0x80 {
			t.Fatalf("another device may listen: % x, %v", codes, err)
		}
		said, _ := s.identify(t.Context())
		p := read(t, c, brokertest.PUBLISH)
		if p.Topic != topic("pump-01", "identify") || string(p.Payload) != asked || p.QoS() != 1 || p.Retain() {
			t.Fatalf("%+v", p)
		}
		nothing(t, c)
		select {
		case f := <-said:
			t.Fatalf("%s before the PUBACK", f)
		default:
		}
		must(t, c.Answer(brokertest.PUBACK, p.ID))
		if f := <-said; f != broker.Delivered {
			t.Errorf("version %d: %s", version, f)
		}
		nothing(t, other)
	}
}

// What can be said of a device that does not answer is said, and no more.
func TestIdentifySaysWhatItKnows(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	s := start(t)
	ask := func(ctx context.Context, want broker.Fate) {
		t.Helper()
		if f := s.b.Identify(ctx, "pump-01", []byte(asked)); f != want {
			t.Errorf("%s, want %s", f, want)
		}
	}
	ask(t.Context(), broker.Absent) // it was never here
	c := s.device(4, "pump-01")
	ask(t.Context(), broker.Unsubscribed)
	subscribe(t, c, 0, topic("pump-01", "identify"))
	ask(t.Context(), broker.Unconfirmed)
	if p := read(t, c, brokertest.PUBLISH); p.QoS() != 0 || string(p.Payload) != asked {
		t.Errorf("%+v", p)
	}
	subscribe(t, c, 1, topic("pump-01", "identify"))
	said, over := s.identify(t.Context())
	p := read(t, c, brokertest.PUBLISH)
	over() // it has read it, and says nothing
	if f := <-said; f != broker.Silent {
		t.Errorf("%s", f)
	}
	must(t, c.Answer(brokertest.PUBACK, p.ID)) // too late for anybody
	said, _ = s.identify(t.Context())
	read(t, c, brokertest.PUBLISH)
	must(t, c.Close())
	if f := <-said; f != broker.Silent {
		t.Errorf("gone after it was sent: %s", f)
	}
	eventually(t, "the device is gone", func() bool { return s.b.Identify(ended, "pump-01", []byte(asked)) == broker.Absent })
}

func TestIdentifyIsDeclined(t *testing.T) {
	s := start(t)
	c := s.device(5, "pump-01")
	subscribe(t, c, 1, topic("pump-01", "identify"))
	said, _ := s.identify(t.Context())
	p := read(t, c, brokertest.PUBLISH)
	must(t, c.Send([]byte{0x40, 3, byte(p.ID >> 8), byte(p.ID), 0x83}))
	if f := <-said; f != broker.Declined {
		t.Errorf("%s", f)
	}
}

// A device that acknowledges nothing is sent nothing more, and nothing later.
func TestIdentifyDoesNotWaitInALine(t *testing.T) {
	s := start(t)
	l := login(5, "pump-01")
	l.ReceiveMaximum = 1
	c := s.connect(l)
	subscribe(t, c, 1, topic("pump-01", "identify"))
	first, over := s.identify(t.Context())
	p := read(t, c, brokertest.PUBLISH)
	over()
	if f := <-first; f != broker.Silent {
		t.Fatalf("%s", f)
	}
	second, over := s.identify(t.Context())
	nothing(t, c)
	over()
	if f := <-second; f != broker.Unsent {
		t.Fatalf("%s", f)
	}
	must(t, c.Answer(brokertest.PUBACK, p.ID))
	nothing(t, c) // what nobody waits for has left the line
	third, _ := s.identify(t.Context())
	p = read(t, c, brokertest.PUBLISH)
	must(t, c.Answer(brokertest.PUBACK, p.ID))
	if f := <-third; f != broker.Delivered {
		t.Fatalf("%s", f)
	}
}

func TestIdentifyIsNotSentBeyondTheMaximumPacketSize(t *testing.T) {
	s := start(t)
	l := login(5, "pump-01")
	l.MaximumPacketSize = 60
	c := s.connect(l)
	subscribe(t, c, 1, topic("pump-01", "identify"))
	if f := s.b.Identify(t.Context(), "pump-01", []byte(asked)); f != broker.Unsent {
		t.Fatalf("%s", f)
	}
	nothing(t, c)
}
