package sale

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"
)

// scanner reads one JSON document (RFC 8259) in place. It exists because the
// accept path needs what encoding/json does not give together: names matched
// exactly, repeated names refused, numbers as text, raw pieces that go through
// untouched, a JSON pointer to the fault, and one pass without a tree.
type scanner struct {
	b       []byte
	at      int
	depth   int
	deepest int // that it may be; at least maxDepth
}

const maxDepth = 32

// errSyntax is what a value that is not JSON gives; where is kept by the scanner.
func (s *scanner) syntax(what string) *Fault {
	return &Fault{Code: "not_json", Message: what + " at byte " + strconv.Itoa(s.at)}
}

func (s *scanner) space() {
	for s.at < len(s.b) {
		switch s.b[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

// peek gives the next byte that is not white space, 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.at == len(s.b) {
		return 0
	}
	return s.b[s.at]
}

// object calls member for each name, with the scanner before the value; member
// must consume it.
func (s *scanner) object(member func(name string) *Fault) *Fault {
	if f := s.enter('{', "an object"); f != nil {
		return f
	}
	for first := true; ; first = false {
		name, end, f := s.name(first)
		if f != nil || end {
			return f
		}
		if f := member(unquote(name)); f != nil {
			return f
		}
	}
}

// array calls element for each element, with the scanner before it.
func (s *scanner) array(element func(i int) *Fault) *Fault {
	if f := s.enter('[', "an array"); f != nil {
		return f
	}
	for i := 0; ; i++ {
		end, f := s.element(i == 0)
		if f != nil || end {
			return f
		}
		if f := element(i); f != nil {
			return f
		}
	}
}

// enter passes over the bracket that an object or array begins with.
func (s *scanner) enter(bracket byte, want string) *Fault {
	if s.peek() != bracket {
		return s.wrong(want)
	}
	if s.depth++; s.depth > max(s.deepest, maxDepth) {
		return s.syntax("nested too deeply")
	}
	s.at++
	return nil
}

func (s *scanner) leave() {
	s.at++
	s.depth--
}

// name gives the next member's name with its quotes, the scanner before the value; or
// the object's end.
func (s *scanner) name(first bool) (raw []byte, end bool, f *Fault) {
	c := s.peek()
	switch {
	case c == '}':
		s.leave()
		return nil, true, nil
	case first:
	case c == ',':
		s.at++
		c = s.peek()
	default:
		return nil, false, s.syntax("a comma or closing brace is missing")
	}
	if c != '"' {
		return nil, false, s.syntax("a member name is missing")
	}
	if raw, f = s.rawString(); f != nil {
		return nil, false, f
	}
	if s.peek() != ':' {
		return nil, false, s.syntax("a colon is missing")
	}
	s.at++
	return raw, false, nil
}

// element gives whether the array ends here; otherwise the scanner is before the next
// element.
func (s *scanner) element(first bool) (end bool, f *Fault) {
	c := s.peek()
	switch {
	case c == ']':
		s.leave()
		return true, nil
	case first:
	case c == ',':
		s.at++
	default:
		return false, s.syntax("a comma or closing bracket is missing")
	}
	return false, nil
}

// rawString gives a string with its quotes, as it stands.
func (s *scanner) rawString() ([]byte, *Fault) {
	if s.peek() != '"' {
		return nil, s.wrong("a string")
	}
	from := s.at
	for s.at++; s.at < len(s.b); s.at++ {
		switch c := s.b[s.at]; {
		case c == '"':
			s.at++
			return s.b[from:s.at], nil
		case c < 0x20:
			return nil, s.syntax("a control character in a string")
		case c == '\\':
			if f := s.escape(); f != nil {
				return nil, f
			}
		}
	}
	return nil, s.syntax("a string does not end")
}

// escape moves to the last byte of the escape that begins here.
func (s *scanner) escape() *Fault {
	s.at++
	if s.at < len(s.b) && strings.IndexByte(`"\/bfnrt`, s.b[s.at]) >= 0 {
		return nil
	}
	if s.at >= len(s.b) || s.b[s.at] != 'u' || s.at+4 >= len(s.b) {
		return s.syntax("an unknown escape in a string")
	}
	for range 4 {
		s.at++
		c := s.b[s.at]
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return s.syntax("an unknown escape in a string")
		}
	}
	return nil
}

// text gives a string's content.
func (s *scanner) text() (string, *Fault) {
	raw, f := s.rawString()
	if f != nil {
		return "", f
	}
	return unquote(raw), nil
}

