package devicekeys

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"edgegw/secret"
	"edgegw/wording"
)

// kekSize is the length of a KEK in bytes.
const kekSize = 32

// KEKFileName is the name of the KEK made at first start, below the data
// directory.
const KEKFileName = "kek"

// KEK is a key-encryption key. The zero value is "none". A function holds the
// bytes, because fmt walks into unexported fields without asking their Format
// methods, and with a verb that does not fit it follows pointers there, too.
type KEK struct{ reveal func() []byte }

func newKEK(raw []byte) KEK { return KEK{reveal: func() []byte { return raw }} }

// Empty reports whether there is no KEK.
func (k KEK) Empty() bool { return k.reveal == nil }

// Wipe overwrites the bytes, for whoever has opened all that it opens.
func (k KEK) Wipe() {
	if !k.Empty() {
		clear(k.reveal())
	}
}

func (KEK) String() string               { return secret.Redacted }
func (KEK) GoString() string             { return secret.Redacted }
func (KEK) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte(secret.Redacted)) }
func (KEK) MarshalJSON() ([]byte, error) { return []byte(`"` + secret.Redacted + `"`), nil }
func (KEK) MarshalText() ([]byte, error) { return []byte(secret.Redacted), nil }
func (KEK) LogValue() slog.Value         { return slog.StringValue(secret.Redacted) }

// SourceKind says where a KEK came from.
type SourceKind string

// The sources, in the order in which they are asked (CONTRACT.md section 4).
const (
	KEKGiven    SourceKind = "given"     // vault.kek
	KEKFile     SourceKind = "file"      // vault.kek_file
	KEKSelfMade SourceKind = "self_made" // data_dir/kek
)

// Source says where a KEK came from, fit to be shown.
type Source struct {
	Kind    SourceKind
	Path    string // "" where it was given as text
	Created bool   // made by this call
}

// Warning is what a technician should know about the source, "" for nothing.
// It is a notice, not a fault (CONTRACT.md ruling 4).
func (s Source) Warning() wording.Sentence {
	if s.Kind != KEKSelfMade {
		return wording.Sentence{}
	}
	return wording.Of("the key-encryption key lies beside the data it protects (%s): it guards database files and backups that do not contain it, not a stolen box; keep a copy of it elsewhere, because without it every register key must be entered again", s.Path)
}

// KEKSource is a place where a KEK may be kept. A TPM or a secret manager is one
// more; docs/security.md says what each protects from, and what not.
type KEKSource interface {
	// Load gives the KEK. An error means that there is one somewhere, and not
	// here or not in a form that can be used: nothing may take its place.
	Load() (KEK, Source, error)
}

// KEKOptions says where a KEK may be found.
type KEKOptions struct {
	Text    secret.Text // vault.kek: 32 bytes in hex or base64
	File    string      // vault.kek_file: the same, in a file of mode 0600
	DataDir string      // where one was made before, or is made

	// PreviousText and PreviousFile are the KEK before a change of it.
	PreviousText secret.Text
	PreviousFile string

	// SealedKeysExist says that register keys are stored already: then a missing
	// KEK is lost, and a new one would only hide that.
	SealedKeysExist bool
}

// Source picks the first source that is set (CONTRACT.md section 4).
func (o KEKOptions) Source() KEKSource {
	switch {
	case !o.Text.Empty():
		return givenKEK{"vault.kek", o.Text}
	case o.File != "":
		return fileKEK{"vault.kek_file", o.File}
	}
	return ownKEK{filepath.Join(o.DataDir, KEKFileName), o.SealedKeysExist}
}

// LoadKEK gives the KEK of the first source that is set. Only where none is,
// and nothing was sealed yet, does it make one. After an error the gateway can
// go on with the zero KEK: it takes sales and sends none.
func LoadKEK(o KEKOptions) (KEK, Source, error) { return o.Source().Load() }

// Older gives the KEKs that keys may still be sealed with: the one before, and
// the one made at first start. One that cannot be read is left out: it is missed
// only by keys that were sealed with it, and those are named by Check. The error
// says why one that was named is left out.
func (o KEKOptions) Older() (older []KEK, named error) {
	sources := []KEKSource{}
	if !o.PreviousText.Empty() {
		sources = append(sources, givenKEK{"vault.previous_kek", o.PreviousText})
	}
	if o.PreviousFile != "" {
		sources = append(sources, fileKEK{"vault.previous_kek_file", o.PreviousFile})
	}
	if !o.Text.Empty() || o.File != "" {
		sources = append(sources, ownKEK{filepath.Join(o.DataDir, KEKFileName), true})
	}
	for _, s := range sources {
		k, _, err := s.Load()
		if _, own := s.(ownKEK); err != nil && !own {
			named = errors.Join(named, err)
		}
		if err == nil {
			older = append(older, k)
		}
	}
	return older, named
}

