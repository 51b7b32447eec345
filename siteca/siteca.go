// Package siteca makes and keeps the site's own certificate authority and the
// certificate of its MQTT listener, with no internet, no DNS and no clock: both
// are valid from 1970 on (CONTRACT.md promise 7). It promises that what exists
// is never overwritten by something new: a device trusts one CA for years, so a
// damaged or incomplete CA is an error for a person, not a reason to start over.
// Who may log in with a certificate is devicekeys' business.
package siteca

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"edgegw/sale"
	"edgegw/secret"
)

// Names of the files below the directory given to Open.
const (
	caCertFile     = "site-ca.pem"
	caKeyFile      = "site-ca-key.pem"
	serverCertFile = "server.pem"
	serverKeyFile  = "server-key.pem"
)

// AuthorityFiles are the authority itself: devices trust it, and it stays the same
// for as long as they do. ServerFiles are made from it whenever they are missing.
var (
	AuthorityFiles = []string{caCertFile, caKeyFile}
	ServerFiles    = []string{serverCertFile, serverKeyFile}
)

// Options says whose authority it is. The zero value is usable.
type Options struct {
	SiteName string    // part of the CA's name, so that two sites can be told apart
	Hosts    []string  // further DNS names and IP addresses for the server certificate
	Built    time.Time // no clock can be right before it; zero: the time of the commit, or of this package

	Now func() time.Time // what certificates are made, renewed and checked by; nil: the box's clock

	addresses func() []netip.Addr // of this machine; nil asks the system
}

func (o Options) now() time.Time {
	if o.Now != nil {
		return o.Now()
	}
	return time.Now()
}

// Authority is an open site CA with a valid server certificate. It holds no
// private key of the CA: that is read when something is to be signed.
type Authority struct {
	dir     string
	options Options
	cert    *x509.Certificate
	pem     []byte
	pool    *x509.CertPool

	renewing sync.Mutex
	server   atomic.Pointer[tls.Certificate]
	trouble  atomic.Pointer[Trouble]
}

// Trouble is why the server certificate could not be made anew, and since when.
// The one before is served all the same.
type Trouble struct {
	Since time.Time
	Err   error
}

// Open reads the CA and the server certificate from dir, which it makes with
// mode 0700 if need be, and makes what is not there yet. A first start that was
// cut short anywhere is completed. Several processes may do this at one time:
// one of them makes the CA and all use it.
func Open(dir string, o Options) (*Authority, error) {
	return openAt(dir, o, o.now())
}

func openAt(dir string, o Options, now time.Time) (*Authority, error) {
	if o.Built.IsZero() {
		o.Built = built()
	}
	if o.addresses == nil {
		o.addresses = ownAddresses
	}
	if err := checkHosts(o.Hosts); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory of the site CA: %w", err)
	}
	a := &Authority{dir: dir, options: o, pool: x509.NewCertPool()}
	if err := a.openCA(now); err != nil {
		return nil, fmt.Errorf("open site CA: %w", err)
	}
	a.pool.AddCert(a.cert)
	if err := a.openServer(now); err != nil {
		return nil, fmt.Errorf("open server certificate: %w", err)
	}
	removeLeftovers(dir, now)
	return a, nil
}

// CAFile is the path of the CA's certificate, for those who must trust it.
func (a *Authority) CAFile() string { return filepath.Join(a.dir, caCertFile) }

// CAPEM is the CA's certificate in PEM.
func (a *Authority) CAPEM() []byte { return append([]byte(nil), a.pem...) }

// Fingerprint is the SHA-256 of the CA's certificate in hex, for people who
// compare what a device shows with what the gateway shows.
func (a *Authority) Fingerprint() string {
	sum := sha256.Sum256(a.cert.Raw)
	return hex.EncodeToString(sum[:])
}

// Leaf is the server certificate in use.
func (a *Authority) Leaf() *x509.Certificate { return a.server.Load().Leaf }

// End is when the CA ends, and with it everything that it signed.
func (a *Authority) End() time.Time { return a.cert.NotAfter }

// Trouble is nil where the server certificate is as it should be.
func (a *Authority) Trouble() *Trouble { return a.trouble.Load() }

// Renew makes a new server certificate where the old one nears its end or lacks
// a name or an address that this machine has now, and serves it from the next
// handshake on. It reports whether it did. The server's private key stays: one
// file is replaced, in one step, so no crash can leave a pair that does not
// match. Call it now and then; a box may get its address after it started.
func (a *Authority) Renew() (bool, error) { return a.renew(a.options.now()) }

// IssueDevice makes a client certificate and key, in PEM, with which a device
// can log in instead of a secret: its CN is the device id (CONTRACT.md 2.1). It
// is valid from 1970 until the CA ends, because a device may have no clock
// either; what ends it is that the device is disabled or removed.
func (a *Authority) IssueDevice(id sale.DeviceID) (certPEM []byte, keyPEM secret.Text, err error) {
	if !id.Valid() {
		return nil, secret.Text{}, fmt.Errorf("issue certificate: %q is not a device id", string(id))
	}
	key, encoded, err := newKey()
	if err != nil {
		return nil, secret.Text{}, fmt.Errorf("issue certificate of %s: %w", id, err)
	}
	template, err := newTemplate(string(id), a.cert.NotAfter)
	if err != nil {
		return nil, secret.Text{}, fmt.Errorf("issue certificate of %s: %w", id, err)
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	der, err := a.sign(template, key.Public())
	if err != nil {
		return nil, secret.Text{}, fmt.Errorf("issue certificate of %s: %w", id, err)
	}
	return encodeCert(der), secret.New(encoded), nil
}

// TLSConfig is for the MQTT listener with the site's own certificate. A client
// certificate is optional; one that is given must come from the site CA.
func (a *Authority) TLSConfig() *tls.Config {
	return a.config(func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		a.coverLocal(hello)
		return a.server.Load(), nil
	})
}

// TLSConfigWith is TLSConfig with the operator's certificate in front; clients
// are still verified against the site CA.
func (a *Authority) TLSConfigWith(f *Files) *tls.Config { return a.config(f.GetCertificate) }

func (a *Authority) config(get func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: get,
		ClientAuth:     tls.VerifyClientCertIfGiven,
		ClientCAs:      a.pool,
		Time:           func() time.Time { return within(a.options.now(), a.cert) },
	}
}

// within moves a clock that cannot be right into the CA's time, so that a box
// without one can verify its devices' certificates. That they were revoked, and
// not a date, is what ends them: they last as long as the CA.
func within(now time.Time, ca *x509.Certificate) time.Time {
	switch {
	case now.Before(ca.NotBefore):
		return ca.NotBefore
	case now.After(ca.NotAfter):
		return ca.NotAfter
	}
	return now
}

// fallbackBuilt is used where the binary does not know its commit.
var fallbackBuilt = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func built() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return fallbackBuilt
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			if t, err := time.Parse(time.RFC3339, s.Value); err == nil && t.After(fallbackBuilt) {
				return t
			}
		}
	}
	return fallbackBuilt
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
