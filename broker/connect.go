package broker

import (
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"edgegw/sale"
)

// Keepalive limits, in seconds. MQTT 5 devices are told ours (Server Keep Alive).
// A 3.1.1 device cannot be told: what it asks for holds between these bounds,
// and 0, "never", becomes the longest, since TCP probes find dead lines anyway.
// Both are far from 43 691, where mochi's k + k/2 overflows and the connection
// ends at once.
const (
	keepaliveMinV5 = 10
	keepaliveMaxV5 = 300
	keepaliveMinV3 = 5
	keepaliveMaxV3 = 1200
)

func keepalive(v5 bool, asked uint16) uint16 {
	least, most := uint16(keepaliveMinV3), uint16(keepaliveMaxV3)
	if v5 {
		least, most = keepaliveMinV5, keepaliveMaxV5
	}
	if asked == 0 {
		return most
	}
	return min(max(asked, least), most)
}

// OnConnect looks at a CONNECT before anybody's identity is checked. mochi sends
// no CONNACK for an error from here, so it is sent here.
func (h *hook) OnConnect(cl *mqtt.Client, pk packets.Packet) (err error) {
	c, ok := cl.Net.Conn.(*conn)
	if !ok {
		return mochiDrop
	}
	err = mochiDrop // what a panic leaves behind
	defer h.b.recovered(c, "connect")
	err = h.connect(c, cl, pk)
	return err
}

func (h *hook) connect(c *conn, cl *mqtt.Client, pk packets.Packet) error {
	v5 := pk.ProtocolVersion == 5
	s := &session{
		b: h.b, conn: c, cl: cl, v5: v5, id: sale.DeviceID(pk.Connect.ClientIdentifier),
		problemInfo: v5 && !(pk.Properties.RequestProblemInfoFlag && pk.Properties.RequestProblemInfo == 0),
		maxPacket:   int(pk.Properties.MaximumPacketSize),
	}
	s.prefix = prefixOf(s.id)
	s.out.window = maxWindow
	if r := int(pk.Properties.ReceiveMaximum); v5 && r > 0 {
		s.out.window = min(r, maxWindow)
	}
	c.plainV3.Store(!v5)
	c.session.Store(s)

	// Mochi's own accounting of these two deadlocks or stalls, and nothing that
	// mochi sends needs them (FAULTS.md section 1; trap_test.go).
	cl.Properties.Props.ReceiveMaximum = 0
	cl.State.Inflight.ResetSendQuota(0)
	cl.Properties.Props.TopicAliasMaximum = 0
	cl.State.TopicAliases = mqtt.NewTopicAliases(0)
	if k := keepalive(v5, pk.Connect.Keepalive); k != pk.Connect.Keepalive {
		cl.State.Keepalive, cl.State.ServerKeepalive = k, v5
	}

	switch {
	case !s.id.Valid() && !h.b.isCanary(s.id): // an empty one included, for which mochi would invent a name
		h.b.n.authFailures.Add(1)
		return h.refuse(cl, mochiClientID, "the client identifier is no device id")
	case pk.Properties.AuthenticationMethod != "":
		return h.refuse(cl, mochiAuthMethod, "authentication methods are not supported")
	case pk.Connect.WillFlag && pk.Connect.WillTopic != s.prefix+"status":
		// Mochi publishes wills past every ACL (FAULTS.md T5).
		h.b.n.refused.Add(1)
		code := mochiNotAllowed
		if !v5 {
			code = packets.Err3NotAuthorized
		}
		return h.refuse(cl, code, "the will is not on the device's own status topic")
	}
	return nil
}

// isCanary reports whether a client is the gateway's own.
func (b *Broker) isCanary(d sale.DeviceID) bool { return b.canary != "" && d == b.canary }

func (h *hook) refuse(cl *mqtt.Client, code packets.Code, why string) error {
	h.b.grumble.connect.Do(func() {
		h.b.log.Warn("an mqtt connection was refused", "remote", cl.Net.Remote, "reason", why)
	})
	_ = h.b.server.SendConnack(cl, code, false, nil) // it ends now, whether it hears why or not
	return code
}

// OnConnectAuthenticate binds user name, client identifier and device into one
// before mochi looks for a session to take over: mochi itself would hand the
// session, and the receipts in it, to anybody with the right client identifier
// (FAULTS.md T7).
func (h *hook) OnConnectAuthenticate(cl *mqtt.Client, pk packets.Packet) (ok bool) {
	s := sessionOf(cl)
	if s == nil {
		return false
	}
	defer func() {
		if !ok {
			h.b.devices.over(s)
		}
	}()
	defer h.b.recovered(s.conn, "authenticate")
	h.b.devices.begin(s)
	name := string(pk.Connect.Username)
	d, err := h.b.guard.Authenticate(name, pk.Connect.Password, s.conn.peer)
	clear(pk.Connect.Password)
	if err != nil || d != s.id || (name != "" && name != string(d)) {
		h.authFailed(s)
		return false
	}
	s.dev = h.b.devices.proved(s)
	return h.mayConnect(s) && !s.revoked.Load()
}

