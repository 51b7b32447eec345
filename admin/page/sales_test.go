package page

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/sale"
)

func local(hour, minute int) time.Time {
	return time.Date(2026, 11, 22, hour, minute, 0, 0, time.Local)
}

func TestTheSearchForSales(t *testing.T) {
	for query, want := range map[string]admin.SaleFilter{
		"":                             {},
		"id=+a%2Fb+":                   {SaleID: "a/b"},
		"receipt=2026-00*":             {Document: "2026-00*"},
		"amount=76,22":                 {Amount: sale.Amounts{Set: true, Least: 7622, Most: 7622}},
		"amount=76.22..80":             {Amount: sale.Amounts{Set: true, Least: 7622, Most: 8000}},
		"from=2026-11-22T08:45":        {From: local(8, 45)},
		"to=2026-11-22T08:45":          {To: local(8, 46)},
		"to=2026-11-21":                {To: local(0, 0)},
		"device=pump-01&state=waiting": {DeviceID: "pump-01", State: "waiting"},
		"register=reg_1&operation=op":  {RegisterID: "reg_1", Operation: "op"},
		"before=4711":                  {Before: 4711},
		"before=nonsense":              {},
	} {
		b := newBrowser(t, "auditor")
		w := b.ask(http.MethodGet, "/sales?"+query, nil)
		want.Limit = pageOfSales
		if w.Code != http.StatusOK || len(b.backend.filters) != 1 || b.backend.filters[0] != want {
			t.Errorf("%s: %d, searched %+v, want %+v", query, w.Code, b.backend.filters, want)
		}
	}
}

func TestAWrongSearchCanBeMended(t *testing.T) {
	key := "ofk_reg_live_0123456789abcdef"
	for query, want := range map[string]string{"amount=<much>": `value="&lt;much&gt;"`, "from=yesterday": `value="yesterday"`, "from=2026-11-23&to=2026-11-21": "", "state=lost": "", "id=" + key: ""} {
		b := newBrowser(t, "owner")
		w := b.ask(http.MethodGet, "/sales?"+query, nil)
		text := w.Body.String()
		if w.Code < 400 || len(b.backend.filters) > 0 || !strings.Contains(text, `role="alert"`) || !strings.Contains(text, `name="amount"`) || !strings.Contains(text, want) || strings.Contains(text, key) {
			t.Errorf("%s: %d, searched %+v\n%s", query, w.Code, b.backend.filters, text)
		}
	}
}

// A search that has not come to its end says so, and goes on with what was typed.
func TestOlderSales(t *testing.T) {
	b := newBrowser(t, "owner")
	text := b.ask(http.MethodGet, "/sales?receipt=2026%26x&device=pump-01", nil).Body.String()
	m := regexp.MustCompile(`href="(/sales\?[^"]*)">Older ones`).FindStringSubmatch(text)
	if m == nil || !strings.Contains(text, "The search has got this far back: <time") {
		t.Fatalf("no way on:\n%s", text)
	}
	text = b.ask(http.MethodGet, html.UnescapeString(m[1]), nil).Body.String()
	last := b.backend.filters[len(b.backend.filters)-1]
	if want := (admin.SaleFilter{Document: "2026&x", DeviceID: "pump-01", Before: 7, Limit: pageOfSales}); last != want || strings.Contains(text, "Older ones") || strings.Contains(text, "data-follow") {
		t.Errorf("searched on with %+v", last)
	}
}

// The story of a sale, in both languages: each part in words and in order, and what
// was reported only where it is asked for.
func TestTheStoryOfASaleInWords(t *testing.T) {
	for _, row := range []struct {
		lang  string
		parts []string
	}{
		{"en", []string{"The device reported the whole sale.", "By the device&#39;s clock: 2026-11-22T08:31:07", "does not vouch for its clock", "clock was wrong then", "start was never reported", "Request: end", "confirmed · POST /sales/op/complete · key-of-it",
			"Put into quarantine.", "refuses its &lt;b&gt;complete", "may have been carried out", "Item 7 of the quarantine", "Decided: try again", "person:anna: mended", "Tried in vain: end", "OpenFiskal could not be reached", "136 attempts until <time",
			"connection &lt;refused&gt;", "OpenFiskal confirmed: end", "was read back", "req_1", "The receipt was laid down", "2026-000001", "The device has taken its receipt."}},
		{"de", []string{"Das Gerät hat den ganzen Verkauf gemeldet.", "Nach der Uhr des Geräts: 2026-11-22T08:31:07", "Uhr des Gateways ging da falsch", "Anfrage: Ende", "In Quarantäne gekommen.", "Eintrag 7 der Quarantäne", "Entschieden: noch einmal versuchen", "Vergeblich versucht: Ende",
			"OpenFiskal war nicht zu erreichen", "136 Versuche bis <time", "OpenFiskal hat bestätigt: Ende", "Der Beleg liegt", "signiert", "Das Gerät hat seinen Beleg geholt."}},
	} {
		b := newBrowser(t, "auditor")
		b.lang = row.lang
		for _, query := range []string{"", "?payloads=1"} {
			text := b.ask(http.MethodGet, "/sales/pump-01/s1"+query, nil).Body.String()
			rest := text
			for _, part := range row.parts {
				_, after, found := strings.Cut(rest, part)
				if !found {
					t.Fatalf("%s: no %q, or not in its place:\n%s", row.lang, part, text)
				}
				rest = after
			}
			if shown := strings.Count(text, "************1111"); strings.Contains(text, "4111111111111111") || (shown > 1) != (query != "") || strings.Contains(text, "<pre>") != (query != "") {
				t.Errorf("%s %s: %d masked numbers in\n%s", row.lang, query, shown, text)
			}
			if live := strings.Contains(text, "data-follow"); live == (query != "") {
				t.Errorf("%s: it follows: %v", query, live)
			}
		}
	}
}

// A sale's id may mean something in an address: its link leads to it all the same.
func TestTheLinkToASale(t *testing.T) {
	link := regexp.MustCompile(`href="(/sales/[^"]*)\?payloads=1"`)
	for _, id := range []string{"4711", "a/b", "a//b", "../x", "a b", "?x=1", "#1", "100%", "%2F", "a&b=c+d;e", `\"'<>`} {
		b := newBrowser(t, "owner")
		text := b.ask(http.MethodGet, "/sales/pump-01/"+url.PathEscape(id), nil).Body.String()
		m := link.FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("%q has no link:\n%s", id, text)
		}
		w := b.ask(http.MethodGet, html.UnescapeString(m[1]), nil)
		if want := fmt.Sprint("pump-01 ", id, " false"); w.Code != http.StatusOK || len(b.backend.told) != 2 || b.backend.told[0] != want || b.backend.told[1] != want {
			t.Errorf("%q: %s leads to %d, %q", id, m[1], w.Code, b.backend.told)
		}
	}
	if w := newBrowser(t, "owner").ask(http.MethodGet, "/sales/pump-01/none", nil); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "There is no such sale on this box.") {
		t.Errorf("no sale: %d %s", w.Code, w.Body)
	}
}
