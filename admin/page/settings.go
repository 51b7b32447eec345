package page

import (
	"context"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"edgegw/admin"
	"edgegw/wording"
)

type settingsView struct {
	Sections []settingSection
	Trial    *admin.SettingsTrial
	Left     int    // seconds of the trial
	Which    string // trial that is
	Records  []admin.SettingsRecord
	Asked    url.Values // the change that a preview is of
	Preview  admin.SettingsPreview
	Until    time.Time
}

type settingSection struct {
	Name string
	All  []settingRow
	May  bool // something of it can be changed in a browser
}

type settingRow struct {
	admin.Setting
	Means  string   // what it is for
	WhyNot string   // in the language of the page
	Words  []string // of a value that is one of a few
}

// sectionOf is the part of the page on which a value stands.
func sectionOf(key string) string {
	if section, _, nested := strings.Cut(key, "."); nested {
		return section
	}
	return "data"
}

func (v *visit) sections(all []admin.Setting) (sections []settingSection) {
	for _, s := range all {
		name := sectionOf(s.Key)
		i := slices.IndexFunc(sections, func(one settingSection) bool { return one.Name == name })
		if i < 0 {
			i = len(sections)
			sections = append(sections, settingSection{Name: name})
		}
		row := settingRow{Setting: s, Means: v.lang.settingMeans(s), WhyNot: v.whyNot(s)}
		if list, is := strings.CutPrefix(s.Kind, "one of "); is {
			row.Words = strings.Split(list, ", ")
		}
		sections[i].All = append(sections[i].All, row)
		sections[i].May = sections[i].May || row.WhyNot == ""
	}
	return sections
}

// whyNot says why a value cannot be changed in a browser; "" where it can.
func (v *visit) whyNot(s admin.Setting) string {
	switch {
	case s.Source == "environment":
		return v.t("It is given by the environment variable %s: change it there.", s.Where)
	case s.Source == "flag":
		return v.t("It is given on the command line: change it there.")
	case !s.Changeable && v.lang == german && fixedInGerman[s.Key] != "":
		return fixedInGerman[s.Key]
	case !s.Changeable:
		return v.t("It is set in the configuration file:") + " " + s.WhyNot + "."
	case s.OnBox:
		return v.t("It says where register keys are sent, and is changed on the box only: edgegw settings set")
	}
	return ""
}

func (s *Site) settings(v *visit) error { return s.showSettings(v, nil) }

func (s *Site) showSettings(v *visit, f *admin.Refusal) error {
	now, err := s.Backend.Settings(v.r.Context())
	if err != nil {
		return err
	}
	in := settingsView{Sections: v.sections(now.Settings), Trial: now.Trial}
	if now.Trial != nil {
		in.Left, in.Which = max(0, int(now.Trial.Until.Sub(s.Now())/time.Second)), which(now.Trial)
	}
	return v.show("settings", view{Title: v.t("Settings"), At: "settings", Content: in, Refusal: f})
}

// changeSection is the form of one section.
func (s *Site) changeSection(v *visit) error {
	now, err := s.Backend.Settings(v.r.Context())
	if err != nil {
		return err
	}
	all := v.sections(now.Settings)
	name := v.r.URL.Query().Get("section")
	i := max(0, slices.IndexFunc(all, func(one settingSection) bool { return one.Name == name }))
	return v.show("settings-change", view{Title: v.t("Change settings"), At: "settings", Content: settingsView{Sections: all[i : i+1]}})
}

// asked reads a change out of a form, without what stays as it is.
func (s *Site) asked(v *visit, form url.Values) (admin.SettingsChange, error) {
	c := admin.SettingsChange{Set: map[string]string{}, Reset: []string{}}
	now, err := s.Backend.Settings(v.r.Context())
	if err != nil {
		return c, err
	}
	if n := form.Get("rollback"); n != "" {
		c, err = s.rollback(v, now, n)
	} else {
		c.Reset = append(c.Reset, form["reset"]...)
		for name := range form {
			key, is := strings.CutPrefix(name, "set.")
			same := slices.ContainsFunc(now.Settings, func(one admin.Setting) bool { return one.Key == key && one.Value == strings.TrimSpace(form.Get(name)) })
			if is && !same && !slices.Contains(c.Reset, key) {
				c.Set[key] = strings.TrimSpace(form.Get(name))
			}
		}
	}
	if err != nil {
		return c, err
	}
	for _, one := range now.Settings {
		_, set := c.Set[one.Key]
		if one.OnBox && (set || slices.Contains(c.Reset, one.Key)) {
			return c, admin.Refuse("role", wording.Of("%s: %s", one.Key, v.whyNot(one)), wording.Of("Nothing was changed."))
		}
	}
	return c, nil
}

