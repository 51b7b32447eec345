package devicekeys

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"fmt"
	"slices"

	"edgegw/sale"
	"edgegw/secret"
)

// What is kept of a device secret is
//
//	format (1 byte) | salt (16) | HMAC-SHA-256(salt, purpose | device id | secret)
//
// A slow hash would add nothing: secrets are machine-made with 128 bits, so they
// cannot be guessed, and 500 devices that come back after a power cut would wait
// for it (FAULTS.md 4.2). There is no pepper from the KEK: devices must be able
// to log in and sell when the KEK is missing or wrong.
const (
	hashFormat = 1
	saltSize   = 16
	hashSize   = 1 + saltSize + sha256.Size
)

// hashFunc computes what is compared; a field of Ring, so that a test can see
// that every login takes the same path.
type hashFunc func(salt []byte, id sale.DeviceID, secretBytes []byte) []byte

func keyedHash(salt []byte, id sale.DeviceID, secretBytes []byte) []byte {
	return secret.MAC(salt, "edgegw device secret|"+string(id)+"|", secretBytes)
}

// newSecret draws a device secret of 26 letters and digits that cannot be
// mistaken for each other (base32), and what to keep of it.
func newSecret(id sale.DeviceID) (secret.Text, []byte, error) {
	text := secret.FromString(rand.Text())
	kept := make([]byte, 1+saltSize, hashSize)
	kept[0] = hashFormat
	if _, err := rand.Read(kept[1:]); err != nil {
		return secret.Text{}, nil, fmt.Errorf("draw salt: %w", err)
	}
	return text, append(kept, keyedHash(kept[1:], id, text.Reveal())...), nil
}

// Refusals of Authenticate. The reasons are for the gateway's own log; a device
// gets the same answer for each.
var (
	errUnknownDevice = fmt.Errorf("%w: no such device", ErrRefused)
	errWrongSecret   = fmt.Errorf("%w: wrong secret", ErrRefused)
	errWrongCert     = fmt.Errorf("%w: the certificate is not this device's", ErrRefused)
	errUnlistedCert  = fmt.Errorf("%w: the certificate was revoked, or is not on the list", ErrRefused)
	errDisabled      = fmt.Errorf("%w: the device is disabled", ErrRefused)
)

// Authenticate decides who logs in. username is the device id; it may be empty
// where a certificate says it. cert is the client certificate that TLS has
// verified against the site CA (the first of VerifiedChains), nil where there is
// none: one that was merely presented must not be passed. A certificate decides
// alone: if it is another device's, a right secret does not help.
//
// Every refusal wraps ErrRefused and takes the same steps, whether the device is
// unknown, disabled or has another secret.
func (r *Ring) Authenticate(username string, secretBytes []byte, cert *x509.Certificate) (sale.DeviceID, error) {
	claimed := sale.DeviceID(username)
	if cert != nil && username == "" {
		claimed = sale.DeviceID(cert.Subject.CommonName)
	}
	now := r.state.Load()
	d, known := now.devices[claimed]
	if !known {
		d.SecretHash = r.nobody
	}
	proven, why := r.matches(d.SecretHash, claimed, secretBytes), errWrongSecret
	if cert != nil {
		named, listed := names(cert, claimed), now.lists(cert, claimed)
		if proven, why = named && listed, errUnlistedCert; !named {
			why = errWrongCert
		}
	}
	switch {
	case !known:
		return "", errUnknownDevice
	case !proven:
		return "", why
	case d.Disabled:
		return "", errDisabled
	}
	return claimed, nil
}

// matches compares in constant time. A row without a whole hash matches nothing,
// after the same work.
func (r *Ring) matches(kept []byte, id sale.DeviceID, secretBytes []byte) bool {
	whole := len(kept) == hashSize && kept[0] == hashFormat
	if !whole {
		kept = r.nobody
	}
	got := r.hash(kept[1:1+saltSize], id, secretBytes)
	return subtle.ConstantTimeCompare(got, kept[1+saltSize:]) == 1 && whole
}

// Lists reports whether a certificate was issued to the device and not revoked:
// a connection by one that is not listed has to end.
func (r *Ring) Lists(id sale.DeviceID, cert *x509.Certificate) bool {
	return r.state.Load().lists(cert, id)
}

// lists is Lists of one view. Without a list, the certificate of a device that was removed would open the
// door again to whoever holds it as soon as its name is given to another.
func (s *state) lists(cert *x509.Certificate, id sale.DeviceID) bool {
	c, ok := s.certs[serial(cert)]
	return ok && c.Device == id && c.RevokedAt.IsZero()
}

// serial is how a serial number is written here.
func serial(cert *x509.Certificate) string { return fmt.Sprintf("%x", cert.SerialNumber) }

// names reports whether a verified certificate is this device's. One made for
// servers is no device's.
func names(cert *x509.Certificate, id sale.DeviceID) bool {
	forClients := slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	return forClients && !cert.IsCA && id.Valid() && subtle.ConstantTimeCompare([]byte(cert.Subject.CommonName), []byte(id)) == 1
}
