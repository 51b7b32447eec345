package gateway

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"edgegw/broker/brokertest"
	"edgegw/fiscal/sandbox"
	"edgegw/store"
)

// idleVariable names how long TestTheWriteBudget lets the site rest, to count what an
// idle hour writes: 20m, or nothing.
const idleVariable = "EDGEGW_TEST_IDLE"

// What a sale writes to the card over its whole life: accepted, sent, answered, its
// receipt delivered, checkpointed, and removed in the end; one sale at a time, as a quiet
// site sells. docs/benchmarks.md has the figures. The bound is half as much again
// as was measured, so that nobody doubles it unseen.
func TestTheWriteBudget(t *testing.T) {
	const sales, most = 120, 220 << 10
	s := newSite(t, sandbox.Options{})
	device := s.ownCard()
	at := func() written { return writtenNow(t, device) }
	s.on()
	s.add("pump-01")
	pump := s.connect("pump-01", 5, topic("pump-01", "receipt"))
	if text := os.Getenv(idleVariable); text != "" {
		rest, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		s.rests(pump, rest, at)
	}
	began := at()
	for n := 1; n <= sales; n++ {
		if err := pump.Publish(topic("pump-01", "sale"), 1, uint16(n), fmt.Sprintf(wholeEvent, fmt.Sprintf("s%04d", n))); err != nil {
			t.Fatal(err)
		}
		awaitReceipt(t, pump, nil)
		await(t, "the receipt to be noted", func() bool {
			n, err := s.db.Letters(t.Context(), "pump-01", 0, 1)
			return err == nil && len(n) == 0
		})
	}
	sold := at()
	_, used, err := s.db.Room(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes a sale are kept", used/sales)
	if used/sales > saleTakes { // what the forecast takes for one where too few are kept
		t.Errorf("a sale takes %d bytes of the database, more than %d", used/sales, saleTakes)
	}
	s.off()
	closed := at()
	s.on()
	again := at()
	swept := store.Sweep{}
	for !swept.Done {
		if swept, err = s.db.Sweep(t.Context(), swept, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	s.off()
	gone := at()
	if swept.Removed < sales-1 { // the newest event stays
		t.Errorf("%d of %d sales were removed", swept.Removed, sales)
	}
	whole := closed.minus(began).plus(gone.minus(again))
	for _, p := range []struct {
		what string
		written
	}{{"accepted, sent, answered, delivered", sold.minus(began)}, {"the clean end", closed.minus(sold)},
		{"removed", gone.minus(again)}, {"in all", whole}} {
		t.Logf("%s: %d bytes a sale by the process, %d on the device", p.what, p.process/sales, p.device/sales)
	}
	if whole.process == 0 {
		t.Skip("NOT TESTED: what is written here reaches no disk (a tmpfs?)")
	}
	if whole.process/sales > most || whole.device/sales > most {
		t.Errorf("a sale writes %d and %d bytes in its life, more than %d", whole.process/sales, whole.device/sales, most)
	}
}

// written is bytes since some beginning: that the kernel counts for this process, and
// that have reached the device, the file system's own included (0 where there is none).
type written struct{ process, device int64 }

func (w written) minus(o written) written { return written{w.process - o.process, w.device - o.device} }
func (w written) plus(o written) written  { return written{w.process + o.process, w.device + o.device} }

func writtenNow(t *testing.T, device string) (w written) {
	t.Helper()
	syscall.Sync()
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Skipf("NOT TESTED: this system does not count what a process writes: %v", err)
	}
	_, rest, _ := strings.Cut(string(text), "\nwrite_bytes: ")
	line, _, _ := strings.Cut(rest, "\n")
	if w.process, err = strconv.ParseInt(line, 10, 64); err != nil {
		t.Fatal(err)
	}
	if device == "" {
		return w
	}
	if text, err = os.ReadFile(filepath.Join("/sys/block", device, "stat")); err != nil {
		t.Fatal(err)
	}
	sectors, err := strconv.ParseInt(strings.Fields(string(text))[6], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	w.device = sectors * 512
	return w
}

// ownCard puts the site's data on an ext4 of its own and gives its block device. Where
// that cannot be, the process's own count is what is left.
func (s *testSite) ownCard() (device string) {
	t := s.t
	t.Helper()
	dir, image := t.TempDir(), filepath.Join(t.TempDir(), "card")
	for _, do := range []func() error{
		func() error { return os.WriteFile(image, nil, 0o600) },
		func() error { return os.Truncate(image, 1<<30) },
		exec.Command("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image).Run,
		exec.Command("mount", "-o", "loop", image, dir).Run,
	} {
		if err := do(); err != nil {
			t.Logf("what reaches the device is not counted: %v", err)
			return ""
		}
	}
	t.Cleanup(func() {
		if err := exec.Command("umount", dir).Run(); err != nil {
			t.Error(err)
		}
	})
	s.dir = dir
	s.flags["data_dir"] = dir
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(mounts), "\n") {
		if f := strings.Fields(line); len(f) > 1 && f[1] == dir {
			return filepath.Base(f[0])
		}
	}
	t.Fatalf("%s is not mounted", dir)
	return ""
}

// rests lets the site stand idle with a device that pings, and says what an hour of that
// writes.
func (s *testSite) rests(pump *brokertest.Client, span time.Duration, at func() written) {
	var from written
	warm, end := time.After(time.Minute), time.After(time.Minute+span) // a start has its own to write
	tick := time.NewTicker(20 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-warm:
			from = at()
			continue
		case <-tick.C:
			if _, err := pump.Ping(); err != nil {
				s.t.Fatal(err)
			}
			continue
		case <-end:
		}
		w := at().minus(from)
		s.t.Logf("idle: %d KiB an hour by the process, %d on the device", int64(float64(w.process>>10)/span.Hours()), int64(float64(w.device>>10)/span.Hours()))
		return
	}
}
