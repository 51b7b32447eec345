package provision

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"edgegw/sale"
	"edgegw/secret"
)

// Columns are the names that a header may have; the first two must stand there.
var Columns = []string{"device_id", "register_id", "kind", "label", "register_key"}

const required = 2

// Parse reads CSV with a header: RFC 4180, UTF-8 with or without byte order
// mark, divided by commas or semicolons (spreadsheets of half of Europe write
// those). The error is a *Fault: then nothing in the file counts. Faults of
// single rows stand in them.
func Parse(text []byte) ([]Row, error) {
	if len(text) > MaxBytes {
		return nil, &Fault{Text: fmt.Sprintf("the file is longer than %d bytes: split it", MaxBytes)}
	}
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	switch {
	case !utf8.Valid(text):
		return nil, &Fault{Text: "the file is not UTF-8: save it as CSV UTF-8"}
	case bytes.IndexByte(text, 0) >= 0:
		return nil, &Fault{Text: "the file is no text: save it as CSV UTF-8"}
	}
	r := csv.NewReader(bytes.NewReader(text))
	r.FieldsPerRecord = -1 // told row by row
	if head, _, _ := bytes.Cut(text, []byte("\n")); bytes.ContainsRune(head, ';') && !bytes.ContainsRune(head, ',') {
		r.Comma = ';'
	}
	names, err := r.Read()
	if err != nil {
		return nil, syntax(err, "the file is empty: its first line names the columns: "+strings.Join(Columns, ","))
	}
	at, fault := header(names)
	if fault != nil {
		return nil, fault
	}
	return rows(r, at, len(names))
}

// header finds the column of each name.
func header(names []string) (map[string]int, *Fault) {
	at := map[string]int{}
	for i, n := range names {
		n = strings.ToLower(strings.TrimSpace(n))
		if !slices.Contains(Columns, n) {
			// It is not repeated: where the header is missing, a key may stand here.
			return nil, &Fault{Line: 1, Text: fmt.Sprintf("column %d has an unknown name; the first line names the columns: %s", i+1, strings.Join(Columns, ","))}
		}
		if _, twice := at[n]; twice {
			return nil, &Fault{Line: 1, Text: "the column " + n + " stands twice"}
		}
		at[n] = i
	}
	for _, n := range Columns[:required] {
		if _, ok := at[n]; !ok {
			return nil, &Fault{Line: 1, Text: "the column " + n + " is missing"}
		}
	}
	return at, nil
}

func rows(r *csv.Reader, at map[string]int, width int) ([]Row, error) {
	list := []Row{}
	seen := map[sale.DeviceID]int{}
	for {
		fields, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, syntax(err, "")
		}
		if len(list) == MaxRows {
			return nil, &Fault{Text: fmt.Sprintf("the file has more than %d rows: split it", MaxRows)}
		}
		line, _ := r.FieldPos(0)
		row := readRow(fields, at, width)
		row.Line = line
		if first, twice := seen[row.Device]; twice && row.Fault == "" {
			row.Fault = fmt.Sprintf("the device stands in line %d already", first)
		} else if row.Device.Valid() {
			seen[row.Device] = line
		}
		list = append(list, row)
	}
	if len(list) == 0 {
		return nil, &Fault{Text: "the file has a header and no row"}
	}
	return list, nil
}

// readRow reads what can be read, also of a row that is wrong: its report
// names the device. Ids that could be a key are left out.
func readRow(fields []string, at map[string]int, width int) Row {
	field := func(name string) string {
		i, ok := at[name]
		if !ok || i >= len(fields) {
			return ""
		}
		// Cloned, because the fields of a row share their bytes: an id that is kept
		// would keep the key beside it.
		return strings.Clone(strings.TrimSpace(fields[i]))
	}
	row := Row{Kind: strings.ToLower(field("kind")), Label: field("label")}
	misplaced := holdsKey(row.Label) || holdsKey(row.Kind)
	if misplaced {
		row.Kind, row.Label = "", ""
	}
	device, register := sale.DeviceID(field("device_id")), sale.RegisterID(field("register_id"))
	if device.Valid() {
		row.Device = device
	}
	if register.Valid() && !sale.LooksLikeKey(string(register)) {
		row.Register = register
	}
	switch {
	case len(fields) != width:
		row.Fault = fmt.Sprintf("the row has %d fields, the header %d", len(fields), width)
	case row.Device == "":
		row.Fault = "device_id must be 1 to 63 of a-z, 0-9 and -, not begin with -, and not be site"
	case row.Register == "":
		row.Fault = "register_id must be 1 to 128 letters, digits, _ and -, as in reg_01HXYZ"
	case misplaced:
		row.Fault = "an OpenFiskal key stands in the wrong column"
	}
	if key := field("register_key"); key != "" && row.Fault == "" {
		row.Key = secret.FromString(key)
	}
	return row
}

// holdsKey reports whether a key stands in a text, where listings would show it.
func holdsKey(text string) bool { return strings.Contains(strings.ToLower(text), "ofk_") }

// syntax tells where the CSV breaks, and not what stands there.
func syntax(err error, empty string) *Fault {
	if errors.Is(err, io.EOF) {
		return &Fault{Text: empty}
	}
	var p *csv.ParseError
	if !errors.As(err, &p) {
		return &Fault{Text: "the file is no CSV"}
	}
	return &Fault{Line: p.StartLine, Text: "this is no CSV: " + p.Err.Error()}
}
