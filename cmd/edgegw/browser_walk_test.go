package main

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// The page walks a technician through the proof that the site works, by what the
// gateway sees, and ends in a report that can be printed.
func TestBrowserCommissions(t *testing.T) {
	t.Parallel()
	b, service, c := newSite(t, "site.name=Station Nord")
	c.claim(b)
	c.open("/commissioning")
	c.waitFor("#steps .now", "Add the devices.")
	fleet, _ := b.fleet(service, 3)
	ctx, cancel := context.WithCancel(t.Context())
	sells := make(chan error, 1)
	go func() { sells <- fleet.Run(ctx) }()
	defer func() { cancel(); <-sells }()

	c.waitFor("#begin", "Begin the test of the uplink.")
	c.press(`#begin button`)
	c.waitFor("#steps .now", "Unplug the uplink now.")
	service.SetDown(true)
	c.waitFor("#steps .now", "Plug it in again.")
	c.looks("commissioning")
	if said := c.text("main"); !strings.Contains(said, "sales queued") || strings.Contains(said, "Report of the site") {
		t.Errorf("while the uplink is away: %s", said)
	}
	service.SetDown(false)
	c.waitFor("#report", "Report of the site")
	if said := c.text("#report"); !strings.Contains(said, "anna") || !strings.Contains(said, "pump-03") || strings.Count(said, " EUR") != 3 {
		t.Errorf("the report: %s", said)
	}
	c.looks("commissioning-done")
	c.do(emulation.SetDeviceMetricsOverride(1280, 844, 1, false), chromedp.Evaluate(`document.querySelector("#report").scrollIntoView()`, nil))
	c.shoot("commissioning-report-1280-en-light")

	dark := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}} // paper is white all the same
	var shown, faults []string
	var width float64
	c.do(emulation.SetDeviceMetricsOverride(794, 1123, 1, false), emulation.SetEmulatedMedia().WithMedia("print").WithFeatures(dark),
		chromedp.Evaluate(`["#menu", "#walk", "#report", "[data-print]"].filter(s => document.querySelector(s).checkVisibility())`, &shown),
		chromedp.Evaluate(`document.querySelector("#report").getBoundingClientRect().width`, &width), chromedp.Evaluate(auditScript, &faults))
	if !slices.Equal(shown, []string{"#report"}) || width < 700 || len(faults) > 0 {
		t.Errorf("on paper: %v, %v px wide, %v", shown, width, faults)
	}
	c.do(chromedp.Evaluate(`scrollTo(0, 0)`, nil))
	c.shoot("commissioning-paper")
	c.elsewhere()
}
