// Package card finds what looks like a payment card's number in text from
// outside, and masks it. It promises that whatever went through Mask or MaskJSON
// holds no run of 13 to 19 digits with a right check digit, but in a UUID or a long
// word of hexadecimal, and that everything else is as it was. Only what is shown is masked: what was reported is stored
// and sent byte for byte.
package card

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// The lengths of card numbers (ISO/IEC 7812), and how many digits may be shown.
const (
	least = 13
	most  = 19
	shown = 4
)

// Seen reports whether a payload holds what looks like a card number, also
// written in groups or with JSON's \u0034. A payload without a long run of
// digits costs one pass over it.
func Seen(payload []byte) bool {
	if !likely(payload) && !bytes.Contains(payload, []byte(`\u003`)) {
		return false
	}
	if bytes.Contains(payload, []byte(`\u00`)) {
		if plain := unescaped(payload); seen(plain) {
			return true
		}
	}
	return seen(payload)
}

// unescaped is JSON without escapes for digits; nil of what is no JSON.
func unescaped(payload []byte) []byte {
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber() // a float would be other digits
	var v any
	if d.Decode(&v) != nil {
		return nil
	}
	plain, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return plain
}

// likely looks at every eighth byte: 13 digits, with their dividers, cover at
// least one of them.
func likely(b []byte) bool {
	for i := 7; i < len(b)+7; i += 8 {
		at := min(i, len(b)-1)
		if at < 0 || !cardByte(b[at]) {
			continue
		}
		from, to := at, at
		for from > 0 && cardByte(b[from-1]) {
			from--
		}
		for to < len(b) && cardByte(b[to]) {
			to++
		}
		if to-from >= least {
			return true
		}
		i = max(i, to)
	}
	return false
}

func cardByte(c byte) bool { return digit(c) || c == ' ' || c == '-' }

func seen(b []byte) bool {
	for from := 0; from < len(b); {
		r, to := next(b, from)
		if r != nil {
			return true
		}
		from = to
	}
	return false
}

// Mask gives text in which every card number shows its last four digits only.
// Logs, listings, pages and bundles go through it.
func Mask(text string) string {
	if !likely([]byte(text)) {
		return text
	}
	b := []byte(text)
	found := false
	for mask(b) { // what was a longer run may be a card's now
		found = true
	}
	if !found {
		return text
	}
	return string(b)
}

// mask masks in place and reports whether there was something to mask.
func mask(b []byte) (found bool) {
	for from := 0; from < len(b); {
		digits, to := next(b, from)
		if digits != nil {
			found = true
			for _, at := range digits[:len(digits)-shown] {
				b[at] = '*'
			}
		}
		from = to
	}
	return found
}

