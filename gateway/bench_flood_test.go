//go:build linux

package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"edgegw/broker/brokertest"
	"edgegw/sale"
)

// BenchmarkFlood: 24 pumps sell over TLS, ten times a second each, while others
// keep 2,000 sockets half open and fail to log in 500 times a second. Phases
// alternate in one run; the ratio is of the 99th percentiles of the time to the
// PUBACK. The attackers are other machines in truth; here they are a process of
// their own on processor 1. Run the benchmark under taskset -c 0, so that their
// half of each TLS hand-shake is not paid by the gateway's processor.
func BenchmarkFlood(b *testing.B) {
	const pumps = 24
	s := benchSite(b, pumps)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.authority.CAPEM())
	d := tls.Dialer{Config: &tls.Config{RootCAs: pool, ServerName: "localhost"}}
	l := newLoad(b, pumps, func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", s.tlsAddr.String()) },
		func(id sale.DeviceID) string { return s.secrets[id] })
	paced := func(lasts time.Duration) float64 {
		t, err := l.Pace(context.Background(), 100*time.Millisecond, lasts)
		if err != nil {
			b.Fatal(err)
		}
		return t.P99
	}
	paced(2 * time.Second)
	var quiet, flooded, ratios []float64
	for b.Loop() {
		q := paced(10 * time.Second)
		end := newFlood(b, s)
		paced(2 * time.Second) // until all are there
		p := paced(10 * time.Second)
		said := end()
		quiet, flooded, ratios = append(quiet, q), append(flooded, p), append(ratios, p/q)
		b.Logf("p99 %.0f µs quiet, %.0f µs in the flood; in 12 s %s", q, p, said)
	}
	b.ReportMetric(median(quiet), "µs/p99-quiet")
	b.ReportMetric(median(flooded), "µs/p99-flood")
	b.ReportMetric(median(ratios), "of-quiet")
	b.ReportMetric(0, "ns/op")
}

// asFlood makes the test binary be the attackers: the address to attack, and the
// file of the CA.
const asFlood = "RUN_AS_FLOOD"

func TestMain(m *testing.M) {
	if addr, ca, ok := strings.Cut(os.Getenv(asFlood), " "); ok {
		attack(addr, ca)
		return
	}
	if registers := os.Getenv(asCloud); registers != "" {
		runCloud(registers)
		return
	}
	os.Exit(m.Run())
}

// newFlood starts the attackers, from eight addresses; end says how many sockets
// they held at last, and how many logins they tried.
func newFlood(b *testing.B, s *testSite) (end func() string) {
	c := exec.Command("taskset", "-c", "1", os.Args[0])
	c.Env = append(os.Environ(), asFlood+"="+s.tlsAddr.String()+" "+s.CAFile())
	var out strings.Builder
	c.Stdout, c.Stderr = &out, os.Stderr
	in, err := c.StdinPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	return func() string {
		_ = in.Close() // their sign to end
		if err := c.Wait(); err != nil {
			b.Error(err)
		}
		return strings.TrimSpace(out.String())
	}
}

// attack goes on until standard input ends.
func attack(addr, ca string) {
	pem, err := os.ReadFile(ca)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	f := &flood{stop: make(chan struct{})}
	from := func(i int) *net.Dialer {
		return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%8))}, Timeout: 5 * time.Second}
	}
	for i := range 2000 {
		f.wg.Go(func() { f.halfOpen(from(i), addr, i) })
	}
	for i := range 50 { // each ten times a second
		f.wg.Go(func() { f.guess(from(i), addr, pool, i) })
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	held := f.held.Load()
	close(f.stop)
	f.wg.Wait()
	fmt.Printf("%d sockets held half open at last, %d logins tried, %d answered", held, f.tried.Load(), f.answered.Load())
}

type flood struct {
	stop                  chan struct{}
	wg                    sync.WaitGroup
	held, tried, answered atomic.Int64
}

// halfOpen holds a socket as long as it may, and comes again: with nothing, or
// with the beginning of a TLS hello.
func (f *flood) halfOpen(d *net.Dialer, addr string, i int) {
	for {
		select {
		case <-f.stop:
			return
		case <-time.After(time.Duration(i%1000) * time.Millisecond): // not all at once
		}
		conn, err := d.Dial("tcp", addr)
		if err != nil {
			continue
		}
		if i%2 == 0 {
			_, _ = conn.Write([]byte{0x16, 0x03, 0x01, 0x02, 0x00})
		}
		f.held.Add(1)
		ended := make(chan struct{})
		go func() {
			_, _ = conn.Read(make([]byte, 1))
			close(ended)
		}()
		select {
		case <-f.stop:
		case <-ended:
		}
		conn.Close()
		f.held.Add(-1)
	}
}

// guess tries secrets, ten a second, and does not wait for the answers.
func (f *flood) guess(d *net.Dialer, addr string, pool *x509.CertPool, i int) {
	<-time.After(time.Duration(i) * 2 * time.Millisecond) // evenly
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-f.stop:
			return
		case <-tick.C:
		}
		f.wg.Go(func() {
			raw, err := d.Dial("tcp", addr)
			if err != nil {
				return
			}
			defer raw.Close()
			_ = raw.SetDeadline(time.Now().Add(5 * time.Second))
			conn := tls.Client(raw, &tls.Config{RootCAs: pool, ServerName: "localhost"})
			f.tried.Add(1)
			if _, err := brokertest.Connect(conn, brokertest.Login{Version: 4, ClientID: fmt.Sprintf("pump-%03d", i%24), Secret: fmt.Sprint("guess", n), Keepalive: 60}); err == nil {
				f.answered.Add(1)
			}
		})
	}
}
