// Package fleet simulates what many sites do to one OpenFiskal after a common
// outage, on paper's scale and with the product's own relay: 5,000 of them, on
// simulated time, each with a journal in memory in place of the disk. It says
// what the service sees and what a sale waits; it proves nothing about one site,
// which the tests of gateway do with real disks and sockets.
package fleet

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"edgegw/relay"
	"edgegw/sale"
)

// callsOf are the requests that one sale takes.
var callsOf = [...]sale.Step{sale.StepStart, sale.StepUpdate, sale.StepComplete}

// register is the queue of one register: its sales in order, and how far the
// first of them has come.
type register struct {
	id       sale.RegisterID
	waits    []time.Time // when each was accepted
	done     int64       // sales confirmed: the number of the first that waits
	step     int         // of it, the call that is next
	doubt    time.Time   // of that call: it may have been carried out
	attempts int
}

// site is what relay asks of a disk and of a roster, for one site.
type site struct {
	fleet *fleet
	no    int

	mu   sync.Mutex
	regs map[sale.RegisterID]*register
	dice *rand.Rand
}

var (
	_ relay.Journal = (*site)(nil)
	_ relay.Roster  = (*site)(nil)
	_ relay.Service = uplink{}
)

func newSite(f *fleet, no int) *site {
	s := &site{fleet: f, no: no, regs: map[sale.RegisterID]*register{}, dice: rand.New(rand.NewPCG(f.Seed, uint64(no)))}
	for i := range f.Registers {
		id := sale.RegisterID("r" + strconv.Itoa(no) + "-" + strconv.Itoa(i))
		s.regs[id] = &register{id: id}
	}
	return s
}

// draw is the relay's jitter, and the latency's chance.
func (s *site) draw(most time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if most <= 0 {
		return 0
	}
	return time.Duration(s.dice.Int64N(int64(most)))
}

// sell accepts a sale.
func (s *site) sell(id sale.RegisterID, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.regs[id]
	r.waits = append(r.waits, at)
	s.fleet.sold()
}

// call gives the call of the register's first sale that stands at a step.
func (r *register) call(step int) sale.Call {
	no := strconv.FormatInt(r.done, 10)
	return sale.Call{Event: r.done, Index: step, Last: step == len(callsOf)-1, Register: r.id, SaleID: no, Step: callsOf[step],
		Operation: string(r.id) + "/" + no}
}

// Head is relay.Journal's.
func (s *site) Head(_ context.Context, id sale.RegisterID) (sale.Head, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.regs[id]
	if len(r.waits) == 0 {
		return sale.Head{}, sale.ErrNone
	}
	h := sale.Head{Call: r.call(r.step), Accepted: r.waits[0]}
	h.InDoubtSince, h.Attempts = r.doubt, r.attempts
	for i := r.step + 1; i < len(callsOf); i++ {
		h.Rest = append(h.Rest, r.call(i))
	}
	return h, nil
}

// Begin is relay.Journal's.
func (s *site) Begin(_ context.Context, a sale.Attempt) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.regs[a.Call.Register].begin(a)
	return nil
}

func (r *register) begin(a sale.Attempt) {
	if r.doubt.IsZero() {
		r.doubt = a.At
	}
	r.attempts++
}

// Settle is relay.Journal's.
func (s *site) Settle(_ context.Context, o sale.Outcome) (sale.DeviceID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.regs[o.Call.Register]
	if o.Call.Event != r.done || o.Call.Index != r.step {
		s.fleet.disorder.Add(1)
		return "", sale.ErrNone
	}
	if o.Answer == nil {
		if !o.InDoubt {
			r.doubt = time.Time{}
		}
		return "", nil
	}
	r.doubt, r.attempts = time.Time{}, 0
	if r.step++; r.step == len(callsOf) {
		s.fleet.confirmed(s.no, r.waits[0], o.At)
		r.step, r.done, r.waits = 0, r.done+1, r.waits[1:]
	}
	if o.Then != nil {
		r.begin(*o.Then)
	}
	return "", nil
}

// WithWork is relay.Journal's.
func (s *site) WithWork(context.Context) (ids []sale.RegisterID, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, r := range s.regs {
		if len(r.waits) > 0 {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Device and Registers are relay.Roster's.
func (s *site) Device(sale.DeviceID) (sale.Device, bool) { return sale.Device{}, false }
func (s *site) Registers() int                           { return len(s.regs) }

// What follows of relay.Journal is not met: nothing is refused for good, nothing
// is pending, nothing was put back from a backup.

func (s *site) Append(_ context.Context, _ sale.Entry, done func(sale.Accepted, error)) {
	done(sale.Accepted{}, sale.ErrNone)
}

func (s *site) Refuse(_ context.Context, _ sale.Refusal, done func(sale.Accepted, error)) {
	done(sale.Accepted{}, sale.ErrNone)
}

func (s *site) Currency(context.Context, sale.DeviceID, string) (string, error) {
	return "", sale.ErrNone
}

func (s *site) Reinstate(context.Context, sale.RegisterID, time.Time, time.Time, string) (int, error) {
	return 0, nil
}

func (s *site) Pending(context.Context, int) ([]sale.Pending, error) { return nil, nil }

func (s *site) SettleFiscal(context.Context, sale.Pending, sale.Answer, time.Time) (sale.DeviceID, error) {
	return "", sale.ErrNone
}

func (s *site) Foreign(context.Context, sale.Call) (map[string]bool, error) { return nil, nil }

func (s *site) ReadBack(context.Context, sale.RegisterID, []sale.Listed, bool) error { return nil }

func (s *site) Sent(context.Context, sale.Call) (sale.Sent, error) { return sale.Sent{}, nil }
