package simulator

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho/log"
	"github.com/eclipse/paho.golang/paho/session"
)

// mqttSession is the client half of an MQTT session for one connection. paho's
// own forgets what is unacknowledged, without a word, when the server says
// session_present=0; here the outbox remembers, and this type only carries its
// packet identifiers and DUP flags to the wire and the PUBACKs back.
type mqttSession struct {
	puback  func(packetID uint16, code byte, reason string)
	receive func(topic string, body []byte) (recorded bool) // false: it must come again
	done    func()                                          // after the acknowledgement of what receive recorded
	drop    func(cause error)                               // closes the connection

	mu      sync.Mutex
	conn    io.Writer // nil while there is no connection
	replies map[uint16]chan<- packets.ControlPacket
	lastID  uint16
	event   uint16 // of the event about to be published; 0: not an event
	again   bool
	present bool
}

var errNotRecorded = errors.New("a message could not be recorded; it must be sent again")

// publishing says which event the next Publish carries. Only the one goroutine
// that sends calls it.
func (s *mqttSession) publishing(packetID uint16, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.event, s.again = packetID, again
}

// ConAckReceived is paho's word that the connection is up.
func (s *mqttSession) ConAckReceived(conn io.Writer, _ *packets.Connect, ca *packets.Connack) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn, s.present = conn, ca.SessionPresent
	s.replies = make(map[uint16]chan<- packets.ControlPacket)
	s.lastID = lastEventPacketID
	return nil
}

// ConnectionLost releases whoever waits for an answer that cannot come.
func (s *mqttSession) ConnectionLost(*packets.Disconnect) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = nil
	for id, reply := range s.replies {
		reply <- packets.ControlPacket{} // one place is free in each: see AddToSession
		delete(s.replies, id)
	}
	return nil
}

// AddToSession gives a packet its identifier. An event keeps the one it had; it
// is marked as a duplicate only where the server still has the session in
// which it was first sent [MQTT-3.3.1-1].
func (s *mqttSession) AddToSession(_ context.Context, p session.Packet, reply chan<- packets.ControlPacket) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return session.ErrNoConnection
	}
	if pub, ok := p.(*packets.Publish); ok && s.event != 0 {
		pub.PacketID, pub.Duplicate = s.event, s.again && s.present
		s.event = 0
		return nil
	}
	if s.lastID++; s.lastID == 0 {
		s.lastID = lastEventPacketID + 1
	}
	p.SetIdentifier(s.lastID)
	s.replies[s.lastID] = reply
	return nil
}

// PacketReceived routes what came from the server.
func (s *mqttSession) PacketReceived(cp *packets.ControlPacket, publishes chan<- *packets.Publish) error {
	switch p := cp.Content.(type) {
	case *packets.Publish:
		publishes <- p // read by paho's router until this connection ends
	case *packets.Puback:
		if p.PacketID <= lastEventPacketID {
			s.puback(p.PacketID, p.ReasonCode, p.Properties.ReasonString)
			return nil
		}
		s.reply(p.PacketID, *cp)
	case *packets.Suback:
		s.reply(p.PacketID, *cp)
	case *packets.Unsuback:
		s.reply(p.PacketID, *cp)
	}
	return nil
}

func (s *mqttSession) reply(id uint16, cp packets.ControlPacket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if reply := s.replies[id]; reply != nil {
		delete(s.replies, id)
		reply <- cp
	}
}

// Ack is called by paho for one message after the other, in the order of their
// arrival: record it, then acknowledge it. What cannot be recorded is not
// acknowledged, and because no later PUBACK may overtake it [MQTT-4.6.0-2] the
// connection ends; the server sends it again on the next one.
func (s *mqttSession) Ack(p *packets.Publish) error {
	s.mu.Lock()
	conn := s.conn
	s.mu.Unlock()
	if conn == nil {
		return session.ErrNoConnection // unacknowledged, so it comes again
	}
	if !s.receive(p.Topic, p.Payload) {
		s.drop(errNotRecorded)
		s.mu.Lock()
		s.conn = nil // nothing behind it may be acknowledged either
		s.mu.Unlock()
		return errNotRecorded
	}
	defer s.done()
	if p.QoS == 0 {
		return nil
	}
	ack := packets.Puback{Properties: &packets.Properties{}, PacketID: p.PacketID}
	_, err := ack.WriteTo(conn)
	return err
}

// Close has nothing to close: paho asks only sessions that it made itself.
func (s *mqttSession) Close() error { return nil }

// SetErrorLogger and SetDebugLogger ignore paho's loggers: they print packets.
func (s *mqttSession) SetErrorLogger(log.Logger) {}

// SetDebugLogger does the same.
func (s *mqttSession) SetDebugLogger(log.Logger) {}
