package broker_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"edgegw/broker"
	"edgegw/broker/brokertest"
)

// closed reads until the broker closes the socket, whatever comes before.
func closed(t testing.TB, c net.Conn) []byte {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(brokertest.Patience))
	var all []byte
	buf := make([]byte, 512)
	for {
		n, err := c.Read(buf)
		all = append(all, buf[:n]...)
		if t2, ok := err.(net.Error); ok && t2.Timeout() {
			t.Fatal("the socket is still open")
		}
		if err != nil {
			return all
		}
	}
}

// A socket that never finishes CONNECT is closed; mochi would keep it for ever.
func TestSocketsWithoutConnect(t *testing.T) {
	s := start(t)
	var wg sync.WaitGroup
	for _, said := range [][]byte{
		nil,                        // nothing at all
		{0x10, 60, 0, 4, 'M', 'Q'}, // half a CONNECT
		{0x10},
	} {
		c := s.dial()
		must(t, func() error { _, err := c.Write(said); return err }())
		wg.Go(func() { closed(t, c) })
	}
	wg.Wait()
	eventually(t, "three unfinished", func() bool { return s.b.Stats().Unfinished == 3 && s.b.Stats().Sockets == 0 })
	nothing(t, s.device(5, "pump-01"))
}

// Bytes that are no MQTT, or too much of it, end their own connection only.
func TestBadBytes(t *testing.T) {
	s := start(t)
	other := s.device(4, "pump-02")
	for name, b := range map[string][]byte{
		"a CONNECT of 200 MB":     {0x10, 0x80, 0x80, 0x80, 0x60},
		"a length without an end": {0x10, 0xff, 0xff, 0xff, 0xff, 0xff},
		"HTTP":                    []byte("GET / HTTP/1.1\r\n\r\n"),
		"PUBLISH before CONNECT":  {0x30, 3, 0, 1, 'a'},
		"CONNACK":                 {0x20, 2, 0, 0},
	} {
		c := s.dial()
		must(t, func() error { _, err := c.Write(b); return err }())
		if got := closed(t, c); len(got) > 0 {
			t.Errorf("%s: answered % x", name, got)
		}
	}
	for name, b := range map[string][]byte{
		"truncated SUBSCRIBE":      {0x82, 6, 0, 1, 0, 0, 1, 0x61}, // kills plain mochi
		"truncated UNSUBSCRIBE":    {0xA2, 5, 0, 1, 0, 0, 9},
		"a PUBLISH of 64 KiB":      brokertest.Message{Topic: topic("pump-01", "sale"), QoS: 1, ID: 1, Payload: make([]byte, 64<<10)}.Bytes(true),
		"PUBLISH with QoS 3":       {0x36, 5, 0, 1, 'a', 0, 1},
		"PUBREC nobody asked for":  {0x50, 2, 0, 1},
		"PUBCOMP nobody asked for": {0x70, 2, 0, 1},
		"a second CONNECT":         login(5, "pump-01").Bytes(),
		"SUBACK":                   {0x90, 4, 0, 1, 0, 0},
		"AUTH":                     {0xF0, 2, 0x18, 0},
	} {
		c := s.device(5, "pump-01")
		must(t, c.Send(b))
		got, err := c.AwaitEnd()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, p := range got {
			if p.Type != brokertest.DISCONNECT {
				t.Errorf("%s: answered %+v", name, p)
			}
		}
	}
	nothing(t, other)
	eventually(t, "one panic recovered: the truncated SUBSCRIBE", func() bool { return s.b.Stats().Panics == 1 })
	if len(s.accept.Got()) != 0 {
		t.Error("something was stored")
	}
	c := s.device(5, "pump-01") // none of it harms what follows
	must(t, c.Publish(topic("pump-01", "sale"), 1, 1, strings.Repeat("x", 60<<10)))
	readID(t, c, brokertest.PUBACK, 1, 0)
}

// faulty is a listener whose Accept fails a number of times.
type faulty struct {
	net.Listener
	left atomic.Int32
}

func (f *faulty) Accept() (net.Conn, error) {
	if f.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return f.Listener.Accept()
}

// Errors of Accept are tried again; plain mochi stops listening for good.
func TestListenerOutlivesAcceptErrors(t *testing.T) {
	s := start(t, func(_ *site, o *optionsOf) {
		f := &faulty{Listener: o.Plain}
		f.left.Store(5)
		o.Plain = f
	})
	nothing(t, s.device(4, "pump-01"))
	if n := s.b.Stats().AcceptErrors; n != 5 {
		t.Fatalf("%d errors counted, want 5", n)
	}
}

// A listener that is gone for good ends Run with its cause: a gateway that does
// not listen must not look healthy.
func TestDeadListenerEndsRun(t *testing.T) {
	l := listen(t)
	b, err := broker.New(broker.Options{Plain: l}, brokertest.NewGuard(), &brokertest.Acceptor{}, brokertest.NewMailbox(), brokertest.NewSessions())
	must(t, err)
	done := make(chan error, 1)
	go func() { done <- b.Run(t.Context()) }()
	must(t, l.Close())
	select {
	case err := <-done:
		if !errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), "accept on") {
			t.Fatalf("Run: %v", err)
		}
	case <-time.After(brokertest.Patience):
		t.Fatal("Run goes on without a listener")
	}
	must(t, b.Close())
}

