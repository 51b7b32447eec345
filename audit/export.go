package audit

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// The files of an export beside its tables.
const (
	readmeFile   = "README.txt"
	trailFile    = "audit.jsonl"
	manifestFile = "manifest.json"
	sumsFile     = "SHA256SUMS"
)

// Format is what an export calls itself.
const Format = "edgegw-export/1"

//go:embed README.txt
var readme string

// Manifest says what an export is. Files, Trail and Format are filled in by Writer.
type Manifest struct {
	Format  string    `json:"format"`
	Site    string    `json:"site"`
	Version string    `json:"version"`
	MadeAt  time.Time `json:"made_at"`
	Clock   string    `json:"clock"` // how far MadeAt can be believed
	MadeBy  string    `json:"made_by"`
	From    time.Time `json:"from"` // the period: at or after
	To      time.Time `json:"to"`   // and before
	Trail   Span      `json:"trail"`
	Files   []File    `json:"files"`
}

// Span is the part of the audit trail that is in an export.
type Span struct {
	Before Point `json:"before"` // the line before the first one
	Last   Point `json:"last"`   // the last one; as Before where there is none
	Head   Point `json:"head"`   // the end of the whole trail when the export was made: to be noted
}

// File is one file of records.
type File struct {
	Name    string   `json:"name"`
	Columns []string `json:"columns"` // between the number and the chain value
	Key     int      `json:"key"`     // so many columns name a record
	Records int64    `json:"records"`
	Bytes   int64    `json:"bytes"`
	Last    Chain    `json:"last_chain"`
	SHA256  string   `json:"sha256"`
}

// Table is one subject of an export: a file of JSON lines and the same as CSV.
type Table struct {
	Name    string
	Columns []string // lower case and _
	Key     int      // so many of them name a record
	// Rows calls add for each record: strings, whole numbers, booleans or nil, one
	// for each column. It is called twice, and must give the same.
	Rows func(add func(cells ...any) error) error
}

// Writer writes an export as a ZIP file.
type Writer struct {
	zip      *zip.Writer
	manifest Manifest
	sums     bytes.Buffer
	records  func(file string, n int64)
}

// NewWriter begins one. records hears of every record that is written; nil: nobody.
func NewWriter(w io.Writer, m Manifest, records func(file string, n int64)) (*Writer, error) {
	m.Format, m.Files, m.MadeAt = Format, []File{}, m.MadeAt.UTC().Truncate(time.Millisecond)
	if records == nil {
		records = func(string, int64) {}
	}
	x := &Writer{zip: zip.NewWriter(w), manifest: m, records: records}
	return x, x.whole(readmeFile, []byte(readme))
}

// Table writes one subject.
func (x *Writer) Table(t Table) error {
	if err := x.file(File{Name: t.Name + ".jsonl", Columns: t.Columns, Key: t.Key}, func(f *records) error {
		return t.Rows(func(cells ...any) error {
			b, err := jsonRecord(t.Columns, f.Records+1, cells)
			if err != nil {
				return err
			}
			return f.add(b, jsonForm)
		})
	}); err != nil {
		return err
	}
	return x.file(File{Name: t.Name + ".csv", Columns: t.Columns, Key: t.Key}, func(f *records) error {
		if _, err := io.WriteString(f, csvHeading(t.Columns)); err != nil {
			return err
		}
		return t.Rows(func(cells ...any) error { return f.add(csvRecord(f.Records+1, cells), csvForm) })
	})
}

// Trail writes lines of the audit trail with the values that are stored beside
// them, whether they fit or not.
func (x *Writer) Trail(span Span, lines func(add func(l Line, stored []byte) error) error) error {
	x.manifest.Trail = span
	columns := []string{"no", "at", "at_ms", "who", "what", "subject", "detail"}
	return x.file(File{Name: trailFile, Columns: columns, Key: 1}, func(f *records) error {
		f.Last = span.Before.Chain
		return lines(func(l Line, stored []byte) error {
			text, err := encodeTrail(l, stored)
			if err != nil {
				return err
			}
			f.Last = Chain{}
			copy(f.Last[:], stored)
			return f.put(text)
		})
	})
}

// Close writes what the export says of itself.
func (x *Writer) Close() error {
	text, err := x.manifest.encode()
	if err != nil {
		return err
	}
	if err := x.whole(manifestFile, text); err != nil {
		return err
	}
	w, err := x.create(sumsFile)
	if err == nil {
		_, err = w.Write(x.sums.Bytes())
	}
	if err != nil {
		return err
	}
	return x.zip.Close()
}

func (m *Manifest) encode() ([]byte, error) {
	b, err := json.MarshalIndent(m, "", "  ")
	return append(b, '\n'), err
}

func (x *Writer) create(name string) (io.Writer, error) {
	h := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: x.manifest.MadeAt.UTC()}
	h.SetMode(0o600)
	return x.zip.CreateHeader(h)
}

// whole writes a file that is no table.
func (x *Writer) whole(name string, text []byte) error {
	w, err := x.create(name)
	if err != nil {
		return err
	}
	x.sum(name, sha256.Sum256(text))
	_, err = w.Write(text)
	return err
}

func (x *Writer) sum(name string, sum [sha256.Size]byte) {
	x.sums.WriteString(sumLine(name, hex.EncodeToString(sum[:]))) // as sha256sum -c reads it
}

func sumLine(name, sum string) string { return fmt.Sprintf("%s  %s\n", sum, name) }

// records is a file of records that is being written.
type records struct {
	File
	to    io.Writer
	heard func(file string, n int64)
}

func (f *records) Write(b []byte) (int, error) {
	f.Bytes += int64(len(b))
	return f.to.Write(b)
}

func (f *records) add(record []byte, as form) error {
	f.Last = f.Last.over(record)
	return f.put(as.line(record, f.Last))
}

func (f *records) put(line []byte) error {
	f.Records++
	f.heard(f.Name, f.Records)
	_, err := f.Write(line)
	return err
}

func (x *Writer) file(what File, fill func(*records) error) error {
	w, err := x.create(what.Name)
	if err != nil {
		return err
	}
	h := sha256.New()
	f := &records{File: what, to: io.MultiWriter(w, h), heard: x.records}
	if err := fill(f); err != nil {
		return fmt.Errorf("export %s: %w", what.Name, err)
	}
	sum := [sha256.Size]byte(h.Sum(nil))
	x.sum(f.Name, sum)
	f.SHA256 = hex.EncodeToString(sum[:])
	x.manifest.Files = append(x.manifest.Files, f.File)
	return nil
}
