package simulator

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"sync"
)

// target is where a device connects to, taken apart from its URL.
type target struct {
	addr string // host:port
	host string // for the certificate
	tls  bool
}

// parseTarget reads mqtts://host[:port] (TLS, 8883) or mqtt://host[:port]
// (plain, 1883).
func parseTarget(text string) (target, error) {
	u, err := url.Parse(text)
	if err != nil {
		return target{}, fmt.Errorf("read gateway URL: %w", err)
	}
	port := ""
	switch u.Scheme {
	case "mqtts":
		port = "8883"
	case "mqtt":
		port = "1883"
	default:
		return target{}, fmt.Errorf("gateway URL %q: the scheme must be mqtts or mqtt", text)
	}
	if u.Hostname() == "" || u.User != nil || (u.Path != "" && u.Path != "/") {
		return target{}, fmt.Errorf("gateway URL %q: want %s://host:port and nothing more", text, u.Scheme)
	}
	if u.Port() != "" {
		port = u.Port()
	}
	return target{addr: net.JoinHostPort(u.Hostname(), port), host: u.Hostname(), tls: u.Scheme == "mqtts"}, nil
}

// dial connects and, for mqtts, ends the handshake.
func (d *Device) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.AnswerTimeout)
	defer cancel()
	dial := d.cfg.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	conn, err := dial(ctx, "tcp", d.target.addr)
	if err != nil || !d.target.tls {
		return conn, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: d.cfg.Roots, ServerName: d.target.host}
	if d.cfg.Certificate != nil {
		config.Certificates = []tls.Certificate{*d.cfg.Certificate}
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // the handshake's error is the one that says why
		return nil, fmt.Errorf("TLS handshake with %s: %w", d.target.addr, err)
	}
	return secured, nil
}

// wire lets paho's goroutines share a connection. paho locks it around each
// packet but writes a packet in pieces and reads it byte by byte; gathering
// both makes one packet one TLS record instead of three.
type wire struct {
	net.Conn
	in *bufio.Reader

	mu  sync.Mutex
	out bytes.Buffer
}

func newWire(c net.Conn) *wire { return &wire{Conn: c, in: bufio.NewReaderSize(c, 2048)} }

func (w *wire) Read(p []byte) (int, error) { return w.in.Read(p) }

// Write gathers; the bytes leave at Unlock.
func (w *wire) Write(p []byte) (int, error) { return w.out.Write(p) }

// Lock begins a packet.
func (w *wire) Lock() { w.mu.Lock() }

// Unlock sends it. A packet that could not be written ends the connection,
// which paho's reader then reports: a half-written one must have no successor.
func (w *wire) Unlock() {
	if _, err := w.Conn.Write(w.out.Bytes()); err != nil {
		_ = w.Conn.Close()
	}
	w.out.Reset()
	w.mu.Unlock()
}
