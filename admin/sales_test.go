package admin

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A search that goes on is followed to its end, or page by page.
func TestASearchGoesOn(t *testing.T) {
	m, path, _ := serve(t)
	c := dial(t, path)
	found, err := c.FindSales(t.Context(), SaleFilter{Document: "more*", SaleID: "a&b"})
	if err != nil || found.Next != 7 || !found.Reached.Equal(time.UnixMilli(1_800_000_000_123)) || len(found.Sales) != 1 {
		t.Errorf("found %+v, %v", found, err)
	}
	all, err := c.Sales(t.Context(), SaleFilter{Document: "more*", Limit: 5})
	if last := m.filters[len(m.filters)-1]; err != nil || len(all) != 2 || last.Before != 7 || last.Limit != 4 {
		t.Errorf("listed %d, last with %+v, %v", len(all), last, err)
	}
	if all, err = c.Sales(t.Context(), SaleFilter{Document: "more*", Limit: 1}); err != nil || len(all) != 1 {
		t.Errorf("listed %d, %v", len(all), err)
	}
}

func TestASearchThatCannotBeIsRefused(t *testing.T) {
	m, path, said := serve(t)
	c := dial(t, path)
	key := "ofk_reg_live_0123456789abcdef"
	for _, f := range []SaleFilter{{State: "lost"}, {DeviceID: "Pump"}, {RegisterID: "a/b"}, {From: time.UnixMilli(2), To: time.UnixMilli(1)}, {SaleID: key}, {Document: "x" + key}, {Operation: key}} {
		if _, err := c.FindSales(t.Context(), f); err == nil {
			t.Errorf("%+v was taken", f)
		}
	}
	if said.Len() > 0 {
		t.Errorf("it got to the gateway: %s", said)
	}
	h := Handler(m)
	for _, q := range []string{"amount=x", "amount=76.22", "amount=5..1", "before=0", "before=x", "from=yesterday", "limit=0", "state=lost", "from=2026-11-22T08:00:00Z&to=2026-11-22T07:00:00Z", "sale_id=" + key, "document_number=" + key} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, Prefix+"/sales?"+q, nil))
		if w.Code != http.StatusBadRequest || strings.Contains(w.Body.String(), key) {
			t.Errorf("%s: %d %s", q, w.Code, w.Body)
		}
	}
	if len(m.filters) > 0 {
		t.Errorf("searched %+v", m.filters)
	}
}

// A sale's id is any printable ASCII, also what means something in an address.
func TestTheIdOfASaleArrivesWhole(t *testing.T) {
	m, path, _ := serve(t)
	c := dial(t, path)
	ids := []string{"4711", "a/b", "a//b", "..", ".", "../x", "a b", "?x=1", "#1", "100%", "%2F", "a%b&c=d+e;f", `\"'<>`}
	for i, id := range ids {
		s, err := c.SaleStory(t.Context(), "pump-1", id, i%2 == 1)
		if err != nil || s.Sale.SaleID != id || s.Parts == nil {
			t.Errorf("%q: %+v, %v", id, s, err)
		}
		if len(m.told) != i+1 || m.told[i] != fmt.Sprintf("pump-1 %s %v", id, i%2 == 1) {
			t.Fatalf("%q arrived as %q", id, m.told)
		}
	}
	for _, id := range []string{"", "ofk_reg_live_0123456789abcdef"} {
		if _, err := c.SaleStory(t.Context(), "pump-1", id, false); err == nil || len(m.told) != len(ids) {
			t.Errorf("%q was asked for", id)
		}
	}
}
