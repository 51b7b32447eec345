package broker_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"edgegw/broker/brokertest"
)

// attack is one thing that somebody on the site's network may send. What comes
// back is compared word by word: for MQTT 3.1.1, and for 5.0.
type attack struct {
	name  string
	first bool                      // instead of CONNECT; otherwise behind the login of pump-01
	send  func(version byte) []byte // nothing: only the login
	login func(l *brokertest.Login) // changes the login of pump-01
	want  map[byte]string           // by protocol level
}

// both is the same answer to both versions.
func both(want string) map[byte]string { return map[byte]string{4: want, 5: want} }

// answers of the two; "" is what one of them cannot say.
func answers(v4, v5 string) map[byte]string {
	m := map[byte]string{}
	for version, want := range map[byte]string{4: v4, 5: v5} {
		if want != "" {
			m[version] = want
		}
	}
	return m
}

func is(b ...byte) func(byte) []byte { return func(byte) []byte { return b } }

func lp(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// pub is a PUBLISH, right or wrong. props are those of MQTT 5, as bytes.
func pub(flags byte, topic string, id uint16, props, payload string) func(byte) []byte {
	return func(version byte) []byte {
		b := lp(nil, topic)
		if flags>>1&3 > 0 {
			b = binary.BigEndian.AppendUint16(b, id)
		}
		if version == 5 {
			b = append(binary.AppendUvarint(b, uint64(len(props))), props...)
		}
		return brokertest.Frame(0x30|flags, append(b, payload...))
	}
}

func sub(options byte, props string, filters ...string) func(byte) []byte {
	return func(version byte) []byte {
		b := []byte{0, 7}
		if version == 5 {
			b = append(binary.AppendUvarint(b, uint64(len(props))), props...)
		}
		for _, f := range filters {
			b = append(lp(b, f), options)
		}
		return brokertest.Frame(0x82, b)
	}
}

func id(client, user, secret string) func(*brokertest.Login) {
	return func(l *brokertest.Login) { l.ClientID, l.Username, l.Secret = client, user, secret }
}

func will(topic string, retain bool) func(*brokertest.Login) {
	return func(l *brokertest.Login) {
		l.Will, l.WillTopic, l.WillRetain, l.WillPayload = true, topic, retain, "FORGED"
	}
}

const (
	whole = `{"sale_id":"x"}`
	own   = "edgegw/v1/pump-01/"
	other = "edgegw/v1/pump-03/"
)

// outcome sends the attack and says what came back, in words.
func (s *site) outcome(version byte, a attack) string {
	s.t.Helper()
	c := brokertest.New(s.dial(), version == 5)
	defer c.Conn.Close()
	var words []string
	if !a.first {
		l := login(version, "pump-01")
		if a.login != nil {
			a.login(&l)
		}
		if c.Send(l.Bytes()) != nil {
			return "closed"
		}
	}
	if a.send != nil {
		_ = c.Send(a.send(version)) // the broker may have hung up in the middle
	}
	// An honest sale of its own is answered behind everything that the attack is
	// answered with, if the connection lives.
	_ = c.Send(pub(2, own+"sale", 0x7777, "", allowed)(version))
	for {
		p, err := c.Read(brokertest.Patience)
		if err != nil {
			return strings.TrimSpace(strings.Join(append(words, "closed"), " "))
		}
		switch p.Type {
		case brokertest.PUBACK:
			if p.ID == 0x7777 && p.Code < 0x80 {
				return strings.TrimSpace(strings.Join(append(words, "alive"), " "))
			}
			words = append(words, fmt.Sprintf("puback %02x", p.Code))
		case brokertest.CONNACK:
			if p.Code != 0 {
				words = append(words, fmt.Sprintf("connack %02x", p.Code))
			}
		case brokertest.PUBLISH:
			if !strings.HasPrefix(p.Topic, own) && !strings.HasPrefix(p.Topic, "edgegw/v1/site/") || strings.Contains(string(p.Payload), "SECRET") {
				s.t.Errorf("%s (level %d): was given %s %q", a.name, version, p.Topic, p.Payload)
			}
		case brokertest.SUBACK:
			words = append(words, fmt.Sprintf("suback % x", p.Codes[:min(len(p.Codes), 3)]))
		default:
			words = append(words, fmt.Sprintf("%s %02x", map[byte]string{brokertest.PUBREC: "pubrec", brokertest.PUBCOMP: "pubcomp",
				brokertest.DISCONNECT: "disconnect", brokertest.UNSUBACK: "unsuback"}[p.Type], p.Code))
		}
	}
}

// Whatever is sent, it is answered as it must be, and the broker is whole: a
// pump that was connected before goes on selling, its session and its receipts
// are its own, and nothing of the attack has become an event or a message to
// somebody else.
func TestAttacksOnTheWire(t *testing.T) {
	n := 0
	for _, table := range [][]attack{attacksOnIdentity(), attacksOnTopics(), attacksOnPackets()} {
		n += len(table)
		for _, version := range []byte{4, 5} {
			s := start(t, func(_ *site, o *optionsOf) { o.MaxPacketBytes = 1 << 16 })
			f := s.forecourt(version)
			for _, a := range table {
				want, has := a.want[version]
				if !has {
					continue
				}
				if got := s.outcome(version, a); got != want {
					t.Errorf("%s (level %d): %q, want %q", a.name, version, got, want)
				}
				f.whole(a.name)
			}
		}
	}
	if n < 60 {
		t.Errorf("only %d attacks", n)
	}
	t.Logf("%d attacks", n)
}

// forecourt is what must not notice: a pump that sells, and one that has a
// receipt it has not acknowledged.
type forecourt struct {
	s       *site
	version byte
	pump    *brokertest.Client // pump-02
	victim  *brokertest.Client // pump-03
	sold    int
}

func (s *site) forecourt(version byte) *forecourt {
	f := &forecourt{s: s, version: version, pump: s.device(version, "pump-02"), victim: s.device(version, "pump-03")}
	s.mail.Put("pump-03", "old", "SECRET receipt of pump-03")
	subscribe(s.t, f.victim, 1, other+"receipt")
	read(s.t, f.victim, brokertest.PUBLISH) // it is not acknowledged
	subscribe(s.t, f.pump, 1, "edgegw/v1/pump-02/receipt", "edgegw/v1/pump-02/status", "edgegw/v1/site/#")
	return f
}

func (f *forecourt) whole(after string) {
	s := f.s
	s.t.Helper()
	f.sold++
	payload := fmt.Sprintf(`{"sale_id":"honest-%d"}`, f.sold)
	must(s.t, f.pump.Publish("edgegw/v1/pump-02/sale", 1, uint16(f.sold), payload))
	for {
		p, err := f.pump.Read(brokertest.Patience)
		if err != nil {
			s.t.Fatalf("after %q the pump beside it is not served: %v", after, err)
		}
		if p.Type == brokertest.PUBACK && p.ID == uint16(f.sold) {
			if p.Code > 0x10 {
				s.t.Fatalf("after %q the pump's sale is answered %#x", after, p.Code)
			}
			break
		}
		if p.Type == brokertest.PUBLISH && (strings.Contains(string(p.Payload), "FORGED") || !strings.HasPrefix(p.Topic, "edgegw/v1/site/")) {
			s.t.Errorf("after %q the pump was sent %s %q", after, p.Topic, p.Payload)
		}
	}
	for _, m := range s.accept.Got() {
		if m.Device != "pump-02" && string(m.Payload) != allowed {
			s.t.Errorf("after %q there is an event of %s: %.60s", after, m.Device, m.Payload)
		}
	}
	if before, err := f.victim.Ping(); err != nil || len(before) > 0 || s.mail.Left("pump-03") != 1 {
		s.t.Errorf("after %q the receipt of pump-03: %v, %v", after, before, err)
	}
}

// allowed is what an attack may sell, because it is allowed to.
const allowed = `{"sale_id":"allowed"}`

func attacksOnIdentity() []attack {
	rows := []attack{}
	add := func(name string, l func(*brokertest.Login), v4, v5 string) {
		rows = append(rows, attack{name: name, login: l, want: answers(v4, v5)})
	}
	add("wrong secret", id("pump-01", "pump-01", "guess"), "connack 05 closed", "connack 86 closed")
	add("unknown device", id("pump-99", "pump-99", "s-pump-99"), "connack 05 closed", "connack 86 closed")
	add("no user name and no secret", func(l *brokertest.Login) { l.NoLogin = true }, "connack 05 closed", "connack 86 closed")
	add("empty secret", id("pump-01", "pump-01", ""), "connack 05 closed", "connack 86 closed")
	add("own name and secret, another's session", id("pump-03", "pump-01", "s-pump-01"), "connack 05 closed", "connack 86 closed")
	add("another's name, own session", id("pump-01", "pump-03", "s-pump-01"), "connack 05 closed", "connack 86 closed")
	add("another's secret", id("pump-01", "pump-01", "s-pump-03"), "connack 05 closed", "connack 86 closed")
	for _, bad := range []struct{ name, id string }{
		{"empty client identifier", ""}, {"the site's own name", "site"}, {"path upwards", "../pump-03"}, {"a level", "pump-01/x"}, {"hash", "#"}, {"plus", "+"},
		{"CR LF", "pump-01\r\nlevel=ERROR"}, {"SQL", "x' OR '1'='1"}, {"capitals", "PUMP-01"}, {"Cyrillic letters", "рumр-01"},
		{"right to left", "\u202e10-pmup"}, {"full-width", "ｐump-01"}, {"zero-width space", "pump\u200b-01"}, {"64 characters", strings.Repeat("a", 64)},
		{"7 KiB", strings.Repeat("a", 7<<10)}, {"HTML", "<script>"}, {"a format", "%s%n"}, {"begins with a hyphen", "-pump"}, {"space", "pump 01"},
	} {
		add("client identifier: "+bad.name, id(bad.id, "pump-01", "s-pump-01"), "connack 02 closed", "connack 85 closed")
	}
	add("client identifier: NUL", id("pump-01\x00", "pump-01", "s-pump-01"), "closed", "closed") // [MQTT-1.5.4-2]
	add("client identifier: no UTF-8", id("\xff\xfe", "pump-01", "s-pump-01"), "closed", "closed")
	add("user name: no UTF-8", id("pump-01", "\xc0\xaf", "s-pump-01"), "connack 05 closed", "connack 86 closed")
	add("user name: SQL", id("pump-01", "pump-01' --", "s-pump-01"), "connack 05 closed", "connack 86 closed")
	add("user name: NUL", id("pump-01", "pump-01\x00", "s-pump-01"), "connack 05 closed", "connack 86 closed")
	add("will on another's status", will(other+"status", false), "connack 05 closed", "connack 87 closed")
	add("will on the site", will("edgegw/v1/site/status", true), "connack 05 closed", "connack 87 closed")
	add("will on its own receipt", will(own+"receipt", false), "connack 05 closed", "connack 87 closed")
	add("will as a sale", will(own+"sale", false), "connack 05 closed", "connack 87 closed")
	add("will on $SYS", will("$SYS/broker", false), "connack 05 closed", "connack 87 closed")
	add("will with wildcard", will("edgegw/v1/+/status", false), "connack 05 closed", "connack 87 closed")
	add("will of 7 KiB", func(l *brokertest.Login) {
		l.Will, l.WillTopic, l.WillPayload = true, own+"status", strings.Repeat("x", 7<<10)
	}, "alive", "alive")
	add("CONNECT of 9 KiB", func(l *brokertest.Login) {
		l.Will, l.WillTopic, l.WillPayload = true, own+"status", strings.Repeat("x", 9<<10)
	}, "closed", "closed")
	return rows
}

func attacksOnTopics() []attack {
	rows := []attack{}
	add := func(name string, send func(byte) []byte, v4, v5 string) {
		rows = append(rows, attack{name: name, send: send, want: answers(v4, v5)})
	}
	for _, f := range []string{"#", "+", "/", "+/+/+", "+/+/+/receipt", "edgegw/#", "edgegw/v1/#", "edgegw/v1/+/receipt", "edgegw/+/pump-01/receipt", other + "receipt", other + "#", "$SYS/#", "$SYS/broker/clients",
		"$share/g/" + other + "receipt", "$share/g/" + own + "receipt", "$share/g/#", "edgegw/v1/pump-01", "edgegw/v1/pump-01x/#", "edgegw/v1/pump-0/../pump-03/receipt", "Edgegw/v1/pump-01/receipt",
		own + "a#", own + "a+b", "edgegw/v1/site", strings.Repeat("a/", 9) + "a", own + strings.Repeat("x", 300)} {
		add("subscribe "+f[:min(len(f), 40)], sub(1, "", f), "suback 80 alive", "suback 87 alive")
	}
	add("subscribe with # in the middle", sub(1, "", own+"#/a"), "suback 80 alive", "suback 8f alive")
	add("subscribe with 60,000 levels", sub(1, "", strings.Repeat("/", 60_000)), "suback 80 alive", "suback 87 alive")
	add("subscribe to its own", sub(1, "", own+"receipt"), "suback 01 alive", "suback 01 alive")
	add("subscribe to the site", sub(1, "", "edgegw/v1/site/#"), "suback 01 alive", "suback 01 alive")
	add("allowed and forbidden in one", sub(1, "", own+"receipt", "#"), "suback 01 80 alive", "suback 01 87 alive")
	add("1,000 filters in one", sub(1, "", manyFilters(1000)...), "suback 01 01 01 alive", "suback 01 01 01 alive")
	add("empty filter", sub(1, "", ""), "suback 80 alive", "suback 8f alive")
	add("filter with NUL", sub(1, "", own+"\x00"), "closed", "closed")
	add("filter that is no UTF-8", sub(1, "", own+"\xff"), "closed", "closed")
	add("QoS 3", sub(3, "", own+"receipt"), "closed", "closed")
	add("reserved options", sub(0xC1, "", own+"receipt"), "closed", "suback 01 alive") // mochi does not look at these bits in 5.0; nothing hangs on them
	add("no filter at all", sub(1, ""), "closed", "disconnect 82 closed")
	add("subscription identifier 0", sub(1, "\x0b\x00", own+"receipt"), "", "suback 01 alive") // as if there were none
	for _, to := range []string{other + "sale", "edgegw/v1/site/status", "edgegw/v1/site/time", "$SYS/broker", own + "receipt", own + "sale/ack", own + "identify", own + "sale/", own + "sale/start/x", own + "Sale", "edgegw/v1/pump-01", "sale", "edgegw/v2/pump-01/sale"} {
		add("publish to "+to, pub(2, to, 5, "", "FORGED"), "closed", "puback 87 alive")
	}
	add("publish to a wildcard", pub(2, own+"+", 5, "", "FORGED"), "closed", "disconnect 82 closed")
	add("publish to #", pub(2, "#", 5, "", "FORGED"), "closed", "disconnect 82 closed")
	add("publish to nothing", pub(2, "", 5, "", "FORGED"), "closed", "disconnect 82 closed")
	add("publish to a topic with NUL", pub(2, own+"sale\x00", 5, "", "FORGED"), "closed", "closed")
	add("forbidden, QoS 0", pub(0, other+"sale", 0, "", "FORGED"), "closed", "alive")
	add("forbidden, QoS 2", pub(4, other+"sale", 5, "", "FORGED"), "closed", "pubrec 87 alive")
	add("retained sale", pub(3, own+"sale", 5, "", allowed), "puback 00 alive", "puback 00 alive")
	add("retained on another's status", pub(3, other+"status", 5, "", "FORGED"), "closed", "puback 87 alive")
	add("retained nothing on the site's status", pub(3, "edgegw/v1/site/status", 5, "", ""), "closed", "puback 87 alive")
	add("topic alias", pub(2, own+"sale", 5, "\x23\x00\x01", allowed), "", "disconnect 94 closed")
	add("topic alias 0", pub(2, own+"sale", 5, "\x23\x00\x00", allowed), "", "disconnect 94 closed")
	add("topic alias alone", pub(2, "", 5, "\x23\x00\x01", allowed), "", "disconnect 94 closed")
	add("response topic of another", pub(2, own+"sale", 5, "\x08\x00\x19"+other+"answer", allowed), "", "puback 00 alive") // the sale counts, and nothing is said there
	add("response topic with a wildcard", pub(2, own+"sale", 5, "\x08\x00\x13"+own+"#", allowed), "", "puback 00 alive")
	add("subscription identifier in a PUBLISH", pub(2, own+"sale", 5, "\x0b\x01", allowed), "", "disconnect 82 closed")
	return rows
}

func manyFilters(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("%sf%d", own, i)
	}
	return list
}

