package broker_test

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"edgegw/broker"
	"edgegw/broker/brokertest"
	"edgegw/sale"
)

// site is a broker on loopback with its partners.
type site struct {
	t        testing.TB
	addr     string
	tls      *tls.Config // for clients; nil: plain
	b        *broker.Broker
	guard    *brokertest.Guard
	accept   *brokertest.Acceptor
	mail     *brokertest.Mailbox
	sessions *brokertest.Sessions
	stop     func()
	broken   broker.Acceptor // in place of accept

	brokenSessions bool
	gate           broker.Guard   // in place of guard
	box            broker.Mailbox // in place of mail
}

type optionsOf = broker.Options

type option func(*site, *broker.Options)

// start runs a broker until the test ends. Options see the defaults of the site.
func start(t testing.TB, opts ...option) *site {
	t.Helper()
	s := &site{t: t, guard: brokertest.NewGuard("pump-01", "pump-02", "pump-03"), accept: &brokertest.Acceptor{},
		mail: brokertest.NewMailbox(), sessions: brokertest.NewSessions()}
	l := listen(t)
	o := broker.Options{Plain: l, MessagesPerSecond: -1, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	for _, f := range opts {
		f(s, &o)
	}
	if s.broken != nil {
		s.run(o, s.broken)
	} else {
		s.run(o, s.accept)
	}
	return s
}

func (s *site) run(o broker.Options, a broker.Acceptor) {
	s.t.Helper()
	if o.Plain != nil {
		s.addr = o.Plain.Addr().String()
	} else {
		s.addr = o.TLS.Addr().String()
	}
	var store broker.Sessions = s.sessions
	if s.brokenSessions {
		store = broken{s.sessions}
	}
	var guard broker.Guard = s.guard
	if s.gate != nil {
		guard = s.gate
	}
	var mail broker.Mailbox = s.mail
	if s.box != nil {
		mail = s.box
	}
	b, err := broker.New(o, guard, a, mail, store)
	if err != nil {
		s.t.Fatal(err)
	}
	s.b = b
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	stopped := false
	s.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				s.t.Errorf("Run: %v", err)
			}
		case <-time.After(brokertest.Patience):
			s.t.Error("Run did not end")
		}
	}
	s.t.Cleanup(s.stop)
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (s *site) dial() net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	if s.tls != nil {
		return tls.Client(c, s.tls)
	}
	return c
}

// try connects; a refusal shows in Ack.Code.
func (s *site) try(l brokertest.Login) *brokertest.Client {
	s.t.Helper()
	c, err := brokertest.Connect(s.dial(), l)
	if err != nil {
		s.t.Fatalf("connect %s: %v", l.ClientID, err)
	}
	return c
}

// login is the right CONNECT of a device.
func login(version byte, d sale.DeviceID) brokertest.Login {
	l := brokertest.Login{Version: version, ClientID: string(d), Secret: "s-" + string(d), Keepalive: 60}
	if version == 5 {
		l.SessionExpiry = 3600
	}
	return l
}

// connect must succeed.
func (s *site) connect(l brokertest.Login) *brokertest.Client {
	s.t.Helper()
	c := s.try(l)
	if c.Ack.Code != 0 {
		s.t.Fatalf("connect %s: CONNACK %#x", l.ClientID, c.Ack.Code)
	}
	return c
}

func (s *site) device(version byte, d sale.DeviceID) *brokertest.Client {
	s.t.Helper()
	return s.connect(login(version, d))
}

func topic(d sale.DeviceID, rest string) string { return "edgegw/v1/" + string(d) + "/" + rest }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// read gives the next packet, which must be of this type.
func read(t testing.TB, c *brokertest.Client, typ byte) brokertest.Packet {
	t.Helper()
	p, err := c.Read(brokertest.Patience)
	if err != nil {
		t.Fatalf("read packet of type %d: %v", typ, err)
	}
	if p.Type != typ {
		t.Fatalf("read packet of type %d: type %d came: %+v", typ, p.Type, p)
	}
	return p
}

// readID is read for a packet with an id and a reason code.
func readID(t testing.TB, c *brokertest.Client, typ byte, id uint16, code byte) brokertest.Packet {
	t.Helper()
	p := read(t, c, typ)
	if p.ID != id || p.Code != code {
		t.Fatalf("packet of type %d: id %d code %#x, want id %d code %#x", typ, p.ID, p.Code, id, code)
	}
	return p
}

func subscribe(t testing.TB, c *brokertest.Client, qos byte, filters ...string) {
	t.Helper()
	codes, _, err := c.Subscribe(9000, qos, filters...)
	must(t, err)
	for i, code := range codes {
		if code > 2 {
			t.Fatalf("subscribe %s: %#x", filters[i], code)
		}
	}
}

// nothing more may come from the broker's reading goroutine.
func nothing(t testing.TB, c *brokertest.Client) {
	t.Helper()
	before, err := c.Ping()
	must(t, err)
	if len(before) > 0 {
		t.Fatalf("unexpected packets: %+v", before)
	}
}

// breaking is an Acceptor that does not keep its promise.
type breaking string

func (b breaking) Accept(context.Context, sale.Message) <-chan sale.Verdict {
	if b == "panics" {
		panic("the acceptor")
	}
	ch := make(chan sale.Verdict)
	close(ch)
	return ch
}

// eventually waits for a condition that no channel tells.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	limit := time.After(brokertest.Patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("never happened: %s", what)
		}
	}
}
