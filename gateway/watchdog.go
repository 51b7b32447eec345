package gateway

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

const (
	// watchEvery is how often the watchdog looks. It counts its own looks and not the
	// time: a process that was stopped for an hour is not one that hangs.
	watchEvery = 30 * time.Second
	// mostMissed canaries in a row, one every pulseEvery, are no slow disk any more.
	mostMissed = 8
	// mostStill looks, ten minutes, in which queues want to send and no request ends,
	// although each is bounded.
	mostStill = 20
	// endLimit is what a clean end may take once the watchdog has spoken: what hangs
	// may hang there as well.
	endLimit = 20 * time.Second
)

// watchdog ends a gateway that lives and does nothing: one that accepts nothing,
// commits nothing or sends nothing, while nothing says why. A supervisor starts it
// anew, and all that was promised is on the disk. It never touches the box.
type watchdog struct {
	pulse   func() (missed int, err error)
	refuses func() bool   // devices are told not to sell: that has a condition
	busy    func() bool   // some queue wants to send, and does not merely wait
	ended   func() int64  // requests to OpenFiskal that have ended
	notify  func(string)  // the service manager
	every   time.Duration // between two looks
	still   int           // looks in a row at which queues were busy and nothing had ended
	last    int64         // ended, at the last look
}

func (g *Gateway) newWatchdog() *watchdog {
	w := &watchdog{pulse: g.pulse.failures, refuses: g.accepting.no.Load, busy: g.relay.Busy, ended: g.meters.ended.Load,
		notify: g.options.Notify, every: watchEvery}
	// The service manager's patience; half of it is what it asks for.
	if usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64); err == nil && usec > 0 {
		w.every = min(w.every, time.Duration(usec)*time.Microsecond/2)
	}
	return w
}

// run looks until ctx ends, and gives an error where the gateway must end.
func (w *watchdog) run(ctx context.Context) error {
	for pause(ctx, w.every) {
		if err := w.look(); err != nil {
			return err
		}
		w.notify(daemon.SdNotifyWatchdog)
	}
	return nil
}

// look gives an error where something has stood still for too long.
func (w *watchdog) look() error {
	missed, why := w.pulse()
	if missed >= mostMissed && !w.refuses() {
		return fmt.Errorf("no message has come through the MQTT port to the journal and back for %d tries: %w", missed, why)
	}
	now := w.ended()
	if w.busy() && now == w.last {
		w.still++
	} else {
		w.still = 0
	}
	w.last = now
	if time.Duration(w.still)*w.every >= mostStill*watchEvery {
		return fmt.Errorf("sales wait, nothing says why, and no request to OpenFiskal has ended for %s", time.Duration(w.still)*w.every)
	}
	return nil
}
