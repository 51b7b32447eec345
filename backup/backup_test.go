package backup

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"edgegw/secret"
)

var phrase = secret.FromString("correct horse battery")

// made gives a backup of two files, and their directory.
func made(t testing.TB) ([]byte, string, Manifest) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"edgegw.db": strings.Repeat("the journal ", 20_000), "empty": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := Manifest{Site: "site-12", Version: "1.2.3", MadeAt: time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC), Clock: "synchronised", MadeBy: "anna", Events: 7, Sales: 5, Waiting: 1, KEK: "inside"}
	var b bytes.Buffer
	if err := Write(&b, phrase, m, dir, []string{"edgegw.db", "empty"}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), dir, m
}

func TestWhatGoesInComesOut(t *testing.T) {
	file, from, want := made(t)
	if bytes.Contains(file, []byte("journal")) || bytes.Contains(file, []byte("site-12")) {
		t.Error("it stands there in clear")
	}
	to := t.TempDir()
	m, err := Extract(bytes.NewReader(file), phrase, to)
	if err != nil {
		t.Fatal(err)
	}
	verified, err := Verify(bytes.NewReader(file), phrase)
	if err != nil || !reflect.DeepEqual(m, verified) || len(m.Files) != 2 || m.Format != Format {
		t.Errorf("%+v, %+v, %v", m, verified, err)
	}
	m.Files, m.Format = nil, 0
	if !reflect.DeepEqual(m, want) {
		t.Errorf("manifest %+v", m)
	}
	for _, name := range []string{"edgegw.db", "empty"} {
		a, errA := os.ReadFile(filepath.Join(from, name))
		b, errB := os.ReadFile(filepath.Join(to, name))
		info, _ := os.Stat(filepath.Join(to, name))
		if errA != nil || errB != nil || !bytes.Equal(a, b) || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v, %v", name, errA, errB, info)
		}
	}
}

// Every cut and every flipped byte is found, whether in the seal, in what was
// compressed, or at the very end.
func TestDamageIsFound(t *testing.T) {
	file, _, _ := made(t)
	step := max(1, len(file)/16)
	for n := 0; n < len(file); n += step {
		if _, err := Verify(bytes.NewReader(file[:n]), phrase); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNoBackup) {
			t.Errorf("cut to %d of %d bytes: %v", n, len(file), err)
		}
		bad := bytes.Clone(file)
		bad[n] ^= 1
		if _, err := Verify(bytes.NewReader(bad), phrase); err == nil {
			t.Errorf("byte %d is another: nothing is said", n)
		}
	}
	if _, err := Verify(bytes.NewReader(file[:len(file)-1]), phrase); !errors.Is(err, ErrDamaged) {
		t.Errorf("without its last byte: %v", err)
	}
	if _, err := Verify(bytes.NewReader(append(bytes.Clone(file), 'x')), phrase); !errors.Is(err, ErrDamaged) {
		t.Errorf("with one more byte: %v", err)
	}
}

func TestPassphrases(t *testing.T) {
	file, dir, m := made(t)
	for _, wrong := range []string{"", "correct horse batterz", "Correct horse battery"} {
		if _, err := Verify(bytes.NewReader(file), secret.FromString(wrong)); !errors.Is(err, ErrPassphrase) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	for _, weak := range []string{"", "short", "11 letters!"} {
		if err := Write(io.Discard, secret.FromString(weak), m, dir, nil); err == nil || !strings.Contains(err.Error(), "at least 12") || weak != "" && strings.Contains(err.Error(), weak) {
			t.Errorf("%q: %v", weak, err)
		}
	}
}

// sealed makes a file of any inside.
func sealed(t *testing.T, entries ...[2]string) []byte {
	t.Helper()
	to, err := age.NewScryptRecipient(string(phrase.Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	to.SetWorkFactor(10)
	var b bytes.Buffer
	w, err := age.Encrypt(&b, to)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(w)
	a := tar.NewWriter(z)
	for _, e := range entries {
		err = errors.Join(err, a.WriteHeader(&tar.Header{Name: e[0], Size: int64(len(e[1])), Mode: 0o600}))
		_, wrote := a.Write([]byte(e[1]))
		err = errors.Join(err, wrote)
	}
	if err = errors.Join(err, a.Close(), z.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// manifest is of parts with these names and contents.
func manifest(t *testing.T, format int, entries ...[2]string) string {
	t.Helper()
	m := Manifest{Format: format, Version: "9.9.9"}
	for _, e := range entries {
		h := sha256.Sum256([]byte(e[1]))
		m.Files = append(m.Files, File{e[0], int64(len(e[1])), hex.EncodeToString(h[:])})
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Whoever has the passphrase may have made the file. It writes nowhere else, and
// what it holds is what it says.
func TestInsidesThatAreNone(t *testing.T) {
	a, other := [2]string{"a", "A"}, [2]string{"a", "B"}
	up := [2]string{"../up", "x"}
	for name, row := range map[string]struct {
		file []byte
		want error
	}{
		"nothing":                {nil, ErrNoBackup},
		"a text":                 {[]byte("device_id,register_id\n"), ErrNoBackup},
		"no manifest":            {sealed(t, a), ErrNoBackup},
		"a manifest of nonsense": {sealed(t, [2]string{manifestName, "{"}), ErrNoBackup},
		"another content":        {sealed(t, [2]string{manifestName, manifest(t, 1, a)}, other), ErrDamaged},
		"a part is missing":      {sealed(t, [2]string{manifestName, manifest(t, 1, a)}), ErrDamaged},
		"a part too many":        {sealed(t, [2]string{manifestName, manifest(t, 1, a)}, a, other), ErrDamaged},
		"a way out":              {sealed(t, [2]string{manifestName, manifest(t, 1, up)}, up), ErrNoBackup},
		"of a newer edgegw":      {sealed(t, [2]string{manifestName, manifest(t, 2, a)}, a), ErrNewer},
	} {
		dir := t.TempDir()
		if _, err := Extract(bytes.NewReader(row.file), phrase, filepath.Join(dir)); !errors.Is(err, row.want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(dir), "up")); err == nil {
			t.Errorf("%s: it was written outside", name)
		}
	}
}

// A file that asks for more memory than a small box has is refused before it is given.
func TestAFileThatAsksForTooMuchMemory(t *testing.T) {
	file := bytes.Replace(sealed(t), []byte(" 10\n"), []byte(" 18\n"), 1) // 256 MiB
	if _, err := Verify(bytes.NewReader(file), phrase); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "work factor") {
		t.Errorf("got %v", err)
	}
}

// A disk that is full is not a damaged backup.
func TestADirectoryThatTakesNothing(t *testing.T) {
	file, _, _ := made(t)
	if _, err := Extract(bytes.NewReader(file), phrase, filepath.Join(t.TempDir(), "none")); err == nil || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "put back edgegw.db") {
		t.Errorf("%v", err)
	}
}
