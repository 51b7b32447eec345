package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"edgegw/admin"
	"edgegw/bench"
	"edgegw/config"
	"edgegw/gateway"
)

type benchCmd struct {
	Dir     string        `arg:"" optional:"" help:"A folder on the disk that is asked about (default: data_dir). What is written there goes into a folder of its own and is removed."`
	For     time.Duration `default:"75s" help:"How long to measure. What is made ready before comes on top."`
	Devices int           `default:"2000" help:"The most devices that are connected."`
	Pumps   int           `default:"12" help:"How large the site is that the verdict is about."`
	JSON    bool          `help:"Print JSON."`
}

// The units of time that a run has: one for the disk, one for each cell of
// acknowledgements, and more for what is slower.
const (
	lifeUnits  = 3
	drainUnits = 2
	allUnits   = 1 + len(ackDevices)*len(ackWindows) + lifeUnits + len(drainLatencies)*drainUnits
)

var (
	ackDevices     = [...]int{1, 10, 100, 500, 2000}
	ackWindows     = [...]int{1, 16}
	drainLatencies = [...]time.Duration{50 * time.Millisecond, 300 * time.Millisecond, 1200 * time.Millisecond}
)

// leastRoom is free space without which nothing is measured: a bench must not be what
// fills a disk.
const leastRoom = 512 << 20

// Run measures a gateway of its own on the disk in question.
func (c *benchCmd) Run(a *app) (err error) {
	if c.For < 2*time.Second || c.Devices < 1 || c.Devices > 9000 || c.Pumps < 1 {
		return usage("bench needs --for of at least 2s, --devices from 1 to 9000, and --pumps of at least 1")
	}
	dir, err := c.folder(a)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	began := time.Now()
	p := a.progress("bench", "step", int64(allUnits))
	r := &bench.Report{Version: versionText(), Dir: filepath.Dir(dir), Processors: runtime.NumCPU()}
	run := &benchRun{a: a, c: c, r: r, p: p, unit: c.For / time.Duration(allUnits)}
	err = run.all(dir)
	p.end()
	if a.ctx.Err() != nil {
		return errors.New("stopped before the end, and nothing is measured")
	}
	if err != nil {
		return err
	}
	r.Seconds = time.Since(began).Seconds()
	if c.JSON {
		r.Round()
		return a.printJSON(r)
	}
	a.printBench(r)
	return nil
}

// folder makes the folder that the run works in.
func (c *benchCmd) folder(a *app) (string, error) {
	parent := c.Dir
	if parent == "" {
		conf, err := a.load()
		if err != nil {
			return "", err
		}
		parent = conf.DataDir
		if b, err := admin.Dial(filepath.Join(parent, admin.SocketName)); err == nil {
			_ = b.Close()
			fmt.Fprintln(a.err, "edgegw: a gateway runs here: what is measured is what it leaves of the box, and it is slower meanwhile")
		}
	}
	dir, err := os.MkdirTemp(absolute(parent), "bench-")
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("there is no folder %s; name one on the disk that you ask about: edgegw bench DIR", parent)
	}
	if err != nil {
		return "", fmt.Errorf("make a folder for the measuring: %w", err)
	}
	if free, err := gateway.FreeBytes(dir); err == nil && free < leastRoom {
		return "", errors.Join(fmt.Errorf("%s has only %d MiB free, and bench needs %d: make room, or name a folder on another disk", parent, free>>20, leastRoom>>20), os.Remove(dir))
	}
	return dir, nil
}

// config is that of the gateway that is measured: the product's own, but for its folder,
// its ports, and limits that the load would meet.
func (b *benchRun) config(dir, base, ca string) []string {
	var args []string
	for _, one := range [][2]string{
		{"site.name", "bench"}, {"data_dir", dir}, {"allow_volatile_data", "true"}, {"store.min_free_bytes", "0"}, {"log.level", "warn"},
		{"mqtt.tls_listen", "127.0.0.1:0"}, {"mqtt.max_connections", strconv.Itoa(2*b.c.Devices + 100)}, {"mqtt.max_connections_per_address", strconv.Itoa(2*b.c.Devices + 100)},
		{"mqtt.messages_per_second", "1000000"}, {"http.listen", ""}, {"http.tls_listen", ""},
		{"openfiskal.base_url", base}, {"openfiskal.ca_file", ca}, {"openfiskal.proxy", config.ProxyNone},
		{"openfiskal.concurrency", strconv.Itoa(drainRegisters)}, {"openfiskal.requests_per_second", "100000"},
	} {
		args = append(args, "--set", one[0]+"="+one[1])
	}
	return args
}

func (a *app) printBench(r *bench.Report) {
	ms := func(us float64) string { return fmt.Sprintf("%.2f", us/1000) }
	fmt.Fprintf(a.out, "The disk of %s: a synced page of 4 KiB takes %s ms (p99 %s), %.0f a second. %d processors, %s, %.0f s.\n\n",
		clean(r.Dir), ms(r.Floor.P50), ms(r.Floor.P99), r.Floor.PerSecond, r.Processors, clean(r.Version), r.Seconds)
	rows := [][]string{{"DEVICES", "IN FLIGHT", "ACKNOWLEDGED/S", "OF DISK", "P50 ms", "P95 ms", "P99 ms", "CPU µs/SALE", "KiB/SALE"}}
	for _, k := range r.Acks {
		rows = append(rows, []string{strconv.Itoa(k.Devices), strconv.Itoa(k.Window), fmt.Sprintf("%.0f", k.PerSecond), fmt.Sprintf("%.2f", k.OfFloor),
			ms(k.P50), ms(k.P95), ms(k.P99), fmt.Sprintf("%.0f", k.CPU), fmt.Sprintf("%.1f", k.Written/1024)})
	}
	table(a.out, rows...)
	fmt.Fprintln(a.out)
	rows = [][]string{{"OPENFISKAL ms", "REGISTERS", "REQUESTS/S", "OF BOUND", "CPU µs/REQUEST", "KiB/REQUEST"}}
	for _, d := range r.Drain {
		rows = append(rows, []string{strconv.Itoa(d.LatencyMS), strconv.Itoa(d.Registers), fmt.Sprintf("%.0f", d.PerSecond), fmt.Sprintf("%.2f", d.OfBound), fmt.Sprintf("%.0f", d.CPU), fmt.Sprintf("%.1f", d.Written/1024)})
	}
	table(a.out, rows...)
	fmt.Fprintln(a.out)
	table(a.out, []string{"whole life", fmt.Sprintf("%s at %.0f/s: %.1f KiB written and %.0f µs of processor each, from acceptance to the receipt that the device has", count(int64(r.Life.Sales), "sale"), r.Life.PerSecond, r.Life.Written/1024, r.Life.CPU)},
		[]string{"memory", fmt.Sprintf("%d MiB idle, %d MiB with %d devices at full load", r.Memory.Idle>>20, r.Memory.Loaded>>20, mostDevices(r))},
		[]string{"waiting", fmt.Sprintf("%.1f KiB of the database for each sale that waits", r.Verdict.WaitingSale/1024)})
	if r.Left != "" {
		fmt.Fprintln(a.out)
		a.say(r.Left)
	}
	fmt.Fprintln(a.out)
	a.say(r.Verdict.Sentence)
}

// mostDevices is how many devices the run has had.
func mostDevices(r *bench.Report) (most int) {
	for _, k := range r.Acks {
		most = max(most, k.Devices)
	}
	return cmp.Or(most, 1)
}