func TestConnectionLimits(t *testing.T) {
	s := start(t, func(_ *site, o *optionsOf) { o.MaxConnections, o.PerAddress = 3, 2 })
	a, b := s.device(4, "pump-01"), s.device(4, "pump-02")
	closed(t, s.dial())
	if n := s.b.Stats().Turned; n != 1 {
		t.Fatalf("%d turned away", n)
	}
	must(t, a.Goodbye())
	eventually(t, "a place", func() bool { return s.b.Stats().Sockets == 1 })
	nothing(t, s.device(4, "pump-03"))
	nothing(t, b)
}

// Close tells MQTT 5 devices, ends everything, and is safe twice; before Run, too.
func TestClose(t *testing.T) {
	s := start(t)
	v4, v5, silent := s.device(4, "pump-01"), s.device(5, "pump-02"), s.dial()
	must(t, func() error { _, err := silent.Write([]byte{0x10}); return err }())
	s.stop()
	if got, err := v4.AwaitEnd(); err != nil || len(got) > 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	if got, err := v5.AwaitEnd(); err != nil || len(got) != 1 || got[0].Code != 0x8B {
		t.Fatalf("%+v, %v", got, err)
	}
	closed(t, silent)
	must(t, s.b.Close())
	if st := s.b.Stats(); st.Sockets != 0 || st.Connections != 0 {
		t.Fatalf("%+v", st)
	}

	b, err := broker.New(broker.Options{Plain: listen(t)}, s.guard, s.accept, s.mail, s.sessions)
	must(t, err)
	must(t, b.Close())
	must(t, b.Close())
}

// A device that does not read cannot hold up its own successor: mochi writes a
// DISCONNECT to it first, behind what waits there, and that write has 15 s.
func TestTakeOverOfASilentDevice(t *testing.T) {
	s := start(t)
	for i := range 4 {
		s.mail.Put("pump-01", fmt.Sprint(i), strings.Repeat("r", 8<<20)) // fills every buffer on the way
	}
	c := s.device(5, "pump-01")
	must(t, c.Conn.(*net.TCPConn).SetReadBuffer(16<<10))
	subscribe(t, c, 1, topic("pump-01", "receipt"))
	must(t, c.Conn.SetReadDeadline(time.Now().Add(brokertest.Patience)))
	_, err := c.Conn.Read(make([]byte, 1)) // the first receipt is being written; it is read no further
	must(t, err)
	next := brokertest.New(s.dial(), true)
	must(t, next.Send(login(5, "pump-01").Bytes()))
	if p, err := next.Read(10 * time.Second); err != nil || p.Type != brokertest.CONNACK || p.Code != 0 {
		t.Fatalf("%+v, %v: before the write limit of the old connection", p, err)
	}
	if p := read(t, next, brokertest.PUBLISH); len(p.Payload) != 8<<20 {
		t.Fatal("another receipt")
	}
}

// locked is a writer for logs.
type locked struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.String()
}

// No payload and no secret reaches a log, at any level.
func TestLogsHoldNoPayload(t *testing.T) {
	var out locked
	s := start(t, func(s *site, o *optionsOf) {
		o.Log = slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
		s.accept.Decide = decide("", errors.New("disk full"), nil)
	})
	const canary = "CANARY-PAYLOAD"
	l := login(5, "pump-01")
	l.Will, l.WillTopic, l.WillPayload = true, topic("pump-01", "status"), canary
	for _, m := range []brokertest.Message{
		{Topic: topic("pump-01", "sale"), QoS: 0, Payload: []byte(canary)},
		{Topic: topic("pump-01", "sale"), QoS: 1, ID: 1, Payload: []byte(canary)},
		{Topic: topic("pump-01", "sale"), QoS: 2, ID: 1, Payload: []byte(canary)},
		{Topic: topic("pump-02", "sale"), QoS: 2, ID: 1, Payload: []byte(canary)},
		{Topic: topic("pump-01", "sale"), QoS: 1, ID: 1, Alias: 9, Payload: []byte(canary)},
		{Topic: topic("pump-01", "receipt/get"), QoS: 1, ID: 1, Payload: []byte(canary)},
	} {
		c := s.connect(l)
		must(t, c.Send(m.Bytes(true)))
		_ = c.Send([]byte{0xF0, 2, 0x18, 0}) // ends the connection
		if _, err := c.AwaitEnd(); err != nil {
			t.Fatal(err)
		}
	}
	l.Secret = canary
	s.try(l)
	s.stop()
	log := out.String()
	encoded := base64.StdEncoding.EncodeToString([]byte(canary)) // how JSON shows bytes
	if strings.Contains(log, canary) || strings.Contains(log, encoded) || strings.Contains(log, "s-pump-01") {
		t.Fatalf("a payload or a secret is in the log:\n%s", log)
	}
	if !strings.Contains(log, "could not be stored") || !strings.Contains(log, "prove itself") {
		t.Fatalf("the log lacks what a technician needs:\n%s", log)
	}
}
