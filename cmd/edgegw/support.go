package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"edgegw/admin"
	"edgegw/gateway"
	"edgegw/support"
)

type supportBundleCmd struct {
	Output string `short:"o" placeholder:"FILE" help:"Where to write it (default: edgegw-support-SITE-TIME.zip here). An existing file is not overwritten."`
	JSON   bool   `help:"Print JSON."`
}

// madeBundle says what was written.
type madeBundle struct {
	File  string `json:"file"`
	Bytes int64  `json:"bytes"`
	support.Manifest
}

// Run writes a file that can be sent to somebody who was never at the site. Where
// the data cannot be opened it has what can be said all the same.
func (c *supportBundleCmd) Run(a *app) error {
	conf, err := a.load()
	if err != nil {
		return err
	}
	path := c.Output
	if path == "" {
		path = admin.BundleName(conf.Site.Name, time.Now())
	}
	made, err := writeBundle(absolute(path), func(w io.Writer) error {
		b, err := a.backend(false)
		if err != nil {
			if a.ctx.Err() != nil {
				return err
			}
			return gateway.SupportClosed(a.ctx, conf, gateway.Options{Version: versionText()}, err, w, admin.LocalUser())
		}
		err = b.SupportBundle(a.ctx, w, admin.LocalUser())
		return errors.Join(err, b.Close())
	})
	if err != nil {
		return err
	}
	if c.JSON {
		return a.printJSON(made)
	}
	a.printBundle(made)
	return nil
}

// writeBundle leaves a whole bundle behind, or nothing. The file is for whoever made
// it: it tells a stranger much about the site.
func writeBundle(path string, write func(io.Writer) error) (made madeBundle, err error) {
	const writing = "write the support bundle"
	err = newFile(path, notOverwritten(path), writing, writing, func(f *os.File) error {
		err := errors.Join(write(f), f.Sync())
		if err == nil {
			made, err = bundleIn(f)
		}
		return err
	})
	return made, err
}

func bundleIn(f *os.File) (made madeBundle, err error) {
	info, err := f.Stat()
	if err != nil {
		return made, err
	}
	made.File, made.Bytes = f.Name(), info.Size()
	made.Manifest, err = support.Read(f, made.Bytes)
	return made, err
}

func (a *app) printBundle(made madeBundle) {
	rows := [][]string{{"FILE", "BYTES", "WHAT"}}
	for _, f := range made.Files {
		what := f.What
		if f.Cut > 0 {
			what += fmt.Sprintf(" (cut %s: %d bytes are missing)", f.CutWhere, f.Cut)
		}
		rows = append(rows, []string{f.Name, strconv.Itoa(f.Size), what})
	}
	for _, m := range made.Missing {
		rows = append(rows, []string{m.Name, "-", "missing: " + m.Why})
	}
	table(a.out, rows...)
	fmt.Fprintln(a.out, "\nLeft out on purpose:")
	for _, l := range made.LeftOut {
		fmt.Fprintln(a.out, wrap("  "+clean(l.What), widthOf(a.out), 0, 2))
	}
	for _, n := range made.Notes {
		fmt.Fprintln(a.out, "\n"+wrap(clean(n), widthOf(a.out), 0, 0))
	}
	fmt.Fprintf(a.out, "\n%s, %d bytes. It holds no key and no password; it tells much about the site all the same: give it only to whoever is to help.\n", clean(made.File), made.Bytes)
}
