package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"edgegw/admin"
	"edgegw/broker/brokertest"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
)

// clientTLS is what a device with this certificate dials with; nil: none.
func (s *testSite) clientTLS(c *admin.ClientCertificate) *tls.Config {
	s.t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.authority.CAPEM())
	cfg := &tls.Config{RootCAs: pool, ServerName: "localhost", ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	if c != nil {
		pair, err := tls.X509KeyPair([]byte(c.PEM), []byte(c.Key))
		if err != nil {
			s.t.Fatal(err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg
}

// login connects and gives the CONNACK's code, 255 where there was none.
func (s *testSite) login(cfg *tls.Config, id, user, secret string) (*brokertest.Client, byte) {
	s.t.Helper()
	conn, err := tls.Dial("tcp", s.tlsAddr.String(), cfg)
	if err != nil {
		return nil, 255
	}
	c, err := brokertest.Connect(conn, brokertest.Login{Version: 5, ClientID: id, Username: user, Secret: secret, NoLogin: user == "", Keepalive: 60, SessionExpiry: 3600})
	if err != nil {
		conn.Close()
		return nil, 255
	}
	s.t.Cleanup(func() { c.Close() })
	return c, c.Ack.Code
}

// gone waits until the gateway has ended the connection.
func gone(t *testing.T, c *brokertest.Client) {
	t.Helper()
	for {
		if _, err := c.Read(brokertest.Patience); err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Logf("it ended with %v", err)
			}
			return
		}
	}
}

func (s *testSite) certify(id sale.DeviceID) *admin.ClientCertificate {
	s.t.Helper()
	c, err := s.IssueCertificate(s.t.Context(), id, "anna")
	if err != nil || c.Certificate == nil {
		s.t.Fatal(c, err)
	}
	return c.Certificate
}

// notAuthorised is the one answer to every login in vain (0x86).
const notAuthorised = 0x86

// A certificate is its device's and nobody else's, and ends at once: when it is
// revoked, and with the replacement, the disabling and the removal of its device.
func TestCertificatesOnTheWire(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	s.add("pump-02")
	one := s.clientTLS(s.certify("pump-01"))
	for _, row := range []struct {
		name, id, user, secret string
		want                   byte
	}{
		{"its own", "pump-01", "", "", 0},
		{"its own, with the user name", "pump-01", "pump-01", "", 0},
		{"another client identifier", "pump-02", "", "", notAuthorised},
		{"another user name", "pump-01", "pump-02", s.secrets["pump-02"], notAuthorised},
		{"another device with its right secret", "pump-02", "pump-02", s.secrets["pump-02"], notAuthorised},
	} {
		if _, got := s.login(one, row.id, row.user, row.secret); got != row.want {
			t.Errorf("%s: CONNACK %#x, want %#x", row.name, got, row.want)
		}
	}
	add := func() *tls.Config {
		t.Helper()
		c, err := s.AddDevice(t.Context(), admin.AddDevice{DeviceID: "pump-03", RegisterID: "reg_pump-01", Cert: true}, "anna")
		if err != nil || c.Password != "" || c.Certificate == nil {
			t.Fatalf("%+v, %v", c, err)
		}
		return s.clientTLS(c.Certificate)
	}
	first := add()
	for _, row := range []struct {
		name  string
		cut   func() error
		again *tls.Config // what it comes back with, nil: the same
		want  byte
	}{
		{"revoked", func() error { return s.RevokeCertificate(t.Context(), "pump-03", "", "anna") }, nil, notAuthorised},
		{"disabled", func() error { return s.DisableDevice(t.Context(), "pump-03", "anna") }, nil, notAuthorised},
		{"enabled", func() error { return s.EnableDevice(t.Context(), "pump-03", "anna") }, nil, 0},
		{"replaced", func() error { _, err := s.ReplaceDevice(t.Context(), "pump-03", false, "anna"); return err }, nil, notAuthorised},
		{"removed", func() error { return s.RemoveDevice(t.Context(), "pump-03", "anna") }, nil, notAuthorised},
		{"its name given to another", func() error {
			_, err := s.AddDevice(t.Context(), admin.AddDevice{DeviceID: "pump-03", RegisterID: "reg_pump-02"}, "anna")
			return err
		}, nil, notAuthorised},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.name == "disabled" || row.name == "replaced" {
				if c, err := s.IssueCertificate(t.Context(), "pump-03", "anna"); err == nil {
					first = s.clientTLS(c.Certificate)
				}
			}
			c, code := s.login(first, "pump-03", "", "")
			if err := row.cut(); err != nil {
				t.Fatal(err)
			}
			if code == 0 && row.name != "enabled" {
				gone(t, c)
			}
			if _, got := s.login(first, "pump-03", "", ""); got != row.want {
				t.Errorf("CONNACK %#x, want %#x", got, row.want)
			}
		})
	}
}

