package gateway

import (
	"net/url"
	"os"
	"strings"
	"testing"

	"edgegw/config"
)

// An owner moves the page he looks at, finds it at its new address with his session,
// and confirms there. The claim's code from before a change claims the site after it.
func TestAnOwnerMovesThePage(t *testing.T) {
	s := onFile(t)
	file, err := os.ReadFile(s.file())
	must(t, err)
	must(t, os.WriteFile(s.file(), []byte(strings.Replace(string(file), "http:\n", "http:\n  tls_listen: 127.0.0.1:0\n", 1)), 0o600))
	s.serve()
	code := s.claim().Code
	s.change(map[string]string{"site.name": "Station 12"})
	s.next()
	b := (&apiSite{testSite: s.testSite}).surf()
	if status, at, _ := b.send("/claim", url.Values{"code": {code}, "name": {"anna"}, "password": {ownersPassword}, "again": {ownersPassword}}); status != 200 || at != "/" {
		t.Fatalf("claimed: %d at %s", status, at)
	}
	if _, _, text := b.page("/settings"); !strings.Contains(text, "Confirm the changed settings") {
		t.Errorf("nothing is to be confirmed:\n%s", text)
	}
	if status, at, _ := b.send("/settings/confirm", nil); status != 200 || at != "/settings" {
		t.Errorf("confirmed: %d at %s", status, at)
	}
	addr := free(t)
	if _, _, text := b.page("/settings/preview?set.http.tls_listen=" + addr); !strings.Contains(text, `value="`+addr+`"`) || !strings.Contains(text, "Confirm there.") {
		t.Errorf("the preview:\n%s", text)
	}
	if status, _, text := b.send("/settings/apply", url.Values{"set.http.tls_listen": {addr}}); status != 200 || !strings.Contains(text, "Confirm it there before:") {
		t.Fatalf("applied: %d\n%s", status, text)
	}
	s.next()
	_, port, _ := strings.Cut(addr, ":")
	b.base = "https://localhost:" + port
	if status, at, text := b.page("/settings"); status != 200 || at != "/settings" || !strings.Contains(text, "data-left=") {
		t.Fatalf("at the new address: %d at %s\n%s", status, at, text)
	}
	if status, _, _ := b.send("/settings/confirm", nil); status != 200 {
		t.Errorf("confirmed: %d", status)
	}
	all := s.tells("tried", "confirmed", "tried", "confirmed")
	if all[3].By != "person:anna" || s.config.Origin("http.tls_listen").Source != config.FromSettings {
		t.Errorf("got %+v", all[3])
	}
	s.off()
}
