package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"edgegw/sale"
)

// at is an entry that was accepted so long after t0.
func at(d time.Duration, e sale.Entry) sale.Entry {
	e.At = t0.Add(d)
	return e
}

// Sales are counted by the hour in which they began, events of sales that are there
// already are not, and a part of the journal gives its own share only.
func TestBegun(t *testing.T) {
	db := openTest(t)
	if low, high, err := db.EventSpan(t.Context()); err != nil || low != 0 || high != 0 {
		t.Errorf("an empty journal spans %d to %d, %v", low, high, err)
	}
	addDevice(t, db, "pump-01", "reg_1")
	for _, e := range []sale.Entry{
		at(0, entry("pump-01", "reg_1", sale.Start, "s1", "a")),
		at(59*time.Minute, entry("pump-01", "reg_1", sale.Whole, "s2", "a")),
		at(2*time.Hour, entry("pump-01", "reg_1", sale.Complete, "s1", "b")),
		at(2*time.Hour, entry("pump-01", "reg_1", sale.Whole, "s3", "a")),
	} {
		mustAppend(t, db, e, sale.Queued)
	}
	low, high, err := db.EventSpan(t.Context())
	if err != nil || low != 1 || high != 5 {
		t.Fatalf("events %d to %d, %v", low, high, err)
	}
	first := t0.Unix() / 3600
	for _, c := range []struct {
		low, high int64
		want      string
		oldest    time.Duration
	}{
		{low, high, fmt.Sprint(map[int64]int64{first: 2, first + 2: 1}), 0},
		{3, high, fmt.Sprint(map[int64]int64{first + 2: 1}), 2 * time.Hour},
		{3, 4, "map[]", 2 * time.Hour}, // the end of a sale that began before
	} {
		b, err := db.Begun(t.Context(), c.low, c.high)
		if got := fmt.Sprint(b.ByHour); err != nil || got != c.want || !b.Oldest.Equal(t0.Add(c.oldest)) || !b.Newest.Equal(t0.Add(2*time.Hour)) {
			t.Errorf("%d to %d: %s from %v to %v, %v; want %s", c.low, c.high, got, b.Oldest, b.Newest, err, c.want)
		}
	}
	if b, err := db.Begun(t.Context(), high, high+10); err != nil || len(b.ByHour) != 0 || !b.Newest.IsZero() {
		t.Errorf("behind the end: %+v, %v", b, err)
	}
	var plan []string
	err = db.query(t.Context(), "EXPLAIN QUERY PLAN "+begunQuery, func(scan func(...any) error) error {
		var id, parent, x int
		var detail string
		err := scan(&id, &parent, &x, &detail)
		plan = append(plan, detail)
		return err
	}, 1, 2)
	if all := strings.Join(plan, "; "); err != nil || !strings.Contains(all, "SEARCH event USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)") {
		t.Errorf("the plan is %s, %v", all, err)
	}
}

// The oldest waiting sale is the one whose next call has waited longest, over all
// queues; what was sent, is open and owes nothing, or waits for a person is not.
func TestOldest(t *testing.T) {
	db := openTest(t)
	want := func(what, saleID string, since time.Duration) {
		t.Helper()
		o, ok, err := db.Oldest(t.Context())
		if err != nil || ok != (saleID != "") || o.SaleID != saleID || ok && (!o.Since.Equal(t0.Add(since)) || o.Device == "" || o.Register == "") {
			t.Errorf("%s: %+v, %v, %v; want %s since %v", what, o, ok, err, saleID, since)
		}
	}
	want("nothing was sold", "", 0)
	for i, r := range []sale.RegisterID{"reg_1", "reg_2"} {
		addDevice(t, db, sale.DeviceID(fmt.Sprint("pump-", i+1)), r)
	}
	mustAppend(t, db, at(time.Minute, entry("pump-1", "reg_1", sale.Start, "s1", "a")), sale.Queued)
	mustAppend(t, db, at(2*time.Minute, entry("pump-2", "reg_2", sale.Whole, "s2", "a")), sale.Queued)
	mustAppend(t, db, at(3*time.Minute, entry("pump-2", "reg_2", sale.Whole, "s3", "a")), sale.Queued)
	want("two queues", "s1", time.Minute)
	confirm(t, db, "reg_1")
	want("s1 is open and owes nothing", "s2", 2*time.Minute)
	mustAppend(t, db, at(4*time.Minute, entry("pump-1", "reg_1", sale.Complete, "s1", "b")), sale.Queued)
	want("s1 has ended, later", "s2", 2*time.Minute)

	h, err := db.Head(t.Context(), "reg_2")
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Begin(t.Context(), sale.Attempt{Call: h.Call, At: t0, Next: t0}); err != nil {
		t.Fatal(err)
	}
	h.Attempts++
	if _, err := db.Settle(t.Context(), sale.Outcome{Call: h.Call, At: t0, Quarantine: true, Blocked: true, Problem: &sale.Problem{Class: sale.Poison, Code: "bad"}}); err != nil {
		t.Fatal(err)
	}
	want("s2 waits for a person, and s3 behind it", "s3", 3*time.Minute)
}
