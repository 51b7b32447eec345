package siteca

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	today  = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	noInfo = func() []netip.Addr { return nil }
)

func open(t *testing.T, dir string, o Options) *Authority {
	t.Helper()
	a, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// serve accepts connections on addr with cfg, says "ok" on each and tells the
// CN of the verified client certificate, if any.
func serve(t *testing.T, addr string, cfg *tls.Config) string {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				s := tls.Server(c, cfg)
				if s.Handshake() != nil {
					return
				}
				who := "nobody"
				if chains := s.ConnectionState().VerifiedChains; len(chains) > 0 {
					who = chains[0][0].Subject.CommonName
				}
				_, _ = io.WriteString(s, who)
				_ = s.Close()
			})
		}
	})
	return l.Addr().String()
}

// dial gives what the server says and the leaf that it showed.
func dial(addr string, cfg *tls.Config) (string, *x509.Certificate, error) {
	d := &net.Dialer{Timeout: 20 * time.Second}
	c, err := tls.DialWithDialer(d, "tcp", addr, cfg)
	if err != nil {
		return "", nil, err
	}
	defer c.Close()
	said, err := io.ReadAll(c)
	return string(said), c.ConnectionState().PeerCertificates[0], err
}

func trusting(t *testing.T, caFile string) *x509.CertPool {
	t.Helper()
	b, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		t.Fatal("the CA file holds no certificate")
	}
	return pool
}

func at(moment time.Time) func() time.Time { return func() time.Time { return moment } }

