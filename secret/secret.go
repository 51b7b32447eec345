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
// place where that happens.
type Text struct{ b []byte }

// New takes ownership of b: the caller must not change it afterwards.
func New(b []byte) Text { return Text{b: b} }

// FromString copies s. Prefer New where the bytes are at hand: a string cannot
// be wiped.
func FromString(s string) Text { return Text{b: []byte(s)} }

// Reveal gives the bytes, not a copy. Callers use them at once and keep nothing.
func (t Text) Reveal() []byte { return t.b }

// Empty reports whether there is no secret at all.
func (t Text) Empty() bool { return len(t.b) == 0 }

// Equal compares in constant time.
func (t Text) Equal(o Text) bool { return subtle.ConstantTimeCompare(t.b, o.b) == 1 }

// Wipe overwrites the bytes. The garbage collector may have copied them before;
// this shortens their life, it does not promise their end.
func (t Text) Wipe() { clear(t.b) }

func (Text) String() string               { return Redacted }
func (Text) GoString() string             { return Redacted }
func (Text) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte(Redacted)) }
func (Text) MarshalJSON() ([]byte, error) { return []byte(`"` + Redacted + `"`), nil }
func (Text) MarshalText() ([]byte, error) { return []byte(Redacted), nil }
func (Text) LogValue() slog.Value         { return slog.StringValue(Redacted) }
