package gateway

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"edgegw/health"
)

// group is registers of which the same is to be said.
type group struct {
	names   []string
	waiting int64
	oldest  time.Time
	says    []string // of a single one; empty where the cause is shared
	shared  cause
	do      []string
}

// sentence says how the site is: what waits, why, since when, how the others
// are and what somebody must do.
func (s *siteFacts) sentence() string {
	if s.devices == 0 && s.accepted == 0 {
		return "No device has been added yet: edgegw device add pump-01 --register reg_…"
	}
	var says, do []string
	grave, other := s.grave()
	says = append(says, grave...)
	groups, fine := s.groups()
	if s.running && !s.uplink.Up {
		w := uplinkWords(s.uplink)
		says, do = append(says, fmt.Sprintf("OpenFiskal cannot be reached since %s: %s", timeOf(s.now, s.uplink.Since), w.why)), append(do, w.do)
	}
	if !s.running && !slices.ContainsFunc(groups, func(g group) bool { return g.shared.code == "not_running" }) {
		says, do = append(says, "No gateway runs"), append(do, "Start it: edgegw run")
	}
	for i, g := range groups {
		if i == mostNamed {
			says = append(says, fmt.Sprintf("More is to be told: %s; see edgegw status", enumerate(namesOf(groups[i:]), "devices")))
			break
		}
		says, do = append(says, s.groupWords(g)), append(do, g.do...)
	}
	if len(s.messages) > 0 {
		m := &s.messages[0]
		says = append(says, fmt.Sprintf("%s; the newest is of %s: %s", count(s.refused, "message could not become a sale", "messages could not become sales"), m.Device, refusedFor(m)))
		do = append(do, decide(m.No))
	}
	if len(grave) > 0 {
		return sentences(slices.Concat(says, other, do))
	}
	rest := []string{others(fine, len(s.registers))}
	if fine == len(s.registers) {
		return sentences(slices.Concat(says, rest, do, other))
	}
	return sentences(slices.Concat(says, other, rest, do))
}

// told are the codes of conditions that the rest of the sentence has told.
var told = map[string]bool{"uplink_down": true, "key_refused": true, "key_missing": true, "key_pending": true, "key_request_lost": true, "key_sealed": true, "register_unknown": true, "misconfigured": true,
	"queue_waits": true, "queue_blocked": true, "queue_unreadable": true, "in_doubt": true, "signing_down": true, "sale_quarantined": true, "messages_refused": true}

// grave gives the conditions under which no register is said to be up to date,
// and in other what else calls for attention.
func (s *siteFacts) grave() (grave, other []string) {
	for _, c := range s.conditions {
		switch {
		case c.Severity < health.Attention || told[c.Code]:
		case c.Code == "books_unbalanced" || c.Code == "storage_full" || c.Code == "storage_failed" || c.Code == "kek_missing":
			grave = append(grave, c.Title, c.Remedy)
		case len(other) == 0:
			other = append(other, "Somebody should look: "+c.Title, c.Remedy)
		}
	}
	return grave[:min(len(grave), 2)], other
}

// groups puts together what has one cause, and counts the registers that are up
// to date.
func (s *siteFacts) groups() (groups []group, fine int) {
	for i := range s.registers {
		r := &s.registers[i]
		if s.upToDate(r) {
			fine++
			continue
		}
		says, do := s.words(r)
		if len(says) == 0 {
			continue // a message of its device is told by itself
		}
		g := group{names: r.names(), waiting: r.Waiting, oldest: r.Oldest, says: says, do: do}
		if c := s.cause(r, r.its()); shareable[c.code] && len(says) == 1 && r.Waiting > 0 && !r.Idle {
			g.says, g.shared = nil, c
			g.do = []string{c.do}
		}
		if !joined(groups, g) {
			groups = append(groups, g)
		}
	}
	// What somebody must act on comes first.
	slices.SortStableFunc(groups, func(a, b group) int { return min(1, len(b.do)) - min(1, len(a.do)) })
	return groups, fine
}

// shareable are causes that are no register's own.
var shareable = map[string]bool{"uplink_down": true, "not_running": true, "signing_down": true, "queue_waits": true, "in_doubt": true}

func joined(groups []group, g group) bool {
	for i := range groups {
		have := &groups[i]
		if g.shared.code == "" || have.shared.code != g.shared.code || have.shared.code != "in_doubt" && have.shared.why != g.shared.why {
			continue
		}
		have.names, have.waiting = append(have.names, g.names...), have.waiting+g.waiting
		if g.oldest.Before(have.oldest) {
			have.oldest = g.oldest
		}
		return true
	}
	return false
}

func (s *siteFacts) groupWords(g group) string {
	name := enumerate(g.names, "devices")
	if g.shared.code == "" {
		return name + ": " + strings.Join(g.says, ". ")
	}
	text := name + ": " + count(g.waiting, "sale waits", "sales wait")
	if !g.oldest.IsZero() {
		text += " since " + timeOf(s.now, g.oldest)
	}
	if g.shared.code == "uplink_down" {
		return text + ", and " + count2(g.waiting, "goes out by itself", "go out by themselves") + " when the link is back"
	}
	return text + "; " + g.shared.why
}

func count2(n int64, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func namesOf(groups []group) (names []string) {
	for _, g := range groups {
		names = append(names, g.names...)
	}
	return names
}

// others tells of the registers that are up to date.
func others(fine, all int) string {
	switch {
	case fine == 0:
		return ""
	case fine == all && all == 1:
		return "The register is up to date"
	case fine == all:
		return fmt.Sprintf("All %d registers are up to date", all)
	case fine == 1:
		return "The other register is up to date"
	}
	return fmt.Sprintf("The other %d registers are up to date", fine)
}
