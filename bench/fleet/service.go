package fleet

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"edgegw/sale"
)

// Model of the service's answers: OpenFiskal publishes a median below 300 ms and
// 95 % below 1,200 ms (OPENFISKAL.md), which a lognormal distribution has with
// this deviation.
const (
	median = 300 * time.Millisecond
	sigma  = 0.843
	// refusal is how long it takes to learn that nothing answers, or a limit to say no.
	refusal = 20 * time.Millisecond
	// timeout is openfiskal.timeout.
	timeout = 10 * time.Second
	// mostQueued is how long a request may have to wait before the service sheds it.
	mostQueued = 5 * time.Second
	retryAfter = time.Second
)

// Limit is what bounds the service.
type Limit string

// The three that are looked at.
const (
	PerKey Limit = "each key"    // so many a second for each register's key: as published
	Shared Limit = "one for all" // so many for all sites together, 429 with Retry-After: 1 beyond
	Shed   Limit = "sheds"       // works off so many, and answers 503 to what would wait longer than 5 s
)

// service is OpenFiskal as all sites see it together.
type service struct {
	fleet *fleet
	rate  float64 // of its limit

	mu     sync.Mutex
	tokens float64
	at     time.Time
	free   time.Time            // when it has worked off what it has taken on
	open   map[string]sale.Step // the last step of each operation that was carried out and not yet ended
	ended  map[string]bool
	twice  int64 // steps carried out twice
}

func newService(f *fleet) *service {
	rate := float64(f.PerSecond)
	return &service{fleet: f, rate: rate, tokens: rate, at: f.back, open: map[string]sale.Step{}, ended: map[string]bool{}}
}

// latency draws one.
func latency(dice *rand.Rand) time.Duration {
	return time.Duration(float64(median) * math.Exp(sigma*dice.NormFloat64()))
}

// arrive lets one request in, or gives the problem that it ends with; it takes
// the time that it takes.
func (s *service) arrive(ctx context.Context, of *site) *sale.Problem {
	now := time.Now()
	if now.Before(s.fleet.back) {
		s.fleet.count(now, away)
		sleep(ctx, refusal)
		return &sale.Problem{Class: sale.Uplink, Code: "refused"}
	}
	of.mu.Lock()
	takes := latency(of.dice)
	of.mu.Unlock()
	switch wait, ok := s.admit(now); {
	case !ok && s.fleet.Limit == Shed:
		s.fleet.count(now, refused)
		sleep(ctx, refusal)
		return &sale.Problem{Class: sale.Transient, Status: 503, Code: "overloaded"}
	case !ok:
		s.fleet.count(now, refused)
		sleep(ctx, refusal)
		return &sale.Problem{Class: sale.Throttled, Status: 429, Code: "rate_limit_exceeded", RetryAfter: retryAfter}
	default:
		takes += wait
	}
	s.fleet.count(now, taken)
	if takes > timeout {
		sleep(ctx, timeout)
		return &sale.Problem{Class: sale.InDoubt, Code: "timeout"}
	}
	sleep(ctx, takes)
	return nil
}

// admit takes a place for a request; wait is what it has to wait for others.
func (s *service) admit(now time.Time) (wait time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.fleet.Limit {
	case Shared:
		s.tokens = min(s.rate, s.tokens+now.Sub(s.at).Seconds()*s.rate)
		s.at = now
		if s.tokens < 1 {
			return 0, false
		}
		s.tokens--
	case Shed:
		if s.free.Before(now) {
			s.free = now
		}
		if wait = s.free.Sub(now); wait > mostQueued {
			return 0, false
		}
		s.free = s.free.Add(time.Duration(float64(time.Second) / s.rate))
	}
	return wait, true // a register has one request under way: its own key's limit is never met
}

// Do carries a call out.
func (s *service) do(ctx context.Context, of *site, c sale.Call) (sale.Answer, error) {
	if p := s.arrive(ctx, of); p != nil && p.Class != sale.InDoubt {
		return sale.Answer{}, p
	} else if s.carryOut(c); p != nil {
		return sale.Answer{}, p
	}
	return sale.Answer{Status: 200, Operation: c.Operation, ExternalID: c.SaleID, State: stateAfter(c.Step), FiscalState: "succeeded"}, nil
}

func stateAfter(step sale.Step) string {
	if step.Ends() {
		return sale.StateCompleted
	}
	return sale.StateOpen
}

func (s *service) carryOut(c sale.Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended[c.Operation] || s.open[c.Operation] >= c.Step {
		s.twice++ // the idempotency key makes it one
		return
	}
	s.open[c.Operation] = c.Step
	if c.Step.Ends() {
		delete(s.open, c.Operation)
		s.ended[c.Operation] = true
	}
}

// find looks an operation up.
func (s *service) find(ctx context.Context, of *site, c sale.Call) (sale.Answer, error) {
	if p := s.arrive(ctx, of); p != nil {
		return sale.Answer{}, p
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := sale.Answer{Status: 200, Operation: c.Operation, ExternalID: c.SaleID, State: sale.StateOpen, FiscalState: "succeeded"}
	switch {
	case s.ended[c.Operation]:
		a.State = sale.StateCompleted
	case s.open[c.Operation] == 0:
		return sale.Answer{}, sale.ErrNone
	}
	return a, nil
}

// uplink is the service as one site sees it: relay.Service.
type uplink struct {
	service *service
	site    *site
}

func (u uplink) Do(ctx context.Context, c sale.Call) (sale.Answer, error) {
	return u.service.do(ctx, u.site, c)
}

func (u uplink) Find(ctx context.Context, c sale.Call, _ func(string) bool) (sale.Answer, error) {
	return u.service.find(ctx, u.site, c)
}

func (u uplink) List(context.Context, sale.RegisterID, time.Time) ([]sale.Listed, error) {
	return nil, sale.ErrNone
}

func (u uplink) CloseIdle() {}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
