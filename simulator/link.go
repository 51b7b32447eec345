package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"edgegw/sale"
)

const (
	topicRoot    = "edgegw/v1/"
	topicSite    = topicRoot + "site/"
	keepAlive    = 30        // seconds
	sessionLife  = 24 * 3600 // seconds
	receiveLimit = 32        // messages the server may have unacknowledged here; paho makes room for all of them
)

// storedForPerson is the one negative PUBACK that means "stored": the event can
// never become part of a sale and a person must look (CONTRACT.md ruling 7).
const storedForPerson = packets.PubackPayloadFormatInvalid

// topic gives a topic below the device's own prefix.
func (d *Device) topic(rest string) string { return topicRoot + string(d.cfg.DeviceID) + "/" + rest }

// stayConnected connects again and again until ctx ends.
func (d *Device) stayConnected(ctx context.Context) {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		up, err := d.connection(ctx)
		if up {
			attempt = 0
		}
		if ctx.Err() != nil {
			return
		}
		d.mu.Lock()
		d.problem = err.Error()
		d.notify()
		d.mu.Unlock()
		d.say(WentOffline, "", err.Error())
		select {
		case <-ctx.Done():
		case <-time.After(d.cfg.Backoff(attempt)):
		}
	}
}

// link is one connection.
type link struct {
	device  *Device
	conn    *wire
	client  *paho.Client
	session *mqttSession
	limit   int // events that the server lets be in flight

	mu    sync.Mutex
	cause error // why it ended, the first one
}

// end closes the connection; what caused it first is what is reported.
func (l *link) end(cause error) {
	l.mu.Lock()
	if l.cause == nil {
		l.cause = cause
	}
	l.mu.Unlock()
	_ = l.conn.Close() // closed twice does no harm
}

func (l *link) why() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause == nil {
		return errors.New("the connection was lost")
	}
	return l.cause
}

// connection lives through one connection. It reports whether the device was
// fully online, and always why it ended.
func (d *Device) connection(ctx context.Context) (up bool, err error) {
	raw, err := d.dial(ctx)
	if err != nil {
		return false, err
	}
	l := &link{device: d, conn: newWire(raw)}
	l.session = &mqttSession{puback: d.puback, receive: d.receive, done: d.acknowledged, drop: l.end}
	l.client = paho.NewClient(paho.ClientConfig{
		Conn: l.conn, Session: l.session, PacketTimeout: d.cfg.AnswerTimeout,
		// The session records and acknowledges in one step; see mqttSession.Ack.
		OnPublishReceived:  []func(paho.PublishReceived) (bool, error){func(paho.PublishReceived) (bool, error) { return true, nil }},
		OnClientError:      l.end,
		OnServerDisconnect: func(p *paho.Disconnect) { l.end(fmt.Errorf("the gateway disconnected: reason 0x%02X", p.ReasonCode)) },
	})
	answer, err := l.client.Connect(ctx, d.connectPacket())
	if err != nil {
		_ = raw.Close()
		if answer != nil {
			return false, fmt.Errorf("the gateway refused the connection: reason 0x%02X", answer.ReasonCode)
		}
		return false, fmt.Errorf("connect to %s: %w", d.target.addr, err)
	}
	defer func() {
		<-l.client.Done() // paho's goroutines have ended: nothing of this connection touches the device any more
		d.offline()
	}()
	l.limit = receiveMaximum(answer)
	// Receipts may come before the SUBACK does. A device that ended on the last
	// of them would drop the line with its PUBACK still on it.
	d.hold()
	err = l.subscribe(ctx)
	d.acknowledged()
	if err != nil {
		l.end(err)
		return false, err
	}
	d.goOnline(l.end)
	l.send(ctx)
	return true, l.why()
}

func (d *Device) connectPacket() *paho.Connect {
	life, limit := uint32(sessionLife), uint16(receiveLimit)
	id := string(d.cfg.DeviceID)
	return &paho.Connect{
		ClientID: id, KeepAlive: keepAlive, CleanStart: false,
		UsernameFlag: true, Username: id,
		PasswordFlag: !d.cfg.Secret.Empty(), Password: d.cfg.Secret.Reveal(),
		Properties:  &paho.ConnectProperties{SessionExpiryInterval: &life, ReceiveMaximum: &limit, RequestProblemInfo: true},
		WillMessage: &paho.WillMessage{Topic: d.topic("status"), QoS: 1, Retain: true, Payload: d.statusJSON("offline")},
	}
}

