package admin

import (
	"slices"
	"testing"
	"time"

	"edgegw/sale"
)

// The walk goes on only by what was seen.
func TestTheWalk(t *testing.T) {
	queue := func(state string, n int64) []Register {
		return []Register{{State: state, Totals: Totals{Waiting: n}}}
	}
	up := func(state string, n int64) Status {
		return Status{Uplink: "up", Registers: queue(state, n)}
	}
	down := func(state string, n int64) Status {
		return Status{Uplink: "down", Registers: queue(state, n)}
	}
	began := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	since := func(st Status, minute int) Status {
		st.Oldest = &WaitingSale{Since: began.Add(time.Duration(minute)*time.Minute + time.Second)}
		return st
	}
	type seen struct{ cut, back, delivered bool }
	for _, row := range []struct {
		name   string
		begun  bool
		unsold bool
		seen   []Status
		want   seen
		queued int64
	}{
		{"nobody has begun", false, false, []Status{down("waiting", 2), up("idle", 0)}, seen{}, 0},
		{"a device has not sold yet", true, true, []Status{down("waiting", 2), up("idle", 0)}, seen{}, 0},
		{"it stays up", true, false, []Status{up("idle", 0), up("waiting", 2), up("idle", 0)}, seen{}, 0},
		{"away", true, false, []Status{up("idle", 0), down("idle", 0)}, seen{cut: true}, 0},
		{"away and back, and nobody sold", true, false, []Status{down("idle", 0), up("idle", 0)}, seen{}, 0},
		{"the second time somebody sells", true, false, []Status{down("idle", 0), up("idle", 0), down("waiting", 1), up("waiting", 1)}, seen{cut: true, back: true}, 1},
		{"an open sale is no queue", true, false, []Status{down("idle", 3)}, seen{cut: true}, 0},
		{"sales wait", true, false, []Status{down("idle", 0), down("waiting", 3), down("waiting", 2)}, seen{cut: true}, 3},
		{"back, and they go", true, false, []Status{down("waiting", 3), up("waiting", 2)}, seen{cut: true, back: true}, 3},
		{"all delivered", true, false, []Status{down("waiting", 3), up("waiting", 2), up("idle", 1)}, seen{true, true, true}, 3},
		{"all at once", true, false, []Status{down("retrying", 3), up("idle", 0)}, seen{true, true, true}, 3},
		{"away again before all is delivered", true, false, []Status{down("waiting", 3), up("waiting", 3), down("idle", 0)}, seen{cut: true, back: true}, 3},
		{"what waits is newer than that", true, false, []Status{down("waiting", 3), up("waiting", 2), since(up("waiting", 1), 2)}, seen{true, true, true}, 3},
		{"what waits is older", true, false, []Status{down("waiting", 3), up("waiting", 2), since(up("waiting", 1), 1)}, seen{cut: true, back: true}, 3},
		{"a blocked queue is not delivered", true, false, []Status{down("waiting", 3), up("blocked", 1)}, seen{cut: true, back: true}, 3},
	} {
		w := Walk{}
		if row.begun {
			w.Begun = began
		}
		for i, st := range row.seen {
			w.observe(st, !row.unsold, began.Add(time.Duration(i+1)*time.Minute))
		}
		if got := (seen{!w.Cut.IsZero(), !w.Back.IsZero(), !w.Delivered.IsZero()}); got != row.want || w.Queued != row.queued {
			t.Errorf("%s: %+v, %d queued; want %+v, %d", row.name, got, w.Queued, row.want, row.queued)
		}
	}
}

// Each step is about what it lacks, and one of them is next.
func TestTheStepsOfAWalk(t *testing.T) {
	device := func(id sale.DeviceID, state, key string, sold bool) Commissioned {
		c := Commissioned{Device: Device{DeviceID: id, State: state, Key: key}}
		if sold {
			c.Last = &Sale{}
		}
		return c
	}
	begun := Walk{Begun: time.Unix(1, 0)}
	for _, row := range []struct {
		name    string
		walk    Walk
		devices []Commissioned
		next    string
		lacking []sale.DeviceID
	}{
		{"nothing is there", begun, nil, "Add the devices.", nil},
		{"one is offline", begun, []Commissioned{device("a", "offline", "none", false), device("b", "online", "none", false)}, "Connect them.", []sale.DeviceID{"a"}},
		{"one has no key", begun, []Commissioned{device("a", "online", "active", false), device("b", "online", "pending", false)}, "Give each register its key.", []sale.DeviceID{"b"}},
		{"one has not sold", begun, []Commissioned{device("a", "online", "active", true), device("b", "online", "active", false)}, "Sell something on each device.", []sale.DeviceID{"b"}},
		{"one that is disabled need not", begun, []Commissioned{device("a", "online", "active", true), device("b", "disabled", "none", false)}, "Unplug the uplink now.", nil},
		{"nobody has begun", Walk{}, []Commissioned{device("a", "online", "active", true)}, "Begin the test of the uplink.", nil},
	} {
		c := Commissioning{Status: Status{Uplink: "up"}, Devices: row.devices}
		w := row.walk
		c.Judge(&w, time.Unix(2, 0))
		i := slices.IndexFunc(c.Steps, func(s CommissionStep) bool { return s.Now })
		if i < 0 || c.Steps[i].Says.String() != row.next || !slices.Equal(c.Steps[i].Lacking, row.lacking) || c.Done() {
			t.Errorf("%s: %+v", row.name, c.Steps)
		}
	}
}
