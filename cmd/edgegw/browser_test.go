package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"edgegw/admin"
	"edgegw/fiscal/sandbox"
)

//go:embed testdata/audit.js
var auditScript string

// sun is one way in which a page is looked at.
type sun struct {
	scheme, lang string
	width        int64
}

var suns = []sun{{"light", "en", 1280}, {"light", "en", 390}, {"dark", "en", 390}, {"light", "de", 320}, {"dark", "de", 320}}

// browserLimit ends a test that hangs, also beside others on a slow machine. Nothing
// in it waits for a time to pass: each step waits for what it needs.
const browserLimit = 15 * time.Minute

// chromium is a real browser with nobody in front of it.
type chromium struct {
	t     *testing.T
	ctx   context.Context
	base  string
	shots string // where pictures go; "" for nowhere
	asked []string
	wrong []string
}

// newChromium starts a browser, or leaves the test out, loudly.
func newChromium(t *testing.T, base string) *chromium {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil && path == "" {
			path = found
		}
	}
	if path == "" {
		t.Skip("THE PAGE IS NOT TRIED IN A BROWSER: there is none here. On Debian: apt-get install -y chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, // tests of containers run as root
		chromedp.WSURLReadTimeout(2*time.Minute)) // a machine with other things to do is slow to begin
	alloc, end := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(end)
	ctx, end := chromedp.NewContext(alloc)
	t.Cleanup(end)
	ctx, end = context.WithTimeout(ctx, browserLimit)
	t.Cleanup(end)
	c := &chromium{t: t, ctx: ctx, base: base, shots: os.Getenv("EDGEGW_TEST_SCREENSHOTS")}
	chromedp.ListenTarget(ctx, func(event any) {
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			c.asked = append(c.asked, e.Request.URL)
		case *runtime.EventExceptionThrown:
			c.wrong = append(c.wrong, e.ExceptionDetails.Error())
		case *log.EventEntryAdded:
			if e.Entry.Level == log.LevelError && e.Entry.Source != log.SourceNetwork { // a refusal's status is told as an error of the network
				c.wrong = append(c.wrong, e.Entry.Text)
			}
		}
	})
	c.do(network.Enable(), log.Enable())
	return c
}

func (c *chromium) do(actions ...chromedp.Action) {
	c.t.Helper()
	if err := chromedp.Run(c.ctx, actions...); err != nil {
		var at, text string
		_ = chromedp.Run(c.ctx, chromedp.Location(&at), chromedp.Text("body", &text, chromedp.ByQuery))
		c.t.Fatalf("%v, at %s:\n%s", err, at, text)
	}
}

func (c *chromium) open(path string) { c.t.Helper(); c.do(chromedp.Navigate(c.base + path)) }

// fill sends a form: the fields by their names, and then its button.
func (c *chromium) fill(form string, fields map[string]string) {
	c.t.Helper()
	for name, value := range fields {
		c.do(chromedp.SetValue(form+` [name="`+name+`"]`, value, chromedp.ByQuery))
	}
	c.press(form + " button:not([type=button])")
}

// press clicks and waits for the next page. The page may change by itself meanwhile
// (data-live), and put another element where the pointer was about to go, so the click
// is the element's own.
func (c *chromium) press(what string) {
	c.t.Helper()
	var shown bool
	click := fmt.Sprintf(`(() => { const e = document.querySelector(%q); e.scrollIntoView(); const shown = e.checkVisibility() && !e.disabled; if (shown) e.click(); return shown; })()`, what)
	c.do(chromedp.WaitVisible(what, chromedp.ByQuery))
	if _, err := chromedp.RunResponse(c.ctx, chromedp.Evaluate(click, &shown)); err != nil || !shown {
		var at, text string
		_ = chromedp.Run(c.ctx, chromedp.Location(&at), chromedp.Text("body", &text, chromedp.ByQuery))
		c.t.Fatalf("press %s (shown %t): %v, at %s:\n%s", what, shown, err, at, text)
	}
}

func (c *chromium) text(what string) (text string) {
	c.t.Helper()
	c.do(chromedp.Text(what, &text, chromedp.ByQuery))
	return text
}

func (c *chromium) at(path string) {
	c.t.Helper()
	var at string
	c.do(chromedp.Location(&at))
	if got := strings.TrimPrefix(at, c.base); got != path {
		c.t.Errorf("at %s, want %s; it says: %s", got, path, c.text("main"))
	}
}

