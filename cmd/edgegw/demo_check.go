package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"edgegw/admin"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
)

// holdings is what the gateway says it has, read before it ends.
type holdings struct {
	status admin.Status
	sales  []admin.Sale
	err    error
}

func (d *demo) holdings(ctx context.Context) (h holdings) {
	if h.status, h.err = d.gate.Status(ctx); h.err != nil {
		return h
	}
	for _, device := range d.fleet.Devices() {
		all, err := d.gate.Sales(ctx, admin.SaleFilter{DeviceID: device.ID(), Limit: len(device.Sales()) + 100})
		if err != nil {
			h.err = err
			return h
		}
		h.sales = append(h.sales, all...)
	}
	return h
}

// place is one row of the reconciliation.
type place struct {
	name  string
	sales int
	money map[string]int64
}

// verdict is the reconciliation: the same sales at five places, and all that is
// not equal.
type verdict struct {
	places    []place
	cancelled int
	waiting   int64 // sales that the gateway still holds
	requests  int
	again     int // requests that carried bytes which were sent before
	faults    []string
}

// reconcile compares the devices' own ledgers with what everybody else holds.
func (d *demo) reconcile(held holdings) verdict {
	var v verdict
	sum := d.fleet.Reconcile()
	operations := d.cloud.Operations("")
	v.cancelled = sum.Cancelled
	v.places = []place{
		{"sold by the devices", sum.Ended, sum.MoneySold},
		{"acknowledged to the devices", sum.Acknowledged, sum.MoneyStored},
		acceptedBy(held),
		fiscalized(operations),
		{"receipts back at the devices", sum.Receipts, sum.MoneyReceipted},
	}
	v.compare()
	v.faults = append(v.faults, sum.Differences()...)
	if sum.Earlier > 0 {
		v.fault("%s for sales that no device of the demo made", count(int64(sum.Earlier), "receipt"))
	}
	v.gateway(held)
	v.signed(operations)
	v.lines(d.cloud.Check(d.expected()))
	v.lines(d.cloud.CheckFrozen())
	v.countRequests(d.cloud.Requests())
	return v
}

func (v *verdict) fault(format string, args ...any) {
	v.faults = append(v.faults, fmt.Sprintf(format, args...))
}

func (v *verdict) lines(err error) {
	if err != nil {
		v.faults = append(v.faults, strings.Split(err.Error(), "\n")...)
	}
}

func acceptedBy(held holdings) place {
	p := place{"accepted by the gateway", 0, map[string]int64{}}
	for _, s := range held.sales {
		if !s.Open {
			p.sales++
			p.money[s.Currency] += s.Total
		}
	}
	return p
}

func fiscalized(operations []sandbox.Operation) place {
	p := place{"fiscalized at OpenFiskal", 0, map[string]int64{}}
	for _, o := range operations {
		if ended(o) && !unsigned(o) {
			p.sales++
			p.money[o.Currency] += o.Total
		}
	}
	return p
}

// unsigned says that OpenFiskal completed a sale and holds no valid receipt for
// it: that is no success. A cancelled sale has nothing to sign.
func unsigned(o sandbox.Operation) bool {
	return o.State == "completed" && o.FiscalState != "succeeded"
}

// signed names the sales that are unsigned.
func (v *verdict) signed(operations []sandbox.Operation) {
	for _, o := range operations {
		if unsigned(o) {
			v.fault("%s: sale %s is completed at OpenFiskal, and its fiscal state is %s", o.Register, o.ExternalID, dash(o.FiscalState))
		}
	}
}

// compare holds every place against what was sold.
func (v *verdict) compare() {
	sold := v.places[0]
	for _, p := range v.places[1:] {
		if p.sales != sold.sales {
			v.fault("%s: %d sales, want %d", p.name, p.sales, sold.sales)
		}
		for _, c := range v.currencies() {
			if p.money[c] != sold.money[c] {
				v.fault("%s: %s, want %s", p.name, sale.FormatAmount(p.money[c], c), sale.FormatAmount(sold.money[c], c))
			}
		}
	}
}

// gateway checks what the gateway says of itself.
func (v *verdict) gateway(held holdings) {
	if held.err != nil {
		v.fault("the gateway could not be asked: %v", held.err)
		return
	}
	t := held.status.Totals
	v.waiting = t.Waiting
	if int(t.Accepted) != v.places[0].sales || t.Confirmed != t.Accepted {
		v.fault("the gateway counts %d accepted, %d confirmed, %d waiting, %d quarantined, %d resolved; want %d accepted and confirmed",
			t.Accepted, t.Confirmed, t.Waiting, t.Quarantined, t.Resolved, v.places[0].sales)
	}
	if t.Refused > 0 {
		v.fault("the gateway keeps %d messages as evidence; want none", t.Refused)
	}
	if t.Receipts > 0 {
		v.fault("%d receipts still wait in the gateway", t.Receipts)
	}
}

// expected is what OpenFiskal must hold, in the order in which the sales of
// each register began.
func (d *demo) expected() []sandbox.Expect {
	var all []sandbox.Expect
	for _, r := range d.fleet.Sales() {
		if r.End == 0 {
			continue
		}
		all = append(all, sandbox.Expect{Register: string(d.registers[r.Device]), ExternalID: r.SaleID, Total: r.Amount, Cancelled: r.End == sale.Cancel})
	}
	return all
}

// countRequests counts those that change something, and the repeated ones.
func (v *verdict) countRequests(all []sandbox.Request) {
	seen := map[string]bool{}
	for _, r := range all {
		if r.Method == http.MethodGet {
			continue
		}
		v.requests++
		if seen[r.IdempotencyKey] {
			v.again++
		}
		seen[r.IdempotencyKey] = true
	}
}

func (v *verdict) currencies() []string {
	all := map[string]bool{}
	for _, p := range v.places {
		for c := range p.money {
			all[c] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// mostFaults bounds the list of differences: the first ones tell the story.
const mostFaults = 20

// text is the table and the verdict.
func (v *verdict) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%-32s %8s", "Reconciliation", "sales")
	for _, c := range v.currencies() {
		fmt.Fprintf(&b, " %14s", c)
	}
	for _, p := range v.places {
		fmt.Fprintf(&b, "\n  %-30s %8d", p.name, p.sales)
		for _, c := range v.currencies() {
			fmt.Fprintf(&b, " %14s", amount(p.money[c], c))
		}
	}
	b.WriteString("\n\n")
	if len(v.faults) == 0 {
		fmt.Fprintf(&b, "reconciled: %s, each exactly once, in order, to the cent.\n", count(int64(v.places[0].sales), "sale"))
		if v.cancelled > 0 {
			fmt.Fprintf(&b, "%d of them ended with nothing sold, and are cancelled at OpenFiskal as well.\n", v.cancelled)
		}
		again := "none of them twice"
		if v.again > 0 {
			again = fmt.Sprintf("%d of them a second time, with the same bytes", v.again)
		}
		fmt.Fprintf(&b, "%d requests reached OpenFiskal, %s.\n", v.requests, again)
		return b.String()
	}
	b.WriteString("NOT reconciled:\n")
	for i, f := range v.faults {
		if i == mostFaults {
			fmt.Fprintf(&b, "  and %d more\n", len(v.faults)-i)
			break
		}
		fmt.Fprintf(&b, "  %s\n", clean(f))
	}
	if v.waiting > 0 {
		fmt.Fprintf(&b, "%s still wait on the gateway's disk: they are late, and a gateway that runs on that data sends them.\n", count(v.waiting, "sale"))
	}
	return b.String()
}
