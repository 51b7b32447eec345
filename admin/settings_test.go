package admin

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

func (m *memory) Settings(context.Context) (Settings, error) {
	return Settings{Settings: []Setting{{Key: "site.name", Value: "a", Source: "file", Changeable: true}}}, nil
}

func (m *memory) PreviewSettings(_ context.Context, c SettingsChange) (SettingsPreview, error) {
	p := SettingsPreview{Changes: []SettingChange{}, Refused: []SettingRefused{}, Effects: []string{EffectRestart}}
	for _, key := range slices.Sorted(maps.Keys(c.Set)) {
		p.Changes = append(p.Changes, SettingChange{Key: key, New: c.Set[key]})
	}
	for _, key := range c.Reset {
		p.Refused = append(p.Refused, SettingRefused{Key: key, Why: "it was not changed"})
	}
	return p, nil
}

func (m *memory) ChangeSettings(ctx context.Context, c SettingsChange, by string) (ChangedSettings, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.who = append(m.who, by)
	p, err := m.PreviewSettings(ctx, c)
	return ChangedSettings{p, time.Unix(120, 0).UTC()}, err
}

func (m *memory) ConfirmSettings(_ context.Context, by string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.who = append(m.who, "confirm "+by)
	return nil
}

func (m *memory) UndoSettings(context.Context, string) error {
	return &Refusal{Code: "conflict", Message: "nothing waits"}
}

func (m *memory) SettingsHistory(context.Context) ([]SettingsRecord, error) { return nil, nil }

func TestSettingsOverTheSocket(t *testing.T) {
	m, path, _ := serve(t)
	c, ctx := dial(t, path), t.Context()
	if s, err := c.Settings(ctx); err != nil || len(s.Settings) != 1 || s.Settings[0].Key != "site.name" {
		t.Errorf("%+v, %v", s, err)
	}
	change := SettingsChange{Set: map[string]string{"site.name": "b", "log.level": "debug"}}
	if p, err := c.PreviewSettings(ctx, SettingsChange{Reset: []string{"log.level"}}); err != nil || len(p.Refused) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	if d, err := c.ChangeSettings(ctx, change, "person:olga"); err != nil || len(d.Changes) != 2 || d.Until.Unix() != 120 {
		t.Errorf("%+v, %v", d, err)
	}
	if err := c.ConfirmSettings(ctx, "person:olga"); err != nil {
		t.Error(err)
	}
	if err := c.UndoSettings(ctx, ""); refusalCode(err) != "conflict" {
		t.Error(err)
	}
	if all, err := c.SettingsHistory(ctx); err != nil || all == nil {
		t.Errorf("%v, %v", all, err)
	}
	if !slices.Equal(m.who, []string{"person:olga", "confirm person:olga"}) {
		t.Errorf("who: %q", m.who)
	}
	_, err := c.ChangeSettings(ctx, SettingsChange{Set: map[string]string{"site.name": "ofk_live_CANARYCANARY"}}, "")
	if refusalCode(err) != "invalid" || strings.Contains(err.Error(), "CANARY") {
		t.Errorf("a key: %v", err)
	}
}