// waitFor waits until a part of the page says something, without loading it anew.
func (c *chromium) waitFor(what, says string) {
	c.t.Helper()
	quoted, err := json.Marshal(says)
	if err != nil {
		c.t.Fatal(err)
	}
	c.do(chromedp.Poll(fmt.Sprintf(`document.querySelector(%q)?.innerText.includes(%s)`, what, quoted), nil, chromedp.WithPollingTimeout(deadline)))
}

// looks audits the page that is open, in all ways to look at it.
func (c *chromium) looks(name string) {
	c.t.Helper()
	var at string
	c.do(chromedp.Location(&at))
	for _, s := range suns {
		var faults []string
		c.do(network.SetCookie("edgegw-language", s.lang).WithURL(c.base).WithPath("/"),
			emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: s.scheme}}),
			emulation.SetDeviceMetricsOverride(s.width, 844, 1, s.width < 600), chromedp.Navigate(at), chromedp.Evaluate(auditScript, &faults))
		for _, f := range faults {
			c.t.Errorf("%s, %s, %s, %d px: %s", name, s.scheme, s.lang, s.width, f)
		}
		c.shoot(fmt.Sprintf("%s-%d-%s-%s", name, s.width, s.lang, s.scheme))
	}
	c.do(network.DeleteCookies("edgegw-language").WithURL(c.base), emulation.ClearDeviceMetricsOverride(), emulation.SetEmulatedMedia(), chromedp.Navigate(at))
}

// snap audits a page that is the answer to a form, as it is, on a desk and on a phone.
func (c *chromium) snap(name string) {
	c.t.Helper()
	for _, width := range []int64{1280, 390} {
		var faults []string
		c.do(emulation.SetDeviceMetricsOverride(width, 844, 1, width < 600), chromedp.Evaluate(auditScript, &faults))
		for _, f := range faults {
			c.t.Errorf("%s, %d px: %s", name, width, f)
		}
		c.shoot(fmt.Sprintf("%s-%d-en-light", name, width))
	}
	c.do(emulation.ClearDeviceMetricsOverride())
}

// shoot takes a picture, where somebody wants them.
func (c *chromium) shoot(name string) {
	c.t.Helper()
	if c.shots == "" {
		return
	}
	var png []byte
	c.do(chromedp.CaptureScreenshot(&png))
	png, err := smallPicture(png)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.shots, name+".png"), png, 0o600); err != nil {
		c.t.Fatal(err)
	}
}

const ownersPassword = "blue lorry eats 7 stairs"

// newSite is a gateway that runs, its stand-in, and a browser that can reach it.
func newSite(t *testing.T, settings ...string) (*box, *sandbox.Service, *chromium) {
	t.Helper()
	flags, service := uplink(t, sandbox.Options{})
	b := newBox(t, flags...)
	b.life = browserLimit
	listen := freePort(t)
	b.flags[slices.Index(b.flags, "http.listen=127.0.0.1:0")] = "http.listen=" + listen
	for _, s := range settings {
		b.flags = append(b.flags, "--set", s)
	}
	b.start() // before the browser, which takes ports, too
	return b, service, newChromium(t, "http://"+listen)
}

// claim makes anna the owner, with the code that the box shows.
func (c *chromium) claim(b *box) {
	c.t.Helper()
	st := decode[admin.Status](c.t, b.edgegw("status", "--json"))
	c.open("/claim")
	c.fill("main form", map[string]string{"code": st.Claim.Code, "name": "anna", "password": ownersPassword, "again": ownersPassword})
	c.at("/")
}

