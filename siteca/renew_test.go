package siteca

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestLeafIsRenewedNearItsEnd(t *testing.T) {
	dir, o := t.TempDir(), Options{Built: today, addresses: noInfo}
	first, err := openAt(dir, o, time.Unix(60, 0)) // a box without a clock
	if err != nil {
		t.Fatal(err)
	}
	end := first.Leaf().NotAfter
	if want := today.AddDate(leafYears, 0, 0); !end.Equal(want) || first.Leaf().NotBefore.Unix() != 0 {
		t.Errorf("the leaf lasts from %s to %s, want from 1970 to %s", first.Leaf().NotBefore, end, want)
	}
	for _, row := range []struct {
		name string
		now  time.Time
		want bool
	}{
		{"31 days before", end.AddDate(0, 0, -31), false},
		{"29 days before", end.AddDate(0, 0, -29), true},
		{"long after", end.AddDate(13, 0, 0), true},
		{"the clock falls back to 1970", time.Unix(60, 0), false},
	} {
		before := first.Leaf()
		did, err := first.renew(row.now)
		if err != nil || did != row.want || did == before.Equal(first.Leaf()) {
			t.Errorf("%s: renewed %v, %v; want %v", row.name, did, err, row.want)
		}
		if row.want && first.Leaf().NotAfter.Before(row.now.AddDate(9, 0, 0)) {
			t.Errorf("%s: the new leaf ends on %s", row.name, first.Leaf().NotAfter)
		}
	}
	if did, err := first.renew(first.cert.NotAfter.AddDate(5, 0, 0)); err != nil || !did {
		t.Errorf("a clock far ahead: %v, %v", did, err)
	}
	if did, err := first.renew(first.cert.NotAfter.AddDate(6, 0, 0)); err != nil || did {
		t.Errorf("a leaf that lasts as long as its CA is renewed again: %v, %v", did, err)
	}
}

func TestNewAddressesAreServedWithoutRestart(t *testing.T) {
	var now []netip.Addr
	o := Options{addresses: func() []netip.Addr { return now }}
	a := open(t, t.TempDir(), o)
	addr := serve(t, "127.0.0.1:0", a.TLSConfig())
	client := &tls.Config{RootCAs: trusting(t, a.CAFile()), ServerName: "192.168.7.20"}
	if _, _, err := dial(addr, client); err == nil {
		t.Fatal("the address is served before it is there")
	}
	key := read(t, filepath.Join(a.dir, serverKeyFile))
	now = []netip.Addr{netip.MustParseAddr("192.168.7.20")}
	if did, err := a.Renew(); !did || err != nil {
		t.Fatalf("renewed %v, %v", did, err)
	}
	if _, leaf, err := dial(addr, client); err != nil || !leaf.Equal(a.Leaf()) {
		t.Errorf("after Renew: %v", err)
	}
	if did, err := a.Renew(); did || err != nil {
		t.Errorf("a second Renew: %v, %v; want nothing to do", did, err)
	}
	now = nil // no DHCP answer after the next power cut
	b := open(t, a.dir, o)
	if _, _, err := dial(serve(t, "127.0.0.1:0", b.TLSConfig()), client); err != nil {
		t.Errorf("the address was lost: %v", err)
	}
	if !slices.Equal(key, read(t, filepath.Join(a.dir, serverKeyFile))) {
		t.Error("the server key changed")
	}
}

func TestDialledAddressIsAdded(t *testing.T) {
	a := open(t, t.TempDir(), Options{addresses: noInfo})
	addr := serve(t, "127.0.0.2:0", a.TLSConfig()) // Linux answers on all of 127/8
	if err := a.Leaf().VerifyHostname("127.0.0.2"); err == nil {
		t.Fatal("the address is there already")
	}
	if _, _, err := dial(addr, &tls.Config{RootCAs: trusting(t, a.CAFile()), ServerName: "127.0.0.2"}); err != nil {
		t.Error(err)
	}
}

func TestHostsChange(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir, Options{Hosts: []string{"old.example"}})
	b := open(t, dir, Options{Hosts: []string{"new.example"}})
	if b.Leaf().VerifyHostname("new.example") != nil || b.Leaf().VerifyHostname("old.example") == nil {
		t.Errorf("names are %v", b.Leaf().DNSNames)
	}
	if a.Fingerprint() != b.Fingerprint() {
		t.Error("other hosts, other CA")
	}
	for _, bad := range []string{"", "a b", "1.2.3", "https://x", "é.example"} {
		if _, err := Open(dir, Options{Hosts: []string{bad}}); err == nil {
			t.Errorf("host %q is accepted", bad)
		}
	}
}

