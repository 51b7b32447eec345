package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"edgegw/admin"
	"edgegw/doctor"
	"edgegw/sale"
	"edgegw/store"
	"edgegw/wording"
)

const (
	// rehearsalNest is where the site of a test sale lies while it is made.
	rehearsalNest = ".test"
	// rehearsalLimit bounds a test sale.
	rehearsalLimit = 10 * time.Second
	// rehearsalRoom is the free space that one may use, in bytes: many times what it
	// needs.
	rehearsalRoom = 16 << 20
	// usualCurrency is for a device that has not sold yet.
	usualCurrency = "EUR"
)

// Rehearsal is a sale of a device that is to be made on a site of its own.
type Rehearsal struct {
	Dir      string // an empty folder for that site; it is removed afterwards
	Device   sale.Device
	Currency string
}

// Rehearsed is what came of it.
type Rehearsed struct {
	What    string          // was sold, for people
	Receipt json.RawMessage // as the device got it
	Took    time.Duration   // from the first report until the receipt was acknowledged
	Parts   []admin.StoryPart
}

// TestSale says whether the next real sale of a device would go out, and shows a sale
// of its kind on its whole way. That sale is made at a site of its own, which is
// thrown away: nothing of it gets into this site's journal, which is why the audit
// trail, a part of every export, has no line about it either.
func (k *control) TestSale(ctx context.Context, id sale.DeviceID, by string) (admin.TestSale, error) {
	d, err := k.ring.Get(id)
	if err != nil {
		return admin.TestSale{}, unknown(id)
	}
	if !k.rehearsing.TryLock() {
		return admin.TestSale{}, admin.Refuse("conflict", wording.Of("a test sale is being made already"), wording.Of("Wait for it; it takes some seconds"))
	}
	defer k.rehearsing.Unlock()
	ctx, cancel := context.WithTimeout(ctx, rehearsalLimit)
	defer cancel()
	if k.running != nil {
		defer k.running.endsWith(cancel)()
	}
	facts, err := k.trialFacts(ctx, d)
	if err != nil {
		return admin.TestSale{}, err
	}
	s := admin.TestSale{DeviceID: id, RegisterID: d.Register, Kind: d.Kind, Label: d.Label, Currency: usualCurrency, Notice: admin.NoFiscalRecord}
	if last, err := k.db.Sales(ctx, store.SaleFilter{Register: d.Register, Device: id, Limit: 1}); err == nil && len(last) > 0 && last[0].Currency != "" {
		s.Currency = last[0].Currency
	}
	together(
		func() { facts.rehearsed, facts.failed = k.rehearse(ctx, Rehearsal{Device: d, Currency: s.Currency}) },
		func() { facts.line = k.brokenLine(ctx) },
		func() {
			if k.running != nil {
				facts.address, facts.took, facts.connect, facts.publish = k.running.fly(ctx, largeCanary, canaryLimit)
			}
		},
	)
	done := facts.rehearsed
	s.Parts, s.Receipt, s.TookMS = done.Parts, done.Receipt, done.Took.Milliseconds()
	s.Checks = facts.checks()
	s.Ready, s.Sentence = facts.verdict(s.Checks)
	k.log.Info("a test sale was made on a site of its own; no fiscal record", "device", id, "by", by, "ready", s.Ready)
	return s, nil
}

// endsWith calls end when the gateway ends, until stop is called.
func (g *Gateway) endsWith(end func()) (stop func()) {
	enough, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		select {
		case <-g.ending:
			end()
		case <-enough:
		}
	}()
	return func() { close(enough); <-over }
}

var errNoStandIn = errors.New("this program has no stand-in for OpenFiskal")

// rehearse makes room for the site of a test sale, and takes all of it away.
func (k *control) rehearse(ctx context.Context, r Rehearsal) (done Rehearsed, err error) {
	if k.options.Rehearse == nil {
		return done, errNoStandIn
	}
	if free := space(k.trials); free != nil && free.Free < rehearsalRoom {
		return done, fmt.Errorf("there are %d MB of free space in %s, and real sales need them", free.Free>>20, k.trials)
	}
	r.Dir = filepath.Join(k.trials, rehearsalNest)
	if err := errors.Join(os.RemoveAll(r.Dir), os.Mkdir(r.Dir, 0o700)); err != nil {
		return done, fmt.Errorf("make a folder for it: %w", err)
	}
	defer func() {
		if left := os.RemoveAll(r.Dir); left != nil {
			k.log.Warn("what a test sale left cannot be removed; it goes with the next start", "cause", left)
		}
	}()
	done, err = k.options.Rehearse(ctx, r)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("it took longer than %d s: %w", int(rehearsalLimit/time.Second), err)
	}
	return done, err
}

// trialFacts is what is known of a device.
func (k *control) trialFacts(ctx context.Context, d sale.Device) (*trialFacts, error) {
	queues, err := k.db.Queues(ctx)
	if err != nil {
		return nil, err
	}
	status, site, err := k.look(ctx, queues)
	if err != nil {
		return nil, err
	}
	f := &trialFacts{device: d, site: site, accept: "yes", url: k.MQTTURL()}
	for _, c := range status.Conditions {
		if c.Affected != "" && (c.Affected == string(d.ID) || c.Affected == string(d.Register)) {
			f.conditions = append(f.conditions, c)
		}
	}
	for i := range site.registers {
		if site.registers[i].Register == d.Register {
			f.register = &site.registers[i]
		}
	}
	if f.register == nil {
		r := k.registerFacts(ctx, store.Queue{Register: d.Register, Idle: true}, []sale.Device{d})
		f.register = &r
	}
	f.key, _ = k.keyState(d.Register)
	if k.running == nil {
		return f, nil
	}
	f.accept, f.reason = k.running.accepts()
	f.presence = k.presence()[d.ID]
	return f, nil
}

// brokenLine looks whether OpenFiskal can be reached at all, as the doctor does, and
// gives what is in the way. No request is made: nobody may have tried it for hours.
func (k *control) brokenLine(ctx context.Context) *admin.Check {
	for _, c := range doctor.Examine(doctor.Facts{Now: k.now(), Uplink: uplinkFacts(ctx, k.config.OpenFiskal, k.clock.Bounds)}) {
		switch c.Check {
		case "uplink_name", "uplink_route", "proxy", "uplink_connect", "uplink_tls":
			if c.State == doctor.Failed {
				return &c
			}
		}
	}
	return nil
}
