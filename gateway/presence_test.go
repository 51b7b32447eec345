package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/broker/brokertest"
	"edgegw/fiscal/sandbox"
)

// What a technician sees of a device over its life: what it says of itself, its
// last will when the line breaks, and online without a gap when it takes over
// from itself. What it said is not kept over a restart, when nobody could know
// whether it is still true.
func TestPresenceByStatusAndLastWill(t *testing.T) {
	for _, version := range []byte{4, 5} {
		t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
			s := newSite(t, sandbox.Options{}).on()
			s.add("pump-01")
			mine := topic("pump-01", "status")
			device := func() admin.Device {
				t.Helper()
				d, err := s.Device(t.Context(), "pump-01")
				if err != nil {
					t.Fatal(err)
				}
				return d
			}
			sees := func(state, status string) {
				t.Helper()
				await(t, state+" "+status, func() bool { d := device(); return d.State == state && string(d.Status) == status })
			}
			connect := func(will string) *brokertest.Client {
				t.Helper()
				c, err := brokertest.Connect(s.dial(), brokertest.Login{Version: version, ClientID: "pump-01", Secret: s.secrets["pump-01"], Keepalive: 60,
					Will: true, WillTopic: mine, WillPayload: will, WillRetain: true, WillQoS: 1})
				if err != nil || c.Ack.Code != 0 {
					t.Fatalf("%+v, %v", c.Ack, err)
				}
				t.Cleanup(func() { c.Close() })
				return c
			}
			if d := device(); d.State != "offline" || d.Status != nil || !d.StatusAt.IsZero() {
				t.Errorf("at first: %+v", d)
			}
			c := connect(`{"door":"lost"}`)
			say := func(c *brokertest.Client, payload string) {
				t.Helper()
				if err := c.Send(brokertest.Message{Topic: mine, QoS: 1, ID: 1, Payload: []byte(payload), Retain: true}.Bytes(version == 5)); err != nil {
					t.Fatal(err)
				}
				if p, _, err := c.Await(brokertest.PUBACK); err != nil || p.Code != 0 {
					t.Fatalf("PUBACK %#x, %v", p.Code, err)
				}
			}
			say(c, `{"door":"closed"}`)
			sees("online", `{"door":"closed"}`)
			if d := device(); time.Since(d.StatusAt) > time.Minute {
				t.Errorf("said at %s", d.StatusAt)
			}

			// Its next connection takes over: at no moment is it offline, and the will of
			// the one that was taken over is not its word.
			for range 3 {
				old := c
				gone := make(chan struct{})
				go func() {
					old.AwaitEnd()
					close(gone)
				}()
				c = connect(`{"door":"lost"}`)
				for ended := false; !ended; {
					select {
					case <-gone:
						ended = true
					default:
					}
					if d := device(); d.State != "online" || string(d.Status) != `{"door":"closed"}` {
						t.Fatalf("while it takes over from itself: %+v %s", d, d.Status)
					}
				}
				old.Close()
			}

			// Its line breaks: the will speaks, to technicians and, retained, to itself.
			c.Conn.(interface{ NetConn() net.Conn }).NetConn().Close()
			sees("offline", `{"door":"lost"}`)
			c = connect(`{"door":"lost"}`)
			if _, _, err := c.Subscribe(2, 1, topic("pump-01", "#")); err != nil {
				t.Fatal(err)
			}
			if p := readTopic(t, c, "/status"); string(p.Payload) != `{"door":"lost"}` || !p.Retain() {
				t.Errorf("%+v", p)
			}
			sees("online", `{"door":"lost"}`) // until it says something else
			if err := c.Goodbye(); err != nil {
				t.Fatal(err)
			}
			sees("offline", `{"door":"lost"}`)

			s.off()
			s.on()
			if d := device(); d.State != "offline" || d.Status != nil {
				t.Errorf("after a restart: %+v %s", d, d.Status)
			}
			c = connect(`{"door":"lost"}`)
			if _, _, err := c.Subscribe(2, 1, topic("pump-01", "#")); err != nil {
				t.Fatal(err)
			}
			if before, err := c.Ping(); err != nil || len(before) > 0 {
				t.Errorf("retained over a restart: %+v, %v", before, err)
			}
			long := `{"x":"` + strings.Repeat("y", 2000) + `"}`
			say(c, long)
			sees("online", long)
			all, err := s.Devices(t.Context())
			if err != nil || len(all) != 1 || all[0].Status != nil || all[0].StatusAt.IsZero() {
				t.Errorf("a listing holds %d bytes of it, %v", len(all[0].Status), err)
			}
			if b, err := json.Marshal(device()); err != nil || !bytes.Contains(b, []byte(`"status":{"x":"yyy`)) {
				t.Errorf("%.200s, %v", b, err)
			}
			s.off()
		})
	}
}
