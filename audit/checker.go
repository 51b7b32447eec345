package audit

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// checker goes along one file of records.
type checker interface {
	take(n int64, line []byte) *Fault
	end() *Fault
}

func (v *verifier) checker(m *File) checker {
	if m.Name == trailFile {
		s := v.report.Manifest.Trail
		return &trailChecker{m: m, span: s, check: Check{At: s.Before, Wants: v.wants, trail: trailFile}}
	}
	return &tableChecker{m: m, form: formOf(m.Name)}
}

// tableChecker is for files that were chained when the export was made.
type tableChecker struct {
	m    *File
	form form
	at   Chain
	n    int64
}

func (k *tableChecker) take(n int64, line []byte) *Fault {
	record, stated, ok := k.form.split(line)
	if !ok {
		return k.fault(n, Altered, "was altered: it has not the form of a record", record)
	}
	own, ok := k.number(record)
	next := k.at.over(record)
	switch {
	case !ok:
		return k.fault(n, Altered, "was altered: it has no number", record)
	case next == stated && own == n:
		k.at, k.n = next, n
		return nil
	case own > n:
		return k.fault(n, Missing, fmt.Sprintf("is missing: record %d stands in its place", own), nil)
	case own < n:
		return k.fault(n, Reordered, fmt.Sprintf("is not there: record %d stands in its place once more", own), nil)
	case n > k.m.Records:
		return k.fault(n, Inserted, fmt.Sprintf("was put in: the export has %d", k.m.Records), record)
	}
	return k.fault(n, Altered, "was altered: it does not fit its chain value", record)
}

// number is the record's own.
func (k *tableChecker) number(record []byte) (int64, bool) {
	text, until := record, byte(',')
	if k.form == jsonForm {
		var ok bool
		if text, ok = bytes.CutPrefix(text, []byte(`{"`+numbered+`":`)); !ok {
			return 0, false
		}
	}
	digits, _, _ := bytes.Cut(text, []byte{until})
	n, err := strconv.ParseInt(string(digits), 10, 64)
	return n, err == nil
}

func (k *tableChecker) end() *Fault {
	switch {
	case k.n < k.m.Records:
		return k.fault(k.n+1, Missing, fmt.Sprintf("is missing: the export has %d", k.m.Records), nil)
	case k.n > k.m.Records:
		return k.fault(k.m.Records+1, Inserted, fmt.Sprintf("was put in: the export has %d", k.m.Records), nil)
	}
	return nil
}

func (k *tableChecker) fault(n int64, kind, message string, record []byte) *Fault {
	f := &Fault{File: k.m.Name, Record: n, Kind: kind, Name: k.name(record)}
	called := ""
	if f.Name != "" {
		called = " (" + f.Name + ")"
	}
	f.Message = fmt.Sprintf("%s: record %d%s %s", f.File, n, called, message)
	return f
}

// name says what a record is about, as far as it can still be read.
func (k *tableChecker) name(record []byte) string {
	var words []string
	if k.form == jsonForm {
		var cells map[string]any
		d := json.NewDecoder(strings.NewReader(string(record) + "}"))
		d.UseNumber()
		if d.Decode(&cells) != nil {
			return ""
		}
		for _, c := range k.m.Columns[:k.m.Key] {
			words = append(words, fmt.Sprint(cells[c]))
		}
		return strings.Join(words, "/")
	}
	cells, err := csv.NewReader(bytes.NewReader(record)).Read()
	if err != nil || len(cells) <= k.m.Key {
		return ""
	}
	return strings.Join(cells[1:1+k.m.Key], "/")
}

// trailChecker is for the part of the audit trail.
type trailChecker struct {
	m     *File
	span  Span
	check Check
}

func (k *trailChecker) take(_ int64, text []byte) *Fault {
	l, stored, ok := decodeTrail(text)
	if !ok {
		no := k.check.At.No + 1
		return k.check.fault(no, Altered, fmt.Sprintf("line %d was altered: it has not the form of a line", no))
	}
	return k.check.Take(l, stored)
}

func (k *trailChecker) end() *Fault {
	switch c := &k.check; {
	case c.At.No > k.span.Last.No:
		return c.fault(k.span.Last.No+1, Inserted, fmt.Sprintf("line %d was put in: the export ends with line %d", k.span.Last.No+1, k.span.Last.No))
	case c.At.No == k.span.Last.No && c.At != k.span.Last:
		return c.fault(c.At.No, Altered, fmt.Sprintf("line %d was altered, or one before it with all that follow: its chain value is not the manifest's", c.At.No))
	}
	return k.check.End(k.span.Last)
}
