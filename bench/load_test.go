package bench

import (
	"bufio"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// acknowledger is the other end of a load: it lets everybody in, and acknowledges what is
// published after a while.
type acknowledger struct {
	takes time.Duration
	mu    sync.Mutex
	got   map[net.Conn]int
}

func (a *acknowledger) dial(context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	go a.serve(theirs)
	return ours, nil
}

func (a *acknowledger) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		first, err := r.ReadByte()
		if err != nil {
			return
		}
		n := 0
		for shift := 0; ; shift += 7 {
			b, _ := r.ReadByte() // what is cut short fails below
			if n |= int(b&0x7f) << shift; b < 0x80 {
				break
			}
		}
		body := make([]byte, n)
		if _, err := io.ReadFull(r, body); err != nil {
			return
		}
		if first == 0x10 {
			_, _ = c.Write([]byte{0x20, 2, 0, 0})
			continue
		}
		<-time.After(a.takes)
		a.mu.Lock()
		a.got[c]++
		a.mu.Unlock()
		topic := int(body[0])<<8 + int(body[1])
		_, _ = c.Write([]byte{0x40, 2, body[2+topic], body[3+topic]})
	}
}

// loaded gives a load of three devices in a bubble.
func loaded(t *testing.T, takes time.Duration, play func(t *testing.T, a *acknowledger, l *Load)) {
	synctest.Test(t, func(t *testing.T) {
		a := &acknowledger{takes: takes, got: map[net.Conn]int{}}
		l := &Load{Dial: a.dial}
		defer l.Close()
		if err := l.Connect(t.Context(), []Login{{ID: "p1"}, {ID: "p2"}, {ID: "p3"}}); err != nil {
			t.Fatal(err)
		}
		play(t, a, l)
	})
}

func TestEachDeviceSellsSoMany(t *testing.T) {
	loaded(t, 10*time.Millisecond, func(t *testing.T, a *acknowledger, l *Load) {
		got, err := l.Each(t.Context(), 1, 5)
		if err != nil || got.Count != 15 || got.P50 != 10_000 || got.PerSecond != 300 {
			t.Errorf("%+v, %v", got, err)
		}
		for _, n := range a.got {
			if n != 5 {
				t.Errorf("a device has sold %d times", n)
			}
		}
		if _, err := l.Each(t.Context(), mostInFlight+1, 1); err == nil {
			t.Error("more in flight than there are identifiers")
		}
	})
}

func TestAllTogetherSellSoMany(t *testing.T) {
	loaded(t, 10*time.Millisecond, func(t *testing.T, _ *acknowledger, l *Load) {
		if got, err := l.Run(t.Context(), 2, 1, time.Minute, 7); err != nil || got.Count != 7 {
			t.Errorf("%+v, %v", got, err)
		}
		if got, err := l.Run(t.Context(), 3, 1, 95*time.Millisecond, 1000); err != nil || got.Count != 30 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestThePace(t *testing.T) {
	loaded(t, 10*time.Millisecond, func(t *testing.T, _ *acknowledger, l *Load) {
		got, err := l.Pace(t.Context(), 100*time.Millisecond, time.Second)
		if err != nil || got.Count != 30 || got.Max != 10_000 {
			t.Errorf("%+v, %v", got, err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := l.Pace(gone, time.Second, time.Hour); err == nil {
			t.Error("it does not end with its context")
		}
	})
}
