//go:build linux

package gateway

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"edgegw/devicekeys"
	"edgegw/fiscal"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/store"
)

// BenchmarkDrain: a backlog goes to a stand-in that is a process of its own, so that
// what this process uses is the gateway's. The bound is the service's limit, or one
// request at a time of each register up to openfiskal.concurrency. The yardstick, turn
// by turn, is a bare client of net/http that makes requests of the same bytes in the
// same order, and does nothing with the answers.
func BenchmarkDrain(b *testing.B) {
	const ms = time.Millisecond
	for _, site := range []struct {
		registers int
		cells     []drainCell
	}{
		{40, []drainCell{{50 * ms, 0, 500}, {50 * ms, 0, 0}, {300 * ms, 0, 0}, {1200 * ms, 0, 0}}},
		{400, []drainCell{{50 * ms, 0, 500}, {300 * ms, 0, 500}, {300 * ms, openFiskalSpread, 500}, {300 * ms, 0, 0}, {300 * ms, openFiskalSpread, 0}, {1200 * ms, 0, 0}}},
		{2000, []drainCell{{50 * ms, 0, 500}, {300 * ms, 0, 500}, {1200 * ms, 0, 500}, {1200 * ms, 0, 0}}},
	} {
		b.Run(fmt.Sprintf("registers=%d", site.registers), func(b *testing.B) {
			d := newDrain(b, site.registers)
			for _, c := range site.cells {
				b.Run(c.String(), func(b *testing.B) { d.measure(b, c) })
			}
		})
	}
}

// drainCell is a service of one kind.
type drainCell struct {
	latency time.Duration // the median
	spread  float64
	limit   int // requests a second, on both sides; 0: none
}

// openFiskalSpread makes a median of 300 ms have its 95th percentile at 1,200 ms
// (OPENFISKAL.md section 10), and its mean at 428 ms.
var openFiskalSpread = math.Log(4) / 1.6449

func (c drainCell) String() string {
	s := "latency=" + c.latency.String()
	if c.spread > 0 {
		s += "-lognormal"
	}
	if c.limit > 0 {
		s += fmt.Sprintf("/limit=%d", c.limit)
	}
	return s
}

func (c drainCell) order() cloudOrder {
	return cloudOrder{Latency: c.latency, Spread: c.spread, Limit: c.limit}
}

func (c drainCell) bound(places int) float64 {
	mean := c.latency.Seconds() * math.Exp(c.spread*c.spread/2)
	if all := float64(places) / mean; c.limit == 0 || all < float64(c.limit) {
		return all
	}
	return float64(c.limit)
}

const (
	drainWarm = 4 * time.Second // until every queue is under way and the start's burst is over
	drainSpan = 6 * time.Second
	// mostDrained is more than two processors bring on their way in a second.
	mostDrained  = 3000
	mostInFlight = 1024 // of openfiskal.concurrency
)

// drain is a site whose backlog goes to a cloud. The cloud has as many registers again,
// for the yardstick.
type drain struct {
	*testSite
	cloud     *cloudProcess
	registers int
	sales     int // that there ever were
}

func newDrain(b *testing.B, registers int) *drain {
	d := &drain{testSite: newSite(b, sandbox.Options{KeepRequests: 1}), cloud: startCloud(b, 2*registers), registers: registers}
	ca := filepath.Join(b.TempDir(), "cloud.pem")
	if err := os.WriteFile(ca, []byte(d.cloud.CA), 0o600); err != nil {
		b.Fatal(err)
	}
	d.options.Log = nil
	for name, value := range map[string]string{"openfiskal.base_url": d.cloud.URL + "/v1", "openfiskal.ca_file": ca, "http.listen": "",
		"openfiskal.concurrency": strconv.Itoa(min(registers, mostInFlight))} {
		d.flags[name] = value
	}
	d.on()
	defer d.off()
	for i, key := range d.cloud.Keys[:registers] {
		n := devicekeys.NewDevice{ID: drainDevice(i), Register: drainRegister(i)}
		if _, err := d.ring.AddWithKey(context.Background(), n, secret.FromString(key), sale.KeyStateActive, "bench"); err != nil {
			b.Fatal(err)
		}
	}
	return d
}

