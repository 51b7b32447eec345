package simulator

import (
	"bytes"
	"encoding/json"
	"sync"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	mqtt "github.com/mochi-mqtt/server/v2"
)

// TestFaultsLoseNothingAndReorderNothing answers a device's events with
// refusals, cut lines before and after storing, and silence, and then compares
// what the site stored with what the device says it sold.
func TestFaultsLoseNothingAndReorderNothing(t *testing.T) {
	s := startSite(t, nil)
	d := s.device(t, Config{Sales: 60, Cancels: 20})
	chance := Source(9, "faults")
	var mu sync.Mutex // one connection may still be answered while the next is
	stored := map[int64][]byte{}
	var order []int64
	cuts, refusals := 0, 0
	s.answers(func(m message) error {
		mu.Lock()
		defer mu.Unlock()
		var p struct{ Seq int64 }
		if err := json.Unmarshal(m.payload, &p); err != nil {
			t.Error(err)
		}
		fate := chance.IntN(10)
		if fate == 0 { // the line is cut before the event is stored
			cuts++
			d.Cut()
			return packets.ErrRejectPacket
		}
		if fate == 1 {
			refusals++
			return packets.ErrQuotaExceeded
		}
		if was, again := stored[p.Seq]; !again {
			stored[p.Seq] = m.payload
			order = append(order, p.Seq)
		} else if !bytes.Equal(was, m.payload) {
			t.Errorf("event %d came again with other bytes", p.Seq)
		}
		if fate == 2 { // … and after it
			cuts++
			d.Cut()
			return packets.ErrRejectPacket
		}
		return nil
	})
	wait, _ := run(t, d)
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if cuts == 0 || refusals == 0 {
		t.Fatalf("%d cuts and %d refusals: nothing was tried", cuts, refusals)
	}
	for i, seq := range order {
		if seq != int64(i)+1 {
			t.Fatalf("event %d was stored in place %d", seq, i+1)
		}
	}
	events, ends := 0, 0
	for _, r := range d.Sales() {
		events += r.Events
		if r.Stored() {
			ends++
		}
	}
	if events != len(order) || ends != 60 {
		t.Errorf("the device reported %d events of %d stored sales; the site has %d events", events, ends, len(order))
	}
}

func TestTheGatewaySeesTheDeviceComeAndGo(t *testing.T) {
	s := startSite(t, nil)
	var mu sync.Mutex
	var states []string
	err := s.server.Subscribe("edgegw/v1/+/status", 1, func(_ *mqtt.Client, _ packets.Subscription, pk packets.Packet) {
		var p struct{ State string }
		if json.Unmarshal(pk.Payload, &p) != nil || p.State == "" {
			return // the site's own status
		}
		mu.Lock()
		states = append(states, p.State)
		mu.Unlock()
		s.mu.Lock()
		s.tell()
		s.mu.Unlock()
	})
	if err != nil {
		t.Fatal(err)
	}
	d := s.device(t, Config{Style: Whole, Sales: 1})
	wait, _ := run(t, d)
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	s.until(t, "the word that the device went offline", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(states) == 2
	})
	if states[0] != "online" || states[1] != "offline" {
		t.Errorf("got %v, want online and then offline", states)
	}
}
