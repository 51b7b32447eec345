package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"edgegw/broker"
	"edgegw/broker/brokertest"
	"edgegw/clock"
	"edgegw/config"
	"edgegw/fiscal/sandbox"
	"edgegw/relay"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/siteca"
)

// pipes is a listener whose connections are net.Pipes: fake time goes on while
// everybody waits for them.
type pipes struct {
	conns chan net.Conn
	end   sync.Once
	ended chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), ended: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.ended:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.end.Do(func() { close(p.ended) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8883} }

func (p *pipes) dial() net.Conn {
	here, there := net.Pipe()
	p.conns <- there
	return here
}

// Forty days (here three; see EDGEGW_TEST_DAYS) without an uplink, in which the server certificate is renewed: no
// device loses its connection, whoever connects later sees the new certificate,
// and all that was sold goes out when the link is back. One device logs in with
// its secret, one with a client certificate.
func TestFortyDaysOfflineWithARenewal(t *testing.T) {
	days := 3
	if text := os.Getenv("EDGEGW_TEST_DAYS"); text != "" { // 40 take four minutes
		var err error
		if days, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	span := time.Duration(days) * 24 * time.Hour
	template := t.TempDir()
	prepare(t, template)
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		copyFiles(t, template, dir)
		f := openForty(t, dir, span)
		f.play(span)
		f.close()
	})
}

type forty struct {
	*world
	t       *testing.T
	life    *life
	g       *Gateway
	line    *pipes
	ahead   time.Duration // what the site's time is ahead of the bubble's
	roots   *x509.CertPool
	stop    context.CancelFunc
	running sync.WaitGroup
	secrets map[sale.DeviceID]secret.Text
	cert    tls.Certificate // pump-2's
}

