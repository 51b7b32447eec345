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
)

// TransportOptions shape the connection to OpenFiskal. The zero value is right
// for production: the system's CAs, no proxy.
type TransportOptions struct {
	RootCAs   *x509.CertPool // nil: the system's; LoadCA reads a file
	Proxy     *url.URL       // nil: none, whatever the environment says (FAULTS.md F24)
	IdleConns int            // HTTP/1.1 connections kept open; 0 means 32
}

// NewTransport makes a transport with the limits of FAULTS.md H5: TLS 1.2 or
// higher, HTTP/2, time limits on every phase and bounded headers.
func NewTransport(o TransportOptions) *http.Transport {
	idle := o.IdleConns
	if idle <= 0 {
		idle = defaultIdleConns
	}
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: keepAliveInterval}
	t := &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.RootCAs},
		TLSHandshakeTimeout:    handshakeTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConns:           idle,
		MaxIdleConnsPerHost:    idle,
		MaxResponseHeaderBytes: maxAnswerHeader,
		ForceAttemptHTTP2:      true,
		// Without a ping, a dead HTTP/2 connection takes every call of the site
		// along until TCP gives up, many minutes later.
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		OnProxyConnectResponse: proxyAnswer,
	}
	if o.Proxy != nil {
		t.Proxy = http.ProxyURL(o.Proxy)
	}
	return t
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
