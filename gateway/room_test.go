package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/broker/brokertest"
	"edgegw/clock"
	"edgegw/doctor"
	"edgegw/fiscal/sandbox"
)

// Devices are told to hold back before the disk is full, who begins all the same is
// refused in the end, and what is under way always ends.
func TestLittleRoom(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	s.flags["store.min_free_bytes"] = "256MiB"
	var free atomic.Int64
	free.Store(1 << 40)
	s.options.Free = func(context.Context) (int64, error) { return free.Load(), nil }
	s.on()
	defer s.off()
	s.add("pump-01")
	c := s.connect("pump-01", 5, topic("pump-01", "sale/ack"))
	s.add("pump-02")
	watch := s.connect("pump-02", 4, "edgegw/v1/site/status")
	told := func(mib int64, accept string) {
		t.Helper()
		free.Store(mib << 20)
		s.room.once(t.Context())
		for {
			w := readSite(t, watch)
			if w.Accept == accept {
				if want := map[bool]string{true: "", false: "storage_low"}[accept == "yes"]; w.Reason != want {
					t.Errorf("%d MiB: the reason is %q", mib, w.Reason)
				}
				break
			}
		}
		device, err := s.ring.Get("pump-01")
		must(t, err)
		facts, err := s.trialFacts(t.Context(), device)
		if err != nil || (facts.gatewayCheck().State == doctor.Failed) != (accept == "no") {
			t.Errorf("%d MiB: a test sale says %+v, %v", mib, facts.gatewayCheck(), err)
		}
		st, err := s.Status(t.Context())
		if err != nil || hasCondition(st, "storage_low") != (accept != "yes") {
			t.Errorf("%d MiB: a technician sees %+v, %v", mib, st.Conditions, err)
		}
	}
	id := uint16(0)
	sends := func(kind, payload, sale string, code byte, status string) {
		t.Helper()
		id++
		if err := c.Publish(topic("pump-01", kind), 1, id, fmt.Sprintf(payload, sale)); err != nil {
			t.Fatal(err)
		}
		p, _, err := c.Await(brokertest.PUBACK)
		if err != nil || p.Code != code {
			t.Fatalf("%s of %s: PUBACK %#x, %v; want %#x", kind, sale, p.Code, err, code)
		}
		if got := readStatus(t, c, "/sale/ack"); got != status {
			t.Fatalf("%s of %s: sale/ack says %s, want %s", kind, sale, got, status)
		}
	}
	told(1000, "yes")
	sends("sale/start", startEvent, "s1", 0, "queued")
	told(255, "limited")
	sends("sale/start", startEvent, "s2", 0, "queued")
	told(127, "no")
	sends("sale/start", startEvent, "s3", 0, "queued") // it does not listen
	free.Store(31 << 20)
	s.room.once(t.Context())
	before := s.accepting.no.Load()
	sends("sale/start", startEvent, "s4", 0x97, "rejected")
	sends("sale", wholeEvent, "s5", 0x97, "rejected")
	sends("sale/start", startEvent, "s1", 0, "duplicate") // its acknowledgement was lost
	for _, sale := range []string{"s1", "s2", "s3"} {
		sends("sale/complete", completeEvent, sale, 0, "queued")
	}
	if s.accepting.no.Load() != before {
		t.Error("what was held back was taken for a fault of the disk")
	}
	told(255, "limited")
	sends("sale/start", startEvent, "s4", 0, "queued")
	told(1000, "yes")
}

// The word does not change to and fro at the edge of a level.
func TestTheEdgeOfALevel(t *testing.T) {
	free, changes := int64(0), 0
	r := &room{limit: 1600, look: func(context.Context) (int64, error) { return free, nil }, reserve: &reserve{path: filepath.Join(t.TempDir(), "none", "none"), log: slog.New(slog.DiscardHandler)}, changed: func() { changes++ }}
	for _, row := range []struct {
		free int64
		want level
	}{{5000, plenty}, {1599, scarce}, {1601, scarce}, {1599, scarce}, {1699, scarce}, {1700, plenty}, {799, short}, {850, short}, {900, scarce}, {199, underWay}, {250, underWay}, {300, short}, {0, underWay}, {5000, plenty}} {
		free = row.free
		r.once(t.Context())
		if got := r.now(); got != row.want {
			t.Errorf("%d free: level %d, want %d", free, got, row.want)
		}
	}
	if changes != 9 {
		t.Errorf("%d changes were told", changes)
	}
	r.look = func(context.Context) (int64, error) { return 0, errors.New("unknown") }
	if r.once(t.Context()); r.now() != plenty {
		t.Error("what nobody could find out changed the word")
	}
}

