package gateway

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"edgegw/admin"
	"edgegw/config"
	"edgegw/health"
	"edgegw/wording"
)

// trialLimit is how long somebody has to say that changed settings work, and
// that the gateway can still be reached with them.
const trialLimit = 2 * time.Minute

// settingsState is what a gateway knows of its settings.
type settingsState struct {
	mu    sync.Mutex   // one change at a time
	trial *trialRecord // nil where nothing is on trial
	until time.Time    // by the site's clock; what counts is time that passes
	since time.Time
	left  bool // another gateway takes this one's place

	last atomic.Pointer[admin.SettingsRecord] // of the history; nil before the first
}

// begin is when a trial begins.
func (s *settingsState) begin(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since, s.until = now, now.Add(trialLimit)
}

// openSettings finds out what became of a change that the process before, or the
// gateway before, could not confirm.
func (k *control) openSettings(ctx context.Context) error {
	dir := k.config.DataDir
	all, err := readHistory(dir)
	if err != nil {
		k.log.Error("the history of the settings cannot be read", "cause", err)
	}
	if len(all) > 0 {
		k.settings.last.Store(&all[len(all)-1])
	}
	k.setAsideSettings(ctx)
	t, err := readTrial(dir)
	switch {
	case err != nil:
		k.log.Error("whether settings are on trial cannot be read", "cause", err)
		return nil
	case k.config.Settings().Trial:
		if t == nil {
			return errors.New("begin with changed settings: what they change is not on the disk")
		}
		k.settings.trial = t
		return nil
	case t == nil:
		return nil
	}
	r := admin.SettingsRecord{What: admin.SettingsInterrupted, By: "edgegw", Changes: t.Changes, Why: "the gateway ended before anybody confirmed it"}
	if t.Failed != "" {
		r.What, r.Why = admin.SettingsFailed, t.Failed
	} else if k.kept(t) {
		r.What, r.By, r.Why = admin.SettingsConfirmed, t.By, ""
	}
	k.log.Warn("a change of settings was not confirmed", "what", r.What, "by", t.By, "cause", r.Why)
	k.recordSettings(ctx, r)
	k.forgetTrial()
	return nil
}

// kept reports whether a change was confirmed, and only that could not be noted.
func (k *control) kept(t *trialRecord) bool {
	return len(t.Changes) > 0 && maps.Equal(t.Values, k.config.Settings().Values)
}

// forgetTrial removes what says that settings are on trial.
func (k *control) forgetTrial() {
	if err := removeTrial(k.config.DataDir); err != nil {
		k.log.Error("that settings were on trial cannot be removed", "cause", err)
	}
}

// awaitConfirmation undoes a change that nobody confirms in time.
func (g *Gateway) awaitConfirmation(ctx context.Context) error {
	if g.onTrial() != nil {
		after := g.options.Trial
		if after == nil {
			after = time.After
		}
		g.log.Warn("changed settings are on trial: they are undone unless somebody confirms them", "within", trialLimit)
		select {
		case <-ctx.Done():
			return nil
		case <-after(trialLimit):
			g.endTrial(ctx, admin.SettingsExpired, "edgegw", "nobody confirmed it within two minutes")
		}
	}
	<-ctx.Done()
	return nil
}

func (k *control) onTrial() *admin.SettingsTrial {
	k.settings.mu.Lock()
	defer k.settings.mu.Unlock()
	t := k.settings.trial
	if t == nil {
		return nil
	}
	return &admin.SettingsTrial{Until: k.settings.until, By: t.By, Changes: t.Changes}
}

// endTrial takes a change back, if it is still on trial. The former settings come
// back whatever the disk says: they are in the file.
func (g *Gateway) endTrial(ctx context.Context, what, by, why string) bool {
	g.settings.mu.Lock()
	defer g.settings.mu.Unlock()
	t := g.settings.trial
	if t == nil {
		return false
	}
	g.settings.trial = nil
	g.log.Warn("changed settings are undone", "by", by, "cause", why)
	g.recordSettings(ctx, admin.SettingsRecord{What: what, By: by, Changes: t.Changes, Why: why})
	g.forgetTrial()
	next := g.config.Kept()
	g.leave(&next)
	return true
}

// ConfirmSettings keeps the change that is on trial.
func (k *control) ConfirmSettings(ctx context.Context, by string) error {
	k.settings.mu.Lock()
	defer k.settings.mu.Unlock()
	t := k.settings.trial
	if t == nil {
		return noTrial()
	}
	if err := k.config.WriteSettings(); err != nil {
		return err
	}
	k.settings.trial = nil
	k.recordSettings(ctx, admin.SettingsRecord{What: admin.SettingsConfirmed, By: by, Changes: t.Changes})
	k.forgetTrial()
	k.log.Info("changed settings were confirmed", "by", by)
	k.changedSite()
	return nil
}

// UndoSettings takes it back.
func (k *control) UndoSettings(ctx context.Context, by string) error {
	if k.running == nil || !k.running.endTrial(ctx, admin.SettingsUndone, by, "") {
		return noTrial()
	}
	return nil
}

func noTrial() error {
	return &admin.Refusal{Code: "conflict", Message: "no change of settings waits for that", Remedy: "See what happened: edgegw settings history. An earlier state comes back with: edgegw settings rollback N"}
}

// leave lets another gateway take this one's place. The lock of the settings is
// held.
func (g *Gateway) leave(next *config.Config) {
	if g.settings.left {
		return
	}
	g.settings.left = true
	g.successor.Store(next)
	close(g.leaving)
}

func (k *control) changedSite() {
	if k.running != nil {
		k.running.site.poke()
	}
}

// undoneShown is how long it is shown that a change was undone by itself.
const undoneShown = 24 * time.Hour

// settingsConditions raises what should be known of the settings.
func (k *control) settingsConditions(b *health.Board, now time.Time) {
	if t := k.onTrial(); t != nil {
		b.Set(health.Condition{Code: "settings_unconfirmed", Severity: health.Attention, Since: k.settings.since}.Saying(
			wording.Of("Settings that %s has changed are undone at %s unless somebody confirms them", t.By, t.Until.UTC().Format(time.TimeOnly+" UTC")),
			wording.Of("Look whether devices and page can be reached, then: edgegw settings confirm")))
	}
	if aside, _ := filepath.Glob(filepath.Join(k.config.DataDir, badSettings+"*")); len(aside) > 0 {
		b.Set(health.Condition{Code: "settings_damaged", Severity: health.Attention, Since: k.since}.Saying(
			wording.Of("The settings that were changed on this box could not be used, and do not count: they are in %s", aside[len(aside)-1]),
			wording.Of("See why: edgegw settings history. Change what is needed again with edgegw settings set, then remove that file")))
	}
	r := k.settings.last.Load()
	if r == nil || now.Sub(r.At) > undoneShown {
		return
	}
	switch r.What {
	case admin.SettingsExpired, admin.SettingsInterrupted, admin.SettingsFailed:
		b.Set(health.Condition{Code: "settings_undone", Severity: health.Notice, Since: r.At}.Saying(
			wording.Of("A change of settings was undone: %s", wording.Sentence{Text: r.Why}), wording.Of("The former settings count. See what it was: edgegw settings history")))
	}
}
