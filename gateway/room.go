package gateway

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"edgegw/health"
	"edgegw/sale"
	"edgegw/wording"
)

// level is how much room there is for sales, in parts of store.min_free_bytes.
type level int32

const (
	plenty   level = iota
	scarce         // below all of it: devices are told to hold back
	short          // below a half: devices are told to begin nothing
	underWay       // below an eighth: who begins all the same is refused
)

// levelOf judges free bytes; without a limit there is always plenty.
func levelOf(free, limit int64) level {
	switch {
	case free >= limit:
		return plenty
	case free >= limit/2:
		return scarce
	case free >= limit/8:
		return short
	}
	return underWay
}

// refuses reports whether an event that begins a sale is not stored at this level. A
// device hears of it long before: it is told not to begin (CONTRACT.md 2.3). What has
// begun finds room to end, and what waits finds room to be sent.
func (l level) refuses(k sale.Kind) bool { return l == underWay && k.Opens() }

// words are `accept` and `reason` of the site's status.
func (l level) words() (accept, reason string) {
	switch l {
	case plenty:
		return "yes", ""
	case scarce:
		return "limited", "storage_low"
	}
	return "no", "storage_low"
}

const (
	// roomEvery is how often the free space is looked at.
	roomEvery = 5 * time.Second
	// reserveBytes are set aside for what has to be written when nothing else can:
	// the end of a request that OpenFiskal has carried out.
	reserveBytes = 16 << 20
	// reserveGone is the free space below which they are given up.
	reserveGone = 4 << 20
)

// room watches the file system of data_dir, so that sales are held back before it is
// full and not because it is.
type room struct {
	limit   int64
	look    func(context.Context) (free int64, err error)
	reserve *reserve
	changed func()
	level   atomic.Int32

	mu    sync.Mutex
	free  int64
	since time.Time // of the level
}

func (r *room) now() level { return level(r.level.Load()) }

// roomFor gives what rows may still take: what the file system has, and what is free
// inside the database.
func (k *control) roomFor(ctx context.Context) (int64, error) {
	s := space(k.config.DataDir)
	if s == nil {
		return 0, fmt.Errorf("the free space of %s cannot be read", k.config.DataDir)
	}
	inside, _, err := k.db.Room(ctx)
	return s.Free + inside, err
}

// run looks until ctx ends.
func (r *room) run(ctx context.Context) error {
	if r.limit == 0 {
		<-ctx.Done()
		return nil
	}
	for {
		r.once(ctx)
		if !pause(ctx, roomEvery) {
			return nil
		}
	}
}

// once looks, and takes or gives up the reserve. Where nobody can tell how much is
// free, the last word stands: a full disk is found by writing, too.
func (r *room) once(ctx context.Context) {
	free, err := r.look(ctx)
	if err != nil {
		return
	}
	r.reserve.tend(free, r.limit)
	next := levelOf(free, r.limit)
	if was := r.now(); next < was && levelOf(free-r.limit/16, r.limit) >= was {
		next = was // on the edge: no word that changes every few seconds
	}
	r.mu.Lock()
	r.free = free
	changed := r.now() != next || r.since.IsZero()
	if changed {
		r.since = time.Now()
	}
	r.mu.Unlock()
	if changed {
		r.level.Store(int32(next))
		r.changed()
	}
}

// condition tells of the room there is.
func (r *room) condition(b *health.Board, dir string) {
	r.mu.Lock()
	free, since := r.free, r.since
	r.mu.Unlock()
	l := r.now()
	if l == plenty {
		return
	}
	does := map[level]wording.Sentence{scarce: wording.Of("devices are told to hold back"), short: wording.Of("devices are told to begin no sale"),
		underWay: wording.Of("no sale may begin, and only what is under way is stored")}[l]
	b.Set(health.Condition{Code: "storage_low", Severity: health.Attention, Since: since}.Saying(
		wording.Of("There is room for %d MiB on the disk that holds data_dir, less than store.min_free_bytes (%d MiB): %s", free>>20, r.limit>>20, does),
		wording.Of("Make room on the file system of %s, by removing what is not edgegw's. Sales that wait for the uplink leave it by themselves, and devices may sell again by themselves. Never remove edgegw.db or edgegw.db-wal", dir)))
}

// errHeldBack is no fault of the disk: nothing was tried.
var errHeldBack = fmt.Errorf("%w: the little room there is belongs to what is under way", sale.ErrNotReady)

// watchRoom is the relay as the broker sees it, while there is little room.
type watchRoom struct {
	flown
	room *room
}

// Accept refuses what would begin a sale. A start that came before is one that is
// under way: its device only repeats it.
func (w watchRoom) Accept(ctx context.Context, m sale.Message) <-chan sale.Verdict {
	if m.Device == canaryClient || !w.room.now().refuses(m.Kind) {
		return w.flown.Accept(ctx, m)
	}
	event, _ := sale.Parse(m.Kind, m.Payload)
	if _, err := w.db.Currency(ctx, m.Device, event.SaleID); err == nil {
		return w.flown.Accept(ctx, m)
	}
	v := sale.Verdict{Ack: sale.Ack{SaleID: event.SaleID, Event: m.Kind, AcceptedAt: m.Received}, Err: errHeldBack}
	if event.HasSeq {
		v.Ack.Seq = &event.Seq
	}
	answer := make(chan sale.Verdict, 1)
	answer <- v
	return answer
}
