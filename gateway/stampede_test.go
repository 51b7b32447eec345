package gateway

import (
	"testing"
	"testing/synctest"
	"time"

	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/secret"
)

// Two hundred sites come back after a common outage. They find out at different
// moments, so that the service meets no wave: its first minute is no heavier
// than the mean of the drain, and no ten seconds are much heavier.
func TestTwoHundredSitesDoNotStampede(t *testing.T) {
	if testing.Short() {
		t.Skip("half a minute of real time")
	}
	t.Parallel()
	template := t.TempDir()
	prepare(t, template)
	for _, row := range []struct {
		name       string
		each       int // sales that wait at each site
		latency    time.Duration
		peakToMean float64 // of ten seconds
	}{
		{"a_long_backlog", 20, 3 * time.Second, 1.6},
		{"a_short_backlog", 3, 300 * time.Millisecond, 2.5},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { stampede(t, template, row.each, row.latency, row.peakToMean) })
		})
	}
}

func stampede(t *testing.T, template string, each int, latency time.Duration, peakToMean float64) {
	const sites = 200
	var all []*world
	for n := range sites {
		dir := t.TempDir()
		copyFiles(t, template, dir)
		w := newWorld(t, dir, sandbox.Options{}, nil) // a stand-in each: what is looked at is their sum
		w.sandbox.SetLatency(latency)
		w.sandbox.SetDown(true)
		l := w.start(newPower(0))
		if err := l.giveKey("reg_2", secret.FromString(w.sandbox.MustAddRegister("reg_2"))); err != nil {
			t.Fatal(err)
		}
		w.on(l)
		all = append(all, w)
		w.done.Go(func() {
			var events []event
			for i := range each {
				events = append(events, event{10 * time.Minute / time.Duration(each), sale.Whole, wholeSale(saleNo(n, i), moneyOf(n, i))})
			}
			w.device("pump-2", events)
		})
	}
	for _, w := range all {
		w.done.Wait()
	}
	for _, w := range all {
		w.sandbox.SetDown(false)
	}
	began := time.Now()
	var done time.Duration
	for _, w := range all {
		w.drained(t, time.Hour)
		done = max(done, time.Since(began))
		w.now().end()
	}
	first, peak, total := loadSince(all, began)
	mean := float64(total) / done.Minutes()
	t.Logf("%d calls in %s: %d in the first minute, %.0f a minute in the mean (%.2f ×), at most %d in ten seconds (%.2f × the mean)",
		total, done, first, mean, float64(first)/mean, peak, float64(peak)*6/mean)
	if float64(first) > 1.3*mean {
		t.Errorf("the first minute is %.2f × the mean", float64(first)/mean)
	}
	if float64(peak)*6 > peakToMean*mean {
		t.Errorf("ten seconds are %.2f × the mean", float64(peak)*6/mean)
	}
	if total != sites*each*3 {
		t.Errorf("%d calls", total)
	}
}

// loadSince counts the calls of the first minute, of the fullest ten seconds,
// and all.
func loadSince(sites []*world, began time.Time) (first, peak, total int) {
	tens := map[int]int{}
	for _, w := range sites {
		for _, r := range w.sandbox.Requests() {
			at := r.At.Sub(began)
			if at < 0 || r.IdempotencyKey == "" {
				continue
			}
			total++
			if at < time.Minute {
				first++
			}
			tens[int(at/(10*time.Second))]++
			peak = max(peak, tens[int(at/(10*time.Second))])
		}
	}
	return first, peak, total
}
