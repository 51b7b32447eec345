package gateway

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/config"
	"edgegw/doctor"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/secret"
)

// examined asks a gateway that runs.
func (s *testSite) examined() []admin.Check {
	s.t.Helper()
	all, err := s.Doctor(s.t.Context(), "test")
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

// offline asks the data, as the command does where no gateway runs.
func (s *testSite) offline() []admin.Check {
	s.t.Helper()
	c, err := config.Load(config.Options{Flags: s.flags, Search: []string{}})
	if err != nil {
		s.t.Fatal(err)
	}
	b, err := OpenOffline(s.t.Context(), c, s.options)
	if err != nil {
		return DoctorClosed(s.t.Context(), c, s.options, err)
	}
	defer b.Close()
	all, err := b.Doctor(s.t.Context(), "test")
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

// only demands that the checks named have failed, and no other, and that the fix of
// the first holds the words.
func only(t *testing.T, all []admin.Check, words string, failed ...string) {
	t.Helper()
	here := volatile(t.TempDir()) // the machine of the test, not the site
	var got []string
	for _, c := range all {
		if c.State != doctor.Failed || c.Check == "data_persistent" && here != "" && !slices.Contains(failed, c.Check) ||
			c.Check == "conditions" && here != "" && strings.Contains(c.Found, "lies on") {
			continue
		}
		got = append(got, c.Check)
		if len(failed) > 0 && c.Check == failed[0] && !strings.Contains(c.Fix, words) {
			t.Errorf("the fix of %s is %q, want %q in it", c.Check, c.Fix, words)
		}
		if !slices.Contains(failed, c.Check) {
			t.Errorf("%s has failed: %s", c.Check, c.Found)
		}
	}
	for _, check := range failed {
		if !slices.Contains(got, check) {
			t.Errorf("%s has not failed, only %v have", check, got)
		}
	}
}

func state(all []admin.Check, check string) doctor.State {
	i := slices.IndexFunc(all, func(c admin.Check) bool { return c.Check == check })
	return all[i].State
}

func TestTheDoctorOfAHealthySite(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	before := s.broker.Stats().Accepted
	for range 3 { // a canary does no harm to the next
		all := s.examined()
		only(t, all, "")
		for _, check := range []string{"mqtt_listener", "mqtt_publish", "uplink_tls", "register_keys", "database_integrity", "data_writable", "keys_open"} {
			if got := state(all, check); got != doctor.OK {
				t.Errorf("%s is %s", check, got)
			}
		}
	}
	st, err := s.Status(t.Context())
	if err != nil || st.Totals != (admin.Totals{}) || st.Online != 0 || s.broker.Stats().Accepted != before {
		t.Errorf("the canary has left something: %+v, %d online, %v", st.Totals, st.Online, err)
	}
	for _, p := range s.broker.Presence() {
		t.Errorf("%s is present", p.Device)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, ".doctor-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	s.off()
	only(t, s.offline(), "edgegw run", "gateway_running")
}

// Nobody gets in by the canary's name.
func TestTheCanaryIsNobodyElse(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	for _, secret := range []string{"", "guess"} {
		conn := s.dial()
		if err := published(conn, []byte(secret), largeCanary); err == nil || !strings.Contains(err.Error(), "the log-in") {
			t.Errorf("with %q: %v", secret, err)
		}
		conn.Close()
	}
	door := asked{s.ring, &s.canary}
	for _, secret := range [][]byte{nil, {}, []byte("guess")} { // a broker that let an empty password through
		if id, err := door.Authenticate(string(canaryClient), secret, nil); err == nil {
			t.Errorf("%q lets %s in", secret, id)
		}
	}
}

// broken situations of a gateway that runs.
func TestTheDoctorNamesWhatIsBroken(t *testing.T) {
	for _, row := range []struct {
		name, words string
		failed      []string
		site        func(*testSite) // before the start
		breaks      func(*testing.T, *testSite)
	}{
		{name: "the database for everybody", words: "chmod 600 ", failed: []string{"file_modes"}, breaks: func(t *testing.T, s *testSite) {
			must(t, os.Chmod(filepath.Join(s.dir, "edgegw.db"), 0o644))
		}},
		{name: "the key-encryption key for everybody", words: "chmod 600 ", failed: []string{"kek"}, breaks: func(t *testing.T, s *testSite) {
			must(t, os.Chmod(filepath.Join(s.dir, "kek"), 0o644))
		}},
		{name: "a log that nobody copies", words: "edgegw.db-wal", failed: []string{"wal_size"}, breaks: func(t *testing.T, s *testSite) {
			must(t, os.Truncate(filepath.Join(s.dir, "edgegw.db-wal"), 300<<20)) // what lies behind the last commit is not read
		}},
		{name: "a register without a key", words: "edgegw key set reg_9", failed: []string{"register_keys"}, breaks: func(t *testing.T, s *testSite) {
			s.sandbox.MustAddRegister("reg_9")
			_, err := s.AddDevice(t.Context(), admin.AddDevice{DeviceID: "pump-09", RegisterID: "reg_9", Kind: "pump"}, "test")
			must(t, err)
		}},
		{name: "a key that OpenFiskal refuses", words: "new register key", failed: []string{"register_keys"}, breaks: func(t *testing.T, s *testSite) {
			s.sandbox.MustAddRegister("reg_9")
			_, err := s.AddDevice(t.Context(), admin.AddDevice{DeviceID: "pump-09", RegisterID: "reg_9", Kind: "pump",
				Key: secret.FromString("ofk_reg_0123456789abcdefghij"), Unverified: true}, "test")
			must(t, err)
			await(t, "the key is refused", func() bool {
				_, _ = s.CheckKey(t.Context(), admin.KeyOf{RegisterID: "reg_9"})
				key, _ := s.keyState("reg_9")
				return key == "refused"
			})
		}},
		{name: "a message that cannot be a sale", words: "edgegw quarantine list", failed: []string{"quarantine"}, breaks: func(t *testing.T, s *testSite) {
			s.add("pump-01")
			c := s.connect("pump-01", 5)
			publish(t, c, 1, "sale", `{"sale_id":"x"}`)
			await(t, "it is evidence", func() bool {
				st, err := s.Status(t.Context())
				return err == nil && st.Totals.Refused == 1
			})
		}},
		{name: "a name without an address", words: "openfiskal.base_url", failed: []string{"uplink_name"}, site: func(s *testSite) {
			s.flags["openfiskal.base_url"] = "https://nowhere.invalid/v1"
		}},
		{name: "a port that refuses", words: "firewall", failed: []string{"uplink_connect"}, site: func(s *testSite) {
			s.flags["openfiskal.base_url"] = "https://" + freePort(s.t) + "/v1"
		}},
		{name: "a proxy that is down", words: "openfiskal.proxy", failed: []string{"proxy"}, site: func(s *testSite) {
			s.flags["openfiskal.proxy"] = "http://" + freePort(s.t)
		}},
		{name: "an authority that nobody knows", words: "openfiskal.ca_file", failed: []string{"uplink_tls"}, site: func(s *testSite) {
			s.flags["openfiskal.base_url"], _ = tlsServer(s.t, time.Now().Add(time.Hour))
		}},
		{name: "a certificate that has ended", words: "must renew", failed: []string{"uplink_tls"}, site: func(s *testSite) {
			s.flags["openfiskal.base_url"], s.flags["openfiskal.ca_file"] = tlsServer(s.t, time.Now().Add(-time.Hour))
		}},
		{name: "no TLS behind the port", words: "openssl", failed: []string{"uplink_tls"}, site: func(s *testSite) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			must(s.t, err)
			s.t.Cleanup(func() { l.Close() })
			go func() {
				for c, err := l.Accept(); err == nil; c, err = l.Accept() {
					_, _ = c.Write([]byte("220 mail\r\n"))
					c.Close()
				}
			}()
			s.flags["openfiskal.base_url"] = "https://" + l.Addr().String() + "/v1"
		}},
		{name: "MQTT without TLS for everybody", words: "mqtt.plain_listen", failed: []string{"mqtt_plain"}, site: func(s *testSite) {
			s.flags["mqtt.plain_listen"] = "0.0.0.0:0"
		}},
		{name: "the operator's certificate near its end", words: "mqtt.cert_file", failed: []string{"server_certificate"}, site: func(s *testSite) {
			dir := s.t.TempDir()
			cert, key, _ := certificate(s.t, time.Now().Add(3*24*time.Hour))
			must(s.t, os.WriteFile(filepath.Join(dir, "c.pem"), cert, 0o600))
			must(s.t, os.WriteFile(filepath.Join(dir, "k.pem"), key, 0o600))
			s.flags["mqtt.cert_file"], s.flags["mqtt.key_file"] = filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
		}},
		{name: "another program at the port", words: "ss -ltnp", failed: []string{"mqtt_listener"}, breaks: func(t *testing.T, s *testSite) {
			url, _ := tlsServer(t, time.Now().Add(time.Hour))
			addr, err := net.ResolveTCPAddr("tcp", strings.TrimSuffix(strings.TrimPrefix(url, "https://"), "/v1"))
			must(t, err)
			await(t, "the start, which names the port in the log", func() bool { return strings.Contains(s.logs.String(), "the gateway runs") })
			await(t, "the first canary of the gateway's own", func() bool {
				s.pulse.mu.Lock()
				defer s.pulse.mu.Unlock()
				return !s.pulse.tried.IsZero()
			})
			s.canary.one.Lock() // later ones take it before they ask for the port
			defer s.canary.one.Unlock()
			s.tlsAddr = addr // the port is bound by the kernel: only its number can be another's
		}},
		{name: "few descriptors", words: "LimitNOFILE", failed: []string{"descriptors"}, breaks: func(t *testing.T, s *testSite) {
			var was syscall.Rlimit
			must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was))
			t.Cleanup(func() { must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was)) })
			must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 512, Max: was.Max}))
		}},
		{name: "no room as configured", words: "Make room", failed: []string{"disk_space"}, site: func(s *testSite) {
			s.flags["store.min_free_bytes"] = "500 TiB"
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newSite(t, sandbox.Options{})
			if row.site != nil {
				row.site(s)
			}
			s.on()
			defer s.off()
			if row.breaks != nil {
				row.breaks(t, s)
			}
			began := time.Now()
			only(t, s.examined(), row.words, row.failed...)
			if took := time.Since(began); took > doctorLimit {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestTheDoctorSeesAnotherVersion(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	all, err := s.Doctor(t.Context(), "another")
	must(t, err)
	only(t, all, "Start the gateway again", "version")
}

// Situations of data that no gateway has open.
func TestTheDoctorOfDataThatIsBroken(t *testing.T) {
	for _, row := range []struct {
		name, words string
		failed      []string
		breaks      func(*testing.T, *testSite)
	}{
		{"the key-encryption key is gone", "vault.kek", []string{"kek"}, func(t *testing.T, s *testSite) { must(t, os.Remove(filepath.Join(s.dir, "kek"))) }},
		{"another key-encryption key", "vault.kek", []string{"keys_open"}, func(t *testing.T, s *testSite) {
			must(t, os.WriteFile(filepath.Join(s.dir, "kek"), []byte(strings.Repeat("0123456789abcdef", 4)), 0o600))
		}},
		{"a live key for a sandbox", "openfiskal.base_url", []string{"key_host", "uplink_name"}, func(t *testing.T, s *testSite) {
			s.flags["openfiskal.base_url"] = "https://sandbox.api.openfiskal.com.invalid/v1"
			s.flags["openfiskal.base_url"] = "https://nowhere.sandbox.api.openfiskal.com/v1" // has no address, here and anywhere
		}},
		{"no database at all", "edgegw run", []string{"database_opens"}, func(t *testing.T, s *testSite) {
			must(t, os.WriteFile(filepath.Join(s.dir, "edgegw.db"), []byte(strings.Repeat("no database ", 1000)), 0o600))
			_ = os.Remove(filepath.Join(s.dir, "edgegw.db-wal"))
		}},
		{"the data directory is a file", "writable", []string{"data_writable", "database_opens"}, func(t *testing.T, s *testSite) {
			path := filepath.Join(t.TempDir(), "file") // root may write into any directory, and into no file's
			must(t, os.WriteFile(path, nil, 0o600))
			s.flags["data_dir"] = path
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newSite(t, sandbox.Options{}).on()
			register := sale.RegisterID("reg_1")
			s.sandbox.MustAddRegister(string(register))
			_, err := s.AddDevice(t.Context(), admin.AddDevice{DeviceID: "pump-01", RegisterID: register, Kind: "pump",
				Key: secret.FromString("ofk_reg_live_0123456789abcdefghij"), Unverified: true}, "test")
			must(t, err)
			s.off()
			row.breaks(t, s)
			all := s.offline()
			// The key is none of the stand-in's: what is stored of it is not the point here.
			only(t, slices.DeleteFunc(all, func(c admin.Check) bool { return c.Check == "gateway_running" || c.Check == "register_keys" }), row.words, row.failed...)
		})
	}
}

// A page is damaged where the opening does not read it: each page is tried, and at
// least one must be found by the check of the whole file alone.
func TestTheDoctorFindsADamagedPage(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	for range 150 { // until what the log held is in the file
		must(t, s.db.Canary(t.Context()))
	}
	s.off()
	path := filepath.Join(s.dir, "edgegw.db")
	whole, err := os.ReadFile(path)
	must(t, err)
	log, err := os.ReadFile(path + "-wal")
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	found := 0
	for page := len(whole)/4096 - 1; page > 0 && found == 0; page-- {
		damaged := slices.Clone(whole)
		copy(damaged[page*4096:], strings.Repeat("\xff", 512))
		must(t, os.WriteFile(path, damaged, 0o600))
		must(t, os.WriteFile(path+"-wal", log, 0o600))
		_ = os.Remove(path + "-shm")
		all := s.offline()
		if state(all, "database_opens") != doctor.OK {
			continue
		}
		if state(all, "database_integrity") == doctor.Failed {
			found++
			i := slices.IndexFunc(all, func(c admin.Check) bool { return c.Check == "database_integrity" })
			if !strings.Contains(all[i].Fix, "copy the data directory") {
				t.Errorf("the fix is %q", all[i].Fix)
			}
		}
	}
	if found == 0 {
		t.Error("no damaged page was found")
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// freePort gives an address where nobody listens.
func freePort(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// certificate makes one that signs itself, for 127.0.0.1.
func certificate(t testing.TB, end time.Time) (cert, key []byte, pair tls.Certificate) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "somebody"}, NotBefore: end.Add(-48 * time.Hour), NotAfter: end,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	must(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	cert, key = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
	pair, err = tls.X509KeyPair(cert, key)
	must(t, err)
	return cert, key, pair
}

// tlsServer answers handshakes with a certificate of its own, until the test ends.
func tlsServer(t testing.TB, end time.Time) (url, caFile string) {
	t.Helper()
	cert, _, pair := certificate(t, end)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			go func() {
				defer c.Close()
				_ = c.(*tls.Conn).HandshakeContext(context.Background())
			}()
		}
	}()
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(caFile, cert, 0o600))
	return "https://" + l.Addr().String() + "/v1", caFile
}

// Ten who ask at once cost one look.
func TestOneLookForAllWhoAsk(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	await(t, "the start, whose own commits are counted as well", func() bool { return strings.Contains(s.logs.String(), "the gateway runs") })
	var wg sync.WaitGroup
	var mu sync.Mutex
	looks := map[*admin.Check]bool{}
	for range 10 {
		wg.Go(func() {
			all, err := s.Doctor(t.Context(), "test")
			if err != nil || len(all) < 25 {
				t.Errorf("%d checks, %v", len(all), err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			looks[&all[0]] = true
		})
	}
	wg.Wait()
	if len(looks) > 5 {
		t.Errorf("it looked %d times", len(looks))
	}
}