// MaskJSON is Mask for JSON, which stays JSON: a number that must be masked
// becomes a string, and escapes hide nothing. What is no JSON is masked as text.
func MaskJSON(b []byte) []byte {
	if !Seen(b) {
		return b
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var out bytes.Buffer
	w := writer{out: &out, b: b, d: d}
	if w.value() != nil || len(bytes.TrimSpace(b[d.InputOffset():])) > 0 {
		return []byte(Mask(string(b)))
	}
	out.Write(b[d.InputOffset():]) // a line end, most of all
	return out.Bytes()
}

// writer copies JSON token by token, so that what is not masked keeps its form.
type writer struct {
	out *bytes.Buffer
	b   []byte
	d   *json.Decoder
}

func (w *writer) value() error {
	for depth := 0; ; {
		from := w.d.InputOffset()
		t, err := w.d.Token()
		if err != nil {
			return err
		}
		w.token(t, w.b[from:w.d.InputOffset()])
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// token writes one token with what stands before it: space, comma, colon.
func (w *writer) token(t json.Token, raw []byte) {
	text := ""
	switch v := t.(type) {
	case string:
		text = v
	case json.Number:
		text = v.String()
	default:
		w.out.Write(raw)
		return
	}
	plain := Mask(text)
	if plain == text && !seen(raw) { // the digits of an escape may join those behind it
		w.out.Write(raw)
		return
	}
	start := bytes.IndexAny(raw, `"-0123456789`)
	w.out.Write(raw[:start])
	quoted, err := json.Marshal(plain)
	if err != nil {
		quoted = []byte(`"****"`) // a string always has a JSON form
	}
	w.out.Write(quoted)
}

// next looks for a card number from a position on. digits are where its digits
// stand, nil for none; to is where to look on.
func next(b []byte, from int) (digits []int, to int) {
	for from < len(b) && !digit(b[from]) {
		from++
	}
	run := from
	for run < len(b) && digit(b[run]) {
		run++
	}
	if n := run - from; n > most {
		return nil, run // no card's
	} else if n >= least {
		if valid(b, positions(from, run)) && !inHex(b, from, run) {
			return positions(from, run), run
		}
		return nil, run
	} else if n < 3 || n > 6 {
		return nil, max(run, from+1)
	}
	if digits = grouped(b, from, run); digits != nil && !inUUID(b, from, digits[len(digits)-1]+1) {
		return digits, digits[len(digits)-1] + 1
	}
	return nil, run
}

// How a hash, a signature or a key in hexadecimal is told from a card's number with
// letters beside it: it is longer, and has letters of more kinds. Chips give track 2
// as digits with a D and an F.
const (
	leastHex     = 24
	leastLetters = 3 // of a to f, different ones
)

// inHex reports whether digits are part of a longer word of hexadecimal. One in a
// hundred signatures of a charger's meter has such digits.
func inHex(b []byte, from, to int) bool {
	for from > 0 && hexadecimal(b[from-1]) {
		from--
	}
	for to < len(b) && hexadecimal(b[to]) {
		to++
	}
	var letters [6]bool
	kinds := 0
	for _, c := range b[from:to] {
		if i := int(c|0x20) - 'a'; i >= 0 && !letters[i] {
			letters[i] = true
			kinds++
		}
	}
	return to-from >= leastHex && kinds >= leastLetters
}

// inUUID reports whether digits in groups are part of a UUID.
func inUUID(b []byte, from, to int) bool {
	const size = 36
	for at := max(0, to-size); at <= from && at+size <= len(b); at++ {
		if uuid(b[at:at+size]) && (at == 0 || !hexadecimal(b[at-1])) && (at+size == len(b) || !hexadecimal(b[at+size])) {
			return true
		}
	}
	return false
}

func uuid(b []byte) bool {
	for i, c := range b {
		if divider := i == 8 || i == 13 || i == 18 || i == 23; divider != (c == '-') || !divider && !hexadecimal(c) {
			return false
		}
	}
	return true
}

func hexadecimal(c byte) bool { return digit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }

// grouped reads digits in groups of 3 to 7, as cards print them, divided by
// single spaces or hyphens, one of the two throughout.
func grouped(b []byte, from, run int) []int {
	all := positions(from, run)
	var by byte
	for run < len(b) && (b[run] == ' ' || b[run] == '-') && (by == 0 || b[run] == by) {
		by = b[run]
		end := run + 1
		for end < len(b) && digit(b[end]) {
			end++
		}
		if n := end - run - 1; n < 3 || n > 7 {
			break
		}
		all, run = append(all, positions(run+1, end)...), end
		if len(all) >= least && len(all) <= most && (run == len(b) || b[run] != by || !digitAt(b, run+1)) && valid(b, all) {
			return all
		}
	}
	return nil
}

func digitAt(b []byte, i int) bool { return i < len(b) && digit(b[i]) }

func positions(from, to int) []int {
	all := make([]int, 0, most)
	for i := from; i < to; i++ {
		all = append(all, i)
	}
	return all
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// valid reports whether the last digit checks the others (Luhn). No card's
// number begins with 0, and many a request id does.
func valid(b []byte, at []int) bool {
	if b[at[0]] == '0' {
		return false
	}
	sum := 0
	for i := range at {
		d := int(b[at[len(at)-1-i]] - '0')
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

// Text is Mask for bytes of others that may not be UTF-8.
func Text(b []byte) string {
	if !utf8.Valid(b) {
		b = bytes.ToValidUTF8(b, []byte("\uFFFD"))
	}
	return Mask(string(b))
}