func attacksOnPackets() []attack {
	rows := []attack{}
	before := func(name string, b ...byte) {
		rows = append(rows, attack{name: "first: " + name, first: true, send: is(b...), want: both("closed")})
	}
	after := func(name string, send func(byte) []byte, v4, v5 string) {
		rows = append(rows, attack{name: name, send: send, want: answers(v4, v5)})
	}
	before("PUBLISH", 0x30, 3, 0, 1, 'a')
	before("SUBSCRIBE", 0x82, 6, 0, 1, 0, 1, 'a', 0)
	before("PINGREQ", 0xC0, 0)
	before("CONNACK", 0x20, 2, 0, 0)
	before("DISCONNECT", 0xE0, 0)
	before("reserved type 0", 0x00, 0)
	before("AUTH", 0xF0, 0)
	before("CONNECT with reserved flags", 0x1F, 0)
	before("200 MB announced", 0x10, 0x80, 0x80, 0x80, 0x60)
	before("length of five bytes", 0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x01)
	before("empty CONNECT", 0x10, 0)
	before("another protocol's name", append([]byte{0x10, 12, 0, 6}, "MQIsdp\x03\x00\x00\x00"...)...)
	rows = append(rows, attack{name: "first: protocol level 3", first: true, want: answers("connack 01 closed", ""),
		send: is(append([]byte{0x10, 12, 0, 4}, "MQTT\x03\x00\x00\x3c\x00\x00"...)...)})
	before("HTTP", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")...)
	before("TLS to the plain listener", 0x16, 0x03, 0x01, 0x02, 0x00, 0x01)
	before("zeroes", make([]byte, 64)...)
	after("a second CONNECT", func(v byte) []byte { return login(v, "pump-03").Bytes() }, "closed", "disconnect 82 closed")
	after("CONNACK from a device", is(0x20, 2, 0, 0), "closed", "closed")
	after("SUBACK from a device", is(0x90, 3, 0, 1, 0), "closed", "closed")
	after("PINGRESP from a device", is(0xD0, 0), "closed", "closed")
	after("AUTH", is(0xF0, 0), "closed", "closed")
	after("reserved type 0", is(0x00, 0), "closed", "closed")
	after("PUBACK that nobody waits for", is(0x40, 2, 0x12, 0x34), "alive", "alive")
	after("PUBREC that nobody waits for", is(0x50, 2, 0x12, 0x34), "closed", "closed") // nothing is sent with QoS 2
	after("PUBREL that nobody waits for", is(0x62, 2, 0x12, 0x34), "pubcomp 00 alive", "pubcomp 92 alive")
	after("PUBCOMP that nobody waits for", is(0x70, 2, 0x12, 0x34), "closed", "closed")
	after("PUBREL with wrong flags", is(0x60, 2, 0x12, 0x34), "closed", "closed")
	after("SUBSCRIBE with wrong flags", is(0x80, 6, 0, 1, 0, 1, 'a', 0), "closed", "closed")
	after("truncated SUBSCRIBE", is(0x82, 6, 0, 1, 0, 0, 1, 'a'), "closed", "closed")
	after("truncated UNSUBSCRIBE", is(0xA2, 3, 0, 1, 0), "closed", "disconnect 82 closed")
	after("truncated PUBLISH", is(0x32, 2, 0, 9), "closed", "closed")
	after("PUBACK of one byte", is(0x40, 1, 0), "closed", "closed")
	after("packet identifier 0", pub(2, own+"sale", 0, "", allowed), "closed", "disconnect 82 closed")
	after("PUBLISH with QoS 3", pub(6, own+"sale", 5, "", allowed), "closed", "closed")
	after("DUP with QoS 0", pub(8, own+"sale", 5, "", allowed), "closed", "closed")
	after("a packet above the limit", pub(2, own+"sale", 5, "", strings.Repeat("x", 1<<16)), "closed", "closed")
	after("256 MB announced", is(0x32, 0xFF, 0xFF, 0xFF, 0x7F), "closed", "closed")
	after("length of five bytes", is(0x32, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F), "closed", "closed")
	after("unknown property", pub(2, own+"sale", 5, "\x7e\x00", allowed), "", "closed")
	after("property of another packet", pub(2, own+"sale", 5, "\x21\x00\x05", allowed), "", "closed")
	after("a property twice", pub(2, own+"sale", 5, "\x01\x01\x01\x01", allowed), "", "puback 00 alive") // it says nothing that counts
	after("properties longer than the packet", is(0x32, 8, 0, 1, 'a', 0, 5, 0x7F, 1, 1), "", "closed")
	after("a sale that expires in a second", pub(2, own+"sale", 5, "\x02\x00\x00\x00\x01", allowed), "", "puback 00 alive") // and is a sale all the same
	return rows
}
