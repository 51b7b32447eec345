package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"edgegw/broker/brokertest"
	"edgegw/clock"
	"edgegw/fiscal/sandbox"
	"edgegw/health"
)

// operator puts a certificate of his own in place, for localhost until end.
func operator(t *testing.T, certFile, keyFile string, end time.Time) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "operator"}, DNSNames: []string{"localhost"},
		NotBefore: time.Unix(0, 0), NotAfter: end, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: encoded}} {
		if err := os.WriteFile(path+".new", pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// An operator's certificate is taken into use when its files change, without a
// restart and without dropping a connection; one that nears its end, or cannot
// be used, is said.
func TestAnOperatorsCertificate(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "op.pem"), filepath.Join(dir, "op-key.pem")
	s.flags["mqtt.cert_file"], s.flags["mqtt.key_file"] = certFile, keyFile
	first := operator(t, certFile, keyFile, time.Now().AddDate(1, 0, 0))
	s.on()
	defer s.off()
	s.add("pump-01")
	dial := func(trusted *x509.Certificate) (*tls.Conn, error) {
		roots := x509.NewCertPool()
		roots.AddCert(trusted)
		return tls.Dial("tcp", s.tlsAddr.String(), &tls.Config{RootCAs: roots, ServerName: "localhost", Time: func() time.Time { return time.Unix(1, 0) }})
	}
	conn, err := dial(first)
	if err != nil {
		t.Fatal(err)
	}
	c, err := brokertest.Connect(conn, brokertest.Login{Version: 5, ClientID: "pump-01", Secret: s.secrets["pump-01"], Keepalive: 60})
	if err != nil || c.Ack.Code != 0 {
		t.Fatal(err, c.Ack.Code)
	}
	defer c.Close()
	served := func(what string, trusted *x509.Certificate) {
		t.Helper()
		await(t, what+" to be served", func() bool {
			conn, err := dial(trusted)
			if err == nil {
				conn.Close()
			}
			return err == nil
		})
		alive(t, what+": the device that was connected before", c)
	}
	last := first
	for _, row := range []struct {
		name     string
		left     time.Duration
		severity string // "" where nothing is said
		says     string
	}{
		{"a year is left", 365 * 24 * time.Hour, "", ""},
		{"three weeks are left", 21 * 24 * time.Hour, "notice", "ends on"},
		{"a week is left", 7 * 24 * time.Hour, "attention", "ends on"},
		{"it has ended", -time.Hour, "attention", "ended on"},
	} {
		last = operator(t, certFile, keyFile, time.Now().Add(row.left))
		served(row.name, last)
		if severity, text := s.standing("certificate_ending"); severity != row.severity || !strings.Contains(text, row.says) {
			t.Errorf("%s: %s %q, want %s", row.name, severity, text, row.severity)
		}
	}
	if err := os.WriteFile(certFile, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if severity, text := s.standing("certificate_files"); severity != "attention" || !strings.Contains(text, certFile) {
		t.Errorf("a broken file: %s %q", severity, text)
	}
	served("the one before the broken file", last)
}

// standing gives severity and text of a condition, "" where it does not hold.
func (s *testSite) standing(code string) (severity, text string) {
	s.t.Helper()
	st, err := s.Status(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, c := range st.Conditions {
		if c.Code == code {
			return c.Severity.String(), c.Title + " | " + c.Remedy
		}
	}
	return "", ""
}

// A certificate of the site's own that cannot be renewed is said until it is;
// and the end of the CA is said years before.
func TestTheSitesOwnCertificates(t *testing.T) {
	var ahead atomic.Int64
	s := newSite(t, sandbox.Options{})
	s.options.Clock = clock.Options{Synchronised: func() bool { return true }, Wall: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }}
	s.on()
	defer s.off()
	if severity, text := s.standing("certificate_renewal"); severity != "" || s.renew() != renewEvery {
		t.Errorf("at first: %s %q", severity, text)
	}
	key := filepath.Join(s.dir, "site-ca-key.pem")
	if err := os.Rename(key, key+".away"); err != nil {
		t.Fatal(err)
	}
	ahead.Store(int64(time.Until(s.authority.Leaf().NotAfter.AddDate(0, 0, -20))))
	if again := s.renew(); again != renewAgain {
		t.Errorf("it is tried again after %s, want %s", again, renewAgain)
	}
	if severity, text := s.standing("certificate_renewal"); severity != "attention" || !strings.Contains(text, "site-ca-key.pem") || !strings.Contains(text, date(s.authority.Leaf().NotAfter)) {
		t.Errorf("without the CA's key: %s %q", severity, text)
	}
	if err := os.Rename(key+".away", key); err != nil {
		t.Fatal(err)
	}
	if again := s.renew(); again != renewEvery {
		t.Errorf("mended, it is looked at after %s", again)
	}
	if severity, text := s.standing("certificate_renewal"); severity != "" {
		t.Errorf("mended: %s %q", severity, text)
	}
	for _, row := range []struct {
		before   time.Duration
		severity string
	}{{3 * 365 * 24 * time.Hour, ""}, {365 * 24 * time.Hour, "notice"}, {30 * 24 * time.Hour, "attention"}, {-time.Hour, "attention"}} {
		b, severity := &health.Board{}, ""
		s.certificateSide(b, s.authority.End().Add(-row.before)) // the clock believes no such time
		for _, c := range b.List() {
			if c.Code == "site_ca_ending" {
				severity = c.Severity.String()
			}
		}
		if severity != row.severity {
			t.Errorf("%s before the CA's end: %q, want %q", row.before, severity, row.severity)
		}
	}
}
