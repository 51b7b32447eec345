package page

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"edgegw/admin"
)

func (m *memory) Settings(context.Context) (admin.Settings, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := admin.Settings{Trial: m.trial, Settings: []admin.Setting{
		{Key: "site.name", Value: "Station <1>", Source: "file", Where: "edgegw.yaml:2", Description: "its name", Kind: "text", Changeable: true},
		{Key: "openfiskal.base_url", Value: "https://x", Source: "default", Kind: "URL", Changeable: true, OnBox: true},
		{Key: "openfiskal.on_rejected", Value: "block", Source: "settings", Kind: "one of step_over, block", Changeable: true},
		{Key: "openfiskal.timeout", Value: "9s", Source: "environment", Where: "EDGEGW_OPENFISKAL_TIMEOUT", WhyNot: "it is given by"},
		{Key: "vault.kek", Value: "set", Secret: true, Source: "file", WhyNot: "it is a secret"},
	}}
	return s, nil
}

func (m *memory) PreviewSettings(_ context.Context, c admin.SettingsChange) (admin.SettingsPreview, error) {
	p := admin.SettingsPreview{Effects: []string{admin.EffectRestart}}
	for key, text := range c.Set {
		p.Changes = append(p.Changes, admin.SettingChange{Key: key, Old: "Station <1>", New: text})
	}
	for _, key := range c.Reset {
		p.Changes = append(p.Changes, admin.SettingChange{Key: key, Old: "block", New: "step_over"})
	}
	if c.Set["site.name"] == "bad" {
		return admin.SettingsPreview{Refused: []admin.SettingRefused{{Key: "site.name", Why: "must be <better>"}}}, nil
	}
	return p, nil
}

func (m *memory) ChangeSettings(ctx context.Context, c admin.SettingsChange, by string) (admin.ChangedSettings, error) {
	if c.Set["site.name"] == "late" {
		return admin.ChangedSettings{}, &admin.Refusal{Code: "conflict", Message: "another change is on trial"}
	}
	m.did("settings "+c.Set["site.name"], by)
	p, err := m.PreviewSettings(ctx, c)
	return admin.ChangedSettings{SettingsPreview: p, Until: moment}, err
}

func (m *memory) ConfirmSettings(_ context.Context, by string) error {
	m.did("settings confirmed", by)
	return nil
}

func (m *memory) UndoSettings(_ context.Context, by string) error {
	m.did("settings undone", by)
	return nil
}

func (m *memory) SettingsHistory(context.Context) ([]admin.SettingsRecord, error) {
	return []admin.SettingsRecord{{No: 1, At: moment, What: "confirmed", By: "person:<anna>", Changes: []admin.SettingChange{{Key: "site.name", Old: "<b>", New: "Station 0"}}, Values: map[string]string{"site.name": "Station 0"}},
		{No: 2, At: moment, What: "failed", By: "edgegw", Why: "the port is <taken>"}}, nil
}

func page(t *testing.T, b *browser, path string, want ...string) string {
	t.Helper()
	text := b.ask(http.MethodGet, path, nil).Body.String()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%s does not say %q:\n%s", path, w, text)
		}
	}
	return text
}

func TestSettingsAreShownWithTheirOrigin(t *testing.T) {
	b := newBrowser(t, "owner")
	page(t, b, "/", `href="/settings"`)
	page(t, b, "/settings", "Station &lt;1&gt;", "edgegw.yaml:2", "changed here", "It is given by the environment variable EDGEGW_OPENFISKAL_TIMEOUT: change it there.", "changed on the box only", "it is a secret")
	form := page(t, b, "/settings/change?section=openfiskal", `<option value="block" selected>`, `name="reset" value="openfiskal.on_rejected"`)
	if strings.Contains(form, "set.openfiskal.base_url") || strings.Contains(form, "set.openfiskal.timeout") {
		t.Error("what cannot be changed here has a field")
	}
	page(t, b, "/settings/history", "undone: the gateway could not begin with it", "the port is &lt;taken&gt;", "/settings/preview?rollback=1")
	b.lang = "de"
	page(t, b, "/settings", "Einstellungen", "hier geändert", "Es kommt aus der Umgebungsvariable EDGEGW_OPENFISKAL_TIMEOUT", "Er ist geheim")
}

