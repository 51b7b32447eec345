package gateway

import (
	"context"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"edgegw/broker"
	"edgegw/card"
	"edgegw/health"
	"edgegw/relay"
	"edgegw/sale"
	"edgegw/store"
	"edgegw/wording"
)

// cardWatch gathers which devices send what looks like card numbers, until it is
// noted in the journal.
type cardWatch struct {
	mu      sync.Mutex
	seen    map[sale.DeviceID]int64
	poke    chan struct{}
	counted *metrics.Counter
}

// watchCards is the relay as the broker sees it, with an eye on card data.
type watchCards struct {
	*relay.Relay
	cards *cardWatch
}

// Accept looks once at each payload. What was sent is stored and goes out as it
// is: the money was taken, and to change it would change the sale.
func (w watchCards) Accept(ctx context.Context, m sale.Message) <-chan sale.Verdict {
	if card.Seen(m.Payload) {
		w.cards.note(m.Device)
	}
	return w.Relay.Accept(ctx, m)
}

func (c *cardWatch) note(d sale.DeviceID) {
	c.counted.Inc()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[d]++
	select {
	case c.poke <- struct{}{}:
	default:
	}
}

func (c *cardWatch) take() map[sale.DeviceID]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.seen
	c.seen = map[sale.DeviceID]int64{}
	return m
}

// noteCards puts what was seen into the journal until ctx ends. Where the disk
// takes nothing it is forgotten: the next such event says it again.
func (g *Gateway) noteCards(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.cards.poke:
		}
		if err := g.db.NoteCards(context.WithoutCancel(ctx), g.cards.take(), g.now()); err != nil {
			g.log.Error("that a device sent card data cannot be noted", "cause", err)
		}
	}
}

// cardMemory is how long a device must have sent none for the condition to end
// by itself.
const cardMemory = 7 * 24 * time.Hour

func (k *control) cardConditions(ctx context.Context, b *health.Board, now time.Time, presence map[sale.DeviceID]broker.Presence) error {
	all, err := k.db.CardsSeen(ctx)
	noted := map[sale.DeviceID]bool{}
	for _, c := range all {
		if now.Sub(c.Last) < cardMemory {
			noted[c.Device] = true
			b.Set(cardCondition(c))
		}
	}
	for id, p := range presence {
		if !noted[id] && card.Seen(p.Status) {
			b.Set(cardCondition(store.CardSeen{Device: id, Times: 1, First: p.StatusAt, Last: p.StatusAt}))
		}
	}
	return err
}

func cardCondition(c store.CardSeen) health.Condition {
	return health.Condition{Code: "card_data", Severity: health.Attention, Affected: string(c.Device), Since: c.First}.Saying(
		wording.Of("%s sent what looks like a card number in %s, last %s", string(c.Device), oneOrMore(c.Times, "%d message", "%d messages"), c.Last.Format("2006-01-02 15:04")),
		wording.Of("It is masked wherever it is shown, but it is in the journal and went to OpenFiskal. Have its firmware send the last four digits only, and tell whoever answers for card data at the site. Then: edgegw device forget-cards %s", string(c.Device)))
}

// ForgetCards takes it off that a device sent card data, which somebody has seen
// to.
func (k *control) ForgetCards(ctx context.Context, id sale.DeviceID, by string) error {
	if _, err := k.ring.Get(id); err != nil {
		return unknown(id)
	}
	return k.db.ForgetCards(ctx, id, k.now(), by)
}
