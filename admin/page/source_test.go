package page

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every condition of docs/conditions.md is in German, and no other.
func TestEveryConditionIsInGerman(t *testing.T) {
	doc, err := os.ReadFile("../../docs/conditions.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(string(doc), -1) {
		listed[m[1]] = true
		if c := conditionsInGerman[m[1]]; c[0] == "" || c[1] == "" {
			t.Errorf("%s is not in German", m[1])
		}
	}
	for code := range conditionsInGerman {
		if !listed[code] {
			t.Errorf("%s is no condition", code)
		}
	}
	if len(listed) < 30 {
		t.Errorf("docs/conditions.md lists %d conditions", len(listed))
	}
}

// Every cause of an outage that the gateway has words for is in German, and no other.
func TestEveryCauseIsInGerman(t *testing.T) {
	text, err := os.ReadFile("../../gateway/words.go")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "var uplinks = map[string]uplinkWord{")
	table, _, closed := strings.Cut(table, "\n}")
	codes := regexp.MustCompile(`(?m)^\t"([a-z_]+)":`).FindAllStringSubmatch(table, -1)
	if !found || !closed || len(codes) < 10 || len(codes) != len(causesInGerman) {
		t.Errorf("%d causes, %d in German", len(codes), len(causesInGerman))
	}
	for _, m := range codes {
		if causesInGerman[m[1]] == "" {
			t.Errorf("%s is not in German", m[1])
		}
	}
}

// sources are the texts of this package's own files.
func sources(t *testing.T) (all []string) {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") || name == "text_de.go" {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(b))
	}
	return all
}
