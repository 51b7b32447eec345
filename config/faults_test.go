package config

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what Load says now into testdata/faults.txt")

const faultTable = "testdata/faults.txt"

// faultRow is one entry of testdata/faults.txt: a file, variables ("env NAME=…")
// and flags ("flag key=…"), and the lines that Load must answer.
type faultRow struct {
	name, file, want string
	env              []string
	flags            map[string]string
}

// unescape lets the table hold what an editor would not keep.
var unescape = strings.NewReplacer(`\t`, "\t", `\r`, "\r", `\xef\xbb\xbf`, "\xef\xbb\xbf", `\xff`, "\xff", `\0`, "\x00", `\e`, "\x1b")

func readFaultTable() ([]faultRow, error) {
	b, err := os.ReadFile(faultTable)
	if err != nil {
		return nil, err
	}
	var rows []faultRow
	for part := range strings.SplitSeq("\n"+string(b), "\n=== ") {
		if part = strings.TrimPrefix(part, "\n"); part == "" || part[0] == '#' {
			continue
		}
		head, want, _ := strings.Cut(part, "\n-----\n")
		row := faultRow{want: strings.TrimSpace(want), flags: map[string]string{}}
		row.name, head, _ = strings.Cut(head+"\n", "\n")
		for line := range strings.Lines(head) {
			trimmed := unescape.Replace(strings.TrimSuffix(line, "\n"))
			if rest, ok := strings.CutPrefix(trimmed, "env "); ok {
				row.env = append(row.env, rest)
			} else if rest, ok := strings.CutPrefix(trimmed, "flag "); ok {
				k, v, _ := strings.Cut(rest, "=")
				row.flags[k] = v
			} else {
				row.file += trimmed + "\n"
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func (r faultRow) load() error {
	o := quiet()
	o.Env, o.Flags = r.env, r.flags
	_, err := o.load("edgegw.yaml", rawBytes(r.file), 0o600)
	return err
}

// TestFaultLines is FAULTS.md F56: each mistake is refused with the line that a
// technician can act on.
func TestFaultLines(t *testing.T) {
	rows, err := readFaultTable()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) < 40 {
		t.Fatalf("only %d rows in %s", len(rows), faultTable)
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if err := row.load(); err == nil {
				t.Error("accepted")
			} else if err.Error() != row.want && !*update {
				t.Errorf("got:\n%s\nwant:\n%s", err, row.want)
			}
		})
	}
	if *update {
		rewriteFaultTable(t, rows)
	}
}

func rewriteFaultTable(t *testing.T, rows []faultRow) {
	b, err := os.ReadFile(faultTable)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split("\n"+string(b), "\n=== ")
	out := []string{parts[0]}
	n := 0
	for _, part := range parts[1:] {
		head, _, _ := strings.Cut(part, "\n-----\n")
		out = append(out, strings.TrimRight(head, "\n")+"\n-----\n"+rows[n].load().Error()+"\n")
		n++
	}
	if err := os.WriteFile(faultTable, []byte(strings.TrimPrefix(strings.Join(out, "\n=== "), "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
}