// givenKEK is a KEK in the configuration, best in the environment.
type givenKEK struct {
	key  string // of the configuration
	text secret.Text
}

func (g givenKEK) Load() (KEK, Source, error) {
	k, err := decodeKEK(g.text.Reveal())
	if err != nil {
		return KEK{}, Source{}, fmt.Errorf("read %s: %w", g.key, err)
	}
	return k, Source{Kind: KEKGiven}, nil
}

// fileKEK is a file that somebody else looks after.
type fileKEK struct{ key, path string }

func (f fileKEK) Load() (KEK, Source, error) {
	k, err := readKEK(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return KEK{}, Source{}, fmt.Errorf("read %s: %w: %w", f.key, ErrKEKMissing, err)
	}
	if err != nil {
		return KEK{}, Source{}, fmt.Errorf("read %s: %w", f.key, err)
	}
	return k, Source{Kind: KEKFile, Path: f.path}, nil
}

// ownKEK is the file made at first start.
type ownKEK struct {
	path   string
	sealed bool // keys are stored already
}

func (o ownKEK) Load() (KEK, Source, error) {
	source := Source{Kind: KEKSelfMade, Path: o.path}
	k, err := readKEK(o.path)
	if err == nil {
		return k, source, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return KEK{}, Source{}, fmt.Errorf("read key-encryption key: %w", err)
	}
	if o.sealed {
		return KEK{}, Source{}, fmt.Errorf("%w: give it in vault.kek or vault.kek_file, or put %s back", ErrKEKMissing, o.path)
	}
	source.Created = true
	if err := makeKEK(o.path); err != nil {
		return KEK{}, Source{}, fmt.Errorf("make key-encryption key: %w", err)
	}
	if k, err = readKEK(o.path); err != nil { // what is on disk counts, also where another process made it
		return KEK{}, Source{}, fmt.Errorf("read key-encryption key: %w", err)
	}
	return k, source, nil
}

// readKEK reads a file that only its owner may read.
func readKEK(path string) (KEK, error) {
	info, err := os.Stat(path)
	if err != nil {
		return KEK{}, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return KEK{}, fmt.Errorf("%s may be read by others (mode %04o): run chmod 600 %s", path, mode, path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return KEK{}, err
	}
	defer clear(b)
	k, err := decodeKEK(bytes.TrimRight(b, " \t\r\n"))
	if err != nil {
		return KEK{}, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

var errKEKForm = errors.New("a key-encryption key is 32 random bytes in hex (64 characters) or base64 (44 characters); make one with: openssl rand -hex 32")

// decodeKEK takes hex and base64 only. A passphrase is refused: whoever has the
// database file could try words against it.
func decodeKEK(text []byte) (KEK, error) {
	var raw []byte
	var err error
	switch len(text) {
	case hex.EncodedLen(kekSize):
		raw, err = hex.DecodeString(string(text))
	case base64.StdEncoding.EncodedLen(kekSize), base64.RawStdEncoding.EncodedLen(kekSize):
		standard := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimSuffix(string(text), "="))
		raw, err = base64.RawStdEncoding.Strict().DecodeString(standard)
	default:
		err = errKEKForm
	}
	if err != nil || len(raw) != kekSize || bytes.Count(raw, raw[:1]) == kekSize {
		return KEK{}, errKEKForm // never the decoder's own error: it quotes the input
	}
	return newKEK(raw), nil
}

// makeKEK puts a new KEK in place whole and durable, and only if there is none.
func makeKEK(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var raw [kekSize]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return err
	}
	text := hex.AppendEncode(nil, raw[:])
	defer clear(text)
	clear(raw[:])
	err := createFile(path, append(text, '\n'))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// createFile writes a file of mode 0600 under any umask. A link, unlike a
// rename, never replaces what is there.
func createFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	removeLeftovers(dir)
	f, err := os.CreateTemp(dir, tempPattern)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // what a crash leaves is removed by a later call
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		switch _, lookErr := os.Lstat(path); {
		case lookErr == nil:
			return fs.ErrExist
		case !errors.Is(lookErr, fs.ErrNotExist):
			return lookErr
		}
		if err := os.Rename(f.Name(), path); err != nil { // a file system without links, such as FAT
			return err
		}
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

const (
	tempPattern = ".kek-*.tmp"
	leftoverAge = time.Hour // a younger one may belong to a process that is writing it
)

func removeLeftovers(dir string) {
	found, _ := filepath.Glob(filepath.Join(dir, tempPattern)) // the pattern is right
	for _, path := range found {
		if info, err := os.Lstat(path); err == nil && time.Since(info.ModTime()) > leftoverAge {
			_ = os.Remove(path) // it was never in use
		}
	}
}