func TestTheReserve(t *testing.T) {
	dir := t.TempDir()
	logs := &lockedBuffer{}
	r := openReserve(dir, slog.New(slog.NewTextHandler(logs, nil)))
	size := func() int64 {
		info, err := os.Stat(filepath.Join(dir, reserveFile))
		if err != nil {
			return -1
		}
		return info.Size()
	}
	for _, row := range []struct{ free, want int64 }{{100 << 20, -1}, {300 << 20, reserveBytes}, {5 << 20, reserveBytes}, {3 << 20, -1}, {100 << 20, -1}, {300 << 20, reserveBytes}} {
		r.tend(row.free, 256<<20)
		if got := size(); got != row.want {
			t.Errorf("%d MiB free: the reserve has %d bytes, want %d", row.free>>20, got, row.want)
		}
	}
	if again := openReserve(dir, slog.New(slog.NewTextHandler(logs, nil))); !again.held {
		t.Error("a reserve that is there is not found")
	}
}

// Confirmed sales go when they are old enough by a clock that somebody vouches for.
func TestConfirmedSalesAreRemoved(t *testing.T) {
	t.Run("the kernel", func(t *testing.T) {
		confirmedSalesAreRemoved(t, func(s *testSite, synchronised *atomic.Bool) {
			synchronised.Store(true)
			await(t, "the clock to ask the kernel again", func() bool { return s.clock.Quality() == clock.Synchronised })
		})
	})
	t.Run("OpenFiskal, which agrees with the box", func(t *testing.T) {
		confirmedSalesAreRemoved(t, func(s *testSite, _ *atomic.Bool) { s.clock.Hint(time.Now().Add(365 * 24 * time.Hour)) })
	})
}

func confirmedSalesAreRemoved(t *testing.T, vouch func(*testSite, *atomic.Bool)) {
	s := newSite(t, sandbox.Options{})
	var ahead atomic.Int64
	synchronised := &atomic.Bool{}
	s.options.Clock = clock.Options{Synchronised: synchronised.Load, Wall: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }}
	synchronised.Store(true)
	s.on()
	defer s.off()
	s.add("pump-01")
	c := s.connect("pump-01", 4, topic("pump-01", "receipt"))
	for n := range 3 {
		if err := c.Publish(topic("pump-01", "sale"), 1, uint16(n+1), fmt.Sprintf(wholeEvent, fmt.Sprint("s", n))); err != nil {
			t.Fatal(err)
		}
		awaitReceipt(t, c, map[string]int{})
	}
	left := func() (n int64) {
		t.Helper()
		st, err := s.Status(t.Context())
		if err != nil || st.Totals.Confirmed != 3 || st.Totals.Accepted != 3 {
			t.Fatalf("%+v, %v", st.Totals, err)
		}
		found, err := s.Sales(t.Context(), admin.SaleFilter{Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		return int64(len(found))
	}
	await(t, "the receipts to be acknowledged", func() bool {
		st, err := s.Status(t.Context())
		return err == nil && st.Totals.Receipts == 0 && st.Totals.Confirmed == 3
	})
	must(t, s.walk(t.Context()))
	if n := left(); n != 3 {
		t.Errorf("%d sales are left at once", n)
	}
	synchronised.Store(false) // and a year ahead
	ahead.Store(int64(365 * 24 * time.Hour))
	must(t, s.walk(t.Context()))
	if n := left(); n != 3 {
		t.Errorf("%d sales are left by a clock that jumped", n)
	}
	vouch(s, synchronised)
	must(t, s.walk(t.Context()))
	if n := left(); n != 1 { // the newest stays for its number
		t.Errorf("%d sales are left after a year", n)
	}
	if !strings.Contains(s.logs.String(), "kept long enough and are removed") {
		t.Error("nothing in the log")
	}
}
