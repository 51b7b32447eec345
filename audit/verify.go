package audit

import (
	"archive/zip"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
)

// maxLine bounds a line of a file of records, maxSmall the files beside them.
const (
	maxLine  = 4 << 20
	maxSmall = 1 << 20
)

// Report says what was looked at.
type Report struct {
	Manifest Manifest
	Records  int64
}

// Verify checks an export. The fault is the first record, or else the first file,
// that is not as it was written. wants are chain values that must occur in its part
// of the audit trail; records hears of every record that was read.
func Verify(r io.ReaderAt, size int64, wants []Chain, records func()) (Report, *Fault) {
	if records == nil {
		records = func() {}
	}
	v := &verifier{files: map[string]*zip.File{}, wants: wants, records: records}
	f := v.run(r, size)
	return v.report, f
}

type verifier struct {
	files   map[string]*zip.File
	sums    map[string]string
	wants   []Chain
	records func()
	report  Report
}

func (v *verifier) run(r io.ReaderAt, size int64) *Fault {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return &Fault{Kind: Altered, Message: fmt.Sprintf("this is no whole export: %v", err)}
	}
	for _, f := range z.File {
		if v.files[f.Name] != nil {
			return whole(f.Name, Inserted, "is there twice")
		}
		v.files[f.Name] = f
	}
	m := &v.report.Manifest
	text, f := v.small(manifestFile)
	if f != nil {
		return f
	}
	if json.Unmarshal(text, m) != nil || m.Format != Format {
		return whole(manifestFile, Altered, "is not what this edgegw writes; a later one may read it")
	}
	if f := v.readSums(); f != nil {
		return f
	}
	return v.look(z, text)
}

// look goes through all files: first those with records, because a record says
// more than a file.
func (v *verifier) look(z *zip.Reader, manifest []byte) *Fault {
	m := &v.report.Manifest
	known := map[string]bool{readmeFile: true, manifestFile: true, sumsFile: true}
	for i := range m.Files {
		if m.Files[i].Key < 0 || m.Files[i].Key > len(m.Files[i].Columns) || known[m.Files[i].Name] {
			return whole(manifestFile, Altered, "was altered")
		}
		known[m.Files[i].Name] = true
		if f := v.file(&m.Files[i]); f != nil {
			return f
		}
	}
	if !known[trailFile] {
		return whole(manifestFile, Altered, "does not name "+trailFile)
	}
	if again, err := m.encode(); err != nil || !bytes.Equal(again, manifest) || v.sums[manifestFile] != sumOf(manifest) {
		return whole(manifestFile, Altered, "was altered")
	}
	text, f := v.small(readmeFile)
	if f != nil {
		return f
	}
	if v.sums[readmeFile] != sumOf(text) {
		return whole(readmeFile, Altered, "was altered")
	}
	for _, file := range z.File {
		if !known[file.Name] {
			return whole(file.Name, Inserted, "does not belong to the export")
		}
	}
	return nil
}

func whole(file, kind, message string) *Fault {
	return &Fault{File: file, Kind: kind, Message: file + " " + message}
}

func sumOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// small reads a file that is no table.
func (v *verifier) small(name string) ([]byte, *Fault) {
	if v.files[name] == nil {
		return nil, whole(name, Missing, "is missing")
	}
	r, err := v.files[name].Open()
	if err != nil {
		return nil, whole(name, Altered, "cannot be read: "+err.Error())
	}
	defer func() { _ = r.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(r, maxSmall))
	if err != nil {
		return nil, whole(name, Altered, "was altered: "+err.Error())
	}
	return text, nil
}

// readSums reads the list of checksums, each once and in its one form.
func (v *verifier) readSums() *Fault {
	text, f := v.small(sumsFile)
	if f != nil {
		return f
	}
	v.sums = map[string]string{}
	for line := range bytes.Lines(text) {
		sum, name, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte("  "))
		if sumLine(string(name), string(sum)) != string(line) || v.sums[string(name)] != "" {
			return whole(sumsFile, Altered, "was altered")
		}
		v.sums[string(name)] = string(sum)
	}
	if len(v.sums) != len(v.report.Manifest.Files)+2 {
		return whole(sumsFile, Altered, "was altered: it does not have a line for each file")
	}
	return nil
}

// file checks one file of records.
func (v *verifier) file(m *File) *Fault {
	if v.files[m.Name] == nil {
		return whole(m.Name, Missing, "is missing")
	}
	r, err := v.files[m.Name].Open()
	if err != nil {
		return whole(m.Name, Altered, "cannot be read: "+err.Error())
	}
	defer func() { _ = r.Close() }() // it was only read
	k := v.checker(m)
	h := sha256.New()
	if f := v.lines(m, &lineReader{r: bufio.NewReaderSize(r, 64<<10), sum: h}, k); f != nil {
		return f
	}
	if f := k.end(); f != nil {
		return f
	}
	sum, listed := hex.EncodeToString(h.Sum(nil)), v.sums[m.Name]
	switch {
	case sum == m.SHA256 && sum == listed:
		return nil
	case sum == m.SHA256:
		return whole(sumsFile, Altered, "was altered: its checksum of "+m.Name+" is not the manifest's")
	case sum == listed:
		return whole(manifestFile, Altered, "was altered: its checksum of "+m.Name+" is another")
	}
	return whole(m.Name, Altered, "was altered as a whole: its records fit each other, and are not those of the export")
}

func (v *verifier) lines(m *File, r *lineReader, k checker) *Fault {
	if formOf(m.Name) == csvForm {
		line, err := r.next()
		if err != nil || string(line) != csvHeading(m.Columns) {
			return whole(m.Name, Altered, "was altered: its heading is not the export's")
		}
	}
	for n := int64(1); ; n++ {
		line, err := r.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return &Fault{File: m.Name, Record: n, Kind: Altered, Message: fmt.Sprintf("%s: record %d was altered: it cannot be read: %v", m.Name, n, err)}
		}
		if f := k.take(n, line); f != nil {
			return f
		}
		v.report.Records++
		v.records()
	}
}

// lineReader reads lines with their ends, and sums up what it has read.
type lineReader struct {
	r   *bufio.Reader
	sum hash.Hash
}

var errLong = errors.New("its line does not end")

func (l *lineReader) next() ([]byte, error) {
	var line []byte
	for {
		part, err := l.r.ReadSlice('\n')
		l.sum.Write(part)
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(line) > 0:
			return line, nil // without its end: it has not the form of a record
		default:
			return nil, err
		}
		if len(line) > maxLine {
			return nil, errLong
		}
	}
}
