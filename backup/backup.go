// Package backup is the file in which a site's data is kept elsewhere: a tar
// archive with a manifest, compressed, and sealed with a passphrase in the format
// of age. It promises that what Extract has put into a directory is what Write was
// given, to the byte, and that a file which is cut, damaged or opened with another
// passphrase is said to be so. What the parts mean is the caller's business.
package backup

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unsafe"

	"filippo.io/age"

	"edgegw/secret"
	"edgegw/wording"
)

// Format is the version of the archive's inside.
const Format = 1

// LeastPassphrase is the length of a passphrase in bytes from which trying words
// is hopeless enough.
const LeastPassphrase = 12

// workFactor makes each try of a passphrase cost 64 MiB and a quarter of a second
// on a small board; the library's own 2^18 would take 256 MiB.
const workFactor = 16

const manifestName = "manifest.json"

// Manifest says what is inside.
type Manifest struct {
	Format  int       `json:"format"`
	Site    string    `json:"site"`
	Version string    `json:"version"` // of the edgegw that made it
	MadeAt  time.Time `json:"made_at"`
	Clock   string    `json:"clock"` // its quality in that moment
	MadeBy  string    `json:"made_by"`
	Events  int64     `json:"events"`  // the number of the newest
	Sales   int64     `json:"sales"`   // accepted, ever
	Waiting int64     `json:"waiting"` // not confirmed in that moment
	KEK     string    `json:"kek"`     // inside, or where it is given: it is needed to send
	Files   []File    `json:"files"`
}

// File is one part.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Errors that callers test for.
var (
	ErrPassphrase = errors.New("this is not its passphrase")
	ErrNoBackup   = errors.New("this is no backup of edgegw")
	ErrDamaged    = errors.New("the backup is damaged, or was cut")
	ErrNewer      = errors.New("the backup was made by a newer edgegw")
)

// CheckPassphrase refuses what protects nothing.
func CheckPassphrase(p secret.Text) error {
	if len(p.Reveal()) < LeastPassphrase {
		return wording.Err(nil, "the passphrase must be at least %d characters long: whoever has the file can try words against it", LeastPassphrase)
	}
	return nil
}

// Write seals files of dir into w. The manifest's list of files is filled in.
func Write(w io.Writer, passphrase secret.Text, m Manifest, dir string, names []string) error {
	if err := CheckPassphrase(passphrase); err != nil {
		return err
	}
	m.Format, m.Files = Format, nil
	for _, name := range names {
		f, err := look(dir, name)
		if err != nil {
			return fmt.Errorf("seal the backup: %w", err)
		}
		m.Files = append(m.Files, f)
	}
	to, err := age.NewScryptRecipient(text(passphrase))
	if err != nil {
		return fmt.Errorf("seal the backup: %w", err)
	}
	to.SetWorkFactor(workFactor)
	sealed, err := age.Encrypt(w, to)
	if err != nil {
		return fmt.Errorf("seal the backup: %w", err)
	}
	packed, err := gzip.NewWriterLevel(sealed, gzip.BestSpeed)
	if err == nil {
		err = pack(packed, m, dir)
	}
	if err == nil {
		err = packed.Close()
	}
	if err == nil {
		err = sealed.Close()
	}
	if err != nil {
		return fmt.Errorf("seal the backup: %w", err)
	}
	return nil
}

// text gives a passphrase as a string without copying it: a copy of at most 32 bytes
// would lie on a goroutine's stack, which nothing overwrites.
func text(passphrase secret.Text) string {
	b := passphrase.Reveal()
	return unsafe.String(unsafe.SliceData(b), len(b))
}

func look(dir, name string) (File, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return File{}, err
	}
	defer func() { _ = f.Close() }() // it was only read
	h := sha256.New()
	n, err := io.Copy(h, f)
	return File{Name: name, Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}, err
}

func pack(w io.Writer, m Manifest, dir string) error {
	list, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	head := func(name string, size int64) error {
		return t.WriteHeader(&tar.Header{Name: name, Size: size, Mode: 0o600, ModTime: m.MadeAt, Format: tar.FormatPAX})
	}
	if err := head(manifestName, int64(len(list))); err != nil {
		return err
	}
	if _, err := t.Write(list); err != nil {
		return err
	}
	for _, f := range m.Files {
		if err := head(f.Name, f.Size); err != nil {
			return err
		}
		from, err := os.Open(filepath.Join(dir, f.Name))
		if err != nil {
			return err
		}
		_, err = io.Copy(t, from) // one that grew is refused by the archive
		if err = errors.Join(err, from.Close()); err != nil {
			return err
		}
	}
	return t.Close()
}

