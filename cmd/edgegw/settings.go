package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"edgegw/admin"
)

type settingsCmd struct {
	List     settingsListCmd     `cmd:"" default:"withargs" help:"Every value, where it comes from, and why it cannot be changed here."`
	Set      settingsSetCmd      `cmd:"" help:"Change values: shows what that does, and asks."`
	Reset    settingsResetCmd    `cmd:"" help:"Forget what was changed on this box: the value of the configuration file or the default counts again."`
	Confirm  settingsConfirmCmd  `cmd:"" help:"Say that changed settings work. Without it they are undone after two minutes."`
	Undo     settingsUndoCmd     `cmd:"" help:"Take changed settings back that nobody has confirmed yet."`
	History  settingsHistoryCmd  `cmd:"" help:"What was changed, by whom, and what became of it."`
	Rollback settingsRollbackCmd `cmd:"" help:"Bring an earlier state back, as a change like any other."`
}

type settingsListCmd struct {
	JSON bool `help:"Print JSON."`
}

// Run lists every value.
func (c *settingsListCmd) Run(a *app) error {
	return a.with(false, func(b admin.Backend) error {
		now, err := b.Settings(a.ctx)
		if err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(now.Settings)
		}
		if t := now.Trial; t != nil {
			a.say(fmt.Sprintf("On trial: what %s has changed is undone at %s unless somebody confirms it: edgegw settings confirm", t.By, t.Until.Local().Format(time.TimeOnly)))
			fmt.Fprintln(a.out)
		}
		rows := [][]string{{"KEY", "VALUE", "FROM", "CANNOT BE CHANGED HERE"}}
		for _, s := range now.Settings {
			rows = append(rows, []string{s.Key, dash(s.Value), fromOf(s), dash(s.WhyNot)})
		}
		table(a.out, rows...)
		return nil
	})
}

// fromOf is where a value comes from, as short as it is clear.
func fromOf(s admin.Setting) string {
	switch s.Source {
	case "settings":
		return "changed here"
	case "file":
		return s.Where
	}
	return s.Source
}

// changing is what every change takes.
type changing struct {
	Yes  bool `help:"Do not ask."`
	JSON bool `help:"Print JSON."`
}

type settingsSetCmd struct {
	Change []string `arg:"" sep:"none" placeholder:"KEY=VALUE" completion:"setting" help:"Key and value, e.g. mqtt.tls_listen=:8884. Nothing behind the = is the empty value."`
	changing
}

// Run changes values.
func (c *settingsSetCmd) Run(a *app) error {
	change := admin.SettingsChange{Set: map[string]string{}}
	for _, text := range c.Change {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			return usage("each change is KEY=VALUE, e.g. mqtt.tls_listen=:8884") // the text is not repeated: a secret may stand there
		}
		if _, twice := change.Set[key]; twice {
			return usage("a key stands twice; give it once")
		}
		change.Set[key] = value
	}
	return a.changeSettings(c.changing, func(admin.Backend) (admin.SettingsChange, error) { return change, nil })
}

type settingsResetCmd struct {
	Keys []string `arg:"" sep:"none" name:"key" completion:"setting" help:"Keys, e.g. mqtt.tls_listen."`
	changing
}

// Run forgets changes.
func (c *settingsResetCmd) Run(a *app) error {
	return a.changeSettings(c.changing, func(admin.Backend) (admin.SettingsChange, error) {
		return admin.SettingsChange{Reset: c.Keys}, nil
	})
}

type settingsRollbackCmd struct {
	No int `arg:"" name:"n" help:"Number, from the history; 0 is the state in which nothing was changed."`
	changing
}

// Run brings an earlier state back.
func (c *settingsRollbackCmd) Run(a *app) error {
	return a.changeSettings(c.changing, func(b admin.Backend) (admin.SettingsChange, error) {
		now, err := b.Settings(a.ctx)
		if err != nil {
			return admin.SettingsChange{}, err
		}
		if c.No == 0 {
			return admin.RollBack(now, admin.SettingsRecord{}), nil
		}
		all, err := b.SettingsHistory(a.ctx)
		if err == nil && (c.No < 0 || c.No > len(all)) {
			err = fmt.Errorf("the history has no number %d; see: edgegw settings history", c.No)
		}
		if err != nil {
			return admin.SettingsChange{}, err
		}
		return admin.RollBack(now, all[c.No-1]), nil
	})
}

// changeSettings shows what a change would do, asks, and does it.
func (a *app) changeSettings(c changing, what func(admin.Backend) (admin.SettingsChange, error)) error {
	if !c.Yes && (c.JSON || !a.inTerminal) {
		return usage("nobody can be asked here: look first with edgegw settings, then give --yes")
	}
	done := admin.ChangedSettings{}
	agreed := false
	err := a.with(true, func(b admin.Backend) error {
		change, err := what(b)
		if err != nil {
			return err
		}
		preview, err := b.PreviewSettings(a.ctx, change)
		if err != nil {
			return err
		}
		if len(preview.Refused) > 0 {
			var lines []error
			for _, r := range preview.Refused {
				lines = append(lines, errors.New(r.String()))
			}
			return errors.Join(append(lines, errors.New("nothing was changed"))...)
		}
		if !c.JSON {
			a.tellPreview(preview)
		}
		if agreed = c.Yes || len(preview.Changes) == 0 || a.agrees("Change it?"); !agreed {
			a.say("Nothing was changed.")
			return nil
		}
		done, err = b.ChangeSettings(a.ctx, change, admin.LocalUser())
		return err
	})
	if err == nil && agreed && !done.Until.IsZero() {
		err = a.awaitTrial()
	}
	switch {
	case err != nil || !agreed:
		return err
	case c.JSON:
		return a.printJSON(done)
	case done.Until.IsZero():
		a.say("It is written, and counts when the gateway is started next.")
		return nil
	}
	a.say(fmt.Sprintf("The gateway runs with it. Look whether devices and page can be reached, and confirm before %s, or it is undone: edgegw settings confirm", done.Until.Local().Format(time.TimeOnly)))
	return nil
}

