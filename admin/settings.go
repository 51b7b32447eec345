package admin

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"edgegw/secret"
	"edgegw/wording"
)

// SettingsKeeper is what can be done with a site's settings. No token opens any of
// it.
type SettingsKeeper interface {
	Settings(ctx context.Context) (Settings, error)
	// PreviewSettings says what a change would do, and does nothing.
	PreviewSettings(ctx context.Context, c SettingsChange) (SettingsPreview, error)
	// ChangeSettings has a gateway that runs begin anew with the change, on trial:
	// unless somebody confirms it, it is undone. Where none runs it is written for the
	// next start.
	ChangeSettings(ctx context.Context, c SettingsChange, by string) (ChangedSettings, error)
	// ConfirmSettings ends a trial: the change stays.
	ConfirmSettings(ctx context.Context, by string) error
	// UndoSettings ends a trial: what was before comes back.
	UndoSettings(ctx context.Context, by string) error
	// SettingsHistory is what was changed, the oldest first.
	SettingsHistory(ctx context.Context) ([]SettingsRecord, error)
}

// Settings are every value that can be configured.
type Settings struct {
	Settings []Setting      `json:"settings"`
	Changed  int            `json:"changed"` // how many were changed on the box
	Trial    *SettingsTrial `json:"trial,omitempty"`
}

// Setting is one value and where it comes from.
type Setting struct {
	Key         string `json:"key"`
	Value       string `json:"value"` // of a secret: set, or empty
	Source      string `json:"source" enum:"default,file,settings,environment,flag"`
	Where       string `json:"where"` // FILE:LINE, the variable, the flag; empty for a default
	Default     string `json:"default"`
	Description string `json:"description"`
	Kind        string `json:"kind"`
	Secret      bool   `json:"secret"`
	Changeable  bool   `json:"changeable"`
	OnBox       bool   `json:"on_box"` // to be changed with the command only
	WhyNot      string `json:"why_not,omitempty"`
}

// SettingsTrial is a change that nobody has confirmed yet.
type SettingsTrial struct {
	Until   time.Time       `json:"until"`
	By      string          `json:"by"`
	Changes []SettingChange `json:"changes"`
}

// SettingsChange asks for other values. What is reset is as if it had never been
// changed on the box.
type SettingsChange struct {
	Set   map[string]string `json:"set"`
	Reset []string          `json:"reset"`
}

func (c *SettingsChange) fields() []field {
	return []field{{"set", "an object of strings", &c.Set}, {"reset", "a list of strings", &c.Reset}}
}

// SettingChange is one value that changes.
type SettingChange struct {
	Key string `json:"key"`
	Old string `json:"old"`
	New string `json:"new"`
}

// String is the change in a line of text.
func (c SettingChange) String() string { return fmt.Sprintf("%s: %q, was %q", c.Key, c.New, c.Old) }

// SettingRefused is one that does not, and why.
type SettingRefused struct {
	Key string `json:"key"`
	Why string `json:"why"`

	Words wording.Sentence `json:"-"` // what Why is made of
}

func (r SettingRefused) String() string { return strings.TrimPrefix(r.Key+": "+r.Why, ": ") }

// SettingsPreview is what a change would do.
type SettingsPreview struct {
	Changes []SettingChange  `json:"changes"`
	Refused []SettingRefused `json:"refused"`
	Effects []string         `json:"effects"` // words of SettingEffects
}

// What a change does beside changing values.
const (
	EffectRestart    = "restart"          // the gateway begins anew; devices are disconnected and come back
	EffectDevices    = "devices_move"     // devices must be told another address
	EffectPage       = "page_moves"       // page and API are at another address
	EffectOpenFiskal = "openfiskal_moves" // sales and register keys go to another place
	EffectNextStart  = "next_start"       // no gateway runs: it counts when one begins
)

// SettingEffects says each in words.
var SettingEffects = map[string]string{
	EffectRestart:    "The gateway begins anew, in a few seconds. Devices are disconnected and come back by themselves; nothing that was acknowledged is lost.",
	EffectDevices:    "Devices must be told the new address, and cannot reach the gateway before.",
	EffectPage:       "This page and the API are at the new address then. Confirm there.",
	EffectOpenFiskal: "Sales and register keys are sent to another place.",
	EffectNextStart:  "No gateway runs: it counts when one begins, and is not undone by itself.",
}

// ChangedSettings is a change that was made. Until is when it is undone unless
// somebody confirms it; zero where it is for the next start.
type ChangedSettings struct {
	SettingsPreview
	Until time.Time `json:"until,omitzero"`
}

// What a record of the history tells.
const (
	SettingsTried       = "tried"       // a change began, on trial
	SettingsConfirmed   = "confirmed"   // and stays
	SettingsUndone      = "undone"      // a person took it back
	SettingsExpired     = "expired"     // nobody confirmed it in time
	SettingsInterrupted = "interrupted" // the gateway ended before anybody confirmed it
	SettingsFailed      = "failed"      // the gateway could not begin with it
	SettingsWritten     = "written"     // for the next start
	SettingsSetAside    = "set_aside"   // the file could not be used
)

