package broker_test

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"edgegw/broker"
	"edgegw/broker/brokertest"
	"edgegw/sale"
)

// Who may connect: CONTRACT.md 2.1.
func TestConnect(t *testing.T) {
	s := start(t)
	long := strings.Repeat("a", 64)
	for _, row := range []struct {
		name       string
		change     func(*brokertest.Login)
		v5, v3     byte // CONNACK code; 0xFF: the line is cut without an answer
		authFailed bool
	}{
		{"right", func(*brokertest.Login) {}, 0, 0, false},
		{"wrong secret", func(l *brokertest.Login) { l.Secret = "no" }, 0x86, 5, true},
		{"no secret", func(l *brokertest.Login) { l.Secret = "" }, 0x86, 5, true},
		{"no login", func(l *brokertest.Login) { l.NoLogin = true }, 0x86, 5, true},
		{"unknown device", func(l *brokertest.Login) { l.ClientID = "pump-99" }, 0x86, 5, true},
		{"another's client id", func(l *brokertest.Login) { l.Username, l.ClientID = "pump-01", "pump-02" }, 0x86, 5, true},
		{"client id empty", func(l *brokertest.Login) { l.Username, l.ClientID, l.Clean = "pump-01", "", true }, 0x85, 2, true},
		{"client id with a wildcard", func(l *brokertest.Login) { l.Username, l.ClientID = "pump-01", "#" }, 0x85, 2, true},
		{"client id with a slash", func(l *brokertest.Login) { l.Username, l.ClientID = "pump-01", "pump-01/x" }, 0x85, 2, true},
		{"client id in capitals", func(l *brokertest.Login) { l.Username, l.ClientID = "pump-01", "PUMP-01" }, 0x85, 2, true},
		{"client id too long", func(l *brokertest.Login) { l.Username, l.ClientID = "pump-01", long }, 0x85, 2, true},
		{"client id site", func(l *brokertest.Login) { l.ClientID = "site" }, 0x85, 2, true},
		{"client id of mochi's own", func(l *brokertest.Login) { l.ClientID = "$edgegw" }, 0x85, 2, true},
		{"will on own status", func(l *brokertest.Login) { l.Will, l.WillTopic = true, topic("pump-01", "status") }, 0, 0, false},
		{"will on another's receipt", func(l *brokertest.Login) { l.Will, l.WillTopic = true, topic("pump-02", "receipt") }, 0x87, 5, false},
		{"will on own receipt", func(l *brokertest.Login) { l.Will, l.WillTopic = true, topic("pump-01", "receipt") }, 0x87, 5, false},
		{"will on own sale", func(l *brokertest.Login) { l.Will, l.WillTopic = true, topic("pump-01", "sale") }, 0x87, 5, false},
		{"will on $SYS", func(l *brokertest.Login) { l.Will, l.WillTopic = true, "$SYS/x" }, 0x87, 5, false},
	} {
		for _, version := range []byte{4, 5} {
			t.Run(fmt.Sprintf("%s/v%d", row.name, version), func(t *testing.T) {
				before := s.b.Stats()
				l := login(version, "pump-01")
				l.WillPayload = "{}"
				row.change(&l)
				c := s.try(l)
				want := row.v5
				if version == 4 {
					want = row.v3
				}
				if c.Ack.Code != want {
					t.Fatalf("CONNACK %#x, want %#x", c.Ack.Code, want)
				}
				if want == 0 {
					nothing(t, c)
					must(t, c.Goodbye())
				} else if _, err := c.AwaitEnd(); err != nil {
					t.Fatal(err)
				}
				if got := s.b.Stats().AuthFailures - before.AuthFailures; (got == 1) != row.authFailed {
					t.Fatalf("%d failed logins counted", got)
				}
			})
		}
	}
	c := brokertest.New(s.dial(), false)
	must(t, c.Send([]byte{0x10, 14, 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3, 2, 0, 60, 0, 0}))
	if p := read(t, c, brokertest.CONNACK); p.Code != 1 {
		t.Fatalf("MQTT 3.1 is answered %#x", p.Code)
	}
}

// CONNACK tells MQTT 5 devices the limits.
func TestConnackTellsLimits(t *testing.T) {
	s := start(t)
	l := login(5, "pump-01")
	l.Keepalive = 0
	l.SessionExpiry = 1 << 31
	p := s.connect(l).Ack.Props
	if p.ReceiveMaximum != 64 || p.MaximumPacketSize != 65536 || p.TopicAliasMaximum != 0 || p.ServerKeepAlive != 300 ||
		p.SharedAvailable != 0 || p.SessionExpiry != 7*24*3600 {
		t.Fatalf("%+v", p)
	}
	l.Keepalive = 43691 // mochi's arithmetic overflows here and cuts the line at once
	c := s.connect(l)
	if c.Ack.Props.ServerKeepAlive != 300 {
		t.Fatalf("%+v", c.Ack.Props)
	}
	nothing(t, c)
	l = login(4, "pump-02")
	l.Keepalive = 43691
	nothing(t, s.connect(l))
}