func (a *app) tellPreview(p admin.SettingsPreview) {
	rows := [][]string{{"KEY", "NOW", "THEN"}}
	for _, c := range p.Changes {
		rows = append(rows, []string{c.Key, dash(c.Old), dash(c.New)})
	}
	if len(p.Changes) > 0 {
		table(a.out, rows...)
	}
	for _, e := range p.Effects {
		a.say(admin.SettingEffects[e])
	}
}

// agrees asks a person at a terminal.
func (a *app) agrees(question string) bool {
	fmt.Fprint(a.err, question+" [y/N] ")
	answer, _ := bufio.NewReader(a.in).ReadString('\n') // no answer is none
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}

// beginLimit is how long a gateway may take to end and another one to begin.
const beginLimit = 90 * time.Second

// awaitTrial waits until the gateway runs with a change, or says why it does not.
func (a *app) awaitTrial() error {
	conf, err := a.load()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(a.ctx, beginLimit)
	defer cancel()
	for {
		if done, err := lookForTrial(ctx, filepath.Join(conf.DataDir, admin.SocketName)); done {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.New("the gateway does not answer; look at its log. It goes on with the former settings when it is started again")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func lookForTrial(ctx context.Context, socket string) (done bool, _ error) {
	c, err := admin.Dial(socket)
	if err != nil {
		return false, nil // between two gateways
	}
	defer c.Close()
	now, err := c.Settings(ctx)
	if err != nil {
		return false, nil
	}
	if now.Trial != nil {
		return true, nil
	}
	all, err := c.SettingsHistory(ctx)
	if err != nil || len(all) == 0 || all[len(all)-1].What != admin.SettingsFailed {
		return false, nil
	}
	return true, fmt.Errorf("the gateway could not begin with it, and the former settings are back: %s", all[len(all)-1].Why)
}

type settingsConfirmCmd struct {
	JSON bool `help:"Print JSON."`
}

// Run keeps what is on trial.
func (c *settingsConfirmCmd) Run(a *app) error {
	return a.with(false, func(b admin.Backend) error {
		if err := b.ConfirmSettings(a.ctx, admin.LocalUser()); err != nil {
			return err
		}
		return a.saySettings(c.JSON, "confirmed", "The settings are confirmed.")
	})
}

type settingsUndoCmd struct {
	JSON bool `help:"Print JSON."`
}

// Run takes back what is on trial.
func (c *settingsUndoCmd) Run(a *app) error {
	return a.with(false, func(b admin.Backend) error {
		if err := b.UndoSettings(a.ctx, admin.LocalUser()); err != nil {
			return err
		}
		return a.saySettings(c.JSON, "undone", "The former settings come back: the gateway begins anew with them.")
	})
}

func (a *app) saySettings(asJSON bool, state, text string) error {
	if asJSON {
		return a.printJSON(map[string]string{"state": state})
	}
	a.say(text)
	return nil
}

type settingsHistoryCmd struct {
	JSON bool `help:"Print JSON."`
}

// settingsRow is a record as a flat object.
type settingsRow struct {
	No      int       `json:"no"`
	At      time.Time `json:"at"`
	What    string    `json:"what"`
	By      string    `json:"by"`
	Changes []string  `json:"changes"`
	Why     string    `json:"why"`
}

// Run lists what was changed.
func (c *settingsHistoryCmd) Run(a *app) error {
	return a.with(false, func(b admin.Backend) error {
		all, err := b.SettingsHistory(a.ctx)
		if err != nil {
			return err
		}
		flat := []settingsRow{}
		rows := [][]string{{"NO", "WHEN", "WHAT", "BY", "CHANGES"}}
		for _, r := range all {
			row := settingsRow{r.No, r.At, r.What, r.By, []string{}, r.Why}
			for _, s := range r.Changes {
				row.Changes = append(row.Changes, s.String())
			}
			flat = append(flat, row)
			text := strings.Join(row.Changes, "; ")
			if r.Why != "" {
				text = strings.TrimPrefix(text+"; "+r.Why, "; ")
			}
			rows = append(rows, []string{strconv.Itoa(r.No), a.when(r.At), strings.ReplaceAll(r.What, "_", " "), r.By, strings.ReplaceAll(text, "\n", "; ")})
		}
		switch {
		case c.JSON:
			return a.printJSON(flat)
		case len(all) == 0:
			a.say("Nothing was changed on this box yet.")
			return nil
		}
		table(a.out, rows...)
		return nil
	})
}
