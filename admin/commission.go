package admin

import (
	"context"
	"slices"
	"time"

	"edgegw/sale"
	"edgegw/wording"
)

// Walk is what has been seen of a site that is put to work: the devices sell, the
// uplink is taken away, sales wait, it comes back, and all of them arrive. Whoever
// leads it keeps it; it begins when he says so (Begun). Times that were not reached are
// zero.
type Walk struct {
	By        string    `json:"by"`
	Begun     time.Time `json:"begun,omitzero"`
	Cut       time.Time `json:"uplink_away,omitzero"` // it was seen to be away
	Queued    int64     `json:"sales_queued"`         // most sales that waited without it
	Back      time.Time `json:"uplink_back,omitzero"`
	Delivered time.Time `json:"all_delivered,omitzero"` // nothing of before waited any more
}

// Away is how long the uplink was seen to be away.
func (w Walk) Away() time.Duration { return w.Back.Sub(w.Cut).Round(time.Second) }

// observe takes in how the site is. What has been seen stays seen.
func (w *Walk) observe(st Status, sold bool, now time.Time) {
	waiting := toSend(st)
	switch {
	case w.Begun.IsZero() || !sold:
	case w.Cut.IsZero():
		if st.Uplink == "down" {
			w.Cut, w.Queued = now, waiting
		}
	case w.Back.IsZero():
		w.Queued = max(w.Queued, waiting)
		if st.Uplink == "up" && w.Queued > 0 {
			w.Back = now
		}
		if st.Uplink == "up" && w.Queued == 0 {
			w.Cut = time.Time{} // it was away, and nobody sold: that proves nothing
		}
	}
	// A site that sells without a pause always has something to send: what counts is
	// that nothing waits from before.
	newer := waiting == 0 || st.Oldest != nil && st.Oldest.Since.After(w.Back)
	if !w.Back.IsZero() && w.Delivered.IsZero() && newer && st.Uplink == "up" {
		w.Delivered = now
	}
}

// toSend counts sales in queues that are not idle: an open sale, whose calls have
// gone out, waits for its customer.
func toSend(st Status) (n int64) {
	for _, r := range st.Registers {
		if r.State != "idle" {
			n += r.Waiting
		}
	}
	return n
}

// Commissioning is a walk as it is shown, and the site that it is about.
type Commissioning struct {
	Status  Status
	Made    time.Time // this was seen
	Walk    Walk
	Steps   []CommissionStep
	Devices []Commissioned
}

// Commissioned is a device with the last sale, of some money, that OpenFiskal confirmed;
// nil without one.
type Commissioned struct {
	Device
	Last *Sale
}

// CommissionStep is one of a walk.
type CommissionStep struct {
	Says    wording.Sentence
	Done    bool
	Now     bool            // this is what to do
	Lacking []sale.DeviceID // the devices that it is still about
	Count   int64           // of Of
	Of      string          // what is counted: device, queued, waiting; "" where nothing is
}

// beginning is the step that a person takes by saying so.
const beginning = 4

// Begins reports whether the walk waits for somebody to begin it.
func (c Commissioning) Begins() bool { return c.Steps[beginning].Now }

// Done reports whether everything was seen.
func (c Commissioning) Done() bool {
	return !slices.ContainsFunc(c.Steps, func(s CommissionStep) bool { return !s.Done })
}

// Commission looks at a site; what it has seen is for Judge.
func Commission(ctx context.Context, b interface {
	Status(context.Context) (Status, error)
	Devices(context.Context) ([]Device, error)
	Sales(context.Context, SaleFilter) ([]Sale, error)
}) (c Commissioning, err error) {
	if c.Status, err = b.Status(ctx); err != nil {
		return c, err
	}
	devices, err := b.Devices(ctx)
	if err != nil {
		return c, err
	}
	for _, d := range devices {
		one := Commissioned{Device: d}
		sales, err := b.Sales(ctx, SaleFilter{DeviceID: d.DeviceID, State: "confirmed", Limit: 20})
		if err != nil {
			return c, err
		}
		// A nozzle that was hung up again proves nothing.
		if i := slices.IndexFunc(sales, func(s Sale) bool { return s.Total != 0 }); i >= 0 {
			one.Last = &sales[i]
		}
		c.Devices = append(c.Devices, one)
	}
	return c, nil
}

// Judge takes what was seen into the walk, and says what is done and what is next.
func (c *Commissioning) Judge(w *Walk, now time.Time) {
	lacking := func(lacks func(Commissioned) bool) (ids []sale.DeviceID, none bool) {
		for _, d := range c.Devices {
			if d.State != "disabled" && lacks(d) {
				ids = append(ids, d.DeviceID)
			}
		}
		return ids, len(ids) == 0 && len(c.Devices) > 0
	}
	offline, online := lacking(func(d Commissioned) bool { return d.State != "online" })
	keyless, keys := lacking(func(d Commissioned) bool { return d.Key != "active" })
	unsold, sold := lacking(func(d Commissioned) bool { return d.Last == nil })
	w.observe(c.Status, sold, now)
	c.Walk, c.Made = *w, now
	c.Steps = []CommissionStep{
		{Done: len(c.Devices) > 0, Says: wording.Of("Add the devices."), Count: int64(len(c.Devices)), Of: "device"},
		{Done: online || !w.Cut.IsZero(), Says: wording.Of("Connect them."), Lacking: offline},
		{Done: keys, Says: wording.Of("Give each register its key."), Lacking: keyless},
		{Done: sold, Says: wording.Of("Sell something on each device."), Lacking: unsold},
		beginning: {Done: !w.Begun.IsZero(), Says: wording.Of("Begin the test of the uplink.")},
		{Done: !w.Cut.IsZero(), Says: wording.Of("Unplug the uplink now.")},
		{Done: w.Queued > 0, Says: wording.Of("Sell on some devices meanwhile."), Count: w.Queued, Of: "queued"},
		{Done: !w.Back.IsZero(), Says: wording.Of("Plug it in again.")},
		{Done: !w.Delivered.IsZero(), Says: wording.Of("All of them are delivered."), Count: toSend(c.Status), Of: "waiting"},
	}
	if next := slices.IndexFunc(c.Steps, func(s CommissionStep) bool { return !s.Done }); next >= 0 {
		c.Steps[next].Now = true
	}
}
