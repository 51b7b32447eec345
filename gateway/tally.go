package gateway

import (
	"cmp"
	"context"
	"sync"
	"time"

	"edgegw/admin"
	"edgegw/store"
)

const (
	hoursShown = 24
	// tallyStep is how many events are read at once, and mostTally how many for one
	// question: some seven megabytes of the journal, and four times that.
	tallyStep = 5_000
	mostTally = 20_000
	// mostFinish is the same for a command, which asks once and where no gateway runs.
	mostFinish = 500_000
)

// tally counts the sales of the last day. It counts each event once, new ones as they
// come and older ones step by step, so that what a question costs does not depend on
// how much was sold.
type tally struct {
	mu        sync.Mutex
	step      int64 // 0: tallyStep
	low, high int64 // numbers of the events that are counted; 0, 0: none yet
	whole     bool  // there are no older ones of the last day
	byHour    map[int64]int64
	reached   time.Time // the oldest event that was counted
}

// catchUp counts what is new, and a step of what is old.
func (t *tally) catchUp(ctx context.Context, db *store.DB, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	first, end, err := db.EventSpan(ctx)
	if err != nil {
		return err
	}
	step := cmp.Or(t.step, tallyStep)
	if t.byHour == nil {
		t.byHour, t.low, t.high, t.reached = map[int64]int64{}, end, end, now
	}
	for left := int64(mostTally); t.high < end && left > 0; left -= step {
		to := min(end, t.high+step)
		if _, err := t.count(ctx, db, t.high, to); err != nil {
			return err
		}
		t.high = to
	}
	return t.back(ctx, db, first, now)
}

// finish counts the older ones of the last day, as far as a command may read.
func (t *tally) finish(ctx context.Context, db *store.DB, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	first, _, err := db.EventSpan(ctx)
	for n := 0; n < mostFinish && !t.whole && err == nil; n += tallyStep {
		err = t.back(ctx, db, first, now)
	}
	return err
}

// back counts a step of older ones. It is done where all of a step is older than a
// day, or there are no more. The lock is held.
func (t *tally) back(ctx context.Context, db *store.DB, first int64, now time.Time) error {
	if t.whole || t.low <= first {
		t.whole = true
		return nil
	}
	from := max(first, t.low-cmp.Or(t.step, tallyStep))
	b, err := t.count(ctx, db, from, t.low)
	if err != nil {
		return err
	}
	t.low, t.whole = from, from == first || b.Newest.Before(now.Add(-historySpan))
	if b.Oldest.Before(t.reached) {
		t.reached = b.Oldest
	}
	return nil
}

func (t *tally) count(ctx context.Context, db *store.DB, low, high int64) (store.Begun, error) {
	b, err := db.Begun(ctx, low, high)
	if err == nil {
		for hour, n := range b.ByHour {
			t.byHour[hour] += n
		}
	}
	return b, err
}

// done reports whether the last day is counted.
func (t *tally) done() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.whole
}

// hours gives the hours of the last day, the last one under way, and since when all
// is counted. It forgets those before.
func (t *tally) hours(now time.Time) (all []admin.HourOfSales, since time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := now.Unix() / 3600
	for hour := range t.byHour {
		if hour <= last-2*hoursShown {
			delete(t.byHour, hour)
		}
	}
	for hour := last - hoursShown + 1; hour <= last; hour++ {
		all = append(all, admin.HourOfSales{From: time.Unix(hour*3600, 0).UTC(), Sales: t.byHour[hour]})
	}
	since = all[0].From
	if !t.whole && t.reached.After(since) {
		since = t.reached
	}
	return all, since.UTC()
}