// TestFailedRenewalKeepsServing: what cannot be renewed goes on, also over a
// start, says so, and says when it is mended.
func TestFailedRenewalKeepsServing(t *testing.T) {
	a := open(t, t.TempDir(), Options{addresses: noInfo})
	before := a.Leaf()
	if a.Trouble() != nil {
		t.Errorf("trouble at first: %+v", a.Trouble())
	}
	keyPath := filepath.Join(a.dir, caKeyFile)
	if err := os.Rename(keyPath, keyPath+".away"); err != nil {
		t.Fatal(err)
	}
	due := before.NotAfter.AddDate(0, 0, -20)
	if did, err := a.renew(due); did || err == nil {
		t.Errorf("got %v, %v; want an error", did, err)
	}
	if err := a.openServer(due.Add(time.Hour)); err != nil {
		t.Errorf("a start with a certificate that is whole: %v", err)
	}
	if tr := a.Trouble(); tr == nil || !tr.Since.Equal(due) || !strings.Contains(tr.Err.Error(), caKeyFile) {
		t.Errorf("trouble %+v, want since %s", tr, due)
	}
	addr := serve(t, "127.0.0.2:0", a.TLSConfig())
	_, leaf, err := dial(addr, &tls.Config{RootCAs: trusting(t, a.CAFile()), ServerName: "localhost"})
	if err != nil || !leaf.Equal(before) {
		t.Errorf("the old certificate is not served: %v", err)
	}
	if err := os.Rename(keyPath+".away", keyPath); err != nil {
		t.Fatal(err)
	}
	if did, err := a.renew(due); !did || err != nil || a.Trouble() != nil {
		t.Errorf("mended: %v, %v, trouble %+v", did, err, a.Trouble())
	}
}

// operatorFiles copies the server pair of a site as if an operator had made it.
func operatorFiles(t *testing.T, dir string, a *Authority) (cert, key string) {
	t.Helper()
	cert, key = filepath.Join(dir, "op.pem"), filepath.Join(dir, "op-key.pem")
	copyFile(t, filepath.Join(a.dir, serverCertFile), cert+".new")
	copyFile(t, filepath.Join(a.dir, serverKeyFile), key+".new")
	for _, p := range []string{key, cert} {
		if err := os.Rename(p+".new", p); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestOperatorsFilesAreReloaded(t *testing.T) {
	site, one, two := open(t, t.TempDir(), Options{}), open(t, t.TempDir(), Options{}), open(t, t.TempDir(), Options{})
	dir := t.TempDir()
	certFile, keyFile := operatorFiles(t, dir, one)
	f, err := FromFiles(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	f.every = 0
	addr := serve(t, "127.0.0.1:0", site.TLSConfigWith(f))
	see := func(a *Authority) error {
		_, _, err := dial(addr, &tls.Config{RootCAs: trusting(t, a.CAFile()), ServerName: "localhost"})
		return err
	}
	if err := see(one); err != nil {
		t.Fatal(err)
	}

	if err := os.WriteFile(certFile, []byte("half a certif"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := see(one); err != nil {
		t.Errorf("a broken file took the place of a good one: %v", err)
	}
	if err := f.Problem(); err == nil || !strings.Contains(err.Error(), certFile) {
		t.Errorf("the problem is %v", err)
	}

	operatorFiles(t, dir, two)
	if err := see(two); err != nil {
		t.Errorf("after the change: %v", err)
	}
	if err := f.Problem(); err != nil {
		t.Errorf("a problem remains: %v", err)
	}

	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	if err := see(two); err != nil || f.Problem() == nil {
		t.Errorf("with the key file gone: %v, problem %v", err, f.Problem())
	}
}

func TestOperatorsKeyThatOthersReadIsRefused(t *testing.T) {
	certFile, keyFile := operatorFiles(t, t.TempDir(), open(t, t.TempDir(), Options{}))
	if err := os.Chmod(keyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := FromFiles(certFile, keyFile); err == nil || !strings.Contains(err.Error(), "run chmod 600 "+keyFile) {
		t.Errorf("got %v", err)
	}
	if _, err := FromFiles(certFile, keyFile+".absent"); err == nil {
		t.Error("an absent key is accepted")
	}
	if _, err := FromFiles(keyFile, certFile); err == nil {
		t.Error("certificate and key in each other's place are accepted")
	}
}

func TestAuthorityPrintsNoKey(t *testing.T) {
	a := open(t, t.TempDir(), Options{})
	key, err := readKey(filepath.Join(a.dir, serverKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	f, err := FromFiles(filepath.Join(a.dir, serverCertFile), filepath.Join(a.dir, serverKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	inside := strings.TrimPrefix(fmt.Sprintf("%v", key), "&")
	private := inside[strings.LastIndexByte(inside, ' ')+1 : len(inside)-1] // the number D as fmt prints it
	if strings.Trim(private, "0123456789") != "" || len(private) < 60 {
		t.Fatal("this test does not find the private number any more")
	}
	for _, out := range []string{fmt.Sprintf("%v %+v %#v", a, a, a), fmt.Sprintf("%v %+v %#v", f, f, f)} {
		if strings.Contains(out, private) {
			t.Error("a private key is printed")
		}
	}
}
