package gateway

import (
	"net"
	"net/netip"
	"sync"
)

// How many connections an HTTP listener has at one time. Back offices and
// scrapers need a handful; the file descriptors are the devices'.
const (
	mostCallers           = 256
	mostCallersPerAddress = 64
)

// crowd is a listener that closes at once what is too many.
type crowd struct {
	net.Listener
	turned func() // told of each that was closed

	mu   sync.Mutex
	all  int
	from map[netip.Prefix]int
}

func newCrowd(l net.Listener, turned func()) *crowd {
	return &crowd{Listener: l, turned: turned, from: map[netip.Prefix]int{}}
}

// Accept gives the next that is not too many.
func (c *crowd) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if of := neighbours(conn.RemoteAddr().String()); c.enter(of) {
			return &caller{Conn: conn, leave: sync.OnceFunc(func() { c.leave(of) })}, nil
		}
		_ = conn.Close() // nothing was promised to it
		c.turned()
	}
}

func (c *crowd) enter(of netip.Prefix) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all >= mostCallers || c.from[of] >= mostCallersPerAddress {
		return false
	}
	c.all++
	c.from[of]++
	return true
}

func (c *crowd) leave(of netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if c.from[of]--; c.from[of] == 0 {
		delete(c.from, of)
	}
}

type caller struct {
	net.Conn
	leave func()
}

func (c *caller) Close() error {
	c.leave()
	return c.Conn.Close()
}

// neighbours is whom one machine can be: its address, or in IPv6 the network of
// which it may take any.
func neighbours(hostport string) netip.Prefix {
	at, err := netip.ParseAddrPort(hostport)
	if err != nil {
		return netip.Prefix{}
	}
	addr := at.Addr().Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