// receiveMaximum is how many events the server takes at once [MQTT-3.3.4-9].
func receiveMaximum(answer *paho.Connack) int {
	if answer.Properties != nil && answer.Properties.ReceiveMaximum != nil {
		return int(*answer.Properties.ReceiveMaximum)
	}
	return 65535
}

func (d *Device) statusJSON(state string) []byte {
	return fmt.Appendf(nil, `{"state":%q,"kind":%q,"firmware":"edgegw simulator"}`, state, d.cfg.Kind)
}

// topicOf gives the topic of an event below the device's prefix.
func topicOf(k sale.Kind) string {
	if k == sale.Whole {
		return "sale"
	}
	return "sale/" + k.String()
}

// subscribe asks for everything a device needs, in one packet, and then shows
// its own status.
func (l *link) subscribe(ctx context.Context) error {
	d := l.device
	_, err := l.client.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{
		{Topic: topicSite + "#", QoS: 1},
		{Topic: d.topic("sale/ack"), QoS: 1},
		{Topic: d.topic("receipt"), QoS: 1},
		{Topic: d.topic("identify"), QoS: 1},
	}})
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	answer, err := l.client.Publish(ctx, &paho.Publish{Topic: d.topic("status"), QoS: 1, Retain: true, Payload: d.statusJSON("online")})
	if err != nil && answer == nil && !errors.Is(err, paho.ErrInvalidArguments) {
		return fmt.Errorf("publish the device's status: %w", err)
	} // a status that is refused is only not shown: no reason not to sell
	return nil
}

func (d *Device) goOnline(cut func(error)) {
	d.mu.Lock()
	d.online, d.problem, d.cut = true, "", cut
	d.refusals, d.pause = 0, time.Time{}
	d.notify()
	d.mu.Unlock()
	d.say(WentOnline, "", "")
}

func (d *Device) offline() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.online, d.cut = false, nil
	d.outbox.lost()
	d.notify()
}

// send empties the outbox as long as the connection lives.
func (l *link) send(ctx context.Context) {
	d := l.device
	for {
		d.mu.Lock()
		ev, again, wait, err := d.due(time.Now(), l.limit)
		changed := d.changed
		d.mu.Unlock()
		if err == nil && ev != nil {
			err = l.publish(ctx, ev, again)
		}
		switch {
		case err != nil:
			l.end(err)
			return
		case ev == nil && !l.wait(ctx, changed, wait):
			return
		}
	}
}

// due takes the next event that may leave, or says for how long none may.
// Called with d.mu held.
func (d *Device) due(now time.Time, limit int) (ev *event, again bool, wait time.Duration, err error) {
	wait = time.Hour // until a change, that is
	if silent := d.outbox.silence(now); silent > 0 {
		if wait = d.cfg.AnswerTimeout - silent; wait <= 0 {
			return nil, false, 0, fmt.Errorf("no PUBACK within %v", d.cfg.AnswerTimeout)
		}
	}
	if pause := d.pause.Sub(now); pause > 0 {
		return nil, false, min(wait, pause), nil
	}
	if ev = d.outbox.next(min(limit, d.cfg.Window)); ev == nil {
		return nil, false, wait, nil
	}
	if again = d.outbox.sent(ev, now); ev.sends > 1 {
		d.ledger.counts.Resent++
	}
	return ev, again, 0, nil
}

// publish sends one event. AsyncSend: the PUBACK comes to mqttSession, so that
// several events can be in flight and still leave in order.
func (l *link) publish(ctx context.Context, ev *event, again bool) error {
	l.session.publishing(ev.packetID, again)
	_, err := l.client.PublishWithOptions(ctx, &paho.Publish{Topic: l.device.topic(topicOf(ev.kind)), QoS: 1, Payload: ev.payload},
		paho.PublishOptions{Method: paho.PublishMethod_AsyncSend})
	if err != nil {
		return fmt.Errorf("send an event: %w", err)
	}
	return nil
}

// wait reports whether the connection still lives after a change or a timer.
func (l *link) wait(ctx context.Context, changed <-chan struct{}, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-l.client.Done():
		return false
	case <-ctx.Done():
		// "Disconnect with Will Message": the gateway then shows it as offline.
		_ = l.client.Disconnect(&paho.Disconnect{ReasonCode: packets.DisconnectDisconnectWithWillMessage})
		return false
	case <-changed:
	case <-timer.C:
	}
	return true
}

