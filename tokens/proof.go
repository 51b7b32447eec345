package tokens

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"strings"
	"time"

	"edgegw/sale"
	"edgegw/secret"
)

// A token is "edgegw_", 8 characters by which it is found, and 26 that prove it,
// of the alphabet of base32. The beginning makes it findable for those who search
// code and logs for secrets: edgegw_[A-Z2-7]{34}.
const (
	Prefix     = "edgegw_"
	idSize     = 8
	secretSize = 26 // 130 bits
	wholeSize  = len(Prefix) + idSize + secretSize
)

// Refusals of Check. The reasons are for the gateway's own log; whoever asks
// gets the same answer for each.
var (
	errForm    = fmt.Errorf("%w: there is none, or it has not the form of one", ErrRefused)
	errUnknown = fmt.Errorf("%w: there is no such token, or it was removed", ErrRefused)
	errWrong   = fmt.Errorf("%w: its second part is wrong", ErrRefused)
	errExpired = fmt.Errorf("%w: it has expired", ErrRefused)
)

// hashFunc computes what is compared; a field of Set, so that a test can see
// that every token takes the same path.
type hashFunc func(id string, secretBytes []byte) []byte

// keyedHash is what is kept. The id is its salt. A slow hash would add nothing:
// secrets are machine-made with 130 bits and cannot be guessed.
func keyedHash(id string, secretBytes []byte) []byte {
	return secret.MAC([]byte(id), "edgegw token|", secretBytes)
}

// newToken draws a token, its id and what to keep of it.
func newToken() (whole secret.Text, id string, kept []byte) {
	id, proof := rand.Text()[:idSize], rand.Text()[:secretSize]
	return secret.FromString(Prefix + id + proof), id, keyedHash(id, []byte(proof))
}

// split takes a token apart; ok is false for what has not the form of one.
func split(presented []byte) (id string, proof []byte, ok bool) {
	if len(presented) != wholeSize || string(presented[:len(Prefix)]) != Prefix {
		return "", nil, false
	}
	rest := presented[len(Prefix):]
	return string(rest[:idSize]), rest[idSize:], ValidID(string(rest[:idSize]))
}

// ValidID reports whether id can be the id of a token.
func ValidID(id string) bool {
	return len(id) == idSize && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

// Check decides whether a token opens anything at this moment. Every refusal
// wraps ErrRefused and takes the same steps, whatever the reason.
func (s *Set) Check(presented []byte, now time.Time) (sale.Token, error) {
	id, proof, formed := split(presented)
	t, known := s.state.Load().byID[id]
	if !known {
		t.Hash = s.nobody
	}
	proven := subtle.ConstantTimeCompare(s.hash(id, proof), t.Hash) == 1
	switch {
	case !formed:
		return sale.Token{}, errForm
	case !known:
		return sale.Token{}, errUnknown
	case !proven:
		return sale.Token{}, errWrong
	case t.Expired(now):
		return sale.Token{}, fmt.Errorf("%w: %s", errExpired, t.Name)
	}
	t.Hash = nil
	return t, nil
}
