package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"edgegw/admin"
	"edgegw/health"
)

type statusCmd struct {
	Check bool `help:"Exit with 3 when the gateway needs attention."`
	JSON  bool `help:"Print JSON."`
}

// Run shows the site. With --check a site that needs somebody is never "fine",
// and one whose gateway does not run neither.
func (c *statusCmd) Run(a *app) error {
	return a.with(false, func(b admin.Backend) error {
		s, err := b.Status(a.ctx)
		if err != nil {
			return err
		}
		if c.JSON {
			err = a.printJSON(s)
		} else {
			a.printStatus(s)
		}
		if reasons := attention(s); err == nil && c.Check && len(reasons) > 0 {
			return &exitError{exitAttention, fmt.Errorf("needs attention: %s; see: edgegw status", strings.Join(reasons, ", "))}
		}
		return err
	})
}

// attention lists why a person must look. What stands in the way of a queue is
// a condition of its own.
func attention(s admin.Status) (reasons []string) {
	if !s.Running {
		reasons = append(reasons, "no gateway runs (start it: edgegw run)")
	}
	for _, c := range s.Conditions {
		if c.Severity >= health.Attention {
			reasons = append(reasons, c.Code)
		}
	}
	if s.Totals.Quarantined > 0 {
		reasons = append(reasons, count(s.Totals.Quarantined, "sale")+" in quarantine")
	}
	return reasons
}

func (a *app) printStatus(s admin.Status) {
	if s.Sentence != "" {
		a.say(s.Sentence)
		fmt.Fprintln(a.out)
	}
	gateway := "does not run; this is read from its data"
	if s.Running {
		gateway = "runs, started " + a.when(s.Since) + ", version " + s.Version
	}
	uplink := s.Uplink
	if s.UplinkWhy != "" {
		uplink += ": " + s.UplinkWhy
	}
	t := s.Totals
	if !s.UplinkFrom.IsZero() {
		uplink += ", since " + a.when(s.UplinkFrom)
	}
	table(a.out, []string{"site", s.Site}, []string{"gateway", gateway}, []string{"uplink", uplink}, []string{"last 24 h", outagesInWords(s)},
		[]string{"OpenFiskal", s.OpenFiskal}, []string{"MQTT", dash(strings.Join(s.MQTT, ", "))},
		[]string{"page", a.page(s)},
		[]string{"devices", fmt.Sprintf("%d, of which %d online", s.Devices, s.Online)},
		[]string{"sales", fmt.Sprintf("%d accepted = %d confirmed + %d waiting + %d quarantined + %d resolved",
			t.Accepted, t.Confirmed, t.Waiting, t.Quarantined, t.Resolved)},
		[]string{"oldest", a.oldest(s.Oldest)},
		[]string{"receipts", fmt.Sprintf("%d wait for their device", t.Receipts)},
		[]string{"disk", diskInWords(s.Disk)}, []string{"clock", a.clockInWords(s.Clock)})
	if t.Refused > 0 {
		fmt.Fprintf(a.out, "evidence    %s that cannot be sales\n", count(t.Refused, "message"))
	}
	a.printRegisters(s.Registers)
	for _, c := range s.Conditions {
		mark := "notice"
		if c.Severity >= health.Attention {
			mark = "ATTENTION"
		}
		fmt.Fprintln(a.out)
		a.say(fmt.Sprintf("%s: %s (since %s)", mark, c.Title, a.when(c.Since)))
		fmt.Fprintln(a.out, "  "+wrap(clean(c.Remedy), widthOf(a.out), 2, 2))
	}
}

// page says where the technicians' page is, and how one gets in the first time.
func (a *app) page(s admin.Status) string {
	where := dash(strings.Join(s.Page, ", "))
	switch {
	case len(s.Page) == 0 || s.Claim.Claimed:
		return where
	case s.Claim.Code == "":
		return where + "; nobody owns it yet"
	}
	return where + "; nobody owns it yet, claim it with the code " + s.Claim.Code
}

// printRegisters shows the queues where something waits or has failed; the idle
// ones are one line together.
func (a *app) printRegisters(all []admin.Register) {
	busy := slices.DeleteFunc(slices.Clone(all), func(r admin.Register) bool { return r.State == "idle" && r.Waiting+r.Quarantined == 0 })
	if len(all) > 0 {
		fmt.Fprintf(a.out, "queues      %d, of which %d idle\n", len(all), len(all)-len(busy))
	}
	if len(busy) == 0 {
		return
	}
	rows := [][]string{{"REGISTER", "QUEUE", "WAITING", "QUARANTINED", "OLDEST", "NEXT TRY", "ATTEMPTS", "WHY"}}
	for _, r := range busy {
		rows = append(rows, []string{string(r.RegisterID), r.State, strconv.FormatInt(r.Waiting, 10), strconv.FormatInt(r.Quarantined, 10),
			a.when(r.Since), a.when(r.NextAttempt), strconv.Itoa(r.Attempts), dash(r.Reason)})
	}
	fmt.Fprintln(a.out)
	table(a.out, rows...)
}
