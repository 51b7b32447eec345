package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/fiscal/sandbox"
)

// A site is walked through from its first device to its report, by what the gateway has
// seen: the devices sell, the uplink goes, sales wait, it comes back, they arrive.
func TestCommissioning(t *testing.T) {
	t.Parallel()
	flags, service := uplink(t, sandbox.Options{})
	b := newBox(t, flags...)
	b.fixPort()
	fleet, _ := b.fleet(service, 2)
	b.start()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	sells := make(chan error, 1)
	go func() { sells <- fleet.Run(ctx) }()

	text := b.walk(ctx)
	text.await(t, "NOW   Unplug the uplink now.")
	service.SetDown(true)
	text.await(t, "done  Sell on some devices meanwhile.")
	text.await(t, "NOW   Plug it in again.")
	asJSON := b.walk(ctx, "--json") // a second walk, from its own beginning
	service.SetDown(false)
	text.await(t, "Report of the site")
	if code := <-text.code; code != exitDone {
		t.Errorf("exit code %d:\n%s", code, text.String())
	}
	for _, words := range []string{"taken away 20", "; all delivered 20", "\npump-01  ", "\npump-02  ", "\nstands: "} {
		if !strings.Contains(text.String(), words) {
			t.Errorf("the report lacks %q:\n%s", words, text.String())
		}
	}

	service.SetDown(true)
	for st := (admin.Status{}); st.Uplink != "down"; {
		st = decode[admin.Status](t, b.edgegw("status", "--json"))
	}
	service.SetDown(false)
	code := <-asJSON.code
	var r commissioned
	if err := json.Unmarshal([]byte(asJSON.String()), &r); err != nil || code != exitDone {
		t.Fatalf("exit code %d, %v:\n%s", code, err, asJSON.String())
	}
	if w := r.Uplink; len(r.Devices) != 2 || r.Devices[0].DocumentNumber == "" || w.Queued == 0 || w.By != admin.LocalUser() || !w.Delivered.After(w.Cut) {
		t.Errorf("the report: %+v", r)
	}
	cancel()
	<-sells
}

// Whoever leaves the walk has proven nothing, and without a gateway there is nothing to
// prove.
func TestCommissioningThatIsLeft(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.edgegw("commission").want(t, exitFailed, "no gateway runs", "edgegw run")
	b.start()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	w := b.walk(ctx)
	w.await(t, "NOW   Add the devices.")
	cancel()
	if code := <-w.code; code != exitFailed || !strings.Contains(w.String(), "edgegw: stopped before the end") {
		t.Errorf("exit code %d:\n%s", code, w.String())
	}
}

// walking is edgegw commission in the test's own process.
type walking struct {
	lockedBuffer
	code chan int
}

func (b *box) walk(ctx context.Context, args ...string) *walking {
	w := &walking{code: make(chan int, 1)}
	a := &app{in: strings.NewReader(""), out: w, err: w}
	go func() {
		w.code <- a.main(ctx, func() {}, append(append(append([]string{}, b.flags...), "commission"), args...))
	}()
	return w
}

func (w *walking) await(t *testing.T, words string) {
	t.Helper()
	tick, limit := time.NewTicker(10*time.Millisecond), time.After(deadline)
	defer tick.Stop()
	for !strings.Contains(w.String(), words) {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("the walk never says %q:\n%s", words, w.String())
		}
	}
}
