package devicekeys

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"edgegw/secret"
)

func writeKEK(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kek")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func sameKEK(a, b KEK) bool { return !a.Empty() && !b.Empty() && bytes.Equal(a.reveal(), b.reveal()) }

// TestAWipedKEKIsGone is about the bytes, which nobody outside can see.
func TestAWipedKEKIsGone(t *testing.T) {
	k, _, err := LoadKEK(KEKOptions{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	raw := k.reveal()
	k.Wipe()
	KEK{}.Wipe() // none is none
	if len(raw) != kekSize || !bytes.Equal(raw, make([]byte, kekSize)) {
		t.Errorf("left: %x", raw)
	}
}

func TestKEKForms(t *testing.T) {
	raw, _ := hex.DecodeString(hexKEK)
	raw[0] = 0xfb // gives + or - in base64
	want, err := decodeKEK([]byte(hex.EncodeToString(raw)))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"hex": hex.EncodeToString(raw), "HEX": strings.ToUpper(hex.EncodeToString(raw)), "base64": base64.StdEncoding.EncodeToString(raw),
		"base64 without padding": base64.RawStdEncoding.EncodeToString(raw), "base64 for URLs": base64.URLEncoding.EncodeToString(raw),
	} {
		if got, _, err := LoadKEK(KEKOptions{Text: secret.FromString(text)}); err != nil || !sameKEK(got, want) {
			t.Errorf("%s: %v", name, err)
		}
		if got, source, err := LoadKEK(KEKOptions{File: writeKEK(t, text+"\n", 0o400)}); err != nil || !sameKEK(got, want) || source.Kind != KEKFile {
			t.Errorf("%s in a file: %v", name, err)
		}
	}
	const passphrase = "correct horse battery staple CANARY"
	for name, text := range map[string]string{
		"passphrase": passphrase, "short": hexKEK[:62], "long": hexKEK + "00", "not hex": strings.Repeat("z", 64), "31 bytes": base64.StdEncoding.EncodeToString(raw[:31]),
		"33 bytes": base64.StdEncoding.EncodeToString(append(raw, 1)), "zeroes": strings.Repeat("0", 64), "one byte over and over": strings.Repeat("ab", 32), "space": " " + hexKEK[1:],
		"44 characters": strings.Repeat("!", 44), "raw bytes": string(raw),
	} {
		_, _, err := LoadKEK(KEKOptions{Text: secret.FromString(text)})
		if err == nil || strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", name, err)
		}
		if _, _, err := LoadKEK(KEKOptions{File: writeKEK(t, text, 0o600)}); err == nil || strings.Contains(err.Error(), text) {
			t.Errorf("%s in a file: %v", name, err)
		}
	}
	if _, _, err := LoadKEK(KEKOptions{File: writeKEK(t, "", 0o600)}); err == nil {
		t.Error("an empty file is accepted")
	}
}

func TestKEKSourcesInOrder(t *testing.T) {
	dir := t.TempDir()
	file := writeKEK(t, otherKEK, 0o600)
	o := KEKOptions{Text: secret.FromString(hexKEK), File: file, DataDir: dir}
	if k, s, err := LoadKEK(o); err != nil || !sameKEK(k, testKEK(t, hexKEK)) || s.Kind != KEKGiven || !s.Warning().Empty() {
		t.Errorf("text first: %+v, %v", s, err)
	}
	o.Text = secret.Text{}
	if k, s, err := LoadKEK(o); err != nil || !sameKEK(k, testKEK(t, otherKEK)) || s.Kind != KEKFile || s.Path != file {
		t.Errorf("then the file: %+v, %v", s, err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Error("a KEK was made although one was given")
	}
	o.File = file + ".absent"
	if _, _, err := LoadKEK(o); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a configured file that is absent: %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Error("a KEK was made although a file was configured")
	}
	o.File = ""
	made, s, err := LoadKEK(o)
	if err != nil || s.Kind != KEKSelfMade || !s.Created || !strings.Contains(s.Warning().String(), s.Path) {
		t.Fatalf("then self-made: %+v, %v", s, err)
	}
	info, err := os.Stat(filepath.Join(dir, "kek"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for _, sealed := range []bool{false, true} {
		o.SealedKeysExist = sealed
		if again, s, err := LoadKEK(o); err != nil || !sameKEK(again, made) || s.Created {
			t.Errorf("a second start: %+v, %v", s, err)
		}
	}
	if other, _, err := LoadKEK(KEKOptions{DataDir: t.TempDir()}); err != nil || sameKEK(other, made) {
		t.Errorf("two boxes have one KEK: %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("files were left over: %v", entries)
	}
}

func TestLostKEKIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	_, _, err := LoadKEK(KEKOptions{DataDir: dir, SealedKeysExist: true})
	if !errors.Is(err, ErrKEKMissing) {
		t.Errorf("got %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Error("a new KEK was made")
	}
	path := filepath.Join(dir, "kek")
	for _, damaged := range []string{"", "half a ke", hexKEK[:40], strings.Repeat("\x00", 65)} {
		if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, sealed := range []bool{false, true} {
			if _, _, err := LoadKEK(KEKOptions{DataDir: dir, SealedKeysExist: sealed}); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("%q: %v", damaged, err)
			}
			if b, _ := os.ReadFile(path); string(b) != damaged {
				t.Errorf("%q was overwritten", damaged)
			}
		}
	}
}

func TestReadableKEKIsRefused(t *testing.T) {
	for _, mode := range []os.FileMode{0o644, 0o640, 0o604} {
		path := writeKEK(t, hexKEK, mode)
		for _, o := range []KEKOptions{{File: path}, {DataDir: filepath.Dir(path)}} {
			if _, _, err := LoadKEK(o); err == nil || !strings.Contains(err.Error(), "run chmod 600 "+path) {
				t.Errorf("mode %v: %v", mode, err)
			}
		}
	}
}

func TestManyFirstStartsMakeOneKEK(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	keks, errs := make([]KEK, 8), make([]error, 8)
	for i := range keks {
		all.Go(func() { keks[i], _, errs[i] = LoadKEK(KEKOptions{DataDir: dir}) })
	}
	all.Wait()
	for i := range keks {
		if errs[i] != nil || !sameKEK(keks[i], keks[0]) {
			t.Errorf("%d: %v", i, errs[i])
		}
	}
}
