// Package gateway wires the parts of one site together and owns their
// lifetime; it is the only package that imports them all. It promises that
// everything is open and bound before anything is promised to a device, that a
// part that dies ends the gateway with its cause, and that a clean end takes
// nothing back that was promised.
package gateway

import (
	"context"
	"crypto/tls"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"edgegw/broker"
	"edgegw/card"
	"edgegw/clock"
	"edgegw/config"
	"edgegw/fiscal"
	"edgegw/mirror"
	"edgegw/people"
	"edgegw/relay"
	"edgegw/sale"
	"edgegw/siteca"
	"edgegw/support"
	"edgegw/tokens"
)

// Options are the seams of a gateway. The zero value is production.
type Options struct {
	Listen    func(network, addr string) (net.Listener, error)
	Transport http.RoundTripper                       // to OpenFiskal
	Disk      func(driver.Connector) driver.Connector // of the database
	Second    func(mirror.File) mirror.File           // each file of the second journal
	Step      func(name string) error                 // before each step of a rebuild of the database
	Jitter    func(most time.Duration) time.Duration  // of every back-off
	Clock     clock.Options                           // the box's clock; Journal is found in the journal
	Log       *slog.Logger
	Recent    *support.Log // what Log has said last, for support bundles; nil: nothing is kept
	Version   string
	Legacy    Legacy // of the gateway before in the same process

	// Rehearse makes a sale on a site of its own in a folder, against a stand-in for
	// OpenFiskal, until ctx ends at the latest. nil: there are no test sales. The
	// gateway holds no stand-in, which could be confused with the truth.
	Rehearse func(context.Context, Rehearsal) (Rehearsed, error)
	// NoSocket leaves out the commands' socket: nobody looks after this site.
	NoSocket bool

	// Trial gives a moment after which changed settings are undone; nil is time.After.
	Trial func(time.Duration) <-chan time.Time
	// Free gives the bytes that the journal may still take; nil asks the file system
	// and the database.
	Free func(context.Context) (int64, error)
	// Notify tells the service manager how the process is, in the words of
	// sd_notify(3). nil: nobody is told; a site inside of another one has none to tell.
	Notify func(state string)
	// Abort ends the process where the gateway does not end within a bounded time
	// after it was asked to, or has to: something hangs. nil: nobody does.
	Abort func(cause error)
	// UpdateLock is the file that keeps balena's supervisor from an update while it is
	// there; "": there is no supervisor.
	UpdateLock string
}

// Gateway is one site's gateway, open and bound.
type Gateway struct {
	*control
	broker    *broker.Broker
	site      site
	keys      keyWatch
	cards     cardWatch
	accepting *acceptance
	remember  chan struct{} // how the uplink was is to be written down
	canary    canary
	pulse     *pulse
	room      *room
	local     net.Listener  // the commands' socket
	page      net.Listener  // http.listen, nil if off
	pageTLS   net.Listener  // http.tls_listen, nil if off
	pageConf  *tls.Config   // how that one is served
	door      *door         // of both
	scrape    http.Handler  // the metrics
	browsers  http.Handler  // the technicians' page
	ending    chan struct{} // closed when the gateway ends, for those who wait for news
	leaving   chan struct{} // closed when another one is to take its place
	successor atomic.Pointer[config.Config]
	cause     error // why the run ended; nil where it was asked to
	served    bool  // by Serve, which lets another one take its place; set before it runs
	run       sync.Once
}

// New opens and binds everything, in the order of ARCHITECTURE.md section 4.
// Its error is one line that says what to do; nothing is left open then.
func New(ctx context.Context, c config.Config, o Options) (_ *Gateway, err error) {
	core, err := open(ctx, c, o, true)
	if err != nil {
		return nil, err
	}
	g := &Gateway{control: core, leaving: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, core.Close())
		}
	}()
	if err := g.bind(); err != nil {
		return nil, err
	}
	if err := core.beginRun(); err != nil {
		return nil, err
	}
	core.undo(func() error { return core.endRun(g.cause) })
	core.running = g
	core.settings.begin(core.now())
	return g, nil
}

// open does what a command without a gateway needs as well.
func open(ctx context.Context, c config.Config, o Options, mend bool) (_ *control, err error) {
	k := &control{config: c, options: o, log: o.Log, meters: newMeters(), tidy: newTidy()}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	k.log = slog.New(card.Handler(k.log.Handler()))
	if k.options.Listen == nil {
		k.options.Listen = net.Listen
	}
	if k.options.Notify == nil {
		k.options.Notify = func(string) {}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, k.Close())
		}
	}()
	if err := k.openData(); err != nil {
		return nil, err
	}
	if mend {
		k.makeRoom()
	}
	defer k.holdUpdates()()
	if err := k.openDatabase(ctx, mend); err != nil {
		return nil, err
	}
	if mend {
		defer func() { k.noteDamage(err) }()
	}
	k.openHistory()
	if err := k.openKeys(ctx); err != nil {
		return nil, err
	}
	if k.tokens, err = tokens.Open(ctx, k.db); err != nil {
		return nil, err
	}
	if k.people, err = people.Open(ctx, k.db); err != nil {
		return nil, err
	}
	k.people.KeepCode(o.Legacy.code)
	k.peopleNow(ctx)
	if err := k.openSettings(ctx); err != nil {
		return nil, err
	}
	if k.authority, err = siteca.Open(c.DataDir, siteca.Options{SiteName: c.Site.Name, Hosts: c.MQTT.TLSHosts, Now: k.clock.Now}); err != nil {
		return nil, fmt.Errorf("open the site's certificate authority: %w", err)
	}
	return k, k.openFiscal()
}

