package main

import (
	"fmt"
	"strconv"
	"strings"

	"edgegw/admin"
	"edgegw/sale"
)

type explainCmd struct {
	Subject string `arg:"" optional:"" placeholder:"SUBJECT" completion:"device,register" help:"Sale, device, register or DEVICE/SALE; without it, the site."`
	JSON    bool   `help:"Print JSON."`
}

// Run says one sentence, and what it is made from.
func (c *explainCmd) Run(a *app) error {
	if sale.LooksLikeKey(c.Subject) {
		return usage("that looks like a key; give a sale, a device or a register")
	}
	return a.with(false, func(b admin.Backend) error {
		e, err := b.Explain(a.ctx, c.Subject)
		if err != nil {
			return err
		}
		if e.Details = list(e.Details); c.JSON {
			return a.printJSON(e)
		}
		a.say(e.Sentence)
		if len(e.Details) > 0 {
			fmt.Fprintln(a.out)
			a.printDetails(e.Details)
		}
		return nil
	})
}

func (a *app) printDetails(details []admin.Detail) {
	rows := make([][]string, 0, len(details))
	for _, d := range details {
		text := d.Text
		if d.Class != "" {
			text += ", " + d.Class
		}
		if d.Status != 0 {
			text += ", status " + strconv.Itoa(d.Status)
		}
		if d.RequestID != "" {
			text += ", request " + d.RequestID
		}
		rows = append(rows, []string{a.when(d.At), d.What, strings.TrimSpace(text)})
	}
	table(a.out, rows...)
}

type deviceForgetGapsCmd struct {
	ID   string `arg:"" completion:"device" help:"Device."`
	JSON bool   `help:"Print JSON."`
}

// Run takes the gaps off that somebody has looked into.
func (c *deviceForgetGapsCmd) Run(a *app) error {
	id, err := deviceID(c.ID)
	if err != nil {
		return err
	}
	return a.with(false, func(b admin.Backend) error {
		if err := b.ForgetGaps(a.ctx, id, admin.LocalUser()); err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(map[string]string{"device_id": string(id), "state": "gaps forgotten"})
		}
		fmt.Fprintf(a.out, "The events that %s counted and did not report are forgotten; it is in the audit trail.\n", id)
		return nil
	})
}
