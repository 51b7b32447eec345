package broker

import (
	"bytes"
	"context"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/storage"
	"github.com/mochi-mqtt/server/v2/packets"
	"golang.org/x/time/rate"

	"edgegw/sale"
)

// hook is the one hook of the broker. There must be no second one: mochi lets in
// whom any hook lets in.
type hook struct {
	mqtt.HookBase
	b       *Broker
	clients []storage.Client // stored MQTT sessions, set before Serve
	subs    []storage.Subscription
}

func (h *hook) ID() string { return "edgegw" }

func (h *hook) Provides(b byte) bool {
	switch b {
	case mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnSessionEstablish, mqtt.OnSessionEstablished,
		mqtt.OnPacketRead, mqtt.OnPacketEncode, mqtt.OnPacketProcessed, mqtt.OnSubscribe, mqtt.OnSubscribed,
		mqtt.OnUnsubscribed, mqtt.OnPublish, mqtt.OnWill, mqtt.OnWillSent, mqtt.OnClientExpired, mqtt.StoredClients, mqtt.StoredSubscriptions:
		return true
	}
	return false
}

func (h *hook) StoredClients() ([]storage.Client, error)             { return h.clients, nil }
func (h *hook) StoredSubscriptions() ([]storage.Subscription, error) { return h.subs, nil }

// sessionOf gives our side of a connection; nil for clients of mochi that have
// none: the gateway itself, and stored sessions.
func sessionOf(cl *mqtt.Client) *session {
	if c, ok := cl.Net.Conn.(*conn); ok {
		return c.session.Load()
	}
	return nil
}

// OnACLCheck is asked for every filter of a SUBSCRIBE, for every message of mochi
// on its way to a device, and for a PUBLISH with QoS 2 that publish2 has let
// through; the others do not get this far.
func (h *hook) OnACLCheck(cl *mqtt.Client, topic string, write bool) (ok bool) {
	s := sessionOf(cl)
	if s == nil {
		return false
	}
	defer h.b.recovered(s.conn, "acl")
	if write {
		r, _ := routeOf(s.prefix, topic)
		return r != routeForbidden
	}
	if maySubscribe(s.prefix, topic) {
		return true
	}
	h.b.n.refused.Add(1)
	h.b.grumble.refused.Do(func() {
		h.b.log.Warn("a subscription was refused", "device", s.id, "filter", cut(topic, maxFilterBytes))
	})
	return false
}

// OnPacketRead gets each packet before mochi does.
func (h *hook) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (out packets.Packet, err error) {
	s := sessionOf(cl)
	if s == nil || !s.settled.Load() {
		return pk, nil // CONNECT
	}
	err = mochiDrop // what a panic leaves behind
	defer h.b.recovered(s.conn, "packet")
	switch pk.FixedHeader.Type {
	case packets.Publish:
		out = pk
		err = s.publish(&out)
	case packets.Subscribe, packets.Unsubscribe:
		if s.pace(s.dev.limit) {
			out, err = pk, nil
		}
	case packets.Pingreq, packets.Pubrel:
		if s.pace(s.dev.small) {
			out, err = pk, nil
		}
	case packets.Puback:
		s.acked(pk.PacketID, pk.ReasonCode)
		if s.pace(s.dev.small) {
			out, err = pk, nil
			neutral(&out)
		}
	case packets.Pubrec, packets.Pubcomp, packets.Auth:
		// The broker sends no QoS 2 and asks for no AUTH. Mochi would look these
		// ids up among those of the device's own messages.
	default:
		out, err = pk, nil
	}
	return out, err
}

// publish deals with one PUBLISH, in the order of arrival. QoS 0 and 1 end here,
// with an answer owed; QoS 2 waits for its commit and goes on to mochi, which
// keeps the rest of that hand-shake. The packet is given by reference, and so are
// those below: mochi's are 700 bytes, and each copy is one of the stack that
// every connection has.
func (s *session) publish(pk *packets.Packet) error {
	if pk.PublishValidate(0) != packets.CodeSuccess {
		return nil // mochi finds the same, and says so to the device
	}
	if !s.pace(s.dev.limit) || s.revoked.Load() || s.superseded.Load() {
		return mochiDrop // what an old connection still holds, the new one is sent again
	}
	p := pending{id: pk.PacketID, qos: pk.FixedHeader.Qos}
	if p.qos == 2 {
		s.forgetOpen(p.id)
	}
	r, kind := routeOf(s.prefix, pk.TopicName)
	switch r {
	case routeSale:
		p.event, p.reply = s.eventOf(kind, pk), s.replyTo(pk)
		var ok bool
		if p.verdict, ok = s.accept(p.event); !ok {
			return mochiDrop
		}
	case routeReceiptGet:
		p.done, p.request = s.again(pk.Payload)
		p.reply = s.replyTo(pk)
	case routeStatus:
		if len(pk.Payload) <= maxStatus {
			s.dev.setStatus(pk.Payload, time.Now())
			s.b.publish(pk.TopicName, bytes.Clone(pk.Payload), pk.FixedHeader.Retain)
		}
	default:
		p.done = forbidden
		s.b.n.refused.Add(1)
		s.b.grumble.refused.Do(func() {
			s.b.log.Warn("a publish was refused", "device", s.id, "topic", cut(pk.TopicName, maxFilterBytes))
		})
	}
	if p.qos == 2 {
		return s.publish2(pk, p)
	}
	if !s.owe(p) {
		return mochiDrop
	}
	neutral(pk)
	return nil
}

