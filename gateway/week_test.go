package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"edgegw/broker/brokertest"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/secret"
)

const (
	weekDay = 24 * time.Hour
	// weekKept is how long this site keeps confirmed sales: after two days as much is
	// removed as comes in.
	weekKept = weekDay
)

// A week (here three days; see EDGEGW_TEST_DAYS) of a site that sells by day and by
// night with a lull, has no uplink for six hours of every second day, gets new register
// keys every night, renews its certificate, keeps its pumps connected all the time and
// its kiosk for a sale an hour: at the end of the last day it takes no more memory,
// goroutines, descriptors and disk than at the end of the second.
func TestAWeekIsFlat(t *testing.T) {
	days := 3
	if text := os.Getenv("EDGEGW_TEST_DAYS"); text != "" { // seven take half a minute
		var err error
		if days, err = strconv.Atoi(text); err != nil || days < 3 {
			t.Fatalf("EDGEGW_TEST_DAYS is %q: %v; here it takes three at least", text, err)
		}
	}
	template := t.TempDir()
	prepare(t, template)
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		copyFiles(t, template, dir)
		w := openWeek(t, dir, days)
		for day := range days {
			w.live(day)
		}
		w.flat()
		w.end()
	})
}

type week struct {
	*forty
	services today
	began    time.Time
	sold     [3]int // of pump-1, pump-2, kiosk-1
	sizes    []size

	mu     sync.Mutex
	expect []sandbox.Expect // of today, in the order of the acknowledgements

	ending chan struct{}
	rest   context.CancelFunc // ends retention and history
}

// size is what the site takes at the end of a day.
type size struct {
	heap, rows, database, log, rest int64 // bytes; the database as its readers see it, rest without both
	goroutines, descriptors         int
	sales                           int
}

// today is OpenFiskal as a stand-in that begins anew every day: what it remembers must
// not be taken for the gateway's memory.
type today struct {
	atomic.Pointer[sandbox.Service]
}

func (s *today) RoundTrip(r *http.Request) (*http.Response, error) { return s.Load().RoundTrip(r) }

func openWeek(t *testing.T, dir string, days int) *week {
	w := &week{forty: openForty(t, dir, time.Duration(days)*weekDay), began: time.Now(), ending: make(chan struct{})}
	w.services.Store(w.sandbox)
	w.north = &w.services
	g := w.g
	g.config.Store.RetainConfirmed = weekKept
	g.history, g.remember = newHistory(nil), make(chan struct{}, 1)
	ctx, stop := context.WithCancel(context.Background())
	w.rest = stop
	w.running.Go(func() { _ = g.retain(ctx) })
	w.running.Go(func() { _ = g.keepHistory(ctx) })
	for i, id := range []sale.DeviceID{"pump-1", "pump-2"} {
		l := w.dial(id)
		w.running.Go(func() { w.pump(i, l) })
	}
	return w
}

// asleep says whether nobody buys: from the twentieth hour of a day to its end.
func (w *week) asleep() bool { return time.Since(w.began)%weekDay >= 20*time.Hour }

// weekLine is a device's connection, which is read all the time, as a real one is.
type weekLine struct {
	*brokertest.Client
	id      sale.DeviceID
	answers chan brokertest.Packet // PUBACKs
}

// dial connects a device that wants its receipts.
func (w *week) dial(id sale.DeviceID) *weekLine {
	c, _ := w.connect(id)
	l := &weekLine{c, id, make(chan brokertest.Packet, 1)}
	if err := c.Send(c.SubscribeBytes(1, 1, topic(id, "receipt"))); err != nil {
		w.t.Error(err)
	}
	w.running.Go(func() { _ = l.listen() }) // whoever sells next hears that the line has ended
	return l
}

func (l *weekLine) listen() error {
	defer close(l.answers)
	for {
		p, err := l.Read(time.Hour)
		switch {
		case err != nil:
			return err
		case p.Type == brokertest.PUBACK:
			l.answers <- p
		case p.Type == brokertest.PUBLISH && p.QoS() == 1:
			if err := l.Answer(brokertest.PUBACK, p.ID); err != nil {
				return err
			}
		}
	}
}

// pump sells every ten minutes over one connection.
func (w *week) pump(i int, l *weekLine) {
	defer l.Close()
	tick := time.NewTicker(2 * time.Minute)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-w.ending:
			return
		case <-tick.C:
		}
		err := l.Send([]byte{brokertest.PINGREQ << 4, 0})
		if err == nil && n%5 == 0 && !w.asleep() {
			err = w.sells(i, l)
		}
		if err != nil {
			w.t.Errorf("%s lost its connection after %s: %v", l.id, time.Since(w.began), err)
			return
		}
	}
}

