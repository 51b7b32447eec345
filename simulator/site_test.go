package simulator

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// patience is how long a test waits for what must come. It decides only how
// long a broken build takes to say so.
const patience = 30 * time.Second

// message is one PUBLISH of a device as the broker read it.
type message struct {
	device  string
	topic   string // below the device's prefix
	payload []byte
	dup     bool
	id      uint16
}

// site is a real MQTT broker that lets everybody in, writes down what devices
// publish and answers as the test says.
type site struct {
	mqtt.HookBase
	server *mqtt.Server
	addr   string

	later sync.WaitGroup // what the site sends by itself

	mu      sync.Mutex
	changed chan struct{}
	got     []message
	pubacks int                 // of devices, for what the site sent them
	answer  func(message) error // what OnPublish says; nil: stored
	acked   func()              // called when a device's PUBACK was read
}

func startSite(t *testing.T, config *tls.Config) *site {
	t.Helper()
	s := &site{changed: make(chan struct{}), server: mqtt.New(&mqtt.Options{
		InlineClient: true, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	if config != nil {
		l = tls.NewListener(l, config)
	}
	if err := s.server.AddHook(s, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.server.AddListener(listeners.NewNet("test", l)); err != nil {
		t.Fatal(err)
	}
	if err := s.server.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.later.Wait(); _ = s.server.Close() })
	s.accept(t, "yes")
	return s
}

func (s *site) ID() string { return "test site" }

func (s *site) Provides(b byte) bool {
	return bytes.Contains([]byte{mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnConnect, mqtt.OnPublish, mqtt.OnPacketRead}, []byte{b})
}

func (s *site) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }
func (s *site) OnACLCheck(*mqtt.Client, string, bool) bool              { return true }

// OnConnect keeps the broker from its own dead-lock with clients that send a
// Receive Maximum (DEPENDENCIES.md 1.7 B2).
func (s *site) OnConnect(cl *mqtt.Client, _ packets.Packet) error {
	cl.Properties.Props.ReceiveMaximum = 0
	cl.State.Inflight.ResetSendQuota(0)
	return nil
}

func (s *site) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if cl.Net.Inline || strings.HasSuffix(pk.TopicName, "/status") {
		return pk, nil
	}
	m := message{cl.ID, strings.TrimPrefix(pk.TopicName, topicRoot+cl.ID+"/"), bytes.Clone(pk.Payload), pk.FixedHeader.Dup, pk.PacketID}
	s.mu.Lock()
	s.got = append(s.got, m)
	answer := s.answer
	s.tell()
	s.mu.Unlock()
	if answer != nil {
		if err := answer(m); err != nil {
			return pk, err
		}
	}
	return pk, packets.CodeSuccessIgnore
}

func (s *site) OnPacketRead(_ *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if pk.FixedHeader.Type == packets.Puback {
		s.mu.Lock()
		s.pubacks++
		acked := s.acked
		s.tell()
		s.mu.Unlock()
		if acked != nil {
			acked()
		}
	}
	return pk, nil
}

func (s *site) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *site) answers(f func(message) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = f
}

// withhold gives no answer at all and keeps the connection.
func withhold(message) error { return packets.ErrRejectPacket }

func (s *site) accept(t *testing.T, word string) {
	t.Helper()
	s.publish(t, "edgegw/v1/site/status", fmt.Sprintf(`{"accept":%q,"uplink":"up"}`, word), true)
}

func (s *site) publish(t *testing.T, topic, body string, retain bool) {
	t.Helper()
	if err := s.server.Publish(topic, []byte(body), retain, 1); err != nil {
		t.Error(err)
	}
}

// wait gives what was published once there are n messages.
func (s *site) wait(t *testing.T, n int) []message {
	t.Helper()
	var out []message
	s.until(t, fmt.Sprintf("%d messages", n), func() bool { out = append([]message(nil), s.got...); return len(s.got) >= n })
	return out
}

func (s *site) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.After(patience)
	for {
		s.mu.Lock()
		done, changed := ok(), s.changed
		s.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// device builds a device of that site with hurried defaults.
func (s *site) device(t *testing.T, cfg Config) *Device {
	t.Helper()
	if cfg.DeviceID == "" {
		cfg.DeviceID = "pump-07"
	}
	if cfg.URL == "" {
		cfg.URL = "mqtt://" + s.addr
	}
	if cfg.Seed == 0 {
		cfg.Seed = 7
	}
	if cfg.Backoff == nil {
		cfg.Backoff = func(int) time.Duration { return time.Millisecond }
	}
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// run starts d and gives a function that waits for its end.
func run(t *testing.T, d interface{ Run(context.Context) error }) (wait func() error, stop func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	var once sync.Once
	var err error
	wait = func() error { once.Do(func() { err = <-ended }); return err }
	t.Cleanup(func() { cancel(); _ = wait() })
	return wait, cancel
}

// see waits until the device is as condition says.
func see(t *testing.T, d *Device, what string, condition func(Snapshot) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		d.mu.Lock()
		changed := d.changed
		d.mu.Unlock()
		if condition(d.Snapshot()) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s: %+v", what, d.Snapshot())
		}
	}
}
