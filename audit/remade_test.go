package audit

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// remade gives every file of records the chain that its records have now, and then
// all files their checksums: whoever alters an export can do that.
func remade(t *testing.T, all []file, files ...string) {
	t.Helper()
	var m Manifest
	at := func(name string) *file {
		for i := range all {
			if all[i].name == name {
				return &all[i]
			}
		}
		t.Fatalf("there is no %s", name)
		return nil
	}
	if err := json.Unmarshal(at(manifestFile).text, &m); err != nil {
		t.Fatal(err)
	}
	for i := range m.Files {
		f := at(m.Files[i].Name)
		for _, name := range files {
			if f.name != name {
				continue
			}
			var text []byte
			c := m.Trail.Before.Chain
			for line := range bytes.Lines(f.text) {
				if f.name == trailFile {
					l, _, _ := decodeTrail(line)
					c = c.Next(l)
					again, err := encodeTrail(l, c[:])
					if err != nil {
						t.Fatal(err)
					}
					text = append(text, again...)
					continue
				}
				if text == nil {
					c = Chain{}
				}
				record, _, ok := jsonForm.split(line)
				if !ok {
					t.Fatalf("%s", line)
				}
				c = c.over(record)
				text = append(text, jsonForm.line(bytes.Clone(record), c)...)
			}
			f.text = text
		}
		m.Files[i].SHA256 = sumOf(f.text)
	}
	text, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	at(manifestFile).text = text
	var sums []byte
	for line := range strings.Lines(string(at(sumsFile).text)) {
		name := strings.TrimSuffix(line[66:], "\n")
		sums = append(sums, sumLine(name, sumOf(at(name).text))...)
	}
	at(sumsFile).text = sums
}

func altered(t *testing.T, all []file, name string, change func(string) string) []file {
	t.Helper()
	for i := range all {
		if all[i].name == name {
			was := string(all[i].text)
			all[i].text = []byte(change(was))
			if string(all[i].text) == was {
				t.Fatalf("%s was not changed", name)
			}
		}
	}
	return all
}

// What can still be seen where somebody has made chains and checksums anew, and
// what only a value noted before can tell.
func TestARemadeExport(t *testing.T) {
	swap := func(old, new string) func(string) string {
		return func(text string) string { return strings.Replace(text, old, new, 1) }
	}
	cut := func(from int) func(string) string {
		return func(text string) string { return strings.Join(strings.SplitAfter(text, "\n")[from:], "") }
	}
	lines, chain := trail(Point{40, Chain{1, 2, 3}}, 7)
	more, err := encodeTrail(lines[6], chain[6][:])
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, file string
		change     func(string) string
		record     int64
		kind       string
	}{
		{"a record out, its number with it", "sales.jsonl", cut(2), 1, Missing},
		{"a line of the trail altered", trailFile, swap("pump-3", "pump-4"), 46, Altered},
		{"the trail goes on behind its end", trailFile, func(s string) string { return s + string(more) }, 47, Inserted},
		{"a table altered, all of it made anew", "sales.jsonl", swap("s3", "s4"), 0, ""},
	} {
		all := altered(t, unpack(t, sample(t)), c.file, c.change)
		remade(t, all, c.file)
		_, fault := verify(pack(t, all))
		switch {
		case c.kind == "" && fault != nil:
			t.Errorf("%s: %+v; this test's own remaking is wrong", c.name, fault)
		case c.kind != "" && (fault == nil || fault.File != c.file || fault.Kind != c.kind || fault.Record != c.record):
			t.Errorf("%s: got %+v, want %s %d", c.name, fault, c.kind, c.record)
		}
	}
	// The manifest made to fit as well: nothing is wrong in it any more.
	all := altered(t, unpack(t, sample(t)), trailFile, swap("pump-3", "pump-4"))
	remade(t, all, trailFile)
	var last string
	for _, f := range all {
		if f.name == trailFile {
			_, last, _ = strings.Cut(string(bytes.SplitAfter(f.text, []byte("\n"))[5]), `"chain":"`)
		}
	}
	altered(t, all, manifestFile, func(s string) string { return strings.ReplaceAll(s, chain[5].String(), last[:64]) })
	remade(t, all)
	if _, fault := verify(pack(t, all)); fault != nil {
		t.Errorf("what nobody can see is seen: %+v", fault)
	}
	if _, fault := verify(pack(t, all), chain[5]); fault == nil || fault.Kind != Missing {
		t.Errorf("the value that was noted: %+v", fault)
	}
}

// There is one way to write a thing: another one is an alteration, and is named.
func TestOneForm(t *testing.T) {
	for _, c := range []struct {
		file   string
		change func(string) string
		record int64
	}{
		{"sales.jsonl", func(s string) string {
			l := strings.SplitAfter(s, "\n")
			l[2] = l[2][:len(l[2])-67] + strings.ToUpper(l[2][len(l[2])-67:])
			return strings.Join(l, "")
		}, 3},
		{trailFile, func(s string) string { return strings.Replace(s, `{"no":44,`, `{"no": 44,`, 1) }, 44},
		{sumsFile, func(s string) string { return s + sumLine("another.txt", sumOf(nil)) }, 0},
	} {
		if _, fault := verify(pack(t, altered(t, unpack(t, sample(t)), c.file, c.change))); fault == nil || fault.File != c.file || fault.Record != c.record {
			t.Errorf("%s: %+v", c.file, fault)
		}
	}
}

// Whatever is in a file that somebody hands over, a check of it ends, and what it
// calls whole says what it was.
func FuzzVerify(f *testing.F) {
	for i, one := range unpack(f, sample(f)) {
		f.Add(uint8(i), one.text)
	}
	f.Add(uint8(6), []byte(`{"format":"edgegw-export/1","files":[{"name":"sales.jsonl","columns":[],"key":-1}]}`))
	f.Fuzz(func(t *testing.T, which uint8, text []byte) {
		all := unpack(t, sample(t))
		i := int(which) % len(all)
		same := bytes.Equal(all[i].text, text)
		all[i].text = text
		if _, fault := verify(pack(t, all)); (fault == nil) != same {
			t.Errorf("%s: %+v", all[i].name, fault)
		}
	})
}
