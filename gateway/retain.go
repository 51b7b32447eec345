package gateway

import (
	"context"
	"time"

	"edgegw/clock"
	"edgegw/store"
)

const (
	// retainEvery is how often the journal is walked for what was kept long enough.
	retainEvery = time.Hour
	// retainPause keeps the steps of a walk apart: sales come first.
	retainPause = 200 * time.Millisecond
	// copyKept is how long the database of before an update is kept.
	copyKept = 30 * 24 * time.Hour
)

// retain removes confirmed sales that are older than store.retain_confirmed, and gives
// their space back. A clock for which nobody vouches removes nothing: one that jumped
// ahead would remove all there is.
func (g *Gateway) retain(ctx context.Context) error {
	for {
		if err := g.walk(ctx); err != nil {
			g.log.Warn("sales that were kept long enough cannot be removed", "cause", err)
		}
		if !pause(ctx, retainEvery) {
			return nil
		}
	}
}

// walk goes through the journal once.
func (g *Gateway) walk(ctx context.Context) error {
	if s := g.clock.State(); s.Source != clock.Kernel && !s.Hinted {
		return nil
	}
	if err := store.RemoveCopies(g.config.DataDir, g.clock.Now(), copyKept); err != nil {
		return err
	}
	before := g.clock.Now().Add(-g.config.Store.RetainConfirmed)
	s := store.Sweep{Now: g.clock.Now()}
	for !s.Done {
		var err error
		if s, err = g.db.Sweep(ctx, s, before); err != nil || ctx.Err() != nil {
			return ignoreEnd(ctx, err)
		}
		if !pause(ctx, retainPause) {
			return nil
		}
	}
	if s.Removed > 0 {
		g.log.Info("confirmed sales were kept long enough and are removed", "sales", s.Removed, "older_than", before)
	}
	for {
		more, err := g.db.GiveBack(ctx)
		if err != nil || !more || !pause(ctx, retainPause) {
			return ignoreEnd(ctx, err)
		}
	}
}

// ignoreEnd forgets errors that only say that the gateway ends.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
