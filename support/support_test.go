package support

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"edgegw/secret"
)

func part(name, text string) Part {
	return Part{Name: name, What: "a part", Make: func(context.Context) ([]byte, error) { return []byte(text), nil }}
}

// opened is a bundle as it arrives: its files, and what its manifest says.
func opened(t *testing.T, b Bundle) (size int, files map[string]string, m Manifest) {
	t.Helper()
	var out bytes.Buffer
	if err := b.Write(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	m, err := Read(bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil {
		t.Fatal(err)
	}
	z, err := zip.NewReader(bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil {
		t.Fatal(err)
	}
	files = map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name] = string(text)
	}
	for _, f := range m.Files {
		sum := sha256.Sum256([]byte(files[f.Name]))
		if f.Size != len(files[f.Name]) || f.SHA256 != hex.EncodeToString(sum[:]) {
			t.Errorf("the manifest says of %s %d bytes, %s; it has %d, %x", f.Name, f.Size, f.SHA256, len(files[f.Name]), sum)
		}
	}
	if len(files) != len(m.Files)+1 {
		t.Errorf("%d files, the manifest names %d", len(files)-1, len(m.Files))
	}
	return out.Len(), files, m
}

// A part that fails is missing, and the manifest says why; the others are there.
func TestAPartThatFailsIsMissing(t *testing.T) {
	at := time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC)
	_, files, m := opened(t, Bundle{
		About: About{Site: "Station ofk_reg_live_abcdef", Version: "1", Made: at, By: "cli:4111111111111111"},
		Parts: []Part{part("a.json", "{}\n"), {Name: "b.json", What: "broken", Make: func(context.Context) ([]byte, error) {
			return nil, errors.New("no way to http://u:hunter22@proxy")
		}}, part("c.txt", "c\n")},
		LeftOut: []LeftOut{{"keys", "they are secret"}},
	})
	if len(m.Files) != 2 || files["c.txt"] != "c\n" || len(m.Missing) != 1 || m.Missing[0] != (Missing{"b.json", "broken", "no way to http://[redacted]@proxy"}) {
		t.Errorf("%+v", m)
	}
	if m.Site != "Station [redacted]" || m.By != "cli:************1111" || !m.Made.Equal(at) || len(m.LeftOut) != 1 || m.Notes == nil {
		t.Errorf("%+v", m.About)
	}
}

// Whatever goes in, a bundle is small, what must be cut is cut, and said.
func TestABundleIsSmallerThanItsLimit(t *testing.T) {
	noise := make([]byte, 4<<20) // cannot be compressed
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	row := strings.Repeat("a line ", 143)[:999] + "\n"
	rows, err := json.Marshal(strings.Split(strings.Repeat(row, 2000), "\n"))
	if err != nil {
		t.Fatal(err)
	}
	all := []Part{part("rows.json", string(rows)), part("log.txt", strings.Repeat(row, 2000)+"the last line\n"), part("object.json", `{"a":"`+string(bytes.Repeat([]byte("x "), 1<<20))+`"}`)}
	for i := range all {
		all[i].Most = 1 << 20
	}
	for _, name := range []string{"1", "2"} {
		p := part(name+".txt", base(noise))
		p.Most = 12 << 20
		all = append(all, p)
	}
	size, files, m := opened(t, Bundle{Parts: all})
	if size >= Limit || size < 3<<20 {
		t.Errorf("%d bytes", size)
	}
	var kept []string
	if err := json.Unmarshal([]byte(files["rows.json"]), &kept); err != nil || len(kept) < 1000 || m.Files[0].CutWhere == "" || m.Files[0].Cut < 500_000 {
		t.Errorf("%d rows, %v, %+v", len(kept), err, m.Files[0])
	}
	if log := files["log.txt"]; !strings.HasSuffix(log, "\nthe last line\n") || !strings.HasPrefix(log, "a line") || len(log) > 1<<20 || m.Files[1].CutWhere != "at its beginning" || m.Files[1].Cut+m.Files[1].Size != 2000*1000+14 {
		t.Errorf("the log: %d bytes, %+v", len(log), m.Files[1])
	}
	if len(m.Missing) != 1 || m.Missing[0].Name != "object.json" {
		t.Errorf("missing: %+v", m.Missing)
	}
}

// base writes noise as lines that no redaction touches.
func base(noise []byte) string {
	var b strings.Builder
	for i, c := range noise {
		b.WriteByte('a' + c%26)
		if i%20 == 19 {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// An error while it is written is one: half a bundle must not pass for a bundle.
func TestAWriterThatFails(t *testing.T) {
	whole := &bytes.Buffer{}
	b := Bundle{Parts: []Part{part("a.txt", "a\n")}}
	if err := b.Write(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	for n := range whole.Len() {
		half := &limited{most: n}
		if err := b.Write(t.Context(), half); err == nil {
			t.Errorf("no error with %d of %d bytes", n, whole.Len())
		}
	}
}

type limited struct{ most, have int }

func (l *limited) Write(b []byte) (int, error) {
	if l.have+len(b) > l.most {
		return 0, errors.New("no room")
	}
	l.have += len(b)
	return len(b), nil
}

// What is known to be secret is in no part, in no form of JSON, and not in a reason.
func TestKnownSecretsAreTakenOut(t *testing.T) {
	known := `pa"ss<word>`
	quoted, err := json.Marshal(map[string]string{"a": "x" + known})
	if err != nil {
		t.Fatal(err)
	}
	_, files, m := opened(t, Bundle{Secrets: []secret.Text{secret.FromString(known), {}}, Parts: []Part{
		part("a.txt", "x"+known+"\n"), part("b.json", string(quoted)), part("c.jsonl", `{"a":"pa\"ss<word>"}`+"\n"), part("d.json", `{"a":"pa\u0022ss<word>"}`),
		{Name: "e.txt", Make: func(context.Context) ([]byte, error) { return nil, errors.New(known) }},
	}})
	for name, text := range files {
		var v any
		_ = json.Unmarshal([]byte(text), &v)
		if again, _ := marshal(v); strings.Contains(text, "word>") || strings.Contains(string(again), "word>") {
			t.Errorf("%s: %s", name, text)
		}
	}
	if m.Missing[0].Why != secret.Redacted {
		t.Errorf("%+v", m.Missing)
	}
}
