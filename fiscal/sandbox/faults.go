package sandbox

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Step says what a request is for, in the words of the sale's life.
type Step string

const (
	StepAny      Step = "any" // also ""
	StepStart    Step = "start"
	StepUpdate   Step = "update"
	StepComplete Step = "complete"
	StepCancel   Step = "cancel"
	StepLookup   Step = "lookup"   // GET of a sale or of a register's sales or operations
	StepProbe    Step = "probe"    // GET of a register
	StepReceipt  Step = "receipt"  // GET of a receipt
	StepPlatform Step = "platform" // everything that needs the platform key
	StepUnknown  Step = "unknown"  // no such path
)

// Action is what a fault does to a request.
type Action string

const (
	Pass              Action = "pass"                // processed and answered; for Before and After
	Refuse            Action = "refuse"              // no connection; over real HTTP it is closed unread
	DropRequest       Action = "drop_request"        // read, not processed, connection cut
	DropAnswer        Action = "drop_answer"         // processed, connection cut before the answer
	CutAnswer         Action = "cut_answer"          // processed, connection cut in half the body
	Answer            Action = "answer"              // not processed; Status, Header, Body
	ProcessThenAnswer Action = "process_then_answer" // processed; then Status, Header, Body all the same
	Garbage           Action = "garbage"             // not processed; 200 with half a JSON, and no sign of a cut
	Empty             Action = "empty"               // not processed; 200 without a body
	CaptivePortal     Action = "captive_portal"      // not processed; 200 with an HTML page
	Redirect          Action = "redirect"            // not processed; Status (307) to Location
	Throttle          Action = "throttle"            // not processed; 429 with RetryAfter
	SigningDown       Action = "signing_down"        // not processed; 422 with fiscal_errors
	Pend              Action = "pend"                // processed; fiscal_state pending for PendFor, then PendTo
)

var actions = []Action{Pass, Refuse, DropRequest, DropAnswer, CutAnswer, Answer, ProcessThenAnswer,
	Garbage, Empty, CaptivePortal, Redirect, Throttle, SigningDown, Pend}

// Fault is one rule. The first rule that matches a request acts on it. Empty
// match fields match everything.
type Fault struct {
	Method   string
	Step     Step
	Register string
	Skip     int // let so many matching requests pass first
	Times    int // act so many times, then vanish; 0 means until removed
	Percent  int // act on so many of a hundred; 0 means on all

	Action Action        // "" means Pass
	Before time.Duration // wait before processing; a client that gives up meanwhile was not processed
	After  time.Duration // wait between processing and the answer

	Status     int // Answer, ProcessThenAnswer: 0 means 500; Redirect: 0 means 307
	Header     map[string]string
	Body       string // "" means an error envelope for a status from 400
	Cut        bool   // Answer: the connection is cut in half the body
	Location   string
	RetryAfter string // verbatim, also nonsense; "" sends no such header
	PendFor    time.Duration
	PendTo     string // succeeded (also "") or failed
}

type rule struct {
	Fault
	id   int
	seen int
	hits int
}

// FaultState is a rule in force.
type FaultState struct {
	ID   int // for Remove
	Hits int // how often it acted
	Fault
}

