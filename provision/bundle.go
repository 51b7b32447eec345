package provision

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
	"filippo.io/age/armor"

	"edgegw/secret"
)

// NewIdentity makes the key with which a box opens bundles.
func NewIdentity() (secret.Text, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return secret.Text{}, fmt.Errorf("make the key that opens bundles: %w", err)
	}
	return secret.FromString(id.String()), nil
}

// Recipient is the public half of an identity: what a back office encrypts to
// (age1…).
func Recipient(identity secret.Text) (string, error) {
	id, err := parseIdentity(identity)
	if err != nil {
		return "", err
	}
	return id.Recipient().String(), nil
}

func parseIdentity(identity secret.Text) (*age.X25519Identity, error) {
	id, err := age.ParseX25519Identity(string(identity.Reveal()))
	if err != nil {
		return nil, errors.New("the key that opens bundles is damaged") // the cause may quote it
	}
	return id, nil
}

// IsBundle reports whether the text is encrypted with age, binary or armored.
func IsBundle(text []byte) bool {
	return bytes.HasPrefix(text, []byte("age-encryption.org/")) || bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte(armor.Header))
}

// Open decrypts a bundle; the result is CSV for Parse. The error is a *Fault
// where the bundle is to blame. The caller wipes the result.
func Open(bundle []byte, identity secret.Text) ([]byte, error) {
	id, err := parseIdentity(identity)
	if err != nil {
		return nil, err
	}
	var in io.Reader = bytes.NewReader(bundle)
	if !bytes.HasPrefix(bundle, []byte("age-encryption.org/")) {
		in = armor.NewReader(in)
	}
	plain, err := age.Decrypt(in, id)
	var other *age.NoIdentityMatchError
	switch {
	case errors.As(err, &other):
		return nil, &Fault{Text: "the bundle was encrypted for another box: encrypt it to the recipient that edgegw import --recipient prints here"}
	case err != nil:
		return nil, &Fault{Text: "the bundle is damaged, or was not made by age"}
	}
	text, err := io.ReadAll(io.LimitReader(plain, MaxBytes+1))
	if err != nil {
		clear(text)
		return nil, &Fault{Text: "the bundle is damaged or cut short: nothing in it was used"}
	}
	if len(text) > MaxBytes {
		clear(text)
		return nil, &Fault{Text: fmt.Sprintf("the bundle holds more than %d bytes: split it", MaxBytes)}
	}
	return text, nil
}
