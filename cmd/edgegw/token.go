package main

import (
	"bytes"
	"context"
	"fmt"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"edgegw/admin"
	"edgegw/config"
	"edgegw/sale"
)

type tokenCmd struct {
	Add    tokenAddCmd    `cmd:"" help:"Make a token for a program and print it, this once."`
	List   tokenListCmd   `cmd:"" help:"List all tokens, without what proves them."`
	Remove tokenRemoveCmd `cmd:"" help:"End a token at once."`
}

type tokenAddCmd struct {
	Name    string `arg:"" help:"Name of the program that gets it, e.g. back-office; the audit trail says token:NAME."`
	Scope   string `required:"" enum:"metrics,read,provision" placeholder:"SCOPE" help:"metrics, read, or provision: add devices and give keys."`
	Expires string `placeholder:"DURATION" help:"How long it is valid, e.g. 90d (default: until it is removed)."`
	JSON    bool   `help:"Print JSON."`
}

// Run makes the token. It is printed here and nowhere else again.
func (c *tokenAddCmd) Run(a *app) error {
	var valid time.Duration
	if c.Expires != "" {
		var err error
		if valid, err = config.ParseDuration(c.Expires); err != nil {
			return usage("--expires: %w", err)
		}
		if valid < time.Minute {
			return usage("--expires %s: a token is valid for a minute at the least", c.Expires)
		}
	}
	signal.Ignore(syscall.SIGPIPE) // a reader that left must not end us between the making and the showing
	return a.with(true, func(b admin.Backend) error {
		made, err := b.AddToken(a.ctx, admin.NewToken{Name: c.Name, Scope: sale.Scope(c.Scope), Seconds: int64(valid / time.Second)}, admin.LocalUser())
		if err != nil {
			return err
		}
		if made.CAFile != "" {
			made.CAFile = absolute(made.CAFile)
		}
		if err := c.show(a, made); err != nil {
			return unseen(a, b, made.ID, err)
		}
		return nil
	})
}

// show writes the token in one piece: whoever reads has all of it, or there is an
// error.
func (c *tokenAddCmd) show(a *app, made admin.MadeToken) error {
	var text bytes.Buffer
	if c.JSON {
		if err := (&app{out: &text}).printJSON(made); err != nil {
			return err
		}
	} else {
		ends := "when it is removed"
		if !made.ExpiresAt.IsZero() {
			ends = made.ExpiresAt.Format(time.RFC3339)
		}
		fmt.Fprintf(&text, "The token of %s is made. Its scope is %s.\n\n", made.Name, made.Scope)
		table(&text, []string{"  token", made.Secret + "   (shown this once)"}, []string{"  id", made.ID}, []string{"  ends", ends},
			[]string{"  API", dash(made.URL)}, []string{"  CA file", dash(made.CAFile)})
		if made.Notice != "" {
			fmt.Fprintf(&text, "\n%s\n", wrap(clean(made.Notice), widthOf(a.out), 0, 0))
		}
	}
	_, err := a.out.Write(text.Bytes())
	return err
}

// unseen ends a token that nobody saw.
func unseen(a *app, b admin.Backend, id string, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), usualPatience)
	defer cancel()
	if err := b.RemoveToken(ctx, id, admin.LocalUser()); err != nil {
		return fmt.Errorf("the token could not be shown (%w) or removed again (%w): edgegw token remove %s", cause, err, id)
	}
	return fmt.Errorf("the token could not be shown (%w), so it is removed again: make it once more where the output can be read", cause)
}

type tokenListCmd struct {
	JSON bool `help:"Print JSON."`
}

// Run lists all tokens.
func (c *tokenListCmd) Run(a *app) error {
	return a.with(false, func(b admin.Backend) error {
		all, err := b.Tokens(a.ctx)
		if err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(list(all))
		}
		if len(all) == 0 {
			a.say("There is no token. Make one: edgegw token add NAME --scope metrics|read|provision")
			return nil
		}
		rows := [][]string{{"ID", "NAME", "SCOPE", "STATE", "MADE", "ENDS", "USED"}}
		for _, t := range all {
			rows = append(rows, []string{t.ID, t.Name, string(t.Scope), t.State, a.when(t.CreatedAt), a.when(t.ExpiresAt), a.when(t.UsedAt)})
		}
		table(a.out, rows...)
		return nil
	})
}

type tokenRemoveCmd struct {
	ID   string `arg:"" completion:"token" help:"Its id, from the listing; not the token itself."`
	JSON bool   `help:"Print JSON."`
}

// Run ends a token.
func (c *tokenRemoveCmd) Run(a *app) error {
	if strings.Contains(strings.ToLower(c.ID), "edgegw_") {
		return usage("that is a token where its id belongs: see edgegw token list; remove this one, because a command line is seen by everybody on the machine")
	}
	return a.with(false, func(b admin.Backend) error {
		if err := b.RemoveToken(a.ctx, c.ID, admin.LocalUser()); err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(map[string]string{"token_id": c.ID, "state": "removed"})
		}
		fmt.Fprintln(a.out, "The token is removed. It opens nothing any more.")
		return nil
	})
}
