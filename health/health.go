// Package health holds the standing facts a technician should act on, each with
// its remedy. It promises that a condition stays on the board, with the time
// since when it holds, until whoever raised it says that it is over; it finds
// nothing out by itself.
package health

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"edgegw/wording"
)

// Severity says how much a condition matters.
type Severity uint8

const (
	Notice    Severity = 1 // worth knowing; nothing is at risk now
	Attention Severity = 2 // a person must act: `status --check` and `doctor` exit with 3
)

// String gives the word of listings: notice or attention.
func (s Severity) String() string {
	switch s {
	case Notice:
		return "notice"
	case Attention:
		return "attention"
	}
	return fmt.Sprintf("severity(%d)", uint8(s))
}

// MarshalText gives the same word to JSON.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads it back, for the client that the commands use.
func (s *Severity) UnmarshalText(b []byte) error {
	for _, known := range []Severity{Notice, Attention} {
		if known.String() == string(b) {
			*s = known
			return nil
		}
	}
	return fmt.Errorf("read severity: %q is neither notice nor attention", b)
}

// Condition is one standing fact. Its JSON form is the flat object of every
// listing (CONTRACT.md ruling 5). It carries no secret and no payload.
type Condition struct {
	Code     string    `json:"code"` // for machines, e.g. key_refused
	Severity Severity  `json:"severity"`
	Title    string    `json:"title"`    // one sentence for a technician
	Affected string    `json:"affected"` // the device, register, file …; "" is the gateway itself
	Since    time.Time `json:"since"`    // when it began, by the gateway's clock
	Remedy   string    `json:"remedy"`   // what to do, ending in a command where there is one

	TitleWords, RemedyWords wording.Sentence `json:"-"` // what the two are made of, for another language
}

// Saying gives the condition with what holds and what to do, so that the English text
// and what other languages are made from cannot differ.
func (c Condition) Saying(title, remedy wording.Sentence) Condition {
	c.Title, c.TitleWords = title.String(), title
	c.Remedy, c.RemedyWords = remedy.String(), remedy
	return c
}

// Board is the set of conditions that hold now. The zero value is an empty
// board, ready for use by many goroutines.
type Board struct {
	mu   sync.RWMutex
	held map[name]Condition
}

// name tells conditions apart: one code may hold for several things at a time.
type name struct{ code, affected string }

// Set raises c, or brings its text up to date where Code and Affected are on
// the board already: Since then stays what it was, because the fact is as old as
// it was. It reports whether the condition is new.
func (b *Board) Set(c Condition) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := name{c.Code, c.Affected}
	before, again := b.held[n]
	if again {
		c.Since = before.Since
	}
	if b.held == nil {
		b.held = make(map[name]Condition)
	}
	b.held[n] = c
	return !again
}

// Clear takes a condition off the board and reports whether it was there.
func (b *Board) Clear(code, affected string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := name{code, affected}
	_, held := b.held[n]
	delete(b.held, n)
	return held
}

// List gives what holds now: attention first, then the oldest first. It is
// never nil, so that it is [] in JSON.
func (b *Board) List() []Condition {
	b.mu.RLock()
	list := make([]Condition, 0, len(b.held))
	for _, c := range b.held {
		list = append(list, c)
	}
	b.mu.RUnlock()
	slices.SortFunc(list, func(x, y Condition) int {
		return cmp.Or(cmp.Compare(y.Severity, x.Severity), x.Since.Compare(y.Since),
			cmp.Compare(x.Code, y.Code), cmp.Compare(x.Affected, y.Affected))
	})
	return list
}

// Worst is the highest severity on the board, 0 where it is empty.
func (b *Board) Worst() Severity {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var worst Severity
	for _, c := range b.held {
		worst = max(worst, c.Severity)
	}
	return worst
}
