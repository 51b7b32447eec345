package page

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"edgegw/admin"
)

// A strip says in its height as well as in its colour what it knows, and shows as up
// nothing but what somebody has seen up; what is down for half a minute can be seen,
// and lies above the rest.
func TestTheStripOfTheUplink(t *testing.T) {
	from := moment.Add(-24 * time.Hour)
	at := func(minute int) time.Time { return from.Add(time.Duration(minute) * time.Minute) }
	h := admin.History{From: from, To: moment, Uplink: []admin.Stretch{
		{From: at(0), To: at(100), State: "unknown"}, {From: at(100), To: at(200), State: "up"}, {From: at(200), To: at(200).Add(30 * time.Second), State: "down"},
		{From: at(200).Add(30 * time.Second), To: at(300), State: "up"}, {From: at(300), To: at(400), State: "off"}, {From: at(400), To: at(410), State: "untried"}, {From: at(410), To: at(1440).Add(-3 * time.Second), State: "up"}, {From: at(1440).Add(-3 * time.Second), To: at(1440), State: "down"}},
		Outages: []admin.Outage{{Began: at(200), Ended: at(200).Add(30 * time.Second), Cause: "dns", Why: "why"}}}
	d := dayView{}
	english.uplinkDay(&d, h)
	up, tops := 0, map[string]int{}
	for i, b := range d.Strip {
		if b.Class == "on" {
			up += b.W
		}
		if y, known := tops[b.Class]; known && y != b.Y {
			t.Errorf("%s at two heights", b.Class)
		}
		if tops[b.Class] = b.Y; b.Y+b.H != tall || b.X < 0 || b.X+b.W > dayUnits {
			t.Errorf("it stands out: %+v", b)
		}
		if b.Class == "off" && (i < len(d.Strip)-2 || b.W < thinnest) {
			t.Errorf("an outage is covered, or too thin: %+v at %d of %d", b, i, len(d.Strip))
		}
	}
	if want := 100 + 99 + 1029; up != want || len(tops) != 3 || tops["on"] == tops["off"] || tops["on"] == tops["none"] {
		t.Errorf("%d minutes are shown as up, want %d; heights %v", up, want, tops)
	}
	if want := "1 outage in the last 24 hours: 30 seconds."; d.Outages != want || !strings.HasPrefix(d.Told, want) || !strings.Contains(d.Blind, "3 hours") {
		t.Errorf("in words: %q, %q", d.Told, d.Blind)
	}
}

func TestOutagesInWords(t *testing.T) {
	minutes := func(all ...int) (h admin.History) {
		h.To = moment
		for _, n := range all {
			h.Outages = append(h.Outages, admin.Outage{Began: moment.Add(-time.Hour), Ended: moment.Add(time.Duration(n)*time.Minute - time.Hour)})
		}
		return h
	}
	under := minutes()
	under.Outages = []admin.Outage{{Began: moment.Add(-90 * time.Minute)}}
	for _, c := range []struct {
		h      admin.History
		en, de string
	}{
		{minutes(), "No outage in the last 24 hours that anybody noticed.", "Kein Ausfall in den letzten 24 Stunden, den jemand bemerkt hätte."},
		{minutes(14, 3), "2 outages in the last 24 hours, the longest 14 minutes.", "2 Ausfälle in den letzten 24 Stunden, der längste 14 Minuten."},
		{under, "1 outage in the last 24 hours: 90 minutes.", "1 Ausfall in den letzten 24 Stunden: 90 Minuten."},
	} {
		for l, want := range map[lang]string{english: c.en, german: c.de} {
			d := dayView{}
			if l.uplinkDay(&d, c.h); d.Outages != want {
				t.Errorf("%s: %q, want %q", l, d.Outages, want)
			}
		}
	}
}

// The overview tells the day in words, as pictures with a label, and as tables; and of
// the box what must be known.
func TestTheOverviewTellsTheDay(t *testing.T) {
	b := newBrowser(t, "owner")
	text := b.ask(http.MethodGet, "/", nil).Body.String()
	for _, want := range []string{"2 outages in the last 24 hours, the longest 60 minutes.", "276 sales in the last 24 hours.", "The most in an hour: 23, ", "1 now, 3 at most.",
		`href="/sales/pump-01/s%2F%3Cb%3E1"`, "300 MB of 31.9 GB are free", "the database takes 12 MB.", "That is little.", "Without an uplink there is room for 41 days of sales like the last one.", "Something keeps it right", "the &lt;b&gt;name&lt;/b&gt;", "so far"} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	pictures := regexp.MustCompile(`<svg class="spark"[^>]*role="img" aria-label="([^"]+)"`).FindAllStringSubmatch(text, -1)
	if len(pictures) != 3 || strings.Count(text, `class="spark"`) != 3 || strings.Count(text, "<table>") != 3 {
		t.Errorf("%d pictures with words, %d tables", len(pictures), strings.Count(text, "<table>"))
	}
	for _, m := range pictures {
		if !regexp.MustCompile(`\d`).MatchString(m[1]) {
			t.Errorf("a label without numbers: %s", m[1])
		}
	}
	b.backend.disk, b.backend.clock = "short", "unknown"
	text = b.ask(http.MethodGet, "/", nil).Body.String()
	if !strings.Contains(text, "That is less than must stay free.") || !strings.Contains(text, "this is an estimate") {
		t.Error("neither the disk nor the clock is told of")
	}
	b.lang = "de"
	text = b.ask(http.MethodGet, "/", nil).Body.String()
	for _, want := range []string{"300 MB von 31,9 GB sind frei", `<td lang="de">Der Name seines Servers lässt sich nicht auflösen</td>`, `<td lang="en">of &lt;b&gt;another`} {
		if !strings.Contains(text, want) {
			t.Errorf("in German it does not say %q", want)
		}
	}
}

// A new site has no pictures of nothing, and what is not counted yet is not shown as
// nothing sold.
func TestADayWithLittleToTell(t *testing.T) {
	b := newBrowser(t, "owner")
	h := admin.History{From: moment.Add(-23 * time.Hour), To: moment.Add(time.Hour), SalesSince: moment.Add(-23 * time.Hour), Uplink: []admin.Stretch{{From: moment.Add(-23 * time.Hour), To: moment.Add(time.Hour), State: "unknown"}}}
	b.backend.history = &h
	text := b.ask(http.MethodGet, "/", nil).Body.String()
	if !strings.Contains(text, "No sale in the last 24 hours.") || strings.Count(text, `class="spark"`) != 1 || strings.Contains(text, `class="on"`) {
		t.Error("a new site is shown otherwise")
	}
	for i := range 24 {
		h.Sales = append(h.Sales, admin.HourOfSales{From: h.From.Add(time.Duration(i) * time.Hour), Sales: int64(i / 20)})
	}
	h.SalesSince = h.From.Add(20 * time.Hour)
	d := dayView{}
	english.salesDay(&d, h)
	got := map[string]int{}
	for _, b := range d.Hours {
		got[fmt.Sprint(b.Class, b.H)]++
	}
	if d.Uncounted.IsZero() || got["none2"] != 20 || got["on40"] != 4 {
		t.Errorf("not counted since %v: %v", d.Uncounted, got)
	}
}