// SettingsRecord is one thing that happened to the settings.
type SettingsRecord struct {
	No      int               `json:"no"`
	At      time.Time         `json:"at"`
	What    string            `json:"what" enum:"tried,confirmed,undone,expired,interrupted,failed,written,set_aside"`
	By      string            `json:"by"`
	Changes []SettingChange   `json:"changes"`
	Why     string            `json:"why,omitempty"`
	Values  map[string]string `json:"values"` // all that was changed on the box, after it
}

// whole has no null in it.
func (c SettingsChange) whole() SettingsChange {
	if c.Set == nil {
		c.Set = map[string]string{}
	}
	if c.Reset == nil {
		c.Reset = []string{}
	}
	return c
}

// RollBack is the change that brings the values of a record back. now is what is
// changed on the box.
func RollBack(now Settings, to SettingsRecord) SettingsChange {
	c := SettingsChange{Set: map[string]string{}, Reset: []string{}}
	for _, s := range now.Settings {
		text, there := to.Values[s.Key]
		switch {
		case s.Source == "settings" && !there:
			c.Reset = append(c.Reset, s.Key)
		case there && (s.Source != "settings" || s.Value != text):
			c.Set[s.Key] = text
		}
	}
	return c
}

func (a api) settings(w http.ResponseWriter, r *http.Request) {
	if f := query(r); f != nil {
		fail(w, f, secret.Text{})
		return
	}
	s, err := a.b.Settings(r.Context())
	reply(w, s, err, secret.Text{})
}

// settingsChange reads a change; values are no secrets, and one that looks like a key is
// refused without being repeated.
func (a api) settingsChange(r *http.Request) (c SettingsChange, f *Refusal) {
	if f = query(r); f == nil {
		f = readBody(r, c.fields()...)
	}
	if f != nil {
		return c, f
	}
	return c, c.Check()
}

// Check refuses a change in which a key stands.
func (c SettingsChange) Check() *Refusal {
	all := append([]string{}, c.Reset...)
	for key, text := range maps.All(c.Set) {
		all = append(all, key, text)
	}
	for _, text := range all {
		if ContainsKey(text) {
			return invalid("an OpenFiskal key stands in a setting", "Settings are shown: have this key replaced, it may have been seen.")
		}
	}
	return nil
}

func (a api) previewSettings(w http.ResponseWriter, r *http.Request) {
	c, f := a.settingsChange(r)
	if f != nil {
		fail(w, f, secret.Text{})
		return
	}
	p, err := a.b.PreviewSettings(r.Context(), c)
	reply(w, p, err, secret.Text{})
}

func (a api) changeSettings(w http.ResponseWriter, r *http.Request) {
	c, f := a.settingsChange(r)
	if f != nil {
		fail(w, f, secret.Text{})
		return
	}
	done, err := a.b.ChangeSettings(r.Context(), c, by(r))
	reply(w, done, err, secret.Text{})
}

func (a api) endTrial(end func(context.Context, string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if f := query(r); f != nil {
			fail(w, f, secret.Text{})
			return
		}
		done(w, end(r.Context(), by(r)), secret.Text{})
	}
}

func (a api) settingsHistory(w http.ResponseWriter, r *http.Request) {
	if f := query(r); f != nil {
		fail(w, f, secret.Text{})
		return
	}
	all, err := a.b.SettingsHistory(r.Context())
	replyList(w, all, err)
}

// Settings lists every value.
func (c *Client) Settings(ctx context.Context) (out Settings, err error) {
	return out, c.do(ctx, http.MethodGet, "/settings", nil, "", &out)
}

// PreviewSettings says what a change would do.
func (c *Client) PreviewSettings(ctx context.Context, s SettingsChange) (out SettingsPreview, err error) {
	return out, c.do(ctx, http.MethodPost, "/settings/preview", s.whole(), "", &out)
}

// ChangeSettings makes a change.
func (c *Client) ChangeSettings(ctx context.Context, s SettingsChange, by string) (out ChangedSettings, err error) {
	return out, c.do(ctx, http.MethodPut, "/settings", s.whole(), by, &out)
}

// ConfirmSettings keeps the change that is on trial.
func (c *Client) ConfirmSettings(ctx context.Context, by string) error {
	return c.do(ctx, http.MethodPost, "/settings/confirm", nil, by, nil)
}

// UndoSettings takes it back.
func (c *Client) UndoSettings(ctx context.Context, by string) error {
	return c.do(ctx, http.MethodPost, "/settings/undo", nil, by, nil)
}

// SettingsHistory lists what was changed.
func (c *Client) SettingsHistory(ctx context.Context) (out []SettingsRecord, err error) {
	return out, c.do(ctx, http.MethodGet, "/settings/history", nil, "", &out)
}
