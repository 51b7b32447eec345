package page

import (
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"edgegw/admin"
)

// Every check of docs/doctor.md is in German, and no other.
func TestEveryCheckIsInGerman(t *testing.T) {
	doc, err := os.ReadFile("../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| \\*\\*").FindAllStringSubmatch(string(doc), -1) {
		listed[m[1]] = true
		if checksInGerman[m[1]] == "" {
			t.Errorf("%s is not in German", m[1])
		}
	}
	for check := range checksInGerman {
		if !listed[check] {
			t.Errorf("%s is no check", check)
		}
	}
	if len(listed) < 25 {
		t.Errorf("docs/doctor.md lists %d checks", len(listed))
	}
}

// The doctor looks when somebody says so, and says what to do.
func TestTheDoctorOnThePage(t *testing.T) {
	b := newBrowser(t, "technician")
	if text := b.ask(http.MethodGet, "/doctor", nil).Body.String(); !strings.Contains(text, `<form method="post" action="/doctor">`) || strings.Contains(text, "Looked at") || b.backend.looked {
		t.Errorf("before anybody asks: %s", text)
	}
	text := b.ask(http.MethodPost, "/doctor", url.Values{}).Body.String()
	for _, want := range []string{"1 check failed", "Free space", "Make room on &lt;this&gt; disk", "disk_space", "Looked at", "The clock&#39;s source"} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q:\n%s", want, text)
		}
	}
	b.backend.well = true
	if text := b.ask(http.MethodPost, "/doctor", url.Values{}).Body.String(); !strings.Contains(text, "Nothing needs you.") || strings.Contains(text, "To do") {
		t.Errorf("where all is well:\n%s", text)
	}
}

// A backup comes as a file, to the owner, under a passphrase that was typed twice.
func TestABackupOnThePage(t *testing.T) {
	b := newBrowser(t, "owner")
	if text := b.ask(http.MethodGet, "/backup", nil).Body.String(); !strings.Contains(text, `action="/backup/file"`) || !strings.Contains(text, "Last backup") {
		t.Errorf("the form:\n%s", text)
	}
	const phrase = "correct horse battery"
	w := b.ask(http.MethodPost, "/backup/file", url.Values{"passphrase": {phrase}, "again": {phrase}})
	if h := w.Header(); w.Code != http.StatusOK || w.Body.String() != "age-encryption.org/v1" || h.Get("Content-Type") != admin.BackupType || h.Get("Cache-Control") != "no-store" ||
		h.Get("Content-Disposition") != `attachment; filename="edgegw-Station--1-20261126T093000Z.backup"` {
		t.Errorf("%d %s %v", w.Code, w.Body, h)
	}
	for again, want := range map[string]string{"correct horse batterz": "The two passphrases differ.", "short": "too short"} {
		first := phrase
		if again == "short" {
			first = again
		}
		w := b.ask(http.MethodPost, "/backup/file", url.Values{"passphrase": {first}, "again": {again}})
		if text := w.Body.String(); w.Code < 400 || !strings.Contains(text, want) || strings.Contains(text, phrase) || w.Header().Get("Content-Disposition") != "" {
			t.Errorf("%q: %d\n%s", again, w.Code, text)
		}
	}
	for _, role := range []string{"technician", "auditor"} {
		if w := newBrowser(t, role).ask(http.MethodGet, "/backup", nil); w.Code == http.StatusOK {
			t.Errorf("%s: %d", role, w.Code)
		}
	}
}
