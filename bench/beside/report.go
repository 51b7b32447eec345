package main

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"edgegw/bench"
)

// Report is what one run, or several that were joined, has measured. Times are
// microseconds.
type Report struct {
	Machine  string            `json:"machine"`
	Date     string            `json:"date"` // of the first case
	Versions map[string]string `json:"versions"`
	Cases    []Case            `json:"cases"`
	Proofs   []Proof           `json:"proofs,omitempty"`
}

// Case is one load on every peer, on one kind of disk.
type Case struct {
	Name  string `json:"name"`
	Disk  string `json:"disk"`
	Own   bool   `json:"device_counted"` // by the device, not by the process
	Peers []Row  `json:"peers"`
}

// Row is one peer in one case.
type Row struct {
	Peer   string  `json:"peer"`
	Rounds []Cell  `json:"rounds"`
	P999   float64 `json:"p99_9_us,omitempty"` // of an open loop, all rounds together
}

// Cell is one turn.
type Cell struct {
	bench.Times
	CPU     float64 `json:"cpu_us_per_message"`        // of the server
	Written float64 `json:"process_bytes_per_message"` // write_bytes of /proc/PID/io, in which a large folio counts as a whole
	Device  float64 `json:"device_bytes_per_message,omitempty"`
	took    []time.Duration
}

func newCase(l load, o options, peers []peer) Case {
	c := Case{Name: l.key, Disk: cmp.Or(o.disk, fileSystem(o.dir)), Own: o.device}
	for _, p := range peers {
		c.Peers = append(c.Peers, Row{Peer: p.key})
	}
	return c
}

// sum takes the rarest times from all rounds together: a round alone has too few.
func (c *Case) sum() {
	for i := range c.Peers {
		var all []time.Duration
		for _, cell := range c.Peers[i].Rounds {
			all = append(all, cell.took...)
		}
		if len(all) > 0 {
			slices.Sort(all)
			c.Peers[i].P999 = float64(all[min(len(all)-1, len(all)*999/1000)].Nanoseconds()) / 1e3
		}
	}
}

// join adds what another run on the same machine has measured.
func (r *Report) join(other Report) error {
	if r.Machine == "" {
		*r = other
		return nil
	}
	if r.Machine != other.Machine {
		return fmt.Errorf("measured on %s, and the others on %s", other.Machine, r.Machine)
	}
	for key, version := range other.Versions {
		if have, known := r.Versions[key]; known && have != version {
			return fmt.Errorf("%s is %s, and %s in the others", key, version, have)
		}
		r.Versions[key] = version
	}
	r.Cases, r.Proofs = append(r.Cases, other.Cases...), append(r.Proofs, other.Proofs...)
	return nil
}

// describe notes what is measured, and where.
func describe(o options, peers []peer) *Report {
	r := &Report{Date: time.Now().Format(time.DateOnly), Versions: map[string]string{"go": runtime.Version()},
		Machine: fmt.Sprintf("%d processors, %s, Linux %s", runtime.NumCPU(), processor(), kernel())}
	for _, p := range peers {
		switch p.key {
		case "mosquitto", "mosquitto-persist":
			r.Versions["mosquitto"] = said(o.mosquitto, "-h")
		case "nats", always:
			r.Versions["nats"] = said(o.nats, "--version")
		case product:
			r.Versions["edgegw"] = said(o.edgegw, "version")
		}
	}
	return r
}

// said is the first line of what a program says of itself.
func said(program string, args ...string) string {
	out, _ := exec.Command(program, args...).CombinedOutput() // mosquitto -h ends with an error
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(text)) {
		if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "of an unknown version"
	}
	version, _, _ := strings.Cut(strings.TrimSpace(string(text)), "-")
	return version
}
