// Package audit makes the audit trail something that can be checked: each line
// has a chain value, made from the one before it and from what the line says, so
// that a line which was altered, taken out, put in or moved no longer fits. It
// also writes exports for an auditor, and checks them. It promises that Check and
// Verify name the first record that does not fit, and reads and writes nothing
// but what it is given. It knows no database and no site; and it has no key: who
// can write the whole trail can make it anew from some line on, and is found out
// only by a value that somebody has noted before (docs/export.md).
package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
)

// Chain is the value of the trail, or of a file of records, up to some line.
// Before the first one it is 32 zero bytes.
type Chain [sha256.Size]byte

func (c Chain) String() string { return hex.EncodeToString(c[:]) }

// MarshalText writes the value in hexadecimal.
func (c Chain) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads it.
func (c *Chain) UnmarshalText(text []byte) error {
	v, err := ParseChain(string(text))
	*c = v
	return err
}

// ParseChain reads 64 hexadecimal digits.
func ParseChain(text string) (c Chain, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(c) {
		return c, fmt.Errorf("%q is no chain value: it has 64 hexadecimal digits", text)
	}
	return Chain(b), nil
}

// Line is one line of the audit trail.
type Line struct {
	No      int64
	At      int64 // milliseconds since 1970, UTC
	Who     string
	What    string
	Subject string
	Detail  string
}

// Next is the value after a line: SHA-256 over the 32 bytes of the value before
// it and the line's canonical form.
func (c Chain) Next(l Line) Chain { return c.over(l.canonical()) }

// over is the value after any record.
func (c Chain) over(record []byte) Chain {
	h := sha256.New()
	h.Write(c[:])
	h.Write(record)
	return Chain(h.Sum(nil))
}

// canonical has the six fields in the order of Line, each as its length in bytes
// in decimal, a colon, its bytes and a comma, so that no two lines have one form.
// It is part of every chain that is stored: it is never edited.
func (l Line) canonical() []byte {
	b := make([]byte, 0, 80+len(l.Who)+len(l.What)+len(l.Subject)+len(l.Detail))
	for _, f := range []string{strconv.FormatInt(l.No, 10), strconv.FormatInt(l.At, 10), l.Who, l.What, l.Subject, l.Detail} {
		b = strconv.AppendInt(b, int64(len(f)), 10)
		b = append(append(append(b, ':'), f...), ',')
	}
	return b
}
