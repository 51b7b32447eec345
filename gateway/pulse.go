package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// pulseEvery is how often a canary flies by itself. Each is a synced page on the
	// disk, so not more often than /healthz must know (CONTRACT.md section 7: one
	// within the last 60 s).
	pulseEvery = 55 * time.Second
	// pulseFresh is how old the last one may be before /healthz sends another.
	pulseFresh = 58 * time.Second
	// pulseLimit bounds one: a disk whose syncs take eight seconds is slow, and the canary
	// may wait for the one under way and then for its own. Who gave up before would end a
	// gateway that works, again and again.
	pulseLimit = 20 * time.Second
	// pulseAgain keeps canaries apart where they fail and many ask.
	pulseAgain = 5 * time.Second
)

// errNoPort is a gateway that is reached over no TCP port: a test's.
var errNoPort = errors.New("it is bound to no TCP port")

// pulse knows whether the gateway does its job, by canaries that went the whole way
// of a device's message.
type pulse struct {
	fly func(context.Context) error
	one singleflight.Group // those who ask while one flies get what it finds

	mu     sync.Mutex
	last   time.Time // that one came back
	tried  time.Time // that one ended, however
	err    error     // of that one
	missed int       // in a row
}

func newPulse(fly func(context.Context) error) *pulse { return &pulse{fly: fly} }

// flySmall is the canary of every day.
func (g *Gateway) flySmall(ctx context.Context) error {
	if addr, _ := g.mqttHere(); addr == "" {
		return errNoPort
	}
	_, _, connect, publish := g.fly(ctx, smallCanary, pulseLimit)
	if connect != nil {
		return fmt.Errorf("the MQTT port: %w", connect)
	}
	return publish
}

// run sends canaries until ctx ends.
func (p *pulse) run(ctx context.Context) error {
	for {
		if errors.Is(p.beat(ctx), errNoPort) {
			<-ctx.Done()
			return nil
		}
		if !pause(ctx, pulseEvery) {
			return nil
		}
	}
}

// beat sends a canary now, whoever asks.
func (p *pulse) beat(ctx context.Context) error {
	_, err, _ := p.one.Do("", func() (any, error) {
		err := p.fly(ctx)
		if ctx.Err() != nil && err != nil {
			return nil, err // the gateway ends
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.tried, p.err = time.Now(), err
		if err == nil {
			p.last, p.missed = p.tried, 0
		} else {
			p.missed++
		}
		return nil, err
	})
	return err
}

// healthy gives nil where a canary has come back lately. It sends one where the last
// is too old.
func (p *pulse) healthy(ctx context.Context) error {
	p.mu.Lock()
	last, tried, err := p.last, p.tried, p.err
	p.mu.Unlock()
	switch {
	case !last.IsZero() && time.Since(last) < pulseFresh:
		return nil
	case err != nil && time.Since(tried) < pulseAgain:
		return err
	}
	return p.beat(context.WithoutCancel(ctx)) // it is bounded; others may wait for what it finds
}

// failures are the canaries in a row that did not come back, and why the last one
// did not.
func (p *pulse) failures() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.missed, p.err
}

// healthz answers /healthz. Whoever cannot log in reads no more than that it is not
// well: what is wrong stands in the log and in `edgegw status`.
func (g *Gateway) healthz(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if err := g.pulse.healthy(r.Context()); err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "not well: a message to the MQTT port was not acknowledged\n")
		return
	}
	_, _ = io.WriteString(w, "ok\n")
}
