package wording

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestASentenceIsEnglish(t *testing.T) {
	for _, row := range []struct {
		name string
		s    Sentence
		want string
	}{
		{"nothing", Sentence{}, ""},
		{"a constant is taken as it is", Of("100 % of it"), "100 % of it"},
		{"values", Of("%d of %d are %q", 3, 4, "full"), `3 of 4 are "full"`},
		{"sentences, words and quotes in it", Of("%s: the %s ends in %s", Of("item %d", 7), Word("start"), Quote("EOF")), "item 7: the start ends in EOF"},
		{"joined", Join(Sentence{}, Of("One."), Sentence{}, Of("Number %d.", 2)), "One. Number 2."},
	} {
		if got := row.s.String(); got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

func TestAnErrorIsASentence(t *testing.T) {
	is := errors.New("that is nothing")
	err := fmt.Errorf("add a device: %w", Err(is, "the %s is empty", Word("key")))
	if !errors.Is(err, is) || From(err).Text != "the %s is empty" || From(err).String() != "the key is empty" {
		t.Errorf("got %v, %#v", err, From(err))
	}
	if s := From(io.EOF); s.String() != "EOF" || s.Values[0] != Quote("EOF") {
		t.Errorf("of somebody else: %#v", s)
	}
}
