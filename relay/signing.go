package relay

import (
	"maps"
	"sync"
	"time"

	"edgegw/sale"
)

// Signing being down looks like a fault of each sale (422), and must never be
// taken for one (CONTRACT.md section 3, ruling 9).
const (
	signingWindow  = time.Minute // within which several registers must have been refused
	signingSeveral = 3           // or all of them, where the site has fewer
	signingSpread  = 5 * time.Second
)

// signing is what the site knows of OpenFiskal's signing. A refusal of one step
// is only taken back by a success of the same step: while no signature can be
// had, a PATCH, which needs none, goes through as ever.
type signing struct {
	mu      sync.Mutex
	refused map[sale.Step]map[sale.RegisterID]time.Time // since the step's last success
	since   time.Time                                   // zero: it is up, as far as anybody knows
	steps   map[sale.Step]bool                          // that are known to be down
	back    map[sale.RegisterID]time.Time               // whose sales, quarantined since then, are to be taken back
}

func newSigning() signing {
	return signing{refused: map[sale.Step]map[sale.RegisterID]time.Time{}, steps: map[sale.Step]bool{}, back: map[sale.RegisterID]time.Time{}}
}

// refuse notes a 422, with or without fiscal_errors. down says that signing is
// taken to be down, and others which registers were refused for the same reason
// before anybody knew.
func (s *signing) refuse(r sale.RegisterID, step sale.Step, plain bool, registers int, now time.Time) (down bool, others []sale.RegisterID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.refused[step]
	if m == nil {
		m = map[sale.RegisterID]time.Time{}
		s.refused[step] = m
	}
	maps.DeleteFunc(m, func(_ sale.RegisterID, at time.Time) bool { return now.Sub(at) > signingWindow })
	first := now
	for _, at := range m {
		if at.Before(first) {
			first = at
		}
	}
	m[r] = now
	if !plain {
		s.fell(step, first) // it says so itself
		return true, nil
	}
	if len(s.steps) == 0 && (registers < 2 || len(m) < min(signingSeveral, registers)) {
		return false, nil
	}
	if !s.steps[step] {
		s.fell(step, first)
		for id := range m {
			s.back[id] = first
			if id != r {
				others = append(others, id)
			}
		}
	}
	return true, others
}

func (s *signing) fell(step sale.Step, since time.Time) {
	if len(s.steps) == 0 {
		s.since = since
	}
	s.steps[step] = true
}

// succeed notes that a step was confirmed; true if signing was down for it.
func (s *signing) succeed(step sale.Step) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.refused, step)
	if !s.steps[step] {
		return false
	}
	if delete(s.steps, step); len(s.steps) == 0 {
		s.since = time.Time{}
	}
	return true
}

// takeBack gives since when a register's quarantined sales are to be taken back,
// once.
func (s *signing) takeBack(r sale.RegisterID) (since time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	since, ok = s.back[r]
	delete(s.back, r)
	return since, ok
}

// state gives since when signing is down; the zero time means it is not.
func (s *signing) state() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since
}
