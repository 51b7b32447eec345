package gateway

import (
	"context"
	"encoding/binary"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A link that comes up is noticed: in a network of the test's own, whose
// loopback is brought up.
func TestALinkThatComesUpIsNoticed(t *testing.T) {
	done, not := make(chan struct{}), error(nil)
	go func() { // its thread ends with it: it never comes back from that network
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			not = err
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		news := make(chan struct{}, 8)
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(fd)
		raise := time.AfterFunc(300*time.Millisecond, func() { // the socket belongs to that network, whoever uses it
			req, err := unix.NewIfreq("lo")
			if err != nil {
				t.Error(err)
				return
			}
			req.SetUint16(unix.IFF_UP)
			if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
				t.Error(err)
			}
		})
		defer raise.Stop()
		err = watchLink(ctx, func() {
			news <- struct{}{}
			cancel()
		})
		if err != nil || len(news) != 1 {
			t.Errorf("%d news, %v", len(news), err)
		}
	}()
	<-done
	if not != nil {
		t.Skipf("SKIPPED, NOT PROVEN: a network namespace cannot be made here: %v", not)
	}
}

func TestOnlyNewThingsComeUp(t *testing.T) {
	message := func(kind uint16, content ...byte) []byte {
		b := binary.NativeEndian.AppendUint32(nil, uint32(16+len(content)))
		b = binary.NativeEndian.AppendUint16(b, kind)
		return append(append(b, make([]byte, 10)...), content...)
	}
	link := func(flags uint32) []byte {
		return message(unix.RTM_NEWLINK, binary.NativeEndian.AppendUint32(make([]byte, 8), flags)...)
	}
	tooLong := message(unix.RTM_NEWADDR)
	tooLong[0], tooLong[3] = 255, 255
	for _, c := range []struct {
		name string
		b    []byte
		want bool
	}{
		{"an address", message(unix.RTM_NEWADDR), true},
		{"a lost address", message(unix.RTM_DELADDR), false},
		{"a lost route and a new one", append(message(unix.RTM_DELROUTE), message(unix.RTM_NEWROUTE)...), true},
		{"a link that carries", link(unix.IFF_UP | unix.IFF_RUNNING), true},
		{"a cable that was pulled", link(unix.IFF_UP), false},
		{"a cable that was pulled, and another link", append(link(unix.IFF_UP), link(unix.IFF_UP|unix.IFF_RUNNING)...), true},
		{"a link without flags", message(unix.RTM_NEWLINK), false},
		{"nothing", nil, false},
		{"half a message", message(unix.RTM_NEWADDR)[:7], false},
		{"a length beyond the end", tooLong, false},
		{"a length of nothing", make([]byte, 32), false},
	} {
		if got := comesUp(c.b); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// The watch ends with its context although the kernel says nothing.
func TestTheWatchOfTheNetworkEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- watchLink(ctx, func() {}) }()
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Skipf("SKIPPED, NOT PROVEN: this kernel tells nothing of its network: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on")
	}
}
