package broker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"edgegw/broker/brokertest"
	"edgegw/sale"
)

// restart gives a new broker on the same stores.
func (s *site) restart() *site {
	s.t.Helper()
	s.stop()
	return start(s.t, func(n *site, _ *optionsOf) { n.sessions, n.mail, n.accept = s.sessions, s.mail, s.accept })
}

// session_present = 1 after a restart: a device that is told 0 throws away what
// it has not sent yet.
func TestSessionSurvivesRestart(t *testing.T) {
	for _, version := range []byte{4, 5} {
		t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
			s := start(t)
			s.mail.Put("pump-01", "1", "r1")
			c := s.device(version, "pump-01")
			if c.Ack.SessionPresent {
				t.Fatal("a session from nowhere")
			}
			codes, _, err := c.Subscribe(1, 1, topic("pump-01", "receipt"), topic("pump-02", "receipt"), topic("pump-01", "sale/ack"), topic("pump-01", "old"))
			must(t, err)
			if len(codes) != 4 || codes[1] < 0x80 {
				t.Fatalf("SUBACK % x", codes)
			}
			// What a SUBACK or UNSUBACK promises is stored by then: a power cut now must not undo it.
			keptFilters := func() string { all, _ := s.sessions.Sessions(t.Context()); return string(all["pump-01"]) }
			if k := keptFilters(); !strings.Contains(k, topic("pump-01", "old")) || strings.Contains(k, "pump-02") {
				t.Fatalf("stored: %s", k)
			}
			must(t, c.Unsubscribe(2, topic("pump-01", "old")))
			if k := keptFilters(); strings.Contains(k, topic("pump-01", "old")) || !strings.Contains(k, "sale/ack") {
				t.Fatalf("stored: %s", k)
			}
			s.mail.Put("pump-02", "2", "not yours")

			s = s.restart()
			c = s.device(version, "pump-01")
			if !c.Ack.SessionPresent {
				t.Fatal("the session is lost")
			}
			got, ids := letters(t, c, 1)
			equal(t, got, "r1")
			must(t, c.Answer(brokertest.PUBACK, ids[0]))
			delivered(t, s, 1)
			must(t, c.Publish(topic("pump-01", "sale"), 1, 9, "x"))
			readID(t, c, brokertest.PUBACK, 9, 0)
			if p := read(t, c, brokertest.PUBLISH); p.Topic != topic("pump-01", "sale/ack") {
				t.Fatalf("%+v", p)
			}
		})
	}
}

// A session that ends with its connection leaves nothing behind.
func TestCleanSessionLeavesNothing(t *testing.T) {
	s := start(t)
	subscribe(t, s.device(4, "pump-01"), 1, topic("pump-01", "receipt"))
	l := login(4, "pump-01")
	l.Clean = true
	c := s.connect(l)
	if c.Ack.SessionPresent {
		t.Fatal("a clean session is present")
	}
	subscribe(t, c, 1, topic("pump-01", "receipt"))
	l5 := login(5, "pump-02")
	l5.SessionExpiry = 0
	subscribe(t, s.connect(l5), 1, topic("pump-02", "receipt"))
	s = s.restart()
	for version, d := range map[byte]sale.DeviceID{4: "pump-01", 5: "pump-02"} {
		if s.device(version, d).Ack.SessionPresent {
			t.Errorf("the session of %s was kept", d)
		}
	}
}

// Connecting and subscribing as ever writes nothing: flash wears out.
func TestUnchangedSessionCostsNoWrite(t *testing.T) {
	s := start(t)
	for i := range 3 {
		c := s.device(4, "pump-01")
		subscribe(t, c, 1, topic("pump-01", "receipt"))
		must(t, c.Goodbye())
		eventually(t, "gone", func() bool { return s.b.Stats().Sockets == 0 })
		s = s.restart()
		if n := s.sessions.Writes(); n < 1 || n > 2 { // the bare session may be written before its subscription
			t.Fatalf("%d writes after round %d", n, i)
		}
	}
}

// broken cannot store anything.
type broken struct{ inner *brokertest.Sessions }

func (b broken) Sessions(ctx context.Context) (map[sale.DeviceID][]byte, error) {
	return b.inner.Sessions(ctx)
}

func (b broken) DeleteSession(ctx context.Context, d sale.DeviceID) error {
	return b.inner.DeleteSession(ctx, d)
}

func (broken) SaveSession(context.Context, sale.DeviceID, []byte) error {
	return errors.New("disk full")
}

// A session store that fails costs the session, never a sale or a receipt.
func TestSessionStoreFails(t *testing.T) {
	s := start(t, func(s *site, _ *optionsOf) { s.brokenSessions = true })
	s.mail.Put("pump-01", "1", "r1")
	c := s.device(5, "pump-01")
	subscribe(t, c, 1, topic("pump-01", "receipt"))
	got, _ := letters(t, c, 1)
	equal(t, got, "r1")
	must(t, c.Publish(topic("pump-01", "sale"), 1, 1, "x"))
	readID(t, c, brokertest.PUBACK, 1, 0)
	if s.b.Stats().SessionFails == 0 {
		t.Fatal("not counted")
	}
}

// What cannot be read any more is left out, and the gateway starts.
func TestUnreadableSession(t *testing.T) {
	s := start(t, func(s *site, _ *optionsOf) {
		must(t, s.sessions.SaveSession(t.Context(), "pump-01", []byte("{")))
		must(t, s.sessions.SaveSession(t.Context(), "pump-02", []byte(`{"version":1,"protocol":4,"subscriptions":[{"filter":"edgegw/v1/pump-01/#","qos":1}]}`)))
	})
	s.mail.Put("pump-01", "1", "r1")
	if s.device(4, "pump-01").Ack.SessionPresent {
		t.Fatal("a session made of nothing")
	}
	c := s.device(4, "pump-02")
	if !c.Ack.SessionPresent {
		t.Fatal("a good session is lost")
	}
	// The filter it had no right to is gone: from the store, and from mochi, which
	// would ask whether pump-02 may have this and be refused.
	eventually(t, "the store has it no more", func() bool {
		all, _ := s.sessions.Sessions(t.Context())
		return all["pump-02"] != nil && !strings.Contains(string(all["pump-02"]), "pump-01")
	})
	other := s.device(4, "pump-01")
	must(t, other.Publish(topic("pump-01", "status"), 1, 1, "{}"))
	readID(t, other, brokertest.PUBACK, 1, 0)
	nothing(t, c)
	if n := s.b.Stats().Refused; n != 0 {
		t.Fatalf("mochi still holds the filter: %d refusals", n)
	}
}
