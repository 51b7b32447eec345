package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"edgegw/admin"
	"edgegw/audit"
)

type exportCmd struct {
	From   string `placeholder:"TIME" help:"Not before, e.g. 2026-11-01 or 2026-11-01T08:00:00+01:00 (default: the beginning)."`
	To     string `placeholder:"TIME" help:"Before (default: now)."`
	Output string `short:"o" placeholder:"FILE" required:"" help:"The ZIP file to make; one that is there is left as it is."`
	JSON   bool   `help:"Print JSON."`
}

// exported is what export says of the file that it made.
type exported struct {
	File    string      `json:"file"`
	Bytes   int64       `json:"bytes"`
	From    time.Time   `json:"from,omitzero"`
	To      time.Time   `json:"to"`
	Records int64       `json:"records"`
	Sales   int64       `json:"sales"`
	HeadNo  int64       `json:"head_no"`         // of the last line of the audit trail
	Head    audit.Chain `json:"head"`            // its chain value: to be noted
	Fault   string      `json:"fault,omitempty"` // of the audit trail on the box
}

// Run makes an export, and reads it again: what an auditor gets was whole here.
func (c *exportCmd) Run(a *app) error {
	var p admin.Period
	var err error
	if p.From, err = moment("--from", c.From); err != nil {
		return err
	}
	if p.To, err = moment("--to", c.To); err != nil {
		return err
	}
	if !p.To.IsZero() && !p.From.Before(p.To) {
		return usage("--to is not behind --from: a period needs both in that order")
	}
	var made exported
	there := fmt.Errorf("make the export: there is a file %s already; give another name", c.Output)
	err = newFile(c.Output, there, "make the export", "write the export", func(f *os.File) (err error) {
		made, err = c.make(a, f, p)
		return err
	})
	if err != nil {
		return err
	}
	return c.tell(a, made)
}

func (c *exportCmd) tell(a *app, made exported) error {
	if c.JSON {
		if err := a.printJSON(made); err != nil || made.Fault == "" {
			return err
		}
		return errSaid
	}
	fmt.Fprintf(a.out, "%s has %s, %s of them.\n", made.File, count(made.Records, "record"), count(made.Sales, "sale"))
	if made.Fault != "" {
		return fmt.Errorf("the export was made, and its audit trail does not fit: %s. See whether it is so on this box: edgegw verify", made.Fault)
	}
	fmt.Fprintln(a.out, "It was read again and is whole.")
	fmt.Fprintf(a.out, "The audit trail ended with line %d when it was made. Note its chain value: a trail that is altered later does not have it.\n%s\n", made.HeadNo, made.Head)
	return nil
}

func (c *exportCmd) make(a *app, f *os.File, p admin.Period) (made exported, err error) {
	far := a.progress("export", "byte", 0)
	to := &counted{w: f, far: far}
	err = a.with(false, func(b admin.Backend) error { return b.Export(a.ctx, p, admin.LocalUser(), to) })
	far.end()
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return made, err
	}
	report, fault := audit.Verify(f, to.n, nil, nil)
	if fault != nil && fault.File == "audit.jsonl" {
		made.Fault = fault.Message // it is so on the box, and the export shows it
	} else if fault != nil {
		return made, fmt.Errorf("the export is not what was written to it: %s; look at the disk of %s", fault.Message, absolute(c.Output))
	}
	m := report.Manifest
	made.File, made.Bytes, made.From, made.To, made.HeadNo, made.Head = absolute(c.Output), to.n, m.From, m.To, m.Trail.Head.No, m.Trail.Head.Chain
	for _, of := range m.Files {
		made.Records += of.Records
		if of.Name == "sales.jsonl" {
			made.Sales = of.Records
		}
	}
	return made, nil
}

// counted tells how far a file has come.
type counted struct {
	w   io.Writer
	n   int64
	far *progress
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	c.far.done(c.n)
	return n, err
}