// A technician with a real browser: claims the site, adds a device, sees it sell
// without loading the page anew, and looks at every page by day and by night, on a desk
// and on a small phone.
func TestBrowser(t *testing.T) {
	t.Parallel()
	b, service, c := newSite(t, "site.name=Station Nord")
	c.open("/")
	c.at("/claim")
	c.looks("claim")
	c.claim(b)
	c.looks("overview-empty")
	c.addAPump(service, "pump-01", "reg_2")

	c.open("/")
	c.do(chromedp.Evaluate(`window.notLoadedAnew = true`, nil))
	b.sellRefused(service, 1)
	c.waitFor("#menu", "1") // the count beside Quarantine
	c.waitFor("#latest", "in quarantine")
	var kept bool
	if c.do(chromedp.Evaluate(`window.notLoadedAnew === true`, &kept)); !kept {
		t.Error("the page was loaded anew")
	}
	c.looks("overview")
	c.anOutage(b, service)
	for _, path := range []string{"/devices", "/devices/pump-01", "/devices/pump-01/replace", "/devices/pump-01/key", "/sales", "/quarantine", "/quarantine/1", "/audit", "/doctor", "/backup", "/support", "/settings", "/settings/change?section=openfiskal", "/settings/history", "/account", "/more"} {
		c.open(path)
		c.looks(strings.ReplaceAll(strings.Trim(path, "/"), "/", "-"))
	}
	c.tries()
	c.aSale()
	c.open("/doctor")
	c.press(`form[action="/doctor"] button`)
	c.snap("doctor-found")
	if said := c.text("main"); !strings.Contains(said, "check failed") && !strings.Contains(said, "checks failed") || !strings.Contains(said, "What waits for a decision: sales 1") {
		t.Errorf("the doctor: %s", said)
	}
	c.elsewhere()
}

// Sales that OpenFiskal has refused are decided about: one is given up, and one is at
// OpenFiskal already, where somebody has entered it by hand.
func TestBrowserDecides(t *testing.T) {
	t.Parallel()
	b, service, c := newSite(t)
	c.claim(b)
	b.sellRefused(service, 2)
	c.decide("1", "discard", map[string]string{"reason": "sold by hand"})
	if said := c.text("main"); !strings.Contains(said, "sold by hand") || !strings.Contains(said, "person:anna") || !strings.Contains(said, "give it up") || !strings.Contains(said, "stays open there: cancel it there") {
		t.Errorf("given up: %s", said)
	}
	c.decide("2", "resolve", map[string]string{"reason": "entered by hand"})
	if said := c.text("[role=alert]"); !strings.Contains(said, "still open") {
		t.Errorf("an operation that is still open was taken: %s", said)
	}
	service.SetDown(true) // nobody can look: the person's word counts
	c.decide("2", "resolve", map[string]string{"reason": "entered by hand", "operation": "op_by_hand"})
	if said := c.text("main"); !strings.Contains(said, "it is at OpenFiskal already") || !strings.Contains(said, "op_by_hand") || !strings.Contains(said, "your word counts") || !strings.Contains(said, "person:anna") {
		t.Errorf("resolved: %s", said)
	}
	c.open("/quarantine")
	if said := c.text("main"); !strings.Contains(said, "Nothing waits for a decision.") {
		t.Errorf("what is left: %s", said)
	}
	if st := decode[admin.Status](t, b.edgegw("status", "--json")); st.Totals.Quarantined != 0 || st.Totals.Resolved != 2 {
		t.Errorf("the box counts %+v", st.Totals)
	}
	c.elsewhere()
}

// decide fills the form of an item.
func (c *chromium) decide(item, decision string, fields map[string]string) {
	c.t.Helper()
	c.open("/quarantine/" + item)
	c.do(chromedp.Click(`input[value="`+decision+`"]`, chromedp.ByQuery))
	c.fill("main form", fields)
}

// An owner changes a setting: it is shown before it is done, the gateway begins anew on
// trial and says how long that lasts, and a button brings the former value back; and
// another change is confirmed and stays. That a change is undone by itself is shown in
// fake time (gateway, TestSettings…).
func TestBrowserSettings(t *testing.T) {
	t.Parallel()
	b, _, c := newSite(t)
	c.claim(b)
	former := c.text("header strong")
	c.changeName("Station Ost")
	c.looks("settings-trial")
	if said := c.text("[role=alert]"); !strings.Contains(said, "They are undone unless somebody confirms them before:") || !strings.Contains(said, "site.name") {
		t.Errorf("on trial: %s", said)
	}
	var left string
	c.do(chromedp.Poll(`/^[01]:[0-5][0-9]$/.test(document.querySelector("[data-left]")?.textContent) && document.querySelector("[data-left]").textContent`, &left, chromedp.WithPollingTimeout(deadline)))
	c.do(chromedp.Poll(fmt.Sprintf(`document.querySelector("[data-left]").textContent < %q`, left), nil, chromedp.WithPollingTimeout(deadline)))
	c.press(`form[action="/settings/undo"] button`)
	c.comesBack(former)
	c.open("/settings/history")
	if said := c.text("main"); !strings.Contains(said, "undone by a person") || !strings.Contains(said, "person:anna") {
		t.Errorf("the history: %s", said)
	}

	c.changeName("Station West")
	c.press(`form[action="/settings/confirm"] button`)
	c.at("/settings")
	if said := c.text("main"); strings.Contains(said, "Undo at once") || !strings.Contains(said, "changed here") {
		t.Errorf("confirmed: %s", said)
	}
	if st := decode[admin.Status](t, b.edgegw("status", "--json")); st.Site != "Station West" {
		t.Errorf("the site is called %q", st.Site)
	}
	c.elsewhere()
}

