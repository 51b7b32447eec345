package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"edgegw/admin"
	"edgegw/config"
	"edgegw/sale"
	"edgegw/secret"
)

type personCmd struct {
	Add      personAddCmd      `cmd:"" help:"Add somebody. Without a password a PIN is made and printed, this once."`
	List     personListCmd     `cmd:"" help:"List everybody."`
	Remove   personRemoveCmd   `cmd:"" help:"End somebody's access at once."`
	Password personPasswordCmd `cmd:"" help:"Set somebody's password, also a forgotten one, and log him out everywhere."`
	Sessions personSessionsCmd `cmd:"" help:"List who is logged in to the page, since when, and from where."`
	Logout   personLogoutCmd   `cmd:"" help:"Log somebody out everywhere, or one browser."`
}

// passwordSource is where a password comes from: a file, a pipe, or somebody who
// types it where nobody sees it.
type passwordSource struct {
	PasswordFile  string `placeholder:"FILE" xor:"password" help:"File that holds the password."`
	PasswordStdin bool   `xor:"password" help:"Read the password from standard input."`
}

func (p passwordSource) given() bool { return p.PasswordFile != "" || p.PasswordStdin }

func (p passwordSource) read(a *app) (secret.Text, error) {
	var raw []byte
	var err error
	switch {
	case p.PasswordFile != "":
		raw, err = readKeyFile(p.PasswordFile)
	case p.PasswordStdin && a.inTerminal:
		return typed(a)
	case p.PasswordStdin:
		raw, err = io.ReadAll(io.LimitReader(a.in, longestKey+1))
	}
	return oneLine("password", raw, err)
}

// oneLine takes what was read for a secret of one line, or why it was not.
func oneLine(what string, raw []byte, err error) (secret.Text, error) {
	if err != nil {
		return secret.Text{}, fmt.Errorf("read the %s: %w", what, err)
	}
	raw = bytes.TrimRight(raw, "\r\n")
	if len(raw) == 0 || len(raw) > longestKey || bytes.ContainsAny(raw, "\r\n\x00") {
		return secret.Text{}, fmt.Errorf("read the %s: there must be one line with the %s and nothing else", what, what)
	}
	return secret.New(raw), nil
}

// hidden asks at the terminal for what is not shown.
func (a *app) hidden(prompt string) ([]byte, error) {
	fmt.Fprint(a.err, prompt)
	defer fmt.Fprintln(a.err)
	return term.ReadPassword(int(os.Stdin.Fd()))
}

// typed asks twice, because nobody sees what he types.
func typed(a *app) (secret.Text, error) {
	one, err := a.hidden("New password (it is not shown): ")
	if err != nil {
		return secret.Text{}, fmt.Errorf("read the password: %w", err)
	}
	two, err := a.hidden("The same again: ")
	if err != nil {
		return secret.Text{}, fmt.Errorf("read the password: %w", err)
	}
	if !bytes.Equal(one, two) {
		return secret.Text{}, fmt.Errorf("the two passwords differ; nothing was changed")
	}
	return secret.New(one), nil
}

type personAddCmd struct {
	Name    string `arg:"" help:"Name, e.g. anna; the audit trail says person:NAME."`
	Role    string `required:"" enum:"owner,technician,auditor" placeholder:"ROLE" help:"owner (everything), technician (devices, keys, quarantine), or auditor (looks only)."`
	Expires string `placeholder:"DURATION" help:"When the access ends, e.g. 14d (default: 7d with a PIN, never with a password)."`
	passwordSource
	JSON bool `help:"Print JSON."`
}

// Run adds somebody.
func (c *personAddCmd) Run(a *app) error {
	add := admin.AddPerson{Name: c.Name, Role: sale.Role(c.Role)}
	if c.Expires != "" {
		var err error
		if add.Lives, err = config.ParseDuration(c.Expires); err != nil {
			return usage("--expires: %w", err)
		}
		if add.Lives < time.Minute {
			return usage("--expires %s: give a minute at the least", c.Expires)
		}
	}
	if c.given() {
		var err error
		if add.Password, err = c.read(a); err != nil {
			return err
		}
	}
	return a.with(true, func(b admin.Backend) error {
		added, err := b.AddPerson(a.ctx, add, admin.LocalUser())
		if err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(added)
		}
		fmt.Fprintf(a.out, "%s may use the technicians' page, as %s.\n", added.Name, added.Role)
		if added.PIN != "" {
			table(a.out, []string{"  PIN", added.PIN + "   (shown this once)"})
		}
		if !added.ExpiresAt.IsZero() {
			table(a.out, []string{"  ends", added.ExpiresAt.Local().Format(time.RFC3339)})
		}
		return nil
	})
}

type personListCmd struct {
	JSON bool `help:"Print JSON."`
}

// Run lists everybody.
func (c *personListCmd) Run(a *app) error {
	return a.with(false, func(b admin.Backend) error {
		all, err := b.People(a.ctx)
		if err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(list(all))
		}
		if len(all) == 0 {
			fmt.Fprintln(a.out, "Nobody may use the technicians' page yet. Claim it in a browser with the code of: edgegw status")
			return nil
		}
		rows := [][]string{{"NAME", "ROLE", "SINCE", "ENDS", "LAST LOGIN"}}
		for _, p := range all {
			rows = append(rows, []string{p.Name, string(p.Role), a.when(p.CreatedAt), a.when(p.ExpiresAt), a.when(p.LastSeen)})
		}
		table(a.out, rows...)
		return nil
	})
}

type personRemoveCmd struct {
	Name string `arg:"" completion:"person" help:"Name, from the listing."`
	JSON bool   `help:"Print JSON."`
}

// Run ends somebody's access.
func (c *personRemoveCmd) Run(a *app) error {
	return a.with(false, func(b admin.Backend) error {
		if err := b.RemovePerson(a.ctx, c.Name, admin.LocalUser()); err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(map[string]string{"name": c.Name, "state": "removed"})
		}
		fmt.Fprintf(a.out, "%s is removed and logged out everywhere.\n", clean(c.Name))
		return nil
	})
}

type personPasswordCmd struct {
	Name string `arg:"" completion:"person" help:"Name, from the listing."`
	passwordSource
	JSON bool `help:"Print JSON."`
}

// Run sets a password. In a terminal it is asked for.
func (c *personPasswordCmd) Run(a *app) error {
	if !c.given() {
		if !a.inTerminal {
			return usage("where is the password? Give --password-file FILE or --password-stdin")
		}
		c.PasswordStdin = true
	}
	password, err := c.read(a)
	if err != nil {
		return err
	}
	return a.with(false, func(b admin.Backend) error {
		if err := b.SetPassword(a.ctx, c.Name, password, admin.LocalUser()); err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(map[string]string{"name": c.Name, "state": "changed"})
		}
		fmt.Fprintf(a.out, "%s has a new password and is logged out everywhere.\n", clean(c.Name))
		return nil
	})
}
