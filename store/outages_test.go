package store

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"edgegw/sale"
)

// Outages are told from what was tried and what was answered: minutes after t0.
func TestOutages(t *testing.T) {
	at := func(minute int) int64 { return millis(t0.Add(time.Duration(minute) * time.Minute)) }
	try := func(register int64, from, to int, times int64) unsent {
		return unsent{at(from), at(to), times, register, fmt.Sprint("cause ", from)}
	}
	for _, c := range []struct {
		name    string
		failed  []unsent
		answers []int
		want    string
	}{
		{"none", nil, []int{1, 2}, ""},
		{"one attempt", []unsent{try(1, 5, 5, 1)}, []int{1, 9}, "5-5 until 9, 1 of 1: cause 5"},
		{"not over", []unsent{try(1, 5, 7, 3)}, []int{1}, "5-7, 3 of 1: cause 5"},
		{"several queues in turn", []unsent{try(1, 5, 7, 3), try(2, 8, 20, 4)}, []int{1, 21, 22}, "5-20 until 21, 7 of 2: cause 5"},
		{"twice, with an answer between", []unsent{try(1, 5, 7, 3), try(2, 10, 12, 2)}, []int{8, 9, 13}, "5-7 until 8, 3 of 1: cause 5; 10-12 until 13, 2 of 1: cause 10"},
		{"one call that waited through two", []unsent{try(1, 5, 12, 6), try(2, 6, 7, 2)}, []int{8, 13}, "5-7 until 8, 3 of 2: cause 5; 12-12 until 13, 1 of 1: cause 5"},
		{"an answer in the same moment ends it", []unsent{try(1, 5, 5, 1)}, []int{5}, "5-5 until 5, 1 of 1: cause 5"},
	} {
		g := newGaps(c.failed)
		for i := range c.answers {
			g.answered(at(c.answers[len(c.answers)-1-i])) // in any order
		}
		var got []string
		minute := func(t time.Time) int { return int(t.Sub(t0) / time.Minute) }
		for _, o := range g.outages(c.failed) {
			text := fmt.Sprintf("%d-%d", minute(o.Began), minute(o.LastFailed))
			if !o.Ended.IsZero() {
				text += fmt.Sprintf(" until %d", minute(o.Ended))
			}
			got = append(got, fmt.Sprintf("%s, %d of %d: %s", text, o.Attempts, o.Registers, o.Cause))
		}
		if text := strings.Join(got, "; "); text != c.want {
			t.Errorf("%s: got %s, want %s", c.name, text, c.want)
		}
	}
}

// A snapshot stays as it is while the journal goes on, and holds up nobody.
func TestASnapshotIsOneMoment(t *testing.T) {
	db := openTest(t)
	addDevice(t, db, "pump-01", "reg_1")
	add := func(id string) {
		t.Helper()
		end := make(chan error, 1)
		db.Append(t.Context(), entry("pump-01", "reg_1", sale.Whole, id, ""), func(_ sale.Accepted, err error) { end <- err })
		if err := <-end; err != nil {
			t.Fatal(err)
		}
	}
	add("s1")
	all := Period{t0.Add(-time.Hour), t0.Add(time.Hour)}
	err := db.Snapshot(t.Context(), func(s *Snapshot) error {
		for range 3 {
			n := 0
			if err := s.Sales(t.Context(), all, func(x *SaleRecord) error {
				n++
				if x.SaleID != "s1" || x.Kind != sale.Whole || x.State != sale.Waiting || x.Open || !x.AcceptedAt.Equal(t0) || len(x.Raw) == 0 {
					t.Errorf("%+v", x)
				}
				return nil
			}); err != nil || n != 1 {
				t.Errorf("%d sales, %v", n, err)
			}
			add(fmt.Sprint("s", time.Now().UnixNano()))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []Period{{t0, t0}, {t0.Add(time.Millisecond), t0.Add(time.Hour)}, {t0.Add(-time.Hour), t0}} {
		err := db.Snapshot(t.Context(), func(s *Snapshot) error {
			return s.Sales(context.Background(), p, func(x *SaleRecord) error { return fmt.Errorf("%s is in %v", x.SaleID, p) })
		})
		if err != nil {
			t.Error(err)
		}
	}
}
