package sandbox

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// Server serves a Service over real sockets. Close ends it.
type Server struct {
	service *Service
	http    *http.Server
	addr    string // host:port as bound
	caPEM   []byte

	mu     sync.Mutex
	ln     net.Listener
	conns  map[net.Conn]struct{}
	down   bool
	closed bool
	loops  sync.WaitGroup
}

// ListenTLS serves over HTTPS (HTTP/1.1 and HTTP/2) with a private CA made for
// this server: CAPEM must be trusted by the clients. An address without a host
// listens on every interface.
func (s *Service) ListenTLS(addr string) (*Server, error) {
	return s.listen(addr, true)
}

// Listen serves over plain HTTP, on loopback addresses only: OpenFiskal refuses
// plain HTTP (OPENFISKAL.md section 2), so it must never look reachable so.
func (s *Service) Listen(addr string) (*Server, error) {
	host, _, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("listen on %s: plain HTTP is for loopback addresses only", addr)
	}
	return s.listen(addr, false)
}

func (s *Service) listen(addr string, secure bool) (*Server, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	v := &Server{service: s, addr: ln.Addr().String(), ln: ln, conns: map[net.Conn]struct{}{}}
	v.http = &http.Server{Handler: s, ReadHeaderTimeout: 30 * time.Second, MaxHeaderBytes: 64 << 10,
		ErrorLog: log.New(discard{}, "", 0)} // handshakes that fail are part of the game
	if secure {
		cert, ca, err := makeCertificate(v.addr)
		if err != nil {
			_ = ln.Close()
			return nil, fmt.Errorf("listen on %s: %w", addr, err)
		}
		v.caPEM = ca
		v.http.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	}
	s.mu.Lock()
	s.servers[v] = struct{}{}
	down := s.down
	s.mu.Unlock()
	v.serve(ln)
	if down {
		v.setDown(true)
	}
	return v, nil
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// Origin is scheme, host and port: the control paths lie below it.
func (v *Server) Origin() string {
	host, port, _ := net.SplitHostPort(v.addr)
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "http"
	if v.caPEM != nil {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// URL is the base URL of the API, with /v1.
func (v *Server) URL() string { return v.Origin() + "/v1" }

// CAPEM is the certificate of the private CA; nil for plain HTTP.
func (v *Server) CAPEM() []byte { return v.caPEM }

// Close stops listening, kills open connections and waits for both. It is safe
// to call twice.
func (v *Server) Close() error {
	v.service.mu.Lock()
	delete(v.service.servers, v)
	v.service.mu.Unlock()
	v.mu.Lock()
	v.closed = true
	v.mu.Unlock()
	err := v.http.Close()
	v.cutConnections()
	v.loops.Wait()
	return err
}

// CutConnections kills every open connection and goes on listening: what a
// kept-alive connection meets at a restart of the other side.
func (v *Server) CutConnections() { v.cutConnections() }

func (v *Server) serve(ln net.Listener) {
	v.loops.Add(1)
	go func() {
		defer v.loops.Done()
		tracked := &trackingListener{Listener: ln, server: v}
		if v.http.TLSConfig != nil {
			_ = v.http.ServeTLS(tracked, "", "") // ends when the listener closes
		} else {
			_ = v.http.Serve(tracked)
		}
	}()
}

// setDown stops listening and kills connections, or listens again on the same
// port. Another process may hold the port for a moment: it is tried for 5 s.
func (v *Server) setDown(down bool) {
	v.mu.Lock()
	if v.closed || v.down == down {
		v.mu.Unlock()
		return
	}
	v.down = down
	ln := v.ln
	v.mu.Unlock()
	if down {
		_ = ln.Close()
		v.cutConnections()
		return
	}
	again, err := relisten(v.addr)
	if err != nil {
		v.service.opt.Log.Error("the stand-in cannot listen again", "address", v.addr, "error", err)
		return
	}
	v.mu.Lock()
	v.ln = again
	closed := v.closed
	v.mu.Unlock()
	if closed {
		_ = again.Close()
		return
	}
	v.serve(again)
}

func relisten(addr string) (net.Listener, error) {
	deadline := time.After(5 * time.Second)
	for {
		ln, err := net.Listen("tcp", addr)
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) {
			return ln, err
		}
		select {
		case <-deadline:
			return nil, err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (v *Server) cutConnections() {
	v.mu.Lock()
	conns := make([]net.Conn, 0, len(v.conns))
	for c := range v.conns {
		conns = append(conns, c)
	}
	v.mu.Unlock()
	for _, c := range conns {
		if t, ok := c.(*trackedConn).Conn.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // a reset, as a link that breaks gives none of the polite farewells
		}
		_ = c.Close()
	}
}

// trackingListener knows its open connections.
type trackingListener struct {
	net.Listener
	server *Server
}

func (l *trackingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	t := &trackedConn{Conn: c, server: l.server}
	l.server.mu.Lock()
	l.server.conns[t] = struct{}{}
	down := l.server.down || l.server.closed
	l.server.mu.Unlock()
	if down {
		_ = t.Close()
	}
	return t, nil
}

type trackedConn struct {
	net.Conn
	server *Server
}

func (c *trackedConn) Close() error {
	c.server.mu.Lock()
	delete(c.server.conns, c)
	c.server.mu.Unlock()
	return c.Conn.Close()
}
