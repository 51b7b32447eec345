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
)

func (m *memory) SupportBundle(_ context.Context, w io.Writer, by string) error {
	m.mu.Lock()
	m.who = append(m.who, by)
	m.mu.Unlock()
	if m.broken != nil && m.broken.Error() == "at once" {
		return m.broken
	}
	if _, err := io.WriteString(w, strings.Repeat("ZIP", 10_000)); err != nil {
		return err
	}
	return m.broken
}

func TestTheBundleOverTheSocket(t *testing.T) {
	m, path, said := serve(t)
	c := dial(t, path)
	var got bytes.Buffer
	if err := c.SupportBundle(t.Context(), &got, "cli:me"); err != nil || got.Len() != 30_000 || len(m.who) != 1 || m.who[0] != "cli:me" {
		t.Errorf("%d bytes, %v, %q", got.Len(), err, m.who)
	}
	for _, want := range []string{"Content-Type:[application/zip]", "Cache-Control:[no-store]", `attachment; filename="edgegw-support.zip"`} {
		if !bytes.Contains(said.Bytes(), []byte(want)) {
			t.Errorf("the answer has no %s: %.300s", want, said)
		}
	}
	m.broken = errors.New("at once")
	if err := c.SupportBundle(t.Context(), io.Discard, ""); err == nil || !strings.Contains(err.Error(), "at once") {
		t.Errorf("an error before the first byte: %v", err)
	}
	m.broken = errors.New("on the way")
	if err := c.SupportBundle(t.Context(), io.Discard, ""); err == nil || !strings.Contains(err.Error(), "it broke off") {
		t.Errorf("an error on the way: %v", err)
	}
	old := httptest.NewRecorder()
	Handler(m).ServeHTTP(old, httptest.NewRequest(http.MethodGet, Prefix+"/support-bundle", nil))
	if old.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", old.Code)
	}
}

func TestTheNameOfABundle(t *testing.T) {
	at := time.Date(2026, 11, 26, 9, 8, 7, 0, time.FixedZone("CET", 3600))
	for site, want := range map[string]string{"Station 12": "Station-12", "Tank & Rast/../ü": "Tank---Rast", "": "site", "ofk_reg_live_x": "site", strings.Repeat("a", 99): strings.Repeat("a", 40)} {
		if got := BundleName(site, at); got != "edgegw-support-"+want+"-20261126T080807Z.zip" {
			t.Errorf("%q: %s", site, got)
		}
	}
}
