// Package secret holds bytes that must never be printed. It promises that no
// verb of fmt, no log handler and no JSON encoder shows them; sealing them on
// disk is devicekeys' business.
package secret

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
)

// Redacted is what every printer shows instead of a secret.
const Redacted = "[redacted]"

// Text is a secret: a register key, a device secret or a KEK. The zero value
// is "no secret". Its bytes leave it only by Reveal, so a reader can find every
// place where that happens. They are held in a closure: fmt walks into
// unexported fields of a struct without asking their Format method, and prints
// bytes and pointers to bytes it finds there, but of a function only its
// address.
type Text struct{ reveal func() []byte }

// New takes ownership of b: the caller must not change it afterwards.
func New(b []byte) Text { return Text{func() []byte { return b }} }

// FromString copies s. Prefer New where the bytes are at hand: a string cannot
// be wiped.
func FromString(s string) Text { return New([]byte(s)) }

// Reveal gives the bytes, not a copy. Callers use them at once and keep nothing.
func (t Text) Reveal() []byte {
	if t.reveal == nil {
		return nil
	}
	return t.reveal()
}

// Empty reports whether there is no secret at all.
func (t Text) Empty() bool { return len(t.Reveal()) == 0 }

// Equal compares in constant time.
func (t Text) Equal(o Text) bool { return subtle.ConstantTimeCompare(t.Reveal(), o.Reveal()) == 1 }

// Wipe overwrites the bytes. The garbage collector may have copied them before;
// this shortens their life, it does not promise their end.
func (t Text) Wipe() { clear(t.Reveal()) }

func (Text) String() string               { return Redacted }
func (Text) GoString() string             { return Redacted }
func (Text) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte(Redacted)) }
func (Text) MarshalJSON() ([]byte, error) { return []byte(`"` + Redacted + `"`), nil }
func (Text) MarshalText() ([]byte, error) { return []byte(Redacted), nil }
func (Text) LogValue() slog.Value         { return slog.StringValue(Redacted) }
