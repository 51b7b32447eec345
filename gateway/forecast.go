package gateway

import (
	"context"
	"time"

	"edgegw/admin"
)

const (
	// saleTakes is what a sale is taken to need where too few are kept to measure it: more
	// than one of 1 KiB has needed (docs/benchmarks.md).
	saleTakes = 16 << 10
	// measuredFrom is how many kept sales tell more than that.
	measuredFrom = 1000
	// mostDays bounds a forecast: beyond it a disk has other ends.
	mostDays = 9999
)

// daysLeft gives for how many days like one of perDay sales there is room, where used
// bytes hold kept sales and nothing is removed; false where nobody can tell, because no
// day has been seen yet.
func daysLeft(room, used, kept, perDay int64) (days int64, ok bool) {
	if perDay <= 0 {
		return 0, false
	}
	each := int64(saleTakes)
	if kept >= measuredFrom {
		each = max(1, used/kept)
	}
	return min(max(0, room/(each*perDay)), mostDays), true
}

// forecast adds to the disk for how long it would take sales without an uplink, above
// what must stay free.
func (k *control) forecast(ctx context.Context, d *admin.Disk) error {
	if k.history == nil {
		return nil
	}
	perDay, seen := k.history.tally.lastDay(k.now())
	if !seen {
		return nil
	}
	free, used, err := k.db.Room(ctx)
	if err != nil {
		return err
	}
	kept, err := k.db.Kept(ctx)
	if err != nil {
		return err
	}
	if days, ok := daysLeft(d.Free+free-k.config.Store.MinFreeBytes, used, kept, perDay); ok {
		d.DaysLeft, d.SalesADay = &days, perDay
	}
	return nil
}

// lastDay gives how many sales began in the last day, and whether all of it was seen: a
// site that has sold for an hour has no day to go by.
func (t *tally) lastDay(now time.Time) (sales int64, seen bool) {
	hours, _ := t.hours(now)
	for _, h := range hours {
		sales += h.Sales
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return sales, t.whole && !t.reached.IsZero() && now.Sub(t.reached) >= historySpan
}