func unquote(raw []byte) string {
	inner := raw[1 : len(raw)-1]
	for _, c := range inner {
		if c == '\\' {
			var t string
			_ = json.Unmarshal(raw, &t) // the scanner has checked it
			return t
		}
	}
	return string(inner)
}

// number gives a JSON number's text.
func (s *scanner) number() (string, *Fault) {
	text, f := s.rawNumber()
	return string(text), f
}

// rawNumber gives a number as it stands.
func (s *scanner) rawNumber() ([]byte, *Fault) {
	s.space()
	from := s.at
	digits := func() bool {
		n := s.at
		for s.at < len(s.b) && s.b[s.at] >= '0' && s.b[s.at] <= '9' {
			s.at++
		}
		return s.at > n
	}
	has := func(set string) bool { return s.at < len(s.b) && strings.IndexByte(set, s.b[s.at]) >= 0 }
	if has("-") {
		s.at++
	}
	zero := has("0")
	first := s.at
	if !digits() || zero && s.at > first+1 {
		s.at = from
		return nil, s.wrong("a number")
	}
	if has(".") {
		if s.at++; !digits() {
			return nil, s.syntax("a number does not end")
		}
	}
	if has("eE") {
		if s.at++; has("+-") {
			s.at++
		}
		if !digits() {
			return nil, s.syntax("a number does not end")
		}
	}
	return s.b[from:s.at], nil
}

// integer gives a whole number that fits int64.
func (s *scanner) integer() (int64, *Fault) {
	text, f := s.number()
	if f != nil {
		return 0, typeFault("a whole number")
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, typeFault("a whole number")
	}
	return n, nil
}

// null consumes a null if one comes next.
func (s *scanner) null() bool {
	if s.peek() == 'n' && bytes.HasPrefix(s.b[s.at:], []byte("null")) {
		s.at += 4
		return true
	}
	return false
}

// raw gives the next value of any type, as it stands.
func (s *scanner) raw() ([]byte, *Fault) {
	s.space()
	from := s.at
	f := s.skip()
	return s.b[from:s.at], f
}

// skip passes over one value, checking its form.
func (s *scanner) skip() *Fault {
	var f *Fault
	switch c := s.peek(); c {
	case '{', '[':
		f = s.skipAll(c)
	case '"':
		_, f = s.rawString()
	case 't', 'f', 'n':
		for _, word := range [...]string{"true", "false", "null"} {
			if bytes.HasPrefix(s.b[s.at:], []byte(word)) {
				s.at += len(word)
				return nil
			}
		}
		f = s.syntax("an unknown word")
	default:
		if _, f = s.rawNumber(); f != nil && f.Code == codeType {
			f = s.syntax("a value is missing")
		}
	}
	return f
}

// skipAll passes over an object or array.
func (s *scanner) skipAll(bracket byte) *Fault {
	f := s.enter(bracket, "")
	for first := true; f == nil; first = false {
		end := false
		if bracket == '{' {
			_, end, f = s.name(first)
		} else {
			end, f = s.element(first)
		}
		if f != nil || end {
			return f
		}
		f = s.skip()
	}
	return f
}

// document reads the one object a payload must be.
func (s *scanner) document(member func(name string) *Fault) *Fault {
	if !utf8.Valid(s.b) {
		return &Fault{Code: "not_utf8", Message: "the payload is not UTF-8"}
	}
	return s.whole(member)
}

// whole reads one object behind which nothing follows.
func (s *scanner) whole(member func(name string) *Fault) *Fault {
	if f := s.object(member); f != nil {
		return f
	}
	if s.peek() != 0 || s.at < len(s.b) {
		return s.syntax("something follows the object")
	}
	return nil
}

// wrong tells a value of another type from one that is not there.
func (s *scanner) wrong(want string) *Fault {
	if s.at >= len(s.b) {
		return s.syntax("a value is missing")
	}
	return typeFault(want)
}

const codeType = "wrong_type"

func typeFault(want string) *Fault {
	return &Fault{Code: codeType, Message: "must be " + want}
}

// pointer makes a JSON pointer (RFC 6901) of names and indices.
func pointer(parts ...any) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteByte('/')
		switch p := p.(type) {
		case int:
			b.WriteString(strconv.Itoa(p))
		case string:
			b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(p))
		}
	}
	return b.String()
}

// under puts a name before the fault's place.
func (f *Fault) under(part any) *Fault {
	if f != nil && f.Code != "not_json" {
		f.Field = pointer(part) + f.Field
	}
	return f
}
