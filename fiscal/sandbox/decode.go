package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// reader decodes a body field by field and keeps the first fault, which names
// the field. encoding/json alone would let wrong cases, doubled and unknown
// fields and floats through.
type reader struct{ err *fail }

// fields is one JSON object of a body. After the first fault its methods give
// zero values.
type fields struct {
	r    *reader
	at   string // e.g. line_items[0]
	vals map[string]json.RawMessage
}

func (r *reader) fail(at, message string) {
	if r.err == nil {
		r.err = invalid(at, message)
	}
}

// body reads a whole request body.
func (r *reader) body(raw []byte, known ...string) fields {
	if !utf8.Valid(raw) {
		r.fail("", "The body is not UTF-8.")
	}
	return r.object(raw, "", known...)
}

// object takes one JSON object apart: every field known and there once.
func (r *reader) object(raw []byte, at string, known ...string) fields {
	f := fields{r: r, at: at, vals: map[string]json.RawMessage{}}
	if r.err != nil {
		return f
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		r.fail(at, "A JSON object is needed here.")
		return f
	}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		var v json.RawMessage
		if err != nil || !ok || d.Decode(&v) != nil {
			r.fail(at, "This is not JSON.")
			return f
		}
		switch _, twice := f.vals[name]; {
		case !slices.Contains(known, name):
			r.fail(f.name(name), "This field is not known.")
			return f
		case twice:
			r.fail(f.name(name), "This field stands twice.")
			return f
		}
		f.vals[name] = v
	}
	if _, err := d.Token(); err != nil {
		r.fail(at, "This is not JSON.")
		return f
	}
	if _, err := d.Token(); err != io.EOF {
		r.fail(at, "Something follows the JSON object.")
	}
	return f
}

func (f fields) name(name string) string {
	if f.at == "" {
		return name
	}
	return f.at + "." + name
}

// take gives a field's raw value and whether there is one; null counts as none.
func (f fields) take(name string, required bool) (json.RawMessage, bool) {
	if f.r.err != nil {
		return nil, false
	}
	v, ok := f.vals[name]
	if ok && string(v) == "null" {
		ok = false
	}
	if !ok && required {
		f.r.fail(f.name(name), "This field is required.")
	}
	return v, ok
}

// mostText bounds free text whose limit is not documented, in bytes: a limit of
// our own making must not refuse what the real service may take.
const mostText = 64 << 10

func (f fields) text(name string, required bool, most int) string {
	v, ok := f.take(name, required)
	if !ok {
		return ""
	}
	var s string
	if v[0] != '"' || json.Unmarshal(v, &s) != nil {
		f.r.fail(f.name(name), "A string is needed here.")
		return ""
	}
	if s == "" && required || len(s) > most {
		f.r.fail(f.name(name), fmt.Sprintf("The string must have 1 to %d bytes.", most))
		return ""
	}
	return s
}

func (f fields) oneOf(name string, required bool, values ...string) string {
	s := f.text(name, required, 64)
	if f.r.err == nil && s != "" && !slices.Contains(values, s) {
		f.r.fail(f.name(name), "The value must be one of "+strings.Join(values, ", ")+".")
	}
	return s
}

func (f fields) boolean(name string) bool {
	v, ok := f.take(name, false)
	if ok && string(v) != "true" && string(v) != "false" {
		f.r.fail(f.name(name), "true or false is needed here.")
	}
	return ok && string(v) == "true"
}

// mostMinor keeps sums of a whole sale far from the end of int64.
const mostMinor = int64(1_000_000_000_000)

var integerText = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,15})$`)

// integer reads minor units: a JSON integer, written as one.
func (f fields) integer(name string, required bool, least int64) int64 {
	v, ok := f.take(name, required)
	if !ok {
		return 0
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil || !integerText.Match(v) || n < least || n > mostMinor {
		f.r.fail(f.name(name), fmt.Sprintf("An integer from %d on is needed here.", least))
		return 0
	}
	return n
}

var (
	numberText = regexp.MustCompile(`^[0-9]{1,12}(\.[0-9]{1,12})?$`)
	rateText   = regexp.MustCompile(`^0(\.[0-9]{1,8})?$|^1(\.0{1,8})?$`)
	codeText   = regexp.MustCompile(`^[A-Z]{3}$`)
)

// quantity reads a JSON number exactly; it is never a float.
func (f fields) quantity(name string) json.Number {
	v, ok := f.take(name, true)
	if !ok {
		return "0"
	}
	q, valid := new(big.Rat).SetString(string(v))
	if !numberText.Match(v) || !valid || q.Sign() <= 0 {
		f.r.fail(f.name(name), "A plain JSON number above 0 is needed here.")
		return "0"
	}
	return json.Number(v)
}

// moment checks an RFC 3339 time with offset and gives its text as it came.
func (f fields) moment(name string) string {
	s := f.text(name, false, 64)
	if s == "" {
		return ""
	}
	if _, err := time.Parse(time.RFC3339Nano, s); err != nil {
		f.r.fail(f.name(name), "A time of RFC 3339 with its offset is needed here.")
	}
	return s
}

// free takes a JSON object whose content is the client's own.
func (f fields) free(name string) json.RawMessage {
	v, ok := f.take(name, false)
	if !ok {
		return nil
	}
	if v[0] != '{' {
		f.r.fail(f.name(name), "A JSON object is needed here.")
		return nil
	}
	return v
}

// array gives the elements of a JSON array and their names.
func (f fields) array(name string, required bool) []json.RawMessage {
	v, ok := f.take(name, required)
	if !ok {
		return nil
	}
	var out []json.RawMessage
	if v[0] != '[' || json.Unmarshal(v, &out) != nil {
		f.r.fail(f.name(name), "A JSON array is needed here.")
		return nil
	}
	return out
}

func (f fields) element(name string, i int) string {
	return fmt.Sprintf("%s[%d]", f.name(name), i)
}

// cashier reads who sold: id and display name.
func (f fields) cashier() cashier {
	v, ok := f.take("cashier", true)
	if !ok {
		return cashier{}
	}
	c := f.r.object(v, "cashier", "id", "display_name")
	return cashier{ID: c.text("id", true, mostText), DisplayName: c.text("display_name", true, mostText)}
}
