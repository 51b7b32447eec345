package store

import (
	"fmt"
	"testing"
	"time"

	"edgegw/sale"
)

// What the journal says of the time: the newest by number, and what the kernel
// vouched for.
func TestTheJournalsLastTime(t *testing.T) {
	db := openTest(t)
	told := t0.Add(-time.Hour)
	db.now = func() time.Time { return told }
	is := func(what string, last, vouched time.Time) {
		t.Helper()
		l, v, err := db.LastTime(t.Context())
		if err != nil || !l.Equal(last) || !v.Equal(vouched) {
			t.Errorf("%s: %s, vouched %s, %v; want %s, %s", what, l, v, err, last, vouched)
		}
	}
	is("an empty journal", time.Time{}, time.Time{})
	addDevice(t, db, "pump-1", "reg_1")
	is("a device was added", t0, time.Time{})
	sell := func(at time.Time, quality string) {
		e := entry("pump-1", "reg_1", sale.Whole, fmt.Sprint(at), "x")
		e.At, e.Quality = at, quality
		mustAppend(t, db, e, sale.Queued)
	}
	sure, ahead, back := t0.Add(time.Hour), t0.AddDate(20, 0, 0), t0.Add(2*time.Hour)
	sell(sure, "synchronised")
	is("kept right", sure, sure)
	sell(ahead, "informative")
	is("a clock that ran ahead", ahead, sure)
	sell(back, "informative")
	is("and came back", back, sure)
	told = ahead
	if err := db.RemoveDevice(t.Context(), "pump-1", "test"); err != nil {
		t.Fatal(err)
	}
	is("a line of the audit trail from the future", back, sure)
	var at int64
	if err := db.queryOne(t.Context(), `SELECT at FROM audit ORDER BY no DESC LIMIT 1`, nil, &at); err != nil || !instant(at).Equal(ahead) {
		t.Errorf("the audit trail says %s, want what Options.Now gives: %v", instant(at), err)
	}
}
