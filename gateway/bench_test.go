//go:build linux

package gateway

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/bench"
	"edgegw/broker"
	"edgegw/broker/brokertest"
	"edgegw/fiscal"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/simulator"
	"edgegw/store"
)

// The benchmarks measure the product against the fastest thing that keeps the
// same promise on the same disk, alternating in one run, and report the ratio:
// absolute figures belong to one machine. -benchtime Nx gives the number of
// rounds; docs/benchmarks.md tells how to read them.

// newLoad is n devices, pump-000 and so on, that are logged in where dial leads.
func newLoad(b *testing.B, n int, dial dialer, secret func(sale.DeviceID) string) *bench.Load {
	l := &bench.Load{Dial: dial}
	b.Cleanup(l.Close)
	logins := make([]bench.Login, n)
	for i := range logins {
		id := pumpName(i)
		logins[i] = bench.Login{ID: id, Secret: secret(id)}
	}
	if err := l.Connect(context.Background(), logins); err != nil {
		b.Fatal(err)
	}
	return l
}

type dialer func(context.Context) (net.Conn, error)

func dialPlain(addr string) dialer {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}
}

func pumpName(i int) sale.DeviceID { return sale.DeviceID(fmt.Sprintf("pump-%03d", i)) }

// sell publishes so many sales on each device.
func sell(b *testing.B, l *bench.Load, window, each int) bench.Times {
	t, err := l.Each(context.Background(), window, each)
	if err != nil {
		b.Fatal(err)
	}
	return t
}

// benchSite is the whole product with n devices, its uplink cut.
func benchSite(b *testing.B, n int) *testSite {
	s := newSite(b, sandbox.Options{KeepRequests: 1})
	s.flags["mqtt.plain_listen"] = "127.0.0.1:0"
	s.options.Log = nil
	s.on()
	b.Cleanup(s.off)
	s.sandbox.SetDown(true)
	for i := range n {
		id := pumpName(i)
		c, err := s.AddDevice(context.Background(), admin.AddDevice{DeviceID: id, RegisterID: sale.RegisterID("reg_" + id), Kind: "pump"}, "bench")
		if err != nil {
			b.Fatal(err)
		}
		s.secrets[id] = c.Password
	}
	return s
}

// load is n of the site's devices, without TLS.
func (s *testSite) load(b *testing.B, n int) *bench.Load {
	return newLoad(b, n, dialPlain(s.plainAddr.String()), func(id sale.DeviceID) string { return s.secrets[id] })
}

func login(b *testing.B, addr string, id sale.DeviceID, password string) net.Conn {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	c, err := brokertest.Connect(conn, brokertest.Login{Version: 4, ClientID: string(id), Secret: password, Keepalive: 120})
	if err != nil || c.Ack.Code != 0 {
		b.Fatalf("connect %s: %v, code %d", id, err, c.Ack.Code)
	}
	return conn
}

// rawLoad is n devices of the same broker on a raw preallocated log with group commit:
// the practical ceiling of an acknowledgement that means "on disk".
func rawLoad(b *testing.B, n int) *bench.Load {
	log, err := brokertest.RawLog(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var ids []sale.DeviceID
	for i := range n {
		ids = append(ids, pumpName(i))
	}
	br, err := broker.New(broker.Options{Plain: l, MessagesPerSecond: -1}, brokertest.NewGuard(ids...), log, brokertest.NewMailbox(), brokertest.NewSessions())
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- br.Run(ctx) }()
	b.Cleanup(func() { cancel(); <-done; log.Close() })
	return newLoad(b, n, dialPlain(l.Addr().String()), func(id sale.DeviceID) string { return "s-" + string(id) })
}

