package page

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

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
