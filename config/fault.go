package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that is wrong with the configuration.
type Fault struct {
	Where   string // "edgegw.yaml:3", "EDGEGW_HTTP_LISTEN", "flag http.listen", "default"
	Key     string // "" where the fault is about a whole source
	Problem string // never contains a secret

	rank, line int // order of the list: file by line, then environment, then flags
}

// String is one line: place, key, problem.
func (f Fault) String() string {
	if f.Key == "" || f.Key == f.Where {
		return f.Where + ": " + f.Problem
	}
	return f.Where + ": " + f.Key + ": " + f.Problem
}

// Faults is every Fault of one Load, in the order of the sources.
type Faults []Fault

// Error gives one line for each fault.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].String()
	}
	return strings.Join(lines, "\n")
}

func (f Faults) sorted() Faults {
	slices.SortStableFunc(f, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.line, b.line), cmp.Compare(a.Where, b.Where), cmp.Compare(a.Key, b.Key))
	})
	return f
}

// unknown words the refusal of a key nobody knows. show turns a path into what
// its source would call it.
func unknown(path string, show func(key) string) string {
	return fmt.Sprintf("unknown key; the nearest known key is %s", show(nearest(path)))
}

// nearest finds the known key that a mistyped path most likely meant: the least
// edit distance, where a right last part under a wrong section counts as close.
func nearest(path string) key {
	typed := strings.ToLower(path)
	best, least := known[0], 1<<30
	for _, k := range known {
		d := distance(typed, k.path)
		if leaf := distance(last(typed), last(k.path)) + 2; leaf < d {
			d = leaf
		}
		if d = min(d, wordDistance(typed, k.path)); d < least {
			best, least = k, d
		}
	}
	return best
}

// wordDistance is small where every word of a stands in b, as in openfiskal.url
// for openfiskal.base_url.
func wordDistance(a, b string) int {
	split := func(s string) []string {
		return strings.FieldsFunc(s, func(r rune) bool { return r == '.' || r == '_' || r == '-' })
	}
	typed, words := split(a), split(b)
	for _, w := range typed {
		if !slices.Contains(words, w) {
			return 1 << 30
		}
	}
	return 1 + max(0, len(words)-len(typed))
}

func last(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

// distance counts the insertions, deletions, replacements and swaps of
// neighbours that turn a into b (optimal string alignment). Long input is cut:
// it is no typing error of a key.
func distance(a, b string) int {
	const most = 80
	a, b = a[:min(len(a), most)], b[:min(len(b), most)]
	before, row, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row, next = row, next, before
	}
	return row[len(b)]
}
