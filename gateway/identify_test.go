package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/broker/brokertest"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
)

// identified asks a device to show itself.
func (s *testSite) identified(id sale.DeviceID, want string) admin.Identified {
	s.t.Helper()
	i, err := s.Identify(s.t.Context(), id, "person:anna")
	if err != nil || i.Outcome != want {
		s.t.Fatalf("%s: %+v, %v; want %s", id, i, err, want)
	}
	return i
}

// notes counts the lines of the audit trail about it.
func (s *testSite) notes() (lines []admin.AuditEntry) {
	s.t.Helper()
	lines, err := s.Audit(s.t.Context(), admin.AuditFilter{What: "device asked to show itself"})
	if err != nil {
		s.t.Fatal(err)
	}
	return lines
}

// A technician asks a device to show itself, and hears what became of that: the
// device alone gets it, and only its own acknowledgement counts.
func TestADeviceIsAskedToShowItself(t *testing.T) {
	for _, version := range []byte{4, 5} {
		s := newSite(t, sandbox.Options{}).on()
		s.add("pump-01")
		s.add("pump-02")
		other := s.connect("pump-02", version, topic("pump-02", "#"))
		s.identified("pump-01", "not_connected")
		quiet := s.connect("pump-01", version)
		s.identified("pump-01", "not_subscribed")
		if len(s.notes()) > 0 {
			t.Errorf("nothing was sent, and the audit trail has %+v", s.notes())
		}
		if _, _, err := quiet.Subscribe(1, 1, topic("pump-01", "identify")); err != nil {
			t.Fatal(err)
		}
		heard := make(chan brokertest.Packet, 1)
		go func() {
			defer close(heard)
			p, _, err := quiet.Await(brokertest.PUBLISH)
			if err == nil && quiet.Answer(brokertest.PUBACK, p.ID) == nil {
				heard <- p
			}
		}()
		i := s.identified("pump-01", "delivered")
		p, ok := <-heard
		var body struct {
			RequestedAt time.Time `json:"requested_at"`
			Seconds     int       `json:"seconds"`
		}
		if err := json.Unmarshal(p.Payload, &body); !ok || err != nil || body.RequestedAt.IsZero() || body.Seconds != 30 || i.Seconds != 30 ||
			p.Topic != topic("pump-01", "identify") || p.QoS() != 1 || p.Retain() || strings.Contains(string(p.Payload), "anna") {
			t.Errorf("version %d: %+v, %v", version, p, err)
		}
		if before, err := other.Ping(); err != nil || len(before) > 0 {
			t.Errorf("another device heard %+v, %v", before, err)
		}
		if n := s.notes(); len(n) != 1 || n[0].Who != "person:anna" || n[0].Subject != "pump-01" || n[0].Detail != "delivered" {
			t.Errorf("the audit trail has %+v", n)
		}
		for range 10 { // somebody leans on the button
			refusal := (*admin.Refusal)(nil)
			if _, err := s.Identify(t.Context(), "pump-01", "person:anna"); !errors.As(err, &refusal) || refusal.Code != admin.CodeTooMany {
				t.Fatalf("again at once: %v", err)
			}
		}
		if before, err := quiet.Ping(); err != nil || len(before) > 0 {
			t.Errorf("it was asked again: %+v, %v", before, err)
		}
		s.off()
	}
}

// Of a device that reads and says nothing, that is said.
func TestADeviceThatSaysNothing(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	s.connect("pump-01", 4, topic("pump-01", "identify"))
	impatient, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	i, err := s.Identify(impatient, "pump-01", "test")
	if err != nil || i.Outcome != "silent" || !strings.Contains(i.Sentence, "no acknowledgement came within 5 s") || len(s.notes()) != 1 {
		t.Errorf("%+v, %v, %+v", i, err, s.notes())
	}
	refusal := (*admin.Refusal)(nil)
	if _, err := s.Identify(t.Context(), "pump-99", "test"); !errors.As(err, &refusal) || refusal.Code != "not_found" {
		t.Errorf("a device that is none: %v", err)
	}
}

func TestATurnIsHadOnceInAWhile(t *testing.T) {
	var i identifying
	now := time.Now()
	if w := i.begin("a", now); w != 0 {
		t.Errorf("the first: %s", w)
	}
	if w := i.begin("a", now.Add(4*time.Second)); w != 6*time.Second {
		t.Errorf("4 s later: %s", w)
	}
	if w := i.begin("b", now.Add(4*time.Second)); w != 0 {
		t.Errorf("another device: %s", w)
	}
	i.giveBack("b")
	if w := i.begin("b", now.Add(5*time.Second)); w != 0 {
		t.Errorf("one to which nothing was sent: %s", w)
	}
	if w := i.begin("a", now.Add(identifyEvery)); w != 0 || len(i.asked) != 2 {
		t.Errorf("when its time is over: %s, %v", w, i.asked)
	}
	if i.begin("c", now.Add(time.Hour)); len(i.asked) != 1 {
		t.Errorf("turns are kept for ever: %v", i.asked)
	}
}
