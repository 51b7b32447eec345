package broker_test

import (
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"testing"

	"edgegw/broker/brokertest"
)

// Over real sockets and TLS: boxes at two addresses, and at one, that come back
// when their line is ended are seen to fight. A box whose old lines nobody ends
// any more is not, nor is one that starts anew and resets what it does not know.
func TestFightOverTLS(t *testing.T) {
	for _, row := range []struct {
		name    string
		from    [2]string // loopback addresses
		version byte
		end     func(*net.TCPConn) error // when the gateway has ended the line; nil: nobody is there
		fight   bool
	}{
		{"two addresses", [2]string{"127.0.0.2", "127.0.0.3"}, 5, (*net.TCPConn).Close, true},
		{"one address", [2]string{"127.0.0.2", "127.0.0.2"}, 5, (*net.TCPConn).Close, true},
		{"one address, MQTT 3.1.1", [2]string{"127.0.0.2", "127.0.0.2"}, 4, (*net.TCPConn).Close, true},
		{"dead lines", [2]string{"127.0.0.2", "127.0.0.2"}, 5, nil, false},
		{"a box that starts anew", [2]string{"127.0.0.2", "127.0.0.2"}, 5, reset, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			pool, server, _ := certificates(t, "pump-02")
			s, out := logged(t, func(s *site, o *optionsOf) {
				o.TLS, o.Plain = o.Plain, nil
				o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{server}}
				s.tls = &tls.Config{RootCAs: pool, ServerName: "localhost"}
			})
			var boxes sync.WaitGroup
			defer boxes.Wait()
			var ends []func() error
			defer func() {
				for _, end := range ends {
					_ = end()
				}
			}()
			for i := range 4 {
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(row.from[i%2])}}
				raw, err := d.Dial("tcp", s.addr)
				must(t, err)
				c, err := brokertest.Connect(tls.Client(raw, s.tls), login(row.version, "pump-01"))
				if err != nil || c.Ack.Code != 0 {
					t.Fatalf("connection %d: %+v, %v", i, c.Ack, err)
				}
				ends = append(ends, c.Close)
				if row.end != nil {
					boxes.Go(func() {
						_, _ = c.AwaitEnd()
						_ = row.end(raw.(*net.TCPConn))
					})
				}
			}
			if !row.fight {
				eventually(t, "dead lines are given up", func() bool { return s.b.Stats().Sockets == 1 })
				if p := s.b.Presence()[0]; p.Fight != nil || !p.Online {
					t.Fatalf("%+v", p.Fight)
				}
				return
			}
			eventually(t, "a fight", func() bool { return s.b.Presence()[0].Fight != nil })
			f := s.b.Presence()[0].Fight
			if f.Times != 3 || f.Since.IsZero() || f.Last.Before(f.Since) ||
				!strings.HasPrefix(f.Remotes[0], row.from[0]+":") || !strings.HasPrefix(f.Remotes[1], row.from[1]+":") {
				t.Fatalf("%+v", f)
			}
			for _, want := range []string{"device=pump-01", "old_remote=" + f.Remotes[0], "new_remote=" + f.Remotes[1]} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%s is not in the log: %s", want, out.String())
				}
			}
		})
	}
}

// reset ends a line as a box does that knows nothing of it.
func reset(c *net.TCPConn) error {
	_ = c.SetLinger(0)
	return c.Close()
}
