package main

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/doctor"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/simulator"
)

// Another program fills the disk to its last byte while pumps, chargers and kiosks
// sell, and frees it again: at once, so that sales meet the full disk itself, and then
// step by step, so that the site hears of it first. Nobody's hand touches the gateway.
// What was acknowledged is there all the while, the site tells its devices limited, no
// and yes again, and in the end each sale is fiscalized once.
func TestADiskFilledToTheBrimUnderLoad(t *testing.T) {
	t.Parallel()
	flags, service := uplink(t, sandbox.Options{Idempotency: sandbox.Ignore})
	b := newBox(t, append(flags, "--set", "openfiskal.requests_per_second=2000", "--set", "mqtt.messages_per_second=1000")...)
	b.flags = append(b.without("store.min_free_bytes=0"), "--set", "store.min_free_bytes=12MiB")
	disk := b.ownDisk(96 << 20)
	stop := b.start()
	pid := b.pid
	var kept atomic.Int64
	fleet, registers := b.fleet(service, 8, func(c *simulator.Config) {
		c.OnNotice = func(n simulator.Notice) {
			if n.What == simulator.KeptBack || n.What == simulator.WentOffline {
				kept.Add(1)
			}
		}
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	defer cancel()
	sold := make(chan error, 1)
	go func() { sold <- fleet.Run(ctx) }()
	ends := func() (n int) {
		for _, r := range fleet.Sales() {
			if r.Stored() {
				n++
			}
		}
		return n
	}
	told := func(accept string) func() bool {
		return func() bool {
			for _, s := range fleet.Snapshot() {
				if s.Accept != accept {
					return false
				}
			}
			return true
		}
	}

	await(t, "the first sales", func() bool { return ends() >= 40 })
	other := disk.occupy(t, 0)
	await(t, "devices to keep what cannot be stored", func() bool { return kept.Load() >= 3 })
	await(t, "devices to hear no", told("no"))
	b.holds(fleet)
	other.goes(t)
	await(t, "devices to hear yes", told("yes"))
	before := ends()
	await(t, "sales after the first time", func() bool { return ends() >= before+40 })

	other = disk.occupy(t, 9<<20)
	await(t, "devices to hear limited", told("limited"))
	other.left.Store(4 << 20)
	await(t, "devices to hear no", told("no"))
	other.left.Store(0)
	await(t, "sales that are under way to end", func() bool {
		for _, s := range fleet.Snapshot() {
			if s.State == simulator.Filling {
				return false
			}
		}
		return true
	})
	b.holds(fleet)
	other.goes(t)
	await(t, "devices to hear yes again", told("yes"))
	for _, d := range fleet.Devices() {
		d.Cut() // a receipt whose PUBACK could not be noted waits for the next connection
	}
	before = ends()
	await(t, "sales after the second time", func() bool { return ends() >= before+40 })

	if syscall.Kill(pid, 0) != nil {
		t.Error("the gateway has ended on the way")
	}
	sum := b.settled(ctx, fleet, registers, service, stop)
	cancel()
	<-sold
	b.whole()
	t.Logf("%d sales, %d refusals and dropped lines", sum.Ended, kept.Load())
}

// holds checks that the gateway has every event that its device was told it has.
func (b *box) holds(fleet *simulator.Fleet) {
	b.t.Helper()
	acknowledged := fleet.Sales() // before the gateway is asked: later ones may be missing here
	type key struct {
		device sale.DeviceID
		id     string
	}
	there := map[key]admin.Sale{}
	for _, s := range decode[[]admin.Sale](b.t, b.edgegw("sales", "--json", "--limit", "10000")) {
		there[key{s.DeviceID, s.SaleID}] = s
	}
	for _, r := range acknowledged {
		if s, ok := there[key{r.Device, r.SaleID}]; r.Acknowledged > 0 && !ok || r.Stored() && s.Open {
			b.t.Errorf("%s of %s: %d of %d events were acknowledged, and the journal has %+v", r.SaleID, r.Device, r.Acknowledged, r.Events, s)
		}
	}
}

// whole checks the database, of which no gateway runs.
func (b *box) whole() {
	b.t.Helper()
	o := b.edgegw("doctor", "--json")
	o.code = 0 // a gateway that does not run is one of its findings
	for _, c := range decode[[]doctor.Check](b.t, o) {
		if (c.Check == "database_integrity" || c.Check == "books") && c.State != doctor.OK {
			b.t.Errorf("%s: %s, %s", c.Check, c.State, c.Found)
		}
	}
}

// without gives the flags of the box but for one setting.
func (b *box) without(setting string) (rest []string) {
	for i := 0; i < len(b.flags); i++ {
		if i+1 < len(b.flags) && b.flags[i+1] == setting {
			i++
			continue
		}
		rest = append(rest, b.flags[i])
	}
	return rest
}

// occupant is the other program: it leaves so many bytes free, whatever the gateway
// writes or gives back. With 0 it takes every last one.
type occupant struct {
	path string
	left atomic.Int64
	stop func() error
}

func (d ownDisk) occupy(t *testing.T, left int64) *occupant {
	o := &occupant{path: d.ballast}
	o.left.Store(left)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- o.run(ctx) }()
	o.stop = func() error { cancel(); return <-ended }
	return o
}

// goes frees what it took.
func (o *occupant) goes(t *testing.T) {
	t.Helper()
	if err := errors.Join(o.stop(), os.Remove(o.path)); err != nil {
		t.Fatal(err)
	}
}

func (o *occupant) run(ctx context.Context) error {
	f, err := os.OpenFile(o.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := o.fit(f); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// fit grows or shrinks its file to what it may have.
func (o *occupant) fit(f *os.File) error {
	left := o.left.Load()
	for size := int64(1 << 20); size > 0; {
		var fs syscall.Statfs_t
		if err := syscall.Fstatfs(int(f.Fd()), &fs); err != nil {
			return err
		}
		over := int64(fs.Bavail)*fs.Bsize - left
		switch {
		case left == 0:
		case over == 0:
			return nil
		case over < 0:
			info, err := f.Stat()
			if err != nil {
				return err
			}
			return f.Truncate(max(0, info.Size()+over))
		default:
			size = min(size, over)
		}
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 4
		} else if err != nil {
			return err
		}
	}
	return nil
}
