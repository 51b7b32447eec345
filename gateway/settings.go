package gateway

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"edgegw/admin"
	"edgegw/config"
	"edgegw/wording"
)

// Settings lists every value that can be configured.
func (k *control) Settings(context.Context) (admin.Settings, error) {
	s := admin.Settings{Settings: []admin.Setting{}, Trial: k.onTrial()}
	for _, d := range config.Describe() {
		one := settingOf(d, k.config.Origin(d.Key))
		if one.Source == string(config.FromSettings) {
			s.Changed++
		}
		s.Settings = append(s.Settings, one)
	}
	return s, nil
}

func settingOf(d config.KeyDoc, o config.Origin) admin.Setting {
	s := admin.Setting{Key: d.Key, Value: o.Value, Source: string(o.Source), Where: o.Where, Default: d.Default, Description: d.Doc, Kind: d.Type, Secret: d.Secret, OnBox: d.OnBox, WhyNot: whyFixed(d, o).String()}
	if d.Secret && d.Fixed != "" && o.Value != "" {
		s.Value = "set"
	}
	s.Changeable = s.WhyNot == ""
	return s
}

// whyFixed says why a value cannot be changed on the box; "" where it can.
func whyFixed(d config.KeyDoc, o config.Origin) wording.Sentence {
	switch {
	case o.Source == config.FromEnvironment:
		return wording.Of("it is given by the environment variable %s: change it there", o.Where)
	case o.Source == config.FromFlag:
		return wording.Of("it is given on the command line (%s): change it there", o.Where)
	case d.Fixed != "":
		return wording.Of("%s: set it in the configuration file, or in %s", wording.Of(d.Fixed), d.Env)
	}
	return wording.Sentence{}
}

// plan is what a change would make of the configuration.
type plan struct {
	admin.SettingsPreview
	next config.Config
}

// planSettings judges a change. What is wrong with it is in the plan, not in the
// error.
func (k *control) planSettings(c admin.SettingsChange) plan {
	p := plan{SettingsPreview: admin.SettingsPreview{Changes: []admin.SettingChange{}, Refused: []admin.SettingRefused{}, Effects: []string{}}}
	docs := map[string]config.KeyDoc{}
	for _, d := range config.Describe() {
		docs[d.Key] = d
	}
	values := k.config.Settings().Values
	refuse := func(key string, why wording.Sentence) {
		p.Refused = append(p.Refused, admin.SettingRefused{Key: key, Why: why.String(), Words: why})
	}
	for _, key := range c.Reset {
		if _, there := values[key]; !there {
			refuse(key, wording.Of("it was not changed on this box"))
		}
		if _, twice := c.Set[key]; twice {
			refuse(key, wording.Of("it is set and reset at once"))
		}
		delete(values, key)
	}
	for _, key := range slices.Sorted(maps.Keys(c.Set)) {
		if d, known := docs[key]; known {
			if why := whyFixed(d, k.config.Origin(key)); !why.Empty() {
				refuse(key, why)
				continue
			}
		}
		values[key] = c.Set[key]
	}
	next, err := k.config.With(values)
	p.next = next
	var faults config.Faults
	if errors.As(err, &faults) {
		for _, f := range faults {
			refuse(f.Key, wording.Of("%s", wording.Quote(f.Problem)))
		}
	} else if err != nil {
		refuse("", wording.From(err))
	}
	if len(p.Refused) == 0 {
		p.compare(k.config)
		p.Effects = k.effects(p.Changes)
	}
	return p
}

func (p *plan) compare(now config.Config) {
	for _, o := range p.next.Origins() {
		if was := now.Origin(o.Key); was.Value != o.Value || was.Source != o.Source {
			p.Changes = append(p.Changes, admin.SettingChange{Key: o.Key, Old: was.Value, New: o.Value})
		}
	}
}