// forgetOpen forgets the PUBRECs without their PUBREL when the session would hold
// more than maxOpen of them: a device that lost its memory can never release
// them, and must be able to go on. It costs nothing: the Acceptor knows what it
// has should one be sent again, and a late PUBREL is answered all the same
// [MQTT-4.3.3-11].
func (s *session) forgetOpen(id uint16) {
	open := s.cl.State.Inflight
	if _, again := open.Get(id); again || open.Len() < maxOpen {
		return
	}
	s.cl.ClearInflights()
	s.roomy()
	s.b.grumble.refused.Do(func() {
		s.b.log.Warn("a device leaves too many QoS 2 messages unreleased; they are forgotten", "device", s.id, "limit", maxOpen)
	})
}

// roomy lifts mochi's Receive Maximum for MQTT 3.1.1: such a device does not know
// ours, and mochi would end its connection for exceeding it.
func (s *session) roomy() {
	if !s.v5 {
		s.cl.State.Inflight.ResetReceiveQuota(1<<16 - 1)
	}
}

// publish2 waits for the commit, so that mochi's PUBREC comes after it. A PUBLISH
// whose id still waits for PUBREL is taken again, too: it may be another message
// of a device that lost its memory, and the Acceptor knows a true duplicate.
func (s *session) publish2(pk *packets.Packet, p pending) error {
	s.late = nil
	if p.done == forbidden {
		a := answerTo(s.v5, p.qos, p.done)
		if a.drop {
			return mochiDrop
		}
		// Not left to mochi, which answers nothing at all for some topics.
		_, _ = s.conn.Write(appendPubrecRefusal(nil, p.id, a.code)) // a failed write has closed the connection
		neutral(pk)
		return nil
	}
	o := p.done
	if p.verdict != nil {
		select {
		case v, ok := <-p.verdict:
			v = given(v, ok)
			o = s.judge(v, p.qos)
			s.late = &owedAck{p, v}
		case <-s.conn.life:
			return mochiDrop
		}
	}
	if answerTo(s.v5, p.qos, o).drop {
		return mochiDrop
	}
	if p.request != nil {
		s.late = &owedAck{p: p}
	}
	s.passed = true
	return nil
}

func (s *session) eventOf(kind sale.Kind, pk *packets.Packet) *sale.Message {
	return &sale.Message{Device: s.id, Kind: kind, Payload: pk.Payload, QoS: pk.FixedHeader.Qos, Received: s.b.now()}
}

// pace holds the reading of a device that sends more than it may, and reports
// false when the connection has ended meanwhile (ruling 2).
func (s *session) pace(l *rate.Limiter) bool {
	r := l.Reserve()
	wait := r.Delay()
	if wait == 0 {
		return true
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.conn.life:
		r.Cancel() // the next connection does not pay for what was never read
		return false
	}
}

func (s *session) replyTo(pk *packets.Packet) *reply {
	if t := pk.Properties.ResponseTopic; s.v5 && t != "" && mayAnswerAt(s.prefix, t) {
		return &reply{topic: t, correlation: pk.Properties.CorrelationData}
	}
	return nil
}

// OnPublish is reached by QoS 2 messages that publish2 has let through, and by
// the gateway's own. Anything else would be acknowledged by mochi unseen.
func (h *hook) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if cl.Net.Inline {
		return pk, nil
	}
	if s := sessionOf(cl); s != nil && s.passed {
		s.passed = false
		return pk, mochiAckNoFan
	}
	cl.Stop(mochiNotAllowed)
	return pk, mochiSilent
}

// OnPacketProcessed comes when mochi has answered a packet.
func (h *hook) OnPacketProcessed(cl *mqtt.Client, pk packets.Packet, err error) {
	t := pk.FixedHeader.Type
	if t != packets.Subscribe && (t != packets.Publish || pk.FixedHeader.Qos != 2) {
		return
	}
	s := sessionOf(cl)
	if s == nil {
		return
	}
	defer h.b.recovered(s.conn, "processed")
	if t == packets.Publish {
		if late := s.late; late != nil && err == nil {
			s.late = nil
			w := &batch{c: s.conn}
			s.tell(w, late.p, late.v)
			w.flush()
		}
		return
	}
	s.deliver() // after the SUBACK: simple devices stumble over a PUBLISH before it
	if h.b.siteTime == nil {
		return
	}
	for _, f := range pk.Filters {
		if maySubscribe(s.prefix, f.Filter) && matches(f.Filter, siteTime) {
			s.send(siteTime, h.b.siteTime())
			return
		}
	}
}