// openData makes the data directory, refuses one that forgets, and takes it.
func (k *control) openData() error {
	dir := k.config.DataDir
	if err := makeDataDir(dir); err != nil {
		return fmt.Errorf("make data_dir: %w: choose another with data_dir in the configuration or EDGEGW_DATA_DIR", err)
	}
	if kind := volatile(dir); kind != "" && !k.config.AllowVolatileData {
		return fmt.Errorf("data_dir %s lies on %s, where a restart loses it: put it on persistent storage, or set allow_volatile_data: true for a trial", dir, kind)
	}
	unlock, err := lock(filepath.Join(dir, "edgegw.lock"))
	if err != nil {
		return fmt.Errorf("take data_dir %s: %w", dir, err)
	}
	k.undo(unlock)
	for _, nest := range []string{backupNest, rehearsalNest} {
		if err := os.RemoveAll(filepath.Join(dir, nest)); err != nil { // of a process that died
			return fmt.Errorf("remove what was left: %w", err)
		}
	}
	k.trials = dir
	return finishRestore(dir)
}

// now is the site's estimate of the time; the box's clock as long as there is
// none, while the journal is opened.
func (k *control) now() time.Time {
	if k.clock == nil {
		return time.Now()
	}
	return k.clock.Now()
}

func (k *control) openClock(ctx context.Context) error {
	o := k.options.Clock
	var err error
	o.Journal, o.Vouched, err = k.db.LastTime(ctx)
	k.clock = clock.New(o)
	k.since = k.clock.Now()
	return err
}

func (k *control) openFiscal() error {
	c := k.config.OpenFiskal
	transport := k.options.Transport
	if transport == nil {
		to, err := transportOptions(c)
		if err != nil {
			return err
		}
		to.Bounds = k.clock.Bounds
		transport = fiscal.NewTransport(to)
	}
	client, err := fiscal.New(fiscal.Options{BaseURL: c.BaseURL, Transport: transport, Timeout: c.Timeout, Version: k.options.Version, Observed: k.observed, Date: k.answered, Organization: k.actsFor()}, credentials{k})
	if err != nil {
		return fmt.Errorf("openfiskal.base_url: %w", err)
	}
	k.fiscal = client
	return nil
}

// transportOptions is how OpenFiskal is reached, but for the time.
func transportOptions(c config.OpenFiskal) (to fiscal.TransportOptions, err error) {
	to = fiscal.TransportOptions{IdleConns: c.Concurrency, Host: hostOf(c.BaseURL)}
	if c.CAFile != "" {
		if to.RootCAs, err = fiscal.LoadCA(c.CAFile); err != nil {
			return to, fmt.Errorf("read openfiskal.ca_file: %w", err)
		}
	}
	to.Proxy, err = proxyURL(string(c.Proxy.Reveal()), c.BaseURL)
	return to, err
}

// observed notes a request to OpenFiskal that has ended.
func (k *control) observed(purpose, outcome string, took time.Duration) {
	k.tidy.touched()
	k.meters.observed(purpose, outcome, took)
}

