package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
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

// login connects with MQTT 5 and gives the CONNACK's code, 255 where there was
// none.
func (s *testSite) login(cfg *tls.Config, id, user, secret string) (*brokertest.Client, byte) {
	s.t.Helper()
	return s.loginAs(5, cfg, id, user, secret)
}

func (s *testSite) loginAs(version byte, cfg *tls.Config, id, user, secret string) (*brokertest.Client, byte) {
	s.t.Helper()
	conn, err := tls.Dial("tcp", s.tlsAddr.String(), cfg)
	if err != nil {
		return nil, 255
	}
	c, err := brokertest.Connect(conn, brokertest.Login{Version: version, ClientID: id, Username: user, Secret: secret, NoLogin: user == "", Keepalive: 60, SessionExpiry: 3600})
	if err != nil {
		conn.Close()
		return nil, 255
	}
	s.t.Cleanup(func() { c.Close() })
	return c, c.Ack.Code
}

// gone says that the gateway has ended the connection: a client that waited in
// vain for its end is no proof of it.
func gone(t *testing.T, c *brokertest.Client) {
	t.Helper()
	if _, err := c.AwaitEnd(); err != nil {
		t.Error(err)
	}
}

// alive says that the connection is there still.
func alive(t *testing.T, who string, c *brokertest.Client) {
	t.Helper()
	if _, err := c.Ping(); err != nil {
		t.Errorf("%s has lost its connection: %v", who, err)
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

// A certificate is its device's and nobody else's: who has pump-01's and says
// pump-02, in whatever field, gets the one answer, and pump-02 notices nothing.
func TestACertificateNamesItsDevice(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	s.add("pump-02")
	victim := s.connect("pump-02", 5, topic("pump-02", "receipt"))
	cfg := s.clientTLS(s.certify("pump-01"))
	for version, refused := range map[byte]byte{4: 5, 5: notAuthorised} {
		for _, row := range []struct {
			name, id, user, secret string
			right                  bool
		}{
			{"its own", "pump-01", "", "", true},
			{"its own, with the user name", "pump-01", "pump-01", "", true},
			{"another client identifier", "pump-02", "", "", false},
			{"another client identifier, its own user name", "pump-02", "pump-01", "", false},
			{"another user name", "pump-01", "pump-02", s.secrets["pump-02"], false},
			{"another device with its right secret", "pump-02", "pump-02", s.secrets["pump-02"], false},
		} {
			want := byte(0)
			if !row.right {
				want = refused
			}
			if _, got := s.loginAs(version, cfg, row.id, row.user, row.secret); got != want {
				t.Errorf("v%d, %s: CONNACK %#x, want %#x", version, row.name, got, want)
			}
		}
	}
	alive(t, "pump-02", victim)
	for id, says := range map[sale.DeviceID]bool{"pump-01": true, "pump-02": false} {
		if c, err := s.RenewPassword(t.Context(), id, "anna"); err != nil || strings.Contains(c.Notice, "edgegw device revoke "+string(id)) != says {
			t.Errorf("a new password of %s, whose certificates stay: %q, %v", id, c.Notice, err)
		}
	}
}

// What a device logged in with ends at once, and its connection with it: when
// its certificate is revoked, and when it is disabled, replaced or removed. Each
// row begins with a device and a certificate of its own, so that each has to end
// it by itself.
func TestCertificatesOnTheWire(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	var all []*tls.Config
	for i, row := range []struct {
		name string
		cut  func(id sale.DeviceID) error
	}{
		{"revoked", func(id sale.DeviceID) error { return s.RevokeCertificate(t.Context(), id, "", "anna") }},
		{"disabled", func(id sale.DeviceID) error { return s.DisableDevice(t.Context(), id, "anna") }},
		{"replaced", func(id sale.DeviceID) error { _, err := s.ReplaceDevice(t.Context(), id, false, "anna"); return err }},
		{"replaced, with a certificate", func(id sale.DeviceID) error { _, err := s.ReplaceDevice(t.Context(), id, true, "anna"); return err }},
		{"removed", func(id sale.DeviceID) error { return s.RemoveDevice(t.Context(), id, "anna") }},
		{"removed, and its name given to another", func(id sale.DeviceID) error {
			if err := s.RemoveDevice(t.Context(), id, "anna"); err != nil {
				return err
			}
			_, err := s.AddDevice(t.Context(), admin.AddDevice{DeviceID: id, RegisterID: "reg_pump-01", Cert: true}, "anna")
			return err
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			id := sale.DeviceID(fmt.Sprintf("kiosk-%d", i))
			made, err := s.AddDevice(t.Context(), admin.AddDevice{DeviceID: id, RegisterID: "reg_pump-01", Cert: true}, "anna")
			if err != nil || made.Password != "" || made.Certificate == nil {
				t.Fatalf("%+v, %v", made, err)
			}
			cfg := s.clientTLS(made.Certificate)
			all = append(all, cfg)
			c, code := s.login(cfg, string(id), "", "")
			if code != 0 {
				t.Fatalf("CONNACK %#x", code)
			}
			if err := row.cut(id); err != nil {
				t.Fatal(err)
			}
			gone(t, c)
			if _, got := s.login(cfg, string(id), "", ""); got != notAuthorised {
				t.Errorf("CONNACK %#x, want %#x", got, notAuthorised)
			}
		})
	}
	if d, err := s.Device(t.Context(), "kiosk-1"); err != nil || d.State != "disabled" {
		t.Errorf("a disabled device: %+v, %v", d, err)
	}
	if x, err := s.Explain(t.Context(), "kiosk-1"); err != nil || !strings.HasPrefix(x.Sentence, "kiosk-1 is disabled") || !strings.Contains(x.Sentence, "edgegw device enable kiosk-1") {
		t.Errorf("a disabled device explained: %q, %v", x.Sentence, err)
	}
	if err := s.EnableDevice(t.Context(), "kiosk-1", "anna"); err != nil {
		t.Fatal(err)
	}
	s.off() // what is revoked is so on disk
	s.on()
	defer s.off()
	for i, cfg := range all {
		want := byte(notAuthorised)
		if i == 1 {
			want = 0 // enabled again
		}
		if _, got := s.login(cfg, fmt.Sprintf("kiosk-%d", i), "", ""); got != want {
			t.Errorf("kiosk-%d after a restart: CONNACK %#x, want %#x", i, got, want)
		}
	}
}

// Revoking ends the connection by what was revoked, and no other.
func TestRevokingEndsItsOwnConnectionOnly(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	spare, used := s.certify("pump-01"), s.certify("pump-01")
	revoke := func(c *admin.ClientCertificate) {
		t.Helper()
		if err := s.RevokeCertificate(t.Context(), "pump-01", c.Serial, "anna"); err != nil {
			t.Fatal(err)
		}
	}
	c, code := s.login(s.clientTLS(used), "pump-01", "", "")
	if code != 0 {
		t.Fatalf("CONNACK %#x", code)
	}
	revoke(spare)
	alive(t, "the one by another certificate", c)
	revoke(used)
	gone(t, c)
	third := s.certify("pump-01")
	c = s.connect("pump-01", 4)
	revoke(third)
	alive(t, "the one by its secret", c)
}

// A replacement that could not be finished says how the device stands, and can
// be done again.
func TestAReplacementWithoutItsCertificate(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	key := filepath.Join(s.dir, "site-ca-key.pem")
	if err := os.Rename(key, key+".away"); err != nil {
		t.Fatal(err)
	}
	_, err := s.ReplaceDevice(t.Context(), "pump-01", true, "anna")
	if err == nil || !strings.Contains(err.Error(), "site-ca-key.pem") || !strings.HasSuffix(err.Error(), "edgegw device replace pump-01 --cert") {
		t.Errorf("got %v", err)
	}
	if _, got := s.login(s.clientTLS(nil), "pump-01", "pump-01", s.secrets["pump-01"]); got != notAuthorised {
		t.Errorf("the old secret: CONNACK %#x", got)
	}
	if err := os.Rename(key+".away", key); err != nil {
		t.Fatal(err)
	}
	c, err := s.ReplaceDevice(t.Context(), "pump-01", true, "anna")
	if err != nil {
		t.Fatal(err)
	}
	if _, got := s.login(s.clientTLS(c.Certificate), "pump-01", "", ""); got != 0 {
		t.Errorf("CONNACK %#x", got)
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
