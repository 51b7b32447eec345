package broker_test

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"edgegw/broker/brokertest"
	"edgegw/sale"
)

// storedFilters gives the filters of a stored MQTT session.
func storedFilters(t testing.TB, s *site, d sale.DeviceID) []string {
	t.Helper()
	all, err := s.sessions.Sessions(t.Context())
	must(t, err)
	if all[d] == nil {
		return nil
	}
	var k struct {
		Subscriptions []struct{ Filter string }
	}
	must(t, json.Unmarshal(all[d], &k))
	var list []string
	for _, sub := range k.Subscriptions {
		list = append(list, sub.Filter)
	}
	return list
}

// One device must not fill the memory and the disk with topic filters.
func TestFilterLimit(t *testing.T) {
	for version, refused := range map[byte]byte{4: 0x80, 5: 0x97} {
		t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
			s := start(t)
			c := s.device(version, "pump-01")
			ask := func(want string, filters ...string) {
				t.Helper()
				codes, _, err := c.Subscribe(1, 1, filters...)
				must(t, err)
				got := ""
				for _, code := range codes {
					switch {
					case code <= 1:
						got += "+"
					case code == refused:
						got += "-"
					default:
						got += fmt.Sprintf("(%#x)", code)
					}
				}
				if got != want {
					t.Fatalf("SUBACK says %s, want %s", got, want)
				}
			}
			var many []string
			for i := range 20 {
				many = append(many, topic("pump-01", fmt.Sprint("x", i)))
			}
			ask(strings.Repeat("+", 10), many[:10]...)
			foreign := topic("pump-02", "receipt")
			codes, _, err := c.Subscribe(1, 1, foreign, many[0], many[10], many[10])
			must(t, err)
			if codes[0] < 0x80 || codes[1] != 1 || codes[2] != 1 || codes[3] != 1 {
				t.Fatalf("SUBACK % x", codes) // neither one refused nor one held counts
			}
			ask("+++++----", many[11:]...)
			ask("-+", many[19], many[3])
			must(t, c.Unsubscribe(2, many[3]))
			ask("+-", many[19], many[3])
			nothing(t, c)
			if n := len(storedFilters(t, s, "pump-01")); n != 16 {
				t.Fatalf("%d filters stored, want 16", n)
			}
			s = s.restart()
			c = s.device(version, "pump-01")
			if !c.Ack.SessionPresent {
				t.Fatal("the session is lost")
			}
			ask("+-", many[19], many[3])
		})
	}
}

// What an older version stored without limit is cut, and what nobody could read
// in reasonable memory is left out, in the store too.
func TestFilterLimitAtLoad(t *testing.T) {
	var subs []string
	for i := range 700 {
		subs = append(subs, fmt.Sprintf(`{"filter":"edgegw/v1/pump-01/f%d","qos":1}`, i))
	}
	blob := `{"version":1,"protocol":4,"subscriptions":[` + strings.Join(subs, ",") + `]}`
	s := start(t, func(s *site, _ *optionsOf) {
		must(t, s.sessions.SaveSession(t.Context(), "pump-01", []byte(blob)))
		must(t, s.sessions.SaveSession(t.Context(), "pump-02", []byte(strings.Replace(blob, "{", "{"+strings.Repeat(" ", 2<<20), 1))))
	})
	eventually(t, "the stored sessions are cut", func() bool {
		all, _ := s.sessions.Sessions(t.Context())
		return len(all["pump-01"]) < 4096 && all["pump-02"] == nil
	})
	if n := len(storedFilters(t, s, "pump-01")); n != 16 {
		t.Fatalf("%d filters, want 16", n)
	}
	c := s.device(4, "pump-01")
	if !c.Ack.SessionPresent {
		t.Fatal("the session is lost")
	}
	codes, _, err := c.Subscribe(1, 1, topic("pump-01", "one/more"))
	must(t, err)
	if codes[0] != 0x80 {
		t.Fatalf("SUBACK % x", codes)
	}
	if s.device(4, "pump-02").Ack.SessionPresent {
		t.Fatal("a session that could not be read is present")
	}
}

