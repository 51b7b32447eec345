package broker_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"edgegw/broker/brokertest"
)

// TLS, with a client certificate in place of a secret.
func TestTLSAndClientCertificate(t *testing.T) {
	pool, server, client := certificates(t, "pump-02")
	s := start(t, func(s *site, o *optionsOf) {
		o.TLS, o.Plain = o.Plain, nil
		o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool}
		s.tls = &tls.Config{RootCAs: pool, ServerName: "localhost"}
	})
	c := s.device(5, "pump-01")
	must(t, c.Publish(topic("pump-01", "sale"), 1, 1, "x"))
	readID(t, c, brokertest.PUBACK, 1, 0)

	s.tls = &tls.Config{RootCAs: pool, ServerName: "localhost", Certificates: []tls.Certificate{client}}
	l := brokertest.Login{Version: 4, ClientID: "pump-02", NoLogin: true, Keepalive: 60}
	nothing(t, s.connect(l))
	l.ClientID = "pump-01"
	if p := s.try(l).Ack; p.Code != 5 {
		t.Fatalf("%+v", p)
	}
	l = login(4, "pump-02") // its own user name beside it is fine, another's is not
	nothing(t, s.connect(l))
	l.Username = "pump-03"
	if p := s.try(l).Ack; p.Code != 5 {
		t.Fatalf("%+v", p)
	}
}

func certificates(t *testing.T, device string) (*x509.CertPool, tls.Certificate, tls.Certificate) {
	t.Helper()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "site"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	must(t, err)
	root, err := x509.ParseCertificate(der)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(root)
	issue := func(n int64, name string, dns ...string) tls.Certificate {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(t, err)
		c := &x509.Certificate{SerialNumber: big.NewInt(n), Subject: pkix.Name{CommonName: name}, DNSNames: dns, NotAfter: time.Now().Add(time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
		der, err := x509.CreateCertificate(rand.Reader, c, root, &key.PublicKey, caKey)
		must(t, err)
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}
	return pool, issue(2, "localhost", "localhost"), issue(3, device)
}
