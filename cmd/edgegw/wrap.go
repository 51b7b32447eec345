package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// widthOf is that of a terminal; 0 where w is none: programs get long lines.
func widthOf(w io.Writer) int {
	if f, ok := file(w); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			return width
		}
	}
	return 0
}

// say prints a text of several words, wrapped on a terminal.
func (a *app) say(text string) { fmt.Fprintln(a.out, wrap(clean(text), widthOf(a.out), 0, 0)) }

// wrap breaks a text between words, lines after the first with an indent. A
// command stays whole, so that it can be copied: it is what the text ends in, or
// ends with a comma or a semicolon.
func wrap(text string, width, first, indent int) string {
	if all := pieces(text); width > 0 && strings.HasPrefix(all[len(all)-1], "edgegw ") {
		text = strings.TrimSuffix(text, ".") // it would be copied with the command
	}
	if width <= indent+20 || utf8.RuneCountInString(text)+first <= width {
		return text
	}
	var b strings.Builder
	at := first
	for i, word := range pieces(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case at+1+n > width && at > indent:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			at = indent
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += n
	}
	return b.String()
}

// pieces are words, and commands with all of their words.
func pieces(text string) (all []string) {
	command := false
	for _, word := range strings.Split(text, " ") {
		if command {
			all[len(all)-1] += " " + word
		} else {
			all = append(all, word)
		}
		command = (command || word == "edgegw") && !strings.HasSuffix(word, ";") && !strings.HasSuffix(word, ",") && !strings.HasSuffix(word, ".")
	}
	return all
}
