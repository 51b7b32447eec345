package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"edgegw/admin"
	"edgegw/bench"
	"edgegw/fiscal/sandbox"
	"edgegw/gateway"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/simulator"
	"edgegw/store"
)

const (
	drainRegisters = 40
	lifeDevices    = 20
	mostPerCell    = 60_000 // sales: beyond that nothing is learnt, and the disk fills
)

// benchRun is a gateway as in production, a process of its own, that is measured from
// outside; the stand-in for OpenFiskal; and the load.
type benchRun struct {
	a    *app
	c    *benchCmd
	r    *bench.Report
	p    *progress
	unit time.Duration
	done int64

	dir     string
	gate    *exec.Cmd
	log     bytes.Buffer
	ended   chan struct{} // closed when the gateway has ended
	backend admin.Backend
	cloud   *sandbox.Service
	url, ca string // of the gateway's MQTT port, and the site CA
	load    *bench.Load
	most    int64 // sales of a cell
}

// all measures one thing after the other.
func (b *benchRun) all(dir string) (err error) {
	ctx := b.a.ctx
	if b.r.Floor, err = bench.MeasureFloor(ctx, dir, b.unit); err != nil {
		return err
	}
	b.step(1)
	stop, err := b.start(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	idle, err := bench.UsageOf(b.gate.Process.Pid)
	if err != nil {
		return fmt.Errorf("see what the gateway uses: %w", err)
	}
	b.r.Memory.Idle = idle.Memory
	for _, one := range []func(context.Context) error{b.life, b.acknowledge, b.drain} {
		if err := one(ctx); err != nil {
			return errors.Join(err, b.death())
		}
	}
	st, err := b.backend.Status(ctx)
	if err != nil {
		return err
	}
	free := int64(0)
	if st.Disk != nil {
		free = st.Disk.Free
	}
	for _, c := range st.Conditions {
		if c.Code == "data_volatile" {
			b.leave(c.Title + ": nothing of this was synced to any disk")
		}
	}
	b.r.Judge(b.c.Pumps, free-usualFloor)
	return nil
}

// usualFloor is the default of store.min_free_bytes, which a site keeps free.
const usualFloor = 256 << 20

func (b *benchRun) step(n int) {
	b.done += int64(n)
	b.p.done(b.done)
}

// leave notes what was not measured, and why.
func (b *benchRun) leave(why string) {
	if b.r.Left != "" {
		b.r.Left += ". "
	}
	b.r.Left += why
}

// start starts the stand-in and the gateway, and waits until it answers.
func (b *benchRun) start(dir string) (stop func() error, err error) {
	b.cloud = sandbox.New(sandbox.Options{KeepRequests: 1})
	server, err := b.cloud.ListenTLS("127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the stand-in for OpenFiskal: %w", err)
	}
	ca, none := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "none.yaml")
	b.dir = filepath.Join(dir, "data")
	err = errors.Join(os.WriteFile(ca, server.CAPEM(), 0o600), os.WriteFile(none, nil, 0o600), os.Mkdir(b.dir, 0o700))
	program, found := os.Executable()
	if err = errors.Join(err, found); err != nil {
		return nil, errors.Join(err, server.Close())
	}
	b.gate = exec.CommandContext(b.a.ctx, program, append([]string{"run", "--config", none}, b.config(b.dir, server.URL(), ca)...)...)
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "EDGEGW_") || strings.HasPrefix(e, "EDGEGW_TEST_") {
			b.gate.Env = append(b.gate.Env, e)
		}
	}
	b.gate.Stderr = &b.log
	b.gate.Cancel = func() error { return b.gate.Process.Signal(syscall.SIGTERM) }
	b.gate.WaitDelay = 20 * time.Second
	if err := b.gate.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start a gateway: %w", err), server.Close())
	}
	b.ended = make(chan struct{})
	go func() {
		_ = b.gate.Wait() // its log says why
		close(b.ended)
	}()
	stop = func() error {
		if b.load != nil {
			b.load.Close()
		}
		if b.backend != nil {
			_ = b.backend.Close() // it only asks
		}
		_ = b.gate.Process.Signal(syscall.SIGTERM)
		<-b.ended
		return server.Close()
	}
	if err := b.reach(); err != nil {
		return nil, errors.Join(err, stop())
	}
	return stop, nil
}

func (b *benchRun) reach() error {
	tick, limit := time.NewTicker(20*time.Millisecond), time.After(30*time.Second)
	defer tick.Stop()
	for {
		client, err := admin.Dial(filepath.Join(b.dir, admin.SocketName))
		if err == nil {
			b.backend = client
			return nil
		}
		select {
		case <-tick.C:
		case <-b.ended:
			return b.death()
		case <-limit:
			return fmt.Errorf("the gateway that is measured does not answer: %w", err)
		}
	}
}