// Every packet that costs something is paced (ruling 2). The lower bounds hold
// on any machine.
func TestEveryPacketIsPaced(t *testing.T) {
	s := start(t, func(_ *site, o *optionsOf) { o.MessagesPerSecond = 200 })
	for _, row := range []struct {
		name  string
		d     sale.DeviceID
		n     int
		send  func(c *brokertest.Client) []byte
		reply byte
		least time.Duration
	}{
		{"SUBSCRIBE", "pump-01", 300, func(c *brokertest.Client) []byte { return c.SubscribeBytes(1, 1, topic("pump-01", "receipt")) },
			brokertest.SUBACK, 400 * time.Millisecond},
		{"UNSUBSCRIBE", "pump-02", 300, func(*brokertest.Client) []byte { return []byte{0xA2, 5, 0, 1, 0, 1, 'a'} },
			brokertest.UNSUBACK, 400 * time.Millisecond},
		{"PINGREQ", "pump-03", 3000, func(*brokertest.Client) []byte { return []byte{0xC0, 0} },
			brokertest.PINGRESP, 400 * time.Millisecond}, // ten times as many
	} {
		t.Run(row.name, func(t *testing.T) {
			c := s.device(4, row.d)
			began := time.Now()
			must(t, c.Send([]byte(strings.Repeat(string(row.send(c)), row.n))))
			for range row.n {
				read(t, c, row.reply)
			}
			if took := time.Since(began); took < row.least {
				t.Fatalf("%d took %s", row.n, took)
			}
		})
	}
}

