package broker

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"edgegw/broker/brokertest"
	"edgegw/sale"
)

// What is a fight and what is one box behind a bad line.
func TestFightIsToldFromABadLine(t *testing.T) {
	type takeOver struct {
		after    time.Duration
		from, to string
		answered bool
	}
	const a, b, c = "10.0.0.7:51000", "10.0.0.8:40022", "10.0.0.9:1"
	same := func(n int, every time.Duration, answered bool) (all []takeOver) {
		for i := range n {
			all = append(all, takeOver{every, fmt.Sprintf("10.0.0.7:%d", 1000+i), fmt.Sprintf("10.0.0.7:%d", 1001+i), answered})
		}
		return all
	}
	turns := func(answered bool, addrs ...string) (all []takeOver) {
		for i := range addrs[1:] {
			all = append(all, takeOver{time.Second, addrs[i], addrs[i+1], answered})
		}
		return all
	}
	for _, row := range []struct {
		name  string
		all   []takeOver
		times int // 0: no fight
	}{
		{"two boxes that are there", turns(true, a, b, a, b), 3},
		{"two take-overs", turns(true, a, b, a), 0},
		{"two boxes behind one address", same(3, 30*time.Second, true), 3},
		{"too rarely", same(30, 61*time.Second, true), 0},
		{"a box whose lines die, on ever new ports", same(100, time.Second, false), 0},
		{"a box whose address changes each time", turns(false, a, b, c, "10.0.0.10:1", "10.0.0.11:1", "10.0.0.12:1"), 0},
		{"a box that goes to its second uplink and back", turns(false, a, b, a), 0},
		{"addresses that take turns, though nobody answers", turns(false, a, b, a, b, a), 3},
		{"and go on", turns(true, a, b, a, b, a, b, a), 6},
	} {
		t.Run(row.name, func(t *testing.T) {
			var f fight
			now := time.Unix(1e9, 0)
			began := 0
			for _, x := range row.all {
				now = now.Add(x.after)
				if f.takenOver(now, x.from, x.to, x.answered) {
					began++
				}
			}
			got := f.at(now)
			if row.times == 0 {
				if got != nil || began > 0 {
					t.Fatalf("%+v", got)
				}
				return
			}
			last := row.all[len(row.all)-1]
			if got == nil || began != 1 || got.Times != row.times || got.Remotes != [2]string{last.from, last.to} || !got.Last.Equal(now) {
				t.Fatalf("%+v, began %d times", got, began)
			}
			if got = f.at(now.Add(fightQuiet - time.Second)); got == nil {
				t.Fatal("over too soon")
			}
			if got = f.at(now.Add(fightQuiet)); got != nil {
				t.Fatalf("still on after it was quiet: %+v", got)
			}
		})
	}
}

// In a fight a take-over waits for its turn; a clock that jumps locks nobody out.
func TestFightHasTurns(t *testing.T) {
	now := time.Unix(1e9, 0)
	f := fight{on: true, now: Fight{Last: now}}
	if w := f.wait(now); w != 0 {
		t.Fatalf("the first waits %s", w)
	}
	if w := f.wait(now.Add(time.Second)); w != fightPause-time.Second {
		t.Fatalf("the second waits %s", w)
	}
	if w := f.wait(now.Add(-time.Hour)); w != 0 {
		t.Fatalf("an hour back: %s", w)
	}
}

// box is a device that comes back as soon as its connection ends, as bad firmware
// does, and puts a sale in between.
type box struct {
	addr, name string
	version    byte
	mu         sync.Mutex
	connects   []time.Time
	receipts   map[string]int
	acked      map[string]bool
}

// run fights until quit is closed. v is what it sells.
func (x *box) run(t *testing.T, pipes *pipes, quit chan struct{}) {
	x.receipts, x.acked = map[string]int{}, map[string]bool{}
	n := 0
	for {
		select {
		case <-quit:
			return
		default:
		}
		c, err := brokertest.Connect(pipes.dialFrom(x.addr), brokertest.Login{Version: x.version, ClientID: x.name, Secret: "s-" + x.name, Keepalive: 60, SessionExpiry: 3600})
		if err != nil || c.Ack.Code != 0 {
			if c.Conn != nil {
				_ = c.Close()
			}
			continue
		}
		x.mu.Lock()
		x.connects = append(x.connects, time.Now())
		x.mu.Unlock()
		stop := make(chan struct{})
		go func() {
			select {
			case <-quit:
				_ = c.Close()
			case <-stop:
			}
		}()
		x.use(c, &n)
		close(stop)
		_ = c.Close()
	}
}

