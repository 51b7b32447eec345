package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/broker/brokertest"
	"edgegw/clock"
	"edgegw/config"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/secret"
)

// site is a whole gateway over real sockets, beside a stand-in over real HTTPS.
type testSite struct {
	t       testing.TB
	dir     string
	flags   map[string]string
	options Options
	sandbox *sandbox.Service
	server  *sandbox.Server
	logs    *lockedBuffer

	*Gateway
	stop    context.CancelFunc
	ended   chan error
	secrets map[sale.DeviceID]string
	keys    []string // every register key there ever was
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newSite(t testing.TB, o sandbox.Options) *testSite {
	t.Helper()
	s := &testSite{t: t, dir: t.TempDir(), sandbox: sandbox.New(o), logs: &lockedBuffer{}, secrets: map[sale.DeviceID]string{}}
	var err error
	if s.server, err = s.sandbox.ListenTLS("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.server.Close() })
	ca := filepath.Join(t.TempDir(), "sandbox-ca.pem")
	if err := os.WriteFile(ca, s.server.CAPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	s.flags = map[string]string{"site.name": "test", "data_dir": s.dir, "allow_volatile_data": "true", "mqtt.tls_listen": "127.0.0.1:0",
		"mqtt.messages_per_second": "1000000", "http.listen": "127.0.0.1:0", "openfiskal.base_url": s.server.URL(),
		"openfiskal.ca_file": ca, "openfiskal.requests_per_second": "100000"}
	s.options = Options{Version: "test", Clock: clock.Options{Synchronised: func() bool { return true }}, Log: slog.New(slog.NewTextHandler(s.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	return s
}

// on starts the gateway and serves.
func (s *testSite) on() *testSite {
	s.t.Helper()
	c, err := config.Load(config.Options{Flags: s.flags, Search: []string{}})
	if err != nil {
		s.t.Fatal(err)
	}
	g, err := New(context.Background(), c, s.options)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	s.Gateway, s.stop, s.ended = g, cancel, ended
	s.t.Cleanup(func() { cancel() })
	return s
}

// off ends the gateway cleanly.
func (s *testSite) off() {
	s.t.Helper()
	s.stop()
	if err := <-s.ended; err != nil {
		s.t.Errorf("the gateway ended with %v", err)
	}
}

// add makes a device on a register of its own.
func (s *testSite) add(id sale.DeviceID) {
	s.t.Helper()
	register := "reg_" + string(id)
	key := s.sandbox.MustAddRegister(register)
	s.keys = append(s.keys, key)
	c, err := s.AddDevice(context.Background(), admin.AddDevice{DeviceID: id, RegisterID: sale.RegisterID(register), Kind: "pump", Key: secret.FromString(key)}, "test")
	if err != nil {
		s.t.Fatal(err)
	}
	if c.Key != "active" {
		s.t.Fatalf("key of %s is %s: %s", id, c.Key, c.Notice)
	}
	s.secrets[id] = c.Password
}

func (s *testSite) dial() net.Conn {
	s.t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.authority.CAPEM())
	conn, err := tls.Dial("tcp", s.tlsAddr.String(), &tls.Config{RootCAs: pool, ServerName: "localhost"})
	if err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// connect logs a device in and subscribes it to what is sent to it.
func (s *testSite) connect(id sale.DeviceID, version byte, filters ...string) *brokertest.Client {
	s.t.Helper()
	c, err := brokertest.Connect(s.dial(), brokertest.Login{Version: version, ClientID: string(id), Secret: s.secrets[id], Keepalive: 60, SessionExpiry: 3600})
	if err != nil || c.Ack.Code != 0 {
		s.t.Fatalf("connect %s: %v, code %d", id, err, c.Ack.Code)
	}
	if len(filters) > 0 {
		if _, _, err := c.Subscribe(9000, 1, filters...); err != nil {
			s.t.Fatal(err)
		}
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

func topic(id sale.DeviceID, what string) string { return "edgegw/v1/" + string(id) + "/" + what }

const (
	startEvent    = `{"sale_id":%q,"occurred_at":"2026-11-22T08:31:07.250+01:00","currency":"EUR","metadata":{"nozzle":"2"}}`
	completeEvent = `{"sale_id":%q,"occurred_at":"2026-11-22T08:33:00+01:00","line_items":[{"description":"Super E10","product_ref":"E10","quantity":"42.37","unit":"l","unit_price":"1.799","amount":7622,"tax":{"rate":"0.19","category":"standard"}}],"payments":[{"method":"card","direction":"inbound","amount":7622,"card":{"scheme":"visa","last4":"4242"}}]}`
	wholeEvent    = `{"sale_id":%q,"occurred_at":"2026-11-22T08:33:00+01:00","currency":"EUR","line_items":[{"description":"Super E10","quantity":"42.37","unit":"l","unit_price":"1.799","amount":7622,"tax":{"rate":"0.19","category":"standard"}}],"payments":[{"method":"card","direction":"inbound","amount":7622}]}`
)

func TestASaleOverTheWholeWay(t *testing.T) {
	for _, version := range []byte{4, 5} {
		t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
			s := newSite(t, sandbox.Options{}).on()
			s.add("pump-01")
			c := s.connect("pump-01", version, topic("pump-01", "receipt"), topic("pump-01", "sale/ack"))
			for i, e := range []struct{ kind, payload string }{{"sale/start", startEvent}, {"sale/complete", completeEvent}} {
				if err := c.Publish(topic("pump-01", e.kind), 1, uint16(i+1), fmt.Sprintf(e.payload, "s1")); err != nil {
					t.Fatal(err)
				}
			}
			receipt := awaitReceipt(t, c, map[string]int{"queued": 2})
			if receipt.SaleID != "s1" || receipt.State != "completed" || receipt.FiscalState != "succeeded" || receipt.DocumentNumber == "" ||
				receipt.Delayed || !bytes.Contains(receipt.Fiscal, []byte(`"qr_data"`)) {
				t.Errorf("receipt %+v", receipt)
			}
			if err := s.sandbox.Check([]sandbox.Expect{{Register: "reg_pump-01", ExternalID: "s1", Total: 7622}}); err != nil {
				t.Error(err)
			}
			await(t, "the receipt's acknowledgement to be recorded", func() bool {
				st, err := s.Status(t.Context())
				return err == nil && st.Totals.Receipts == 0 && st.Totals.Confirmed == 1
			})
			s.off()
		})
	}
}

// awaitReceipt reads until a receipt comes, acknowledges it, and checks that
// every acknowledgement of an event said what it should.
func awaitReceipt(t *testing.T, c *brokertest.Client, acks map[string]int) sale.Receipt {
	t.Helper()
	got := map[string]int{}
	for {
		p, err := c.Read(brokertest.Patience)
		if err != nil {
			t.Fatalf("no receipt, acks %v: %v", got, err)
		}
		if p.Type != brokertest.PUBLISH {
			continue
		}
		if p.QoS() == 1 {
			if err := c.Answer(brokertest.PUBACK, p.ID); err != nil {
				t.Fatal(err)
			}
		}
		switch {
		case strings.HasSuffix(p.Topic, "/sale/ack"):
			var ack struct{ Status string }
			if err := json.Unmarshal(p.Payload, &ack); err != nil {
				t.Fatal(err)
			}
			got[ack.Status]++
		case strings.HasSuffix(p.Topic, "/receipt"):
			for status, n := range acks {
				if got[status] != n {
					t.Errorf("%d acks %q, want %d", got[status], status, n)
				}
			}
			var r sale.Receipt
			if err := json.Unmarshal(p.Payload, &r); err != nil {
				t.Fatal(err)
			}
			return r
		}
	}
}

// await waits for a condition that nothing announces.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(90 * time.Second) // the longest back-off, and more
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestQueueFillsWithoutUplinkAndDrainsAfterARestart(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	s.sandbox.SetDown(true)
	c := s.connect("pump-01", 5, topic("pump-01", "receipt"))
	var expect []sandbox.Expect
	for i := range 20 {
		id := fmt.Sprintf("s%02d", i)
		expect = append(expect, sandbox.Expect{Register: "reg_pump-01", ExternalID: id, Total: 7622})
		if err := c.Publish(topic("pump-01", "sale"), 1, uint16(i+1), fmt.Sprintf(wholeEvent, id)); err != nil {
			t.Fatal(err)
		}
		if p, _, err := c.Await(brokertest.PUBACK); err != nil || p.Code != 0 || p.ID != uint16(i+1) {
			t.Fatalf("sale %d: %v, code %d", i, err, p.Code)
		}
	}
	await(t, "the uplink to be seen down", func() bool { st, err := s.Status(t.Context()); return err == nil && st.Uplink == "down" })
	st, err := s.Status(t.Context())
	if err != nil || st.Totals.Waiting != 20 || !strings.Contains(st.Sentence, "20 sales wait") {
		t.Errorf("status %+v, %v", st, err)
	}
	s.off()
	s.sandbox.SetDown(false)
	s.on()
	c = s.connect("pump-01", 5)
	if !c.Ack.SessionPresent {
		t.Error("the MQTT session did not survive the restart")
	}
	for i := range 20 { // the subscription survived with it
		if r := awaitReceipt(t, c, nil); r.SaleID != expect[i].ExternalID {
			t.Fatalf("receipt %d is of %s", i, r.SaleID)
		}
	}
	if err := s.sandbox.Check(expect); err != nil {
		t.Error(err)
	}
	s.off()
}

// No register key and no device secret in clear in any file, any log line at
// debug level, or any answer.
func TestNoKeyInClear(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	s.add("pump-02")
	c := s.connect("pump-01", 5, topic("pump-01", "receipt"))
	if err := c.Publish(topic("pump-01", "sale"), 1, 1, fmt.Sprintf(wholeEvent, "s1")); err != nil {
		t.Fatal(err)
	}
	awaitReceipt(t, c, nil)
	s.keys = append(s.keys, s.sandbox.Rotate("reg_pump-02"))
	if _, err := s.SetKey(t.Context(), admin.SetKey{DeviceID: "pump-02", Key: secret.FromString(s.keys[2])}, "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SetKey(t.Context(), admin.SetKey{DeviceID: "pump-02", Key: secret.FromString(s.keys[0])}, "test"); err == nil {
		t.Error("the key of another register was taken")
	} else {
		fmt.Fprintln(s.logs, err)
	}
	var answers []any
	st, err := s.Status(t.Context())
	answers = append(answers, st, err)
	devices, err := s.Devices(t.Context())
	answers = append(answers, devices, err)
	sales, err := s.Sales(t.Context(), admin.SaleFilter{})
	answers = append(answers, sales, err)
	for _, a := range answers {
		b, _ := json.Marshal(a)
		fmt.Fprintf(s.logs, "%s %+v\n", b, a)
	}
	fmt.Fprintf(s.logs, "%+v %#v\n", s.config, s.config)
	search := func(name string, content []byte) {
		for _, k := range append([]string{s.secrets["pump-01"], s.secrets["pump-02"]}, s.keys...) {
			if k == "" || bytes.Contains(content, []byte(k)) {
				t.Errorf("%s holds a secret in clear", name)
			}
		}
	}
	files := func() {
		err := filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				var b []byte
				if b, err = os.ReadFile(path); err == nil {
					search(path, b)
				}
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	s.db.Close() // so that reading the files takes no lock from SQLite
	files()
	s.stop()
	<-s.ended
	files()
	search("the log", []byte(s.logs.String()))
	if !strings.Contains(s.logs.String(), "the gateway runs") {
		t.Error("there is no log to search")
	}
}

// Any answer ends the wait for the uplink, whoever asked: a technician who adds a
// device has just shown that OpenFiskal can be reached. So does a link that comes
// up.
func TestTheUplinkIsTriedAtOnce(t *testing.T) {
	for _, row := range []struct {
		name string
		kick func(s *testSite)
	}{
		{"a key was checked", func(s *testSite) { s.add("pump-02") }},
		{"a link came up", func(s *testSite) { s.linkUp() }},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newSite(t, sandbox.Options{})
			s.options.Jitter = func(time.Duration) time.Duration { return time.Hour } // by itself it would take that long
			s.on()
			defer s.off()
			s.add("pump-01")
			s.sandbox.SetDown(true)
			s.fiscal.CloseIdle() // so that the sale cannot be sent, and is not in doubt
			c := s.connect("pump-01", 5, topic("pump-01", "receipt"))
			if err := c.Publish(topic("pump-01", "sale"), 1, 1, fmt.Sprintf(wholeEvent, "s1")); err != nil {
				t.Fatal(err)
			}
			await(t, "the uplink to be seen down", func() bool { return !s.relay.Uplink().Up })
			s.sandbox.SetDown(false)
			row.kick(s)
			if r := awaitReceipt(t, c, nil); r.State != "completed" {
				t.Errorf("receipt %+v", r)
			}
		})
	}
}
