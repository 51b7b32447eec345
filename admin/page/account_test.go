package page

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"edgegw/sale"
)

// Everybody sees where he is logged in, with which browser he looks, and ends the
// others; logging out everywhere takes the cookie of this one along.
func TestEverybodySeesHisOwnLogins(t *testing.T) {
	for _, role := range sale.Roles {
		b := newBrowser(t, string(role))
		text := page(t, b, "/account", "Firefox on Linux", "a browser nobody knows", "10.0.0.1", `name="session" value="BBBBBBBB"`, `action="/account/logout"`)
		if strings.Contains(text, `value="AAAAAAAA"`) || strings.Count(text, "this browser") != 1 {
			t.Errorf("as %s: it offers to end the browser that is used, or does not mark it:\n%s", role, text)
		}
		if w := b.ask(http.MethodPost, "/account/end", url.Values{"session": {"CCCCCCCC"}}); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "there is no session of that id") || len(b.backend.changes) > 0 {
			t.Errorf("another's: %d, %v", w.Code, b.backend.changes)
		}
		w := b.ask(http.MethodPost, "/account/logout", url.Values{})
		if c := w.Result().Cookies(); w.Header().Get("Location") != "/login" || len(c) != 1 || c[0].MaxAge >= 0 || !slices.Equal(b.backend.changes, []string{"logged out everywhere by person:anna-" + string(role)}) {
			t.Errorf("everywhere: %d %+v, %v", w.Code, c, b.backend.changes)
		}
	}
}

func TestTheOwnerSeesWhoIsLoggedIn(t *testing.T) {
	b := newBrowser(t, "owner")
	text := page(t, b, "/people", "Who is logged in", "Firefox on Linux", "Android", "10.0.0.2", `name="session" value="BBBBBBBB"`)
	if strings.Contains(text, `value="AAAAAAAA"`) {
		t.Errorf("it offers to end the browser that is used:\n%s", text)
	}
	if w := b.ask(http.MethodPost, "/people/end", url.Values{"session": {"CCCCCCCC"}}); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "Who is logged in") {
		t.Errorf("one that is over: %d", w.Code)
	}
	b.lang = "de"
	page(t, b, "/people", "Wer angemeldet ist", "Firefox auf Linux", "Überall abmelden")
}

// What a browser says of itself becomes two words of ours, or none.
func TestBrowsersInPlainWords(t *testing.T) {
	for _, row := range []struct{ agent, browser, system string }{
		{"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox", "Linux"},
		{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36", "Chrome", "Windows"},
		{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0", "Edge", "Windows"},
		{"Mozilla/5.0 (Linux; Android 15; SM-S931B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36", "Samsung Internet", "Android"},
		{"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1", "Safari", "iPhone"},
		{"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/140.0 Mobile/15E148 Safari/604.1", "Chrome", "iPhone"},
		{"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15", "Safari", "Mac"},
		{"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36", "Chrome", "ChromeOS"},
		{"curl/8.14.1", "", ""}, {"", "", ""}, {"<script>ofk_reg_live_1</script>", "", ""},
	} {
		if browser, system := browserOf(row.agent); browser != row.browser || system != row.system {
			t.Errorf("%s: %q on %q", row.agent, browser, system)
		}
	}
	b := newBrowser(t, "")
	b.ask(http.MethodPost, "/login", url.Values{"name": {"owner"}, "password": {"right password"}}, "User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	if want := (sale.Origin{Address: "192.0.2.1", Browser: "Firefox", System: "Linux"}); len(b.door.from) != 1 || b.door.from[0] != want {
		t.Errorf("a login from %+v, want %+v", b.door.from, want)
	}
}