// death says why the gateway has ended, where it has.
func (b *benchRun) death() error {
	select {
	case <-b.ended:
		return fmt.Errorf("the gateway that is measured has ended: %s", strings.TrimSpace(b.log.String()))
	default:
		return nil
	}
}

// add adds devices with registers of their own; withKey says whether these have a key,
// without which nothing of them is sent.
func (b *benchRun) add(ctx context.Context, name string, n int, withKey bool) ([]bench.Login, error) {
	return bench.Logins(ctx, n, func(i int) (bench.Login, error) {
		return b.addOne(ctx, fmt.Sprintf("%s-%04d", name, i), withKey)
	})
}

func (b *benchRun) addOne(ctx context.Context, id string, withKey bool) (bench.Login, error) {
	add := admin.AddDevice{DeviceID: sale.DeviceID(id), RegisterID: sale.RegisterID("reg_" + id), Kind: "kiosk"}
	if withKey {
		register, err := b.cloud.AddRegister(string(add.RegisterID), "")
		if err != nil {
			return bench.Login{}, err
		}
		add.Key = secret.FromString(register.Key)
	}
	made, err := b.backend.AddDevice(ctx, add, "bench")
	if err != nil {
		return bench.Login{}, fmt.Errorf("add %s: %w", id, err)
	}
	b.url, b.ca = made.MQTTURL, made.CAFile
	return bench.Login{ID: made.DeviceID, Secret: made.Password}, nil
}

// used gives what f has used of the gateway, per one of n.
func (b *benchRun) used(f func() (n float64, err error)) (cpu, written float64, err error) {
	before, err := bench.UsageOf(b.gate.Process.Pid)
	if err != nil {
		return 0, 0, errors.Join(err, b.death())
	}
	n, err := f()
	if err != nil {
		return 0, 0, err
	}
	after, err := bench.UsageOf(b.gate.Process.Pid)
	if err != nil || n == 0 {
		return 0, 0, errors.Join(err, b.death())
	}
	return float64((after.CPU - before.CPU).Microseconds()) / n, float64(after.Written-before.Written) / n, nil
}

// life lets devices as they are meant sell, up to the receipt that each has
// acknowledged.
func (b *benchRun) life(ctx context.Context) error {
	logins, err := b.add(ctx, "life", lifeDevices, true)
	if err != nil {
		return err
	}
	roots, err := readRoots(b.ca)
	if err != nil {
		return err
	}
	b.cloud.SetLatency(drainLatencies[0])
	var configs []simulator.Config
	for _, l := range logins {
		configs = append(configs, simulator.Config{DeviceID: l.ID, Secret: secret.FromString(l.Secret), URL: b.url, Roots: roots, Kind: simulator.KindKiosk,
			Style: simulator.Whole, Pace: 200 * time.Millisecond, Until: simulator.Receipted})
	}
	fleet, err := simulator.NewFleet(configs...)
	if err != nil {
		return err
	}
	b.r.Life.CPU, b.r.Life.Written, err = b.used(func() (float64, error) {
		living, kill := context.WithCancel(ctx)
		defer kill()
		ran := make(chan error, 1)
		began := time.Now()
		go func() { ran <- fleet.Run(living) }()
		select {
		case <-time.After(lifeUnits * b.unit):
		case <-ctx.Done():
		}
		settle, over := context.WithTimeout(ctx, 30*time.Second)
		defer over()
		if err := fleet.StopSelling(settle, simulator.Receipted); err != nil {
			return 0, fmt.Errorf("wait for the receipts: %w", err)
		}
		sum := fleet.Reconcile()
		b.r.Life.Sales, b.r.Life.PerSecond = sum.Ended, float64(sum.Ended)/time.Since(began).Seconds()
		if err := <-ran; err != nil || !sum.Balanced() {
			return 0, fmt.Errorf("the devices' books do not balance: %s", errors.Join(err, errors.New(sum.String())))
		}
		return float64(sum.Ended), nil
	})
	b.step(lifeUnits)
	return err
}