// Verify reads a backup whole and compares every part with the manifest.
func Verify(r io.Reader, passphrase secret.Text) (Manifest, error) {
	return read(r, passphrase, func(string) (io.WriteCloser, error) { return discard{}, nil })
}

// Extract is Verify, and puts the parts into a directory, synced. After an error
// what is in it counts for nothing.
func Extract(r io.Reader, passphrase secret.Text, dir string) (Manifest, error) {
	return read(r, passphrase, func(name string) (io.WriteCloser, error) {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		return synced{f}, nil
	})
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) Close() error                { return nil }

type synced struct{ *os.File }

func (s synced) Close() error { return errors.Join(s.Sync(), s.File.Close()) }

func read(r io.Reader, passphrase secret.Text, into func(name string) (io.WriteCloser, error)) (m Manifest, err error) {
	id, err := age.NewScryptIdentity(text(passphrase))
	if err != nil {
		return m, ErrPassphrase // the empty one
	}
	// Its memory doubles with each step: whoever made the file must not take a small box
	// down with it. Ours asks for 64 MiB.
	id.SetMaxWorkFactor(workFactor + 1)
	in := bufio.NewReader(r)
	if start, _ := in.Peek(len(magic)); string(start) != magic {
		return m, ErrNoBackup
	}
	opened, err := age.Decrypt(in, id)
	if err != nil {
		if none := (*age.NoIdentityMatchError)(nil); errors.As(err, &none) {
			return m, ErrPassphrase
		}
		return m, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	unpacked, err := gzip.NewReader(opened)
	if err != nil {
		return m, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	m, err = unpack(unpacked, into)
	if err != nil {
		return m, err
	}
	if _, err := io.Copy(io.Discard, opened); err != nil { // the last piece is sealed as the last
		return m, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return m, nil
}

const magic = "age-encryption.org/v1\n"

// mostManifest bounds what is read of it.
const mostManifest = 1 << 20

func unpack(r io.Reader, into func(name string) (io.WriteCloser, error)) (m Manifest, err error) {
	t := tar.NewReader(r)
	head, err := t.Next()
	if err != nil || head.Name != manifestName {
		return m, fmt.Errorf("%w: it has no manifest", ErrNoBackup)
	}
	if err := json.NewDecoder(io.LimitReader(t, mostManifest)).Decode(&m); err != nil {
		return m, fmt.Errorf("%w: its manifest cannot be read", ErrNoBackup)
	}
	if m.Format > Format {
		return m, fmt.Errorf("%w (%s)", ErrNewer, m.Version)
	}
	for _, f := range m.Files {
		if !plain(f.Name) {
			return m, fmt.Errorf("%w: a part has the name %q", ErrNoBackup, f.Name)
		}
		head, err := t.Next()
		if err != nil {
			return m, fmt.Errorf("%w: part %s: %w", ErrDamaged, f.Name, err)
		}
		if head.Name != f.Name || head.Size != f.Size {
			return m, fmt.Errorf("%w: part %s is not where it should be", ErrDamaged, f.Name)
		}
		if err := part(t, f, into); err != nil {
			return m, err
		}
	}
	if _, err := t.Next(); !errors.Is(err, io.EOF) {
		return m, fmt.Errorf("%w: there is more in it than its manifest says", ErrDamaged)
	}
	if _, err := io.Copy(io.Discard, r); err != nil { // the sum at the end of what was compressed
		return m, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return m, nil
}

func part(t io.Reader, f File, into func(name string) (io.WriteCloser, error)) error {
	to, err := into(f.Name)
	if err != nil {
		return fmt.Errorf("put back %s: %w", f.Name, err)
	}
	h := sha256.New()
	out := &outOnly{w: to}
	_, err = io.Copy(io.MultiWriter(h, out), t)
	if closed := to.Close(); out.err == nil {
		out.err = closed
	}
	switch {
	case out.err != nil:
		return fmt.Errorf("put back %s: %w", f.Name, out.err)
	case err != nil:
		return fmt.Errorf("%w: part %s: %w", ErrDamaged, f.Name, err)
	case hex.EncodeToString(h.Sum(nil)) != f.SHA256:
		return fmt.Errorf("%w: part %s is not what was sealed", ErrDamaged, f.Name)
	}
	return nil
}

// outOnly tells an error of the disk from one of the archive.
type outOnly struct {
	w   io.Writer
	err error
}

func (o *outOnly) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	o.err = err
	return n, err
}

// plain accepts a name that cannot lead out of a directory.
func plain(name string) bool {
	return name != "" && name != manifestName && !strings.HasPrefix(name, ".") && filepath.IsLocal(name) &&
		!strings.ContainsAny(name, `/\`)
}
