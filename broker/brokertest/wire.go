package brokertest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Packet types of MQTT [MQTT 2.1.2].
const (
	CONNECT = iota + 1
	CONNACK
	PUBLISH
	PUBACK
	PUBREC
	PUBREL
	PUBCOMP
	SUBSCRIBE
	SUBACK
	UNSUBSCRIBE
	UNSUBACK
	PINGREQ
	PINGRESP
	DISCONNECT
)

// Packet is one packet as it came from a broker.
type Packet struct {
	Type    byte
	Flags   byte   // low four bits of the first byte
	Raw     []byte // after the fixed header
	ID      uint16
	Code    byte   // reason code of CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT
	Codes   []byte // of SUBACK and UNSUBACK
	Topic   string
	Payload []byte
	Props   Props

	SessionPresent bool
}

// QoS of a PUBLISH.
func (p Packet) QoS() byte { return p.Flags >> 1 & 3 }

// Retain flag of a PUBLISH.
func (p Packet) Retain() bool { return p.Flags&1 != 0 }

// Props are the MQTT 5 properties a broker sends.
type Props struct {
	Reason            string
	ResponseTopic     string
	Correlation       []byte
	SubscriptionIDs   []int
	ReceiveMaximum    int
	MaximumPacketSize int
	TopicAliasMaximum int
	ServerKeepAlive   int // -1 where absent
	SessionExpiry     int // -1 where absent
	SharedAvailable   int // -1 where absent
	AssignedClientID  string
}

func readPacket(r *bufio.Reader, v5 bool) (Packet, error) {
	first, err := r.ReadByte()
	if err != nil {
		return Packet{}, err
	}
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return Packet{}, err
	}
	p := Packet{Type: first >> 4, Flags: first & 15, Raw: make([]byte, n)}
	if _, err := io.ReadFull(r, p.Raw); err != nil {
		return Packet{}, err
	}
	d := decoder{b: p.Raw}
	p.parse(&d, v5)
	if d.err != nil {
		return p, fmt.Errorf("parse packet type %d % x: %w", p.Type, p.Raw, d.err)
	}
	return p, nil
}

func (p *Packet) parse(d *decoder, v5 bool) {
	switch p.Type {
	case CONNACK:
		p.SessionPresent = d.byte()&1 != 0
		p.Code = d.byte()
	case PUBLISH:
		p.Topic = d.string()
		if p.QoS() > 0 {
			p.ID = d.uint16()
		}
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		p.ID = d.uint16()
		if len(d.b) == 0 {
			return
		}
		p.Code = d.byte()
		if len(d.b) == 0 {
			return
		}
	case SUBACK, UNSUBACK:
		p.ID = d.uint16()
	case DISCONNECT:
		if len(d.b) == 0 {
			return
		}
		p.Code = d.byte()
		if len(d.b) == 0 {
			return
		}
	default:
		return
	}
	if v5 {
		p.Props = d.props()
	}
	switch p.Type {
	case PUBLISH:
		p.Payload = d.b
	case SUBACK, UNSUBACK:
		p.Codes = d.b
	default:
		if len(d.b) > 0 {
			d.fail("bytes left over")
		}
	}
}

type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = errors.New(what)
	}
	d.b = nil
}

func (d *decoder) take(n int) []byte {
	if n > len(d.b) {
		d.fail("packet too short")
		return make([]byte, min(n, 1<<16))
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) byte() byte     { return d.take(1)[0] }
func (d *decoder) uint16() uint16 { return binary.BigEndian.Uint16(d.take(2)) }
func (d *decoder) uint32() int    { return int(binary.BigEndian.Uint32(d.take(4))) }
func (d *decoder) string() string { return string(d.take(int(d.uint16()))) }

func (d *decoder) length() int {
	n, size := binary.Uvarint(d.b)
	if size <= 0 {
		d.fail("bad length")
		return 0
	}
	d.b = d.b[size:]
	return int(n)
}

func (d *decoder) props() Props {
	p := Props{ServerKeepAlive: -1, SessionExpiry: -1, SharedAvailable: -1}
	in := decoder{b: d.take(d.length())}
	for len(in.b) > 0 && in.err == nil {
		switch k := in.byte(); k {
		case 0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29:
			in.byte()
		case 0x2A:
			p.SharedAvailable = int(in.byte())
		case 0x02, 0x18:
			in.uint32()
		case 0x11:
			p.SessionExpiry = in.uint32()
		case 0x27:
			p.MaximumPacketSize = in.uint32()
		case 0x03, 0x15, 0x1A, 0x1C:
			in.string()
		case 0x12:
			p.AssignedClientID = in.string()
		case 0x1F:
			p.Reason = in.string()
		case 0x08:
			p.ResponseTopic = in.string()
		case 0x09:
			p.Correlation = []byte(in.string())
		case 0x0B:
			p.SubscriptionIDs = append(p.SubscriptionIDs, in.length())
		case 0x13:
			p.ServerKeepAlive = int(in.uint16())
		case 0x21:
			p.ReceiveMaximum = int(in.uint16())
		case 0x22:
			p.TopicAliasMaximum = int(in.uint16())
		case 0x26:
			in.string()
			in.string()
		default:
			in.fail(fmt.Sprintf("unknown property %#x", k))
		}
	}
	if in.err != nil {
		d.fail(in.err.Error())
	}
	return p
}

// Frame builds a packet: first byte, length, body.
func Frame(first byte, body []byte) []byte {
	b := binary.AppendUvarint([]byte{first}, uint64(len(body)))
	return append(b, body...)
}

func str(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

func withLength(b, props []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(props)))
	return append(b, props...)
}
