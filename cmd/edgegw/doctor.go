package main

import (
	"errors"
	"fmt"
	"strings"

	"edgegw/admin"
	"edgegw/doctor"
	"edgegw/gateway"
)

type doctorCmd struct {
	JSON bool `help:"Print JSON."`
}

// Run looks at everything. A site whose data cannot be opened is looked at all the
// same: that is when somebody needs it most.
func (c *doctorCmd) Run(a *app) error {
	conf, err := a.load()
	if err != nil {
		return err
	}
	all, err := a.examine(func(closed error) []admin.Check {
		return gateway.DoctorClosed(a.ctx, conf, gateway.Options{Version: versionText()}, closed)
	})
	if err != nil {
		return err
	}
	if c.JSON {
		err = a.printJSON(all)
	} else {
		a.printChecks(all)
	}
	if err == nil && doctor.NeedsSomebody(all) {
		return &exitError{exitAttention, errSaid}
	}
	return err
}

func (a *app) examine(closed func(error) []admin.Check) ([]admin.Check, error) {
	b, err := a.backend(false)
	if err != nil {
		if a.ctx.Err() != nil {
			return nil, err
		}
		return closed(err), nil
	}
	all, err := b.Doctor(a.ctx, versionText())
	return all, errors.Join(err, b.Close())
}

// words of the states, as wide as the widest.
var checkWords = map[doctor.State]string{doctor.OK: "ok", doctor.Notice: "notice", doctor.Failed: "FAILED", doctor.Skipped: "skipped"}

func (a *app) printChecks(all []admin.Check) {
	n := map[doctor.State]int64{}
	wide := 0
	for _, c := range all {
		n[c.State]++
		wide = max(wide, len(c.Check))
	}
	for _, c := range all {
		fmt.Fprintf(a.out, "%-7s  %-*s  %s\n", checkWords[c.State], wide, c.Check, clean(c.Found))
		if c.Fix != "" {
			fmt.Fprintf(a.out, "%s%s\n", strings.Repeat(" ", 9+wide+2), clean(c.Fix))
		}
	}
	verdict := "Nothing needs you."
	if n[doctor.Failed] > 0 {
		verdict = "What failed is at the top, each with what to do."
	}
	fmt.Fprintf(a.out, "\n%d checks: %d failed, %d notices, %d ok, %d skipped. %s\n",
		len(all), n[doctor.Failed], n[doctor.Notice], n[doctor.OK], n[doctor.Skipped], verdict)
}
