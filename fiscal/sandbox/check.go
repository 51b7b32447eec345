package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"sort"
)

// Expect is one sale that must be there. Give the sales of a register in the
// order in which they began.
type Expect struct {
	Register   string
	ExternalID string
	Total      int64 // minor units; not looked at for a cancelled sale
	Cancelled  bool
}

func (e Expect) state() string {
	if e.Cancelled {
		return stateCancelled
	}
	return stateCompleted
}

// Check compares what the service holds with what it should hold: each sale
// exactly once, ended as expected, with its money, in order per register, and
// nothing else. The error lists every deviation, one per line.
func (s *Service) Check(expected []Expect) error {
	want := map[string][]Expect{}
	for _, e := range expected {
		want[e.Register] = append(want[e.Register], e)
	}
	have := map[string][]Operation{}
	for _, o := range s.Operations("") {
		have[o.Register] = append(have[o.Register], o)
	}
	names := map[string]bool{}
	for r := range want {
		names[r] = true
	}
	for r := range have {
		names[r] = true
	}
	var errs []error
	for _, r := range sorted(names) {
		errs = append(errs, checkRegister(r, want[r], have[r])...)
	}
	return errors.Join(errs...)
}

func checkRegister(register string, want []Expect, have []Operation) []error {
	var errs []error
	fault := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf(register+": "+format, args...))
	}
	byID := map[string][]Operation{}
	for _, o := range have {
		byID[o.ExternalID] = append(byID[o.ExternalID], o)
	}
	expected := map[string]bool{}
	for _, e := range want {
		if expected[e.ExternalID] {
			fault("%s: expected twice", e.ExternalID)
			continue
		}
		expected[e.ExternalID] = true
		found := byID[e.ExternalID]
		switch len(found) {
		case 0:
			fault("%s: lost", e.ExternalID)
			continue
		case 1:
		default:
			fault("%s: %d operations, want one", e.ExternalID, len(found))
		}
		for _, o := range found {
			if o.State != e.state() {
				fault("%s: %s is %s, want %s", e.ExternalID, o.ID, o.State, e.state())
			} else if !e.Cancelled && o.Total != e.Total {
				fault("%s: %s has total %d, want %d", e.ExternalID, o.ID, o.Total, e.Total)
			}
		}
	}
	for _, o := range have {
		if !expected[o.ExternalID] {
			fault("%s: not expected: %s (%s, %d)", o.ExternalID, o.ID, o.State, o.Total)
		}
	}
	return append(errs, checkOrder(register, want, have)...)
}

// checkOrder compares the order of first starts of the sales that are in both.
func checkOrder(register string, want []Expect, have []Operation) []error {
	there, wanted := map[string]bool{}, map[string]bool{}
	for _, e := range want {
		wanted[e.ExternalID] = true
	}
	var got, exp []string
	for _, o := range have {
		if wanted[o.ExternalID] && !there[o.ExternalID] {
			there[o.ExternalID] = true
			got = append(got, o.ExternalID)
		}
	}
	for _, e := range want {
		if there[e.ExternalID] {
			exp = append(exp, e.ExternalID)
			there[e.ExternalID] = false
		}
	}
	for i := range got {
		if got[i] != exp[i] {
			return []error{fmt.Errorf("%s: reordered: %s came at place %d, want %s", register, got[i], i+1, exp[i])}
		}
	}
	return nil
}

// CheckFrozen proves that requests are sent unchanged: for every idempotency
// key all requests that arrived carried the same method, path and body.
func (s *Service) CheckFrozen() error {
	s.mu.Lock()
	forgotten := s.forgotten
	s.mu.Unlock()
	first := map[string]Request{}
	var errs []error
	if forgotten > 0 {
		errs = append(errs, fmt.Errorf("%d requests are forgotten: raise Options.KeepRequests", forgotten))
	}
	for _, r := range s.Requests() {
		if r.IdempotencyKey == "" || r.Method == http.MethodGet || r.Outcome == "connection refused" || r.Outcome == "body not read" {
			continue // the body of a refused connection was never read
		}
		f, seen := first[r.IdempotencyKey]
		switch {
		case !seen:
			first[r.IdempotencyKey] = r
		case f.Method != r.Method || f.Path != r.Path:
			errs = append(errs, fmt.Errorf("idempotency key %s: request %d is %s %s, request %d is %s %s",
				r.IdempotencyKey, f.Number, f.Method, f.Path, r.Number, r.Method, r.Path))
		case !bytes.Equal(f.Body, r.Body):
			errs = append(errs, fmt.Errorf("idempotency key %s: the bodies of requests %d and %d differ", r.IdempotencyKey, f.Number, r.Number))
		}
	}
	return errors.Join(errs...)
}

// Effect is one request that changed something.
type Effect struct {
	Step       Step
	ExternalID string
	Operation  string
}

// Effects lists, for one register, the requests that changed something, in the
// order in which they did: what the order of a queue is compared with. Replays
// and refusals are not in it.
func (s *Service) Effects(register string) []Effect {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Effect{}, s.effects[register]...)
}

func sorted(set map[string]bool) []string {
	out := make([]string, 0, len(set))
	for k := range set {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