// acknowledge measures durable acknowledgements. The devices have no key: what they
// sell waits, as when OpenFiskal cannot be reached.
func (b *benchRun) acknowledge(ctx context.Context) error {
	devices := b.c.Devices
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil && uint64(devices)+200 > files.Cur {
		devices = int(files.Cur) - 200
		b.leave(fmt.Sprintf("At most %d devices: more descriptors are not allowed here (ulimit -n)", devices))
	}
	logins, err := b.add(ctx, "pump", max(devices, drainRegisters), false)
	if err != nil {
		return err
	}
	roots, err := readRoots(b.ca)
	if err != nil {
		return err
	}
	dial := tls.Dialer{Config: &tls.Config{RootCAs: roots}}
	b.load = &bench.Load{Dial: func(ctx context.Context) (net.Conn, error) {
		return dial.DialContext(ctx, "tcp", strings.TrimPrefix(b.url, "mqtts://"))
	}}
	b.most = mostPerCell
	if free, err := gateway.FreeBytes(b.dir); err == nil {
		b.most = min(b.most, free/8/int64(len(ackDevices)*len(ackWindows))/waitingTakes) // an eighth of the room
	}
	size, sold := b.size(), 0
	for _, n := range ackDevices {
		if n > devices {
			b.step(len(ackWindows))
			continue
		}
		if err := b.load.Connect(ctx, logins[b.load.Len():n]); err != nil {
			return err
		}
		for _, window := range ackWindows {
			k := bench.Acks{Devices: n, Window: window}
			k.CPU, k.Written, err = b.used(func() (float64, error) {
				var err error
				k.Times, err = b.load.Run(ctx, n, window, b.unit, b.most)
				return float64(k.Count), err
			})
			if err != nil {
				return err
			}
			k.OfFloor, k.P50OfFloor = k.PerSecond/b.r.Floor.PerSecond, k.P50/b.r.Floor.P50
			b.r.Acks = append(b.r.Acks, k)
			sold += k.Count
			b.step(1)
		}
	}
	loaded, err := bench.UsageOf(b.gate.Process.Pid)
	b.r.Memory.Loaded = loaded.Memory
	b.r.Verdict.WaitingSale = waitingSale(b.size()-size, sold)
	return errors.Join(err, b.load.Connect(ctx, logins[b.load.Len():max(b.load.Len(), drainRegisters)]))
}

const (
	// waitingTakes is more than a sale of 1 KiB that waits has taken of the database.
	waitingTakes = 4 << 10
	// measuredFrom is how many sales tell more than that: the database grows when its log
	// is copied, and of a few hundred sales all may stand in the log still.
	measuredFrom = 2000
)

// waitingSale gives what a sale that waits takes of a database that has grown by so many
// bytes with so many of them.
func waitingSale(grown int64, sold int) float64 {
	if sold < measuredFrom || grown <= 0 {
		return waitingTakes
	}
	return float64(grown) / float64(sold)
}

// size is that of the database, without its log.
func (b *benchRun) size() int64 {
	if info, err := os.Stat(filepath.Join(b.dir, store.FileName)); err == nil {
		return info.Size()
	}
	return 0
}

// drain gives registers with sales that wait their keys, and measures how fast these go
// out.
func (b *benchRun) drain(ctx context.Context) error {
	if _, err := b.load.Run(ctx, drainRegisters, ackWindows[1], 2*b.unit, 100*drainRegisters); err != nil {
		return err
	}
	for i := range drainRegisters {
		id := sale.DeviceID(fmt.Sprintf("pump-%04d", i))
		register, err := b.cloud.AddRegister("reg_"+string(id), "")
		if err != nil {
			return err
		}
		b.cloud.SetLatency(0)
		if _, err := b.backend.SetKey(ctx, admin.SetKey{DeviceID: id, Key: secret.FromString(register.Key)}, "bench"); err != nil {
			return fmt.Errorf("give %s its key: %w", id, err)
		}
	}
	for _, latency := range drainLatencies {
		b.cloud.SetLatency(latency)
		d := bench.Drain{LatencyMS: int(latency.Milliseconds()), Registers: drainRegisters, Bound: drainRegisters / latency.Seconds()}
		if err := b.wait(ctx, latency+b.unit/4); err != nil { // what began with the latency before
			return err
		}
		var err error
		d.CPU, d.Written, err = b.used(func() (float64, error) {
			from, began := b.requests(), time.Now()
			// Each register asks once in each latency: a part of one would count as much as luck has it.
			if err := b.wait(ctx, max(1, (drainUnits*b.unit+latency/2)/latency)*latency); err != nil {
				return 0, err
			}
			n := float64(b.requests() - from)
			d.PerSecond = n / time.Since(began).Seconds()
			return n, nil
		})
		if err != nil {
			return err
		}
		d.OfBound = d.PerSecond / d.Bound
		b.r.Drain = append(b.r.Drain, d)
		b.step(drainUnits)
	}
	return nil
}

// requests counts those that have reached the stand-in.
func (b *benchRun) requests() int {
	if all := b.cloud.Requests(); len(all) > 0 {
		return all[len(all)-1].Number
	}
	return 0
}

func (b *benchRun) wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-b.ended:
		return b.death()
	case <-ctx.Done():
		return ctx.Err()
	}
}