// What a device may publish: nothing but CONTRACT.md 2.2.
func TestPublishRights(t *testing.T) {
	for _, row := range []struct {
		topic string
		ok    bool
	}{
		{topic("pump-01", "sale/start"), true},
		{topic("pump-01", "sale/update"), true},
		{topic("pump-01", "sale/complete"), true},
		{topic("pump-01", "sale/cancel"), true},
		{topic("pump-01", "sale"), true},
		{topic("pump-01", "status"), true},
		{topic("pump-01", "receipt/get"), true},
		{topic("pump-01", "receipt"), false},
		{topic("pump-01", "sale/ack"), false},
		{topic("pump-01", "identify"), false},
		{topic("pump-01", "sale/"), false},
		{topic("pump-01", "sale/other"), false},
		{topic("pump-01", ""), false},
		{"edgegw/v1/pump-01", false},
		{topic("pump-02", "sale"), false},
		{topic("pump-02", "receipt"), false},
		{"edgegw/v1/site/status", false},
		{"edgegw/v1/pump-011/sale", false},
		{"/edgegw/v1/pump-01/sale", false},
		{"edgegw/v2/pump-01/sale", false},
		{"anything", false},
		{"$SYS/broker/version", false},
		{"$share/g/" + topic("pump-01", "sale"), false},
	} {
		for _, version := range []byte{4, 5} {
			for qos := byte(0); qos <= 2; qos++ {
				t.Run(fmt.Sprintf("%s/v%d/qos%d", strings.ReplaceAll(row.topic, "/", "_"), version, qos), func(t *testing.T) {
					s := start(t)
					c := s.device(version, "pump-01")
					must(t, c.Publish(row.topic, qos, 3, `{"sale_id":"x"}`))
					answer, code := []byte{0, brokertest.PUBACK, brokertest.PUBREC}[qos], byte(0)
					switch {
					case row.ok:
					case version == 4:
						if got, err := c.AwaitEnd(); err != nil || len(got) > 0 {
							t.Fatalf("%+v, %v", got, err)
						}
						answer, c = 0, nil
					default:
						code = 0x87
					}
					if answer != 0 {
						readID(t, c, answer, 3, code)
					}
					if c != nil {
						nothing(t, c)
					}
					if refused := s.b.Stats().Refused; (refused == 1) == row.ok {
						t.Fatalf("%d refusals counted", refused)
					}
					isSale := strings.Contains(row.topic, "/sale") && row.ok
					if stored := len(s.accept.Got()); (stored == 1) != isSale {
						t.Fatalf("%d sale events accepted", stored)
					}
				})
			}
		}
	}
}

// What a device may subscribe to.
func TestSubscribeRights(t *testing.T) {
	s := start(t)
	for _, row := range []struct {
		filter string
		ok     bool
	}{
		{topic("pump-01", "#"), true},
		{topic("pump-01", "receipt"), true},
		{topic("pump-01", "+"), true},
		{topic("pump-01", "sale/+"), true},
		{topic("pump-01", "+/ack"), true},
		{topic("pump-01", "a/b/c/d/e"), true},
		{"edgegw/v1/site/#", true},
		{"edgegw/v1/site/status", true},
		{"#", false},
		{"+", false},
		{"+/+/+", false},
		{"+/v1/pump-01/receipt", false},
		{"edgegw/#", false},
		{"edgegw/+/pump-01/receipt", false},
		{"edgegw/v1/#", false},
		{"edgegw/v1/+/receipt", false},
		{"edgegw/v1/+/#", false},
		{"edgegw/v1/pump-01", false},
		{topic("pump-02", "receipt"), false},
		{topic("pump-02", "#"), false},
		{"edgegw/v1/pump-011/#", false},
		{"$SYS/#", false},
		{"$SYS/broker/version", false},
		{"$share/g/" + topic("pump-01", "receipt"), false},
		{"$share/g/#", false},
		{"$SHARE/g/" + topic("pump-02", "receipt"), false},
		{topic("pump-01", "a/b/c/d/e/f"), false},              // nine levels
		{topic("pump-01", strings.Repeat("x", 300)), false},   // too long
		{topic("pump-01", strings.Repeat("/", 20000)), false}, // quadratic in mochi
		{topic("pump-01", "a+"), false},                       // mochi takes it
		{topic("pump-01", "a#"), false},                       // mochi takes it
		{topic("pump-01", "#/a"), false},
	} {
		for _, version := range []byte{4, 5} {
			c := s.device(version, "pump-01")
			codes, _, err := c.Subscribe(1, 2, row.filter)
			must(t, err)
			granted := len(codes) == 1 && codes[0] == 1 // QoS 2 asked, 1 granted
			if granted != row.ok || (!row.ok && codes[0] < 0x80) {
				t.Errorf("v%d %.60s: SUBACK % x, want ok %v", version, row.filter, codes, row.ok)
			}
			must(t, c.Goodbye())
		}
	}
	c := s.device(4, "pump-01")
	many := make([]string, 1000)
	for i := range many {
		many[i] = fmt.Sprintf("edgegw/v1/pump-%02d/receipt", i%100)
	}
	codes, _, err := c.Subscribe(1, 1, many...)
	must(t, err)
	for i, code := range codes {
		if (code == 1) != (i%100 == 1) {
			t.Fatalf("%s: %#x", many[i], code)
		}
	}
}