func TestAChangeIsShownAndMade(t *testing.T) {
	b := newBrowser(t, "owner")
	text := page(t, b, "/settings/preview?set.site.name=Station+9&set.openfiskal.on_rejected=block", `<input type="hidden" name="set.site.name" value="Station 9">`, "The gateway begins anew, in a few seconds.")
	if strings.Contains(text, "on_rejected") {
		t.Error("what stays as it is is asked for")
	}
	page(t, b, "/settings/preview?reset=openfiskal.on_rejected", `name="reset" value="openfiskal.on_rejected"`)
	page(t, b, "/settings/preview?rollback=1", `name="set.site.name" value="Station 0"`)
	page(t, b, "/settings/preview?rollback=9", "There is no such state.")
	if text := page(t, b, "/settings/preview?set.site.name=bad", "must be &lt;better&gt;"); strings.Contains(text, `action="/settings/apply"`) {
		t.Error("what is refused can be applied")
	}
	if w := b.ask(http.MethodPost, "/settings/apply", url.Values{"set.site.name": {" Station 9 "}}); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "Confirm it there before:") || b.backend.changes[0] != "settings Station 9 by person:anna-owner" {
		t.Errorf("%d, %q", w.Code, b.backend.changes)
	}
	if w := b.ask(http.MethodPost, "/settings/apply", url.Values{"set.site.name": {"late"}}); w.Code != http.StatusConflict || len(b.backend.changes) != 1 {
		t.Errorf("%d, %q", w.Code, b.backend.changes)
	}
}

// Whoever takes over an owner's browser cannot have register keys sent to himself.
func TestWhereKeysGoIsNotChangedInABrowser(t *testing.T) {
	b := newBrowser(t, "owner")
	for _, form := range []url.Values{{"set.openfiskal.base_url": {"https://evil.example"}}, {"reset": {"openfiskal.base_url"}}} {
		if w := b.ask(http.MethodPost, "/settings/apply", form); w.Code < 400 || len(b.backend.changes) != 0 {
			t.Errorf("%v: %d, %q", form, w.Code, b.backend.changes)
		}
	}
}

func TestATrialIsConfirmedOrUndone(t *testing.T) {
	b := newBrowser(t, "owner")
	b.backend.trial = &admin.SettingsTrial{Until: moment.Add(time.Hour + 90*time.Second), By: "person:<tom>", Changes: []admin.SettingChange{{Key: "site.name", Old: "a", New: "b"}}}
	text := page(t, b, "/settings", `action="/settings/confirm"`, `action="/settings/undo"`, `data-left="90"`, "2026-11-26T10:01:30Z"[:10])
	if strings.Contains(text, "/settings/change") {
		t.Error("another change is offered")
	}
	shown := regexp.MustCompile(`name="trial" value="([^"]+)"`).FindAllStringSubmatch(text, -1)
	if len(shown) != 2 {
		t.Fatalf("which trial it is stands in %d forms", len(shown))
	}
	form := url.Values{"trial": {shown[0][1]}}
	earlier := url.Values{"trial": {moment.Format(time.RFC3339Nano)}} // of a page that was left open
	for _, path := range []string{"/settings/confirm", "/settings/undo"} {
		if w := b.ask(http.MethodPost, path, earlier); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "Another change is on trial now") {
			t.Errorf("%s of another trial: %d", path, w.Code)
		}
	}
	b.ask(http.MethodPost, "/settings/confirm", form)
	b.ask(http.MethodPost, "/settings/undo", form)
	if got := strings.Join(b.backend.changes, ", "); got != "settings confirmed by person:anna-owner, settings undone by person:anna-owner" {
		t.Errorf("got %s", got)
	}
}

// Every key is told of in German; those that cannot be changed here with the reason.
func TestEveryKeyIsInGerman(t *testing.T) {
	read := func(file, pattern string) map[string]bool {
		source, err := os.ReadFile("../../config/" + file)
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]bool{}
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(source), -1) {
			found[m[1]] = true
		}
		return found
	}
	for name, row := range map[string]struct {
		keys   map[string]bool
		german map[string]string
	}{
		"what it is for": {read("keys.go", `\{path: "([a-z_.]+)"`), settingsInGerman},
		"why not":        {read("settings.go", `(?m)^\t"([a-z_.]+)": +"`), fixedInGerman},
	} {
		if len(row.keys) < 10 {
			t.Fatalf("%s: only %d keys were found", name, len(row.keys))
		}
		for key := range row.keys {
			if row.german[key] == "" {
				t.Errorf("%s: nothing in German for %s", name, key)
			}
		}
		for key := range row.german {
			if !row.keys[key] {
				t.Errorf("%s: nobody says %s", name, key)
			}
		}
	}
}
