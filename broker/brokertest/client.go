// Package brokertest holds what tests of the broker, and of whoever stands on
// it, need: an MQTT client that says exactly what it is told to say, 3.1.1 and
// 5.0, and small true stand-ins for the broker's four partners. RawLog is the
// fastest durable Acceptor we know of: benchmarks measure against it.
package brokertest

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

// Patience is how long a client waits for a packet that must come.
const Patience = 20 * time.Second

// Login is a CONNECT packet.
type Login struct {
	Version   byte // 4 or 5; 0 means 5
	ClientID  string
	Username  string // "": the same as ClientID
	Secret    string
	NoLogin   bool // neither user name nor secret
	Clean     bool
	Keepalive uint16

	Will        bool
	WillTopic   string
	WillPayload string
	WillRetain  bool
	WillQoS     byte
	WillDelay   uint32 // MQTT 5, seconds

	// MQTT 5; zero: absent
	SessionExpiry     uint32
	ReceiveMaximum    uint16
	MaximumPacketSize uint32
	TopicAliasMaximum uint16
	NoProblemInfo     bool
}

func (l Login) v5() bool { return l.Version != 4 }

// Bytes is the CONNECT packet.
func (l Login) Bytes() []byte {
	flag := func(on bool, bit byte) byte {
		if on {
			return bit
		}
		return 0
	}
	version := l.Version
	if version == 0 {
		version = 5
	}
	user := l.Username
	if user == "" {
		user = l.ClientID
	}
	b := str(nil, "MQTT")
	b = append(b, version, flag(l.Clean, 2)|flag(l.Will, 4|l.WillQoS<<3)|flag(l.WillRetain, 0x20)|
		flag(!l.NoLogin && l.Secret != "", 0x40)|flag(!l.NoLogin, 0x80))
	b = binary.BigEndian.AppendUint16(b, l.Keepalive)
	if l.v5() {
		b = withLength(b, l.props())
	}
	b = str(b, l.ClientID)
	if l.Will {
		if l.v5() {
			var p []byte
			if l.WillDelay > 0 {
				p = binary.BigEndian.AppendUint32([]byte{0x18}, l.WillDelay)
			}
			b = withLength(b, p)
		}
		b = str(str(b, l.WillTopic), l.WillPayload)
	}
	if !l.NoLogin {
		b = str(b, user)
		if l.Secret != "" {
			b = str(b, l.Secret)
		}
	}
	return Frame(CONNECT<<4, b)
}

func (l Login) props() []byte {
	var p []byte
	if l.SessionExpiry > 0 {
		p = binary.BigEndian.AppendUint32(append(p, 0x11), l.SessionExpiry)
	}
	if l.ReceiveMaximum > 0 {
		p = binary.BigEndian.AppendUint16(append(p, 0x21), l.ReceiveMaximum)
	}
	if l.MaximumPacketSize > 0 {
		p = binary.BigEndian.AppendUint32(append(p, 0x27), l.MaximumPacketSize)
	}
	if l.TopicAliasMaximum > 0 {
		p = binary.BigEndian.AppendUint16(append(p, 0x22), l.TopicAliasMaximum)
	}
	if l.NoProblemInfo {
		p = append(p, 0x17, 0)
	}
	return p
}

// Client is one MQTT connection. It sends what it is told and reads packet by
// packet; it answers nothing by itself.
type Client struct {
	Conn net.Conn
	V5   bool
	Ack  Packet // the CONNACK

	r *bufio.Reader
}

// New wraps a connection on which nothing has been said.
func New(c net.Conn, v5 bool) *Client { return &Client{Conn: c, V5: v5, r: bufio.NewReader(c)} }

// Connect says CONNECT and waits for CONNACK. The error is one of the line; a
// refusal is in Ack.Code.
func Connect(c net.Conn, l Login) (*Client, error) {
	cl := New(c, l.v5())
	if err := cl.Send(l.Bytes()); err != nil {
		return cl, err
	}
	p, err := cl.Read(Patience)
	if err != nil {
		return cl, fmt.Errorf("wait for CONNACK: %w", err)
	}
	if p.Type != CONNACK {
		return cl, fmt.Errorf("wait for CONNACK: packet type %d came", p.Type)
	}
	cl.Ack = p
	return cl, nil
}

// Send writes bytes as they are.
func (c *Client) Send(b []byte) error {
	_, err := c.Conn.Write(b)
	return err
}

// Read gives the next packet, or an error after the given time.
func (c *Client) Read(patience time.Duration) (Packet, error) {
	_ = c.Conn.SetReadDeadline(time.Now().Add(patience))
	return readPacket(c.r, c.V5)
}

