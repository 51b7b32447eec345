package siteca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// caYears is how long a CA lasts, counted from the later of the clock and the
// build: longer than any device in the field.
const caYears = 50

// beginning is when everything made here becomes valid: a box without a
// battery starts in 1970.
var beginning = time.Unix(0, 0).UTC()

// openCA brings a.cert and a.pem in. The key is written before the certificate,
// so a key alone is a first start that was cut short and is completed, while a
// certificate alone has lost its key and cannot be mended here.
func (a *Authority) openCA(now time.Time) error {
	certPath, keyPath := filepath.Join(a.dir, caCertFile), filepath.Join(a.dir, caKeyFile)
	haveCert, err := exists(certPath)
	if err != nil {
		return err
	}
	haveKey, err := exists(keyPath)
	if err != nil {
		return err
	}
	if haveCert && !haveKey {
		return fmt.Errorf("%s is missing beside %s: restore it from a backup, or, to start over and give every device the new CA, remove %s", keyPath, certPath, certPath)
	}
	key, err := openKey(keyPath)
	if err != nil {
		return err
	}
	if !haveCert {
		if err := a.makeCA(certPath, key, now); err != nil {
			return err
		}
	}
	a.pem, a.cert, err = readCert(certPath)
	if err != nil {
		return err
	}
	if !a.cert.IsCA || !samePublic(a.cert.PublicKey, key.Public()) {
		return fmt.Errorf("%s is not the certificate of %s: restore both from one backup", certPath, keyPath)
	}
	return nil
}

func (a *Authority) makeCA(path string, key crypto.Signer, now time.Time) error {
	name := []rune("edgegw site CA " + a.options.SiteName)
	if most := 64; len(name) > most { // X.520 ub-common-name
		name = name[:most]
	}
	template, err := newTemplate(string(name), later(now, a.options.Built).AddDate(caYears, 0, 0))
	if err != nil {
		return err
	}
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	if err := createFile(path, encodeCert(der), 0o644); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil // another process was first: its certificate is of the same key
}

// sign makes a certificate under the CA. The CA's key is in memory only here.
func (a *Authority) sign(template *x509.Certificate, public crypto.PublicKey) ([]byte, error) {
	key, err := readKey(filepath.Join(a.dir, caKeyFile))
	if err != nil {
		return nil, err
	}
	return x509.CreateCertificate(rand.Reader, template, a.cert, public, key)
}

func newTemplate(commonName string, end time.Time) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	return &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		Subject:      pkix.Name{CommonName: commonName, Organization: []string{"edgegw"}},
		NotBefore:    beginning,
		NotAfter:     end.UTC().Truncate(time.Second),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}, nil
}

func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make private key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encode private key: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// openKey reads the key at path, or makes it where there is none.
func openKey(path string) (crypto.Signer, error) {
	have, err := exists(path)
	if err != nil {
		return nil, err
	}
	if !have {
		_, encoded, err := newKey()
		if err != nil {
			return nil, err
		}
		if err := createFile(path, encoded, 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return readKey(path)
}

// readKey reads a private key and refuses one that others may read. No error
// carries any of its bytes.
func readKey(path string) (crypto.Signer, error) {
	if err := checkMode(path); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, damaged(path, "a private key in PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, damaged(path, "a private key in PEM")
	}
	return signer, nil
}

func readCert(path string) ([]byte, *x509.Certificate, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	block, rest := pem.Decode(b)
	if block == nil || block.Type != "CERTIFICATE" || len(rest) > 0 {
		return nil, nil, damaged(path, "one certificate in PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, nil, damaged(path, "one certificate in PEM")
	}
	return b, cert, nil
}

func damaged(path, want string) error {
	return fmt.Errorf("%s is damaged (it does not hold %s): restore it from a backup; it was left as it is", path, want)
}

func samePublic(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
