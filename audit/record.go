package audit

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// chained is the name of the last column of every record.
const chained = "chain"

// numbered is the name of the first: 1, 2, 3 … within a file.
const numbered = "n"

// jsonRecord writes cells as one JSON object, without its last brace: what the
// chain goes over.
func jsonRecord(columns []string, n int64, cells []any) ([]byte, error) {
	b := strconv.AppendInt([]byte(`{"`+numbered+`":`), n, 10)
	for i, c := range cells {
		b = append(append(append(b, `,"`...), columns[i]...), `":`...)
		text, err := plainJSON(c)
		if err != nil {
			return nil, err
		}
		b = append(b, text...)
	}
	return b, nil
}

// plainJSON is JSON as people expect it: < and & stay as they are.
func plainJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// csvRecord writes cells by RFC 4180, without the line's end.
func csvRecord(n int64, cells []any) []byte {
	b := strconv.AppendInt(nil, n, 10)
	for _, c := range cells {
		b = append(b, ',')
		if c != nil {
			b = append(b, csvCell(c)...)
		}
	}
	return b
}

// csvCell keeps a record on one line, and a spreadsheet from taking a text for a
// formula. Numbers are ours, and may begin with a minus.
func csvCell(v any) string {
	text, is := v.(string)
	if !is {
		return fmt.Sprint(v)
	}
	text = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	text = unformed(text)
	if strings.ContainsAny(text, `",`) || strings.TrimSpace(text) != text {
		text = `"` + strings.ReplaceAll(text, `"`, `""`) + `"`
	}
	return text
}

// unformed puts an apostrophe before what a spreadsheet would take for a formula: at
// the beginning of a text, and behind a semicolon, at which one in German or French
// begins a new cell, whatever is quoted.
func unformed(text string) string {
	if !strings.ContainsAny(text, formulas) {
		return text
	}
	var b strings.Builder
	if strings.ContainsRune(formulas, first(text)) {
		b.WriteByte('\'')
	}
	begins := false
	for _, r := range text {
		if begins && strings.ContainsRune(formulas, r) {
			b.WriteByte('\'')
		}
		begins = r == ';' || begins && (r == ' ' || r == '"')
		b.WriteRune(r)
	}
	return b.String()
}

// first is a text's first character that is no space.
func first(text string) rune {
	for _, r := range text {
		if r != ' ' {
			return r
		}
	}
	return ' '
}

// formulas are what one begins with, and the apostrophe itself.
const formulas = "=+-@＝＋－＠'"

func csvHeading(columns []string) string {
	return numbered + "," + strings.Join(columns, ",") + "," + chained + "\r\n"
}

// form is how records stand in a file: each ends with its chain value between head
// and tail.
type form struct{ head, tail string }

var (
	jsonForm = form{`,"` + chained + `":"`, "\"}\n"}
	csvForm  = form{",", "\r\n"}
)

func formOf(file string) form {
	if strings.HasSuffix(file, ".csv") {
		return csvForm
	}
	return jsonForm
}

func (f form) line(record []byte, c Chain) []byte {
	return append(append(append(record, f.head...), c.String()...), f.tail...)
}

// split takes a line apart; ok is false for what has not this form.
func (f form) split(line []byte) (record []byte, c Chain, ok bool) {
	rest, ends := bytes.CutSuffix(line, []byte(f.tail))
	at := len(rest) - 2*len(c)
	if !ends || at < len(f.head) || !bytes.HasSuffix(rest[:at], []byte(f.head)) {
		return nil, c, false
	}
	text := string(rest[at:])
	c, err := ParseChain(text)
	return rest[:at-len(f.head)], c, err == nil && c.String() == text
}

// trailLine is a line of the audit trail in an export.
type trailLine struct {
	No      int64  `json:"no"`
	At      string `json:"at"`
	Millis  int64  `json:"at_ms"`
	Who     string `json:"who"`
	What    string `json:"what"`
	Subject string `json:"subject"`
	Detail  string `json:"detail"`
	Chain   string `json:"chain"`
}

func encodeTrail(l Line, stored []byte) ([]byte, error) {
	b, err := plainJSON(trailLine{l.No, instant(l.At), l.At, l.Who, l.What, l.Subject, l.Detail, fmt.Sprintf("%x", stored)})
	return append(b, '\n'), err
}

// decodeTrail reads a line of audit.jsonl; ok is false for what encodeTrail does not
// write.
func decodeTrail(text []byte) (l Line, stored []byte, ok bool) {
	var t trailLine
	if json.Unmarshal(text, &t) != nil {
		return l, nil, false
	}
	l = Line{t.No, t.Millis, t.Who, t.What, t.Subject, t.Detail}
	stored, err := hex.DecodeString(t.Chain)
	if err != nil {
		return l, nil, false
	}
	again, err := encodeTrail(l, stored)
	return l, stored, err == nil && bytes.Equal(again, text)
}

// instant writes a time with its milliseconds, in UTC.
func instant(ms int64) string { return Instant(time.UnixMilli(ms)) }

// Instant is how times stand in an export; "" is the zero one.
func Instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}
