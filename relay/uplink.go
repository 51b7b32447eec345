package relay

import (
	"context"
	"sync"
	"time"

	"edgegw/pacing"
)

// uplink is what the site knows of its way to OpenFiskal. While it is up,
// every queue sends. Once a request could not even be sent, one queue at a
// time probes with its own call, and the others wait until it got through:
// a hundred failing queues tell no more than one.
type uplink struct {
	jitter Jitter

	mu       sync.Mutex
	down     bool
	known    bool // something was answered or failed since this process began
	since    time.Time
	problem  string
	detail   string
	failures int
	next     time.Time     // the next probe
	probe    uint64        // who holds the probe; 0: nobody
	given    uint64        // the last number given to a probe
	changed  chan struct{} // closed and replaced at each change
}

func newUplink(jitter Jitter) *uplink {
	return &uplink{jitter: jitter, changed: make(chan struct{})}
}

// word is the ack's `uplink`.
func (u *uplink) word() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.down {
		return "down"
	}
	return "up"
}

// enter waits until the caller may send. probe is not 0 when the caller's
// request is the one probe.
func (u *uplink) enter(ctx context.Context) (probe uint64, err error) {
	for {
		u.mu.Lock()
		now := time.Now()
		if !u.down {
			u.mu.Unlock()
			return 0, nil
		}
		changed, wait := u.changed, time.Duration(-1)
		if u.probe == 0 {
			if wait = u.next.Sub(now); wait <= 0 {
				u.given++
				u.probe, probe = u.given, u.given
				u.mu.Unlock()
				return probe, nil
			}
			wait = max(wait, 0)
		}
		u.mu.Unlock()
		if err := pause(ctx, wait, changed); err != nil {
			return 0, err
		}
	}
}

// pause waits for d, or for ever if d is negative, or until wake.
func pause(ctx context.Context, d time.Duration, wake <-chan struct{}) error {
	var timer <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-wake:
	case <-timer:
	}
	return nil
}

// reached notes that a request got an answer of any kind. It gives true if
// the uplink was down.
func (u *uplink) reached() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.failures, u.known = 0, true
	if !u.down {
		return false
	}
	u.down, u.probe, u.problem, u.detail, u.since = false, 0, "", "", time.Now()
	u.tell()
	return true
}

// failed notes that a request could not be sent. It gives true if the uplink
// was up. The late failures of requests that were under way when it went down
// say nothing new, and do not lengthen the back-off.
func (u *uplink) failed(problem, detail string, probe uint64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	was := u.down
	if was && (probe == 0 || probe != u.probe) {
		return false
	}
	if !was {
		u.since = time.Now()
	}
	u.down, u.known, u.probe, u.problem, u.detail = true, true, 0, problem, detail
	// A success of anybody ends the wait at once.
	u.next = time.Now().Add(pacing.Probe(time.Since(u.since), u.failures, u.jitter))
	u.failures++
	u.tell()
	return !was
}

// leave gives the probe back unused.
func (u *uplink) leave(probe uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if probe != 0 && u.probe == probe {
		u.probe = 0
		u.tell()
	}
}

// kick makes the next probe due now: the link may have come up.
func (u *uplink) kick() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.next = time.Now()
	u.tell()
}

func (u *uplink) tell() {
	close(u.changed)
	u.changed = make(chan struct{})
}

// UplinkState is what people are told of the uplink.
type UplinkState struct {
	Up      bool
	Known   bool      // false: nothing has been tried yet
	Since   time.Time // zero: as long as this process lives
	Problem string    // a code of the fiscal client, such as dns
	Detail  string    // the words of the system
}

func (u *uplink) state() UplinkState {
	u.mu.Lock()
	defer u.mu.Unlock()
	return UplinkState{Up: !u.down, Known: u.known, Since: u.since, Problem: u.problem, Detail: u.detail}
}
