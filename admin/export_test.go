package admin

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"edgegw/audit"
	"edgegw/sale"
)

func (m *memory) Export(_ context.Context, p Period, by string, to io.Writer) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.exported, m.exporter = append(m.exported, p), by
	if m.broken != nil && !m.breaksOff {
		return m.broken
	}
	_, err := io.WriteString(to, strings.Repeat("PK", 4096))
	return errors.Join(err, m.broken)
}

func (m *memory) Verify(_ context.Context, heads []audit.Chain) (Verified, error) {
	v := Verified{OK: len(heads) == 0, Lines: 7, Head: audit.Point{No: 7, Chain: audit.Chain{1}}}
	if !v.OK {
		v.Fault = &audit.Fault{Record: 3, Kind: audit.Altered, Message: heads[len(heads)-1].String()}
	}
	return v, m.broken
}

func TestAcknowledge(t *testing.T) {
	m, path, _ := serve(t)
	c, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.Acknowledge(t.Context(), "anna"); err != nil || n != 2 {
		t.Errorf("%d, %v, %v", n, err, m.requested)
	}
}

func TestAnExportArrivesWhole(t *testing.T) {
	m, path, _ := serve(t)
	c := dial(t, path)
	from := time.Date(2026, 11, 1, 0, 0, 0, 500_000_000, time.UTC)
	var got bytes.Buffer
	if err := c.Export(t.Context(), Period{from, from.Add(time.Hour)}, "cli:anna", &got); err != nil || got.String() != strings.Repeat("PK", 4096) {
		t.Errorf("%d bytes, %v", got.Len(), err)
	}
	if m.exporter != "cli:anna" || len(m.exported) != 1 || !m.exported[0].From.Equal(from) || !m.exported[0].To.Equal(from.Add(time.Hour)) {
		t.Errorf("%q asked for %v", m.exporter, m.exported)
	}
	if err := c.Export(t.Context(), Period{}, "", &got); err != nil || m.exporter != LocalUser() || m.exported[1] != (Period{}) {
		t.Errorf("%v: %q asked for %v", err, m.exporter, m.exported)
	}
}

// An export that fails says why; one that breaks off is no whole answer.
func TestAnExportThatFails(t *testing.T) {
	m, path, _ := serve(t)
	c := dial(t, path)
	m.broken = &Refusal{Code: "not_ready", Message: "another one"}
	if err := c.Export(t.Context(), Period{}, "", io.Discard); refusalCode(err) != "not_ready" {
		t.Errorf("%v", err)
	}
	m.breaksOff = true
	if err := c.Export(t.Context(), Period{}, "", io.Discard); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("it broke off, and %v", err)
	}
}

func TestAnExportOverTheNetwork(t *testing.T) {
	m, url := remote(t)
	answer, text := ask(t, http.MethodGet, url+Prefix+"/export?from=2026-11-01T00:00:00Z", string(sale.ScopeRead), "")
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != "application/zip" || answer.Header.Get("Cache-Control") != "no-store" || !strings.HasPrefix(text, "PK") {
		t.Errorf("%s %v", answer.Status, answer.Header)
	}
	if m.exporter != "token:t-read" {
		t.Errorf("made by %q", m.exporter)
	}
	for _, query := range []string{"from=yesterday", "to=1", "from=2026-11-01T00:00:00Z&from=2026-11-01T00:00:00Z", "since=1"} {
		if r, text := ask(t, http.MethodGet, url+Prefix+"/export?"+query, string(sale.ScopeRead), ""); r.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s %s", query, r.Status, text)
		}
	}
}

func TestVerifyOverTheSocket(t *testing.T) {
	_, path, _ := serve(t)
	c := dial(t, path)
	v, err := c.Verify(t.Context(), nil)
	if err != nil || !v.OK || v.Lines != 7 || v.Head != (audit.Point{No: 7, Chain: audit.Chain{1}}) || v.Fault != nil {
		t.Errorf("%+v, %v", v, err)
	}
	v, err = c.Verify(t.Context(), []audit.Chain{{1}, {2}})
	if err != nil || v.OK || v.Fault == nil || v.Fault.Record != 3 || v.Fault.Message != (audit.Chain{2}).String() {
		t.Errorf("%+v, %v", v, err)
	}
	for _, query := range []string{"head=xyz", "head=", "what=1", strings.Repeat("head="+audit.Chain{}.String()+"&", mostHeads+1)} {
		w := httptest.NewRecorder()
		Handler(&memory{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, Prefix+"/verify?"+strings.TrimSuffix(query, "&"), nil))
		if w.Code != http.StatusBadRequest {
			t.Errorf("%.40s: %d %s", query, w.Code, w.Body)
		}
	}
}
