package broker

import "encoding/binary"

// Packets that the broker writes itself. Mochi encodes each packet into buffers
// of its own and hands each to the socket alone; these append to one buffer, so
// that a burst of answers is one write.

const (
	typePublish    = 0x30
	typePuback     = 0x40
	typePubrec     = 0x50
	typeDisconnect = 0xE0

	propSubscriptionID  = 0x0B
	propCorrelationData = 0x09
	propReasonString    = 0x1F
)

// maxReason is the longest reason string sent, in bytes.
const maxReason = 256

// appendPuback appends a PUBACK. Reason code and reason string exist in MQTT 5
// only [MQTT-3.4.2]; reason may be "".
func appendPuback(b []byte, v5 bool, id uint16, code byte, reason string) []byte {
	if !v5 || code == 0 {
		return append(b, typePuback, 2, byte(id>>8), byte(id))
	}
	if reason == "" {
		return append(b, typePuback, 3, byte(id>>8), byte(id), code)
	}
	reason = cut(reason, maxReason)
	props := 3 + len(reason)
	b = append(b, typePuback)
	b = appendLength(b, 3+lengthSize(props)+props)
	b = append(b, byte(id>>8), byte(id), code)
	b = appendLength(b, props)
	b = append(b, propReasonString)
	return appendString(b, reason)
}

// appendPubrecRefusal appends an MQTT 5 PUBREC with a reason code that ends the
// exchange [MQTT-3.5.2].
func appendPubrecRefusal(b []byte, id uint16, code byte) []byte {
	return append(b, typePubrec, 3, byte(id>>8), byte(id), code)
}

// appendDisconnect appends an MQTT 5 DISCONNECT with a reason code; there is no
// such packet from a server in MQTT 3.1.1.
func appendDisconnect(b []byte, code byte) []byte {
	return append(b, typeDisconnect, 2, code, 0)
}

// message is one PUBLISH on its way to a device.
type message struct {
	topic       string
	payload     []byte
	qos         byte
	id          uint16 // with qos 1
	correlation []byte // MQTT 5
	ids         []int  // subscription identifiers, MQTT 5 [MQTT-3.3.4-3]
	ask         *ask   // nil: nobody waits for what becomes of it
}

func (m *message) propsSize() int {
	n := 0
	if len(m.correlation) > 0 {
		n += 3 + len(m.correlation)
	}
	for _, id := range m.ids {
		n += 1 + lengthSize(id)
	}
	return n
}

func (m *message) remaining(v5 bool) int {
	n := 2 + len(m.topic) + len(m.payload)
	if m.qos > 0 {
		n += 2
	}
	if v5 {
		props := m.propsSize()
		n += lengthSize(props) + props
	}
	return n
}

// size is the length of the whole packet in bytes.
func (m *message) size(v5 bool) int {
	n := m.remaining(v5)
	return 1 + lengthSize(n) + n
}

// append appends the PUBLISH.
func (m *message) append(b []byte, v5 bool) []byte {
	b = append(b, typePublish|m.qos<<1)
	b = appendLength(b, m.remaining(v5))
	b = appendString(b, m.topic)
	if m.qos > 0 {
		b = binary.BigEndian.AppendUint16(b, m.id)
	}
	if v5 {
		b = appendLength(b, m.propsSize())
		if len(m.correlation) > 0 {
			b = append(b, propCorrelationData)
			b = binary.BigEndian.AppendUint16(b, uint16(len(m.correlation)))
			b = append(b, m.correlation...)
		}
		for _, id := range m.ids {
			b = append(b, propSubscriptionID)
			b = appendLength(b, id)
		}
	}
	return append(b, m.payload...)
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

// appendLength appends a variable byte integer [MQTT-1.5.5-1].
func appendLength(b []byte, n int) []byte {
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

func lengthSize(n int) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}
