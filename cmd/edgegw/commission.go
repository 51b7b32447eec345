package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"edgegw/admin"
	"edgegw/health"
	"edgegw/sale"
)

type commissionCmd struct {
	JSON bool `help:"Print the report as JSON, and no steps."`
}

// lookEvery is how often the walk looks at the site.
const lookEvery = time.Second

// Run walks a person through the proof that the site works, and ends in a report.
func (c *commissionCmd) Run(a *app) error {
	return a.with(false, func(b admin.Backend) error {
		w := admin.Walk{By: admin.LocalUser(), Begun: time.Now()}
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		var said []string
		for {
			seen, err := admin.Commission(a.ctx, b)
			if err == nil {
				seen.Judge(&w, time.Now())
			}
			switch {
			case a.ctx.Err() != nil:
				return errors.New("stopped before the end, and nothing is proven: begin anew with edgegw commission")
			case err != nil:
				return err
			case !seen.Status.Running:
				return errors.New("no gateway runs, so there is nothing to prove: start it with edgegw run")
			case !c.JSON:
				said = a.sayWalk(seen, said)
			}
			if seen.Done() {
				return c.report(a, seen)
			}
			select {
			case <-tick.C:
			case <-a.ctx.Done():
			}
		}
	})
}

// sayWalk prints what has changed since said, and gives what stands now.
func (a *app) sayWalk(c admin.Commissioning, said []string) []string {
	if said == nil {
		a.say("Commissioning of " + c.Status.Site + ". Each step is ticked off when the gateway has seen it. Leave this running.")
		fmt.Fprintln(a.out)
	}
	var now string
	lines := make([]string, 0, len(c.Steps))
	for _, s := range c.Steps {
		switch {
		case s.Done:
			lines = append(lines, "  done  "+s.Says.String())
		case s.Now:
			now = "  NOW   " + s.Says.String() + lacks(s)
		}
	}
	for _, line := range append(lines, now) { // what to do stands last
		if line != "" && !slices.Contains(said, line) {
			fmt.Fprintln(a.out, clean(line))
		}
	}
	return append(lines, now)
}

// lacks says what a step is still about.
func lacks(s admin.CommissionStep) string {
	switch {
	case len(s.Lacking) > 0:
		ids := make([]string, len(s.Lacking))
		for i, id := range s.Lacking {
			ids[i] = string(id)
		}
		return " " + strings.Join(ids, ", ")
	case s.Of == "waiting":
		return " " + count(s.Count, "sale") + " to go"
	}
	return ""
}

// commissioned is the report as one object.
type commissioned struct {
	Site       string             `json:"site"`
	Version    string             `json:"version"`
	OpenFiskal string             `json:"openfiskal"`
	Made       time.Time          `json:"made"`
	Uplink     admin.Walk         `json:"uplink_test"`
	Devices    []proven           `json:"devices"`
	Conditions []health.Condition `json:"conditions"`
}

// proven is a device with its last sale that OpenFiskal has confirmed; without one
// where it is disabled.
type proven struct {
	DeviceID       sale.DeviceID   `json:"device_id"`
	Label          string          `json:"label,omitempty"`
	Kind           string          `json:"kind"`
	RegisterID     sale.RegisterID `json:"register_id"`
	State          string          `json:"state"`
	Key            string          `json:"key"`
	SaleID         string          `json:"sale_id,omitempty"`
	Total          int64           `json:"total"` // minor units of Currency
	Currency       string          `json:"currency,omitempty"`
	DocumentNumber string          `json:"document_number,omitempty"`
}

func (c *commissionCmd) report(a *app, seen admin.Commissioning) error {
	st, w := seen.Status, seen.Walk
	r := commissioned{Site: st.Site, Version: st.Version, OpenFiskal: st.OpenFiskal, Made: seen.Made, Uplink: w, Devices: []proven{}, Conditions: list(st.Conditions)}
	rows := [][]string{{"DEVICE", "LABEL", "KIND", "REGISTER", "STATE", "KEY", "LAST SALE", "RECEIPT"}}
	for _, d := range seen.Devices {
		p := proven{DeviceID: d.DeviceID, Label: d.Label, Kind: d.Kind, RegisterID: d.RegisterID, State: d.State, Key: d.Key}
		amount := ""
		if d.Last != nil {
			p.SaleID, p.Total, p.Currency, p.DocumentNumber = d.Last.SaleID, d.Last.Total, d.Last.Currency, d.Last.DocumentNumber
			amount = sale.FormatAmount(p.Total, p.Currency)
		}
		r.Devices = append(r.Devices, p)
		rows = append(rows, []string{string(p.DeviceID), dash(p.Label), p.Kind, string(p.RegisterID), p.State, p.Key, dash(amount), dash(p.DocumentNumber)})
	}
	if c.JSON {
		return a.printJSON(r)
	}
	day := func(t time.Time) string { return t.Local().Format(time.DateTime) }
	fmt.Fprintln(a.out, "\nReport of the site")
	table(a.out, []string{"site", st.Site}, []string{"made", day(seen.Made) + ", by " + w.By}, []string{"version", st.Version}, []string{"OpenFiskal", st.OpenFiskal},
		[]string{"uplink", fmt.Sprintf("taken away %s, for %s; %s waited; all delivered %s", day(w.Cut), w.Away(), count(w.Queued, "sale"), day(w.Delivered))})
	fmt.Fprintln(a.out)
	table(a.out, rows...)
	for _, one := range st.Conditions {
		a.say("stands: " + one.Title)
	}
	if len(st.Conditions) == 0 {
		a.say("Nothing stands against it.")
	}
	return nil
}
