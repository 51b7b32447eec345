// Package wording holds sentences before they are in a language. A sentence is its
// English text, which is its name as well, and the values in its places: whoever shows
// it in another language looks it up by the name and puts the same values in. It
// promises that the English form is always there; it knows no other language.
package wording

import (
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// Sentence is one, or a part of one.
type Sentence struct {
	Text   string // English, with the verbs of package fmt
	Values []any  // what stands in their places; another Sentence, Word or Quote, too
}

// Of makes a sentence. Its text is a constant: tests find it, and what other languages
// have for it.
func Of(text string, values ...any) Sentence { return Sentence{text, values} }

// Word is a word of the API, such as a state, which each language has its own for.
type Word string

// Quote is what somebody else has said: OpenFiskal, the operating system, a library.
// It stays as it is in every language.
type Quote string

// Capital is a sentence in the place of a value that begins with a capital letter there,
// although by itself it does not.
type Capital Sentence

// String gives the English form.
func (c Capital) String() string {
	text := Sentence(c).String()
	first, size := utf8.DecodeRuneInString(text)
	if size == 0 {
		return ""
	}
	return string(unicode.ToUpper(first)) + text[size:]
}

// String gives the English form.
func (s Sentence) String() string {
	if len(s.Values) == 0 {
		return s.Text
	}
	return fmt.Sprintf(s.Text, s.Values...)
}

// Empty reports whether nothing is said.
func (s Sentence) Empty() bool { return s.Text == "" }

// Join puts sentences one behind the other.
func Join(all ...Sentence) (joined Sentence) {
	for _, s := range all {
		switch {
		case s.Empty():
		case joined.Empty():
			joined = s
		default:
			joined = Sentence{"%s %s", []any{joined, s}}
		}
	}
	return joined
}

// Error is a sentence that is an error, too. Is may be nil.
type Error struct {
	Sentence
	Is error // what callers test for
}

func (e *Error) Error() string { return e.String() }
func (e *Error) Unwrap() error { return e.Is }

// Err makes an error of a sentence; is, where it is not nil, is what callers test for.
func Err(is error, text string, values ...any) error { return &Error{Of(text, values...), is} }

// From gives the sentence of an error. Where it has none, what it says is quoted.
func From(err error) Sentence {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.Sentence
	}
	return Sentence{"%s", []any{Quote(err.Error())}}
}
