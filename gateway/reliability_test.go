package gateway

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each row of the table of what happens names tests, and they are there.
func TestTheTableOfReliabilityNamesItsTests(t *testing.T) {
	text, err := os.ReadFile("../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	_, chapter, _ := strings.Cut(string(text), "\n## What happens when…\n")
	chapter, _, _ = strings.Cut(chapter, "\n## ")
	named := regexp.MustCompile("`([a-z/]+) (Test[A-Za-z]+)`")
	rows := 0
	for _, line := range strings.Split(chapter, "\n") {
		cells := strings.Split(line, "|")
		if len(cells) != 7 || strings.HasPrefix(cells[1], "---") || strings.TrimSpace(cells[1]) == "what fails" {
			continue
		}
		rows++
		tests := named.FindAllStringSubmatch(cells[5], -1)
		if len(tests) == 0 {
			t.Errorf("the row %q names no test", strings.TrimSpace(cells[1]))
		}
		for _, m := range tests {
			if !hasTest(t, filepath.Join("..", m[1]), m[2]) {
				t.Errorf("the row %q names %s of %s, which is not there", strings.TrimSpace(cells[1]), m[2], m[1])
			}
		}
	}
	if rows < 15 {
		t.Errorf("only %d rows were found", rows)
	}
}

func hasTest(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "\nfunc "+name+"(") {
			return true
		}
	}
	return false
}
