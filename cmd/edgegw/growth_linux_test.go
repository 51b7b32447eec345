package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	growthRegisters = 40
	growthDevices   = 100
	growthStarts    = 5
	growthSales     = 20_000 // that the cost of one is measured with
	callsOfASale    = 3      // start, update and complete of a whole sale
	saleDays        = 365
	salesADay       = 1000
)

// BenchmarkGrowth measures the program as it is shipped, a process of its own, from
// outside, while what it has to carry grows: waiting calls, registers, connected devices,
// confirmed sales. docs/benchmarks.md tells how to read it. Each row is measured once;
// EDGEGW_BENCH_DIR is the folder on the disk in question.
func BenchmarkGrowth(b *testing.B) {
	program := shipped(b)
	var rows []growthRow
	note := func(r growthRow) { rows = append(rows, r) }
	b.Run("waiting", func(b *testing.B) { growWaiting(b, program, note) })
	b.Run("registers", func(b *testing.B) { growRegisters(b, program, note) })
	b.Run("devices", func(b *testing.B) { growConnected(b, program, note) })
	b.Run("confirmed", func(b *testing.B) { growConfirmed(b, program, note) })
	if len(rows) > 0 {
		b.Log("\n" + growthTable(rows))
	}
}

// shipped builds the program as deploy/balena/Dockerfile does.
func shipped(b *testing.B) string {
	program := filepath.Join(b.TempDir(), "edgegw")
	c := exec.Command("go", "build", "-trimpath", "-buildvcs=false",
		"-gcflags=github.com/eclipse/...=-l", "-gcflags=go.yaml.in/...=-l",
		"-ldflags", "-s -w", "-o", program, ".")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := c.CombinedOutput(); err != nil {
		b.Fatalf("build the program: %v\n%s", err, said)
	}
	return program
}

// growthRow is what one size of a site was measured to take.
type growthRow struct {
	name             string
	size, perSale    float64 // of the database, bytes
	listening, acked time.Duration
	quiet, peak      int64 // resident bytes
	connected        time.Duration
	perDevice        float64 // resident bytes more for each device
	overview, status asked
	sales, byID      asked
	byReceipt, none  asked
	cpu, rate        float64 // of a sale: µs; a second
}

func growWaiting(b *testing.B, program string, note func(growthRow)) {
	var s *growthSite
	for _, calls := range []int{0, 1_000, 100_000, 1_000_000, 5_000_000} {
		if calls > 1_000_000 && testing.Short() {
			break
		}
		if s == nil || s.sales > calls/callsOfASale { // what was measured with has sold more than that
			s = newGrowthSite(b, program, growthRegisters, growthDevices)
		}
		s.fill(calls / callsOfASale)
		note(s.measure(fmt.Sprintf("%s calls wait", grouped(calls)), growthDevices))
	}
}

func growRegisters(b *testing.B, program string, note func(growthRow)) {
	for _, registers := range []int{1, 40, 400, 2000} {
		s := newGrowthSite(b, program, registers, max(registers, growthDevices))
		s.fill(100_000 / callsOfASale)
		note(s.measure(fmt.Sprintf("%s registers", grouped(registers)), growthDevices))
	}
}

func growConnected(b *testing.B, program string, note func(growthRow)) {
	s := newGrowthSite(b, program, growthRegisters, 10_000)
	s.fill(100_000 / callsOfASale)
	for _, devices := range []int{1, 100, 1_000, 10_000} {
		note(s.measure(fmt.Sprintf("%s devices", grouped(devices)), devices))
	}
}

func growConfirmed(b *testing.B, program string, note func(growthRow)) {
	s := newGrowthSite(b, program, growthRegisters, growthDevices)
	s.settings = []string{"store.retain_confirmed=36500d"}
	s.confirm(saleDays * salesADay)
	note(s.measure(fmt.Sprintf("%s confirmed", grouped(saleDays*salesADay)), growthDevices))
	kept := 90 * 24 * time.Hour // the default of store.retain_confirmed
	s.open(func(j *journal) { j.sweep(kept) })
	s.weigh()
	note(s.measure("of those, 90 days kept", growthDevices))
}