// Another's client id is refused before anything is taken over (FAULTS.md T7).
func TestTakeOverByAnother(t *testing.T) {
	s := start(t)
	s.mail.Put("pump-02", "1", "SECRET")
	victim := s.device(4, "pump-02")
	subscribe(t, victim, 1, topic("pump-02", "receipt"))
	letters(t, victim, 1)
	thief := login(4, "pump-02")
	thief.Username, thief.Secret = "pump-01", "s-pump-01"
	c := s.try(thief)
	if c.Ack.Code != 5 || c.Ack.SessionPresent {
		t.Fatalf("%+v", c.Ack)
	}
	if got, err := c.AwaitEnd(); err != nil || len(got) > 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	nothing(t, victim)
}

// Wills: kept for technicians when the line breaks, forgotten after a goodbye,
// and no word against a device that is back already.
func TestWill(t *testing.T) {
	s := start(t)
	status := func(want string) {
		t.Helper()
		eventually(t, "status "+want, func() bool {
			p := s.b.Presence()
			return len(p) == 1 && string(p[0].Status) == want && p[0].Device == "pump-01"
		})
	}
	l := login(5, "pump-01")
	l.Will, l.WillTopic, l.WillPayload, l.WillRetain, l.WillQoS = true, topic("pump-01", "status"), `{"gone":1}`, true, 1
	c := s.connect(l)
	must(t, c.Send(brokertest.Message{Topic: topic("pump-01", "status"), QoS: 1, ID: 1, Payload: []byte(`{"ok":1}`), Retain: true}.Bytes(true)))
	readID(t, c, brokertest.PUBACK, 1, 0)
	status(`{"ok":1}`)
	c2 := s.connect(l) // takes over
	if _, err := c.AwaitEnd(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the old connection has ended", func() bool { return s.b.Stats().Connections == 1 && s.b.Stats().Sockets == 1 })
	status(`{"ok":1}`)
	_ = c2.Close()
	status(`{"gone":1}`)
	c3 := s.connect(l)
	subscribe(t, c3, 1, topic("pump-01", "status"))
	if p := read(t, c3, brokertest.PUBLISH); string(p.Payload) != `{"gone":1}` || !p.Retain() || p.QoS() != 0 {
		t.Fatalf("%+v", p)
	}
	must(t, c3.Publish(topic("pump-01", "status"), 0, 0, ``)) // clears it
	status("")
	if all, err := json.Marshal(s.b.Presence()); err != nil || !strings.Contains(string(all), `"Status":null`) {
		t.Fatalf("%s, %v", all, err)
	}
	must(t, c3.Publish(topic("pump-01", "status"), 0, 0, `no json`)) // is not kept
	must(t, c3.Publish(topic("pump-01", "status"), 0, 0, `{"ok":2}`))
	// It has subscribed to its own status. Closing with that unread would make TCP
	// reset the line, and the goodbye could be lost.
	for _, want := range []string{"", "no json", `{"ok":2}`} {
		if p := read(t, c3, brokertest.PUBLISH); string(p.Payload) != want {
			t.Fatalf("%s, want %s", p.Payload, want)
		}
	}
	must(t, c3.Goodbye())
	eventually(t, "offline", func() bool { return !s.b.Presence()[0].Online })
	status(`{"ok":2}`)
}

// The retain flag of a sale means nothing.
func TestSaleIsNeverRetained(t *testing.T) {
	s := start(t)
	c := s.device(5, "pump-01")
	for qos := byte(0); qos <= 2; qos++ {
		must(t, c.Send(brokertest.Message{Topic: topic("pump-01", "sale"), QoS: qos, ID: uint16(qos), Payload: []byte{'0' + qos}, Retain: true}.Bytes(true)))
	}
	eventually(t, "three sales", func() bool { return len(s.accept.Got()) == 3 })
	must(t, c.Goodbye())
	c = s.device(5, "pump-01")
	subscribe(t, c, 1, topic("pump-01", "sale"))
	for _, p := range func() []brokertest.Packet { p, err := c.Ping(); must(t, err); return p }() {
		if p.Type == brokertest.PUBLISH {
			t.Fatalf("%+v", p)
		}
	}
}

func TestTopicAliasIsRefused(t *testing.T) {
	s := start(t)
	c := s.device(5, "pump-01")
	must(t, c.Send(brokertest.Message{Topic: topic("pump-01", "sale"), QoS: 1, ID: 1, Alias: 1, Payload: []byte("x")}.Bytes(true)))
	if got, err := c.AwaitEnd(); err != nil || len(got) != 1 || got[0].Type != brokertest.DISCONNECT || got[0].Code != 0x94 {
		t.Fatalf("%+v, %v", got, err)
	}
	if len(s.accept.Got()) != 0 {
		t.Fatal("stored")
	}
}

// Disabled or removed: out at once, and nothing of its MQTT session left.
func TestDisconnect(t *testing.T) {
	for _, version := range []byte{4, 5} {
		t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
			s := start(t, func(s *site, _ *optionsOf) { s.accept.Hold = true })
			c := s.device(version, "pump-01")
			subscribe(t, c, 1, topic("pump-01", "receipt"))
			must(t, c.Publish(topic("pump-01", "sale"), 1, 1, "x"))
			if !s.accept.AwaitHeld(1) {
				t.Fatal("no event")
			}
			s.guard.Remove("pump-01")
			s.b.Disconnect("pump-01")
			got, err := c.AwaitEnd()
			must(t, err)
			if version == 4 && len(got) > 0 || version == 5 && (len(got) != 1 || got[0].Type != brokertest.DISCONNECT || got[0].Code != 0x87) {
				t.Fatalf("%+v", got)
			}
			eventually(t, "no socket left", func() bool { return s.b.Stats().Sockets == 0 })
			if all, _ := s.sessions.Sessions(t.Context()); len(all) != 0 || len(s.b.Presence()) != 0 {
				t.Fatalf("left over: %d MQTT sessions, presence %v", len(all), s.b.Presence())
			}
			if p := s.try(login(version, "pump-01")).Ack; p.Code == 0 {
				t.Fatal("in again")
			}
			s.b.Disconnect("pump-77") // unknown: nothing happens
		})
	}
}

