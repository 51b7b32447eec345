package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"edgegw/bench"
)

// load is a case: how the devices sell.
type load struct {
	key             string
	devices, window int
	rate            int // sales a second of an open loop; 0: a closed one
	lasts           time.Duration
}

func (l load) name() string { return l.key }

// proof is the case in which each server is killed after its last PUBACK.
const proof = "proof"

const mostDevices = 1000

var allCases = []load{
	{key: "100x1", devices: 100, window: 1, lasts: 1500 * time.Millisecond},
	{key: "1000x1", devices: 1000, window: 1, lasts: 1500 * time.Millisecond},
	{key: "100x16", devices: 100, window: 16, lasts: 1500 * time.Millisecond},
	{key: "1x64", devices: 1, window: 64, lasts: 1500 * time.Millisecond},
	{key: "open50", devices: 50, rate: 50, lasts: 5 * time.Second},
	{key: "open500", devices: 500, rate: 500, lasts: 3 * time.Second},
	{key: "one", devices: 1, rate: 50, lasts: 2 * time.Second},
	{key: proof, devices: 20, window: 1},
}

func (l load) title() string {
	switch {
	case l.key == proof:
		return "killed after the last PUBACK"
	case l.rate > 0 && l.devices == 1:
		return fmt.Sprintf("one device, one sale every %v", time.Second/time.Duration(l.rate))
	case l.rate > 0:
		return fmt.Sprintf("open loop, %d devices, %d sales a second", l.devices, l.rate)
	case l.devices == 1:
		return fmt.Sprintf("one device × %d in flight", l.window)
	}
	return fmt.Sprintf("%d devices × %d in flight", l.devices, l.window)
}

// measure runs every case, every peer and every round, each beside the others: round by
// round, in each round case by case, in each case peer by peer, and the next round begins
// with the next peer.
func measure(ctx context.Context, o options) (r *Report, err error) {
	cases, err := pick(allCases, o.only)
	if err != nil {
		return nil, err
	}
	peers, err := pick(allPeers, o.peers)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(o.dir, "beside-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r = describe(o, peers)
	m := &meter{o: o, dir: dir, peers: peers}
	if i := slices.IndexFunc(cases, func(l load) bool { return l.key == proof }); i >= 0 {
		if r.Proofs, err = m.prove(ctx, cases[i]); err != nil {
			return nil, err
		}
		cases = slices.Delete(slices.Clone(cases), i, i+1)
	}
	if len(cases) > 0 {
		r.Cases, err = m.compare(ctx, cases)
	}
	return r, err
}

// meter runs servers and measures them.
type meter struct {
	o       options
	dir     string
	peers   []peer
	servers []*server // as peers; nil where one begins anew for each turn
}

func (m *meter) compare(ctx context.Context, cases []load) (all []Case, err error) {
	most := 0
	for _, c := range cases {
		most = max(most, c.devices)
	}
	m.servers = make([]*server, len(m.peers))
	defer func() {
		for _, s := range m.servers {
			if s != nil {
				err = errors.Join(err, s.stop(syscall.SIGTERM))
			}
		}
	}()
	for i, p := range m.peers {
		if p.fresh {
			continue
		}
		if m.servers[i], err = start(ctx, m.o, p, m.dir, most); err != nil {
			return nil, err
		}
	}
	for _, c := range cases {
		all = append(all, newCase(c, m.o, m.peers))
	}
	for round := -1; round < m.o.rounds; round++ { // the first is to warm up
		for i, c := range cases {
			for k := range m.peers {
				at := (k + max(round, 0)) % len(m.peers)
				cell, err := m.turn(ctx, c, at, round < 0)
				if err != nil {
					return nil, fmt.Errorf("%s, %s, round %d: %w", m.peers[at].key, c.key, round+1, err)
				}
				if round >= 0 {
					all[i].Peers[at].Rounds = append(all[i].Peers[at].Rounds, cell)
				}
			}
			fmt.Fprintf(os.Stderr, "%s: round %d of %d\n", c.key, round+1, m.o.rounds)
		}
	}
	for i := range all {
		all[i].sum()
	}
	return all, nil
}

// turn measures one peer once.
func (m *meter) turn(ctx context.Context, c load, at int, warm bool) (cell Cell, err error) {
	lasts := c.lasts
	if m.o.lasts > 0 {
		lasts = m.o.lasts
	}
	s := m.servers[at]
	if s == nil {
		if warm {
			return cell, nil
		}
		if s, err = start(ctx, m.o, m.peers[at], m.dir, c.devices); err != nil {
			return cell, err
		}
		defer func() { err = errors.Join(err, s.stop(syscall.SIGTERM), os.RemoveAll(s.dir)) }()
	}
	if warm {
		lasts = min(lasts, 500*time.Millisecond)
	}
	return s.measure(ctx, c, lasts, m.o.device)
}

// measure lets the load run once. Every sale that was published has its PUBACK, or it is
// an error.
func (s *server) measure(ctx context.Context, c load, lasts time.Duration, device bool) (cell Cell, err error) {
	before, err := s.used(device)
	if err != nil {
		return cell, err
	}
	if c.rate > 0 {
		cell.took, err = s.load.Open(ctx, c.devices, c.rate, lasts)
		if want := int(lasts * time.Duration(c.rate) / time.Second); err == nil && len(cell.took) != want {
			err = fmt.Errorf("%d of %d sales were acknowledged", len(cell.took), want)
		}
		cell.Times = bench.Sum(cell.took, lasts)
	} else {
		cell.Times, err = s.load.Run(ctx, c.devices, c.window, lasts, 1<<40)
	}
	if err == nil && cell.Count == 0 {
		err = errors.New("nothing was acknowledged")
	}
	if err != nil {
		return cell, err
	}
	after, err := s.used(device)
	n := float64(cell.Count)
	cell.CPU = float64((after.CPU - before.CPU).Microseconds()) / n
	cell.Written = float64(after.Written-before.Written) / n
	cell.Device = float64(after.device-before.device) / n
	return cell, err
}

// used is what a server has used, and the device below it.
type used struct {
	bench.Usage
	device int64 // bytes
}

func (s *server) used(device bool) (u used, err error) {
	if device {
		// Whatever is left to be written belongs to who caused it.
		if u.device, err = deviceBytes(s.dir); err != nil {
			return u, err
		}
	}
	u.Usage, err = bench.UsageOf(s.cmd.Process.Pid)
	if err != nil {
		err = fmt.Errorf("see what it uses: %w", err)
	}
	return u, err
}
