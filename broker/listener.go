package broker

import (
	"container/list"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/listeners"
)

const (
	// connectLimit is how long a socket has for TLS and CONNECT together. Mochi
	// itself would wait for ever (FAULTS.md T9).
	connectLimit = 5 * time.Second
	// tcpProbe finds devices that lost power without a word.
	tcpProbe = 15 * time.Second

	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
)

// doors counts sockets over all listeners of the broker.
type doors struct {
	mu      sync.Mutex
	most    int
	perAddr int
	pending map[net.Conn]struct{} // accepted, TLS not done
	open    map[*conn]struct{}
	addrs   map[string]int
	closed  bool
	wg      sync.WaitGroup

	// Sockets that have not logged in, by their address.
	strangers        map[net.Conn]*list.Element
	strangeAddrs     map[string]*list.List // of strangers, the oldest first
	mostStrangers    int
	strangersPerAddr int
}

// stranger is a socket that has not logged in.
type stranger struct {
	raw   net.Conn
	addr  string
	since time.Time
}

func newDoors(o Options) doors {
	return doors{most: o.MaxConnections, perAddr: o.PerAddress, pending: make(map[net.Conn]struct{}),
		open: make(map[*conn]struct{}), addrs: make(map[string]int),
		strangers: make(map[net.Conn]*list.Element), strangeAddrs: make(map[string]*list.List),
		mostStrangers: o.MaxStrangers, strangersPerAddr: o.StrangersPerAddress}
}

// enter takes a place for one socket from addr.
func (d *doors) enter(raw net.Conn, addr string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || len(d.pending)+len(d.open) >= d.most || d.addrs[addr] >= d.perAddr {
		return false
	}
	now := time.Now()
	switch l := d.strangeAddrs[addr]; {
	case l != nil && l.Len() >= d.strangersPerAddr:
		if !d.turnOut(l, now) {
			return false
		}
	case len(d.strangers) >= d.mostStrangers:
		if !d.turnOut(d.crowd(), now) {
			return false
		}
	}
	if d.strangeAddrs[addr] == nil {
		d.strangeAddrs[addr] = list.New()
	}
	d.strangers[raw] = d.strangeAddrs[addr].PushBack(stranger{raw, addr, now})
	d.pending[raw] = struct{}{}
	d.addrs[addr]++
	d.wg.Add(1)
	return true
}

// lingers is how long a socket that has not logged in keeps its place where
// others wait for one. A device needs some hundredths of a second; all of a site
// that come back at once must not turn out each other.
const lingers = time.Second

// turnOut ends the oldest socket of an address that has not logged in, if it has
// had its time: whoever says nothing must not keep the doors shut. The lock is
// held.
func (d *doors) turnOut(of *list.List, now time.Time) bool {
	if of == nil || of.Len() == 0 {
		return false
	}
	oldest := of.Front().Value.(stranger)
	if now.Sub(oldest.since) < lingers {
		return false
	}
	d.known(oldest.raw)
	_ = oldest.raw.Close()
	return true
}

// crowd are those of the address with the most sockets that have not logged in.
func (d *doors) crowd() (of *list.List) {
	for _, l := range d.strangeAddrs {
		if of == nil || l.Len() > of.Len() {
			of = l
		}
	}
	return of
}

// admit makes the socket one that shut can say farewell to.
func (d *doors) admit(raw net.Conn, c *conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	delete(d.pending, raw)
	d.open[c] = struct{}{}
	return true
}

// proved says that the device behind the socket has logged in.
func (d *doors) proved(raw net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known(raw)
}

// known takes a socket out of the strangers. The lock is held.
func (d *doors) known(raw net.Conn) {
	at, ok := d.strangers[raw]
	if !ok {
		return
	}
	delete(d.strangers, raw)
	addr := at.Value.(stranger).addr
	l := d.strangeAddrs[addr]
	if l.Remove(at); l.Len() == 0 {
		delete(d.strangeAddrs, addr)
	}
}

func (d *doors) leave(raw net.Conn, c *conn, addr string) {
	d.mu.Lock()
	d.known(raw)
	delete(d.pending, raw)
	delete(d.open, c)
	if d.addrs[addr]--; d.addrs[addr] <= 0 {
		delete(d.addrs, addr)
	}
	d.mu.Unlock()
	d.wg.Done()
}

func (d *doors) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.pending) + len(d.open)
}

// shut refuses new sockets, closes those that are still in their TLS hand-shake,
// and gives those that are open.
func (d *doors) shut() []*conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for raw := range d.pending {
		_ = raw.Close()
	}
	all := make([]*conn, 0, len(d.open))
	for c := range d.open {
		all = append(all, c)
	}
	return all
}

