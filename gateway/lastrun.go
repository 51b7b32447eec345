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
	"edgegw/store"
	"edgegw/wording"
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
	Since  time.Time `json:"since"`
	Ended  time.Time `json:"ended,omitzero"`
	Cause  string    `json:"cause,omitempty"`  // why it ended by itself; "" where it was killed or the power went
	Damage string    `json:"damage,omitempty"` // of the database, that it met
	Times  int       `json:"times"`            // ends in a row that were not clean, before this run
}

// clean reports whether there was no run before, or it ended as it should.
func (l lastRun) clean() bool { return l.Since.IsZero() }

// beginRun finds out how the run before ended, and notes that this one has begun. On a
// full disk it cannot be noted, and the site starts all the same.
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
		ended := b.Ended
		if ended.IsZero() { // nobody was left to say when
			ended = k.now()
		}
		if ended.Sub(b.Since) < soonAgain {
			times += b.Times
		}
		k.log.Warn("the run before did not end cleanly", "began", b.Since, "cause", cmp.Or(b.Cause, "killed, or the power was cut"), "in_a_row", times)
	}
	k.times = times
	if err := writeWhole(path, lastRun{Since: k.now(), Times: times}); err != nil {
		k.log.Warn("that a run has begun cannot be noted", "cause", err)
	}
	return nil
}

// endRun notes how the run ended: not at all where it was clean.
func (k *control) endRun(cause error) error {
	path := filepath.Join(k.config.DataDir, runningFile)
	if cause == nil {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	l := lastRun{Since: k.since, Ended: k.now(), Cause: cause.Error(), Times: k.times}
	if k.damage.Load() == nil && (store.IsDamage(cause) || errors.Is(cause, errDamaged)) {
		l.Damage = cause.Error()
	}
	return writeWhole(path, l)
}

// noteDamage has the next start make the database again where this one cannot even
// open the rest of the site.
func (k *control) noteDamage(err error) {
	if !store.IsDamage(err) {
		return
	}
	l := lastRun{Since: k.now(), Ended: k.now(), Cause: err.Error(), Damage: err.Error()}
	if err := writeWhole(filepath.Join(k.config.DataDir, runningFile), l); err != nil {
		k.log.Warn("that the database is damaged cannot be noted", "cause", err)
	}
}

// errDamaged ends a run whose database is damaged: the next one makes it again.
var errDamaged = errors.New("the database is damaged")

// lastDamage says what damage the run before has met; "" where it has met none.
func lastDamage(dir string) string {
	var l lastRun
	text, err := os.ReadFile(filepath.Join(dir, runningFile))
	if err != nil || json.Unmarshal(text, &l) != nil {
		return ""
	}
	return l.Damage
}

// lastRunCondition tells of a run that did not end as it should.
func (k *control) lastRunCondition(b *health.Board) {
	l := k.before
	if k.running == nil || l.clean() || k.now().Sub(k.since) > toldFor {
		return
	}
	c := health.Condition{Code: "unclean_end", Severity: health.Notice, Since: k.since}
	title := wording.Of("The gateway did not end cleanly the last time: it was killed, or the power was cut")
	remedy := wording.Of("Nothing that was acknowledged is lost. Where nobody cut the power, look at the power supply and at the memory of the box")
	if l.Cause != "" {
		title = wording.Of("The gateway ended itself and was started anew: %s", wording.Quote(l.Cause))
		remedy = wording.Of("Nothing that was acknowledged is lost. If it happens again, make a support bundle and send it: edgegw support-bundle")
	}
	if k.times >= inARow {
		c.Severity = health.Attention
		title = wording.Of("%s; %d times in a row", title, k.times)
	}
	b.Set(c.Saying(title, remedy))
}

// checkAfter reads the whole journal where the run before did not end cleanly:
// damage is found before a sale runs into it, and ends the run, so that the next one
// makes the database again. Where it could not, the site sells with what can be read.
func (g *Gateway) checkAfter(ctx context.Context) error {
	if !g.before.clean() {
		damage, err := g.db.QuickCheck(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			g.log.Error("the journal cannot be checked", "cause", err)
		case damage != "" && g.damage.Load() == nil && g.config.Store.MirrorBytes > 0:
			g.log.Error("the journal is damaged", "damage", damage)
			return fmt.Errorf("%w: %s", errDamaged, damage)
		case damage != "":
			g.log.Error("the journal is damaged, and cannot be made again now", "damage", damage)
			g.damage.CompareAndSwap(nil, &damage)
		default:
			g.log.Info("the journal was checked after an end that was not clean, and is whole")
		}
	}
	<-ctx.Done()
	return nil
}

// damageCondition tells of damage that could not be mended: for want of space, or of a
// second journal.
func (k *control) damageCondition(b *health.Board) {
	damage := k.damage.Load()
	if damage == nil {
		return
	}
	title := wording.Of("The database is damaged, and there is no room to make it again: %s", wording.Quote(*damage))
	remedy := wording.Of("Make room on the disk of %s and start the gateway again; make a backup and a support bundle before that: edgegw backup, edgegw support-bundle", k.config.DataDir)
	if k.config.Store.MirrorBytes == 0 {
		title = wording.Of("The database is damaged: %s", wording.Quote(*damage))
		remedy = wording.Of("What can be read is taken and sent as before. Make a backup and a support bundle now, and call support: edgegw backup, edgegw support-bundle")
	}
	b.Set(health.Condition{Code: "database_damaged", Severity: health.Attention, Since: k.since}.Saying(title, remedy))
}
