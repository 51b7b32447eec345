package store

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"edgegw/sale"
)

// queueRegisters is on how many registers the waiting calls of BenchmarkQueue lie: the
// smallest queue still has one sale of each.
const queueRegisters = 300

// BenchmarkQueue measures a look at the head of a queue, the completion of a call and
// the discovery of the registers with work, with ever more calls waiting. The journals
// take turns, operation by operation, so that the disk's moods and the processor's meet
// all of them; a sale that is through is followed by another, so that none gets shorter.
// The table has medians of one operation, head-x and the like are the worst row beside
// the first: 1 would be flat.
func BenchmarkQueue(b *testing.B) {
	sizes := []int{1_000, 100_000, 1_000_000, 5_000_000}
	if testing.Short() {
		sizes = sizes[:3] // the five million take longest to fill
	}
	var queues []*queue
	for _, n := range sizes {
		queues = append(queues, newQueue(b, n))
	}
	n := 0
	for b.Loop() {
		for i := range queues {
			queues[(i+n)%len(queues)].turn(b, n)
		}
		n++
	}
	lines := []string{"waiting calls | head µs | completion µs | discovery µs, its worst"}
	var head, completion, discovery float64
	for _, q := range queues {
		head = max(head, middle(q.heads)/middle(queues[0].heads))
		completion = max(completion, middle(q.completions)/middle(queues[0].completions))
		discovery = max(discovery, middle(q.discoveries))
		lines = append(lines, fmt.Sprintf("%d | %.1f | %.1f | %.0f, %d", q.waiting, middle(q.heads), middle(q.completions), middle(q.discoveries), slices.Max(q.discoveries).Microseconds()))
	}
	b.Log("\n" + strings.Join(lines, "\n"))
	b.ReportMetric(head, "head-x")
	b.ReportMetric(completion, "completion-x")
	b.ReportMetric(discovery, "µs/discovery")
	b.ReportMetric(0, "ns/op")
}

// queue is a journal with so many calls waiting, and what was measured with it.
type queue struct {
	db                              *DB
	waiting, sold                   int // calls; sales so far
	heads, completions, discoveries []time.Duration
}

func newQueue(b *testing.B, waiting int) *queue {
	q := &queue{db: openTest(b), waiting: waiting}
	for i := range queueRegisters {
		addDevice(b, q.db, deviceNo(i), registerNo(i))
	}
	var wg sync.WaitGroup
	for i := range waiting / 3 {
		wg.Add(1)
		q.sell(b, i%queueRegisters, wg.Done)
	}
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
	return q
}

// turn takes the call at the head of the next register through its life.
func (q *queue) turn(b *testing.B, n int) {
	n %= queueRegisters
	began := time.Now()
	h, err := q.db.Head(b.Context(), registerNo(n))
	q.heads = append(q.heads, time.Since(began))
	if err != nil {
		b.Fatal(err)
	}
	if err := q.db.Begin(b.Context(), sale.Attempt{Call: h.Call, At: t0, Next: t0}); err != nil {
		b.Fatal(err)
	}
	state := sale.StateOpen
	if h.Step == sale.StepComplete {
		state = sale.StateCompleted
	}
	a, err := sale.ParseAnswer(200, "", fmt.Appendf(nil, `{"id":%q,"state":%q}`, h.Operation, state))
	if err != nil {
		b.Fatal(err)
	}
	h.Attempts++
	began = time.Now()
	_, err = q.db.Settle(b.Context(), sale.Outcome{Call: h.Call, Answer: &a, At: t0})
	q.completions = append(q.completions, time.Since(began))
	if err != nil {
		b.Fatal(err)
	}
	if state == sale.StateCompleted {
		done := make(chan struct{})
		q.sell(b, n, func() { close(done) })
		<-done
	}
	if n%10 == 0 {
		q.discover(b)
	}
}

func (q *queue) discover(b *testing.B) {
	began := time.Now()
	ids, err := q.db.WithWork(b.Context())
	q.discoveries = append(q.discoveries, time.Since(began))
	if err != nil || len(ids) != queueRegisters {
		b.Fatal(len(ids), err)
	}
}

// sell appends a whole sale of register n.
func (q *queue) sell(b *testing.B, n int, done func()) {
	q.sold++
	e := entry(deviceNo(n), registerNo(n), sale.Whole, fmt.Sprintf("sale-%09d", q.sold), "content of some length, as a sale has it")
	q.db.Append(b.Context(), e, func(_ sale.Accepted, err error) {
		if err != nil {
			b.Error(err)
		}
		done()
	})
}

func registerNo(i int) sale.RegisterID { return sale.RegisterID(fmt.Sprintf("reg_%03d", i)) }

func deviceNo(i int) sale.DeviceID { return sale.DeviceID(fmt.Sprintf("pump-%03d", i)) }

func middle(d []time.Duration) float64 {
	slices.Sort(d)
	return float64(d[len(d)/2].Nanoseconds()) / 1000
}
