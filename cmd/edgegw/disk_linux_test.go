package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"edgegw/admin"
	"edgegw/fiscal/sandbox"
)

// A card that has met a fault turns read-only while sales come in: the gateway ends with
// the cause, starts on nothing that it cannot write, and when the card can be written
// again each sale that was acknowledged is fiscalized once.
func TestAFileSystemThatTurnsReadOnlyUnderLoad(t *testing.T) {
	flags, service := uplink(t, sandbox.Options{Idempotency: sandbox.Ignore})
	b := newBox(t, append(flags, "--set", "openfiskal.requests_per_second=2000", "--set", "mqtt.messages_per_second=1000")...)
	b.fixPort()
	disk := b.ownDisk(96 << 20)
	if disk.image == "" {
		t.Skip("NOT TESTED: there is no ext4 here, so what a fault of the file system does is not shown")
	}
	fleet, registers := b.fleet(service, 4)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	defer cancel()
	c := command(ctx, append(append([]string{}, b.flags...), "run")...)
	var logs bytes.Buffer
	c.Stderr = &logs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	sold := make(chan error, 1)
	go func() { sold <- fleet.Run(ctx) }()
	await(t, "the first sales", func() bool { return fleet.Reconcile().Ended >= 40 })
	disk.fault(t)
	limit := time.AfterFunc(2*time.Minute, func() { _ = c.Process.Kill() })
	if err := c.Wait(); err == nil || c.ProcessState.ExitCode() != 1 {
		t.Errorf("the gateway ended with %v\n%s", err, logs.String())
	}
	limit.Stop()
	b.edgegw("run").want(t, 1, "read-only")
	disk.mend(t)
	sum := b.settles(ctx, fleet, registers, service)
	cancel()
	<-sold
	b.whole()
	t.Logf("%d sales", sum.Ended)
}

// A process that runs out of file descriptors under load, and has some again: those who
// are connected sell on, nothing is lost, and everything is well by itself.
func TestNoFileDescriptorsLeftUnderLoad(t *testing.T) {
	t.Parallel()
	flags, service := uplink(t, sandbox.Options{Idempotency: sandbox.Ignore})
	b := newBox(t, append(flags, "--set", "openfiskal.requests_per_second=2000", "--set", "mqtt.messages_per_second=1000")...)
	stop := b.start()
	pid := b.pid
	fleet, registers := b.fleet(service, 4)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	defer cancel()
	sold := make(chan error, 1)
	go func() { sold <- fleet.Run(ctx) }()
	stored := func() (n int) {
		for _, r := range fleet.Sales() {
			if r.Stored() {
				n++
			}
		}
		return n
	}
	await(t, "the first sales", func() bool { return stored() >= 40 })
	var was unix.Rlimit
	err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &was)
	if err == nil {
		err = unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1, Max: was.Max}, nil)
	}
	if err != nil {
		t.Skipf("NOT TESTED: the limit of another process cannot be set here: %v", err)
	}
	before := stored()
	await(t, "sales without a descriptor to spare", func() bool { return stored() >= before+40 })
	service.SetDown(true) // every connection to OpenFiskal is cut, and none can be made
	fleet.Devices()[0].Cut()
	before = stored()
	await(t, "sales of those who are connected", func() bool { return stored() >= before+20 })
	service.SetDown(false)
	if client, err := admin.Dial(filepath.Join(b.dir, admin.SocketName)); err == nil {
		short, enough := context.WithTimeout(ctx, time.Second)
		if _, err := client.Status(short); err == nil {
			t.Error("the commands are answered: there were descriptors to spare")
		}
		enough()
		_ = client.Close()
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &was, nil); err != nil {
		t.Fatal(err)
	}
	await(t, "the device that was cut off", func() bool { return fleet.Snapshot()[0].Online })
	if syscall.Kill(pid, 0) != nil {
		t.Error("the gateway has ended on the way")
	}
	sum := b.settled(ctx, fleet, registers, service, stop)
	cancel()
	<-sold
	t.Logf("%d sales", sum.Ended)
}

// ext4Options make the file system read-only when it meets a fault, as cards are mounted.
const ext4Options = "loop,errors=remount-ro"

// ownDisk is a file system of the box alone, with a file of somebody else's on it.
// image is "" where it is no ext4.
type ownDisk struct{ mount, ballast, image string }

// ownDisk puts the box on a real ext4 of so many bytes, or on a tmpfs where there are no
// loop devices. It needs root.
func (b *box) ownDisk(size int64) ownDisk {
	t := b.t
	t.Helper()
	mount, file := filepath.Dir(b.dir), filepath.Join(t.TempDir(), "disk")
	err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, size), tool("mkfs.ext4", "-q", "-F", "-m", "0", file))
	if err == nil {
		err = tool("mount", "-o", ext4Options, file, mount)
	}
	if err != nil {
		t.Logf("no ext4: %v", err)
		file = ""
		err = tool("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", size), "none", mount)
	}
	if err != nil {
		t.Skipf("NOT TESTED: no file system can be mounted here, so what a full disk does to the program is not shown: %v", err)
	}
	t.Cleanup(func() {
		if err := tool("umount", mount); err != nil {
			t.Error(err)
		}
	})
	return ownDisk{mount, filepath.Join(mount, "ballast"), file}
}

func tool(name string, args ...string) error {
	if said, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, said)
	}
	return nil
}

// fault makes the file system meet a fault, by the kernel's own means for tests.
func (d ownDisk) fault(t *testing.T) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(mounts), "\n") {
		if f := strings.Fields(line); len(f) > 1 && f[1] == d.mount {
			trigger := filepath.Join("/sys/fs/ext4", filepath.Base(f[0]), "trigger_fs_error")
			if err := os.WriteFile(trigger, []byte("fault"), 0); err != nil {
				t.Skipf("NOT TESTED: no fault can be made here: %v", err)
			}
			return
		}
	}
	t.Fatalf("%s is not mounted", d.mount)
}

// mend does what a technician does: the file system is checked and mounted again.
func (d ownDisk) mend(t *testing.T) {
	t.Helper()
	err := tool("umount", d.mount)
	_ = tool("e2fsck", "-f", "-y", d.image) // 1 says that it has mended something; a mount that fails says the rest
	if err := errors.Join(err, tool("mount", "-o", ext4Options, d.image, d.mount)); err != nil {
		t.Fatal(err)
	}
}
