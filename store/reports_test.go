package store

import (
	"fmt"
	"testing"
	"time"

	"edgegw/sale"
)

// When each device reported last is found from the end of its register's queue, not by
// reading the journal.
func TestLastReports(t *testing.T) {
	db := openTest(t)
	addDevice(t, db, "pump-01", "reg_1")
	addDevice(t, db, "pump-02", "reg_2")
	addDevice(t, db, "pump-03", "reg_2")
	addDevice(t, db, "pump-04", "reg_4")
	n := 0
	report := func(d sale.DeviceID, r sale.RegisterID) time.Time {
		t.Helper()
		n++
		e := entry(d, r, sale.Whole, fmt.Sprint("s", n), "x")
		e.At = t0.Add(time.Duration(n) * time.Minute)
		mustAppend(t, db, e, sale.Queued)
		return e.At
	}
	is := func(when string, want map[sale.DeviceID]time.Time) {
		t.Helper()
		got, err := db.LastReports(t.Context())
		if err != nil || len(got) != len(want) {
			t.Fatalf("%s: %v, %v; want %v", when, got, err, want)
		}
		for d, at := range want {
			if !got[d].Equal(at) {
				t.Errorf("%s: %s at %s, want %s", when, d, got[d], at)
			}
		}
	}
	is("nobody", nil)
	report("pump-01", "reg_1")
	one, three, two := report("pump-01", "reg_1"), report("pump-03", "reg_2"), report("pump-02", "reg_2")
	is("each", map[sale.DeviceID]time.Time{"pump-01": one, "pump-02": two, "pump-03": three})
	confirm(t, db, "reg_1")
	confirm(t, db, "reg_1")
	is("what was sent counts as well", map[sale.DeviceID]time.Time{"pump-01": one, "pump-02": two, "pump-03": three})
	for range lastLook {
		two = report("pump-02", "reg_2")
	}
	is("a busy neighbour", map[sale.DeviceID]time.Time{"pump-01": one, "pump-02": two})
	report("pump-03", "reg_2")
	if err := db.RemoveDevice(t.Context(), "pump-03", "test"); err != nil {
		t.Fatal(err)
	}
	is("one that was removed", map[sale.DeviceID]time.Time{"pump-01": one, "pump-02": two})
}
