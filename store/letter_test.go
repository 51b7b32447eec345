package store

import (
	"context"
	"errors"
	"strings"
	"testing"

	"edgegw/sale"
)

// The receipt of one sale, as long as it waits: of this device, the newest, and
// without a look at anybody else's.
func TestLetterOfOneSale(t *testing.T) {
	db := openTest(t)
	addDevice(t, db, "pump-01", "reg_1")
	addDevice(t, db, "pump-02", "reg_2")
	for _, r := range []struct {
		device   sale.DeviceID
		register sale.RegisterID
	}{{"pump-01", "reg_1"}, {"pump-02", "reg_2"}} {
		for _, id := range []string{"s1", "s2"} {
			mustAppend(t, db, entry(r.device, r.register, sale.Whole, id, "a"), sale.Queued)
			for range 3 {
				confirm(t, db, r.register)
			}
		}
	}
	mustAppend(t, db, entry("pump-01", "reg_1", sale.Start, "s3", "a"), sale.Queued)
	all, err := db.Letters(t.Context(), "pump-01", 0, 10)
	if err != nil || len(all) != 2 {
		t.Fatalf("%d letters, %v", len(all), err)
	}
	l, err := db.Letter(t.Context(), "pump-01", "s2")
	if err != nil || l.No != all[1].No || l.Sale != "s2" || string(l.Body) != string(all[1].Body) {
		t.Errorf("letter %+v, %v; want %+v", l, err, all[1])
	}
	for _, id := range []string{"s3", "s4"} {
		if _, err := db.Letter(t.Context(), "pump-01", id); !errors.Is(err, sale.ErrNone) {
			t.Errorf("the receipt of %s: %v", id, err)
		}
	}
	if err := db.Delivered(t.Context(), "pump-01", l.No, t0); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Letter(t.Context(), "pump-01", "s2"); !errors.Is(err, sale.ErrNone) {
		t.Errorf("one that was delivered: %v", err)
	}
	if err := db.Again(t.Context(), "pump-01", "s2", t0); err != nil {
		t.Fatal(err)
	}
	if again, err := db.Letter(t.Context(), "pump-01", "s2"); err != nil || again.No <= l.No {
		t.Errorf("one that was asked for again: %+v, %v", again, err)
	}
}

func TestLetterQueryUsesItsIndexes(t *testing.T) {
	db := openTest(t)
	var plan []string
	err := db.query(context.Background(), "EXPLAIN QUERY PLAN "+letterQuery, func(scan func(...any) error) error {
		var id, parent, x int
		var detail string
		err := scan(&id, &parent, &x, &detail)
		plan = append(plan, detail)
		return err
	}, "pump-01", "s1")
	if all := strings.Join(plan, "; "); err != nil || strings.Contains(all, "SCAN") || !strings.Contains(all, "mailbox_waiting") {
		t.Errorf("%s, %v", all, err)
	}
}
