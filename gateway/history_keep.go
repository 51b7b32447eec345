package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"edgegw/relay"
)

const (
	// uplinkFile keeps in data_dir how the uplink was, for the runs after. It is no
	// evidence: what could not be sent stands in the journal.
	uplinkFile = "uplink-history.json"
	// uplinkKept is how far back it goes; an outage that began before is told whole as
	// long as it lasts.
	uplinkKept = 48 * time.Hour
	// uplinkWrite is how often it is written where nothing changes: after a cut of the
	// power, so much of the run before is unknown.
	uplinkWrite = 15 * time.Minute
	// tallyPause lies between two steps back through a large journal.
	tallyPause = time.Second
)

// openHistory reads what the runs before have left. What cannot be read is not known,
// and is shown so.
func (k *control) openHistory() {
	var kept []stretch
	text, err := os.ReadFile(filepath.Join(k.config.DataDir, uplinkFile))
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.log.Warn("how the uplink was cannot be read", "cause", err)
		kept = nil
	}
	k.history = newHistory(kept)
}

// writeHistory replaces the file as a whole. It is not synced: a power cut may cost
// the day's history, and no sale waits for it.
func (k *control) writeHistory() error {
	now := k.now().UTC()
	kept := slices.DeleteFunc(k.history.kept(now, k.dated()), func(s stretch) bool { return now.Sub(s.To) > uplinkKept })
	text, err := json.Marshal(kept[max(0, len(kept)-mostStretches):])
	if err != nil {
		return err
	}
	path := filepath.Join(k.config.DataDir, uplinkFile)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// uplinkChanged notes a change of the uplink at once. It is written down by
// keepHistory: no attempt waits for that.
func (g *Gateway) uplinkChanged(u relay.UplinkState) {
	if g.history.note(u, g.now()) {
		select {
		case g.remember <- struct{}{}:
		default:
		}
	}
}

// keepHistory looks at what the overview tells of the last day, and keeps it for the
// runs after this one.
func (g *Gateway) keepHistory(ctx context.Context) error {
	var written time.Time
	failed := false
	write := func() {
		err := g.writeHistory()
		if err != nil && !failed {
			g.log.Warn("how the uplink was cannot be written down", "cause", err)
		}
		written, failed = time.Now(), err != nil
	}
	defer write()
	for {
		changed := g.history.note(g.relay.Uplink(), g.now())
		g.lookBack(ctx)
		if changed || written.IsZero() || time.Since(written) >= uplinkWrite {
			write()
		}
		wait := historyLook
		if !g.history.tally.done() {
			wait = tallyPause
		}
		select {
		case <-ctx.Done():
			return nil
		case <-g.remember:
			write()
		case <-time.After(wait):
		}
	}
}

// lookBack looks at what waits, and counts what was sold.
func (g *Gateway) lookBack(ctx context.Context) {
	queues, err := g.db.Queues(ctx)
	if err == nil {
		var waiting int64
		for _, q := range queues {
			waiting += q.Waiting
		}
		g.history.waits(waiting)
		err = g.history.tally.catchUp(ctx, g.db, g.now())
	}
	if err != nil && ctx.Err() == nil {
		g.log.Warn("the last day cannot be looked at", "cause", err)
	}
}