// openForty sets the site's time so that its certificate is due in a quarter of
// the span.
func openForty(t *testing.T, dir string, span time.Duration) *forty {
	f := &forty{world: newWorld(t, dir, sandbox.Options{}, nil), t: t, line: newPipes(), secrets: map[sale.DeviceID]secret.Text{}}
	first, err := siteca.Open(dir, siteca.Options{Built: bubbleBegin, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	const due = 30 * 24 * time.Hour // before its end
	f.ahead = time.Until(first.Leaf().NotAfter.Add(-due - span/4))
	f.tune = func(o *relay.Options) {
		o.Now, o.Posted = f.now, func(d sale.DeviceID) { f.g.broker.Deliver(d) }
		o.Jitter = func(most time.Duration) time.Duration { return most - 1 } // the fewest attempts
	}
	f.life = f.start(newPower(0))
	for _, r := range []sale.RegisterID{"reg_1", "reg_2"} {
		if err := f.life.giveKey(r, secret.FromString(f.sandbox.MustAddRegister(string(r)))); err != nil {
			t.Fatal(err)
		}
	}
	f.world.on(f.life)
	c := f.life.control()
	c.config.DataDir, c.tidy = dir, newTidy()
	c.config.MQTT = config.MQTT{MaxConnections: 100, MaxConnectionsPerAddress: 50, MaxPacketBytes: 1 << 16, MessagesPerSecond: 1000}
	c.clock = clock.New(clock.Options{Built: bubbleBegin, Wall: f.now, Synchronised: func() bool { return true }})
	if c.authority, err = siteca.Open(dir, siteca.Options{Built: bubbleBegin, Now: f.now}); err != nil {
		t.Fatal(err)
	}
	f.roots = x509.NewCertPool()
	f.roots.AppendCertsFromPEM(c.authority.CAPEM())
	f.identify(c)
	f.g = &Gateway{control: c}
	f.g.site = site{changed: make(chan struct{}, 1)}
	f.g.room = &room{}
	f.g.accepting = newAcceptance(c.db.Canary, f.g.site.poke, c.log)
	f.g.broker, err = broker.New(broker.Options{TLS: f.line, TLSConfig: c.authority.TLSConfig(), MaxConnections: 100, MaxPacketBytes: 1 << 16, MessagesPerSecond: -1, Now: f.now, Log: c.log},
		c.ring, c.relay, mailbox{c.db, f.now}, c.db)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	f.running.Go(func() { _ = f.g.broker.Run(ctx) })
	f.running.Go(func() { _ = f.g.upkeep(ctx) })
	return f
}

func (f *forty) now() time.Time { return time.Now().Add(f.ahead) }

// identify gives one device a secret and the other a certificate.
func (f *forty) identify(c *control) {
	for _, id := range []sale.DeviceID{"pump-1", "kiosk-1"} {
		var err error
		if f.secrets[id], err = c.ring.Password(f.t.Context(), id, "test"); err != nil {
			f.t.Fatal(err)
		}
	}
	text, key, err := c.authority.IssueDevice("pump-2")
	if err != nil {
		f.t.Fatal(err)
	}
	if f.cert, err = tls.X509KeyPair(text, key.Reveal()); err != nil {
		f.t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := c.ring.AddCertificate(f.t.Context(), "pump-2", cert, "test"); err != nil {
		f.t.Fatal(err)
	}
}

// connect logs a device in and gives the certificate that it was shown.
func (f *forty) connect(id sale.DeviceID) (*brokertest.Client, *x509.Certificate) {
	cfg := &tls.Config{RootCAs: f.roots, ServerName: "localhost", Time: f.now}
	if f.secrets[id].Empty() {
		cfg.Certificates = []tls.Certificate{f.cert}
	}
	conn := tls.Client(f.line.dial(), cfg)
	c, err := brokertest.Connect(conn, brokertest.Login{Version: 5, ClientID: string(id), Secret: string(f.secrets[id].Reveal()), Keepalive: 300, SessionExpiry: 3600})
	if err != nil || c.Ack.Code != 0 {
		f.t.Fatalf("connect %s: %v", id, err)
	}
	return c, conn.ConnectionState().PeerCertificates[0]
}

func (f *forty) play(span time.Duration) {
	f.sandbox.SetDown(true)
	old := f.g.authority.Leaf()
	var devices sync.WaitGroup
	sold := map[sale.DeviceID]*int{"pump-1": new(int), "pump-2": new(int)}
	for _, id := range []sale.DeviceID{"pump-1", "pump-2"} {
		c, shown := f.connect(id)
		if !shown.Equal(old) {
			f.t.Errorf("%s is shown another certificate than the first", id)
		}
		devices.Go(func() { *sold[id] = f.sell(id, c, span) })
	}
	devices.Wait()
	leaf := f.g.authority.Leaf()
	if leaf.Equal(old) || !leaf.NotAfter.After(old.NotAfter) {
		f.t.Fatalf("the certificate was not renewed: it ends %s", leaf.NotAfter)
	}
	late, shown := f.connect("kiosk-1")
	defer late.Close()
	if !shown.Equal(leaf) {
		f.t.Error("a new connection is shown the old certificate")
	}
	f.sandbox.SetDown(false)
	<-time.After(10 * time.Minute)
	for id, r := range map[sale.DeviceID]sale.RegisterID{"pump-1": "reg_1", "pump-2": "reg_2"} {
		if q := f.life.queue(f.t, r); *sold[id] != int(span/(24*time.Hour)) || q.Confirmed != int64(*sold[id]) || q.Waiting != 0 {
			f.t.Errorf("%s sold %d; its queue %+v", id, *sold[id], q)
		}
	}
	if err := f.sandbox.CheckFrozen(); err != nil {
		f.t.Error(err)
	}
	f.t.Logf("%s offline, renewed on the way, %d and %d sales drained", span, *sold["pump-1"], *sold["pump-2"])
}

// sell keeps one connection for the whole span: a sale a day, and a ping before
// each keep-alive ends.
func (f *forty) sell(id sale.DeviceID, c *brokertest.Client, span time.Duration) (sold int) {
	for began, next := time.Now(), 12*time.Hour; time.Since(began) < span; {
		<-time.After(4 * time.Minute)
		if _, err := c.Ping(); err != nil {
			f.t.Errorf("%s lost its connection after %s: %v", id, time.Since(began), err)
			return sold
		}
		if time.Since(began) < next {
			continue
		}
		next += 24 * time.Hour
		if err := c.Publish(topic(id, "sale"), 1, uint16(sold+1), fmt.Sprintf(wholeEvent, fmt.Sprint(sold))); err != nil {
			f.t.Errorf("%s: %v", id, err)
			return sold
		}
		if p, _, err := c.Await(brokertest.PUBACK); err != nil || p.Code != 0 {
			f.t.Errorf("%s: PUBACK %#x, %v", id, p.Code, err)
			return sold
		}
		sold++
	}
	return sold
}

func (f *forty) close() {
	f.stop()
	f.running.Wait()
	_ = f.g.broker.Close()
	f.life.end()
}
