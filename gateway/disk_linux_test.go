package gateway

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"edgegw/broker/brokertest"
	"edgegw/config"
	"edgegw/fiscal/sandbox"
)

// ownDisk puts the site's data on a small file system of its own. It needs root.
func (s *testSite) ownDisk(size string) {
	s.t.Helper()
	dir := s.t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size="+size+",mode=0700"); err != nil {
		s.t.Skipf("NOT TESTED: no file system can be mounted here, so what a full or read-only disk does is not shown: %v", err)
	}
	s.t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			s.t.Error(err)
		}
	})
	s.dir = dir
	s.flags["data_dir"] = dir
	s.flags["store.min_free_bytes"] = "0"
}

func (s *testSite) remount(flags uintptr, data string) error {
	return syscall.Mount("none", s.dir, "", syscall.MS_REMOUNT|flags, data)
}

// offer publishes a sale until the gateway answers or drops the line; acknowledged is
// what the device may believe.
func (s *testSite) offer(n int) (acknowledged bool) {
	s.t.Helper()
	c := s.connect("pump-01", 5)
	if err := c.Publish(topic("pump-01", "sale"), 1, uint16(n), fmt.Sprintf(wholeEvent, fmt.Sprintf("s%04d", n))); err != nil {
		s.t.Fatal(err)
	}
	p, _, err := c.Await(brokertest.PUBACK)
	return err == nil && p.Code == 0
}

// accepted gives the sales that the journal holds.
func (s *testSite) accepted() (n int64) {
	s.t.Helper()
	q, err := s.db.Queues(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, q := range q {
		n += q.Accepted
	}
	return n
}

// A real file system that is full: no sale is acknowledged that is not stored, the
// gateway lives, and goes on by itself when there is room.
func TestADiskThatIsReallyFull(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	s.ownDisk("16m")
	s.flags["store.mirror_bytes"] = "1MiB"
	s.on()
	s.add("pump-01")
	s.sandbox.SetDown(true)
	ballast := filepath.Join(s.dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 16<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk takes everything: %v", err)
	}
	n, taken := 0, int64(0)
	for refused := false; !refused; n++ {
		if n > 5000 {
			t.Fatal("the disk is never full")
		}
		if refused = !s.offer(n); !refused {
			taken++
		}
	}
	if got := s.accepted(); got < taken {
		t.Errorf("%d acknowledged and %d stored", taken, got)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	await(t, "sales to be taken again", func() bool { n++; ok := s.offer(n); return ok })
	select {
	case err := <-s.ended:
		t.Errorf("a full disk is no reason to end: %v", err)
	default:
	}
	s.sandbox.SetDown(false)
	await(t, "the queue to drain", func() bool {
		q, err := s.db.Queues(t.Context())
		return err == nil && q[0].Waiting == 0
	})
	s.off()
}

// Somebody fills the disk to its last byte while no gateway runs. The space that was set
// aside is for that, too: the gateway starts, and says that the disk is full.
func TestAStartOnAFullDisk(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	s.ownDisk("64m")
	s.flags["store.min_free_bytes"] = "1MiB"
	s.on()
	s.add("pump-01")
	await(t, "the reserve", func() bool { _, err := os.Stat(filepath.Join(s.dir, reserveFile)); return err == nil })
	s.off()
	if err := os.WriteFile(filepath.Join(s.dir, "ballast"), make([]byte, 64<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk takes everything: %v", err)
	}
	s.on()
	if _, err := os.Stat(filepath.Join(s.dir, reserveFile)); err == nil {
		t.Error("the space that was set aside is there still")
	}
	s.off()
}

// A card that dies makes its file system read-only: nothing is acknowledged, and what
// was stays.
func TestADiskThatTurnsReadOnly(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	s.ownDisk("64m")
	s.on()
	s.add("pump-01")
	s.sandbox.SetDown(true)
	if !s.offer(1) {
		t.Fatal("no sale is taken")
	}
	// A file that is open for writing would keep it from being remounted: the device
	// itself turns read-only then, which no test can do to a tmpfs. So the process ends
	// first, and begins on a file system that it cannot write.
	s.off()
	if err := s.remount(syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Options{Flags: s.flags, Search: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	if g, err := New(t.Context(), c, s.options); err == nil {
		t.Error("it starts on a file system that it cannot write")
		_ = g.Close()
	}
	if err := s.remount(0, ""); err != nil {
		t.Fatal(err)
	}
	s.on()
	if got := s.accepted(); got != 1 {
		t.Errorf("%d sales", got)
	}
	if s.hasCondition("database_rebuilt") {
		t.Error("a disk that cannot be written is no damage")
	}
	s.off()
}
