package simulator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"edgegw/sale"
)

// Fleet is the devices of a site, or of many.
type Fleet struct{ devices []*Device }

// NewFleet builds the devices. Two with the same id on the same gateway would
// take the connection from each other for ever, so that is an error.
func NewFleet(configs ...Config) (*Fleet, error) {
	f := &Fleet{}
	type place struct {
		id  sale.DeviceID
		url string
	}
	seen := make(map[place]bool)
	for _, c := range configs {
		if at := (place{c.DeviceID, c.URL}); seen[at] {
			return nil, fmt.Errorf("device %s stands twice in the fleet", c.DeviceID)
		} else {
			seen[at] = true
		}
		d, err := New(c)
		if err != nil {
			return nil, err
		}
		f.devices = append(f.devices, d)
	}
	return f, nil
}

// Devices gives the devices in the order of their configs.
func (f *Fleet) Devices() []*Device { return f.devices }

// Run runs all devices and returns when each has ended; see Device.Run. One
// that is cut short does not stop the others.
func (f *Fleet) Run(ctx context.Context) error {
	return f.each(func(d *Device) error { return d.Run(ctx) })
}

// StopSelling stops all devices and waits for all; see Device.StopSelling.
func (f *Fleet) StopSelling(ctx context.Context, until Until) error {
	return f.each(func(d *Device) error { return d.StopSelling(ctx, until) })
}

func (f *Fleet) each(act func(*Device) error) error {
	errs := make([]error, len(f.devices))
	var all sync.WaitGroup
	for i, d := range f.devices {
		all.Go(func() { errs[i] = act(d) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// Snapshot shows all devices now, in their order.
func (f *Fleet) Snapshot() []Snapshot {
	out := make([]Snapshot, len(f.devices))
	for i, d := range f.devices {
		out[i] = d.Snapshot()
	}
	return out
}

// Sales gives the ledgers of all devices, device by device.
func (f *Fleet) Sales() []Record {
	var out []Record
	for _, d := range f.devices {
		out = append(out, d.Sales()...)
	}
	return out
}

// Reconcile compares what all devices sold with what came back.
func (f *Fleet) Reconcile() Summary {
	s := newSummary()
	for _, d := range f.devices {
		s.add(d)
	}
	s.Faults = append(s.Faults, f.strays()...)
	return s
}

// strays finds receipts that went to the wrong device of the fleet. To the one
// that got it, such a receipt looks like one from before its time.
func (f *Fleet) strays() (faults []string) {
	maker := make(map[string]sale.DeviceID)
	for _, d := range f.devices {
		for _, r := range d.Sales() {
			maker[r.SaleID] = d.ID()
		}
	}
	for _, d := range f.devices {
		for _, id := range d.earlier() {
			if by, made := maker[id]; made {
				faults = append(faults, fmt.Sprintf("%s: receipt for sale %s, which %s made", d.ID(), id, by))
			}
		}
	}
	return faults
}

func (d *Device) earlier() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.ledger.earlier))
}

// SoldOut waits until each device has made its sales, and does not wait for
// what comes back; ctx's error where that ended first.
func (f *Fleet) SoldOut(ctx context.Context) error {
	return f.each(func(d *Device) error { return d.until(ctx, func() bool { return d.sellDone }) })
}
