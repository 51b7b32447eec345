package gateway

import (
	"context"
	"fmt"
	"sync"
	"time"

	"edgegw/health"
	"edgegw/sale"
	"edgegw/store"
	"edgegw/wording"
)

const (
	// booksEvery is how often the books are checked where nobody asks for them.
	booksEvery = 15 * time.Second
	// recountFirst and recountEvery are when the totals are compared with the
	// rows they count, which reads the whole journal.
	recountFirst = time.Minute
	recountEvery = 6 * time.Hour
)

// balanced reports whether a register's totals say of each accepted sale that
// it is in exactly one place (CONTRACT.md promise 2 and section 7).
func balanced(q store.Queue) bool {
	return min(q.Accepted, q.Confirmed, q.Waiting, q.Quarantined, q.Resolved) >= 0 &&
		q.Accepted == q.Confirmed+q.Waiting+q.Quarantined+q.Resolved
}

// books remembers since when the totals of a register contradict each other.
type books struct {
	mu        sync.Mutex
	since     map[sale.RegisterID]time.Time
	miscounts []string // that the last recount found
	counted   time.Time
}

// imbalance is a register whose totals contradict each other.
type imbalance struct {
	store.Queue
	since time.Time // when it was first seen, by this process
}

// checkBooks gives the registers whose totals contradict each other. It says so
// in the log once for each, and once when they add up again.
func (k *control) checkBooks(queues []store.Queue) (wrong []imbalance) {
	k.books.mu.Lock()
	defer k.books.mu.Unlock()
	for _, q := range queues {
		since, known := k.books.since[q.Register]
		switch {
		case balanced(q) && known:
			delete(k.books.since, q.Register)
			k.log.Warn("the books of a register balance again", "register", q.Register)
			continue
		case balanced(q):
			continue
		case !known:
			since = k.books.note(q.Register, time.Now())
			k.log.Error("the books of a register do not balance", "register", q.Register, "accepted", q.Accepted, "confirmed", q.Confirmed,
				"waiting", q.Waiting, "quarantined", q.Quarantined, "resolved", q.Resolved)
		}
		wrong = append(wrong, imbalance{q, since})
	}
	return wrong
}

func (b *books) note(r sale.RegisterID, now time.Time) time.Time {
	if b.since == nil {
		b.since = map[sale.RegisterID]time.Time{}
	}
	b.since[r] = now
	return now
}

// booksCondition raises what nobody may overlook: a sale that is in no place, or
// in two.
func (k *control) booksCondition(b *health.Board, queues []store.Queue) {
	k.books.mu.Lock()
	found, counted := k.books.miscounts, k.books.counted
	k.books.mu.Unlock()
	if len(found) > 0 {
		b.Set(health.Condition{Code: "books_unbalanced", Severity: health.Attention, Since: counted}.Saying(
			wording.Of("The totals differ from the sales in the journal in %d places; the first: %s", len(found), wording.Quote(fmt.Sprint(found[0]))), booksRemedy))
	}
	for _, q := range k.checkBooks(queues) {
		b.Set(health.Condition{Code: "books_unbalanced", Severity: health.Attention, Affected: string(q.Register), Since: q.since}.Saying(
			wording.Of("The books of register %s do not balance: %d sales accepted, but %d confirmed, %d waiting, %d in quarantine and %d resolved",
				string(q.Register), q.Accepted, q.Confirmed, q.Waiting, q.Quarantined, q.Resolved), booksRemedy))
	}
}

var booksRemedy = wording.Of("Sales are taken and sent as before, but a count is wrong or a sale is missing. Keep a copy of the data directory and call support")

// recount compares the totals with the rows they count.
func (k *control) recount(ctx context.Context) {
	found, err := k.db.Recount(ctx)
	if err != nil {
		if ctx.Err() == nil {
			k.log.Warn("the sales cannot be counted", "cause", err)
		}
		return
	}
	for _, f := range found {
		k.log.Error("the totals differ from the sales in the journal", "finding", f)
	}
	k.books.mu.Lock()
	defer k.books.mu.Unlock()
	k.books.miscounts, k.books.counted = found, time.Now()
}

// watchBooks checks the books also where no one looks at the site.
func (g *Gateway) watchBooks(ctx context.Context) error {
	tick, count := time.NewTicker(booksEvery), time.NewTimer(recountFirst)
	defer tick.Stop()
	defer count.Stop()
	for {
		if queues, err := g.db.Queues(ctx); err == nil {
			g.checkBooks(queues)
		} else if ctx.Err() == nil {
			g.log.Warn("the books cannot be checked", "cause", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-count.C:
			g.recount(ctx)
			count.Reset(recountEvery)
		}
	}
}
