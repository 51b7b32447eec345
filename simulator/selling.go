package simulator

import (
	"context"
	"time"

	"edgegw/sale"
)

// openSale is the sale a customer is at.
type openSale struct {
	sale   *Sale
	record *Record
	cancel bool // it will end with nothing sold
}

// sell makes one sale after the other, as one pump with one customer at a time.
func (d *Device) sell(ctx context.Context) {
	d.mu.Lock()
	open := d.current
	d.mu.Unlock()
	if open != nil {
		d.finish(open) // the power came back in the middle of a sale
	}
	for d.mayGoOn() {
		d.rest(ctx, d.around(d.cfg.Pace))
		open := d.begin(ctx)
		if open == nil {
			break
		}
		if !d.fill(ctx, open) {
			return // switched off in the middle; the next Run finishes it
		}
		d.finish(open)
	}
	if ctx.Err() != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sellDone = true
	d.notify()
}

func (d *Device) mayGoOn() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.stopped && (d.cfg.Sales == 0 || len(d.ledger.records) < d.cfg.Sales)
}

// begin waits until a sale may begin and begins it. It gives nil where none may
// any more.
func (d *Device) begin(ctx context.Context) *openSale {
	s := Draw(d.cfg.Kind, d.rand, d.cfg.Currency, time.Time{})
	open := &openSale{sale: s, cancel: d.cfg.Style == Steps && d.rand.IntN(100) < d.cfg.Cancels}
	began := false
	err := d.until(ctx, func() bool {
		if d.stopped || ctx.Err() != nil {
			return true
		}
		if !d.mayBegin() {
			return false
		}
		began = true
		s.StartedAt = time.Now()
		open.record = d.ledger.begin(d.cfg.DeviceID, s)
		d.current = open
		if d.cfg.Style == Steps {
			d.report(open, sale.Start, (*Sale).StartJSON)
		}
		d.notify()
		return true
	})
	if err != nil || !began {
		return nil
	}
	d.say(Began, s.ID, "")
	return open
}

// mayBegin asks the site before anything is dispensed: only an accept that was
// heard and is not "no" counts (CONTRACT.md 2.3). Called with d.mu held.
func (d *Device) mayBegin() bool {
	return d.site.Accept != "" && d.site.Accept != "no" && d.outbox.sales < d.cfg.Window
}

// fill lets the customer fill, with up to three updates on the way. It reports
// whether the sale got to its end.
func (d *Device) fill(ctx context.Context, open *openSale) bool {
	parts := 1
	if d.cfg.Style == Steps && !open.cancel {
		parts += d.rand.IntN(4)
	}
	for part := 1; ; part++ {
		d.rest(ctx, d.around(d.cfg.Fill)/time.Duration(parts))
		if ctx.Err() != nil {
			return false
		}
		if part == parts {
			return true
		}
		d.mu.Lock()
		d.report(open, sale.Update, func(s *Sale) []byte { return s.UpdateJSON(part, parts, time.Now()) })
		d.notify()
		d.mu.Unlock()
		d.say(Updated, open.sale.ID, "")
	}
}

// finish ends the sale and hands its last event to the outbox in one step.
func (d *Device) finish(open *openSale) {
	s, kind, render, what := open.sale, sale.Complete, (*Sale).CompleteJSON, Sold
	switch {
	case open.cancel:
		kind, what = sale.Cancel, CancelledOne
		render = func(s *Sale) []byte { return s.CancelJSON("nozzle returned") }
	case d.cfg.Style == Whole:
		kind, render = sale.Whole, (*Sale).WholeJSON
	}
	d.mu.Lock()
	s.EndedAt = time.Now()
	if s.Meter != nil && kind != sale.Cancel {
		if d.total != (Decimal{}) {
			s.ContinueMeter(d.total)
		}
		d.total = s.Meter.End
	}
	d.report(open, kind, render)
	d.ledger.end(open.record, s, kind)
	d.current = nil
	if kind != sale.Cancel {
		d.lastSale = open.record.Text
	}
	d.notify()
	d.mu.Unlock()
	d.say(what, s.ID, open.record.Text)
}

// report renders an event once and puts it into the outbox. Called with d.mu held.
func (d *Device) report(open *openSale, kind sale.Kind, render func(*Sale) []byte) {
	d.seq++
	open.sale.Seq = d.seq
	open.record.Events++
	d.outbox.add(&event{kind: kind, payload: render(open.sale), record: open.record})
}

// around draws a duration between half and one and a half of mean.
func (d *Device) around(mean time.Duration) time.Duration {
	if mean <= 0 {
		return 0
	}
	return mean/2 + time.Duration(d.rand.Int64N(int64(mean)+1))
}

// rest waits; StopSelling cuts it short.
func (d *Device) rest(ctx context.Context, wait time.Duration) {
	if wait <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	_ = d.until(ctx, func() bool { return d.stopped }) // the end of ctx is the end of the rest
}
