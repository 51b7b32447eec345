package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"edgegw/health"
)

// runningFile stands in the data directory while a gateway runs, and stays where one
// did not end cleanly.
const runningFile = "running.json"

const (
	// toldFor is how long after a start an end that was not clean is worth knowing.
	toldFor = 24 * time.Hour
	// soonAgain is how soon after a start an end counts as one of a row, and inARow
	// how many of those need somebody.
	soonAgain = time.Hour
	inARow    = 3
)

// lastRun is what a gateway leaves to know of it, should nobody be left to say it.
type lastRun struct {
	Since time.Time `json:"since"`
	Ended time.Time `json:"ended,omitzero"`
	Cause string    `json:"cause,omitempty"` // why it ended by itself; "" where it was killed or the power went
	Times int       `json:"times"`           // ends in a row that were not clean, before this run
}

// clean reports whether there was no run before, or it ended as it should.
func (l lastRun) clean() bool { return l.Since.IsZero() }

// beginRun finds out how the run before ended, and notes that this one has begun.
func (k *control) beginRun() error {
	path := filepath.Join(k.config.DataDir, runningFile)
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("read how the last run ended: %w", err)
	case json.Unmarshal(text, &k.before) != nil || k.before.Since.IsZero():
		k.before = lastRun{Since: k.now()} // torn by the power cut that it tells of
	}
	times := 0
	if b := k.before; !b.clean() {
		times = 1
		if !b.Ended.IsZero() && b.Ended.Sub(b.Since) < soonAgain || b.Ended.IsZero() && k.now().Sub(b.Since) < soonAgain {
			times += b.Times
		}
		k.log.Warn("the run before did not end cleanly", "began", b.Since, "cause", cmp.Or(b.Cause, "killed, or the power was cut"), "in_a_row", times)
	}
	k.times = times
	return writeWhole(path, lastRun{Since: k.now(), Times: times})
}

// endRun notes how the run ended: not at all where it was clean.
func (k *control) endRun(cause error) error {
	path := filepath.Join(k.config.DataDir, runningFile)
	if cause == nil {
		return os.Remove(path)
	}
	return writeWhole(path, lastRun{Since: k.since, Ended: k.now(), Cause: cause.Error(), Times: k.times})
}

// lastRunCondition tells of a run that did not end as it should.
func (k *control) lastRunCondition(b *health.Board) {
	l := k.before
	if k.running == nil || l.clean() || k.now().Sub(k.since) > toldFor {
		return
	}
	c := health.Condition{Code: "unclean_end", Severity: health.Notice, Since: k.since,
		Title:  "The gateway did not end cleanly the last time: it was killed, or the power was cut",
		Remedy: "Nothing that was acknowledged is lost. Where nobody cut the power, look at the power supply and at the memory of the box"}
	if l.Cause != "" {
		c.Title = "The gateway ended itself and was started anew: " + l.Cause
		c.Remedy = "Nothing that was acknowledged is lost. If it happens again, make a support bundle and send it: edgegw support-bundle"
	}
	if k.times >= inARow {
		c.Severity = health.Attention
		c.Title = fmt.Sprintf("%s; %d times in a row", c.Title, k.times)
	}
	b.Set(c)
}

// checkAfter reads the whole journal where the run before did not end cleanly:
// damage is found before a sale runs into it.
func (g *Gateway) checkAfter(ctx context.Context) error {
	if !g.before.clean() {
		damage, err := g.db.QuickCheck(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			g.log.Error("the journal cannot be checked", "cause", err)
		case damage != "":
			g.log.Error("the journal is damaged", "damage", damage)
			g.damage.Store(&damage)
		default:
			g.log.Info("the journal was checked after an end that was not clean, and is whole")
		}
	}
	<-ctx.Done()
	return nil
}

// damageCondition tells what checkAfter has found.
func (g *Gateway) damageCondition(b *health.Board) {
	damage := g.damage.Load()
	if damage == nil {
		return
	}
	b.Set(health.Condition{Code: "database_damaged", Severity: health.Attention, Since: g.since, Title: "The database is damaged: " + *damage,
		Remedy: "Make a backup and a support bundle now, and call support: edgegw backup, edgegw support-bundle"})
}
