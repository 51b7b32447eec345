package page

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/sale"
)

func (m *memory) Export(_ context.Context, p admin.Period, by string, to io.Writer) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.exported, m.exporter = p, by
	_, err := io.WriteString(to, "PK")
	return err
}

// Whoever may look may take it along; the last day is in it.
func TestAnExportFromThePage(t *testing.T) {
	day := func(d int) time.Time { return time.Date(2026, 11, d, 0, 0, 0, 0, time.Local) }
	for _, role := range []sale.Role{sale.RoleOwner, sale.RoleTechnician, sale.RoleAuditor} {
		b := newBrowser(t, string(role))
		for _, c := range []struct {
			query string
			want  admin.Period
		}{
			{"", admin.Period{}},
			{"?from=&to=", admin.Period{}},
			{"?from=2026-11-01&to=2026-11-29", admin.Period{From: day(1), To: day(30)}},
		} {
			w := b.ask(http.MethodGet, "/export"+c.query, nil)
			if m := b.site.Backend.(*memory); w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/zip" || !strings.Contains(w.Header().Get("Content-Disposition"), "attachment") ||
				w.Body.String() != "PK" || !m.exported.From.Equal(c.want.From) || !m.exported.To.Equal(c.want.To) || !strings.HasPrefix(m.exporter, "person:") {
				t.Errorf("%s: %s: %d %v, %v by %s", role, c.query, w.Code, w.Header(), m.exported, m.exporter)
			}
		}
		if w := b.ask(http.MethodGet, "/export?from=yesterday", nil); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "2026-11-22") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	b := newBrowser(t, "")
	if w := b.ask(http.MethodGet, "/export", nil); w.Code != http.StatusSeeOther {
		t.Errorf("without a login: %d", w.Code)
	}
}