// OnPacketEncode sees what mochi is about to write.
func (h *hook) OnPacketEncode(_ *mqtt.Client, pk packets.Packet) packets.Packet {
	return mend(pk, h.b.maxBytes)
}

// OnSubscribe grants QoS 1 at most, since the broker sends nothing with QoS 2,
// and no more than maxFilters.
func (h *hook) OnSubscribe(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	for i := range pk.Filters {
		pk.Filters[i].Qos = min(pk.Filters[i].Qos, 1)
	}
	if s := sessionOf(cl); s != nil {
		defer h.b.recovered(s.conn, "subscribe")
		s.limitFilters(pk.Filters)
	}
	return pk
}

// limitFilters empties what would be one filter too many: mochi refuses the
// empty filter before it stores anything, and nobody may ask for that one.
func (s *session) limitFilters(asked packets.Subscriptions) {
	s.excess = nil
	held := s.cl.State.Subscriptions.GetAll()
	for i := range asked {
		f := asked[i].Filter
		if _, ok := held[f]; ok || !maySubscribe(s.prefix, f) {
			continue
		}
		if len(held) < maxFilters {
			held[f] = asked[i]
			continue
		}
		asked[i].Filter = ""
		s.excess = append(s.excess, i)
	}
	if len(s.excess) == 0 {
		return
	}
	s.b.n.refused.Add(uint64(len(s.excess)))
	s.b.grumble.refused.Do(func() {
		s.b.log.Warn("a device asks for too many topic filters; the rest was refused", "device", s.id, "limit", maxFilters)
	})
}

// OnSubscribed comes before the SUBACK. What the SUBACK promises is stored
// first, or else a device whose session is found after a restart would wait for
// messages that nobody knows it wants.
func (h *hook) OnSubscribed(cl *mqtt.Client, _ packets.Packet, codes []byte) {
	if s := sessionOf(cl); s != nil && s.v5 {
		for _, i := range s.excess {
			if i < len(codes) && codes[i] == packets.ErrTopicFilterInvalid.Code {
				codes[i] = codeQuota // the slice is the SUBACK's own
			}
		}
		s.excess = nil
	}
	h.changed(cl)
}

// OnUnsubscribed also comes for sessions that mochi clears; those have ended.
func (h *hook) OnUnsubscribed(cl *mqtt.Client, _ packets.Packet) { h.changed(cl) }

func (h *hook) changed(cl *mqtt.Client) {
	s := sessionOf(cl)
	if s == nil || !s.settled.Load() || s.conn.life.Err() != nil || s.superseded.Load() {
		return
	}
	defer h.b.recovered(s.conn, "subscriptions")
	s.subscribed(subscriptions(cl))
	h.b.keeper.want(s.id, snapshot(cl))
	ctx, cancel := context.WithTimeout(s.conn.life, saveLimit)
	defer cancel()
	h.b.save(ctx, s.id)
}

func subscriptions(cl *mqtt.Client) []granted {
	var list []granted
	for _, s := range cl.State.Subscriptions.GetAll() {
		list = append(list, granted{filter: s.Filter, qos: s.Qos, id: s.Identifier})
	}
	return list
}

// OnWill makes the one will that is allowed harmless: QoS 0, so that mochi's
// in-flight table holds nothing outbound, and nowhere at all when the device has
// already come back on another connection.
func (h *hook) OnWill(cl *mqtt.Client, w mqtt.Will) (mqtt.Will, error) {
	w.Qos = 0
	s := sessionOf(cl)
	if s == nil || s.dev == nil || s.superseded.Load() || s.revoked.Load() || w.TopicName != s.prefix+"status" {
		return mqtt.Will{TopicName: "$edgegw/nowhere"}, nil
	}
	return w, nil
}

// OnWillSent comes when the will is published, at once or after its delay.
func (h *hook) OnWillSent(cl *mqtt.Client, pk packets.Packet) {
	s := sessionOf(cl)
	if s == nil || s.dev == nil || pk.TopicName != s.prefix+"status" {
		return
	}
	defer h.b.recovered(s.conn, "will")
	s.dev.setStatus(pk.Payload, time.Now())
}

// OnClientExpired removes a session that nobody came back to.
func (h *hook) OnClientExpired(cl *mqtt.Client) {
	defer h.b.recovered(nil, "expired")
	h.b.server.UnsubscribeClient(cl)
	h.b.keeper.want(sale.DeviceID(cl.ID), nil)
}
