package edgegw_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	testFunc   = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)[A-Za-z0-9_]+)\(`)
	testNamed  = regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Za-z0-9_]+)`")
	threatLine = regexp.MustCompile(`(?m)^\| \d+ \| .* \| (.*) \|$`)
)

// The threat model names the test that proves each of its lines. A test that is
// renamed or removed must not leave a claim behind.
func TestSecurityPageNamesTestsThatExist(t *testing.T) {
	page, err := os.ReadFile("docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	err = filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range testFunc.FindAllSubmatch(text, -1) {
			there[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := testNamed.FindAllSubmatch(page, -1)
	for _, m := range named {
		if !there[string(m[1])] {
			t.Errorf("docs/security.md names %s, which is not there", m[1])
		}
	}
	threats := threatLine.FindAllSubmatch(page, -1)
	for _, m := range threats {
		if !testNamed.Match(m[1]) {
			t.Errorf("a threat has no test: %s", m[0])
		}
	}
	if len(threats) < 20 || len(named) < 30 {
		t.Errorf("%d threats and %d tests: the page is not what this test reads", len(threats), len(named))
	}
}
