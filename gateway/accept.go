package gateway

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"edgegw/health"
	"edgegw/store"
	"edgegw/wording"
)

const (
	// canaryEvery is how often a journal that cannot store is tried: devices that
	// read `no` stop selling, so nobody else would find out that it can again.
	canaryEvery = 10 * time.Second
	// canaryPause keeps canaries apart: each is a synced write, and events may fail
	// for reasons of their own.
	canaryPause = time.Second
)

// acceptance knows whether events can be stored now: the `accept` of
// edgegw/v1/site/status (CONTRACT.md 2.3). An event that was not stored makes it
// try the journal itself, so that one bad event says nothing about the site.
type acceptance struct {
	try     func(context.Context) error // a real, synced write
	changed func()                      // its words have
	log     *slog.Logger
	failed  chan struct{} // an event could not be stored
	stored  chan struct{} // one could, while the word is no
	no      atomic.Bool

	mu    sync.Mutex
	cause error // of no, nil otherwise
	since time.Time
}

func newAcceptance(try func(context.Context) error, changed func(), log *slog.Logger) *acceptance {
	return &acceptance{try: try, changed: changed, log: log, failed: make(chan struct{}, 1), stored: make(chan struct{}, 1)}
}

// judged hears what became of every event; err is nil where it is on disk.
func (a *acceptance) judged(err error) {
	to := a.failed
	if errors.Is(err, errHeldBack) {
		return // nothing was tried
	}
	if err == nil {
		if !a.no.Load() {
			return
		}
		to = a.stored
	}
	select {
	case to <- struct{}{}:
	default:
	}
}

// run tries the journal when an event could not be stored, and goes on until it
// can be written.
func (a *acceptance) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.failed:
		}
		for {
			err := a.try(ctx)
			if ctx.Err() != nil {
				return nil
			}
			a.settle(err)
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(canaryEvery):
				continue
			case <-a.stored: // then there may be room for more
			}
			if !pause(ctx, canaryPause) {
				return nil
			}
		}
		if !pause(ctx, canaryPause) {
			return nil
		}
	}
}

// pause reports whether it was waited out.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// settle takes what a canary found.
func (a *acceptance) settle(err error) {
	a.mu.Lock()
	was := a.cause
	a.cause = err
	if was == nil {
		a.since = time.Now()
	}
	a.mu.Unlock()
	a.no.Store(err != nil)
	switch {
	case was == nil && err != nil:
		a.log.Error("no event can be stored; devices are told not to sell", "cause", err)
	case was != nil && err == nil:
		a.log.Info("events can be stored again; devices may sell")
	}
	if reasonOf(was) != reasonOf(err) {
		a.changed()
	}
}

// words are `accept` and `reason` of the site's status.
func (a *acceptance) words() (accept, reason string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cause == nil {
		return "yes", ""
	}
	return "no", reasonOf(a.cause)
}

func reasonOf(cause error) string {
	switch {
	case cause == nil:
		return ""
	case errors.Is(cause, store.ErrFull):
		return "storage_full"
	}
	return "storage_failed"
}

// conditions raises that nothing can be stored.
func (a *acceptance) conditions(b *health.Board) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cause == nil {
		return
	}
	c := health.Condition{Code: "storage_failed", Severity: health.Attention, Since: a.since}.Saying(
		wording.Of("No sale can be stored, and devices are told not to sell: %s", wording.Quote(a.cause.Error())),
		wording.Of("Check the disk that holds data_dir. It is tried every 10 s, and devices may sell again by themselves"))
	if errors.Is(a.cause, store.ErrFull) {
		c.Code = "storage_full"
		c = c.Saying(wording.Of("No sale can be stored, and devices are told not to sell: the disk that holds data_dir is full"),
			wording.Of("Make room on it, by removing what is not edgegw's. It is tried every 10 s, and devices may sell again by themselves"))
	}
	b.Set(c)
}
