package main

import (
	"fmt"
	"strconv"
	"time"

	"edgegw/admin"
)

type auditCmd struct {
	Who     string `placeholder:"NAME" help:"Only what this one did, e.g. person:anna."`
	What    string `placeholder:"TEXT" help:"Only this, e.g. 'device added'."`
	Subject string `placeholder:"ID" help:"Only of this device, register, person or item."`
	From    string `placeholder:"TIME" help:"Not before, e.g. 2026-11-22 or 2026-11-22T08:00:00+01:00."`
	To      string `placeholder:"TIME" help:"Before."`
	Before  int64  `placeholder:"N" help:"Only lines with a lower number: the next page."`
	Limit   int    `default:"100" help:"How many at most."`
	JSON    bool   `help:"Print JSON."`
}

// Run lists who changed what.
func (c *auditCmd) Run(a *app) error {
	f := admin.AuditFilter{Who: c.Who, What: c.What, Subject: c.Subject, Before: c.Before, Limit: c.Limit}
	var err error
	if f.From, err = moment("--from", c.From); err != nil {
		return err
	}
	if f.To, err = moment("--to", c.To); err != nil {
		return err
	}
	if c.Limit < 1 || c.Before < 0 {
		return usage("--limit and --before are numbers from 1 on")
	}
	return a.with(false, func(b admin.Backend) error {
		all, err := b.Audit(a.ctx, f)
		if err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(list(all))
		}
		if len(all) == 0 {
			fmt.Fprintln(a.out, "There is no such line in the audit trail.")
			return nil
		}
		rows := [][]string{{"NO", "WHEN", "WHO", "WHAT", "SUBJECT", "DETAIL"}}
		for _, e := range all {
			rows = append(rows, []string{strconv.FormatInt(e.No, 10), a.when(e.At), e.Who, e.What, dash(e.Subject), dash(e.Detail)})
		}
		table(a.out, rows...)
		return nil
	})
}

// moment reads a time, or a day, which begins at midnight of this machine.
func moment(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	t, err := time.ParseInLocation(time.DateOnly, text, time.Local)
	if err != nil {
		return t, usage("%s %s is no time; write it as in 2026-11-22 or 2026-11-22T08:00:00+01:00", flag, text)
	}
	return t, nil
}
