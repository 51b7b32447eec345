package page

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// The bundle comes as a file, without JavaScript, to those who may make one.
func TestTheBundleIsAFile(t *testing.T) {
	b := newBrowser(t, "technician")
	for _, path := range []string{"/", "/support"} {
		if text := b.ask(http.MethodGet, path, nil).Body.String(); !strings.Contains(text, `href="/support"`) || path == "/support" && !strings.Contains(text, `<form method="post" action="/support/bundle">`) {
			t.Errorf("%s does not lead to it:\n%s", path, text)
		}
	}
	w := b.ask(http.MethodPost, "/support/bundle", url.Values{})
	if h := w.Header(); w.Code != http.StatusOK || w.Body.String() != "a ZIP" || h.Get("Content-Type") != "application/zip" || h.Get("Cache-Control") != "no-store" ||
		h.Get("Content-Disposition") != `attachment; filename="edgegw-support-Station--1-20261126T093000Z.zip"` {
		t.Errorf("%d %s %v", w.Code, w.Body, h)
	}
	b.backend.broken = errors.New("no")
	if w := b.ask(http.MethodPost, "/support/bundle", url.Values{}); w.Code != http.StatusInternalServerError || !strings.Contains(w.Header().Get("Content-Type"), "text/html") || w.Header().Get("Content-Disposition") != "" {
		t.Errorf("an error: %d %v", w.Code, w.Header())
	}
	if text := newBrowser(t, "auditor").ask(http.MethodGet, "/", nil).Body.String(); strings.Contains(text, `href="/support"`) {
		t.Error("an auditor is led to it")
	}
}
