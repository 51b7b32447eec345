package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"edgegw/admin"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/simulator"
)

// level counts the same sales at four places: each is behind the one before it,
// and in the end all are equal.
type level struct{ reported, stored, fiscal, receipts int }

func (l *level) add(o level) {
	l.reported += o.reported
	l.stored += o.stored
	l.fiscal += o.fiscal
	l.receipts += o.receipts
}

// coins is a level in minor units of one currency.
type coins struct{ reported, stored, fiscal, receipts int64 }

type row struct {
	device  string
	now     string
	trouble bool
	busy    bool
	level
}

// look is the whole demo at one moment.
type look struct {
	rows   []row
	total  level
	money  map[string]coins
	status admin.Status
	quiet  bool // no device sells, waits or is owed anything
}

// queue is how many sales are on disk and not yet at OpenFiskal.
func (l look) queue() int { return max(0, l.total.stored-l.total.fiscal) }

// settled says that nothing is under way at the devices nor in the gateway.
func (l look) settled() bool {
	return l.quiet && l.status.Running && l.status.Totals.Waiting == 0 && l.status.Totals.Receipts == 0
}

// currencies gives them in a steady order.
func (l look) currencies() []string { return slices.Sorted(maps.Keys(l.money)) }

// look asks everybody: the devices' own ledgers, the gateway and the stand-in.
func (d *demo) look(ctx context.Context) look {
	l := look{money: map[string]coins{}, quiet: true}
	if s, err := d.gate.Status(context.WithoutCancel(ctx)); err == nil {
		l.status = s // without one settled stays false
	}
	at := map[string]int{}
	for _, o := range d.cloud.Operations("") {
		if !ended(o) {
			continue
		}
		at[o.Register]++
		c := l.money[o.Currency]
		c.fiscal += o.Total
		l.money[o.Currency] = c
	}
	for _, device := range d.fleet.Devices() {
		r := d.row(device, &l)
		r.fiscal = at[string(d.registers[device.ID()])]
		l.total.add(r.level)
		l.rows = append(l.rows, r)
	}
	return l
}

// ended tells sales that are over from those a customer is at. A cancelled one
// took no money.
func ended(o sandbox.Operation) bool { return o.State == "completed" || o.State == "cancelled" }

func (d *demo) row(device *simulator.Device, l *look) row {
	snap, sum := device.Snapshot(), device.Reconcile()
	for currency := range sum.MoneySold {
		c := l.money[currency]
		c.reported += sum.MoneySold[currency]
		c.stored += sum.MoneyStored[currency]
		c.receipts += sum.MoneyReceipted[currency]
		l.money[currency] = c
	}
	if snap.Counts.Open > 0 || snap.Unacknowledged > 0 || snap.Owed > 0 {
		l.quiet = false
	}
	r := row{device: string(device.ID()), level: level{reported: sum.Ended, stored: sum.Acknowledged, receipts: snap.Counts.Receipts}}
	switch {
	case snap.State == simulator.Filling:
		r.busy, r.now = true, map[simulator.Kind]string{simulator.KindCharger: "charging"}[snap.Kind]
		if r.now == "" {
			r.now = "filling"
		}
	case !snap.Online && snap.Problem != "":
		r.trouble, r.now = true, "offline: "+snap.Problem
	case !snap.Online && snap.Unacknowledged+snap.Owed > 0:
		r.trouble, r.now = true, "offline"
	case snap.State == simulator.WaitingAck:
		r.busy, r.now = true, "reports"
	case snap.Accept == "no":
		r.trouble, r.now = true, "the site takes no sales"
	default:
		r.now = strings.TrimSuffix(snap.LastSale, " "+currency)
	}
	return r
}

// stage is where the play stands.
type stage struct {
	cut      bool
	next     string        // what comes next, "" for nothing
	nextIn   time.Duration //
	share    float64       // of the cut that is over; for a bar
	left     time.Duration // until the end; 0 without one
	settling bool
}

func (s script) stage(now time.Duration, cut bool) stage {
	st := stage{cut: cut}
	if s.length > 0 {
		st.left = s.length - now
	}
	switch {
	case cut:
		st.next, st.nextIn = "back", s.cutAfter+s.cutFor-now
		st.share = 1 - st.nextIn.Seconds()/s.cutFor.Seconds()
	case s.cutFor > 0 && now < s.cutAfter:
		st.next, st.nextIn = "cut", s.cutAfter-now
	}
	return st
}

// amount prints minor units for a column whose currency stands beside it.
func amount(minor int64, currency string) string {
	text := sale.FormatAmount(minor, currency)
	return text[:len(text)-len(currency)-1]
}

// clock is a countdown: 0:07.
func clock(d time.Duration) string {
	s := max(0, int((d+time.Second-1)/time.Second))
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}
