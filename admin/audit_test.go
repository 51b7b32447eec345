package admin

import (
	"context"
	"net/http"
	"reflect"
	"testing"
	"time"

	"edgegw/sale"
)

func (m *memory) Audit(_ context.Context, f AuditFilter) ([]AuditEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.audited = append(m.audited, f)
	return []AuditEntry{{No: 3, At: time.Unix(1, 0).UTC(), Who: "person:anna", What: "device added", Subject: "pump-1"}}, m.broken
}

func TestAuditFilterArrivesWhole(t *testing.T) {
	m, path, _ := serve(t)
	from := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	want := AuditFilter{Who: "person:anna", What: "device added", Subject: "pump-1", From: from, To: from.Add(time.Hour), Before: 17, Limit: 5}
	all, err := dial(t, path).Audit(t.Context(), want)
	if err != nil || len(all) != 1 || all[0].No != 3 || !reflect.DeepEqual(m.audited, []AuditFilter{want}) {
		t.Errorf("%+v, %v; asked %+v", all, err, m.audited)
	}
	_, url := remote(t)
	for _, query := range []string{"from=yesterday", "to=2026-11-22", "before=x", "before=0", "before=-1", "limit=0", "limit=x", "by=anna"} {
		if r, text := ask(t, http.MethodGet, url+Prefix+"/audit?"+query, string(sale.ScopeRead), ""); r.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s %s", query, r.Status, text)
		}
	}
	if n := (AuditFilter{}).Lines(); n != usualAudit {
		t.Errorf("%d lines", n)
	}
	if n := (AuditFilter{Limit: 1 << 30}).Lines(); n != maxLimit {
		t.Errorf("%d lines", n)
	}
}
