package main

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"edgegw/fiscal/sandbox"
)

// restartsVariable names how often TestRestartedUnderLoad restarts: 8, or 200 for the
// heavy proof.
const restartsVariable = "EDGEGW_TEST_RESTARTS"

// longestEnd is what a clean end may take, by promise: an engine kills what takes longer
// than its patience.
const longestEnd = 10 * time.Second

// A real gateway process is told to end, again and again, while devices sell over TLS
// and requests are under way, some of which the stand-in never answers. It ends cleanly
// and in time each time, and afterwards each sale is fiscalized once, in order, to the
// cent.
func TestRestartedUnderLoad(t *testing.T) {
	restarts := 8
	if testing.Short() {
		restarts = 3
	}
	if n, err := strconv.Atoi(os.Getenv(restartsVariable)); err == nil {
		restarts = n
	}
	flags, service := uplink(t, sandbox.Options{Idempotency: sandbox.Ignore})
	b := newBox(t, append(flags, "--set", "openfiskal.requests_per_second=2000", "--set", "mqtt.messages_per_second=1000")...)
	b.fixPort()
	for i, f := range b.flags {
		if strings.HasPrefix(f, "openfiskal.timeout=") {
			b.flags[i] = "openfiskal.timeout=60s" // longer than an end may take
		}
	}
	fleet, registers := b.fleet(service, 8)
	service.SetLatency(5 * time.Millisecond)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	defer cancel()
	sold := make(chan error, 1)
	go func() { sold <- fleet.Run(ctx) }()
	chance := rand.New(rand.NewPCG(2, uint64(restarts)))
	longest := time.Duration(0)
	for i := range restarts {
		if i%4 == 1 { // what was asked in the middle of this is never answered
			service.Inject(sandbox.Fault{Action: sandbox.Pass, After: time.Hour, Times: 2})
		}
		var logs bytes.Buffer
		c := command(ctx, append(append([]string{}, b.flags...), "run")...)
		c.Stderr = &logs
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		b.answers(ctx)
		pause(time.Duration(chance.IntN(300)) * time.Millisecond)
		told := time.Now()
		_ = c.Process.Signal(syscall.SIGTERM)
		limit := time.AfterFunc(longestEnd, func() { _ = c.Process.Kill() })
		if err := c.Wait(); err != nil {
			t.Fatalf("the gateway ended with %v:\n%s", err, logs.String())
		}
		limit.Stop()
		longest = max(longest, time.Since(told))
		service.ClearFaults()
	}
	sum := b.settles(ctx, fleet, registers, service)
	cancel()
	<-sold
	t.Logf("%d restarts, the longest end took %v; %d sales, %d receipts, %v minor units, %d requests at OpenFiskal", restarts, longest.Round(time.Millisecond), sum.Ended, sum.Receipts, sum.MoneySold, len(service.Requests()))
	if sum.Ended < restarts {
		t.Errorf("only %d sales for %d restarts: this proves little", sum.Ended, restarts)
	}
}
