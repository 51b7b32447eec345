package audit

import (
	"archive/zip"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// trail gives lines with their values, from the given place on.
func trail(from Point, n int) (lines []Line, chain []Chain) {
	at := from.Chain
	for i := range n {
		l := Line{No: from.No + int64(i) + 1, At: 1_764_000_000_000 + int64(i), Who: "person:anna", What: "device added", Subject: fmt.Sprint("pump-", i), Detail: "a, \"b\" <c> ü"}
		at = at.Next(l)
		lines, chain = append(lines, l), append(chain, at)
	}
	return lines, chain
}

// sample is a small export.
func sample(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	when := time.UnixMilli(1_764_000_000_123)
	x, err := NewWriter(&b, Manifest{Site: "Station <12>", Version: "1.0.0", MadeAt: when, Clock: "synchronised", MadeBy: "cli:root", From: when.Add(-time.Hour), To: when}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sales", "outages"} {
		err := x.Table(Table{Name: name, Columns: []string{"device_id", "sale_id", "total", "open", "detail"}, Key: 2, Rows: func(add func(...any) error) error {
			for i := range 5 {
				if err := add("pump-07", fmt.Sprint("s", i), int64(-7622+i), i == 2, "=1+1, \"quoted\"\r\nsecond line"); err != nil {
					return err
				}
			}
			return add("pump-08", "s9", nil, false, "")
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	before := Point{40, Chain{1, 2, 3}}
	lines, chain := trail(before, 6)
	span := Span{Before: before, Last: Point{46, chain[5]}, Head: Point{50, Chain{9}}}
	if err := x.Trail(span, func(add func(Line, []byte) error) error {
		for i, l := range lines {
			if err := add(l, chain[i][:]); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// file is one file of an archive.
type file struct {
	name string
	text []byte
}

func unpack(t testing.TB, archive []byte) (all []file) {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, file{f.Name, text})
	}
	return all
}

func pack(t testing.TB, all []file) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range all {
		w, err := z.CreateHeader(&zip.FileHeader{Name: f.name, Method: zip.Store})
		if err == nil {
			_, err = w.Write(f.text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func verify(archive []byte, wants ...Chain) (Report, *Fault) {
	return Verify(bytes.NewReader(archive), int64(len(archive)), wants, nil)
}

func TestAnExportIsWhatItWas(t *testing.T) {
	report, fault := verify(sample(t))
	if fault != nil || report.Records != 4*6+6 || report.Manifest.Site != "Station <12>" || len(report.Manifest.Files) != 5 {
		t.Errorf("%+v, %+v", report, fault)
	}
	if _, fault := verify(sample(t), Chain{1, 2, 3}, report.Manifest.Trail.Last.Chain); fault != nil {
		t.Errorf("values that occur: %+v", fault)
	}
	if _, fault := verify(sample(t), Chain{7}); fault == nil || fault.Kind != Missing {
		t.Errorf("a value that does not occur: %+v", fault)
	}
}

// Every byte of every file counts, and the record with it is named.
func TestAnyAlteredByteIsFound(t *testing.T) {
	t.Parallel()
	all := unpack(t, sample(t))
	for i, f := range all {
		isTable := strings.HasSuffix(f.name, ".csv") || strings.HasSuffix(f.name, ".jsonl")
		line := int64(1)
		if strings.HasSuffix(f.name, ".csv") {
			line = 0 // the heading
		}
		if f.name == trailFile {
			line = 41
		}
		for at := range f.text {
			if f.name == readmeFile && at%17 != 0 {
				continue // it is long, and has no records
			}
			bad := bytes.Clone(f.text)
			bad[at] ^= 1
			all[i].text = bad
			_, fault := verify(pack(t, all))
			switch {
			case fault == nil:
				t.Fatalf("%s: byte %d may be altered", f.name, at)
			case isTable && (fault.File != f.name || fault.Record != line):
				t.Fatalf("%s: byte %d of record %d, and %+v is named", f.name, at, line, fault)
			case !isTable && f.name != manifestFile && f.name != sumsFile && fault.File != f.name:
				t.Fatalf("%s: byte %d, and %+v is named", f.name, at, fault)
			}
			if f.text[at] == '\n' {
				line++
			}
		}
		all[i].text = f.text
	}
}

// The same for the archive itself, every fifth byte of it: what still counts as whole says what it said.
func TestAnyAlteredByteOfTheArchiveIsFound(t *testing.T) {
	t.Parallel()
	archive := sample(t)
	want := unpack(t, archive)
	found, tried := 0, 0
	for at := 0; at < len(archive); at += 5 {
		tried++
		bad := bytes.Clone(archive)
		bad[at] ^= 1
		if _, fault := verify(bad); fault != nil {
			found++
			continue
		}
		got := unpack(t, bad)
		if len(got) != len(want) {
			t.Fatalf("byte %d: %d files", at, len(got))
		}
		for i := range got {
			if got[i].name != want[i].name || !bytes.Equal(got[i].text, want[i].text) {
				t.Fatalf("byte %d: %s is another, and that is not found", at, want[i].name)
			}
		}
	}
	if found < tried*3/4 {
		t.Errorf("%d of %d bytes count", found, tried)
	}
}

func TestMovedRecordsAreFound(t *testing.T) {
	lines := func(f func(l [][]byte) [][]byte) func([]byte) []byte {
		return func(text []byte) []byte { return bytes.Join(f(bytes.SplitAfter(text, []byte("\n"))), nil) }
	}
	changes := []struct {
		name   string
		change func([]byte) []byte
		record int64 // of sales.jsonl; the trail's are 40 more
		kind   string
	}{
		{"one in the middle gone", lines(func(l [][]byte) [][]byte { return append(l[:2:2], l[3:]...) }), 3, Missing},
		{"the first gone", lines(func(l [][]byte) [][]byte { return l[1:] }), 1, Missing},
		{"the last gone", lines(func(l [][]byte) [][]byte { return l[:5] }), 6, Missing},
		{"all gone", func([]byte) []byte { return nil }, 1, Missing},
		{"two swapped", lines(func(l [][]byte) [][]byte { l[1], l[4] = l[4], l[1]; return l }), 2, Missing},
		{"one twice", lines(func(l [][]byte) [][]byte { return append(l[:2:2], l[1:]...) }), 3, Reordered},
		{"one put behind", func(text []byte) []byte {
			l := bytes.SplitAfter(text, []byte("\n"))
			return append(bytes.Clone(text), l[5]...)
		}, 7, Reordered},
		{"an empty line", lines(func(l [][]byte) [][]byte { return append(l[:2:2], append([][]byte{[]byte("\n")}, l[2:]...)...) }), 3, Altered},
		{"the last line's end gone", func(text []byte) []byte { return text[:len(text)-1] }, 6, Altered},
	}
	for _, name := range []string{"sales.jsonl", "sales.csv", trailFile} {
		for _, c := range changes {
			all := unpack(t, sample(t))
			want := c.record
			for i, f := range all {
				switch {
				case f.name != name:
				case name == "sales.csv":
					heading, rest, _ := bytes.Cut(f.text, []byte("\n"))
					all[i].text = append(append(heading, '\n'), c.change(rest)...)
				default:
					all[i].text = c.change(f.text)
				}
			}
			if name == trailFile {
				want += 40
			}
			_, fault := verify(pack(t, all))
			if fault == nil || fault.File != name || fault.Record != want || fault.Kind != c.kind {
				t.Errorf("%s: %s: got %+v, want %s %d", name, c.name, fault, c.kind, want)
			}
		}
	}
}

// Whole files that are gone, or that were put in.
func TestFilesThatComeAndGo(t *testing.T) {
	all := unpack(t, sample(t))
	for i, f := range all {
		if _, fault := verify(pack(t, append(append([]file{}, all[:i]...), all[i+1:]...))); fault == nil || fault.File != f.name || fault.Kind != Missing {
			t.Errorf("without %s: %+v", f.name, fault)
		}
		if _, fault := verify(pack(t, append(append([]file{}, all...), f))); fault == nil || fault.Kind != Inserted {
			t.Errorf("%s twice: %+v", f.name, fault)
		}
	}
	if _, fault := verify(pack(t, append(all, file{"more.txt", nil}))); fault == nil || fault.File != "more.txt" || fault.Kind != Inserted {
		t.Errorf("one more: %+v", fault)
	}
	for _, bad := range [][]byte{nil, []byte("no zip"), sample(t)[:500]} {
		if _, fault := verify(bad); fault == nil || fault.Kind != Altered {
			t.Errorf("%d bytes: %+v", len(bad), fault)
		}
	}
}

// Who corrects the checksums as well is still found by the chain, and named.
func TestCorrectedChecksumsDoNotHelp(t *testing.T) {
	for _, name := range []string{"sales.jsonl", "sales.csv", trailFile} {
		all := unpack(t, sample(t))
		swap := func(of string, old, new []byte) {
			for i := range all {
				if all[i].name == of {
					all[i].text = bytes.ReplaceAll(all[i].text, old, new)
				}
			}
		}
		var was []byte
		for _, f := range all {
			if f.name == name {
				was = f.text
			}
		}
		is := bytes.Replace(was, []byte("s3"), []byte("s4"), 1)
		if name == trailFile {
			is = bytes.Replace(was, []byte("pump-3"), []byte("pump-4"), 1)
		}
		swap(name, was, is)
		for _, of := range []string{manifestFile, sumsFile} {
			swap(of, []byte(sumOf(was)), []byte(sumOf(is)))
		}
		var manifest, old []byte
		for _, f := range all {
			if f.name == manifestFile {
				manifest = f.text
			}
		}
		old = bytes.ReplaceAll(manifest, []byte(sumOf(is)), []byte(sumOf(was)))
		swap(sumsFile, []byte(sumOf(old)), []byte(sumOf(manifest)))
		_, fault := verify(pack(t, all))
		want := int64(4)
		if name == trailFile {
			want = 44
		}
		if fault == nil || fault.File != name || fault.Record != want || fault.Kind != Altered {
			t.Errorf("%s: %+v", name, fault)
		}
		if name != trailFile && (fault == nil || fault.Name != "pump-07/s4") {
			t.Errorf("%s names %+v", name, fault)
		}
	}
}

func TestCSVIsForSpreadsheets(t *testing.T) {
	for _, c := range []struct {
		cell any
		want string
	}{
		{"plain", "plain"}, {"", ""}, {nil, ""}, {int64(-5), "-5"}, {true, "true"}, {"ü €", "ü €"},
		{`a "b", c`, `a "b", c`},
		{"=1+1", "'=1+1"}, {"+1", "'+1"}, {"-1", "'-1"}, {"@SUM(A1)", "'@SUM(A1)"}, {"\t=1", "' =1"}, {"\r=1", "' =1"}, {" =1", "' =1"}, {"＝1", "'＝1"},
		{"'=1", "''=1"}, {`=HYPERLINK("http://x","y")`, `'=HYPERLINK("http://x","y")`},
		{"two\r\nlines\x00", "two  lines "},
		{"s1;=1+1", "s1;'=1+1"}, {`a"; "=cmd|'/c calc'!A1`, `a"; "'=cmd|'/c calc'!A1`}, {"a;b-c=d", "a;b-c=d"}, {";;@x;-1", ";;'@x;'-1"},
	} {
		line := string(csvRecord(1, []any{c.cell, "end"}))
		if strings.ContainsAny(line, "\r\n") {
			t.Errorf("%q is on two lines", c.cell)
		}
		cells, err := csv.NewReader(strings.NewReader(line)).Read()
		if err != nil || len(cells) != 3 || cells[1] != c.want || cells[2] != "end" {
			t.Errorf("%q: %q, %v; want %q", c.cell, cells, err, c.want)
		}
	}
	for _, f := range unpack(t, sample(t)) {
		if !strings.HasSuffix(f.name, ".csv") {
			continue
		}
		rows, err := csv.NewReader(bytes.NewReader(f.text)).ReadAll()
		if err != nil || len(rows) != 7 || len(rows[0]) != 7 || rows[0][1] != "device_id" || rows[1][3] != "-7622" {
			t.Errorf("%s: %v, %v", f.name, rows, err)
		}
	}
}

// The two forms of a table say the same, and JSON is JSON.
func TestJSONLinesAreJSON(t *testing.T) {
	for _, f := range unpack(t, sample(t)) {
		if !strings.HasSuffix(f.name, ".jsonl") {
			continue
		}
		for line := range bytes.Lines(f.text) {
			var v map[string]any
			if err := json.Unmarshal(line, &v); err != nil {
				t.Errorf("%s: %v in %s", f.name, err, line)
			}
		}
	}
}

// No two lines of the trail have one canonical form.
func TestCanonicalFormsDiffer(t *testing.T) {
	a := Line{1, 2, "a", "b", "c", "d"}
	seen := map[string]Line{}
	for _, l := range []Line{a, {12, 0, "a", "b", "c", "d"}, {1, 2, "ab", "", "c", "d"}, {1, 2, "", "ab", "c", "d"}, {1, 2, "a,1:b", "", "c", "d"}, {1, 2, "a", "b", "cd", ""}, {1, -2, "a", "b", "c", "d"}} {
		if other, is := seen[string(l.canonical())]; is {
			t.Errorf("%+v and %+v are one", l, other)
		}
		seen[string(l.canonical())] = l
	}
	// Written down: what is stored must stay checkable.
	if got := (Chain{}).Next(Line{1, 1_764_000_000_000, "person:anna", "device added", "pump-07", "ü"}).String(); got != "36cddedfceaba0af91c79dbbc831617453b1d9148d424dedf7cd32fdd11119ae" {
		t.Errorf("the form of a line has changed: %s", got)
	}
}

// What README.txt says can be done without edgegw, done.
func TestTheReadmeIsRight(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3")
	}
	_, code, found := strings.Cut(readme, "In Python, from the folder with the files:\n")
	code, _, ends := strings.Cut(code, "What that proves")
	if !found || !ends {
		t.Fatal("README.txt has no Python")
	}
	code = strings.ReplaceAll(strings.ReplaceAll(code, "\n    ", "\n"), "sales events decisions outages", "sales outages")
	for _, alter := range []string{"", "sales.jsonl", "outages.csv", trailFile} {
		dir := t.TempDir()
		for _, f := range unpack(t, sample(t)) {
			if f.name == alter {
				f.text = bytes.Replace(f.text, []byte("pump-0"), []byte("pump-1"), 1)
			}
			if err := os.WriteFile(filepath.Join(dir, f.name), f.text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, check := range [][]string{{python, "-c", code}, {"sha256sum", "-c", sumsFile}} {
			c := exec.CommandContext(t.Context(), check[0], check[1:]...)
			c.Dir = dir
			said, err := c.CombinedOutput()
			if errors.Is(err, exec.ErrNotFound) {
				continue
			}
			if (err == nil) != (alter == "") {
				t.Errorf("%s with %q altered: %v\n%s", check[0], alter, err, said)
			}
		}
	}
}