// hostOf gives the host of a base URL; fiscal.New refuses one that has none.
func hostOf(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// answered takes the Date of an answer of OpenFiskal. Whoever asked, a queue, a
// technician or the check of keys: the uplink need not wait for its next probe.
func (k *control) answered(date time.Time) {
	k.clock.Hint(date)
	if k.relay != nil && !k.relay.Uplink().Up {
		k.relay.LinkUp()
	}
}

// proxyURL reads openfiskal.proxy: a URL, or one of its words. The system's
// proxy is asked for the very URL that requests go to, so that NO_PROXY counts.
// A request that is not encrypted never goes through a proxy: it carries a key.
func proxyURL(text, base string) (*url.URL, error) {
	target, err := url.Parse(base)
	if err != nil || target.Scheme != "https" {
		return nil, nil
	}
	switch text {
	case "", config.ProxyNone:
		return nil, nil
	case config.ProxySystem:
		return http.ProxyFromEnvironment(&http.Request{URL: target})
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("openfiskal.proxy is not a URL") // the cause may show a password
	}
	return u, nil
}

// bind builds the relay and the broker and binds every listener.
func (g *Gateway) bind() error {
	c := g.config
	g.site, g.remember = site{changed: make(chan struct{}, 1)}, make(chan struct{}, 1)
	g.accepting = newAcceptance(g.db.Canary, g.site.poke, g.log)
	g.pulse = newPulse(g.flySmall)
	if g.options.Free == nil {
		g.options.Free = g.roomFor
	}
	g.room = &room{limit: c.Store.MinFreeBytes, look: g.options.Free, reserve: openReserve(c.DataDir, g.log), changed: g.site.poke}
	g.cards = cardWatch{seen: map[sale.DeviceID]int64{}, poke: make(chan struct{}, 1), counted: g.meters.cards}
	g.keys = keyWatch{suspects: map[sale.RegisterID]bool{}, poke: make(chan struct{}, 1)}
	g.relay = relay.New(relay.Options{
		Concurrency: c.OpenFiskal.Concurrency,
		Window:      c.OpenFiskal.IdempotencyWindow,
		Rate:        c.OpenFiskal.RequestsPerSecond,
		Block:       c.OpenFiskal.OnRejected == config.Block,
		Now:         g.clock.Now,
		Quality:     func() string { return string(g.clock.Quality()) },
		Jitter:      g.options.Jitter,
		Operation:   newOperation,
		Posted:      func(d sale.DeviceID) { g.broker.Deliver(d) },
		Changed: func(u relay.UplinkState) {
			g.uplinkChanged(u)
			g.site.poke()
			g.keys.ask("") // the link may be back for those that nobody could ask about
		},
		Refused: func(r sale.RegisterID) { g.keys.ask(g.keyName(r)) },
		Log:     g.log,
	}, g.db, fiscal.Encoder{NewKey: newUUID}, counted{g.fiscal, g.meters}, roster{g.ring, g.serverSide()})
	o := broker.Options{
		MaxConnections:    c.MQTT.MaxConnections,
		PerAddress:        c.MQTT.MaxConnectionsPerAddress,
		MaxPacketBytes:    int(c.MQTT.MaxPacketBytes),
		MessagesPerSecond: c.MQTT.MessagesPerSecond,
		SiteTime:          g.siteTime,
		Canary:            canaryClient,
		Now:               g.clock.Now,
		Judged:            g.accepting.judged,
		Log:               g.log,
	}
	var err error
	if c.MQTT.TLSListen != "" {
		if o.TLSConfig, err = g.tlsConfig(); err != nil {
			return err
		}
		if o.TLS, err = g.listen("mqtt.tls_listen", c.MQTT.TLSListen); err != nil {
			return err
		}
		g.tlsAddr = o.TLS.Addr()
	}
	if c.MQTT.PlainListen != "" {
		if o.Plain, err = g.listen("mqtt.plain_listen", c.MQTT.PlainListen); err != nil {
			return err
		}
		g.plainAddr = o.Plain.Addr()
		g.log.Warn("devices may connect without TLS: everybody on that network can read and change their sales", "listen", c.MQTT.PlainListen)
	}
	if o.TLS == nil && o.Plain == nil {
		return errors.New("mqtt.tls_listen and mqtt.plain_listen are both empty: no device could connect; set one of them")
	}
	if g.broker, err = broker.New(o, seen{asked{g.ring, &g.canary}, g.tidy}, watchRoom{flown{watchCards{g.relay, &g.cards}, g.db}, g.room}, mailbox{g.db, g.clock.Now}, g.db); err != nil {
		return err
	}
	g.undo(g.broker.Close)
	g.door = newDoor(g.control)
	if err := g.bindHTTP(o.TLSConfig); err != nil {
		return err
	}
	g.scrape = g.metrics()
	g.ending = make(chan struct{})
	if g.browsers, err = g.pages(); err != nil {
		return err
	}
	if !g.options.NoSocket {
		g.local, err = g.listenSocket()
	}
	return err
}

func newUUID() string { return uuid.NewString() }

// newOperation makes a UUID that sorts by time, so that the service's index
// and ours grow at one end.
func newOperation() string {
	id, err := uuid.NewV7()
	if err != nil {
		return uuid.NewString()
	}
	return id.String()
}

func (g *Gateway) tlsConfig() (*tls.Config, error) {
	m := g.config.MQTT
	if m.CertFile == "" {
		return g.authority.TLSConfig(), nil
	}
	files, err := siteca.FromFiles(m.CertFile, m.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("mqtt.cert_file: %w", err)
	}
	g.files = files
	return g.authority.TLSConfigWith(files), nil
}

// listen binds an address and undoes it at Close.
func (g *Gateway) listen(key, addr string) (net.Listener, error) {
	l, err := g.options.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: is another program using the port? Stop it, or set %s to another address", key, err, key)
	}
	g.undo(func() error { return closed(l.Close()) })
	return l, nil
}
