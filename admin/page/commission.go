package page

import (
	"slices"
	"sync"
	"time"

	"edgegw/admin"
)

// walk is what has been seen of a site that is put to work: the devices sell, the
// uplink is taken away, sales wait, it comes back, and all of them arrive. It is in
// memory only; after a restart a walk begins anew.
type walk struct {
	By        string
	Begun     time.Time
	Cut       time.Time // the uplink was seen to be away
	Queued    int64     // most sales that waited without it
	Back      time.Time // it was seen to be back
	Delivered time.Time // and nothing waited any more
}

// observe takes in how the site is. What has been seen stays seen.
func (w *walk) observe(st admin.Status, sold bool, now time.Time) {
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
	if !w.Back.IsZero() && w.Delivered.IsZero() && waiting == 0 && st.Uplink == "up" {
		w.Delivered = now
	}
}

// toSend counts sales in queues that are not idle: an open sale, whose calls have
// gone out, waits for its customer.
func toSend(st admin.Status) (n int64) {
	for _, r := range st.Registers {
		if r.State != "idle" {
			n += r.Waiting
		}
	}
	return n
}

// step is one of the walk, as it is shown.
type step struct {
	Done bool
	Now  bool // this is what to do
	Text string
	More string
}

type commissionView struct {
	Walk    walk
	Steps   []step
	Devices []commissioned
	Done    bool
	Now     time.Time
}

// commissioned is a device with the last sale that OpenFiskal confirmed.
type commissioned struct {
	admin.Device
	Last *admin.Sale
}

// walks is the one walk of a site.
type walks struct {
	mu sync.Mutex
	w  walk
}

func (s *Site) commission(v *visit) error {
	st, devices, err := s.commissioned(v)
	if err != nil {
		return err
	}
	s.walks.mu.Lock()
	s.walks.w.observe(st, allSold(devices), s.Now())
	w := s.walks.w
	s.walks.mu.Unlock()
	c := commissionView{Walk: w, Devices: devices, Now: s.Now()}
	c.Steps = v.steps(w, st, devices)
	c.Done = !slices.ContainsFunc(c.Steps, func(s step) bool { return !s.Done })
	return v.show("commission", view{Title: v.t("Commissioning"), At: "commission", Status: &st, Content: c, Live: true})
}

func (s *Site) beginWalk(v *visit) error {
	s.walks.mu.Lock()
	s.walks.w = walk{By: v.person.Name, Begun: s.Now()}
	s.walks.mu.Unlock()
	return v.seeOther("/commissioning")
}

// commissioned gives the site with the last confirmed sale of each device.
func (s *Site) commissioned(v *visit) (st admin.Status, all []commissioned, err error) {
	if st, err = s.Backend.Status(v.r.Context()); err != nil {
		return st, nil, err
	}
	devices, err := s.Backend.Devices(v.r.Context())
	if err != nil {
		return st, nil, err
	}
	for _, d := range devices {
		c := commissioned{Device: d}
		sales, err := s.Backend.Sales(v.r.Context(), admin.SaleFilter{DeviceID: d.DeviceID, State: "confirmed", Limit: 1})
		if err != nil {
			return st, nil, err
		}
		if len(sales) > 0 {
			c.Last = &sales[0]
		}
		all = append(all, c)
	}
	return st, all, nil
}

func allSold(devices []commissioned) bool {
	return len(devices) > 0 && !slices.ContainsFunc(devices, func(d commissioned) bool { return d.State != "disabled" && d.Last == nil })
}

// steps says what is done and what is next.
func (v *visit) steps(w walk, st admin.Status, devices []commissioned) []step {
	lacking := func(lacks func(commissioned) bool) (names string, none bool) {
		for _, d := range devices {
			if d.State == "disabled" || !lacks(d) {
				continue
			}
			if names != "" {
				names += ", "
			}
			names += string(d.DeviceID)
		}
		return names, names == ""
	}
	offline, online := lacking(func(d commissioned) bool { return d.State != "online" })
	keyless, keys := lacking(func(d commissioned) bool { return d.Key != "active" })
	unsold, sold := lacking(func(d commissioned) bool { return d.Last == nil })
	there := len(devices) > 0
	steps := []step{
		{Done: there, Text: v.t("Add the devices."), More: v.lang.count(int64(len(devices)), "%d device", "%d devices")},
		{Done: there && online || !w.Cut.IsZero(), Text: v.t("Connect them."), More: offline},
		{Done: there && keys, Text: v.t("Give each register its key."), More: keyless},
		{Done: there && sold, Text: v.t("Sell something on each device."), More: unsold},
		{Done: !w.Begun.IsZero(), Text: v.t("Begin the test of the uplink.")},
		{Done: !w.Cut.IsZero(), Text: v.t("Unplug the uplink now.")},
		{Done: w.Queued > 0, Text: v.t("Sell on some devices meanwhile."), More: v.lang.count(w.Queued, "%d sale queued", "%d sales queued")},
		{Done: !w.Back.IsZero(), Text: v.t("Plug it in again.")},
		{Done: !w.Delivered.IsZero(), Text: v.t("All of them are delivered."), More: v.lang.count(toSend(st), "%d sale waits", "%d sales wait")},
	}
	for i := range steps {
		if steps[i].Done {
			continue
		}
		steps[i].Now = true
		break
	}
	return steps
}

// Begins reports whether the walk waits for its beginning.
func (c commissionView) Begins() bool {
	return c.Walk.Begun.IsZero() && len(c.Steps) > 4 && c.Steps[4].Now
}

// Away is how long the uplink was seen to be away.
func (c commissionView) Away() time.Duration { return c.Walk.Back.Sub(c.Walk.Cut).Round(time.Second) }