// listener brings sockets to mochi. It differs from mochi's own in four things:
// a deadline until CONNECT, an accept loop that outlives temporary errors, limits
// on connections, and a recover around each connection (FAULTS.md T4, T9).
type listener struct {
	id    string
	inner net.Listener
	tls   *tls.Config // nil for the plain one
	b     *Broker

	stop chan struct{}
	once sync.Once
}

func newListener(id string, inner net.Listener, cfg *tls.Config, b *Broker) *listener {
	return &listener{id: id, inner: inner, tls: cfg, b: b, stop: make(chan struct{})}
}

func (l *listener) Init(*slog.Logger) error { return nil }
func (l *listener) ID() string              { return l.id }
func (l *listener) Address() string         { return l.inner.Addr().String() }
func (l *listener) Protocol() string        { return l.inner.Addr().Network() }

// Close stops the accept loop. It does not use mochi's CloseFn, which takes one
// read lock twice and can wait for itself for ever; Broker.Close ends the
// connections.
func (l *listener) Close(listeners.CloseFn) {
	l.once.Do(func() {
		close(l.stop)
		_ = l.inner.Close()
	})
}

// Serve accepts until Close. An error of Accept is tried again with a growing
// pause: with no file descriptors left (EMFILE) the gateway must serve again as
// soon as there are some.
func (l *listener) Serve(establish listeners.EstablishFn) {
	pause := acceptPauseMin
	for {
		c, err := l.inner.Accept()
		if err == nil {
			pause = acceptPauseMin
			l.take(c, establish)
			continue
		}
		select {
		case <-l.stop:
			return
		default:
		}
		if errors.Is(err, net.ErrClosed) {
			l.b.fail(fmt.Errorf("accept on %s: %w", l.Address(), err))
			return
		}
		l.b.n.acceptErrors.Add(1)
		l.b.log.Warn("accepting a connection failed; trying again", "listener", l.id, "error", err, "pause", pause)
		select {
		case <-l.stop:
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, acceptPauseMax)
	}
}

// take starts the goroutine of one socket, or closes it where there are too many.
func (l *listener) take(c net.Conn, establish listeners.EstablishFn) {
	addr := hostOf(c.RemoteAddr())
	if l.b.failures.guessing(addr) || !l.b.doors.enter(c, addr) {
		l.b.n.turned.Add(1)
		_ = c.Close()
		l.b.grumble.turned.Do(func() {
			l.b.log.Warn("a connection was turned away: too many at this moment", "listener", l.id, "remote", addr)
		})
		return
	}
	go l.serve(c, addr, establish)
}

// serve is the whole life of one socket.
func (l *listener) serve(raw net.Conn, addr string, establish listeners.EstablishFn) {
	var c *conn
	defer func() { l.b.doors.leave(raw, c, addr) }()
	defer raw.Close()

	if t, ok := raw.(*net.TCPConn); ok {
		_ = t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: tcpProbe, Interval: tcpProbe, Count: 4})
	}
	_ = raw.SetDeadline(time.Now().Add(connectLimit))
	wire := raw
	if l.tls != nil {
		t := tls.Server(forgetful{raw}, l.tls)
		if !l.handshake(t) {
			l.b.n.unfinished.Add(1)
			return
		}
		wire = t
	}
	c = newConn(raw, wire)
	if !l.b.doors.admit(raw, c) {
		return
	}
	defer l.b.ended(c)
	whole := false
	defer func() {
		if !whole {
			l.b.abandoned(c)
		}
	}()
	defer l.b.recovered(c, "connection")
	err := establish(l.id, c)
	whole = true
	if err != nil {
		l.b.log.Debug("connection ended", "listener", l.id, "remote", addr, "error", err)
	}
}

// handshake has a goroutine of its own: what it needs of stack, some 32 KiB, goes
// with it, where the goroutine that reads would keep it. It is bounded by the
// socket's deadline, and by doors.shut.
func (l *listener) handshake(t *tls.Conn) bool {
	done := make(chan bool, 1)
	go func() {
		ok := false
		defer func() { done <- ok }()
		defer l.b.recovered(nil, "hand-shake")
		ok = t.Handshake() == nil
	}()
	return <-done
}

// recovered is deferred around everything that runs for one connection: a panic
// costs that connection and nothing else, and nothing is acknowledged.
func (b *Broker) recovered(c *conn, where string) {
	r := recover()
	if r == nil {
		return
	}
	b.n.panics.Add(1)
	// Only what the runtime itself said is logged: another value may hold a payload.
	cause := fmt.Sprintf("%T", r)
	if e, ok := r.(runtime.Error); ok {
		cause = e.Error()
	}
	b.grumble.panics.Do(func() {
		b.log.Error("a panic was stopped; its connection is dropped", "where", where, "cause", cause, "stack", string(debug.Stack()))
	})
	if c != nil {
		_ = c.Close()
	}
}

func hostOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}