// use sells and takes receipts until the connection ends.
func (x *box) use(c *brokertest.Client, n *int) {
	if c.Send(c.SubscribeBytes(1, 1, prefixOf(sale.DeviceID(x.name))+"receipt")) != nil {
		return
	}
	*n++
	name := fmt.Sprintf("%s-%d", x.addr, *n)
	if c.Publish(prefixOf(sale.DeviceID(x.name))+"sale", 1, 7, name) != nil {
		return
	}
	for {
		p, err := c.Read(time.Hour)
		if err != nil {
			return
		}
		switch p.Type {
		case brokertest.PUBACK:
			x.mu.Lock()
			x.acked[name] = true
			x.mu.Unlock()
		case brokertest.PUBLISH:
			x.mu.Lock()
			x.receipts[string(p.Payload)]++
			x.mu.Unlock()
			if c.Answer(brokertest.PUBACK, p.ID) != nil {
				return
			}
		}
	}
}

// Two boxes with one name: said once, with both addresses; slowed down, so that
// nobody else feels it; each still sells; no receipt is lost; and it is over when
// one of them is.
func TestTwoDevicesFightForOneName(t *testing.T) {
	for _, version := range []byte{4, 5} {
		t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out strings.Builder
				var mu sync.Mutex
				log := slog.New(slog.NewTextHandler(lockedWriter{&mu, &out}, nil))
				b, pipes, stop := startPipes(t, log)
				accept, mail := b.crew.acceptor.(*brokertest.Acceptor), b.mailbox.(*brokertest.Mailbox)
				for i := range 20 {
					mail.Put("pump-01", fmt.Sprint(i), fmt.Sprintf("r%d", i))
				}
				quit, quitSecond := make(chan struct{}), make(chan struct{})
				first := &box{addr: "10.0.0.7:51000", name: "pump-01", version: version}
				second := &box{addr: "10.0.0.8:40022", name: "pump-01", version: version}
				var boxes sync.WaitGroup
				boxes.Go(func() { first.run(t, pipes, quit) })
				boxes.Go(func() { second.run(t, pipes, quitSecond) })
				<-time.After(10 * time.Minute)

				f := b.Presence()[0].Fight
				if f == nil || f.Times < 100 || time.Since(f.Since) < 9*time.Minute || ipOf(f.Remotes[0]) == ipOf(f.Remotes[1]) ||
					!strings.HasPrefix(f.Remotes[0], "10.0.0.") || !strings.HasPrefix(f.Remotes[1], "10.0.0.") {
					t.Fatalf("nobody is told: %+v", f)
				}
				most := int(10*time.Minute/fightPause) + 10
				if n := int(b.Stats().TakenOver); n > most {
					t.Errorf("%d take-overs in ten minutes, at most %d are wanted", n, most)
				}
				for _, x := range []*box{first, second} {
					x.mu.Lock()
					if len(x.connects) < 90 || len(x.acked) < 90 {
						t.Errorf("%s is locked out: %d connections, %d sales acknowledged", x.addr, len(x.connects), len(x.acked))
					}
					x.mu.Unlock()
				}
				began := time.Now()
				other, err := brokertest.Connect(pipes.dialFrom("10.0.0.9:1"), brokertest.Login{Version: version, ClientID: "pump-02", Secret: "s-pump-02", Keepalive: 60})
				if err != nil || other.Ack.Code != 0 || time.Since(began) > 0 {
					t.Errorf("another device waits %s: %v", time.Since(began), err)
				}
				_ = other.Close()

				close(quitSecond)
				<-time.After(fightQuiet - time.Minute)
				if b.Presence()[0].Fight == nil {
					t.Error("forgotten too soon")
				}
				<-time.After(2 * time.Minute)
				if p := b.Presence()[0]; p.Fight != nil || !p.Online {
					t.Errorf("still on after one has gone: %+v", p)
				}
				close(quit)
				boxes.Wait()
				synctest.Wait()
				if left := mail.Left("pump-01"); left > 0 {
					t.Errorf("%d receipts have not arrived", left)
				}
				stored := map[string]bool{}
				for _, m := range accept.Got() {
					stored[string(m.Payload)] = true
				}
				for _, x := range []*box{first, second} {
					for name := range x.acked {
						if !stored[name] {
							t.Errorf("%s was acknowledged and is not there", name)
						}
					}
				}
				stop()
				mu.Lock()
				defer mu.Unlock()
				if n := strings.Count(out.String(), "two connections fight"); n != 1 {
					t.Errorf("%d lines about the fight", n)
				}
				if n := strings.Count(out.String(), "\n"); n > 10 || !strings.Contains(out.String(), "10.0.0.7:51000") || !strings.Contains(out.String(), "10.0.0.8:40022") {
					t.Errorf("%d lines: %s", n, out.String())
				}
			})
		})
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	w  interface{ Write([]byte) (int, error) }
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// One box whose line dies without a word every few seconds, behind a router that
// gives it a new port each time, is accused of nothing and never waits.
func TestADeviceBehindABadLineIsNoFight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, pipes, stop := startPipes(t, slog.New(slog.DiscardHandler))
		for i := range 100 {
			dead := pipes.dialFrom(fmt.Sprintf("10.0.0.7:%d", 1000+i)) // nobody reads what comes after CONNACK, nobody ends it
			began := time.Now()
			c, err := brokertest.Connect(dead, brokertest.Login{Version: 5, ClientID: "pump-01", Secret: "s-pump-01", Keepalive: 60, SessionExpiry: 3600})
			if err != nil || c.Ack.Code != 0 {
				t.Fatalf("%+v, %v", c.Ack, err)
			}
			if took := time.Since(began); took > farewellLimit+graceLimit {
				t.Fatalf("connection %d waits %s", i, took)
			}
			<-time.After(2 * time.Second)
		}
		if p := b.Presence()[0]; p.Fight != nil || !p.Online {
			t.Errorf("%+v", p)
		}
		if n := b.Stats().TakenOver; n != 99 {
			t.Errorf("%d take-overs", n)
		}
		<-time.After(lastWordLimit)
		if s := b.Stats(); s.Sockets != 1 || s.Connections != 1 {
			t.Errorf("dead lines are kept: %+v", s)
		}
		stop()
	})
}