// drainFigures are of one span.
type drainFigures struct {
	ofBound, cpu, written, throttled, disorder float64
	memory, goroutines, cloud, connections     float64
}

func (d *drain) measure(b *testing.B, c drainCell) {
	var ours, bare []drainFigures
	for b.Loop() {
		ours = append(ours, d.gateway(b, c))
		bare = append(bare, d.bare(b, c))
	}
	of := func(all []drainFigures, what func(drainFigures) float64) float64 {
		var v []float64
		for _, f := range all {
			v = append(v, what(f))
		}
		return median(v)
	}
	for name, what := range map[string]func(drainFigures) float64{
		"of-bound": func(f drainFigures) float64 { return f.ofBound }, "µs/request": func(f drainFigures) float64 { return f.cpu },
		"B/request": func(f drainFigures) float64 { return f.written }, "429s": func(f drainFigures) float64 { return f.throttled },
		"disorder": func(f drainFigures) float64 { return f.disorder }, "MiB": func(f drainFigures) float64 { return f.memory },
		"goroutines": func(f drainFigures) float64 { return f.goroutines }, "cloud-µs": func(f drainFigures) float64 { return f.cloud },
		"connections": func(f drainFigures) float64 { return f.connections },
	} {
		b.ReportMetric(of(ours, what), name)
	}
	b.ReportMetric(of(bare, func(f drainFigures) float64 { return f.ofBound }), "bare-of-bound")
	b.ReportMetric(of(bare, func(f drainFigures) float64 { return f.cpu }), "bare-µs")
	b.ReportMetric(of(bare, func(f drainFigures) float64 { return f.connections }), "bare-connections")
	b.ReportMetric(0, "ns/op")
}

// span waits until it is under way and gives what a span of it used.
func (d *drain) span(b *testing.B, c drainCell, start cloudCount) (f drainFigures) {
	<-time.After(drainWarm)
	from, began, before := d.cloud.order(c.order()), time.Now(), usage(b)
	<-time.After(drainSpan)
	after := usage(b)
	to, took := d.cloud.order(c.order()), time.Since(began)
	n := float64(to.Requests - from.Requests)
	f.ofBound = n / took.Seconds() / c.bound(min(d.registers, mostInFlight))
	f.cpu, f.cloud = float64((after.CPU-before.CPU).Microseconds())/n, float64((to.CPU-from.CPU).Microseconds())/n
	f.written = float64(after.Written-before.Written) / n
	f.throttled, f.disorder = float64(to.Throttled-from.Throttled), float64(to.Disorder-from.Disorder)
	f.connections = float64(to.Accepted - start.Accepted)
	f.memory, f.goroutines = float64(after.Memory)/(1<<20), float64(runtime.NumGoroutine())
	return f
}

// gateway measures the product: it starts with a backlog, and ends with the rest.
func (d *drain) gateway(b *testing.B, c drainCell) drainFigures {
	d.fill(b, c)
	d.flags["openfiskal.requests_per_second"] = strconv.Itoa(cmp.Or(c.limit, 100_000))
	debug.FreeOSMemory()
	start := d.cloud.order(c.order())
	d.on()
	if file := os.Getenv("EDGEGW_TEST_PROFILE"); file != "" {
		f, err := os.Create(file)
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		time.AfterFunc(drainWarm, func() { _ = pprof.StartCPUProfile(f) })
		defer pprof.StopCPUProfile()
	}
	defer d.off()
	return d.span(b, c, start)
}

// calls gives so many as go out in the whole span, and a few more of each register.
func (c drainCell) calls(registers int) int {
	rate := min(c.bound(min(registers, mostInFlight)), mostDrained)
	return int(rate*(drainWarm+drainSpan).Seconds()*1.3) + 6*registers
}

