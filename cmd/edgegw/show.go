package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"edgegw/card"
)

// printJSON writes v for programs.
func (a *app) printJSON(v any) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	if err == nil {
		_, err = a.out.Write(card.MaskJSON(text.Bytes()))
	}
	if err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

// list is [] in JSON where there is nothing, never null.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// table writes rows in columns; the first row is the heading. On a terminal the
// last column is wrapped, where there is room for it.
func table(w io.Writer, rows ...[]string) {
	var text strings.Builder
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	widths := []int{}
	for _, row := range rows {
		for i := range row {
			row[i] = clean(row[i])
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	_ = t.Flush() // a strings.Builder takes all
	last := 0
	for _, width := range widths[:max(0, len(widths)-1)] {
		last += width + 2
	}
	for line := range strings.Lines(text.String()) {
		if cells := []rune(strings.TrimSuffix(line, "\n")); len(cells) > last {
			line = string(cells[:last]) + wrap(string(cells[last:]), widthOf(w), last, last) + "\n"
		}
		fmt.Fprint(w, line) // w keeps the error: see output
	}
}

// clean takes out what could steer a terminal: labels and causes are texts of
// other people.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// when prints a time: as distance on a terminal, exactly elsewhere.
func (a *app) when(t time.Time) string {
	switch {
	case t.IsZero():
		return "-"
	case a.outTerminal:
		return ago(time.Since(t))
	}
	return t.Format(time.RFC3339)
}

func ago(d time.Duration) string {
	if d < 0 {
		return "in " + span(-d)
	}
	return span(d) + " ago"
}

// span is a duration in its largest unit, cut off: nobody acts on the rest.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d/time.Second))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d/time.Minute))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d/time.Hour))
	}
	return fmt.Sprintf("%d days", int(d/(24*time.Hour)))
}

// dash stands for an empty cell.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// count is "1 sale", "2 sales".
func count(n int64, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