// Inject adds a rule behind those in force and gives its id. It panics on an
// action that does not exist: a fault that does nothing proves nothing.
func (s *Service) Inject(f Fault) int {
	if f.Action == "" {
		f.Action = Pass
	}
	if err := f.check(); err != nil {
		panic("sandbox: " + err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faultNo++
	s.faults = append(s.faults, &rule{Fault: f, id: s.faultNo})
	return s.faultNo
}

func (f Fault) check() error {
	steps := []Step{"", StepAny, StepStart, StepUpdate, StepComplete, StepCancel, StepLookup, StepProbe, StepReceipt, StepPlatform, StepUnknown}
	switch {
	case !slices.Contains(actions, f.Action):
		return fmt.Errorf("inject fault: no action %q", f.Action)
	case !slices.Contains(steps, f.Step):
		return fmt.Errorf("inject fault: no step %q", f.Step)
	case f.Percent < 0 || f.Percent > 100:
		return fmt.Errorf("inject fault: percent %d is not 0..100", f.Percent)
	case f.Status != 0 && (f.Status < 200 || f.Status > 999):
		return fmt.Errorf("inject fault: status %d is not 200..999", f.Status)
	case f.Skip < 0 || f.Times < 0 || f.Before < 0 || f.After < 0 || f.PendFor < 0:
		return fmt.Errorf("inject fault: a negative number")
	case f.Cut && f.Action != Answer:
		return fmt.Errorf("inject fault: cut goes with the action %s", Answer)
	case f.PendTo != "" && f.PendTo != fiscalSucceeded && f.PendTo != fiscalFailed:
		return fmt.Errorf("inject fault: pend_to %q is not succeeded or failed", f.PendTo)
	}
	return nil
}

// Remove takes a rule away and reports whether it was in force.
func (s *Service) Remove(id int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.faults)
	s.faults = slices.DeleteFunc(s.faults, func(r *rule) bool { return r.id == id })
	return len(s.faults) < before
}

// ClearFaults takes all rules away. Latency and the uplink stay as they are.
func (s *Service) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Faults lists the rules in force, in the order in which they are tried.
func (s *Service) Faults() []FaultState {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]FaultState, 0, len(s.faults))
	for _, r := range s.faults {
		out = append(out, FaultState{ID: r.id, Hits: r.hits, Fault: r.Fault})
	}
	return out
}

// pick finds the rule that acts on a request; the zero Fault passes. The caller
// holds the lock.
func (s *Service) pick(method string, step Step, register string) Fault {
	for i, r := range s.faults {
		if r.Method != "" && r.Method != method || r.Register != "" && r.Register != register ||
			r.Step != "" && r.Step != StepAny && r.Step != step {
			continue
		}
		if r.seen++; r.seen <= r.Skip {
			continue
		}
		if r.Percent > 0 && s.opt.Rand(100) >= r.Percent {
			continue
		}
		r.hits++
		if r.Times > 0 && r.hits >= r.Times {
			s.faults = slices.Delete(s.faults, i, i+1)
		}
		return r.Fault
	}
	return Fault{Action: Pass}
}

// processes reports whether the request takes effect under this fault.
func (f Fault) processes() bool {
	switch f.Action {
	case Pass, DropAnswer, CutAnswer, ProcessThenAnswer, Pend:
		return true
	}
	return false
}

// canned is the answer of an action that does not come from the service.
func (f Fault) canned(requestID string) answer {
	a := answer{status: f.Status, header: http.Header{}, body: []byte(f.Body)}
	a.header.Set("Content-Type", "application/json")
	a.header.Set(headerRequestID, requestID)
	envelope := fail{code: "injected_fault", message: "This answer was asked for by a fault rule."}
	switch f.Action {
	case Garbage:
		a.status, a.body = http.StatusOK, []byte(`{"id":"op_01HX`)
	case Empty:
		a.status, a.body = http.StatusOK, nil
	case CaptivePortal:
		a.status, a.body = http.StatusOK, []byte("<!DOCTYPE html><html><title>Welcome</title><body>Please accept the terms of this network.</body></html>\n")
		a.header.Set("Content-Type", "text/html; charset=utf-8")
	case Redirect:
		if a.status == 0 {
			a.status = http.StatusTemporaryRedirect
		}
		a.header.Set("Location", f.Location)
	case Throttle:
		a.status = http.StatusTooManyRequests
		envelope = fail{code: "rate_limit_exceeded", message: "Too many requests."}
	case SigningDown:
		a.status = http.StatusUnprocessableEntity
		envelope = fail{code: "fiscalization_failed", message: "The signing service cannot be reached.",
			fiscal: []fiscalError{{Code: "tse_unreachable", Message: "The TSE does not answer.", Jurisdiction: "DE"}}}
	default:
		if a.status == 0 {
			a.status = http.StatusInternalServerError
		}
	}
	if f.RetryAfter != "" {
		a.header.Set("Retry-After", f.RetryAfter)
	}
	if a.status >= 400 && len(a.body) == 0 {
		envelope.status = a.status
		a.body = envelope.envelope(requestID)
	}
	for k, v := range f.Header {
		a.header.Set(k, v)
	}
	a.header.Set("X-Sandbox-Fault", string(f.Action)+" "+strconv.Itoa(a.status))
	return a
}
