package relay

import (
	"testing"
	"time"

	"edgegw/sale"
)

// Registers that are refused and go through later tell of a service that cannot do more,
// where several are within a minute.
func TestOverloadIsWhatSeveralMeet(t *testing.T) {
	o, at := newOverload(), time.Now()
	for range 5 {
		o.confirmed("reg_1")
		if at = at.Add(10 * time.Second); o.note("reg_1", 8, at) {
			t.Fatal("one register alone")
		}
	}
	if !o.note("reg_2", 8, at.Add(59*time.Second)) {
		t.Error("a second register within a minute")
	}
	if o.note("reg_3", 8, at.Add(3*time.Minute)) {
		t.Error("another one, minutes later")
	}
	alone := newOverload()
	if !alone.note("reg_1", 1, at) {
		t.Error("all that the site has")
	}
}

// Two sales that fail for ever slow the registers beside them for some minutes, and
// then no more; what goes through in between begins anew.
func TestStuckSalesAreNoOverload(t *testing.T) {
	o, begin, n := newOverload(), time.Now(), 0
	stuck := func(from, to time.Duration) (n int) {
		for at := begin.Add(from); at.Before(begin.Add(to)); at = at.Add(10 * time.Second) {
			for _, id := range []sale.RegisterID{"reg_1", "reg_2"} {
				if o.note(id, 8, at) {
					n++
				}
			}
		}
		return n
	}
	if n = stuck(0, 10*time.Minute); n < 10 || n > 20 {
		t.Errorf("in ten minutes the site was slowed %d times", n)
	}
	if n = stuck(11*time.Minute, 5*time.Hour); n != 0 {
		t.Errorf("in the hours behind them it was slowed %d times", n)
	}
	o.confirmed("reg_1")
	o.confirmed("reg_2")
	if n = stuck(5*time.Hour, 5*time.Hour+time.Minute); n == 0 {
		t.Error("they were confirmed in between, and are refused again")
	}
}