// A box that closes its connection and is back at once is alone.
func TestADeviceThatHurriesBackIsNoFight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, pipes, stop := startPipes(t, slog.New(slog.DiscardHandler))
		for i := range 100 {
			c, err := brokertest.Connect(pipes.dialFrom(fmt.Sprintf("10.0.0.7:%d", 1000+i)), brokertest.Login{Version: 4, ClientID: "pump-01", Secret: "s-pump-01", Keepalive: 60})
			if err != nil || c.Ack.Code != 0 {
				t.Fatalf("%+v, %v", c.Ack, err)
			}
			_ = c.Close()
		}
		if p := b.Presence()[0]; p.Fight != nil {
			t.Errorf("%+v", p.Fight)
		}
		stop()
	})
}

// What waits for its turn ends with the device's rights, and with the broker.
func TestWaitingForATurnEnds(t *testing.T) {
	for _, end := range []string{"the device is removed", "the gateway ends", "too many wait"} {
		t.Run(end, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, pipes, stop := startPipes(t, slog.New(slog.DiscardHandler))
				connect := func(port int) *brokertest.Client {
					c, _ := brokertest.Connect(pipes.dialFrom(fmt.Sprintf("10.0.0.7:%d", port)), brokertest.Login{Version: 5, ClientID: "pump-01", Secret: "s-pump-01", Keepalive: 60})
					go func() { // the box closes when it is told to
						_, _ = c.AwaitEnd()
						_ = c.Close()
					}()
					return c
				}
				for i := range fightTakeOvers + 1 {
					connect(i)
					synctest.Wait()
				}
				if b.Presence()[0].Fight == nil {
					t.Fatal("no fight")
				}
				began := time.Now()
				switch end {
				case "too many wait":
					codes := make(chan byte, 2*fightWaiting)
					for i := range 2 * fightWaiting {
						go func() { codes <- connect(100 + i).Ack.Code }()
					}
					synctest.Wait()
					for range fightWaiting {
						if code := <-codes; code != 0x9F || time.Since(began) > graceLimit {
							t.Errorf("CONNACK %#x after %s", code, time.Since(began))
						}
					}
					for range fightWaiting { // each gets its turn
						if code := <-codes; code != 0 {
							t.Errorf("CONNACK %#x", code)
						}
					}
					if took := time.Since(began); took < (fightWaiting-1)*fightPause || took > (fightWaiting+1)*fightPause {
						t.Errorf("%d turns took %s", fightWaiting, took)
					}
					stop()
				default:
					done := make(chan byte, 1)
					go func() { done <- connect(100).Ack.Code }()
					<-time.After(time.Second)
					if end == "the gateway ends" {
						stop()
					} else {
						b.guard.(*brokertest.Guard).Remove("pump-01")
						b.Disconnect("pump-01")
					}
					if code := <-done; code == 0 && time.Since(began) > 2*time.Second {
						t.Errorf("CONNACK %#x after %s", code, time.Since(began))
					}
					if end != "the gateway ends" {
						<-time.After(2 * lastWordLimit)
						if n := b.Stats().Sockets; n != 0 || len(b.Presence()) != 0 {
							t.Errorf("%d sockets, %+v", n, b.Presence())
						}
						stop()
					}
				}
			})
		})
	}
}