// Await reads until a packet of this type comes, and gives those before it too.
func (c *Client) Await(typ byte) (p Packet, before []Packet, err error) {
	for {
		p, err = c.Read(Patience)
		if err != nil || p.Type == typ {
			return p, before, err
		}
		before = append(before, p)
	}
}

// AwaitEnd reads until the broker ends the connection, and gives what came.
func (c *Client) AwaitEnd() ([]Packet, error) {
	var all []Packet
	for {
		p, err := c.Read(Patience)
		if err == nil {
			all = append(all, p)
			continue
		}
		if t, ok := err.(net.Error); ok && t.Timeout() {
			return all, fmt.Errorf("the connection is still open: %w", err)
		}
		return all, nil
	}
}

// Message is a PUBLISH to send.
type Message struct {
	Topic   string
	QoS     byte
	ID      uint16
	Payload []byte
	Retain  bool
	Dup     bool

	ResponseTopic string // MQTT 5
	Correlation   []byte
	Alias         uint16
}

// Bytes is the PUBLISH packet.
func (m Message) Bytes(v5 bool) []byte {
	b := str(nil, m.Topic)
	if m.QoS > 0 {
		b = binary.BigEndian.AppendUint16(b, m.ID)
	}
	if v5 {
		var p []byte
		if m.ResponseTopic != "" {
			p = str(append(p, 0x08), m.ResponseTopic)
		}
		if len(m.Correlation) > 0 {
			p = str(append(p, 0x09), string(m.Correlation))
		}
		if m.Alias > 0 {
			p = binary.BigEndian.AppendUint16(append(p, 0x23), m.Alias)
		}
		b = withLength(b, p)
	}
	first := byte(PUBLISH<<4) | m.QoS<<1
	if m.Retain {
		first |= 1
	}
	if m.Dup {
		first |= 8
	}
	return Frame(first, append(b, m.Payload...))
}

// Publish sends one PUBLISH and does not wait.
func (c *Client) Publish(topic string, qos byte, id uint16, payload string) error {
	return c.Send(Message{Topic: topic, QoS: qos, ID: id, Payload: []byte(payload)}.Bytes(c.V5))
}

// Answer sends a PUBACK, PUBREC, PUBREL or PUBCOMP.
func (c *Client) Answer(typ byte, id uint16) error {
	first := typ << 4
	if typ == PUBREL {
		first |= 2
	}
	return c.Send([]byte{first, 2, byte(id >> 8), byte(id)})
}

// Subscribe sends a SUBSCRIBE for the filters, all with one QoS, and waits for
// the SUBACK. Packets that come before it are given, too.
func (c *Client) Subscribe(id uint16, qos byte, filters ...string) (codes []byte, before []Packet, err error) {
	if err := c.Send(c.SubscribeBytes(id, qos, filters...)); err != nil {
		return nil, nil, err
	}
	p, before, err := c.Await(SUBACK)
	return p.Codes, before, err
}

// SubscribeBytes is the SUBSCRIBE packet.
func (c *Client) SubscribeBytes(id uint16, qos byte, filters ...string) []byte {
	b := binary.BigEndian.AppendUint16(nil, id)
	if c.V5 {
		b = append(b, 0)
	}
	for _, f := range filters {
		b = append(str(b, f), qos)
	}
	return Frame(SUBSCRIBE<<4|2, b)
}

// Unsubscribe sends an UNSUBSCRIBE and waits for the UNSUBACK.
func (c *Client) Unsubscribe(id uint16, filters ...string) error {
	b := binary.BigEndian.AppendUint16(nil, id)
	if c.V5 {
		b = append(b, 0)
	}
	for _, f := range filters {
		b = str(b, f)
	}
	if err := c.Send(Frame(UNSUBSCRIBE<<4|2, b)); err != nil {
		return err
	}
	_, _, err := c.Await(UNSUBACK)
	return err
}

// Ping sends PINGREQ and reads until PINGRESP; it gives what came before it: a
// way to know that nothing else is on its way from the reading goroutine.
func (c *Client) Ping() ([]Packet, error) {
	if err := c.Send([]byte{PINGREQ << 4, 0}); err != nil {
		return nil, err
	}
	_, before, err := c.Await(PINGRESP)
	return before, err
}

// Goodbye sends DISCONNECT and closes.
func (c *Client) Goodbye() error {
	err := c.Send([]byte{DISCONNECT << 4, 0})
	_ = c.Conn.(io.Closer).Close()
	return err
}

// Close cuts the line.
func (c *Client) Close() error { return c.Conn.Close() }