// puback takes the answer to one event.
func (d *Device) puback(packetID uint16, code byte, reason string) {
	d.mu.Lock()
	ev := d.outbox.byID[packetID]
	if ev == nil || !ev.inFlight {
		d.mu.Unlock()
		return // an answer to a sending before the last reconnect; that event was sent again
	}
	what, text := Stored, ev.kind.String()
	switch {
	case code < 0x80:
		d.settle(ev)
	case code == storedForPerson:
		d.settle(ev)
		d.ledger.counts.Evidence++
		d.ledger.person(ev.record)
		text += ": stored for a person to look at: " + reason
	default:
		what, text = KeptBack, fmt.Sprintf("%v: reason 0x%02X %s", ev.kind, code, reason)
		d.outbox.refused(ev)
		d.ledger.counts.Refused++
		d.problem = text
		d.pause = time.Now().Add(d.cfg.Backoff(d.refusals))
		d.refusals++
	}
	d.notify()
	d.mu.Unlock()
	d.say(what, ev.record.SaleID, text)
}

// settle is called with d.mu held.
func (d *Device) settle(ev *event) {
	d.outbox.settle(ev)
	ev.record.Acknowledged++
	d.refusals, d.problem = 0, ""
}

// receive takes one message from the gateway and reports whether it is recorded.
func (d *Device) receive(topic string, body []byte) bool {
	switch topic {
	case d.topic("receipt"):
		return d.takeReceipt(body)
	case d.topic("sale/ack"):
		d.takeAck(body)
	case topicSite + "status":
		d.takeSite(body)
	case d.topic("identify"):
		d.hold()
		d.say(Identify, "", showing(body))
	default:
		d.hold() // site/time and what later versions may bring
	}
	return true
}

// showing is what a person sees of a device that shows itself: for how long, where
// the gateway says so.
func showing(body []byte) string {
	var asked struct {
		Seconds int `json:"seconds"`
	}
	if json.Unmarshal(body, &asked) != nil || asked.Seconds <= 0 {
		return "here I am"
	}
	return fmt.Sprintf("here I am, for %d s", asked.Seconds)
}

// hold says that the device must not end now: a message is recorded and its
// PUBACK not yet out, or a connection is half made.
func (d *Device) hold() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.busy++
}

// acknowledged ends what hold began.
func (d *Device) acknowledged() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.busy--
	d.notify()
}

func (d *Device) takeReceipt(body []byte) bool {
	if keep := d.cfg.OnReceipt; keep != nil {
		r := Receipt{Raw: body}
		if json.Unmarshal(body, &r) == nil && keep(r) != nil {
			return false
		}
	}
	d.mu.Lock()
	before := len(d.ledger.faults)
	r, ok := d.ledger.received(body)
	findings := d.ledger.faults[before:]
	d.busy++
	d.mu.Unlock()
	if !ok {
		d.say(Unreadable, "", "receipt")
		return true // refusing it would bring the same bytes again for ever
	}
	d.say(GotReceipt, r.SaleID, joinWords(r.State, r.FiscalState, r.DocumentNumber))
	for _, f := range findings {
		d.say(ItsFault, r.SaleID, f)
	}
	return true
}

func (d *Device) takeAck(body []byte) {
	d.mu.Lock()
	a, ok := d.ledger.acked(body)
	d.busy++
	d.mu.Unlock()
	if ok {
		d.say(Answered, a.SaleID, joinWords(a.Event, string(a.Status)))
	} else {
		d.say(Unreadable, "", "sale/ack")
	}
}

func (d *Device) takeSite(body []byte) {
	var s siteStatus
	err := json.Unmarshal(body, &s)
	readable := err == nil && (s.Accept == "yes" || s.Accept == "limited" || s.Accept == "no")
	d.mu.Lock()
	d.busy++
	was := d.site.Accept
	if readable {
		d.site = s
	} else {
		d.ledger.counts.Unreadable++
	}
	d.mu.Unlock()
	switch {
	case !readable:
		d.say(Unreadable, "", "site/status")
	case was != s.Accept:
		d.say(SiteSays, "", joinWords(s.Accept, s.Reason))
	}
}

// joinWords leaves empty words out.
func joinWords(words ...string) string {
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
}