// event is the next sale's, of about 1 KiB.
func (d *drain) event() (raw []byte, _ *sale.Event) {
	d.sales++
	text := fmt.Sprintf(wholeEvent, fmt.Sprintf("%010d", d.sales))
	raw = []byte(strings.Replace(text, `"currency"`, `"metadata":{"note":"`+strings.Repeat("x", 700)+`"},"currency"`, 1))
	e, fault := sale.Parse(sale.Whole, raw)
	if fault != nil {
		panic(fault) // the text above is wrong
	}
	return raw, e
}

// fill appends sales to the journal, as the relay would have written them.
func (d *drain) fill(b *testing.B, c drainCell) {
	db, err := store.Open(context.Background(), d.dir, store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	accepted := time.Now().Add(-time.Hour) // a backlog, and not sales that happen now
	appendSales(b, db, c.calls(d.registers)/3+1, func(n int) (sale.Device, sale.Entry) {
		i := n % d.registers
		raw, e := d.event()
		return sale.Device{ID: drainDevice(i), Register: drainRegister(i), Kind: "pump"}, sale.Entry{Event: e, Raw: raw, At: accepted, Operation: newOperation()}
	})
}

// bare measures the yardstick.
func (d *drain) bare(b *testing.B, c drainCell) drainFigures {
	encoder := fiscal.Encoder{NewKey: newUUID}
	queues := make([][]sale.Call, d.registers)
	for n := range c.calls(d.registers)/3 + 1 {
		i := n % d.registers
		_, e := d.event()
		op, dev := newOperation(), sale.Device{ID: drainDevice(i), Register: drainRegister(d.registers + i), Kind: "pump"}
		for _, call := range encoder.Encode(e, dev.Register, dev, op, true, 2) {
			call.Operation = op
			queues[i] = append(queues[i], call)
		}
	}
	roots, err := fiscal.LoadCA(d.flags["openfiskal.ca_file"])
	if err != nil {
		b.Fatal(err)
	}
	transport := fiscal.NewTransport(fiscal.TransportOptions{RootCAs: roots})
	defer transport.CloseIdleConnections()
	pace := rate.NewLimiter(rate.Inf, 0)
	if c.limit > 0 {
		pace = rate.NewLimiter(rate.Limit(c.limit), 1)
	}
	places := make(chan struct{}, min(d.registers, mostInFlight))
	ctx, cancel := context.WithCancel(context.Background())
	start := d.cloud.order(c.order())
	var wg sync.WaitGroup
	for i, calls := range queues {
		wg.Go(func() {
			for _, call := range calls {
				places <- struct{}{}
				err := errThrottled
				for errors.Is(err, errThrottled) {
					if err = pace.Wait(ctx); err == nil {
						err = d.ask(ctx, transport, call, d.cloud.Keys[d.registers+i])
					}
				}
				<-places
				if ctx.Err() != nil {
					return
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	f := d.span(b, c, start)
	cancel()
	wg.Wait()
	return f
}

var errThrottled = errors.New("too many requests")

func (d *drain) ask(ctx context.Context, t *http.Transport, call sale.Call, key string) error {
	r, err := http.NewRequestWithContext(ctx, call.Method, d.cloud.URL+"/v1"+call.URLPath(), bytes.NewReader(call.Body))
	if err != nil {
		return err
	}
	for name, value := range map[string]string{"X-Register-Api-Key": key, "Idempotency-Key": call.IdempotencyKey, "Content-Type": "application/json", "Accept": "application/json"} {
		r.Header.Set(name, value)
	}
	answer, err := t.RoundTrip(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	switch {
	case err == nil && answer.StatusCode == http.StatusTooManyRequests:
		return errThrottled
	case err == nil && answer.StatusCode/100 != 2:
		return fmt.Errorf("status %d: %s", answer.StatusCode, text)
	}
	return err
}