func TestDevicesTrustTheSiteAtAnyTime(t *testing.T) {
	a := open(t, t.TempDir(), Options{SiteName: "Station 7", Hosts: []string{"pos.example", "10.9.8.7"}})
	addr := serve(t, "127.0.0.1:0", a.TLSConfig())
	pool := trusting(t, a.CAFile())
	for _, moment := range []time.Time{time.Unix(0, 0), time.Unix(30, 0), today, today.AddDate(9, 0, 0)} {
		for _, name := range []string{"localhost", "127.0.0.1", "::1", "edgegw.local", "pos.example", "10.9.8.7"} {
			if _, _, err := dial(addr, &tls.Config{RootCAs: pool, ServerName: name, Time: at(moment)}); err != nil {
				t.Errorf("%s at %s: %v", name, moment, err)
			}
		}
	}
	if _, _, err := dial(addr, &tls.Config{RootCAs: pool, ServerName: "other.example"}); err == nil {
		t.Error("the certificate speaks for a name that is not its own")
	}
	if _, _, err := dial(addr, &tls.Config{RootCAs: pool, ServerName: "localhost", MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	if got := a.TLSConfig().MinVersion; got != tls.VersionTLS12 { // stated, because Go's own default can be changed from outside
		t.Errorf("the least version is %x", got)
	}
	if end := a.cert.NotAfter; end.Before(today.AddDate(40, 0, 0)) {
		t.Errorf("the CA ends on %s", end)
	}
}

func TestEveryOwnAddressIsCovered(t *testing.T) {
	a := open(t, t.TempDir(), Options{})
	for _, addr := range ownAddresses() {
		if err := a.Leaf().VerifyHostname(addr.String()); err != nil {
			t.Error(err)
		}
	}
	if host, err := os.Hostname(); err == nil && validName(host) {
		if err := a.Leaf().VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
}

func TestClientCertificates(t *testing.T) {
	a := open(t, t.TempDir(), Options{SiteName: "here"})
	stranger := open(t, t.TempDir(), Options{SiteName: "elsewhere"})
	cert := func(a *Authority) tls.Certificate {
		c, k, err := a.IssueDevice("pump-07")
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.X509KeyPair(c, k.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
	own, foreign := cert(a), cert(stranger)
	server, err := tls.LoadX509KeyPair(filepath.Join(a.dir, serverCertFile), filepath.Join(a.dir, serverKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name  string
		cert  *tls.Certificate
		clock time.Time
		want  string // "" is a refused handshake
	}{
		{"no certificate", nil, today, "nobody"},
		{"the device's own", &own, today, "pump-07"},
		{"the device's own on a box without a clock", &own, time.Unix(0, 0), "pump-07"},
		{"a clock of another century", &own, today.AddDate(80, 0, 0), "pump-07"},
		{"a clock before 1970", &own, time.Unix(-3600, 0), "pump-07"},
		{"of another site", &foreign, today, ""},
		{"the server's own is not a device's", &server, today, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			cfg := a.TLSConfig()
			cfg.Time = at(within(row.clock, a.cert))
			client := &tls.Config{RootCAs: trusting(t, a.CAFile()), ServerName: "localhost"}
			if row.cert != nil {
				client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return row.cert, nil }
			}
			got, _, err := dial(serve(t, "127.0.0.1:0", cfg), client)
			if got != row.want || (err != nil) != (row.want == "") {
				t.Errorf("got %q, %v; want %q", got, err, row.want)
			}
		})
	}
	if _, _, err := a.IssueDevice("site"); err == nil {
		t.Error("the site itself gets a device certificate")
	}
}

func TestSecondOpenChangesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	a := open(t, dir, Options{addresses: noInfo})
	before := snapshot(t, dir)
	b := open(t, dir, Options{addresses: noInfo})
	if after := snapshot(t, dir); after != before {
		t.Errorf("files changed:\n%s\n%s", before, after)
	}
	if !bytes.Equal(a.CAPEM(), b.CAPEM()) || a.Fingerprint() != b.Fingerprint() {
		t.Error("a second Open gives another CA")
	}
	if len(strings.Fields(before)) != 8 {
		t.Errorf("not four files: %s", before)
	}
}

// snapshot lists names, modes and contents.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var s strings.Builder
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&s, "%s %v/%x\n", e.Name(), info.Mode().Perm(), b)
	}
	return s.String()
}

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	open(t, dir, Options{})
	for name, want := range map[string]os.FileMode{"": 0o700, caCertFile: 0o644, caKeyFile: 0o600, serverCertFile: 0o644, serverKeyFile: 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%q: got %v, %v; want %v", name, info.Mode().Perm(), err, want)
		}
	}
	for _, name := range []string{caKeyFile, serverKeyFile} {
		path := filepath.Join(dir, name)
		for _, mode := range []os.FileMode{0o644, 0o640, 0o602} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			_, err := Open(dir, Options{})
			if err == nil || !strings.Contains(err.Error(), "run chmod 600 "+path) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s with mode %v: %v", name, mode, err)
			}
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open(t, dir, Options{})
}