// duplex is one end of a line with an address. Like TCP it holds what nobody
// reads, and its halves end apart.
type duplex struct {
	in, out *half
	remote  net.Addr
}

func (d *duplex) Read(p []byte) (int, error)        { return d.in.read(p) }
func (d *duplex) Write(p []byte) (int, error)       { return d.out.write(p) }
func (d *duplex) CloseWrite() error                 { d.out.end(false); return nil }
func (d *duplex) Close() error                      { d.out.end(false); d.in.end(true); return nil }
func (d *duplex) LocalAddr() net.Addr               { return d.remote }
func (d *duplex) RemoteAddr() net.Addr              { return d.remote }
func (d *duplex) SetReadDeadline(t time.Time) error { d.in.until(t); return nil }
func (d *duplex) SetWriteDeadline(time.Time) error  { return nil }
func (d *duplex) SetDeadline(t time.Time) error     { return d.SetReadDeadline(t) }

// half is one direction.
type half struct {
	mu       sync.Mutex
	more     *sync.Cond
	bytes    []byte
	ended    bool // by the writer
	closed   bool // by the reader
	deadline time.Time
}

func newHalf() *half {
	h := &half{}
	h.more = sync.NewCond(&h.mu)
	return h
}

func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.closed:
			return 0, net.ErrClosed
		case !h.deadline.IsZero() && !time.Now().Before(h.deadline):
			return 0, os.ErrDeadlineExceeded
		case len(h.bytes) > 0:
			n := copy(p, h.bytes)
			h.bytes = h.bytes[n:]
			return n, nil
		case h.ended:
			return 0, io.EOF
		}
		h.more.Wait()
	}
}

func (h *half) write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended || h.closed {
		return 0, io.ErrClosedPipe
	}
	h.bytes = append(h.bytes, p...)
	h.more.Broadcast()
	return len(p), nil
}

func (h *half) end(byReader bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = h.closed || byReader
	h.ended = h.ended || !byReader
	h.more.Broadcast()
}

func (h *half) until(t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deadline = t
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		time.AfterFunc(wait, h.more.Broadcast)
	}
	h.more.Broadcast()
}

// dialFrom is dial from an address.
func (p *pipes) dialFrom(addr string) net.Conn {
	remote := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))
	up, down := newHalf(), newHalf()
	theirs := &duplex{in: up, out: down, remote: remote}
	select {
	case p.conns <- theirs:
	case <-p.closed:
		_ = theirs.Close()
	}
	return &duplex{in: down, out: up, remote: p.Addr()}
}
