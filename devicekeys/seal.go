package devicekeys

import (
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"strconv"

	"golang.org/x/crypto/chacha20poly1305"

	"edgegw/sale"
	"edgegw/secret"
)

// A sealed register key is
//
//	format (1 byte) | KEK id (8) | nonce (24) | ciphertext and tag
//
// under XChaCha20-Poly1305, whose nonce is long enough to be drawn at random.
// The KEK id lets a wrong KEK be told from a damaged blob.
const (
	sealFormat = 1
	kekIDSize  = 8
	sealHeader = 1 + kekIDSize + chacha20poly1305.NonceSizeX
)

// Purposes for which keys are derived from the KEK, so that none serves two.
const (
	purposeSeal = "edgegw register key seal 1"
	purposeID   = "edgegw KEK id 1"
)

// vault seals and opens with one KEK.
type vault struct {
	aead cipher.AEAD
	id   [kekIDSize]byte
}

// newVault gives nil for the zero KEK.
func newVault(k KEK) (*vault, error) {
	if k.Empty() {
		return nil, nil
	}
	key, err := hkdf.Key(sha256.New, k.reveal(), nil, purposeSeal, chacha20poly1305.KeySize)
	if err != nil {
		return nil, fmt.Errorf("derive sealing key: %w", err)
	}
	defer clear(key)
	id, err := hkdf.Key(sha256.New, k.reveal(), nil, purposeID, kekIDSize)
	if err != nil {
		return nil, fmt.Errorf("derive KEK id: %w", err)
	}
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, fmt.Errorf("prepare sealing: %w", err)
	}
	return &vault{aead: aead, id: [kekIDSize]byte(id)}, nil
}

// boundTo is the associated data of a seal: a blob that was moved to another
// register or version does not open there (FAULTS.md F53).
func boundTo(r sale.RegisterID, version int64) []byte {
	return []byte("edgegw register key|" + string(r) + "|" + strconv.FormatInt(version, 10))
}

func (v *vault) seal(r sale.RegisterID, version int64, key secret.Text) ([]byte, error) {
	if v == nil {
		return nil, ErrNoKEK
	}
	blob := make([]byte, sealHeader, sealHeader+len(key.Reveal())+v.aead.Overhead())
	blob[0] = sealFormat
	copy(blob[1:], v.id[:])
	nonce := blob[1+kekIDSize : sealHeader]
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("draw nonce: %w", err)
	}
	return v.aead.Seal(blob, nonce, key.Reveal(), boundTo(r, version)), nil
}

func (v *vault) open(k sale.SealedKey) (secret.Text, error) {
	if v == nil {
		return secret.Text{}, ErrNoKEK
	}
	blob := k.Sealed
	if len(blob) < sealHeader || blob[0] != sealFormat {
		return secret.Text{}, ErrSealBroken
	}
	if !v.made(blob) {
		return secret.Text{}, ErrWrongKEK
	}
	plain, err := v.aead.Open(nil, blob[1+kekIDSize:sealHeader], blob[sealHeader:], boundTo(k.Register, k.Version))
	if err != nil {
		return secret.Text{}, ErrSealBroken
	}
	return secret.New(plain), nil
}

// made reports whether the blob names this vault's KEK.
func (v *vault) made(blob []byte) bool {
	return len(blob) >= sealHeader && bytes.Equal(blob[1:1+kekIDSize], v.id[:])
}
