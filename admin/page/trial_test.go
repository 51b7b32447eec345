package page

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// A test sale says what it means, that no fiscal record was made, what is in the way,
// and the way itself.
func TestATestSaleOnThePage(t *testing.T) {
	b := newBrowser(t, "technician")
	if text := b.ask(http.MethodGet, "/devices/pump-01", nil).Body.String(); !strings.Contains(text, `action="/devices/pump-01/test"`) || !strings.Contains(text, `action="/devices/pump-01/identify"`) {
		t.Errorf("the buttons:\n%s", text)
	}
	if w := b.ask(http.MethodGet, "/devices/pump-01/test", nil); w.Code != http.StatusNotFound {
		t.Errorf("by a link: %d", w.Code)
	}
	show := func(wants ...string) string {
		t.Helper()
		text := b.ask(http.MethodPost, "/devices/pump-01/test", url.Values{}).Body.String()
		for _, want := range append(wants, "No fiscal record was made. Only the device itself can make a real sale.", "The way &lt;b&gt;through", "The way of such a sale", "it took 28 ms",
			"The device reported the start.", "The receipt that the device would get", "An event is &lt;missing&gt;. Look.", "Also known of it") {
			if !strings.Contains(text, want) {
				t.Errorf("there is no %q:\n%s", want, text)
			}
		}
		return text
	}
	show("Its next real sale will not go out like this.", "To do", "pump-01 is &lt;not&gt; connected.", "Check its power.")
	b.backend.well = true
	if text := show("Its next real sale will go out."); strings.Contains(text, "To do") {
		t.Errorf("where all is well:\n%s", text)
	}
}

// What became of asking a device to show itself is said for each end of it, and never
// that it has heard where nobody knows.
func TestIdentifyOnThePage(t *testing.T) {
	for outcome, want := range map[string]string{
		"delivered": "should show itself for 30 s", "unconfirmed": "nobody can know whether it has heard", "declined": "its acknowledgement says no", "silent": "no acknowledgement came",
		"not_sent": "takes no more messages", "not_subscribed": "does not listen for this", "not_connected": "It is not connected: nothing was sent.", "something new": "in its own words",
	} {
		b := newBrowser(t, "technician")
		b.backend.outcome = outcome
		text := b.ask(http.MethodPost, "/devices/pump-01/identify", url.Values{}).Body.String()
		if !strings.Contains(text, want) || strings.Contains(text, "It has heard.") != (outcome == "delivered") {
			t.Errorf("%s:\n%s", outcome, text)
		}
	}
}

// The list has what a technician looks for: presence, the last sale, the queue and the
// key. A queue that is in order says nothing.
func TestADeviceInTheList(t *testing.T) {
	b := newBrowser(t, "auditor")
	text := b.ask(http.MethodGet, "/devices", nil).Body.String()
	for _, want := range []string{`<span class="state good">online</span>`, `last sale <time datetime="`, `<span class="bad">blocked</span>`, "1 sale on its way", "key in use"} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q:\n%s", want, text)
		}
	}
	text = b.ask(http.MethodGet, "/devices/pump-01", nil).Body.String()
	for _, want := range []string{"Last sale", "Queue of its register", `<span class="bad">blocked</span>`} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q:\n%s", want, text)
		}
	}
}
