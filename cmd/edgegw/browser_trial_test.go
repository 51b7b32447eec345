package main

import (
	"strings"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// tries has a pump show itself that is not there, and makes a test sale.
func (c *chromium) tries() {
	c.t.Helper()
	c.looksBehind("identified", "/devices/pump-01", `form[action="/devices/pump-01/identify"]`)
	if said := c.text("main"); !strings.Contains(said, "nicht verbunden") {
		c.t.Errorf("asked to show itself: %s", said)
	}
	c.looksBehind("test-sale", "/devices/pump-01", `form[action="/devices/pump-01/test"]`)
	if said := c.text("main"); !strings.Contains(said, "Es wurde nichts fiskalisch erfasst.") || !strings.Contains(said, "Der Weg eines solchen Verkaufs") {
		c.t.Errorf("a test sale: %s", said)
	}
	c.do(network.DeleteCookies("edgegw-language").WithURL(c.base), emulation.ClearDeviceMetricsOverride())
}

// looksBehind audits what a form answers with on a desk, on a phone and on a small one,
// which is German, also with all its details open.
func (c *chromium) looksBehind(name, path, form string) {
	c.t.Helper()
	for _, s := range []sun{suns[0], suns[2], suns[4]} {
		var faults []string
		c.do(network.SetCookie("edgegw-language", s.lang).WithURL(c.base).WithPath("/"),
			emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: s.scheme}}),
			emulation.SetDeviceMetricsOverride(s.width, 844, 1, s.width < 600))
		c.open(path)
		// On a phone the menu lies over the lower edge, where the browser's driver would click.
		if _, err := chromedp.RunResponse(c.ctx, chromedp.Submit(form, chromedp.ByQuery)); err != nil {
			c.t.Fatalf("send %s: %v", form, err)
		}
		c.do(chromedp.Evaluate(auditScript, &faults))
		for _, f := range faults {
			c.t.Errorf("%s, %s, %s, %d px: %s", name, s.scheme, s.lang, s.width, f)
		}
		at := name + "-" + s.lang + "-" + s.scheme
		c.shoot(at)
		c.do(chromedp.Evaluate(`for (const d of document.querySelectorAll("main details")) d.open = true; window.scrollTo(0, 700)`, nil), chromedp.Evaluate(auditScript, &faults))
		for _, f := range faults {
			c.t.Errorf("%s with its details, %s, %s, %d px: %s", name, s.scheme, s.lang, s.width, f)
		}
		c.shoot(at + "-below")
	}
}
