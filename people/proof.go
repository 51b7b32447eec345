package people

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"math/big"
	"strings"

	"golang.org/x/crypto/argon2"

	"edgegw/secret"
)

// Argon2id with 19 MiB, two passes and one lane, the least that OWASP's cheat sheet
// on storing passwords recommends: it leaves a box of 1 GiB its memory. The stored
// form begins with a byte that names these, so that they can change.
const (
	form     = 1
	passes   = 2
	memory   = 19 << 10 // KiB
	saltSize = 16
	keySize  = 32
)

// mostWaiting is how many logins may wait for their turn: one hash is computed at a
// time, so that a flood of logins takes no more memory than one.
const mostWaiting = 16

// slow computes hashes, one at a time.
type slow struct {
	turn, queue chan struct{}
	nobody      []byte // stands in for the hash of somebody who is not there
}

func newSlow() slow {
	s := slow{turn: make(chan struct{}, 1), queue: make(chan struct{}, mostWaiting), nobody: make([]byte, 1+saltSize+keySize)}
	_, _ = rand.Read(s.nobody) // never fails
	s.nobody[0] = form
	return s
}

// hash makes what is kept of a password.
func (s slow) hash(ctx context.Context, password secret.Text) ([]byte, error) {
	kept := make([]byte, 1+saltSize, 1+saltSize+keySize)
	kept[0] = form
	_, _ = rand.Read(kept[1:]) // never fails
	key, err := s.compute(ctx, password, kept[1:])
	return append(kept, key...), err
}

// matches compares. Where there is nobody, a nil hash, as much is computed.
func (s slow) matches(ctx context.Context, kept []byte, password secret.Text) (bool, error) {
	there := len(kept) == 1+saltSize+keySize && kept[0] == form
	if !there {
		kept = s.nobody
	}
	key, err := s.compute(ctx, password, kept[1:1+saltSize])
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(key, kept[1+saltSize:]) == 1 && there, nil
}

func (s slow) compute(ctx context.Context, password secret.Text, salt []byte) ([]byte, error) {
	select {
	case s.queue <- struct{}{}:
		defer func() { <-s.queue }()
	default:
		return nil, ErrBusy
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p := password.Reveal()
	if len(p) > mostPassword {
		p = p[:mostPassword] // none is longer; what is must not cost more
	}
	return argon2.IDKey(p, salt, passes, memory, 1, keySize), nil
}

// newPIN draws ten digits: 10^10, and a guess from each of 250 addresses every
// minute for a week hits one in four thousand.
func newPIN() string {
	n, err := rand.Int(rand.Reader, big.NewInt(1e10))
	if err != nil {
		panic("no randomness: " + err.Error()) // crypto/rand never fails
	}
	digits := n.String()
	return strings.Repeat("0", 10-len(digits)) + digits
}

// newCode draws what claims a site, in groups that are easy to type: 80 bits.
func newCode() string {
	t := rand.Text()[:16]
	return t[:4] + "-" + t[4:8] + "-" + t[8:12] + "-" + t[12:]
}

// plain is a code without what people change about it.
func plain(code string) string {
	return strings.ToUpper(strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' {
			return -1
		}
		return r
	}, code))
}