// The first packet of a socket is refused by its announced length, before any
// memory is set aside for it.
func TestFirstPacketLimit(t *testing.T) {
	s := start(t)
	l := login(4, "pump-01")
	l.Will, l.WillTopic, l.WillPayload = true, topic("pump-01", "status"), `"`+strings.Repeat("x", 7<<10)+`"`
	nothing(t, s.connect(l))
	for name, b := range map[string][]byte{
		"long and complete": func() []byte { l.WillPayload = strings.Repeat("x", 9<<10); return l.Bytes() }(),
		"long, announced":   {0x10, 0xfa, 0xff, 0x03, 0},
		"endless length":    {0x10, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"not a CONNECT":     {0x30, 3},
	} {
		before := s.b.Stats().BadFirst
		c := s.dial()
		_, _ = c.Write(b)
		if got := closed(t, c); len(got) > 0 {
			t.Errorf("%s: answered % x", name, got)
		}
		eventually(t, name+" is counted", func() bool { return s.b.Stats().BadFirst == before+1 })
	}
	c := s.dial() // byte by byte is as good
	for _, b := range login(5, "pump-02").Bytes() {
		_, err := c.Write([]byte{b})
		must(t, err)
	}
	if p := read(t, brokertest.New(c, true), brokertest.CONNACK); p.Code != 0 {
		t.Fatalf("CONNACK %#x", p.Code)
	}
}

// Sockets without login have a small limit of their own, and take no place of a
// device that has proved itself.
func TestStrangers(t *testing.T) {
	s := start(t, func(_ *site, o *optionsOf) { o.MaxStrangers, o.StrangersPerAddress = 3, 1 })
	a, b := s.device(4, "pump-01"), s.device(5, "pump-02") // one after the other: no stranger is left
	idle := s.dial()
	eventually(t, "the idle socket has its place", func() bool { return s.b.Stats().Sockets == 3 })
	closed(t, s.dial())
	if n := s.b.Stats().Turned; n != 1 {
		t.Fatalf("%d turned away, want 1", n)
	}
	nothing(t, a)
	nothing(t, b)
	must(t, idle.Close())
	eventually(t, "the place is free", func() bool { return s.b.Stats().Sockets == 2 })
	nothing(t, s.device(4, "pump-03"))
}

// Whoever holds all the doors by saying nothing loses them to those who come: a
// device gets in a second later, also from behind the same address.
func TestTheSilentMakeRoom(t *testing.T) {
	s := start(t, func(_ *site, o *optionsOf) { o.MaxStrangers, o.StrangersPerAddress = 3, 3 })
	silent := []net.Conn{s.dial(), s.dial(), s.dial()}
	eventually(t, "they hold the doors", func() bool { return s.b.Stats().Sockets == 3 })
	closed(t, s.dial()) // they have their time
	var c *brokertest.Client
	eventually(t, "a device gets in", func() bool {
		conn, err := net.Dial("tcp", s.addr)
		must(t, err)
		c, err = brokertest.Connect(conn, login(5, "pump-01"))
		if err != nil {
			conn.Close()
		}
		return err == nil && c.Ack.Code == 0
	})
	if n := s.b.Stats().Sockets; n < 2 { // their own deadline ends all three at once
		t.Errorf("%d sockets are left: it waited for the end of the silent ones", n)
	}
	nothing(t, c)
	closed(t, silent[0])
}

// After a power cut all devices of a site come back at once, behind one address.
func TestFiveHundredAtOnce(t *testing.T) {
	const n = 500
	ids := make([]sale.DeviceID, n)
	for i := range ids {
		ids[i] = sale.DeviceID(fmt.Sprintf("pump-%03d", i))
	}
	s := start(t, func(s *site, _ *optionsOf) { s.guard = brokertest.NewGuard(ids...) })
	errs := make(chan error, n)
	var wg sync.WaitGroup
	for _, d := range ids {
		wg.Go(func() {
			errs <- func() error {
				conn, err := net.Dial("tcp", s.addr)
				if err != nil {
					return err
				}
				t.Cleanup(func() { _ = conn.Close() })
				c, err := brokertest.Connect(conn, login(5, d))
				if err == nil && c.Ack.Code != 0 {
					err = fmt.Errorf("CONNACK %#x", c.Ack.Code)
				}
				return err
			}()
		})
	}
	wg.Wait()
	for range n {
		must(t, <-errs)
	}
	if st := s.b.Stats(); st.Connections != n || st.Turned != 0 {
		t.Fatalf("%+v", st)
	}
}

// Open PUBRECs are bounded over all connections of a session. Then what was open
// is forgotten and the device goes on: the Acceptor knows what it has.
func TestOpenPubrecLimit(t *testing.T) {
	for _, version := range []byte{4, 5} {
		t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
			s := start(t)
			pubrec := func(c *brokertest.Client, id uint16) {
				t.Helper()
				must(t, c.Publish(topic("pump-01", "sale"), 2, id, fmt.Sprint(id)))
				for {
					if p := read(t, c, brokertest.PUBREC); p.ID == id { // others are repeated by the broker
						return
					}
				}
			}
			id := uint16(0)
			for range 4 {
				c := s.device(version, "pump-01")
				for range 64 {
					id++
					pubrec(c, id)
				}
				_ = c.Close()
			}
			c := s.device(version, "pump-01")
			for range id {
				read(t, c, brokertest.PUBREC)
			}
			pubrec(c, id) // sent again: it is open already
			nothing(t, c)
			pubrec(c, id+1) // one too many: what was open is forgotten, and the connection lives on
			if n := len(s.accept.Got()); n != 257 {
				t.Fatalf("%d events stored, want 257", n)
			}
			must(t, c.Answer(brokertest.PUBREL, id+1))
			readID(t, c, brokertest.PUBCOMP, id+1, 0)
			must(t, c.Answer(brokertest.PUBREL, 1)) // late, and answered all the same
			readID(t, c, brokertest.PUBCOMP, 1, map[byte]byte{4: 0, 5: 0x92}[version])
			_ = c.Close()
			c = s.device(version, "pump-01")
			nothing(t, c) // they are forgotten for good
		})
	}
}
