package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"edgegw/broker"
	"edgegw/broker/brokertest"
	"edgegw/fiscal/sandbox"
	"edgegw/health"
)

// Two boxes with one secret: a technician reads both addresses; both still sell,
// each sale once; the receipt of each reaches whoever is there.
func TestTwoBoxesWithOneSecret(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	var boxes sync.WaitGroup
	quit := make(chan struct{})
	receipts := make(chan string, 1000)
	for i, ip := range []string{"127.0.0.2", "127.0.0.3"} {
		boxes.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-quit:
					return
				default:
				}
				c, err := s.connectFrom(ip)
				if err != nil {
					continue
				}
				gone := make(chan struct{})
				go func() {
					select {
					case <-quit:
						c.Close()
					case <-gone:
					}
				}()
				sellAndListen(c, fmt.Sprintf("box%d-%d", i, n), receipts)
				close(gone)
				c.Close()
			}
		})
	}
	var fight health.Condition
	await(t, "somebody to be told", func() bool {
		st, err := s.Status(t.Context())
		for _, c := range st.Conditions {
			if c.Code == "device_fight" {
				fight = c
			}
		}
		return err == nil && fight.Code != ""
	})
	if fight.Severity != health.Attention || fight.Affected != "pump-01" || !strings.Contains(fight.Title, "127.0.0.2:") ||
		!strings.Contains(fight.Title, "127.0.0.3:") || !strings.Contains(fight.Remedy, "edgegw device add") {
		t.Errorf("a technician reads %+v", fight)
	}
	seen := map[string]bool{}
	for deadline := time.After(30 * time.Second); len(seen) < 3; {
		select {
		case r := <-receipts:
			seen[r] = true
		case <-deadline:
			t.Fatalf("receipts of %d sales came", len(seen))
		}
	}
	close(quit)
	boxes.Wait()
	s.off()
}

// connectFrom logs pump-01 in from a loopback address.
func (s *testSite) connectFrom(ip string) (*brokertest.Client, error) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.authority.CAPEM())
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	conn, err := tls.DialWithDialer(&d, "tcp", s.tlsAddr.String(), &tls.Config{RootCAs: pool, ServerName: "localhost"})
	if err != nil {
		return nil, err
	}
	c, err := brokertest.Connect(conn, brokertest.Login{Version: 4, ClientID: "pump-01", Secret: s.secrets["pump-01"], Keepalive: 60})
	if err != nil || c.Ack.Code != 0 {
		conn.Close()
		return nil, fmt.Errorf("CONNACK %d, %w", c.Ack.Code, err)
	}
	return c, nil
}

// sellAndListen reports one sale and takes receipts until the line ends.
func sellAndListen(c *brokertest.Client, id string, receipts chan<- string) {
	if c.Send(c.SubscribeBytes(1, 1, topic("pump-01", "receipt"))) != nil ||
		c.Publish(topic("pump-01", "sale"), 1, 2, fmt.Sprintf(wholeEvent, id)) != nil {
		return
	}
	for {
		p, err := c.Read(time.Minute)
		if err != nil {
			return
		}
		if p.Type == brokertest.PUBLISH {
			receipts <- string(p.Payload)
			if c.Answer(brokertest.PUBACK, p.ID) != nil {
				return
			}
		}
	}
}

func TestFightInWords(t *testing.T) {
	since := time.Date(2026, 11, 22, 10, 42, 0, 0, time.Local)
	f := broker.Fight{Since: since, Last: since.Add(time.Hour), Times: 14, Remotes: [2]string{"10.0.0.7:51000", "10.0.0.8:40022"}}
	want := "Two connections fight for the name pump-07: 10.0.0.7:51000 and 10.0.0.8:40022, 14 times since 10:42"
	if got := fightCondition("pump-07", f).Title; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	f.Last = since.Add(25 * time.Hour)
	if got := fightCondition("pump-07", f).Title; !strings.HasSuffix(got, "since 2026-11-22 10:42") {
		t.Error(got)
	}
}