// TestFirstStartCutShort leaves what each moment of a first start leaves on
// disk: files appear in this order, each whole.
func TestFirstStartCutShort(t *testing.T) {
	order := []string{caKeyFile, caCertFile, serverKeyFile, serverCertFile}
	whole := t.TempDir()
	open(t, whole, Options{})
	for n := range len(order) {
		t.Run(fmt.Sprintf("after %d files", n), func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range order[:n] {
				copyFile(t, filepath.Join(whole, name), filepath.Join(dir, name))
			}
			leftover := filepath.Join(dir, strings.Replace(tempPattern, "*", "123", 1))
			if err := os.WriteFile(leftover, []byte("-----BEGIN PRIV"), 0o600); err != nil {
				t.Fatal(err)
			}
			old := time.Now().Add(-2 * leftoverAge)
			if err := os.Chtimes(leftover, old, old); err != nil {
				t.Fatal(err)
			}
			a := open(t, dir, Options{})
			for _, name := range order[:n] {
				if !bytes.Equal(read(t, filepath.Join(dir, name)), read(t, filepath.Join(whole, name))) {
					t.Errorf("%s was made anew", name)
				}
			}
			if have, _ := exists(leftover); have {
				t.Error("the half-written file is still there")
			}
			addr := serve(t, "127.0.0.1:0", a.TLSConfig())
			if _, _, err := dial(addr, &tls.Config{RootCAs: trusting(t, a.CAFile()), ServerName: "localhost"}); err != nil {
				t.Error(err)
			}
		})
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	info, err := os.Stat(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, read(t, from), info.Mode().Perm()); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestServerPairIsMadeAgainFromTheCA(t *testing.T) {
	for _, name := range []string{serverKeyFile, serverCertFile} {
		dir := t.TempDir()
		before := open(t, dir, Options{})
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		after := open(t, dir, Options{})
		if before.Fingerprint() != after.Fingerprint() {
			t.Errorf("without %s there is another CA", name)
		}
		addr := serve(t, "127.0.0.1:0", after.TLSConfig())
		if _, _, err := dial(addr, &tls.Config{RootCAs: trusting(t, before.CAFile()), ServerName: "localhost"}); err != nil {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

// TestStartingOver does what the error about a lost CA key tells a person.
func TestStartingOver(t *testing.T) {
	dir := t.TempDir()
	before := open(t, dir, Options{})
	for _, name := range []string{caCertFile, caKeyFile} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	after := open(t, dir, Options{})
	if before.Fingerprint() == after.Fingerprint() {
		t.Error("there is no new CA")
	}
	addr := serve(t, "127.0.0.1:0", after.TLSConfig())
	if _, _, err := dial(addr, &tls.Config{RootCAs: trusting(t, after.CAFile()), ServerName: "localhost"}); err != nil {
		t.Error(err)
	}
}

func TestLostOrForeignCAKeyIsAnError(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	open(t, dir, Options{})
	open(t, other, Options{})
	keyPath := filepath.Join(dir, caKeyFile)
	if err := os.Remove(keyPath); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, dir)
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), caKeyFile+" is missing") {
		t.Errorf("got %v", err)
	}
	if snapshot(t, dir) != before {
		t.Error("files changed although the CA could not be opened")
	}
	copyFile(t, filepath.Join(other, caKeyFile), keyPath)
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "is not the certificate of") {
		t.Errorf("got %v", err)
	}
}

func TestDamagedFilesAreNamedAndLeft(t *testing.T) {
	whole := t.TempDir()
	open(t, whole, Options{})
	files := []string{caCertFile, caKeyFile, serverCertFile, serverKeyFile}
	for _, name := range files {
		good := read(t, filepath.Join(whole, name))
		for what, content := range map[string][]byte{"empty": {}, "cut": good[:len(good)/2], "noise": []byte("\x00\x01\x02 not PEM"), "zeroes": make([]byte, len(good)),
			"wrong base64": bytes.Replace(good, []byte("\nMI"), []byte("\nAAAA"), 1)} {
			t.Run(name+" "+what, func(t *testing.T) {
				dir := t.TempDir()
				for _, f := range files {
					copyFile(t, filepath.Join(whole, f), filepath.Join(dir, f))
				}
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, content, 0o600); err != nil {
					t.Fatal(err)
				}
				before := snapshot(t, dir)
				_, err := Open(dir, Options{})
				if err == nil || !strings.Contains(err.Error(), path+" is damaged") {
					t.Errorf("got %v", err)
				}
				if snapshot(t, dir) != before {
					t.Error("files changed")
				}
			})
		}
	}
}

func TestManyOpenAtOnceAgree(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	var all sync.WaitGroup
	got, errs := make([]string, 8), make([]error, 8)
	for i := range got {
		all.Go(func() {
			a, err := Open(dir, Options{})
			if err != nil {
				errs[i] = err
				return
			}
			got[i] = a.Fingerprint()
		})
	}
	all.Wait()
	for i := range got {
		if errs[i] != nil || got[i] != got[0] {
			t.Errorf("%d: %s, %v", i, got[i], errs[i])
		}
	}
}
