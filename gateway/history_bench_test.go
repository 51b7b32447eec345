package gateway

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"edgegw/sale"
	"edgegw/store"
)

// BenchmarkOverview measures what the overview asks of a journal of half a million
// sales, all of the last day: the first question, the one of every second, and how
// long it takes until the whole day is counted.
func BenchmarkOverview(b *testing.B) {
	const sales = 500_000
	db, err := store.Open(context.Background(), b.TempDir(), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	begin := time.Now().Add(-23 * time.Hour)
	if err := db.AddDevice(context.Background(), sale.Device{ID: "pump-01", Register: "reg_1", Kind: "pump", SecretHash: []byte("h"), CreatedAt: begin}, "test"); err != nil {
		b.Fatal(err)
	}
	raw := fmt.Appendf(nil, wholeEvent, "s")
	var wg sync.WaitGroup
	for n := range sales {
		id := fmt.Sprintf("sale-%09d", n)
		wg.Add(1)
		db.Append(context.Background(), sale.Entry{Event: &sale.Event{Kind: sale.Whole, SaleID: id, Currency: "EUR"}, Raw: raw, Device: "pump-01", Register: "reg_1",
			At: begin.Add(time.Duration(n) * (23 * time.Hour / sales)), Operation: "op-" + id, Currency: "EUR",
			Opening: sale.Freeze([]sale.Call{{Step: sale.StepStart, Method: "POST", Path: "/x", Body: raw, IdempotencyKey: id}}, raw)}, func(_ sale.Accepted, err error) {
			if err != nil {
				b.Error(err)
			}
			wg.Done()
		})
	}
	wg.Wait()
	for b.Loop() {
		took := map[string]time.Duration{}
		measure := func(what string, do func(*tally) error, t *tally) {
			began := time.Now()
			if err := do(t); err != nil {
				b.Fatal(err)
			}
			took[what] = time.Since(began)
		}
		t := &tally{}
		catchUp := func(t *tally) error { return t.catchUp(context.Background(), db, time.Now()) }
		measure("first", catchUp, t)
		measure("whole", func(t *tally) error { return t.finish(context.Background(), db, time.Now()) }, t)
		measure("again", catchUp, t)
		measure("oldest", func(*tally) error { _, _, err := db.Oldest(context.Background()); return err }, t)
		all, _ := t.hours(time.Now())
		n := int64(0)
		for _, h := range all {
			n += h.Sales
		}
		if !t.done() || n != sales {
			b.Fatalf("%d sales are counted", n)
		}
		for what, d := range took {
			b.ReportMetric(float64(d.Microseconds()), "µs/"+what)
		}
	}
	b.ReportMetric(0, "ns/op")
}
