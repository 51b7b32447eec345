package bench

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

func TestTimes(t *testing.T) {
	var all []time.Duration
	for i := 1000; i > 0; i-- {
		all = append(all, time.Duration(i)*time.Millisecond)
	}
	got := Sum(all, 10*time.Second)
	if want := (Times{Count: 1000, PerSecond: 100, P50: 501e3, P95: 951e3, P99: 991e3, Max: 1000e3}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := Sum(nil, time.Second); got != (Times{}) {
		t.Errorf("of nothing: %+v", got)
	}
}

func TestTheVerdict(t *testing.T) {
	r := Report{Acks: []Acks{{Devices: 1, Window: 16, Times: Times{PerSecond: 9999}}, {Devices: 1, Window: 1, Times: Times{PerSecond: 100}}}, Verdict: Verdict{WaitingSale: 2048}}
	r.Judge(60, 2048*86400*41)
	if want := "60 pumps selling once a minute, day and night, ask for 1 % of the sales that this box can acknowledge one at a time; there is room to queue for 41 days of outage."; r.Verdict.Sentence != want {
		t.Errorf("%q", r.Verdict.Sentence)
	}
	if r.Judge(1, -5); !strings.HasPrefix(r.Verdict.Sentence, "1 pump ") || !strings.HasSuffix(r.Verdict.Sentence, "for 0 minutes of outage.") {
		t.Errorf("a full disk: %q", r.Verdict.Sentence)
	}
	r.Acks[1].PerSecond = 0.5
	if r.Judge(60, 0); r.Verdict.Sentence != "This disk is too slow for 60 pumps selling once a minute one at a time: it can acknowledge 0.5 sales a second." {
		t.Errorf("a slow disk: %q", r.Verdict.Sentence)
	}
}

// Digits that mean nothing look like card numbers to whoever masks these.
func TestFiguresAreShort(t *testing.T) {
	r := Report{Seconds: 1. / 3, Floor: Floor{Times: Times{P50: 2. / 3}}, Drain: []Drain{{OfBound: 1e6 / 7}}}
	r.Round()
	if r.Seconds != 0.333 || r.Floor.P50 != 0.667 || r.Drain[0].OfBound != 142857.143 {
		t.Errorf("%+v", r)
	}
}

func TestTheFloorLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	f, err := MeasureFloor(t.Context(), dir, 20*time.Millisecond)
	if err != nil || f.Count == 0 || f.P50 <= 0 || f.P99 < f.P50 || f.Max < f.P99 {
		t.Errorf("%+v, %v", f, err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := MeasureFloor(gone, dir, time.Hour); err == nil {
		t.Error("it does not end with its context")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestUsage(t *testing.T) {
	if _, err := os.Stat("/proc/self/io"); err != nil {
		t.Skip("NOT TESTED: this system has no /proc")
	}
	u, err := UsageOf(os.Getpid())
	if err != nil || u.Memory < 1<<20 {
		t.Errorf("%+v, %v", u, err)
	}
	if _, err := UsageOf(1 << 30); err == nil {
		t.Error("nobody has that number")
	}
}

// The packets of MQTT 3.1.1, byte by byte.
func TestThePackets(t *testing.T) {
	got := connectPacket(Login{ID: "p1", Secret: "xyz"})
	if want := []byte("\x10\x17\x00\x04MQTT\x04\xc2\x00\x00\x00\x02p1\x00\x02p1\x00\x03xyz"); !bytes.Equal(got, want) {
		t.Errorf("CONNECT %q, want %q", got, want)
	}
	for n, want := range map[int]string{0: "\x00", 127: "\x7f", 128: "\x80\x01", 16384: "\x80\x80\x01"} {
		if got := appendLength(nil, n); string(got) != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}