// A resumed TLS session shows no certificate on the wire; its right is looked
// up all the same.
func TestARevokedCertificateIsNotResumed(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			s := newSite(t, sandbox.Options{}).on()
			defer s.off()
			s.add("pump-01")
			cfg := s.clientTLS(s.certify("pump-01"))
			cfg.MaxVersion = version
			for range 2 { // the second is resumed
				c, code := s.login(cfg, "pump-01", "", "")
				if code != 0 {
					t.Fatalf("CONNACK %#x", code)
				}
				if _, _, err := c.Subscribe(1, 1, topic("pump-01", "receipt")); err != nil { // reads the ticket, too
					t.Fatal(err)
				}
				c.Close()
			}
			conn, err := tls.Dial("tcp", s.tlsAddr.String(), cfg)
			if err != nil || !conn.ConnectionState().DidResume {
				t.Fatalf("not resumed: %v", err)
			}
			conn.Close()
			if err := s.RevokeCertificate(t.Context(), "pump-01", "", "anna"); err != nil {
				t.Fatal(err)
			}
			if _, got := s.login(cfg, "pump-01", "", ""); got != notAuthorised {
				t.Errorf("CONNACK %#x, want %#x", got, notAuthorised)
			}
		})
	}
}

// New hardware in an old place: the old client is out at once and its secret is
// dead; register, queue, numbering, receipts and history go on.
func TestReplaceDevice(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	s.sandbox.SetDown(true)
	c := s.connect("pump-01", 5)
	numbered := `{"sale_id":%q,"seq":%d,` + strings.TrimPrefix(wholeEvent, `{"sale_id":%q,`)
	for seq := 1; seq <= 2; seq++ {
		if err := c.Publish(topic("pump-01", "sale"), 1, uint16(seq), fmt.Sprintf(numbered, fmt.Sprint("old-", seq), seq)); err != nil {
			t.Fatal(err)
		}
		if p, _, err := c.Await(brokertest.PUBACK); err != nil || p.Code != 0 {
			t.Fatalf("PUBACK %#x, %v", p.Code, err)
		}
	}
	old := s.secrets["pump-01"]
	made, err := s.ReplaceDevice(t.Context(), "pump-01", false, "anna")
	if err != nil || made.Password == "" || made.Password == old || made.MQTTURL == "" || made.CAFile == "" {
		t.Fatalf("%+v, %v", made, err)
	}
	gone(t, c)
	if _, got := s.login(s.clientTLS(nil), "pump-01", "pump-01", old); got != notAuthorised {
		t.Errorf("the old secret: CONNACK %#x", got)
	}
	s.secrets["pump-01"] = made.Password
	c = s.connect("pump-01", 5, topic("pump-01", "receipt"))
	if err := c.Publish(topic("pump-01", "sale"), 1, 9, fmt.Sprintf(numbered, "new-3", 3)); err != nil {
		t.Fatal(err)
	}
	s.sandbox.SetDown(false)
	for _, want := range []string{"old-1", "old-2", "new-3"} {
		if r := awaitReceipt(t, c, nil); r.SaleID != want {
			t.Errorf("receipt of %s, want %s", r.SaleID, want)
		}
	}
	if text, there := s.condition("seq_gap"); there {
		t.Errorf("the numbering did not go on: %s", text)
	}
	var expect []sandbox.Expect
	for _, id := range []string{"old-1", "old-2", "new-3"} {
		expect = append(expect, sandbox.Expect{Register: "reg_pump-01", ExternalID: id, Total: 7622})
	}
	if err := s.sandbox.Check(expect); err != nil {
		t.Error(err)
	}
}