// effects are what a change does beside changing values.
func (k *control) effects(changes []admin.SettingChange) []string {
	if len(changes) == 0 {
		return []string{}
	}
	all := []string{admin.EffectRestart}
	if k.running == nil {
		all[0] = admin.EffectNextStart
	}
	for _, e := range []struct {
		effect string
		keys   []string
	}{
		{admin.EffectDevices, []string{"mqtt.tls_listen", "mqtt.plain_listen"}},
		{admin.EffectPage, []string{"http.listen", "http.tls_listen"}},
		{admin.EffectOpenFiskal, []string{"openfiskal.base_url"}},
	} {
		if slices.ContainsFunc(changes, func(c admin.SettingChange) bool { return c.Old != c.New && slices.Contains(e.keys, c.Key) }) {
			all = append(all, e.effect)
		}
	}
	return all
}

// PreviewSettings says what a change would do.
func (k *control) PreviewSettings(_ context.Context, c admin.SettingsChange) (admin.SettingsPreview, error) {
	if f := c.Check(); f != nil {
		return admin.SettingsPreview{}, f
	}
	return k.planSettings(c).SettingsPreview, nil
}

// ChangeSettings makes a change.
func (k *control) ChangeSettings(ctx context.Context, c admin.SettingsChange, by string) (admin.ChangedSettings, error) {
	none := admin.ChangedSettings{}
	if f := c.Check(); f != nil {
		return none, f
	}
	k.settings.mu.Lock()
	defer k.settings.mu.Unlock()
	if k.settings.trial != nil || k.settings.left {
		return none, &admin.Refusal{Code: "conflict", Message: "another change of settings is on trial", Remedy: "End it first: edgegw settings confirm, or edgegw settings undo"}
	}
	p := k.planSettings(c)
	if len(p.Refused) > 0 {
		return none, admin.Refuse("setting_refused", refusedWords(p.Refused), wording.Of("Nothing was changed. See each with its reason: edgegw settings"))
	}
	if len(p.Changes) == 0 {
		return none, &admin.Refusal{Code: "conflict", Message: "that changes nothing", Remedy: "See what counts now: edgegw settings"}
	}
	done := admin.ChangedSettings{SettingsPreview: p.SettingsPreview}
	if k.running == nil {
		if err := p.next.WriteSettings(); err != nil {
			return none, err
		}
		return done, k.noteSettings(ctx, admin.SettingsRecord{What: admin.SettingsWritten, By: by, Changes: p.Changes})
	}
	if err := k.try(ctx, &p, by); err != nil {
		return none, err
	}
	done.Until = k.now().Add(trialLimit).UTC().Truncate(time.Second)
	return done, nil
}

// try lets a gateway with the change take this one's place. The lock of the
// settings is held.
func (k *control) try(ctx context.Context, p *plan, by string) error {
	if !k.running.served {
		return &admin.Refusal{Code: "not_ready", Message: "this gateway cannot begin anew by itself", Remedy: "It was not started with edgegw run: end it, and give it the settings when it is started"}
	}
	values := p.next.Settings().Values
	t := &trialRecord{At: k.now().UTC(), By: by, Changes: p.Changes, Values: values}
	if err := writeTrial(k.config.DataDir, t); err != nil {
		return err
	}
	if err := k.noteSettings(ctx, admin.SettingsRecord{What: admin.SettingsTried, By: by, Changes: p.Changes, Values: values}); err != nil {
		return errors.Join(err, removeTrial(k.config.DataDir))
	}
	k.running.leave(&p.next)
	return nil
}

func refusedWords(all []admin.SettingRefused) (words wording.Sentence) {
	for _, r := range all {
		one := r.Words
		if r.Key != "" {
			one = wording.Of("%s: %s", r.Key, r.Words)
		}
		if !words.Empty() {
			one = wording.Of("%s; %s", words, one)
		}
		words = one
	}
	return words
}

// SettingsHistory is what was changed.
func (k *control) SettingsHistory(context.Context) ([]admin.SettingsRecord, error) {
	return readHistory(k.config.DataDir)
}
