package broker

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"edgegw/broker/brokertest"
	"edgegw/sale"
)

// A flood of wrong secrets leaves no debt that later ones have to pay.
func TestFailuresBuildNoDebt(t *testing.T) {
	b, err := New(Options{Plain: newPipes()}, brokertest.NewGuard(), &brokertest.Acceptor{}, brokertest.NewMailbox(), brokertest.NewSessions())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	for range 5000 {
		if wait := b.failures.wait("192.0.2.1", "pump-01"); wait < 0 || wait > maxFailWait {
			t.Fatalf("an answer waits %s", wait)
		}
	}
	if debt := -b.failures.all.Tokens(); debt > failuresPerSecond*maxFailWait.Seconds()+1 {
		t.Fatalf("%.0f answers are owed ahead", debt)
	}
}

// Who guesses from one address, or at one device, waits; who mistypes beside him
// does not, and nobody is remembered without bound.
func TestFailuresAreTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFailures()
		f.all = rate.NewLimiter(rate.Inf, 1)
		var last time.Duration
		for range 200 {
			last = f.wait("192.0.2.1", "pump-01")
		}
		if last != maxFailWait {
			t.Errorf("the two hundredth guess waits %s", last)
		}
		if w := f.wait("192.0.2.9", "pump-02"); w != 0 {
			t.Errorf("one who mistyped, from elsewhere, waits %s", w)
		}
		if w := f.wait("192.0.2.1", "pump-02"); w == 0 {
			t.Error("another device from the same address does not wait")
		}
		worst := f.worst(20)
		if len(worst) != 2 || worst[0].Address != "192.0.2.1" || worst[0].Times != 201 || worst[1].Device != "pump-01" {
			t.Errorf("culprits %+v", worst)
		}
		<-time.After(maxFailWait + time.Minute)
		if w := f.wait("192.0.2.1", "pump-01"); w != 0 {
			t.Errorf("a minute later he still waits %s", w)
		}
		<-time.After(failureMemory + time.Second)
		if worst := f.worst(20); len(worst) != 0 {
			t.Errorf("remembered for ever: %+v", worst)
		}
		for i := range 3 * mostCulprits {
			f.wait(fmt.Sprint("a", i), sale.DeviceID(fmt.Sprint("d", i)))
		}
		if len(f.of) > mostCulprits {
			t.Errorf("%d are remembered", len(f.of))
		}
	})
}

// A wrong login that comes while others are held up is in the log, too.
func TestWrongLoginIsLoggedInAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		b, pipes, stop := startPipes(t, slog.New(slog.NewTextHandler(&out, nil)))
		for range 1000 {
			b.failures.wait("192.0.2.1", "pump-01")
		}
		c, err := brokertest.Connect(pipes.dial(), brokertest.Login{ClientID: "pump-01", Secret: "wrong", Keepalive: 60})
		if err != nil || c.Ack.Code == 0 {
			t.Fatalf("%+v, %v", c.Ack, err)
		}
		stop()
		if log := out.String(); !strings.Contains(log, "prove itself") || !strings.Contains(log, "pump-01") {
			t.Fatalf("not logged: %q", log)
		}
	})
}

// What is retained stays: mochi forgets it after a day, unless told otherwise.
func TestRetainedMessagesStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, pipes, stop := startPipes(t, slog.New(slog.DiscardHandler))
		defer stop()
		b.SetSite([]byte(`{"accept":"yes"}`))
		<-time.After(25 * time.Hour)
		c, err := brokertest.Connect(pipes.dial(), brokertest.Login{ClientID: "pump-01", Secret: "s-pump-01", Keepalive: 60})
		if err != nil || c.Ack.Code != 0 {
			t.Fatalf("%+v, %v", c.Ack, err)
		}
		if _, _, err := c.Subscribe(1, 0, siteStatus); err != nil {
			t.Fatal(err)
		}
		p, err := c.Read(brokertest.Patience)
		if err != nil || string(p.Payload) != `{"accept":"yes"}` || !p.Retain() {
			t.Fatalf("%+v, %v", p, err)
		}
	})
}

// startPipes runs a broker without sockets, for bubbles of synctest.
func startPipes(t *testing.T, log *slog.Logger) (b *Broker, pipes *pipes, stop func()) {
	t.Helper()
	pipes = newPipes()
	b, err := New(Options{Plain: pipes, Log: log}, brokertest.NewGuard("pump-01", "pump-02"), &brokertest.Acceptor{},
		brokertest.NewMailbox(), brokertest.NewSessions())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	return b, pipes, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// pipes is a listener of net.Pipes.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes {
	return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (p *pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }
