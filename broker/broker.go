package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"golang.org/x/time/rate"

	"edgegw/sale"
)

// Defaults of Options, from CONTRACT.md 6 and ruling 3.
const (
	DefaultMaxConnections    = 10000
	DefaultMaxPacketBytes    = 64 << 10
	DefaultMessagesPerSecond = 50

	// 500 devices of one site that come back at once, behind one address, pass.
	// Each socket without login costs its TLS state, and at most two times
	// maxFirstPacket for its CONNECT.
	DefaultMaxStrangers        = 1024
	DefaultStrangersPerAddress = 512
)

const (
	siteTimeEvery = 30 * time.Second // CONTRACT.md 2.3
	closeLimit    = 5 * time.Second  // balena gives a container 10 s in all
	saveLimit     = 2 * time.Second
)

// Options says how the broker listens. Once New has succeeded the broker owns the
// listeners and closes them. A zero number means its default.
type Options struct {
	TLS       net.Listener // bare TCP; the broker does TLS on it with TLSConfig
	Plain     net.Listener // MQTT without TLS
	TLSConfig *tls.Config

	MaxConnections int // sockets at one time, those without CONNECT included
	PerAddress     int // of them from one IP address; default: half of MaxConnections
	// Of both, the sockets that have not logged in. What is above these limits is
	// closed at once, and a device tries again.
	MaxStrangers        int // default: DefaultMaxStrangers
	StrangersPerAddress int // default: DefaultStrangersPerAddress

	MaxPacketBytes    int // longest MQTT packet of a device
	MessagesPerSecond int // per device; more slows its reading down. Negative: no limit

	// Canary is the name of a client that is no device, and that no device can have:
	// the gateway's own, which tries whether events are taken. Guard lets it in and
	// Acceptor answers it. It is in no presence, and what it publishes is not counted.
	Canary sale.DeviceID

	// Now is the time written down with what devices report; nil: time.Now.
	Now func() time.Time
	// SiteTime gives the JSON of edgegw/v1/site/time at this moment; nil: not published.
	SiteTime func() []byte
	// Judged hears what became of each event, nil where it is on disk. It is called
	// from many goroutines, before the device has its answer, and must not block.
	Judged func(err error)
	Log    *slog.Logger // default: slog.Default()
}

// Broker is the MQTT side of one gateway.
type Broker struct {
	guard    Guard
	mailbox  Mailbox
	store    Sessions
	log      *slog.Logger
	siteTime func() []byte
	now      func() time.Time
	judged   func(error)
	maxBytes int
	canary   sale.DeviceID

	server    *mqtt.Server
	hook      *hook
	speaker   *mqtt.Client // mochi's name for the gateway itself
	listeners []*listener
	doors     doors
	devices   devices
	keeper    keeper
	crew      crew
	failures  *failures // answers to wrong credentials; right ones never wait for it
	n         counters
	grumble   grumbles

	siteMu sync.Mutex
	site   []byte

	fatal  chan error
	close  sync.Once
	closed chan struct{}
}

// grumbles bound what one cause can write into the log: a full disk, or a device
// in a loop, would bury everything else. Each event is counted all the same.
type grumbles struct {
	store, refused, connect, anew, turned, oversize, verdict, panics rate.Sometimes
}

func newGrumbles() grumbles {
	return grumbles{store: newGrumble(), refused: newGrumble(), connect: newGrumble(), anew: newGrumble(),
		turned: newGrumble(), oversize: newGrumble(), verdict: newGrumble(), panics: newGrumble()}
}

func newGrumble() rate.Sometimes { return rate.Sometimes{First: 20, Interval: time.Second} }

type counters struct {
	connections                                                              atomic.Int64
	connects, accepted, quarantined, unstored, unsafe, refused, authFailures atomic.Uint64
	turned, unfinished, acceptErrors, panics, takenOver, acksDropped         atomic.Uint64
	lettersSent, letters, oversize, sessionFails, badFirst                   atomic.Uint64
}

