package gateway

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"edgegw/broker"
	"edgegw/sale"
	"edgegw/store"
)

// canaryClient is who the gateway itself is at its own broker: no device can have
// that name.
const canaryClient sale.DeviceID = "_canary"

// canaryLimit bounds the canary of somebody who waits for it, commit and all. The one of
// every day has pulseLimit.
const canaryLimit = 5 * time.Second

// canary goes the way of a device's message: connect, log in, publish, commit,
// acknowledgement. It may log in only while it is under way, with a secret of that
// moment.
type canary struct {
	one    sync.Mutex // two would take the name from each other
	mu     sync.Mutex
	secret []byte // nil: nobody is let in
}

// asked lets the canary in and asks the ring about everybody else.
type asked struct {
	broker.Guard
	canary *canary
}

var errNoCanary = errors.New("no canary is under way")

func (a asked) Authenticate(username string, secret []byte, cert *x509.Certificate) (sale.DeviceID, error) {
	if username != string(canaryClient) {
		return a.Guard.Authenticate(username, secret, cert)
	}
	a.canary.mu.Lock()
	defer a.canary.mu.Unlock()
	if a.canary.secret == nil || subtle.ConstantTimeCompare(secret, a.canary.secret) != 1 {
		return "", errNoCanary
	}
	return canaryClient, nil
}

// What a canary carries: how much of a write it asks for.
const (
	largeCanary = `{}`          // as much as the largest event
	smallCanary = `{"small":1}` // a page: this one flies all day
)

// flown answers the canary's event with the journal's own canary, a synced commit
// that leaves no row behind that means anything. The relay never sees it: there is
// no sale.
type flown struct {
	watchCards
	db *store.DB
}

func (t flown) Accept(ctx context.Context, m sale.Message) <-chan sale.Verdict {
	if m.Device != canaryClient {
		return t.watchCards.Accept(ctx, m)
	}
	v, write := sale.Verdict{Ack: sale.Ack{Status: sale.Queued}}, t.db.Canary
	if string(m.Payload) == smallCanary {
		write = t.db.Pulse
	}
	if err := write(ctx); err != nil {
		v = sale.Verdict{Err: err}
	}
	answer := make(chan sale.Verdict, 1)
	answer <- v
	return answer
}

// mqttHere is where this machine reaches the MQTT listener, and whether with TLS.
func (g *Gateway) mqttHere() (addr string, secure bool) {
	bound := g.tlsAddr
	if bound == nil {
		bound = g.plainAddr
	}
	a, ok := bound.(*net.TCPAddr)
	if !ok {
		return "", false
	}
	ip := a.IP
	if ip.IsUnspecified() {
		ip = net.IPv4(127, 0, 0, 1)
	}
	return net.JoinHostPort(ip.String(), fmt.Sprint(a.Port)), g.tlsAddr != nil
}

// fly sends a canary that carries body. connect is why the port does not answer as
// it should, publish why no acknowledgement came, took how long that was.
func (g *Gateway) fly(ctx context.Context, body string, limit time.Duration) (addr string, took time.Duration, connect, publish error) {
	c := &g.canary
	c.one.Lock()
	defer c.one.Unlock()
	secret := []byte(rand.Text())
	c.set(secret)
	defer c.set(nil)
	addr, secure := g.mqttHere()
	if addr == "" {
		return "", 0, errors.New("it is bound to no TCP port"), nil
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := g.dialOwn(ctx, addr, secure)
	if err != nil {
		return addr, 0, err, nil
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	began := time.Now()
	if err := published(conn, secret, body); err != nil {
		return addr, 0, nil, err
	}
	return addr, time.Since(began), nil, nil
}

func (c *canary) set(secret []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.secret = secret
}

// dialOwn connects to the gateway's own port. What answers must show the very
// certificate that the gateway serves: a date or an authority proves nothing here.
func (g *Gateway) dialOwn(ctx context.Context, addr string, secure bool) (net.Conn, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil || !secure {
		return raw, err
	}
	conn := tls.Client(raw, &tls.Config{ServerName: "localhost", MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, VerifyConnection: func(cs tls.ConnectionState) error {
		own := g.authority.Leaf()
		if g.files != nil {
			own = g.files.Leaf()
		}
		if len(cs.PeerCertificates) == 0 || !cs.PeerCertificates[0].Equal(own) {
			return errors.New("another program answers there: the certificate is not this gateway's")
		}
		return nil
	}})
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return conn, nil
}

// published speaks just enough MQTT 3.1.1 for one QoS 1 message and its PUBACK.
func published(conn net.Conn, secret []byte, body string) error {
	text := func(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }
	hello := append(text("MQTT"), 4, 0xc2, 0, 30) // user name, password, clean session; keep alive 30 s
	hello = append(hello, text(string(canaryClient))...)
	hello = append(hello, text(string(canaryClient))...)
	hello = append(hello, text(string(secret))...)
	message := append(text("edgegw/v1/"+string(canaryClient)+"/sale"), 0, 1) // packet id 1
	message = append(message, body...)
	in := bufio.NewReader(conn)
	for _, step := range []struct {
		kind byte
		body []byte
		want [4]byte
		name string
	}{{0x10, hello, [4]byte{0x20, 2, 0, 0}, "the log-in"}, {0x32, message, [4]byte{0x40, 2, 0, 1}, "the message"}} {
		if _, err := conn.Write(append([]byte{step.kind, byte(len(step.body))}, step.body...)); err != nil { // all are shorter than 128 bytes
			return fmt.Errorf("%s: %w", step.name, err)
		}
		var got [4]byte
		if _, err := io.ReadFull(in, got[:]); err != nil {
			return fmt.Errorf("%s got no answer: %w", step.name, err)
		}
		if got != step.want {
			return fmt.Errorf("%s was answered % x", step.name, got)
		}
	}
	_, _ = conn.Write([]byte{0xe0, 0}) // it has its acknowledgement
	return nil
}
