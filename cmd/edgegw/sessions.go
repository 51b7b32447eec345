package main

import (
	"cmp"
	"fmt"

	"edgegw/admin"
)

type personSessionsCmd struct {
	JSON bool `help:"Print JSON."`
}

// Run lists who is logged in.
func (c *personSessionsCmd) Run(a *app) error {
	return a.with(false, func(b admin.Backend) error {
		all, err := b.Sessions(a.ctx)
		switch {
		case err != nil:
			return err
		case c.JSON:
			return a.printJSON(list(all))
		case len(all) == 0:
			a.say("Nobody is logged in to the technicians' page.")
			return nil
		}
		rows := [][]string{{"SESSION", "NAME", "ROLE", "SINCE", "LAST SEEN", "FROM", "BROWSER"}}
		for _, s := range all {
			rows = append(rows, []string{s.ID, s.Name, string(s.Role), a.when(s.CreatedAt), a.when(s.LastSeen), dash(s.Address), browserOf(s)})
		}
		table(a.out, rows...)
		return nil
	})
}

// browserOf says what somebody has logged in with, as he would.
func browserOf(s admin.Session) string {
	if s.Browser != "" && s.System != "" {
		return s.Browser + " on " + s.System
	}
	return dash(cmp.Or(s.Browser, s.System))
}

type personLogoutCmd struct {
	Name    string `arg:"" optional:"" completion:"person" help:"Name, from the listing: logged out everywhere."`
	Session string `placeholder:"ID" completion:"session" help:"Only this browser; the id is in: edgegw person sessions."`
	JSON    bool   `help:"Print JSON."`
}

// Run logs somebody out.
func (c *personLogoutCmd) Run(a *app) error {
	if (c.Name == "") == (c.Session == "") {
		return usage("who is to be logged out? Give a name, or --session ID")
	}
	return a.with(false, func(b admin.Backend) error {
		if c.Session != "" {
			return c.one(a, b)
		}
		ended, err := b.EndSessions(a.ctx, c.Name, admin.LocalUser())
		if err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(ended)
		}
		fmt.Fprintf(a.out, "%s is logged out everywhere; %s ended.\n", clean(c.Name), count(int64(ended.Ended), "session"))
		return nil
	})
}

func (c *personLogoutCmd) one(a *app, b admin.Backend) error {
	if err := b.EndSession(a.ctx, c.Session, admin.LocalUser()); err != nil {
		return err
	}
	if c.JSON {
		return a.printJSON(map[string]string{"session_id": c.Session, "state": "ended"})
	}
	fmt.Fprintf(a.out, "The session %s has ended.\n", clean(c.Session))
	return nil
}
