package page

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"edgegw/admin"
)

// dayView is the last 24 hours, in words, in pictures, and as tables.
type dayView struct {
	Outages string // how many, in a sentence
	Blind   string // of how much of it nobody knows; "" for none
	Strip   []bar
	Told    string // the strip in words
	Legend  []legend
	Broken  []outageRow     // the newest first
	Uplink  []admin.Stretch // likewise

	Sales       string
	Most        *admin.HourOfSales // the hour with the most; nil where nothing was sold
	Uncounted   time.Time          // sales before it are not counted yet; zero: all are
	Hours       []bar
	HoursTold   string
	ByHour      []hourRow // the newest first
	Waiting     string
	Looked      time.Time // since when what waits is looked at; zero: no gateway looks
	Curve       string    // of what waited, a path; "" where nothing did
	CurveTold   string
	BeforeCurve int // how far into the picture nobody has looked
}

// bar is a part of a picture, in its own units.
type bar struct {
	X, Y, W, H int
	Class      string
}

type legend struct{ Class, Text string }

type outageRow struct {
	admin.Outage
	Lasted, Why string
	Lang        lang // of Why
}

type hourRow struct {
	From   time.Time
	Sales  int64
	Waited string // "" where nobody looked
}

const (
	mostRows  = 40   // of a table; edgegw history has all
	dayUnits  = 1440 // the pictures are as wide as a day has minutes
	thinnest  = 8    // so that half a minute without a link can be seen
	tall      = 40
	perUnit   = time.Minute
	hourWidth = dayUnits / 24
)

func (v *visit) day(h admin.History, waiting int64) dayView {
	d := dayView{}
	v.lang.uplinkDay(&d, h)
	v.lang.salesDay(&d, h)
	v.lang.waitingDay(&d, h, waiting)
	return d
}

// uplinkDay tells of the way to OpenFiskal.
func (l lang) uplinkDay(d *dayView, h admin.History) {
	n := int64(len(h.Outages))
	d.Outages = l.text("No outage in the last 24 hours that anybody noticed.")
	if n > 0 {
		d.Outages = strings.Replace(l.count(n, "%d outage in the last 24 hours: %s.", "%d outages in the last 24 hours, the longest %s."), "%s", l.long(admin.Longest(h.Outages, h.To)), 1)
	}
	var blind time.Duration
	shown := map[string]bool{}
	for _, s := range h.Uplink {
		b := bar{X: int(s.From.Sub(h.From) / perUnit), W: max(1, int(s.To.Sub(s.From)/perUnit)), Class: classOf(s.State)}
		switch b.Class {
		case "on":
			b.Y, b.H = 14, tall-14
		case "off":
			b.H, b.W = tall, max(b.W, thinnest)
		default:
			b.Y, b.H = tall-8, 8
			blind += s.To.Sub(s.From)
		}
		b.X = min(b.X, dayUnits-b.W) // what has just begun can be seen
		shown[b.Class] = true
		d.Strip = append(d.Strip, b)
	}
	// What is down lies above what is not.
	slices.SortStableFunc(d.Strip, func(a, b bar) int { return order[a.Class] - order[b.Class] })
	for _, x := range []legend{{"on", l.text("connected")}, {"off", l.text("no connection")}, {"none", l.text("not known, or no gateway ran")}} {
		if shown[x.Class] {
			d.Legend = append(d.Legend, x)
		}
	}
	if blind >= time.Minute {
		d.Blind = l.text("Of %s nobody knows: no gateway ran, nothing was sent yet, or it was not written down.", l.long(blind))
	}
	d.Told = strings.TrimSpace(d.Outages + " " + d.Blind)
	for _, o := range slices.Backward(h.Outages) {
		why, in := l.cause(o)
		d.Broken = append(d.Broken, outageRow{o, l.long(o.Lasted(h.To)), why, in})
	}
	d.Broken = d.Broken[:min(len(d.Broken), mostRows)]
	for _, s := range slices.Backward(h.Uplink) {
		d.Uplink = append(d.Uplink, s)
	}
	d.Uplink = d.Uplink[:min(len(d.Uplink), mostRows)]
}

var order = map[string]int{"on": 1, "off": 2}

// classOf is how a state of the uplink looks. Nothing looks as if it had been up that
// nobody has seen up.
func classOf(state string) string {
	switch state {
	case admin.UplinkUp:
		return "on"
	case admin.UplinkDown:
		return "off"
	}
	return "none"
}

