package siteca

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	leafYears   = 10
	renewBefore = 30 * 24 * time.Hour

	// maxAddresses bounds the addresses that a certificate keeps from the one
	// before it.
	maxAddresses = 32
)

// subject is whom a server certificate speaks for.
type subject struct {
	names     []string // sorted
	addresses []netip.Addr
}

// openServer loads the server certificate and makes or renews it where due. A
// certificate that is whole but of another key or CA is replaced: everything in
// it can be made again. A damaged one is an error.
func (a *Authority) openServer(now time.Time) error {
	certPath, keyPath := filepath.Join(a.dir, serverCertFile), filepath.Join(a.dir, serverKeyFile)
	if _, err := openKey(keyPath); err != nil {
		return err
	}
	have, err := exists(certPath)
	if err != nil {
		return err
	}
	if have {
		if err := a.load(); err != nil {
			return err
		}
	}
	if _, err = a.renew(now); err != nil && a.server.Load() != nil {
		return nil // devices can connect; Trouble says the rest
	}
	return err
}

// load takes the pair from disk into use, if it is one and of this CA.
func (a *Authority) load() error {
	_, leaf, err := readCert(filepath.Join(a.dir, serverCertFile))
	if err != nil {
		return err
	}
	key, err := readKey(filepath.Join(a.dir, serverKeyFile))
	if err != nil {
		return err
	}
	if !samePublic(leaf.PublicKey, key.Public()) || leaf.CheckSignatureFrom(a.cert) != nil {
		return nil
	}
	a.server.Store(&tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf})
	return nil
}

// renew makes a new leaf where it must; extra are addresses that devices use
// although the system does not list them.
func (a *Authority) renew(now time.Time, extra ...netip.Addr) (bool, error) {
	a.renewing.Lock()
	defer a.renewing.Unlock()
	want := a.subject()
	want.addresses = appendNew(want.addresses, extra...)
	end := later(now, a.options.Built).AddDate(leafYears, 0, 0)
	if end.After(a.cert.NotAfter) {
		end = a.cert.NotAfter
	}
	if current := a.server.Load(); current != nil {
		old := subjectOf(current.Leaf)
		ending := now.After(current.Leaf.NotAfter.Add(-renewBefore)) && end.After(current.Leaf.NotAfter)
		if !ending && old.covers(want) {
			a.trouble.Store(nil)
			return false, nil
		}
		// An address that is gone for the moment (no DHCP answer yet after a power
		// cut) stays, or a device that dials it would be locked out.
		room := max(0, maxAddresses-len(want.addresses))
		want.addresses = appendNew(want.addresses, old.addresses[:min(room, len(old.addresses))]...)
	}
	if err := a.issueServer(want, end); err != nil {
		err = fmt.Errorf("renew server certificate: %w", err)
		a.failed(now, err)
		return false, err
	}
	a.trouble.Store(nil)
	return true, nil
}

// failed keeps the first moment and the last cause.
func (a *Authority) failed(now time.Time, err error) {
	t := &Trouble{Since: now, Err: err}
	if before := a.trouble.Load(); before != nil {
		t.Since = before.Since
	}
	a.trouble.Store(t)
}

func (a *Authority) issueServer(s subject, end time.Time) error {
	key, err := readKey(filepath.Join(a.dir, serverKeyFile))
	if err != nil {
		return err
	}
	template, err := newTemplate("edgegw", end)
	if err != nil {
		return err
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	template.DNSNames = s.names
	for _, addr := range s.addresses {
		template.IPAddresses = append(template.IPAddresses, net.IP(addr.AsSlice()))
	}
	der, err := a.sign(template, key.Public())
	if err != nil {
		return err
	}
	if err := replaceFile(filepath.Join(a.dir, serverCertFile), encodeCert(der), 0o644); err != nil {
		return err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	a.server.Store(&tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf})
	return nil
}

// coverLocal adds the address that a device dialled to the certificate, if it
// lacks it: a box that got its address after the start must not need another.
// Only the box's own addresses can come in this way. Where that cannot be done
// the old certificate is served, and those who dial by name notice nothing.
func (a *Authority) coverLocal(hello *tls.ClientHelloInfo) {
	if hello.Conn == nil {
		return
	}
	local, ok := hello.Conn.LocalAddr().(*net.TCPAddr)
	if !ok {
		return
	}
	addr, usable := plain(local.AddrPort().Addr())
	if !usable || slices.Contains(subjectOf(a.Leaf()).addresses, addr) {
		return
	}
	_, _ = a.renew(a.options.now(), addr) // the next handshake tries again
}

// subject collects the names and addresses of this machine at this moment.
func (a *Authority) subject() subject {
	s := subject{names: []string{"localhost", "edgegw.local"}, addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}}
	if host, err := os.Hostname(); err == nil && validName(host) {
		s.names = append(s.names, strings.ToLower(host))
	}
	for _, h := range a.options.Hosts {
		if addr, err := netip.ParseAddr(h); err == nil {
			s.addresses = appendNew(s.addresses, addr.Unmap())
			continue
		}
		s.names = append(s.names, strings.ToLower(h))
	}
	slices.Sort(s.names)
	s.names = slices.Compact(s.names)
	s.addresses = appendNew(s.addresses, a.options.addresses()...)
	return s
}

func subjectOf(leaf *x509.Certificate) subject {
	s := subject{names: slices.Sorted(slices.Values(leaf.DNSNames))}
	for _, ip := range leaf.IPAddresses {
		if addr, ok := netip.AddrFromSlice(ip); ok {
			s.addresses = append(s.addresses, addr.Unmap())
		}
	}
	return s
}

// covers reports whether a certificate for s serves want: the same names, and
// at least its addresses.
func (s subject) covers(want subject) bool {
	return slices.Equal(s.names, want.names) &&
		!slices.ContainsFunc(want.addresses, func(a netip.Addr) bool { return !slices.Contains(s.addresses, a) })
}

func appendNew(list []netip.Addr, more ...netip.Addr) []netip.Addr {
	for _, a := range more {
		if !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}

// ownAddresses asks the system. Where it does not tell, the certificate serves
// names and loopback, and coverLocal adds what is used.
func ownAddresses() []netip.Addr {
	found, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var list []netip.Addr
	for _, f := range found {
		prefix, err := netip.ParsePrefix(f.String())
		if err != nil {
			continue
		}
		if addr, usable := plain(prefix.Addr()); usable {
			list = appendNew(list, addr)
		}
	}
	return list
}

// plain gives an address the form it has in certificates; link-local ones are
// left out, because they mean nothing without their zone.
func plain(addr netip.Addr) (netip.Addr, bool) {
	addr = addr.Unmap().WithZone("")
	usable := addr.IsValid() && !addr.IsUnspecified() && !addr.IsMulticast() && !addr.IsLinkLocalUnicast()
	return addr, usable
}

var errHost = errors.New("neither a DNS name nor an IP address")

func checkHosts(hosts []string) error {
	for _, h := range hosts {
		if _, err := netip.ParseAddr(h); err != nil && !validName(h) {
			return fmt.Errorf("read host %q: %w", h, errHost)
		}
	}
	return nil
}

func validName(h string) bool {
	if h == "" || len(h) > 253 || strings.Trim(h, "0123456789.") == "" {
		return false
	}
	for _, c := range h {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return true
}
