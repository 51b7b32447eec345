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
			c = Check{Check: e.Check, State: Failed, Found: "This could not be looked at.", Fix: reportIt}
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

func (r *report) ok(check, found string)   { r.put(check, OK, found, "") }
func (r *report) skip(check, found string) { r.put(check, Skipped, found, "") }
func (r *report) skipAll(found string, checks ...string) {
	for _, c := range checks {
		r.skip(c, found)
	}
}
func (r *report) notice(check, found, fix string, fill ...string) {
	r.put(check, Notice, found, with(fix, fill...))
}
func (r *report) failed(check, found, fix string, fill ...string) {
	r.put(check, Failed, found, with(fix, fill...))
}

func (r *report) put(check string, s State, found, fix string) {
	r.found[check] = Check{Check: check, State: s, Found: strings.TrimRight(found, ". ") + ".", Fix: fix}
}

// with puts values into the places of a fix: {path} …
func with(fix string, fill ...string) string {
	for i := 0; i+1 < len(fill); i += 2 {
		fix = strings.ReplaceAll(fix, "{"+fill[i]+"}", fill[i+1])
	}
	return fix
}