// New builds a broker. Nothing runs before Run.
func New(o Options, g Guard, a Acceptor, m Mailbox, s Sessions) (*Broker, error) {
	if o.TLS == nil && o.Plain == nil {
		return nil, errors.New("set up the broker: there is no listener")
	}
	if o.TLS != nil && o.TLSConfig == nil {
		return nil, errors.New("set up the broker: the TLS listener has no TLS configuration")
	}
	o = o.withDefaults()
	b := &Broker{
		guard: g, crew: newCrew(a), mailbox: m, store: s, log: o.Log, siteTime: o.SiteTime, now: o.Now, judged: o.Judged, maxBytes: o.MaxPacketBytes, canary: o.Canary,
		doors:    newDoors(o),
		devices:  newDevices(o.MessagesPerSecond),
		keeper:   newKeeper(),
		failures: newFailures(),
		grumble:  newGrumbles(),
		fatal:    make(chan error, 2),
		closed:   make(chan struct{}),
	}
	b.server = mqtt.New(&mqtt.Options{
		Capabilities:            capabilities(o),
		ClientNetReadBufferSize: readBuffer,
		SysTopicResendInterval:  1 << 31, // nobody may read $SYS; the tick stops the world to count memory
		Logger:                  slog.New(newQuiet(o.Log.Handler())),
	})
	b.speaker = b.server.NewClient(nil, mqtt.LocalListener, "$edgegw", true)
	b.speaker.Properties.ProtocolVersion = 5
	b.hook = &hook{b: b}
	if err := b.server.AddHook(b.hook, nil); err != nil {
		return nil, fmt.Errorf("set up the broker: %w", err)
	}
	if o.TLS != nil {
		b.listeners = append(b.listeners, newListener("tls", o.TLS, o.TLSConfig, b))
	}
	if o.Plain != nil {
		b.listeners = append(b.listeners, newListener("plain", o.Plain, nil, b))
	}
	for _, l := range b.listeners {
		if err := b.server.AddListener(l); err != nil {
			return nil, fmt.Errorf("set up the broker: listener %s: %w", l.id, err)
		}
	}
	return b, nil
}

// readBuffer is mochi's read buffer per connection, in bytes. Twice as much made
// no difference to the throughput of BenchmarkPublish, and costs 20 MB with
// 10 000 devices.
const readBuffer = 2 << 10

func (o Options) withDefaults() Options {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&o.MaxConnections, DefaultMaxConnections)
	def(&o.PerAddress, max(o.MaxConnections/2, 1))
	def(&o.MaxStrangers, DefaultMaxStrangers)
	def(&o.StrangersPerAddress, DefaultStrangersPerAddress)
	def(&o.MaxPacketBytes, DefaultMaxPacketBytes)
	def(&o.MessagesPerSecond, DefaultMessagesPerSecond)
	if o.Judged == nil {
		o.Judged = func(error) {}
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// capabilities are mochi's limits. What mochi leaves open by default is closed.
func capabilities(o Options) *mqtt.Capabilities {
	c := mqtt.NewDefaultServerCapabilities()
	c.MaximumClients = int64(o.MaxConnections)
	c.MaximumMessageExpiryInterval = 0 // else retained messages vanish after a day
	c.MaximumClientWritesPending = 64  // a channel of that size per connection; receipts do not go through it
	c.MaximumSessionExpiryInterval = maxSessionAge
	c.MaximumPacketSize = uint32(o.MaxPacketBytes)
	c.ReceiveMaximum = maxInFlight
	c.MaximumInflight = 2 * maxInFlight
	c.TopicAliasMaximum = 0 // the ACL would see "" for an aliased topic (FAULTS.md T13)
	c.MinimumProtocolVersion = 4
	c.Compatibilities.NoInheritedPropertiesOnAck = true
	return c
}

// Run serves until ctx ends or a listener fails for good, and then closes.
func (b *Broker) Run(ctx context.Context) error {
	clients, subs, err := b.load(ctx)
	if ctx.Err() != nil {
		return b.Close() // told to end before it began: no failure
	}
	if err != nil {
		return errors.Join(fmt.Errorf("load mqtt sessions: %w", err), b.Close())
	}
	b.hook.clients, b.hook.subs = clients, subs
	b.crew.start()
	if err := b.server.Serve(); err != nil {
		return errors.Join(fmt.Errorf("start the mqtt server: %w", err), b.Close())
	}
	err = b.tend(ctx)
	return errors.Join(err, b.Close())
}

// tend does what is done from time to time.
func (b *Broker) tend(ctx context.Context) error {
	tick := time.NewTicker(siteTimeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.closed:
			return nil
		case err := <-b.fatal:
			return err
		case <-b.keeper.kick:
			b.saveDirty(ctx)
		case <-tick.C:
			b.saveDirty(ctx) // what failed before
			b.TellTime()
		}
	}
}

// fail ends Run with err: a listener that died must not look like a quiet site.
func (b *Broker) fail(err error) {
	select {
	case b.fatal <- err:
	default:
	}
}