// fill appends sales that wait until there are n.
func (s *growthSite) fill(n int) {
	s.open(func(j *journal) {
		now := time.Now()
		j.sell(n-s.sales, now, now, func() {})
	})
	s.weigh()
}

// confirm appends n sales of the last year, each confirmed, its receipt delivered.
func (s *growthSite) confirm(n int) {
	s.open(func(j *journal) {
		a := j.newAnswers()
		now := time.Now()
		j.sell(n, now.Add(-saleDays*24*time.Hour), now, func() { j.confirm(a) })
		s.receipt = a.number(0)
	})
	s.weigh()
}

// measure starts the gateway several times, and the last time asks its pages and sells.
func (s *growthSite) measure(name string, devices int) growthRow {
	row := growthRow{name: name, size: s.size, perSale: s.perSale}
	var listening, acked []time.Duration
	var r *running
	for i := range growthStarts {
		r = s.start()
		listening, acked = append(listening, r.listening), append(acked, r.firstAck())
		if i < growthStarts-1 {
			r.stop()
		}
	}
	row.listening, row.acked = middleOf(listening), middleOf(acked)
	pause(3 * time.Second) // what a start leaves behind is done: its first canary, the day's tally
	row.quiet = r.usage().Memory
	s.pages(&row)
	s.cost(r, &row, devices)
	row.peak = r.usage().Peak
	r.stop()
	s.b.Log(row.line())
	return row
}

// pages asks what people look at.
func (s *growthSite) pages(row *growthRow) {
	page := func(path string) asked { return ask(func() { s.get(path) }) }
	row.overview = page("/")
	row.status = ask(func() { s.status() })
	row.sales = page("/sales")
	row.none = page("/sales?amount=0.01")
	if s.oldest != "" {
		row.byID = page("/sales?id=" + s.oldest)
	}
	if s.receipt != "" {
		row.byReceipt = page("/sales?receipt=" + s.receipt)
	}
}

// cost connects so many devices, and has the first hundred sell, a hundred sales in
// flight in all or as many as a device may have.
func (s *growthSite) cost(r *running, row *growthRow, devices int) {
	before := r.usage().Memory
	began := time.Now()
	l := r.connect(devices)
	defer l.Close()
	row.connected = time.Since(began)
	row.perDevice = float64(r.usage().Memory-before) / float64(devices)
	window := min(64, growthDevices/min(devices, growthDevices))
	selling := min(devices, growthDevices)
	r.sell(l, selling, window, growthSales/10)
	from := r.usage().CPU
	t := r.sell(l, selling, window, growthSales)
	row.cpu = float64((r.usage().CPU - from).Microseconds()) / float64(t.Count)
	row.rate = t.PerSecond
}

func (r growthRow) line() string {
	return "| " + strings.Join([]string{r.name, fmt.Sprintf("%.1f", r.size/1e6), fmt.Sprintf("%.0f", r.perSale), inMS(r.listening), inMS(r.acked),
		fmt.Sprintf("%.1f", float64(r.quiet)/(1<<20)), fmt.Sprintf("%.1f", float64(r.peak)/(1<<20)),
		r.overview.String(), r.status.String(), r.sales.String(), r.byID.String(), r.byReceipt.String(), r.none.String(),
		fmt.Sprintf("%.0f", r.cpu), fmt.Sprintf("%.0f", r.rate), fmt.Sprintf("%.2f", r.connected.Seconds()), fmt.Sprintf("%.1f", r.perDevice/1024)}, " | ") + " |"
}

// growthTable is what docs/benchmarks.md shows.
func growthTable(rows []growthRow) string {
	lines := []string{
		"| | database MB | B/sale | listening ms | first PUBACK ms | quiet MiB | peak MiB | overview ms, first / again | its JSON | sales | by id | by receipt | of an amount that nobody paid | CPU µs/sale | sales/s | connected s | KiB/device |",
		"|" + strings.Repeat("---|", 17)}
	for _, r := range rows {
		lines = append(lines, r.line())
	}
	return strings.Join(lines, "\n")
}

// grouped prints 1000000 as 1,000,000.
func grouped(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