// changeName previews and makes a change, and waits for the gateway that has it.
func (c *chromium) changeName(name string) {
	c.t.Helper()
	c.open("/settings/change?section=site")
	c.fill("main form", map[string]string{"set.site.name": name})
	if said := c.text("main"); !strings.Contains(said, name) || !strings.Contains(said, "The gateway begins anew, in a few seconds.") {
		c.t.Errorf("the preview: %s", said)
	}
	c.looks("settings-preview")
	c.press("main form button")
	c.snap("settings-applied")
	c.comesBack(name)
}

// comesBack waits for a gateway of that name: while one begins nobody answers.
func (c *chromium) comesBack(name string) {
	c.t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		var header string
		err := chromedp.Run(c.ctx, chromedp.Navigate(c.base+"/settings"), chromedp.Evaluate(`document.querySelector("header strong")?.textContent ?? ""`, &header))
		if err == nil && header == name {
			return
		}
		select {
		case <-c.ctx.Done():
			c.t.Fatalf("the gateway called %s does not come: %q, %v", name, header, err)
		case <-tick.C:
		}
	}
}

// People come and go, in two languages, with and without JavaScript.
func TestBrowserPeople(t *testing.T) {
	t.Parallel()
	b, service, c := newSite(t)
	c.claim(b)
	c.aPIN()
	c.inGerman()
	c.withoutJavaScript(service)
	c.elsewhere()
}

// addAPump adds a device and takes what is shown once.
func (c *chromium) addAPump(service *sandbox.Service, id, register string) {
	c.t.Helper()
	key := service.MustAddRegister(register)
	c.open("/devices/new")
	c.looks("new-device")
	c.fill("main form", map[string]string{"device_id": id, "register_id": register, "register_key": key})
	c.shoot("credentials")
	var faults []string
	if c.do(chromedp.Evaluate(auditScript, &faults)); len(faults) > 0 {
		c.t.Errorf("the credentials: %v", faults)
	}
	if said := c.text("main"); !strings.Contains(said, "They are shown this once.") || strings.Contains(said, key) || len(c.text("#password")) < 20 {
		c.t.Errorf("added: %s", said)
	}
}

// anOutage watches the uplink go and come back on a page that stays open, and looks at the tables behind the pictures.
func (c *chromium) anOutage(b *box, service *sandbox.Service) {
	c.t.Helper()
	service.SetDown(true)
	login := filepath.Join(c.t.TempDir(), "login")
	if err := os.WriteFile(login, []byte(b.edgegw("device", "password", "kiosk-1", "--json").out), 0o600); err != nil {
		c.t.Fatal(err)
	}
	edgegw(c.t, "", "simulate", "--quiet", "--credentials", login, "--sales", "1", "--pace", "10ms", "--fill", "10ms", "--settle", "300ms")
	c.waitFor("#uplink-day", "No connection")
	c.waitFor("#oldest", "kiosk-1")
	c.looks("overview-outage")
	for _, width := range []int64{320, 1280} {
		var faults []string
		c.do(emulation.SetDeviceMetricsOverride(width, 2000, 1, width < 600), chromedp.Evaluate(`for (const d of document.querySelectorAll("main details")) d.open = true`, nil), chromedp.Evaluate(auditScript, &faults))
		if len(faults) > 0 {
			c.t.Errorf("the tables, %d px: %v", width, faults)
		}
		c.shoot(fmt.Sprint("overview-tables-", width))
	}
	if said := c.text("#uplink-day table"); !strings.Contains(said, "its host refuses the connection") && !strings.Contains(said, "so far") {
		c.t.Errorf("the outages are %s", said)
	}
	c.do(emulation.ClearDeviceMetricsOverride())
	service.SetDown(false)
	c.waitFor("#uplink-day", "Connected")
	c.waitFor("#oldest", "No sale waits to be sent.")
}

