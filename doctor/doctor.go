// Package doctor judges how a site is: facts go in, and for each thing that a
// technician could mend comes out whether it is well, what was found, and what to
// do. It promises that every check of the catalogue is answered every time, be it
// with "skipped" and why, and that what is not well never comes without its fix.
// It looks at nothing itself.
package doctor

import (
	"cmp"
	"slices"
	"strings"

	"edgegw/wording"
)

// State is how a check ended.
type State string

// The states. Only Failed needs somebody.
const (
	Failed  State = "failed"
	Notice  State = "notice" // worth knowing; nothing is at risk now
	Skipped State = "skipped"
	OK      State = "ok"
)

// Check is one thing that was looked at, as every listing shows it.
type Check struct {
	Check string `json:"check"` // stable
	Title string `json:"title"`
	State State  `json:"state"`
	Found string `json:"found"`         // a fact, in one sentence
	Fix   string `json:"fix,omitempty"` // what to do, as a sentence that may end in a command; empty where all is well

	// What the two are made of, for whoever says it in another language: a fix of the
	// catalogue, and in Fill what its places hold, by name.
	FoundWords wording.Sentence `json:"-"`
	FixOf      string           `json:"-"`
	Fill       []string         `json:"-"`
}

// Examine judges all facts: every check of the catalogue once, those that failed
// first, otherwise in the catalogue's order.
func Examine(f Facts) []Check {
	found := map[string]Check{}
	r := &report{found}
	f.data(r)
	f.database(r)
	f.time(r)
	f.network(r)
	f.keys(r)
	f.sales(r)
	f.mqtt(r)
	f.certificates(r)
	f.box(r)
	f.site(r)
	all := make([]Check, 0, len(Catalogue))
	for _, e := range Catalogue {
		c, ok := found[e.Check]
		if !ok { // nobody may take silence for health
			c = Check{Check: e.Check, State: Failed, Found: "This could not be looked at.", Fix: reportIt, FoundWords: wording.Of("This could not be looked at"), FixOf: reportIt}
		}
		c.Title = e.Title
		all = append(all, c)
	}
	slices.SortStableFunc(all, func(a, b Check) int { return cmp.Compare(order[a.State], order[b.State]) })
	return all
}

var order = map[State]int{Failed: 0, Notice: 1, Skipped: 2, OK: 3}

// NeedsSomebody reports whether a check has failed.
func NeedsSomebody(all []Check) bool {
	return slices.ContainsFunc(all, func(c Check) bool { return c.State == Failed })
}

type report struct{ found map[string]Check }

func (r *report) ok(check, found string, values ...any) {
	r.put(check, OK, wording.Of(found, values...), "")
}
func (r *report) well(check string, found wording.Sentence) { r.put(check, OK, found, "") }
func (r *report) skip(check, found string, values ...any) {
	r.put(check, Skipped, wording.Of(found, values...), "")
}
func (r *report) skipAll(found wording.Sentence, checks ...string) {
	for _, c := range checks {
		r.put(c, Skipped, found, "")
	}
}
func (r *report) notice(check string, found wording.Sentence, fix string, fill ...string) {
	r.put(check, Notice, found, fix, fill...)
}
func (r *report) failed(check string, found wording.Sentence, fix string, fill ...string) {
	r.put(check, Failed, found, fix, fill...)
}

func (r *report) put(check string, s State, found wording.Sentence, fix string, fill ...string) {
	r.found[check] = Check{Check: check, State: s, Found: strings.TrimRight(found.String(), ". ") + ".", Fix: With(fix, fill...), FoundWords: found, FixOf: fix, Fill: fill}
}

// With puts values into the places of a fix: {path} …
func With(fix string, fill ...string) string {
	for i := 0; i+1 < len(fill); i += 2 {
		fix = strings.ReplaceAll(fix, "{"+fill[i]+"}", fill[i+1])
	}
	return fix
}
