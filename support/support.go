// Package support makes a support bundle: one file that a technician can send to
// somebody who was never at the site. It promises that the file is smaller than
// Limit whatever goes into it, that its manifest tells of every part what it is, what
// was cut of it or why it is missing, and that what looks like a secret or a card
// number is in no part. That nothing secret is given to it in the first place is the
// business of those who make the parts.
package support

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"edgegw/secret"
)

const (
	// Limit is more than a bundle has bytes: mail takes it.
	Limit = 10_000_000
	// reserve is what the manifest and the directory of the ZIP take of it.
	reserve = 200_000
	// usualMost bounds a part that says nothing else.
	usualMost = 600_000
)

// ManifestName is the file that tells of all others.
const ManifestName = "manifest.json"

// Part is one file of a bundle. What Make gives is text: JSON where the name ends in
// .json, an object per line in .jsonl, else lines, the oldest first.
type Part struct {
	Name string
	What string
	Most int // bytes; 0: usualMost
	Make func(context.Context) ([]byte, error)
}

// About is what the manifest says of the whole.
type About struct {
	Site    string    `json:"site"`
	Version string    `json:"version"`
	Made    time.Time `json:"made"`
	By      string    `json:"by"`
	Clock   string    `json:"clock"` // how far Made is to be trusted
	Running bool      `json:"running"`
	Notes   []string  `json:"notes"`
}

// Manifest is manifest.json.
type Manifest struct {
	About
	Files   []File    `json:"files"`
	Missing []Missing `json:"missing"`
	LeftOut []LeftOut `json:"left_out"`
}

// File is one part that is in the bundle.
type File struct {
	Name     string `json:"name"`
	What     string `json:"what"`
	Size     int    `json:"size"`
	SHA256   string `json:"sha256"`
	Cut      int    `json:"cut_bytes"`           // how many are missing
	CutWhere string `json:"cut_where,omitempty"` // at its beginning, or which rows
	Redacted bool   `json:"redacted"`            // something in it looked like a secret or a card number
}

// Missing is a part that could not be made.
type Missing struct {
	Name string `json:"name"`
	What string `json:"what"`
	Why  string `json:"why"`
}

// LeftOut is what no bundle holds.
type LeftOut struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// Bundle is what goes into a bundle, the most important parts first: when there is
// no room for all, the later ones are cut.
type Bundle struct {
	About   About
	Parts   []Part
	LeftOut []LeftOut
	Secrets []secret.Text // that are known, and must stand nowhere
}

// Write makes the parts one after the other and writes them. A part that fails is
// told of in the manifest; an error is one of w, and what was written is no ZIP then.
func (b Bundle) Write(ctx context.Context, w io.Writer) error {
	z := zip.NewWriter(w)
	m := Manifest{About: b.about(), Files: []File{}, Missing: []Missing{}, LeftOut: b.LeftOut}
	room := Limit - reserve
	for _, p := range b.Parts {
		text, f, err := b.part(ctx, p, room)
		if err != nil {
			m.Missing = append(m.Missing, Missing{p.Name, p.What, b.clean(err.Error())})
			continue
		}
		if err := b.add(z, p.Name, text); err != nil {
			return err
		}
		m.Files, room = append(m.Files, f), room-f.Size
	}
	text, err := indented(m)
	if err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	if err := b.add(z, ManifestName, text); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("write the bundle: %w", err)
	}
	return nil
}

// about is About, redacted. The manifest as a whole cannot be: its hashes look like
// keys.
func (b Bundle) about() About {
	a := b.About
	a.Site, a.By, a.Notes = b.clean(a.Site), b.clean(a.By), []string{}
	for _, n := range b.About.Notes {
		a.Notes = append(a.Notes, b.clean(n))
	}
	return a
}

func (b Bundle) clean(text string) string { return string(redact("", []byte(text), b.Secrets)) }

// part makes one part, redacts it and cuts it, in this order: half a secret has no
// form any more.
func (b Bundle) part(ctx context.Context, p Part, room int) ([]byte, File, error) {
	made, err := p.Make(ctx)
	if err != nil {
		return nil, File{}, err
	}
	clean := redact(p.Name, made, b.Secrets)
	f := File{Name: p.Name, What: p.What, Redacted: string(clean) != string(made)}
	most := p.Most
	if most == 0 {
		most = usualMost
	}
	text, where, err := cut(p.Name, clean, min(most, room))
	if err != nil {
		return nil, File{}, err
	}
	sum := sha256.Sum256(text)
	f.Size, f.SHA256, f.Cut, f.CutWhere = len(text), hex.EncodeToString(sum[:]), len(clean)-len(text), where
	return text, f, nil
}

func (b Bundle) add(z *zip.Writer, name string, text []byte) error {
	h := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: b.About.Made}
	h.SetMode(0o600)
	w, err := z.CreateHeader(h)
	if err == nil {
		_, err = w.Write(text)
	}
	if err != nil {
		return fmt.Errorf("write %s into the bundle: %w", name, err)
	}
	return nil
}

// JSON writes a part for people and programs.
func JSON(v any, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return indented(v)
}

func indented(v any) ([]byte, error) {
	text, err := json.MarshalIndent(v, "", " ")
	return append(text, '\n'), err
}

// Lines writes a part of one JSON object per line.
func Lines[T any](rows []T, err error) ([]byte, error) {
	var all []byte
	for _, r := range rows {
		line, fault := marshal(r)
		if fault != nil {
			return nil, fault
		}
		all = append(append(all, line...), '\n')
	}
	return all, err
}

// Read gives the manifest of a bundle.
func Read(r io.ReaderAt, size int64) (m Manifest, err error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return m, fmt.Errorf("read the bundle: %w", err)
	}
	f, err := z.Open(ManifestName)
	if err != nil {
		return m, fmt.Errorf("read the bundle: %w", err)
	}
	defer f.Close()
	if err := json.NewDecoder(f).Decode(&m); err != nil {
		return m, fmt.Errorf("read the bundle's manifest: %w", err)
	}
	return m, nil
}