// authFailed counts, and slows down whoever tries many secrets. Only the answer
// to a wrong one waits: nobody can lock a device out by guessing.
func (h *hook) authFailed(s *session) {
	h.b.n.authFailures.Add(1)
	h.b.grumble.connect.Do(func() {
		h.b.log.Warn("a device could not prove itself", "device", s.id, "remote", s.conn.RemoteAddr().String())
	})
	select {
	case <-s.conn.life:
	case <-h.b.closed:
	case <-time.After(h.b.failures.wait(hostOf(s.conn.RemoteAddr()), s.id)):
	}
}

// OnSessionEstablish comes after the proof and before mochi ends the device's
// older connection, if there is one.
func (h *hook) OnSessionEstablish(cl *mqtt.Client, _ packets.Packet) {
	s := sessionOf(cl)
	if s == nil {
		return
	}
	defer h.b.recovered(s.conn, "establish")
	now := time.Now()
	if before, fights := s.dev.online(s, now); before != nil {
		before.takenOverBy(s, now)
		h.b.n.takenOver.Add(1)
		if !fights { // that has its own line, once
			h.b.grumble.anew.Do(func() {
				h.b.log.Info("a device has connected anew", "device", s.id, "old_remote", before.conn.RemoteAddr().String(),
					"new_remote", s.conn.RemoteAddr().String())
			})
		}
	}
	h.b.doors.proved(s.conn.raw)
	h.b.n.connections.Add(1)
	h.b.devices.over(s)
}

// OnSessionEstablished comes after CONNACK and before the first packet is read.
func (h *hook) OnSessionEstablished(cl *mqtt.Client, _ packets.Packet) {
	s := sessionOf(cl)
	if s == nil {
		return
	}
	defer h.b.recovered(s.conn, "established")
	if s.superseded.Load() {
		// Two connections of one device came at the same moment, and each may
		// have ended the other: begin anew, with one.
		_ = s.conn.Close()
		return
	}
	s.roomy()
	if !h.b.isCanary(s.id) { // which is no device
		h.b.n.connects.Add(1)
	}
	h.b.keeper.want(s.id, snapshot(cl))
	s.subscribed(subscriptions(cl))
	s.settled.Store(true)
	s.deliver() // to a session that was kept; ruling 19
}

// abandoned does what mochi left undone when a panic cut it short: the will, and
// the end of a session that ends with its connection. It comes before ended.
func (b *Broker) abandoned(c *conn) {
	defer b.recovered(c, "after a panic")
	_ = c.Close()
	s := c.session.Load()
	if s == nil || s.dev == nil {
		return
	}
	if w := s.cl.Properties.Will; w.Flag != 0 {
		// Mochi's table of wills that wait is its own; the wait is at most the
		// session's [MQTT-3.1.3-9].
		if wait := time.Duration(w.WillDelayInterval) * time.Second; wait > 0 {
			time.AfterFunc(wait, func() { b.lastWill(s, w) }) // does nothing once the broker or the device has moved on
		} else {
			b.lastWill(s, w)
		}
	}
	if snapshot(s.cl) == nil && !s.superseded.Load() {
		s.cl.ClearInflights()
		b.server.UnsubscribeClient(s.cl)
		if now, ok := b.server.Clients.Get(string(s.id)); ok && now == s.cl {
			b.server.Clients.Delete(string(s.id))
		}
	}
}

// lastWill publishes the will of a connection that has ended, unless the device
// has come back meanwhile or lost its rights.
func (b *Broker) lastWill(s *session, w mqtt.Will) {
	defer b.recovered(nil, "will")
	select {
	case <-b.closed:
		return
	default:
	}
	if s.revoked.Load() || b.devices.get(s.id) != s.dev || !s.dev.newest(s) {
		return
	}
	s.dev.setStatus(w.Payload, time.Now())
	b.publish(w.TopicName, w.Payload, w.Retain)
}

// ended is called when everything that mochi does for a connection has ended.
func (b *Broker) ended(c *conn) {
	s := c.session.Load()
	if s == nil {
		b.n.unfinished.Add(1)
		if c.opening.bad {
			b.n.badFirst.Add(1)
		}
		_ = c.Close()
		return
	}
	s.end()
	b.devices.over(s)
	if s.dev == nil {
		return
	}
	last := s.dev.offline(s, time.Now())
	if last || s.superseded.Load() {
		b.n.connections.Add(-1)
	}
	if s.superseded.Load() {
		defer b.contest(s) // it may take a second
	}
	switch {
	case s.revoked.Load():
		if last || s.dev.session() == nil {
			b.purge(s.id, s.cl)
		}
	case last:
		b.keeper.want(s.id, snapshot(s.cl))
	}
}
