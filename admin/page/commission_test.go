package page

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"edgegw/admin"
)

// The walk goes on only by what was seen.
func TestTheWalk(t *testing.T) {
	queue := func(state string, n int64) []admin.Register {
		return []admin.Register{{State: state, Totals: admin.Totals{Waiting: n}}}
	}
	up := func(state string, n int64) admin.Status {
		return admin.Status{Uplink: "up", Registers: queue(state, n)}
	}
	down := func(state string, n int64) admin.Status {
		return admin.Status{Uplink: "down", Registers: queue(state, n)}
	}
	type seen struct{ cut, back, delivered bool }
	for _, row := range []struct {
		name   string
		begun  bool
		unsold bool
		seen   []admin.Status
		want   seen
		queued int64
	}{
		{"nobody has begun", false, false, []admin.Status{down("waiting", 2), up("idle", 0)}, seen{}, 0},
		{"a device has not sold yet", true, true, []admin.Status{down("waiting", 2), up("idle", 0)}, seen{}, 0},
		{"it stays up", true, false, []admin.Status{up("idle", 0), up("waiting", 2), up("idle", 0)}, seen{}, 0},
		{"away", true, false, []admin.Status{up("idle", 0), down("idle", 0)}, seen{cut: true}, 0},
		{"away and back, and nobody sold", true, false, []admin.Status{down("idle", 0), up("idle", 0)}, seen{}, 0},
		{"the second time somebody sells", true, false, []admin.Status{down("idle", 0), up("idle", 0), down("waiting", 1), up("waiting", 1)}, seen{cut: true, back: true}, 1},
		{"an open sale is no queue", true, false, []admin.Status{down("idle", 3)}, seen{cut: true}, 0},
		{"sales wait", true, false, []admin.Status{down("idle", 0), down("waiting", 3), down("waiting", 2)}, seen{cut: true}, 3},
		{"back, and they go", true, false, []admin.Status{down("waiting", 3), up("waiting", 2)}, seen{cut: true, back: true}, 3},
		{"all delivered", true, false, []admin.Status{down("waiting", 3), up("waiting", 2), up("idle", 1)}, seen{true, true, true}, 3},
		{"all at once", true, false, []admin.Status{down("retrying", 3), up("idle", 0)}, seen{true, true, true}, 3},
		{"away again before all is delivered", true, false, []admin.Status{down("waiting", 3), up("waiting", 3), down("idle", 0)}, seen{cut: true, back: true}, 3},
		{"a blocked queue is not delivered", true, false, []admin.Status{down("waiting", 3), up("blocked", 1)}, seen{cut: true, back: true}, 3},
	} {
		w := walk{}
		if row.begun {
			w.Begun = moment
		}
		for i, st := range row.seen {
			w.observe(st, !row.unsold, moment.Add(time.Duration(i+1)*time.Minute))
		}
		if got := (seen{!w.Cut.IsZero(), !w.Back.IsZero(), !w.Delivered.IsZero()}); got != row.want || w.Queued != row.queued {
			t.Errorf("%s: %+v, %d queued; want %+v, %d", row.name, got, w.Queued, row.want, row.queued)
		}
	}
}

// The report is there when everything was seen, and not before.
func TestTheReportEndsTheWalk(t *testing.T) {
	b := newBrowser(t, "technician")
	b.backend.uplink, b.backend.queue = "up", "idle"
	page := func(uplink, queue string) string {
		b.backend.uplink, b.backend.queue = uplink, queue
		return b.ask(http.MethodGet, "/commissioning", nil).Body.String()
	}
	const report, offer = "Report of the site", `action="/commissioning/begin"`
	if text := page("up", "idle"); strings.Contains(text, report) || !strings.Contains(text, offer) {
		t.Errorf("before it began:\n%s", text)
	}
	b.ask(http.MethodPost, "/commissioning/begin", url.Values{})
	for _, row := range []struct{ uplink, queue string }{{"up", "idle"}, {"down", "waiting"}, {"up", "waiting"}} {
		if text := page(row.uplink, row.queue); strings.Contains(text, report) || strings.Contains(text, offer) {
			t.Errorf("%+v: the report is there already", row)
		}
	}
	text := page("up", "idle")
	for _, want := range []string{report, "anna-technician", "2026-000001", "Station &lt;1&gt;", "reg_1"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report has no %q:\n%s", want, text)
		}
	}
}