// Close ends all connections, MQTT 5 devices with reason 0x8B, and waits for
// them, at most about closeLimit. It is safe to call twice.
func (b *Broker) Close() error {
	var err error
	b.close.Do(func() {
		close(b.closed)
		for _, l := range b.listeners {
			l.Close(nil)
		}
		var farewells sync.WaitGroup
		for _, c := range b.doors.shut() {
			farewells.Go(func() {
				defer b.recovered(c, "farewell")
				c.farewell(!c.plainV3.Load() && c.session.Load() != nil, codeServerGoing)
			})
		}
		err = within(closeLimit, "end the mqtt connections", func() {
			farewells.Wait()
			b.doors.wg.Wait()
		})
		err = errors.Join(err, within(closeLimit, "close the mqtt server", func() { _ = b.server.Close() }))
		close(b.crew.end)
		ctx, cancel := context.WithTimeout(context.Background(), saveLimit)
		defer cancel()
		b.saveDirty(ctx)
	})
	return err
}

// within runs f, and leaves it behind when it takes too long: mochi's Close can
// wait for ever, and the process must end.
func within(limit time.Duration, what string, f func()) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
		return nil
	case <-time.After(limit):
		return fmt.Errorf("%s: not done after %s", what, limit)
	}
}

// Deliver says that a letter was put into d's mailbox. It never blocks; a device
// that is not there gets the letter when it next subscribes.
func (b *Broker) Deliver(d sale.DeviceID) {
	if dev := b.devices.get(d); dev != nil {
		if s := dev.session(); s != nil {
			s.deliver()
		}
	}
}

// Disconnect ends the connections of a device that was disabled or removed, also
// one that is just logging in, and purges its MQTT session and retained status.
// The Guard must refuse the device before Disconnect is called.
func (b *Broker) Disconnect(d sale.DeviceID) {
	for _, s := range b.devices.connections(d) {
		b.cut(s)
	}
	b.purge(d, nil)
}

// purge removes what mochi and the store hold of a device; only, where that is
// not nil, nothing but what belongs to this client of mochi.
func (b *Broker) purge(d sale.DeviceID, only *mqtt.Client) {
	if cl, ok := b.server.Clients.Get(string(d)); ok && (only == nil || cl == only) {
		cl.ClearInflights()
		b.server.UnsubscribeClient(cl)
		b.server.Clients.Delete(string(d))
	}
	b.publish(prefixOf(d)+"status", nil, true)
	b.keeper.want(d, nil)
	ctx, cancel := context.WithTimeout(context.Background(), saveLimit)
	defer cancel()
	b.save(ctx, d)
	b.devices.forget(d)
}

// SetSite publishes the retained edgegw/v1/site/status; the same again is not
// sent again.
func (b *Broker) SetSite(statusJSON []byte) {
	b.siteMu.Lock()
	defer b.siteMu.Unlock()
	if string(b.site) == string(statusJSON) {
		return
	}
	b.site = append([]byte(nil), statusJSON...)
	b.publish(siteStatus, b.site, true)
}

// TellTime publishes edgegw/v1/site/time now, as it also is every 30 s: for when
// it has become more or less believable.
func (b *Broker) TellTime() {
	if b.siteTime != nil {
		b.publish(siteTime, b.siteTime(), false)
	}
}

// publish sends a message with QoS 0 to all that have subscribed. QoS 0 on
// purpose: mochi's in-flight table stays empty of anything outbound.
func (b *Broker) publish(topic string, payload []byte, retain bool) {
	err := b.server.InjectPacket(b.speaker, packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Retain: retain},
		TopicName:   topic,
		Payload:     payload,
	})
	if err != nil {
		b.log.Error("publishing a message of the site failed", "topic", topic, "error", err)
	}
}

// Presence gives every device that was online since the start, by name.
func (b *Broker) Presence() []Presence { return b.devices.presence() }

// Stats gives the counts.
func (b *Broker) Stats() Stats {
	n := &b.n
	return Stats{
		Connections: int(n.connections.Load()), Sockets: b.doors.count(), Connects: n.connects.Load(),
		Accepted: n.accepted.Load(), Quarantined: n.quarantined.Load(), Unstored: n.unstored.Load(), Unsafe: n.unsafe.Load(),
		Refused: n.refused.Load(), AuthFailures: n.authFailures.Load(), Turned: n.turned.Load(), Unfinished: n.unfinished.Load(),
		AcceptErrors: n.acceptErrors.Load(), Panics: n.panics.Load(), TakenOver: n.takenOver.Load(),
		AcksDropped: n.acksDropped.Load(), LettersSent: n.lettersSent.Load(), Letters: n.letters.Load(),
		Oversize: n.oversize.Load(), SessionFails: n.sessionFails.Load(), BadFirst: n.badFirst.Load(),
	}
}
