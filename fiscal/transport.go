package fiscal

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

// TransportOptions shape the connection to OpenFiskal. The zero value is right
// for production: the system's CAs, no proxy.
type TransportOptions struct {
	RootCAs   *x509.CertPool // nil: the system's; LoadCA reads a file
	Proxy     *url.URL       // nil: none, whatever the environment says (FAULTS.md F24)
	IdleConns int            // HTTP/1.1 connections kept open; 0 means 32

	// Bounds gives the time to check certificates by, and one that has certainly
	// passed; the same where the first is vouched for. nil: the box's clock.
	Bounds func() (now, least time.Time)
	Host   string // the host of the base URL: whose certificate is expected where that is an address
}

// NewTransport makes a transport with the limits of FAULTS.md H5: TLS 1.2 or
// higher, HTTP/2, time limits on every phase and bounded headers.
func NewTransport(o TransportOptions) *http.Transport {
	idle := o.IdleConns
	if idle <= 0 {
		idle = defaultIdleConns
	}
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: keepAliveInterval}
	secure := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.RootCAs}
	if o.Bounds != nil {
		secure.InsecureSkipVerify = true // the next line does all of it, by another clock
		secure.VerifyConnection = o.verify
	}
	t := &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        secure,
		TLSHandshakeTimeout:    handshakeTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConns:           idle,
		MaxIdleConnsPerHost:    idle,
		MaxResponseHeaderBytes: maxAnswerHeader,
		ForceAttemptHTTP2:      true,
		// Without a ping, a dead HTTP/2 connection takes every call of the site
		// along until TCP gives up, many minutes later.
		HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout,
			// A header that is compressed is kept by both sides, as long as the
			// connection is: a key that does not fit the table never gets into it.
			MaxEncoderHeaderTableSize: 1},
		OnProxyConnectResponse: proxyAnswer,
	}
	if o.Proxy != nil {
		t.Proxy = http.ProxyURL(o.Proxy)
	}
	return t
}

// verify checks the other side's certificate by the site's estimate of the time.
// Where nobody vouches for that, a chain that fails is looked at once more (what
// passes then has failed for its dates alone), at the earliest moment at which all of it was valid, or
// the last time that has certainly passed: a box that boots in 1970, or whose
// clock has been set to 2077, must not lose its uplink for that. What this gives
// up: until the clock is believed again, a certificate that ended after that
// last time still counts. Name and authority count always.
func (o TransportOptions) verify(cs tls.ConnectionState) error {
	if len(cs.PeerCertificates) == 0 {
		return errNoCertificate
	}
	now, least := o.Bounds()
	opts := x509.VerifyOptions{Roots: o.RootCAs, Intermediates: x509.NewCertPool(), DNSName: cs.ServerName, CurrentTime: now}
	valid := least
	for i, c := range cs.PeerCertificates {
		if i > 0 {
			opts.Intermediates.AddCert(c)
		}
		if c.NotBefore.After(valid) {
			valid = c.NotBefore
		}
	}
	if opts.DNSName == "" { // crypto/tls names no addresses
		opts.DNSName = o.expectedAddress()
	}
	if opts.DNSName == "" { // or any name would do
		return &tls.CertificateVerificationError{UnverifiedCertificates: cs.PeerCertificates, Err: x509.HostnameError{Certificate: cs.PeerCertificates[0]}}
	}
	_, err := cs.PeerCertificates[0].Verify(opts)
	if err != nil && !least.Equal(now) {
		opts.CurrentTime = valid
		_, err = cs.PeerCertificates[0].Verify(opts)
	}
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: cs.PeerCertificates, Err: err}
	}
	return nil
}

// expectedAddress gives the address that a certificate must be for where the
// other side was not called by a name: OpenFiskal's where it is known by one, and
// only else the proxy's, if TLS is spoken with that. Where both are addresses the
// proxy must be given by name, or its certificate could stand for OpenFiskal's.
func (o TransportOptions) expectedAddress() string {
	if net.ParseIP(o.Host) == nil && o.Proxy != nil && o.Proxy.Scheme == "https" {
		return o.Proxy.Hostname()
	}
	return o.Host
}

// proxyError is a proxy's refusal to connect; net/http has no type for it.
type proxyError struct{ status int }

func (e *proxyError) Error() string { return fmt.Sprintf("the proxy answered %d", e.status) }

func proxyAnswer(_ context.Context, _ *url.URL, _ *http.Request, res *http.Response) error {
	if res.StatusCode != http.StatusOK {
		return &proxyError{status: res.StatusCode}
	}
	return nil
}

// LoadCA reads the certificates of a PEM file (openfiskal.ca_file). They take
// the place of the system's CAs, they are not added to them.
func LoadCA(file string) (*x509.CertPool, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read CA file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("read CA file %s: %w", file, errNoCertificate)
	}
	return pool, nil
}

var errNoCertificate = errors.New("no certificate in PEM form")