// aSale looks for one by its time and its state, opens it, and what is behind its
// details.
func (c *chromium) aSale() {
	c.t.Helper()
	c.open("/sales")
	c.fill("main form", map[string]string{"from": "2020-01-01T00:00", "state": "quarantined", "device": "kiosk-1"})
	c.looks("sales-found")
	c.press("#found .rows a")
	c.do(chromedp.Click("#story summary", chromedp.ByQuery))
	if said := c.text("#story"); !strings.Contains(said, "Put into quarantine.") || !strings.Contains(said, "Request: start") {
		c.t.Errorf("the story is %s", said)
	}
	c.looks("sale")
	var open bool
	c.do(chromedp.Click("#story summary", chromedp.ByQuery), chromedp.Evaluate(`document.querySelector("#story details").open`, &open))
	if !open {
		c.t.Error("the details do not open")
	}
	c.press("main .actions a")
	c.do(chromedp.Evaluate(`for (const d of document.querySelectorAll("#story details")) d.open = true`, nil))
	if said := c.text("#story"); !strings.Contains(said, "line_items") {
		c.t.Errorf("what was reported is not shown: %s", said)
	}
	var faults []string
	if c.do(chromedp.Evaluate(auditScript, &faults)); len(faults) > 0 {
		c.t.Errorf("what was reported: %v", faults)
	}
	c.shoot("sale-payloads")
}

// aPIN lets a technician in, who sees less.
func (c *chromium) aPIN() {
	c.t.Helper()
	c.open("/people")
	c.looks("people")
	c.do(chromedp.Click(`input[value="technician"]`, chromedp.ByQuery))
	c.fill(`form[action="/people/add"]`, map[string]string{"name": "tom"})
	pin := c.text("#pin")
	c.shoot("pin")
	c.press(`footer form[action="/logout"] button`)
	c.fill("main form", map[string]string{"name": "tom", "password": pin})
	c.at("/")
	if menu := c.text("#menu"); strings.Contains(menu, "People") || !strings.Contains(menu, "Devices") {
		c.t.Errorf("a technician's menu: %s", menu)
	}
	c.press(`footer form[action="/logout"] button`)
	c.fill("main form", map[string]string{"name": "anna", "password": ownersPassword})
	c.at("/")
}

func (c *chromium) inGerman() {
	c.t.Helper()
	c.open("/devices")
	c.press(`footer button[value="de"]`)
	c.at("/devices")
	if said := c.text("main"); !strings.Contains(said, "Gerät hinzufügen") {
		c.t.Errorf("in German: %s", said)
	}
	c.press(`footer button[value="en"]`)
}

// withoutJavaScript logs in and adds a device with a browser that runs none.
func (c *chromium) withoutJavaScript(service *sandbox.Service) {
	c.t.Helper()
	c.do(emulation.SetScriptExecutionDisabled(true))
	c.open("/")
	c.press(`footer form[action="/logout"] button`)
	c.at("/login")
	c.fill("main form", map[string]string{"name": "anna", "password": "wrong password"})
	if said := c.text("[role=alert]"); !strings.Contains(said, "wrong") {
		c.t.Errorf("a wrong password: %s", said)
	}
	c.fill("main form", map[string]string{"name": "anna", "password": ownersPassword})
	c.at("/")
	key := service.MustAddRegister("reg_3")
	c.open("/devices/new")
	c.fill("main form", map[string]string{"device_id": "pump-03", "register_id": "reg_3", "register_key": key})
	if said := c.text("main"); !strings.Contains(said, "They are shown this once.") {
		c.t.Errorf("added without JavaScript: %s", said)
	}
	c.do(emulation.SetScriptExecutionDisabled(false))
}

// elsewhere demands that nothing was asked for from other hosts, and that nothing
// was wrong with script or policy.
func (c *chromium) elsewhere() {
	c.t.Helper()
	for _, url := range c.asked {
		if !strings.HasPrefix(url, c.base+"/") && !strings.HasPrefix(url, "data:") {
			c.t.Errorf("a page asked for %s", url)
		}
	}
	for _, w := range c.wrong {
		c.t.Errorf("the browser says: %s", w)
	}
	if len(c.asked) < 20 {
		c.t.Errorf("only %d requests were seen", len(c.asked))
	}
}
