package store

import (
	"context"
	"slices"
	"sort"
	"time"

	"edgegw/sale"
)

// Outage is a time in which OpenFiskal could not be reached, as far as attempts
// tell: while nothing was to be sent, nobody noticed.
type Outage struct {
	Began      time.Time // the first attempt that could not be sent
	LastFailed time.Time
	Ended      time.Time // the first answer after it; zero if there was none yet
	Attempts   int64     // that could not be sent, at least: the journal counts those of a call together
	Registers  int64     // that tried
	Cause      string    // of the first one
}

// unsent is an attempt that could not be sent, or several of one call: when the
// first and the last was made.
type unsent struct {
	at, last, times, register int64
	cause                     string
}

// Outages gives those that lie in a period or reach into it, the oldest first. They
// are derived from attempts that could not be sent and from answers of any kind.
func (s *Snapshot) Outages(ctx context.Context, p Period) ([]Outage, error) {
	var failed []unsent
	err := s.each(ctx, `SELECT a.at, a.last_at, a.times, e.register, a.detail FROM attempt a JOIN event e ON e.no = a.event WHERE a.class = ? ORDER BY a.at, a.no`,
		func(scan func(...any) error) error {
			var u unsent
			err := scan(&u.at, &u.last, &u.times, &u.register, &u.cause)
			failed = append(failed, u)
			return err
		}, int64(sale.Uplink))
	if err != nil {
		return nil, err
	}
	g := newGaps(failed)
	err = s.each(ctx, `SELECT at FROM answer UNION ALL SELECT at FROM attempt WHERE status > 0 UNION ALL SELECT last_at FROM attempt WHERE status > 0`,
		func(scan func(...any) error) error {
			var at int64
			err := scan(&at)
			g.answered(at)
			return err
		})
	all := g.outages(failed)
	return slices.DeleteFunc(all, func(o Outage) bool {
		return !o.Began.Before(p.To) || !o.Ended.IsZero() && !o.Ended.After(p.From)
	}), err
}

// gaps are the times between failures, each with the first answer in it.
type gaps struct {
	failures []int64 // sorted, each once
	first    []int64 // answers[i] came after failures[i] and before the next one; 0: none
}

func newGaps(failed []unsent) *gaps {
	g := &gaps{}
	for _, u := range failed {
		g.failures = append(g.failures, u.at, u.last)
	}
	slices.Sort(g.failures)
	g.failures = slices.Compact(g.failures)
	g.first = make([]int64, len(g.failures))
	return g
}

// index of the last failure that is not after at; -1: none.
func (g *gaps) index(at int64) int {
	return sort.Search(len(g.failures), func(i int) bool { return g.failures[i] > at }) - 1
}

func (g *gaps) answered(at int64) {
	if i := g.index(at); i >= 0 && (g.first[i] == 0 || at < g.first[i]) {
		g.first[i] = at
	}
}

// outages are runs of failures without an answer between them.
func (g *gaps) outages(failed []unsent) (all []Outage) {
	of := make([]int, len(g.failures)) // by failure: its outage
	for i, at := range g.failures {
		if i == 0 || g.first[i-1] != 0 {
			all = append(all, Outage{Began: instant(at)})
		}
		o := &all[len(all)-1]
		o.LastFailed, o.Ended = instant(at), instant(g.first[i])
		of[i] = len(all) - 1
	}
	tried := map[[2]int64]bool{}
	for _, u := range failed {
		from, to := of[g.index(u.at)], of[g.index(u.last)]
		o := &all[from]
		if o.Cause == "" {
			o.Cause = u.cause
		}
		o.Attempts += u.times
		if from != to { // some of them were made then, and nobody counted how many
			o.Attempts -= u.times - 1
			all[to].Attempts++
		}
		for _, x := range []int{from, to} {
			if key := [2]int64{int64(x), u.register}; !tried[key] {
				tried[key] = true
				all[x].Registers++
			}
		}
		if all[to].Cause == "" {
			all[to].Cause = u.cause
		}
	}
	return all
}
