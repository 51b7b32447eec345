package sale

import (
	"fmt"
	"testing"
)

func TestBack(t *testing.T) {
	for _, c := range []struct {
		kinds []Kind
		want  string
	}{
		{[]Kind{Start}, "[true]"},
		{[]Kind{Start, Update, Update}, "[true false true]"},
		{[]Kind{Update, Complete}, "[false true]"},
		{[]Kind{Start, Update, Cancel}, "[true false true]"},
		{[]Kind{Whole}, "[true]"},
		{nil, "[]"},
	} {
		if got := fmt.Sprint(Back(c.kinds)); got != c.want {
			t.Errorf("%v: %s, want %s", c.kinds, got, c.want)
		}
	}
}

func TestAllowedDecisions(t *testing.T) {
	for _, c := range []struct {
		name string
		item Item
		want string
	}{
		{"a sale", Item{Register: "reg_1", Status: Quarantined}, "[retry resolve discard]"},
		{"a message", Item{Status: Quarantined}, "[retry resolve discard]"},
		{"a conflict is never sent", Item{Status: Conflict}, "[resolve discard]"},
		{"decided", Item{Register: "reg_1", Decision: DecisionRetry}, "[]"},
	} {
		if got := fmt.Sprint(c.item.Allowed()); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestSequence(t *testing.T) {
	for _, c := range []struct {
		name string
		seqs []int64
		want string
	}{
		{"in order", []int64{1, 2, 3}, "3 []"},
		{"begins anywhere", []int64{4711}, "4711 []"},
		{"one is missing", []int64{1, 3}, "3 [{2 2}]"},
		{"and comes late", []int64{1, 3, 2}, "3 []"},
		{"the middle of a gap", []int64{1, 9, 5}, "9 [{2 4} {6 8}]"},
		{"the ends of a gap", []int64{1, 5, 2, 4}, "5 [{3 3}]"},
		{"repeated", []int64{1, 2, 2}, "2 []"},
		{"begins anew", []int64{100, 101, 0, 1}, "1 []"},
		{"anew with an old gap", []int64{100, 102, 5, 6}, "6 [{101 101}]"},
	} {
		var s Sequence
		for _, n := range c.seqs {
			s.Note(n)
		}
		if got := fmt.Sprint(s.Last, " ", s.Missing); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	var s Sequence
	for n := range int64(1000) {
		s.Note(2 * n)
	}
	if len(s.Missing) != mostSpans || s.Missing[0].First != 1 || s.Count() < 999 {
		t.Errorf("%d spans from %d, %d missing", len(s.Missing), s.Missing[0].First, s.Count())
	}
	if s.Note(2 * 999) {
		t.Error("a repeated counter is news")
	}
	for n := range int64(200) { // anew, and then into the middle of what is missing
		s.Note(2 * n)
	}
	s.Note(1_000_000)
	for n := range int64(200) {
		s.Note(500_000 + 2*n)
	}
	if len(s.Missing) != mostSpans {
		t.Errorf("%d spans", len(s.Missing))
	}
	for _, m := range s.Missing {
		if m.First > m.Last {
			t.Errorf("%v ends before it begins", m)
		}
	}
}
