package store

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"edgegw/sale"
)

// BenchmarkQueue measures a look at the head of a queue and the completion of a
// call with ever more calls waiting on 500 registers. Flat is the goal: the
// metrics are medians of one operation, to be compared down the rows.
func BenchmarkQueue(b *testing.B) {
	for _, waiting := range []int{1_000, 100_000, 1_000_000, 5_000_000} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			if waiting > 1_000_000 && testing.Short() {
				b.Skip("half a minute to fill")
			}
			const registers = 500
			db := openTest(b)
			fill(b, db, registers, max(waiting/3, registers))
			at := t0
			var heads, completions []time.Duration
			n := 0
			for b.Loop() {
				r := registerNo(n % registers)
				n++
				began := time.Now()
				h, err := db.Head(b.Context(), r)
				heads = append(heads, time.Since(began))
				if err != nil {
					b.Skipf("drained after %d", n)
				}
				if err := db.Begin(b.Context(), sale.Attempt{Call: h.Call, At: at, Next: at}); err != nil {
					b.Fatal(err)
				}
				state := sale.StateOpen
				if h.Step == sale.StepComplete {
					state = sale.StateCompleted
				}
				a, _ := sale.ParseAnswer(200, "", fmt.Appendf(nil, `{"id":%q,"state":%q}`, h.Operation, state))
				h.Attempts++
				began = time.Now()
				if _, err := db.Settle(b.Context(), sale.Outcome{Call: h.Call, Answer: &a, At: at}); err != nil {
					b.Fatal(err)
				}
				completions = append(completions, time.Since(began))
			}
			began := time.Now()
			ids, err := db.WithWork(b.Context())
			if err != nil || len(ids) == 0 {
				b.Fatal(len(ids), err)
			}
			b.ReportMetric(float64(time.Since(began).Microseconds()), "µs/discover")
			b.ReportMetric(middle(heads), "µs/head")
			b.ReportMetric(middle(completions), "µs/complete")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func registerNo(i int) sale.RegisterID { return sale.RegisterID(fmt.Sprintf("reg_%03d", i)) }

func middle(d []time.Duration) float64 {
	slices.Sort(d)
	return float64(d[len(d)/2].Nanoseconds()) / 1000
}

// fill puts whole sales into the queues, evenly.
func fill(b *testing.B, db *DB, registers, sales int) {
	for i := range registers {
		addDevice(b, db, sale.DeviceID(fmt.Sprintf("pump-%03d", i)), registerNo(i))
	}
	var wg sync.WaitGroup
	for n := range sales {
		d := n % registers
		wg.Add(1)
		db.Append(b.Context(), entry(sale.DeviceID(fmt.Sprintf("pump-%03d", d)), registerNo(d), sale.Whole, fmt.Sprintf("sale-%09d", n), "content of some length, as a sale has it"),
			func(_ sale.Accepted, err error) {
				if err != nil {
					b.Error(err)
				}
				wg.Done()
			})
	}
	wg.Wait()
}