func (s *Site) rollback(v *visit, now admin.Settings, text string) (admin.SettingsChange, error) {
	all, err := s.Backend.SettingsHistory(v.r.Context())
	if err != nil {
		return admin.SettingsChange{}, err
	}
	n, err := strconv.Atoi(text)
	switch {
	case err != nil || n < 0 || n > len(all):
		return admin.SettingsChange{}, &admin.Refusal{Code: "not_found", Message: "There is no such state.", Remedy: "Go back and choose another one."}
	case n == 0:
		return admin.RollBack(now, admin.SettingsRecord{}), nil
	}
	return admin.RollBack(now, all[n-1]), nil
}

// previewSettings shows what a change would do. It is a link, because it changes
// nothing.
func (s *Site) previewSettings(v *visit) error {
	c, err := s.asked(v, v.r.URL.Query())
	if err != nil {
		return err
	}
	in := settingsView{Asked: url.Values{"reset": c.Reset}}
	for key, text := range c.Set {
		in.Asked.Set("set."+key, text)
	}
	if in.Preview, err = s.Backend.PreviewSettings(v.r.Context(), c); err != nil {
		return err
	}
	return v.show("settings-preview", view{Title: v.t("What changes"), At: "settings", Content: in})
}

func (s *Site) applySettings(v *visit) error {
	if err := v.form(); err != nil {
		return err
	}
	c, err := s.asked(v, v.r.PostForm)
	if err != nil {
		return err
	}
	done, err := s.Backend.ChangeSettings(v.r.Context(), c, v.by())
	if err != nil {
		return orAgain(err, func(f *admin.Refusal) error { return s.showSettings(v, f) })
	}
	return v.show("settings-applied", view{Title: v.t("The gateway begins anew"), At: "settings", Content: settingsView{Preview: done.SettingsPreview, Until: done.Until}})
}

// which tells one trial from another.
func which(t *admin.SettingsTrial) string { return t.Until.UTC().Format(time.RFC3339Nano) }

// endTrial ends the trial that the page has shown, and no other: it may have been left
// open since an earlier one.
func (s *Site) endTrial(v *visit, end func(context.Context, string) error) error {
	if err := v.form(); err != nil {
		return err
	}
	now, err := s.Backend.Settings(v.r.Context())
	if err != nil {
		return err
	}
	if shown := v.r.PostForm.Get("trial"); shown != "" && now.Trial != nil && shown != which(now.Trial) {
		return &admin.Refusal{Code: "conflict", Message: v.t("Another change is on trial now than the page has shown."), Remedy: v.t("Look at that one first.")}
	}
	return end(v.r.Context(), v.by())
}

func (s *Site) confirmSettings(v *visit) error {
	if err := s.endTrial(v, s.Backend.ConfirmSettings); err != nil {
		return orAgain(err, func(f *admin.Refusal) error { return s.showSettings(v, f) })
	}
	return v.seeOther("/settings")
}

func (s *Site) undoSettings(v *visit) error {
	if err := s.endTrial(v, s.Backend.UndoSettings); err != nil {
		return orAgain(err, func(f *admin.Refusal) error { return s.showSettings(v, f) })
	}
	return v.show("settings-applied", view{Title: v.t("The gateway begins anew"), At: "settings", Content: settingsView{}})
}

func (s *Site) settingsHistory(v *visit) error {
	all, err := s.Backend.SettingsHistory(v.r.Context())
	if err != nil {
		return err
	}
	slices.Reverse(all)
	return v.show("settings-history", view{Title: v.t("What was changed"), At: "settings", Content: settingsView{Records: all[:min(len(all), mostRecords)]}})
}

// mostRecords are what the page shows of the history; the command has all.
const mostRecords = 100
