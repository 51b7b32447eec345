package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// writeLimit is how long one write may take before the device counts as gone.
	writeLimit = 15 * time.Second
	// farewellLimit is the same for the last packet of a connection that must end.
	farewellLimit = 250 * time.Millisecond
	// rearmAfter spares a system timer per packet: deadlines that move by less
	// are left as they are.
	rearmAfter = 250 * time.Millisecond
)

// life ends with a connection. It is the context of what is done on behalf of
// that connection.
type life chan struct{}

func (l life) Deadline() (time.Time, bool) { return time.Time{}, false }
func (l life) Done() <-chan struct{}       { return l }
func (l life) Value(any) any               { return nil }
func (l life) Err() error {
	select {
	case <-l:
		return context.Canceled
	default:
		return nil
	}
}

// conn is one socket. Mochi and the broker's own goroutines write to it, each
// whole packets, and any failed write ends it: after half a packet nothing that
// follows can be understood.
type conn struct {
	net.Conn                   // TLS or TCP
	raw      net.Conn          // the TCP socket below it
	peer     *x509.Certificate // verified, nil without one
	life     life
	session  atomic.Pointer[session] // set by OnConnect
	plainV3  atomic.Bool

	writing  sync.Mutex
	writeEnd time.Time   // armed write deadline; guarded by writing
	leaving  atomic.Bool // no later write may extend the deadline

	opening opening // what has been read of the first packet; the reading goroutine's

	readEnd time.Time // armed read deadline; mochi sets it from the reading goroutine only
	end     sync.Once

	parting atomic.Bool // Close leaves the socket to lastWord
}

func newConn(raw, c net.Conn) *conn {
	nc := &conn{Conn: c, raw: raw, life: make(life)}
	if t, ok := c.(*tls.Conn); ok {
		if chains := t.ConnectionState().VerifiedChains; len(chains) > 0 && len(chains[0]) > 0 {
			nc.peer = chains[0][0]
		}
	}
	return nc
}

// Read gives mochi the bytes of the device, once the first packet has shown a
// header that a CONNECT can have. Mochi's buffer lives as long as the connection:
// the device's secret would stand in it for days, so what was read before goes
// before the wait for more (io.Reader: all of p may be used as scratch space).
func (c *conn) Read(p []byte) (int, error) {
	clear(p)
	n, err := c.Conn.Read(p)
	if !c.opening.done {
		if bad := c.opening.look(p[:n]); bad != nil {
			return 0, bad
		}
	}
	return n, err
}

// forgetful is the socket below TLS. crypto/tls decrypts in the buffer that it
// reads into, which lives as long as the connection: as with conn.Read, what it
// held goes before the wait for more.
type forgetful struct{ net.Conn }

func (f forgetful) Read(p []byte) (int, error) {
	clear(p)
	return f.Conn.Read(p)
}

// SetDeadline is called by mochi for every packet it is about to read. Writes
// have a limit of their own.
func (c *conn) SetDeadline(t time.Time) error {
	if d := t.Sub(c.readEnd); d >= 0 && d < rearmAfter {
		return nil
	}
	c.readEnd = t
	err := c.Conn.SetReadDeadline(t)
	if c.parting.Load() && c.life.Err() != nil {
		return c.Conn.SetReadDeadline(past) // Close came in between
	}
	return err
}

// past is a deadline that ends a read at once.
var past = time.Unix(1, 0)

// Write writes whole packets, or ends the connection.
func (c *conn) Write(p []byte) (int, error) {
	if c.plainV3.Load() && len(p) == 2 && p[0] == typeDisconnect {
		return len(p), nil // mochi sends DISCONNECT to MQTT 3.1.1 devices too, where a server has no such packet
	}
	p = connackV3(p)
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.life.Err() != nil {
		return 0, net.ErrClosed // also where the socket is still open, for lastWord
	}
	if now := time.Now(); !c.leaving.Load() && c.writeEnd.Sub(now) < writeLimit-rearmAfter {
		c.writeEnd = now.Add(writeLimit)
		_ = c.Conn.SetWriteDeadline(c.writeEnd) // an error shows in Write
		if c.leaving.Load() {
			_ = c.Conn.SetWriteDeadline(now.Add(farewellLimit)) // hurry came in between
		}
	}
	n, err := c.Conn.Write(p)
	if err != nil {
		_ = c.Close()
	}
	return n, err
}

// connackV3 gives a CONNACK of MQTT 3.1.1 a return code that 3.1.1 knows. Mochi
// refuses two things before it asks anybody, and says so in the codes of 5.0: an
// empty client identifier (0x80), which must be 0x02 [MQTT-3.1.3-8], and what is
// no 3.1.1 at all (0x82), most of all another level, which must be 0x01
// [MQTT-3.1.2-2].
func connackV3(p []byte) []byte {
	if len(p) != 4 || p[0] != typeConnack || p[1] != 2 || p[3] < 0x80 {
		return p
	}
	code := byte(0x01)
	if p[3] == 0x80 {
		code = 0x02
	}
	return []byte{p[0], p[1], p[2], code}
}

// hurry lets a write that waits for a silent device fail soon, and all later
// ones: somebody waits for this connection to end.
func (c *conn) hurry() {
	c.leaving.Store(true)
	_ = c.Conn.SetWriteDeadline(time.Now().Add(farewellLimit))
}

// farewell ends the connection, after a DISCONNECT with this reason code where
// the device speaks MQTT 5 (v5) and can still be reached.
func (c *conn) farewell(v5 bool, code byte) {
	c.hurry()
	if v5 {
		_, _ = c.Write(appendDisconnect(nil, code)) // the reason is a courtesy
	}
	_ = c.Close()
}

// Close is safe to call more than once and from any goroutine.
func (c *conn) Close() error {
	var err error
	c.end.Do(func() {
		close(c.life)
		if c.parting.Load() {
			err = c.Conn.SetReadDeadline(past)
			return
		}
		err = c.Conn.Close()
	})
	return err
}
