package gateway

import (
	"slices"
	"time"

	"edgegw/health"
	"edgegw/wording"
)

// group is registers of which the same is to be said.
type group struct {
	names   []wording.Sentence
	waiting int64
	oldest  time.Time
	says    []wording.Sentence // of a single one; empty where the cause is shared
	shared  cause
	do      []wording.Sentence
}

// sentence says how the site is: what waits, why, since when, how the others
// are and what somebody must do.
func (s *siteFacts) sentence() wording.Sentence {
	if s.devices == 0 && s.accepted == 0 {
		return wording.Of("No device has been added yet: edgegw device add pump-01 --register reg_…")
	}
	var says, do []wording.Sentence
	grave, other := s.grave()
	says = append(says, grave...)
	groups, fine := s.groups()
	if s.running && !s.uplink.Up {
		w := uplinkWords(s.uplink)
		says, do = append(says, wording.Of("OpenFiskal cannot be reached since %s: %s", timeOf(s.now, s.uplink.Since), w.why)), append(do, w.do)
	}
	if !s.running && !slices.ContainsFunc(groups, func(g group) bool { return g.shared.code == "not_running" }) {
		says, do = append(says, wording.Of("No gateway runs")), append(do, wording.Of("Start it: edgegw run"))
	}
	for i, g := range groups {
		if i == mostNamed {
			says = append(says, wording.Of("More is to be told: %s; see edgegw status", enumerate(namesOf(groups[i:]), moreDevices)))
			break
		}
		says, do = append(says, s.groupWords(g)), append(do, g.do...)
	}
	if len(s.messages) > 0 {
		m := &s.messages[0]
		says = append(says, wording.Of("%s; the newest is of %s: %s", messageWords(s.refused), string(m.Device), whyHeld(m)))
		do = append(do, decide(m.No))
	}
	if len(grave) > 0 {
		return ended(slices.Concat(says, other, do))
	}
	rest := []wording.Sentence{others(fine, len(s.registers))}
	if fine == len(s.registers) {
		return ended(slices.Concat(says, rest, do, other))
	}
	return ended(slices.Concat(says, other, rest, do))
}

// told are the codes of conditions that the rest of the sentence has told.
var told = map[string]bool{"uplink_down": true, "key_refused": true, "key_missing": true, "key_pending": true, "key_request_lost": true, "key_sealed": true, "register_unknown": true, "misconfigured": true,
	"queue_waits": true, "queue_blocked": true, "queue_unreadable": true, "in_doubt": true, "signing_down": true, "sale_quarantined": true, "messages_refused": true}

// grave gives the conditions under which no register is said to be up to date,
// and in other what else calls for attention.
func (s *siteFacts) grave() (grave, other []wording.Sentence) {
	for _, c := range s.conditions {
		title, remedy := conditionWords(c)
		switch {
		case c.Severity < health.Attention || told[c.Code]:
		case c.Code == "books_unbalanced" || c.Code == "storage_full" || c.Code == "storage_failed" || c.Code == "kek_missing":
			grave = append(grave, title, remedy)
		case len(other) == 0:
			other = append(other, wording.Of("Somebody should look: %s", title), remedy)
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
			g.do = []wording.Sentence{c.do}
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
		if g.shared.code == "" || have.shared.code != g.shared.code || have.shared.code != "in_doubt" && have.shared.why.String() != g.shared.why.String() {
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

func (s *siteFacts) groupWords(g group) wording.Sentence {
	name, wait := enumerate(g.names, moreDevices), s.waitSince(g.waiting, g.oldest)
	switch {
	case g.shared.code == "":
		return wording.Of("%s: %s", name, stops(g.says))
	case g.shared.code == "uplink_down" && g.waiting == 1:
		return wording.Of("%s: %s, and goes out by itself when the link is back", name, wait)
	case g.shared.code == "uplink_down":
		return wording.Of("%s: %s, and go out by themselves when the link is back", name, wait)
	}
	return wording.Of("%s: %s; %s", name, wait, g.shared.why)
}

// conditionWords are what holds and what to do. Without words it is a quotation.
func conditionWords(c health.Condition) (title, remedy wording.Sentence) {
	title, remedy = c.TitleWords, c.RemedyWords
	if title.Empty() {
		title = quoted(c.Title)
	}
	if remedy.Empty() {
		remedy = quoted(c.Remedy)
	}
	return title, remedy
}

func messageWords(n int64) wording.Sentence {
	return oneOrMore(n, "%d message could not become a sale", "%d messages could not become sales")
}

func namesOf(groups []group) (names []wording.Sentence) {
	for _, g := range groups {
		names = append(names, g.names...)
	}
	return names
}

// others tells of the registers that are up to date.
func others(fine, all int) wording.Sentence {
	switch {
	case fine == 0:
		return wording.Sentence{}
	case fine == all && all == 1:
		return wording.Of("The register is up to date")
	case fine == all:
		return wording.Of("All %d registers are up to date", all)
	case fine == 1:
		return wording.Of("The other register is up to date")
	}
	return wording.Of("The other %d registers are up to date", fine)
}
