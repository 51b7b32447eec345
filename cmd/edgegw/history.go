package main

import (
	"fmt"
	"strconv"
	"time"

	"edgegw/admin"
)

type historyCmd struct {
	JSON bool `help:"Print JSON."`
}

// Run tells how the last day was.
func (c *historyCmd) Run(a *app) error {
	return a.with(false, func(b admin.Backend) error {
		h, err := b.History(a.ctx)
		if err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(h)
		}
		a.printHistory(h)
		return nil
	})
}

// uplinkWords are the states of the uplink as people read them.
var uplinkWords = map[string]string{
	admin.UplinkUp:      "connected",
	admin.UplinkDown:    "no connection",
	admin.UplinkUntried: "not tried yet",
	admin.UplinkOff:     "no gateway ran",
	admin.UplinkUnknown: "not known",
}

func (a *app) printHistory(h admin.History) {
	a.say(fmt.Sprintf("From %s to %s: %s.", h.From.Local().Format(time.DateTime), h.To.Local().Format(time.DateTime), countOutages(h.Outages, h.To)))
	if len(h.Outages) > 0 {
		rows := [][]string{{"OUTAGE", "UNTIL", "LASTED", "CAUSE", "WHY"}}
		for _, o := range h.Outages {
			until := "now"
			if !o.Ended.IsZero() {
				until = a.when(o.Ended)
			}
			rows = append(rows, []string{a.when(o.Began), until, span(o.Lasted(h.To)), dash(o.Cause), o.Why})
		}
		fmt.Fprintln(a.out)
		table(a.out, rows...)
	}
	rows := [][]string{{"UPLINK FROM", "FOR", "STATE"}}
	for _, s := range h.Uplink {
		rows = append(rows, []string{a.when(s.From), span(s.To.Sub(s.From)), uplinkWords[s.State]})
	}
	fmt.Fprintln(a.out)
	table(a.out, rows...)
	fmt.Fprintln(a.out)
	table(a.out, hourRows(h)...)
	if len(h.Sales) > 0 && h.SalesSince.After(h.Sales[0].From) {
		fmt.Fprintf(a.out, "Sales are counted since %s; those before are still being counted.\n", a.when(h.SalesSince))
	}
}

// hourRows has the sales of each hour, and the most that waited in it, where somebody
// looked.
func hourRows(h admin.History) [][]string {
	rows := [][]string{{"HOUR FROM", "SALES", "WAITED AT MOST"}}
	for _, hour := range h.Sales {
		most, looked := int64(0), false
		for _, w := range h.Waiting {
			if !w.At.Before(hour.From) && w.At.Before(hour.From.Add(time.Hour)) {
				most, looked = max(most, w.Waiting), true
			}
		}
		waited := "-"
		if looked {
			waited = strconv.FormatInt(most, 10)
		}
		rows = append(rows, []string{hour.From.Local().Format("2006-01-02 15:04"), strconv.FormatInt(hour.Sales, 10), waited})
	}
	return rows
}

func countOutages(all []admin.Outage, now time.Time) string {
	if len(all) == 0 {
		return "no outage that anybody noticed"
	}
	return fmt.Sprintf("%s, the longest %s", count(int64(len(all)), "outage"), span(admin.Longest(all, now)))
}

func outagesInWords(s admin.Status) string {
	text := countOutages(s.Outages, s.Clock.Now)
	if len(s.Outages) > 0 {
		text += "; see: edgegw history"
	}
	return text
}

// oldest names the sale that has waited longest.
func (a *app) oldest(w *admin.WaitingSale) string {
	if w == nil {
		return "no sale waits to be sent"
	}
	return fmt.Sprintf("%s/%s waits to be sent, since %s", w.DeviceID, w.SaleID, a.when(w.Since))
}

func diskInWords(d *admin.Disk) string {
	if d == nil {
		return "this system does not tell"
	}
	text := fmt.Sprintf("%s of %s are free; the database takes %s", bytesOf(d.Free), bytesOf(d.Total), bytesOf(d.Database))
	if d.DaysLeft != nil {
		text += fmt.Sprintf("; room for %s like the last one (%s) without an uplink", count(*d.DaysLeft, "day"), count(d.SalesADay, "sale"))
	}
	switch d.State {
	case admin.DiskShort:
		text += "; THAT IS LESS THAN store.min_free_bytes: make room, by removing what is not edgegw's"
	case admin.DiskLow:
		text += "; less than twice store.min_free_bytes: make room soon"
	}
	return text
}

// bytesOf writes bytes as people count them: 1 GB is a thousand MB.
func bytesOf(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%d.%d GB", n/1e9, n%1e9/1e8)
	case n >= 1e6:
		return fmt.Sprintf("%d MB", n/1e6)
	}
	return fmt.Sprintf("%d kB", (n+999)/1000)
}

func (a *app) clockInWords(c admin.Clock) string {
	if c.Now.IsZero() {
		return "-" // a gateway of an older version does not say
	}
	what := "synchronised: something keeps it right"
	switch c.Quality {
	case "informative":
		what = "informative: plausible, and nothing keeps it right"
	case "unknown":
		what = "unknown: it cannot be right, and is estimated"
	}
	return c.Now.Local().Format("2006-01-02 15:04:05 MST") + ", " + what
}
