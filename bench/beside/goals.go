package main

import (
	"fmt"
	"strings"
)

// goal is a ratio that the product is to reach beside a peer.
type goal struct {
	cases  []string
	figure figure
	what   string
	peer   string
	least  bool // the ratio is to be at least the limit; else at most
	limit  float64
}

var goals = []goal{
	{[]string{"100x1", "1000x1", "100x16"}, perSecond, "rate ÷ raw log", raw, true, 0.75},
	{[]string{"100x1", "1000x1", "100x16"}, perSecond, "rate ÷ NATS `always`", always, true, 8},
	{[]string{"100x1", "1000x1", "100x16"}, perSecond, "rate ÷ plain mochi", mochi, true, 0.4},
	{[]string{"open50", "open500"}, p50, "p50 ÷ raw log", raw, false, 1.25},
	{[]string{"open50", "open500"}, p99, "p99 ÷ raw log", raw, false, 1.5},
	{[]string{"open50", "open500"}, p99, "p99 ÷ NATS `always`", always, false, 1},
}

// goals prints which of the goals are met, as far as they were measured.
func (r *Report) goals(b *strings.Builder) {
	var rows []string
	for _, g := range goals {
		for _, key := range g.cases {
			for _, c := range r.Cases {
				ours, known := c.row(product)
				theirs, beside := c.row(g.peer)
				if c.Name == key && known && beside {
					rows = append(rows, g.judge(c.load().title()+" ("+c.Disk+")", ratio(ours, theirs, g.figure)))
				}
			}
		}
	}
	if one, hundred, measured := r.alone(); measured {
		g := goal{what: "rate of one device × 64 ÷ 100 devices × 1", least: true, limit: 0.4}
		rows = append(rows, g.judge("edgegw alone", ratio(one, hundred, perSecond)))
	}
	if len(rows) > 0 {
		fmt.Fprintf(b, "\n| goal | where | measured | |\n|---|---|---|---|\n%s", strings.Join(rows, ""))
	}
}

// alone gives the product's own rows of one device and of a hundred.
func (r *Report) alone() (one, hundred Row, measured bool) {
	var first, second bool
	for _, c := range r.Cases {
		switch c.Name {
		case "1x64":
			one, first = c.row(product)
		case "100x1":
			hundred, second = c.row(product)
		}
	}
	return one, hundred, first && second
}

func (g goal) judge(where string, s spread) string {
	sign, met := "≤", s.mid <= g.limit
	if g.least {
		sign, met = "≥", s.mid >= g.limit
	}
	verdict := "**missed**"
	if met {
		verdict = "met"
	}
	return fmt.Sprintf("| %s %s %v | %s | %s | %s |\n", g.what, sign, g.limit, where, s, verdict)
}