func (w *week) sells(i int, l *weekLine) error {
	w.sold[i]++
	n := w.sold[i]
	id, cents := fmt.Sprintf("%s-%d", l.id, n), 100+n%5000
	if err := l.Publish(topic(l.id, "sale"), 1, uint16(1+n%60000), wholeSale(id, cents)); err != nil {
		return err
	}
	if p, ok := <-l.answers; !ok || p.Code != 0 {
		return fmt.Errorf("sale %s: PUBACK %#x, %v", id, p.Code, ok)
	}
	register := "reg_1"
	if l.id == "pump-2" {
		register = "reg_2"
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expect = append(w.expect, sandbox.Expect{Register: register, ExternalID: id, Total: int64(cents)})
	return nil
}

// kiosk connects, sells, takes its receipts and goes.
func (w *week) kiosk() {
	l := w.dial("kiosk-1")
	if err := w.sells(2, l); err != nil {
		w.t.Error(err)
	}
	<-time.After(time.Minute)
	_ = l.Goodbye() // the gateway may end the line before the device does
}

// live lets a day pass, compares what was sold in it with what OpenFiskal has, and
// looks at what the site takes.
func (w *week) live(day int) {
	for hour := range 24 {
		if day%2 == 1 && (hour == 8 || hour == 14) {
			w.services.Load().SetDown(hour == 8)
		}
		if hour < 20 {
			w.kiosk()
		}
		w.until(time.Duration(day)*weekDay + time.Duration(hour)*time.Hour + 55*time.Minute)
	}
	w.mu.Lock()
	expect := w.expect
	w.expect = nil
	w.mu.Unlock()
	if err := errors.Join(w.services.Load().Check(expect), w.services.Load().CheckFrozen()); err != nil {
		w.t.Errorf("day %d: %v", day+1, err)
	}
	w.anew()
	w.until(time.Duration(day+1) * weekDay)
	w.look(len(expect))
}

// until lets time pass until so long after the begin.
func (w *week) until(after time.Duration) { <-time.After(after - time.Since(w.began)) }

// anew gives the site another stand-in, and the keys of it.
func (w *week) anew() {
	s := sandbox.New(sandbox.Options{})
	keys := map[sale.RegisterID]string{}
	for _, r := range []sale.RegisterID{"reg_1", "reg_2"} {
		keys[r] = s.MustAddRegister(string(r))
	}
	w.services.Store(s)
	w.sandbox = s
	for r, key := range keys {
		if err := w.life.giveKey(r, secret.FromString(key)); err != nil {
			w.t.Fatal(err)
		}
		w.life.relay.Wake(r)
	}
}

func (w *week) look(sales int) {
	w.life.fiscal.CloseIdle()
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s := size{heap: int64(m.HeapAlloc), goroutines: runtime.NumGoroutine(), sales: sales}
	for range 1000 { // those of a connection that was just closed are about to end
		runtime.Gosched()
		s.goroutines = min(s.goroutines, runtime.NumGoroutine())
	}
	free, used, err := w.life.db.Room(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	s.rows, s.database = used, used+free
	if _, s.log, err = w.life.db.Sizes(); err != nil {
		w.t.Fatal(err)
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if s.descriptors = len(fds); err != nil {
		w.t.Logf("descriptors are not counted here: %v", err)
	}
	err = filepath.WalkDir(w.dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && !strings.HasPrefix(d.Name(), "edgegw.db") {
			s.rest += info.Size()
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.sizes = append(w.sizes, s)
}

// flat compares the last day with the second. The margins are of what comes and goes:
// a page of memory or of the database, a connection of a reader.
func (w *week) flat() {
	second, last := w.sizes[1], w.sizes[len(w.sizes)-1]
	var table strings.Builder
	for i, s := range w.sizes {
		fmt.Fprintf(&table, "\nday %d: %d sales, heap %d KiB, %d goroutines, %d descriptors, rows %d KiB, database %d KiB, log %d KiB, the rest %d KiB",
			i+1, s.sales, s.heap>>10, s.goroutines, s.descriptors, s.rows>>10, s.database>>10, s.log>>10, s.rest>>10)
	}
	w.t.Log(table.String())
	for _, c := range []struct {
		what             string
		is, was, percent int64
		more             int64
	}{
		{"heap", last.heap, second.heap, 10, 1 << 20},
		{"goroutines", int64(last.goroutines), int64(second.goroutines), 0, 2},
		{"descriptors", int64(last.descriptors), int64(second.descriptors), 0, 2},
		{"rows", last.rows, second.rows, 2, 32 << 10},
		{"database", last.database, second.database, 25, 64 << 10}, // what was removed is used again, and leaves gaps until then
		{"log", last.log, 20 << 20, 0, 0},                          // it grows to where it is begun anew (docs/metrics.md)
		{"the rest", last.rest, second.rest, 10, 4 << 10},
	} {
		if most := c.was + c.was*c.percent/100 + c.more; c.is > most {
			w.t.Errorf("%s: %d at the end of the last day, and %d was the most", c.what, c.is, most)
		}
	}
}

func (w *week) end() {
	close(w.ending)
	w.rest()
	w.close()
}
