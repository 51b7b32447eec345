package fleet

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"edgegw/relay"
)

// Client is how the sites behave.
type Client string

// The three that are compared.
const (
	Product  Client = "edgegw"
	NoJitter Client = "edgegw without jitter"     // each wait is as long as it may be
	Naive    Client = "every 5 s, each by itself" // no state of the uplink, no rate, no heed of Retry-After
)

// naiveWait is what the naive client waits after any failure.
const naiveWait = 5 * time.Second

// Scenario is one run.
type Scenario struct {
	Sites     int
	Registers int           // of each site
	Every     time.Duration // a register sells so often
	Outage    time.Duration // its sales wait when the service comes back
	Lead      time.Duration // so much of the outage is simulated, for the back-off to have grown
	After     time.Duration // and so much of what follows
	Limit     Limit
	PerSecond int // the limit; OpenFiskal's published one is 500
	Client    Client
	Seed      uint64
}

// Answers by what became of a request.
const (
	away    = iota // nothing answered
	refused        // 429 or 503
	taken
	kinds
)

// Result is what one run found. Time 0 is the moment the service comes back;
// its series have one value for each second from Lead before that.
type Result struct {
	Scenario
	Requests [kinds][]int32
	Waiting  []int32 // sales that wait, at the end of each second
	// Live has, for each minute from the service's return, how long the sales took
	// that were accepted in it: the median and the 99th percentile, in seconds.
	// A minute of which a sale was not confirmed in time ends the series.
	Live               [][2]float64
	Drained            []float64 // seconds after the return when each site had worked off its backlog, sorted
	Sold, Confirmed    int64
	Disorder, Repeated int64 // calls out of order; calls that were carried out again
	LeftOver           int64 // sales that waited at the end
}

// fleet is all of one run.
type fleet struct {
	Scenario
	from   time.Time // of the series
	back   time.Time
	mu     sync.Mutex
	counts [kinds][]int32
	line   []int32
	live   [][]float64 // by minute
	open   []int       // sales of each minute that are not confirmed
	owed   []int64     // of each site, sales of its backlog
	over   []float64

	waits, all, ended, disorder atomic.Int64
}

func (f *fleet) sold() {
	f.waits.Add(1)
	f.all.Add(1)
}

// count notes a request that arrived.
func (f *fleet) count(at time.Time, kind int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := int(at.Sub(f.from) / time.Second); i < len(f.counts[kind]) {
		f.counts[kind][i]++
	}
}

// confirmed notes the end of a sale.
func (f *fleet) confirmed(site int, accepted, at time.Time) {
	f.waits.Add(-1)
	f.ended.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if accepted.Before(f.back) {
		if f.owed[site]--; f.owed[site] == 0 {
			f.over = append(f.over, at.Sub(f.back).Seconds())
		}
		return
	}
	if m := int(accepted.Sub(f.back) / time.Minute); m < len(f.live) {
		f.live[m] = append(f.live[m], at.Sub(accepted).Seconds())
		f.open[m]--
	}
}

// accepted notes a sale: it is of the site's backlog until the service is back.
func (f *fleet) accepted(site int, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at.Before(f.back) {
		f.owed[site]++
		return
	}
	if m := int(at.Sub(f.back) / time.Minute); m < len(f.open) {
		f.open[m]++
	}
}

// Run simulates. It must be called in a bubble of testing/synctest: it takes
// Lead and After of its time.
func Run(sc Scenario) Result {
	f := &fleet{Scenario: sc, from: time.Now(), back: time.Now().Add(sc.Lead), owed: make([]int64, sc.Sites)}
	for k := range f.counts {
		f.counts[k] = make([]int32, int((sc.Lead+sc.After)/time.Second))
	}
	minutes := int(sc.After / time.Minute)
	f.live, f.open = make([][]float64, minutes), make([]int, minutes)
	service := newService(f)
	ctx, end := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for no := range sc.Sites {
		s := newSite(f, no)
		f.backlog(s)
		all.Go(func() { f.runSite(ctx, s, service) })
	}
	for range len(f.counts[taken]) {
		time.Sleep(time.Second)
		f.line = append(f.line, int32(f.waits.Load()))
	}
	end()
	all.Wait()
	return f.result(service)
}

// backlog gives a site the sales of the outage before the time that is simulated.
func (f *fleet) backlog(s *site) {
	for _, r := range s.regs {
		first := f.from.Add(-(f.Outage - f.Lead))
		for at := first.Add(s.draw(f.Every)); at.Before(f.from); at = at.Add(f.Every) {
			r.waits = append(r.waits, at)
			f.sold()
		}
		f.owed[s.no] += int64(len(r.waits))
	}
}

// runSite is the life of one site: its queues, and what it sells.
func (f *fleet) runSite(ctx context.Context, s *site, service *service) {
	var all sync.WaitGroup
	defer all.Wait()
	var kick func(*register)
	if f.Client == Naive {
		kick = f.naive(ctx, &all, s, service)
	} else {
		o := relay.Options{Jitter: s.draw}
		if f.Client == NoJitter {
			o.Jitter = func(most time.Duration) time.Duration { return most }
		}
		r := relay.New(o, s, nil, uplink{service, s}, s)
		all.Go(func() { _ = r.Run(ctx) })
		kick = func(of *register) { r.Kick(of.id) }
	}
	f.sell(ctx, s, kick)
}

// sell lets each register sell, at its own moments.
func (f *fleet) sell(ctx context.Context, s *site, kick func(*register)) {
	type next struct {
		at time.Time
		r  *register
	}
	var plan []next
	for _, r := range s.regs {
		plan = append(plan, next{f.from.Add(s.draw(f.Every)), r})
	}
	for {
		slices.SortFunc(plan, func(a, b next) int { return a.at.Compare(b.at) })
		if sleep(ctx, time.Until(plan[0].at)); ctx.Err() != nil {
			return
		}
		now := time.Now()
		f.accepted(s.no, now)
		s.sell(plan[0].r.id, now)
		kick(plan[0].r)
		plan[0].at = plan[0].at.Add(f.Every)
	}
}

// naive has each register try by itself.
func (f *fleet) naive(ctx context.Context, all *sync.WaitGroup, s *site, service *service) (kick func(*register)) {
	wake := map[*register]chan struct{}{}
	for _, r := range s.regs {
		wake[r] = make(chan struct{}, 1)
		first := s.draw(naiveWait)
		all.Go(func() {
			sleep(ctx, first)
			for ctx.Err() == nil {
				h, err := s.Head(ctx, r.id)
				if err != nil {
					select {
					case <-wake[r]:
					case <-ctx.Done():
					}
					continue
				}
				if !naiveTry(ctx, s, service, h.Call) {
					sleep(ctx, naiveWait)
				}
			}
		})
	}
	return func(r *register) {
		select {
		case wake[r] <- struct{}{}:
		default:
		}
	}
}

// result reads off what was counted.
func (f *fleet) result(s *service) Result {
	r := Result{Scenario: f.Scenario, Requests: f.counts, Waiting: f.line, Drained: f.over,
		Sold: f.all.Load(), Confirmed: f.ended.Load(), Disorder: f.disorder.Load(), Repeated: s.twice, LeftOver: f.waits.Load()}
	slices.Sort(r.Drained)
	for m, ages := range f.live {
		if f.open[m] > 0 || len(ages) == 0 {
			break
		}
		slices.Sort(ages)
		r.Live = append(r.Live, [2]float64{ages[len(ages)/2], ages[len(ages)*99/100]})
	}
	return r
}
