package gateway

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"edgegw/config"
	"edgegw/doctor"
	"edgegw/fiscal"
)

// stepLimit bounds each step of the way to OpenFiskal.
const stepLimit = 4 * time.Second

// uplinkFacts goes the way to OpenFiskal, step by step, until one fails. No request
// is made and no key is sent.
func uplinkFacts(ctx context.Context, c config.OpenFiskal, bounds func() (now, least time.Time)) (u doctor.Uplink) {
	base, err := url.Parse(c.BaseURL)
	if err != nil {
		u.Host, u.NameHost, u.NameKey, u.NameError = c.BaseURL, c.BaseURL, "openfiskal.base_url", err.Error()
		return u
	}
	u.Host, u.Plain, u.NameKey = base.Hostname(), base.Scheme == "http", "openfiskal.base_url"
	u.Address = withPort(base)
	to, err := transportOptions(c)
	if err != nil {
		u.TLS, u.TLSError = doctor.TLSOther, err.Error()
		to.RootCAs = x509.NewCertPool() // nothing is trusted by mistake
	}
	to.Bounds = bounds
	first := u.Address
	if to.Proxy != nil {
		u.Proxy, first, u.NameKey = withPort(to.Proxy), withPort(to.Proxy), "openfiskal.proxy"
	}
	reach, ok := find(ctx, &u, first)
	if !ok {
		return u
	}
	conn, ok := connect(ctx, &u, reach, to.Proxy)
	if !ok {
		return u
	}
	defer conn.Close()
	if !u.Plain && u.TLSError == "" {
		shake(ctx, &u, conn, to)
	}
	return u
}

// withPort is an address with the port that its scheme has where it names none.
func withPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// find looks the name up and asks the kernel for a route. A UDP socket that is
// connected sends nothing.
func find(ctx context.Context, u *doctor.Uplink, addr string) (reach string, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	host, port, _ := net.SplitHostPort(addr) // withPort made it
	u.Addresses = []string{host}
	if net.ParseIP(host) == nil {
		u.NameHost = host
		var err error
		if u.Addresses, err = net.DefaultResolver.LookupHost(ctx, host); err != nil {
			u.NameError = reason(err)
			return "", false
		}
	}
	var last error
	for _, a := range u.Addresses {
		conn, err := (&net.Dialer{}).DialContext(ctx, "udp", net.JoinHostPort(a, port))
		if err == nil {
			conn.Close()
			return addr, true
		}
		last = err
	}
	u.RouteError = reason(last)
	return "", false
}

// reason leaves out which socket it was.
func reason(err error) string {
	if e := (*net.DNSError)(nil); errors.As(err, &e) {
		return e.Err
	}
	if e := (*net.OpError)(nil); errors.As(err, &e) && e.Err != nil {
		return e.Err.Error()
	}
	return err.Error()
}

// connect dials OpenFiskal, or the proxy and through it.
func connect(ctx context.Context, u *doctor.Uplink, addr string, proxy *url.URL) (net.Conn, bool) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	switch {
	case err != nil && proxy != nil:
		u.ProxyError = reason(err)
	case err != nil:
		u.ConnectError = reason(err)
	case proxy != nil && proxy.Scheme != "http" && proxy.Scheme != "https":
		u.ProxyUntried = true // SOCKS: net/http speaks that, and nothing else here does
		conn.Close()
		return nil, false
	case proxy != nil:
		if conn, err = through(ctx, conn, proxy, u.Address); err != nil {
			u.ProxyError = reason(err)
		}
	}
	return conn, err == nil
}

// through asks an HTTP proxy for a tunnel.
func through(ctx context.Context, conn net.Conn, proxy *url.URL, to string) (net.Conn, error) {
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	if proxy.Scheme == "https" {
		secure := tls.Client(conn, &tls.Config{ServerName: proxy.Hostname(), MinVersion: tls.VersionTLS12})
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		conn = secure
	}
	ask := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: to}, Host: to, Header: http.Header{}}
	if p := proxy.User; p != nil {
		word, _ := p.Password()
		ask.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(p.Username()+":"+word)))
	}
	err := ask.Write(conn)
	if err == nil {
		var res *http.Response
		if res, err = http.ReadResponse(bufio.NewReaderSize(conn, 16), ask); err == nil && res.StatusCode != http.StatusOK {
			err = fmt.Errorf("it answered %d", res.StatusCode)
		}
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// shake does the handshake as every request does.
func shake(ctx context.Context, u *doctor.Uplink, conn net.Conn, to fiscal.TransportOptions) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	conf := fiscal.NewTransport(to).TLSClientConfig
	conf.ServerName = u.Host
	secure := tls.Client(conn, conf)
	err := secure.HandshakeContext(ctx)
	u.TLS = resultOf(err)
	if err != nil {
		u.TLSError = reason(err)
		return
	}
	for _, c := range secure.ConnectionState().PeerCertificates {
		if u.CertEnd.IsZero() || c.NotAfter.Before(u.CertEnd) {
			u.CertEnd = c.NotAfter
		}
	}
	u.Issuer = secure.ConnectionState().PeerCertificates[0].Issuer.String()
}

func resultOf(err error) doctor.TLSResult {
	var stranger x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	switch {
	case err == nil:
		return doctor.TLSGood
	case errors.As(err, &stranger):
		return doctor.TLSStranger
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return doctor.TLSEnded
	case errors.As(err, &name):
		return doctor.TLSOtherName
	}
	return doctor.TLSOther
}