// gate is a Guard that takes its time.
type gate struct {
	*brokertest.Guard
	asked, open chan struct{}
}

func (g *gate) Authenticate(name string, secret []byte, cert *x509.Certificate) (sale.DeviceID, error) {
	d, err := g.Guard.Authenticate(name, secret, cert)
	close(g.asked)
	<-g.open
	return d, err
}

// A device that is disabled while it logs in does not slip through.
func TestDisconnectDuringLogin(t *testing.T) {
	g := &gate{asked: make(chan struct{}), open: make(chan struct{})}
	s := start(t, func(s *site, _ *optionsOf) { g.Guard = s.guard; s.gate = g })
	c := brokertest.New(s.dial(), true)
	must(t, c.Send(login(5, "pump-01").Bytes()))
	<-g.asked // the Guard has said yes, and nobody knows yet
	s.guard.Remove("pump-01")
	s.b.Disconnect("pump-01")
	close(g.open)
	got, err := c.AwaitEnd()
	must(t, err)
	for _, p := range got {
		if p.Type == brokertest.CONNACK && p.Code == 0 {
			t.Fatal("in")
		}
	}
	eventually(t, "no socket left", func() bool { return s.b.Stats().Sockets == 0 })
	if p := s.b.Presence(); len(p) != 0 || s.b.Stats().Connections != 0 {
		t.Fatalf("%+v", p)
	}
}

// messages_per_second slows down and loses nothing (ruling 2).
func TestMessagesPerSecond(t *testing.T) {
	s := start(t, func(_ *site, o *broker.Options) { o.MessagesPerSecond = 200 })
	c := s.device(4, "pump-01")
	began := time.Now()
	const n = 300
	for i := range n {
		must(t, c.Publish(topic("pump-01", "sale"), 1, uint16(i+1), fmt.Sprint(i)))
	}
	for i := range n {
		readID(t, c, brokertest.PUBACK, uint16(i+1), 0)
	}
	// 200 at once, then one per 5 ms: a lower bound that holds on any machine.
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Fatalf("%d messages at 200 per second took %s", n, took)
	}
}