// BenchmarkDurableAcks: 100 devices with 16 sales in flight each, and so on.
func BenchmarkDurableAcks(b *testing.B) {
	for _, c := range []struct{ devices, window, each int }{{100, 16, 300}, {100, 1, 100}, {1, 64, 10000}} {
		b.Run(fmt.Sprintf("devices=%d/inflight=%d", c.devices, c.window), func(b *testing.B) {
			product, raw, mochi := benchSite(b, c.devices).load(b, c.devices), rawLoad(b, c.devices), mochiLoad(b, c.devices)
			for _, l := range []*bench.Load{product, raw, mochi} {
				sell(b, l, c.window, c.each/4)
			}
			var ours, theirs, ofRaw, ofMochi []float64
			for b.Loop() {
				p, r, m := sell(b, product, c.window, c.each).PerSecond, sell(b, raw, c.window, c.each).PerSecond, sell(b, mochi, c.window, c.each).PerSecond
				ours, theirs, ofRaw, ofMochi = append(ours, p), append(theirs, r), append(ofRaw, p/r), append(ofMochi, p/m)
			}
			b.ReportMetric(median(ours), "sales/s")
			b.ReportMetric(median(theirs), "raw/s")
			b.ReportMetric(median(ofRaw), "of-raw")
			b.ReportMetric(median(ofMochi), "of-mochi+raw")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkQuietAck: one device, one sale at a time, against one fdatasync'd
// append of 4 KiB.
func BenchmarkQuietAck(b *testing.B) {
	product := benchSite(b, 1).load(b, 1)
	sell(b, product, 1, 50)
	f, err := os.Create(filepath.Join(b.TempDir(), "append"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, 4096)
	var ratios, ours, theirs []float64
	for b.Loop() {
		o := sell(b, product, 1, 200).P50
		var floor []time.Duration
		for range 200 {
			began := time.Now()
			if _, err := f.Write(page); err != nil {
				b.Fatal(err)
			}
			if err := syscall.Fdatasync(int(f.Fd())); err != nil {
				b.Fatal(err)
			}
			floor = append(floor, time.Since(began))
		}
		t := medianDuration(floor)
		ours, theirs, ratios = append(ours, o), append(theirs, t), append(ratios, o/t)
	}
	b.ReportMetric(median(ours), "µs/ack")
	b.ReportMetric(median(theirs), "µs/fdatasync")
	b.ReportMetric(median(ratios), "of-fdatasync")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkMillionWaiting: a start with 1,000,000 calls waiting against one
// with none, to the first acknowledgement, and the memory above an idle
// gateway.
func BenchmarkMillionWaiting(b *testing.B) {
	const registers = 500
	full, empty := newSite(b, sandbox.Options{KeepRequests: 1}), newSite(b, sandbox.Options{KeepRequests: 1})
	for _, s := range []*testSite{full, empty} {
		s.options.Log = nil
		s.flags["mqtt.plain_listen"] = "127.0.0.1:0"
		s.sandbox.SetDown(true)
	}
	fillQueue(b, full.dir, registers, 1_000_000/3)
	fillQueue(b, empty.dir, registers, 0)
	var extra, memory []float64
	for b.Loop() {
		e, idle := empty.firstAck(b)
		f, loaded := full.firstAck(b)
		extra = append(extra, (f-e).Seconds()*1000)
		memory = append(memory, float64(loaded-idle)/(1<<20))
	}
	b.ReportMetric(median(extra), "ms-later")
	b.ReportMetric(median(memory), "MiB-more")
	b.ReportMetric(0, "ns/op")
}

// firstAck starts the gateway, sells one sale and ends it.
func (s *testSite) firstAck(b *testing.B) (time.Duration, int64) {
	runtime.GC()
	began := time.Now()
	s.on()
	id := sale.DeviceID(fmt.Sprintf("pump-x%d", time.Now().UnixNano()))
	c, err := s.AddDevice(context.Background(), admin.AddDevice{DeviceID: id, RegisterID: "reg_000", Kind: "pump"}, "bench")
	if err != nil {
		b.Fatal(err)
	}
	s.secrets[id] = c.Password
	conn := login(b, s.plainAddr.String(), id, c.Password)
	cl := brokertest.New(conn, false)
	if err := cl.Publish(topic(id, "sale"), 1, 1, fmt.Sprintf(wholeEvent, string(id))); err != nil {
		b.Fatal(err)
	}
	if _, _, err := cl.Await(brokertest.PUBACK); err != nil {
		b.Fatal(err)
	}
	took := time.Since(began)
	runtime.GC()
	rss := usage(b).Memory
	conn.Close()
	s.stop()
	if err := <-s.ended; err != nil {
		b.Fatal(err)
	}
	return took, rss
}

// usage is what this process has used.
func usage(b *testing.B) bench.Usage {
	u, err := bench.UsageOf(os.Getpid())
	if err != nil {
		b.Fatal(err)
	}
	return u
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}

func medianDuration(v []time.Duration) float64 {
	slices.Sort(v)
	return float64(v[len(v)/2].Nanoseconds()) / 1000
}

// fillQueue makes a journal with so many whole sales waiting, spread over
// registers, as the relay would have written them.
func fillQueue(b *testing.B, dir string, registers, sales int) {
	db, err := store.Open(context.Background(), dir, store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	devices := make([]sale.Device, registers)
	for i := range devices {
		devices[i] = sale.Device{ID: sale.DeviceID(fmt.Sprintf("pump-%03d", i)), Register: sale.RegisterID(fmt.Sprintf("reg_%03d", i)), Kind: "pump", SecretHash: []byte("x"), CreatedAt: time.Now()}
		if err := db.AddDevice(context.Background(), devices[i], "bench"); err != nil {
			b.Fatal(err)
		}
	}
	bulk := simulator.NewBulk(simulator.Source(1, "fill"), "EUR")
	appendSales(b, db, sales, func(n int) (sale.Device, sale.Entry) {
		raw, _ := bulk.Append(nil, time.Now())
		e, fault := sale.Parse(sale.Whole, raw)
		if fault != nil {
			b.Fatal(fault)
		}
		return devices[n%registers], sale.Entry{Event: e, Raw: raw, At: time.Now(), Operation: newUUID()}
	})
}

// appendSales puts n whole sales into the journal; the next one's device, event, bytes,
// time and operation come from next.
func appendSales(b *testing.B, db *store.DB, n int, next func(i int) (sale.Device, sale.Entry)) {
	encoder := fiscal.Encoder{NewKey: newUUID}
	var wg sync.WaitGroup
	for i := range n {
		d, x := next(i)
		x.Device, x.Register, x.Currency = d.ID, d.Register, "EUR"
		x.Opening = sale.Freeze(encoder.Encode(x.Event, d.Register, d, x.Operation, true, 2), x.Raw)
		wg.Add(1)
		db.Append(context.Background(), x, func(_ sale.Accepted, err error) {
			if err != nil {
				b.Error(err)
			}
			wg.Done()
		})
	}
	wg.Wait()
}