// cause says why there was an outage, and in which language.
func (l lang) cause(o admin.Outage) (string, lang) {
	if why := causesInGerman[o.Cause]; l == german && why != "" {
		return why, german
	}
	return cmp.Or(o.Why, o.Cause), english
}

// salesDay tells how many sales began.
func (l lang) salesDay(d *dayView, h admin.History) {
	all, most := int64(0), int64(0)
	for i := range h.Sales {
		x := &h.Sales[i]
		if all += x.Sales; x.Sales > most {
			most, d.Most = x.Sales, x
		}
		row := hourRow{From: x.From, Sales: x.Sales}
		if n, looked := waitedIn(h.Waiting, x.From); looked {
			row.Waited = fmt.Sprint(n)
		}
		d.ByHour = append(d.ByHour, row)
	}
	slices.Reverse(d.ByHour)
	if len(h.Sales) > 0 && h.SalesSince.After(h.Sales[0].From) {
		d.Uncounted = h.SalesSince
	}
	d.Sales = l.text("No sale in the last 24 hours.")
	if all == 0 {
		return
	}
	d.Sales = l.count(all, "%d sale in the last 24 hours.", "%d sales in the last 24 hours.")
	d.HoursTold = fmt.Sprintf("%s %s: %d, %s.", d.Sales, l.text("The most in an hour"), most, l.hour(d.Most.From))
	for i, x := range h.Sales {
		height := int(x.Sales * tall / most)
		if x.Sales > 0 {
			height = max(height, 2)
		}
		b := bar{X: i*hourWidth + 4, Y: tall - height, W: hourWidth - 8, H: height, Class: "on"}
		if x.From.Before(d.Uncounted) {
			b = bar{X: b.X, Y: tall - 2, W: b.W, H: 2, Class: "none"}
		}
		d.Hours = append(d.Hours, b)
	}
}

// waitedIn is the most that waited in an hour, where somebody looked.
func waitedIn(all []admin.WaitingSales, from time.Time) (most int64, looked bool) {
	for _, w := range all {
		if !w.At.Before(from) && w.At.Before(from.Add(time.Hour)) {
			most, looked = max(most, w.Waiting), true
		}
	}
	return most, looked
}

// waitingDay tells how many waited since the gateway began.
func (l lang) waitingDay(d *dayView, h admin.History, now int64) {
	if len(h.Waiting) == 0 {
		return
	}
	d.Looked = h.Waiting[0].At
	most := now
	for _, w := range h.Waiting {
		most = max(most, w.Waiting)
	}
	if most == 0 {
		d.Waiting = l.text("Nothing has waited.")
		return
	}
	d.Waiting = l.text("%d now, %d at most.", now, most)
	d.CurveTold = l.text("Sales that waited") + ": " + d.Waiting
	at := func(t time.Time) int { return min(dayUnits, max(0, int(t.Sub(h.From)/perUnit))) }
	d.BeforeCurve = min(at(d.Looked), dayUnits-thinnest)
	var path strings.Builder
	fmt.Fprintf(&path, "M%d %d", d.BeforeCurve, tall)
	for i, w := range h.Waiting {
		end := h.To
		if i+1 < len(h.Waiting) {
			end = h.Waiting[i+1].At
		}
		fmt.Fprintf(&path, "V%dH%d", tall-int(w.Waiting*tall/most), at(end))
	}
	fmt.Fprintf(&path, "V%dZ", tall)
	d.Curve = path.String()
}

// long is a duration in its largest unit, of which there are two at least: an hour and
// a half is no hour.
func (l lang) long(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return l.count(int64(d/time.Second), "%d second", "%d seconds")
	case d < 2*time.Hour:
		return l.count(int64(d/time.Minute), "%d minute", "%d minutes")
	case d < 48*time.Hour:
		return l.count(int64(d/time.Hour), "%d hour", "%d hours")
	}
	return l.count(int64(d/(24*time.Hour)), "%d day", "%d days")
}

// hour is a time of day in the box's zone; static/live.js shows it in the phone's.
func (l lang) hour(t time.Time) string { return t.Local().Format("15:04 MST") }

// short is a moment of these days, likewise.
func (l lang) short(t time.Time) string {
	if l == german {
		return t.Local().Format("02.01. 15:04 MST")
	}
	return t.Local().Format("01-02 15:04 MST")
}

// bytes is a size as people read it.
func (l lang) bytes(n int64) string {
	point := "."
	if l == german {
		point = ","
	}
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%d%s%d GB", n/1e9, point, n%1e9/1e8)
	case n >= 1e6:
		return fmt.Sprintf("%d MB", n/1e6)
	}
	return fmt.Sprintf("%d kB", (n+999)/1000)
}
