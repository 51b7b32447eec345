package main

import (
	"fmt"
	"os"

	"edgegw/admin"
	"edgegw/audit"
)

type verifyCmd struct {
	File string   `arg:"" optional:"" help:"An export. Without one, the audit trail of the site is checked."`
	Head []string `placeholder:"VALUE" sep:"none" help:"A chain value that was noted before, and must occur; may stand several times."`
	JSON bool     `help:"Print JSON."`
}

// verified is what verify says, of a site's trail and of an export alike.
type verified struct {
	OK      bool        `json:"ok"`
	File    string      `json:"file,omitempty"`
	Records int64       `json:"records"` // that are as they were written, up to the first that is not
	HeadNo  int64       `json:"head_no"`
	Head    audit.Chain `json:"head"`
	Found   string      `json:"found,omitempty"` // altered, missing, inserted or reordered
	In      string      `json:"in,omitempty"`    // the file of the export
	Record  int64       `json:"record,omitempty"`
	Name    string      `json:"name,omitempty"`
	Message string      `json:"message,omitempty"`
	Note    string      `json:"note,omitempty"` // what else must be known of it
}

// Run checks an export or the audit trail; 1 where a record was altered.
func (c *verifyCmd) Run(a *app) error {
	var heads []audit.Chain
	for _, text := range c.Head {
		h, err := audit.ParseChain(text)
		if err != nil {
			return usage("--head needs a chain value of 64 hexadecimal digits, as export and verify print it")
		}
		heads = append(heads, h)
	}
	check := c.trail
	if c.File != "" {
		check = c.file
	}
	v, fault, err := check(a, heads)
	if err != nil {
		return err
	}
	if fault != nil {
		v.Found, v.In, v.Record, v.Name, v.Message = fault.Kind, fault.File, fault.Record, fault.Name, fault.Message
	}
	v.OK = fault == nil
	if c.JSON {
		if err := a.printJSON(v); err != nil || v.OK {
			return err
		}
		return errSaid
	}
	if !v.OK {
		why := fault.Message
		if v.Note != "" {
			why += "; " + v.Note
		}
		return fmt.Errorf("%s. Keep this as it is, and see docs/export.md", why)
	}
	what := "The audit trail"
	if v.File != "" {
		what = v.File
	}
	if v.Note != "" {
		fmt.Fprintf(a.out, "%s fits together: %s. But %s.\n", what, count(v.Records, "record"), v.Note)
	} else {
		fmt.Fprintf(a.out, "%s is as it was written: %s.\n", what, count(v.Records, "record"))
	}
	if v.HeadNo > 0 {
		fmt.Fprintf(a.out, "The chain value of the audit trail after line %d, to be noted:\n%s\n", v.HeadNo, v.Head)
	}
	return nil
}

// trail has the site look at its own.
func (c *verifyCmd) trail(a *app, heads []audit.Chain) (v verified, fault *audit.Fault, err error) {
	err = a.with(false, func(b admin.Backend) error {
		of, err := b.Verify(a.ctx, heads)
		v = verified{Records: of.Lines, HeadNo: of.Head.No, Head: of.Head.Chain, Note: of.Note}
		if fault = of.Fault; fault == nil && !of.OK {
			return fmt.Errorf("check the audit trail: the gateway says that it was altered, and not where")
		}
		return err
	})
	return v, fault, err
}

// file looks at an export; it asks nobody.
func (c *verifyCmd) file(a *app, heads []audit.Chain) (v verified, fault *audit.Fault, err error) {
	f, err := os.Open(c.File)
	if err != nil {
		return v, nil, fmt.Errorf("read the export: %w", unreadable(c.File, err))
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return v, nil, fmt.Errorf("read the export: %w", err)
	}
	far, n := a.progress("verify", "record", 0), int64(0)
	report, fault := audit.Verify(f, info.Size(), heads, func() { n++; far.done(n) })
	far.end()
	last := report.Manifest.Trail.Last
	return verified{File: absolute(c.File), Records: report.Records, HeadNo: last.No, Head: last.Chain}, fault, nil
}
