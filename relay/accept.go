package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"edgegw/sale"
)

// Accept takes one event: it understands, checks and renders it here, on the
// connection's goroutine, and gives it to the journal. The verdict comes on
// the channel once the journal's commit is synced or has failed. Accept blocks
// while the journal is busy: that is the back-pressure.
//
// The messages of one device must come in the order it sent them.
func (r *Relay) Accept(ctx context.Context, m sale.Message) <-chan sale.Verdict {
	out := make(chan sale.Verdict, 1)
	ack := sale.Ack{Event: m.Kind, AcceptedAt: m.Received, Uplink: r.uplink.word()}
	device, ok := r.roster.Device(m.Device)
	if !ok {
		out <- sale.Verdict{Err: fmt.Errorf("accept an event of %s: this device is unknown", m.Device)}
		return out
	}
	event, fault := sale.Parse(m.Kind, m.Payload)
	ack.SaleID = event.SaleID
	if event.HasSeq {
		seq := event.Seq
		ack.Seq = &seq
	}
	currency, begun := event.Currency, false
	if fault == nil && currency == "" {
		var err error
		if currency, begun, fault, err = r.currency(ctx, m.Device, event); err != nil {
			out <- sale.Verdict{Err: err}
			return out
		}
	}
	if fault != nil {
		r.journal.Refuse(ctx, sale.Refusal{Message: m, SaleID: event.SaleID, Status: sale.Quarantined, Fault: fault,
			Seq: event.Seq, HasSeq: event.HasSeq}, r.answer(out, ack))
		return out
	}
	entry := r.entry(m, event, device, currency)
	entry.Begun = begun
	done := r.answer(out, ack)
	if event.Kind == sale.Start {
		key, tell := saleKey{m.Device, event.SaleID}, done
		r.open.coming(key, currency)
		done = func(a sale.Accepted, err error) {
			r.open.came(key, err == nil && a.Status == sale.Queued)
			tell(a, err)
		}
	}
	r.journal.Append(ctx, entry, done)
	return out
}

// entry renders the calls that the event would owe.
func (r *Relay) entry(m sale.Message, e *sale.Event, d sale.Device, currency string) sale.Entry {
	exp, _ := sale.Exponent(currency)
	x := sale.Entry{Event: e, Raw: m.Payload, Device: m.Device, Register: d.Register, At: m.Received, Unsafe: m.QoS == 0, Quality: r.o.Quality(), Again: m.Again, Currency: currency}
	if e.Kind.Opens() || e.CanOpen() {
		x.Operation = r.o.Operation()
		x.Opening = sale.Freeze(r.encoder.Encode(e, d.Register, d, x.Operation, true, exp), m.Payload)
	}
	if !e.Kind.Opens() {
		x.Calls = sale.Freeze(r.encoder.Encode(e, d.Register, d, "", false, exp), m.Payload)
	}
	return x
}

// currency finds the currency of an event that leaves it to its start, and
// makes the check that had to wait for it. begun says that the start has come
// to this process, and so must be found in the journal, or has failed there.
func (r *Relay) currency(ctx context.Context, d sale.DeviceID, e *sale.Event) (c string, begun bool, _ *sale.Fault, _ error) {
	key := saleKey{d, e.SaleID}
	c, begun, ok := r.open.get(key)
	if !ok {
		var err error
		c, err = r.journal.Currency(ctx, d, e.SaleID)
		if errors.Is(err, sale.ErrNone) {
			_, fault := sale.Record{}.Take(e)
			return "", false, fault, nil
		}
		if err != nil {
			return "", false, nil, fmt.Errorf("accept an event of %s: %w", d, err)
		}
	}
	if e.Kind.Ends() {
		r.open.drop(key)
	}
	return c, begun, e.CheckCurrency(c), nil
}

// answer turns the journal's word into the verdict, and wakes the queue.
func (r *Relay) answer(out chan<- sale.Verdict, ack sale.Ack) func(sale.Accepted, error) {
	return func(a sale.Accepted, err error) {
		if err == nil {
			ack.Status, ack.Error = a.Status, a.Fault
			if a.Register != "" {
				r.Kick(a.Register)
			}
		}
		out <- sale.Verdict{Ack: ack, Err: err}
	}
}

type saleKey struct {
	device sale.DeviceID
	sale   string
}

// openSales remembers the currency of sales whose start is on its way to the
// disk: the next event may come before it is there. What has arrived is
// remembered a while longer, to save a look into the journal, and can be
// forgotten at any time.
type openSales struct {
	mu sync.Mutex
	m  map[saleKey]openSale
}

type openSale struct {
	currency string
	pending  int // starts under way
}

// mostOpen bounds what is remembered of sales that are in the journal.
const mostOpen = 20_000

// coming notes a start that is given to the journal.
func (o *openSales) coming(k saleKey, currency string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.m) >= mostOpen {
		for old, s := range o.m {
			if s.pending == 0 {
				delete(o.m, old)
			}
		}
	}
	s := o.m[k]
	if s.pending == 0 {
		s.currency = currency // of two starts under way, the first one counts, as it does in the journal
	}
	s.pending++
	o.m[k] = s
}

// came notes what became of it. Only a start that was stored now is worth
// remembering: of every other one the journal knows better.
func (o *openSales) came(k saleKey, stored bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.m[k]
	if s.pending--; s.pending > 0 {
		o.m[k] = s
		return
	}
	if stored {
		o.m[k] = s
	} else {
		delete(o.m, k)
	}
}

// get gives the currency; pending says that the start is still on its way.
func (o *openSales) get(k saleKey) (currency string, pending, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s, ok := o.m[k]
	return s.currency, s.pending > 0, ok
}

// drop forgets a sale that is in the journal.
func (o *openSales) drop(k saleKey) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.m[k].pending == 0 {
		delete(o.m, k)
	}
}
