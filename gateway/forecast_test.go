package gateway

import (
	"strings"
	"testing"
	"time"

	"edgegw/doctor"
	"edgegw/fiscal/sandbox"
)

func TestDaysLeft(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		name                     string
		room, used, kept, perDay int64
		want                     int64
		ok                       bool
	}{
		{"no day to go by", gib, 0, 0, 0, 0, false},
		{"too few to measure", gib, 500 << 20, 10, 1024, 64, true},
		{"measured", gib, 8 << 20, 1024, 1024, 128, true},
		{"measured, and large", gib, 64 << 20, 1024, 1024, 16, true},
		{"less than a day", 1 << 20, 8 << 20, 1024, 1024, 0, true},
		{"below what must stay free", -gib, 8 << 20, 1024, 1024, 0, true},
		{"years", 4096 * gib, 8 << 20, 1024, 1, mostDays, true},
	} {
		if got, ok := daysLeft(c.room, c.used, c.kept, c.perDay); got != c.want || ok != c.ok {
			t.Errorf("%s: %d, %v; want %d, %v", c.name, got, ok, c.want, c.ok)
		}
	}
}

// A site that has not sold for a day promises nothing; one that has says it in the
// status, to the doctor and in the metrics, with the same number.
func TestTheForecastIsSaidEverywhere(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	s.on()
	s.add("pump-01")
	for n := 1; n <= 3; n++ {
		if !s.offer(n) {
			t.Fatal("no sale is taken")
		}
	}
	day := func() *int64 {
		st, err := s.Status(t.Context())
		if err != nil || st.Disk == nil {
			t.Fatal(st.Disk, err)
		}
		return st.Disk.DaysLeft
	}
	await(t, "the sales to be counted", func() bool {
		s.lookBack(t.Context())
		n, _ := s.history.tally.lastDay(s.now())
		return n == 3
	})
	if d := day(); d != nil {
		t.Errorf("%d days after an hour of selling", *d)
	}
	s.history.tally.mu.Lock()
	s.history.tally.reached = s.now().Add(-25 * time.Hour)
	s.history.tally.mu.Unlock()
	d := day()
	if d == nil || *d <= 0 {
		t.Fatalf("days left: %v", d)
	}
	all, err := s.Doctor(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if c.Check == "disk_space" && (c.State != doctor.OK && c.State != doctor.Notice || !strings.Contains(c.Found, "days of sales like the last one without an uplink")) {
			t.Errorf("the doctor: %+v", c)
		}
	}
	if m := s.exposed(t); m.value(t, "edgegw_disk_days_left") <= 0 {
		t.Error("the metric has no days")
	}
	s.off()
}
