package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"
)

// progress tells on stderr how far a long work is: a bar on a terminal, plain
// lines elsewhere. Work that is over soon says nothing. It is one goroutine's.
// (A library for this brings seven modules, and none leaves stdout alone.)
type progress struct {
	w     io.Writer
	what  string // the command: import, backup …
	unit  string // "row", or "byte"
	total int64  // 0: nobody knows
	width int    // of the terminal; 0: there is none

	began, said time.Time
	last        int64
	drawn       bool
}

const (
	barAfter  = 300 * time.Millisecond // a flash helps nobody
	barEvery  = 100 * time.Millisecond
	lineEvery = 5 * time.Second
)

// progress begins one; total may be 0.
func (a *app) progress(what, unit string, total int64) *progress {
	now := time.Now()
	p := &progress{w: a.err, what: what, unit: unit, total: total, began: now, said: now}
	if a.errTerminal {
		p.width = cmp.Or(widthOf(a.err), 80)
	}
	return p
}

// done says how much is done in all.
func (p *progress) done(n int64) {
	p.last = n
	now := time.Now()
	switch {
	case p.width == 0 && now.Sub(p.said) >= lineEvery:
		p.said = now
		fmt.Fprintln(p.w, p.line(now))
	case p.width > 0 && now.Sub(p.began) >= barAfter && (!p.drawn || now.Sub(p.said) >= barEvery):
		p.said, p.drawn = now, true
		fmt.Fprint(p.w, "\r"+p.bar(now)+"\x1b[K")
	}
}

// aside takes the bar away while others print lines on the same terminal.
func (p *progress) aside(print func()) {
	p.clear()
	print()
}

// end takes the bar away for good. How it went is the command's to say.
func (p *progress) end() { p.clear() }

func (p *progress) clear() {
	if p.drawn {
		p.drawn = false
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

func (p *progress) line(now time.Time) string {
	text := p.what + ": " + p.amount(p.last)
	if p.total > 0 {
		so, _, _ := strings.Cut(p.amount(p.last), " ")
		text = fmt.Sprintf("%s: %d %%, %s of %s", p.what, p.percent(), so, p.amount(p.total))
	}
	if left := p.left(now); left >= time.Second {
		text += ", about " + span(left) + " left"
	}
	return text
}

// bar is the line with a bar before it, on one line of the terminal.
func (p *progress) bar(now time.Time) string {
	text := p.line(now)
	if room := p.width - 1 - len(text) - 3; p.total > 0 && room >= 10 {
		room = min(room, 30)
		full := room * p.percent() / 100
		text = "[" + strings.Repeat("#", full) + strings.Repeat(".", room-full) + "] " + text
	}
	return text[:min(len(text), p.width-1)]
}

func (p *progress) percent() int {
	return int(min(100, 100*float64(p.last)/float64(p.total)))
}

// left is what the rest takes, if it goes on like that.
func (p *progress) left(now time.Time) time.Duration {
	gone := now.Sub(p.began)
	if p.total <= 0 || p.last <= 0 || p.last >= p.total || gone < 2*time.Second {
		return 0
	}
	return time.Duration(float64(gone) * float64(p.total-p.last) / float64(p.last))
}

func (p *progress) amount(n int64) string {
	if p.unit == "byte" {
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return count(n, p.unit)
}
