package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"edgegw/broker/brokertest"
	"edgegw/fiscal/sandbox"
	"edgegw/store"
)

// The second instrument takes no model on trust: a real ext4 on a loop device whose
// power is cut by FS_IOC_SHUTDOWN, again and again under load. What was not synced
// is then really gone. It needs root, and is not part of CI.

// fsShutdown is FS_IOC_SHUTDOWN, _IOR('X', 125, __u32); without flushing the log is
// what a power cut does.
const (
	fsShutdown        = 0x8004587d
	shutdownNoLogSync = 2
)

// seller is a device that outlives the gateway: what was not acknowledged it reports
// again, first.
type seller struct {
	pump  *pump
	sent  []event
	acked int
}

func (s *seller) sell(ctx context.Context, st *stage) {
	p, err := st.connect(s.pump.id)
	if err != nil {
		return
	}
	defer p.Close()
	for ctx.Err() == nil {
		if s.acked == len(s.sent) {
			s.sent = append(s.sent, s.pump.next()...)
		}
		if err := p.send(s.sent[s.acked]); err != nil {
			return // the power is off
		}
		if a, _, err := p.Await(brokertest.PUBACK); err != nil || a.Code >= 0x80 {
			return // or the gateway says that it could not store it
		}
		s.acked++
	}
}

func (o *options) onDevice(ctx context.Context) (err error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "powercut-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary, file, mount := filepath.Join(dir, "edgegw"), filepath.Join(dir, "disk"), filepath.Join(dir, "mnt")
	if err := errors.Join(build(ctx, root, binary, dir, nil), os.WriteFile(file, nil, 0o600), os.Truncate(file, 256<<20), os.Mkdir(mount, 0o700)); err != nil {
		return err
	}
	if err := errors.Join(tool("mkfs.ext4", "-q", "-F", file), tool("mount", "-o", "loop", file, mount)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tool("umount", mount)) }()
	st := &stage{dir: mount, binary: binary, service: sandbox.New(sandbox.Options{Idempotency: sandbox.Ignore})}
	st.script.Keys, st.script.Secrets, st.script.Homes = map[string]string{}, map[string]string{}, map[string]string{}
	if st.notes, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0); err != nil {
		return err
	}
	if st.server, err = st.service.Listen("127.0.0.1:0"); err != nil {
		return err
	}
	defer st.server.Close()
	if st.mqtt, err = freeAddress(); err != nil {
		return err
	}
	st.setFlags()
	var sellers []*seller
	for i := range 4 {
		id := fmt.Sprintf("pump-%d", i+1)
		if err := st.addDevice(id, fmt.Sprintf("reg_%d", i+1)); err != nil {
			return err
		}
		sellers = append(sellers, &seller{pump: &pump{s: st, id: id}})
	}
	acked := 0
	for cut := 1; cut <= o.device; cut++ {
		if err := st.shut(ctx, sellers, file, mount); err != nil {
			return fmt.Errorf("cut %d: %w", cut, err)
		}
		acked = 0
		for _, s := range sellers {
			acked += s.acked
		}
		if cut%20 == 0 || cut == o.device {
			fmt.Printf("ext4, FS_IOC_SHUTDOWN: %d cuts, %d events acknowledged, none lost\n", cut, acked)
		}
	}
	if acked < o.device {
		return fmt.Errorf("%d events for %d cuts: this proves little", acked, o.device)
	}
	return nil
}

// shut lets the gateway live for a while, cuts the power under it, and looks.
func (s *stage) shut(ctx context.Context, sellers []*seller, file, mount string) error {
	if err := s.run(); err != nil {
		return err
	}
	living, cancel := context.WithCancel(ctx)
	defer cancel()
	var selling sync.WaitGroup
	for _, d := range sellers {
		selling.Go(func() { d.sell(living, s) })
	}
	<-time.After(time.Duration(30+rand.IntN(300)) * time.Millisecond)
	disk, err := os.Open(mount)
	if err != nil {
		return err
	}
	err = errors.Join(s.gateway.Process.Signal(syscall.SIGSTOP),
		unix.IoctlSetPointerInt(int(disk.Fd()), fsShutdown, shutdownNoLogSync), disk.Close(), s.kill())
	cancel()
	selling.Wait()
	if err := errors.Join(err, tool("umount", mount), tool("mount", "-o", "loop", file, mount)); err != nil {
		return err
	}
	return still(ctx, filepath.Join(mount, dataName), sellers)
}

// still checks that what was acknowledged is there.
func still(ctx context.Context, data string, sellers []*seller) error {
	db, err := store.Open(ctx, data, store.Options{})
	if err != nil {
		return err
	}
	events, _, err := stored(ctx, db)
	damage, checkErr := db.QuickCheck(ctx)
	faults, countErr := db.Recount(ctx)
	if err := errors.Join(err, checkErr, countErr, trail(ctx, db), db.Close()); err != nil || damage != "" || len(faults) > 0 {
		return errors.Join(err, fmt.Errorf("damage %q, books %q", damage, faults))
	}
	for _, s := range sellers {
		var payloads []string
		for _, e := range s.sent {
			payloads = append(payloads, e.Payload)
		}
		have := events[s.pump.id]
		if len(have) < s.acked || len(have) > len(payloads) || !slices.Equal(have, payloads[:len(have)]) {
			return fmt.Errorf("lost: %d events of %s were acknowledged, %d are there", s.acked, s.pump.id, len(have))
		}
	}
	return nil
}

func tool(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}
