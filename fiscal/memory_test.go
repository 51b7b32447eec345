package fiscal_test

import (
	"bytes"
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"edgegw/fiscal"
	"edgegw/sale"
)

// A key goes out in full with each request: one that HTTP/2 had put into the
// table of its header compression would stand in the memory of both sides as
// long as the connection is.
func TestNoKeyIsKeptForHeaderCompression(t *testing.T) {
	key := "ofk_reg_test_" + strings.Repeat("~!{}", 8) // compressed this would be longer, so it goes out as it is
	a := newAuthority(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{NextProtos: []string{"h2"},
		Certificates: []tls.Certificate{a.sign(t, time.Unix(0, 0), time.Now().Add(time.Hour), net.IPv4(127, 0, 0, 1))}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	heard := make(chan int) // how often the key has come over the first connection
	go listenFor(l, []byte(key), heard)

	transport := fiscal.NewTransport(fiscal.TransportOptions{RootCAs: a.pool})
	c := newClient(t, fiscal.Options{BaseURL: "https://" + l.Addr().String(), Transport: transport}, keyRing{reg: key})
	var calls sync.WaitGroup
	defer calls.Wait()
	told := 0
	for n := 1; n <= 2; n++ {
		calls.Go(func() { _, _ = c.Do(t.Context(), call(sale.StepStart, newUUID(), "x/1")) }) // nobody answers
		for told < n {
			select {
			case told = <-heard:
			case <-time.After(30 * time.Second):
				t.Errorf("the key came %d times with %d requests over one connection", told, n)
				return
			}
		}
	}
}

// listenFor takes one connection of HTTP/2, counts what it hears, and hangs up
// when it has heard it twice.
func listenFor(l net.Listener, key []byte, heard chan<- int) {
	conn, err := l.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0}) // SETTINGS, all as usual
	var all []byte
	buffer := make([]byte, 4096)
	for told := 0; told < 2; {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		all = append(all, buffer[:n]...)
		if now := bytes.Count(all, key); now > told {
			told = now
			heard <- told
		}
	}
}
