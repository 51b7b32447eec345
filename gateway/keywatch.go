package gateway

import (
	"context"
	"errors"
	"sync"
	"time"

	"edgegw/devicekeys"
	"edgegw/fiscal"
	"edgegw/sale"
)

// keyWatch is what makes the gateway ask about keys.
type keyWatch struct {
	mu       sync.Mutex
	suspects map[sale.RegisterID]bool // whose key was just refused
	poke     chan struct{}
}

// ask wants keys checked soon; of register r, where one is named, all of them.
func (k *keyWatch) ask(r sale.RegisterID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r != "" {
		k.suspects[r] = true
	}
	select {
	case k.poke <- struct{}{}:
	default:
	}
}

func (k *keyWatch) take() map[sale.RegisterID]bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	m := k.suspects
	k.suspects = map[sale.RegisterID]bool{}
	return m
}

// How often keys are asked about that nobody could ask about before, and those
// that were refused (CONTRACT.md section 3: a slow probe).
const (
	verifyEvery = time.Minute
	refusedKeys = 15 * time.Minute
)

// checkKeys asks about keys when there is reason to, until ctx ends.
func (g *Gateway) checkKeys(ctx context.Context) error {
	slow, soon := time.NewTicker(refusedKeys), time.NewTimer(0)
	defer slow.Stop()
	defer soon.Stop()
	for {
		all := false
		select {
		case <-ctx.Done():
			return nil
		case <-slow.C:
			all = true
		case <-g.keys.poke:
		case <-soon.C:
		}
		if g.verifyKeys(ctx, all) {
			soon.Reset(verifyEvery)
		}
	}
}

// verdict is what OpenFiskal says of a key.
type verdict uint8

const (
	keyUnknown verdict = iota // nobody could be asked
	keyOpen                   // somebody answered, and neither yes nor no
	keyConfirmed
	keyDenied
	keyWithoutUnit // right, and its register cannot take a sale yet
	keyShut        // it cannot be opened, or not be sent
)

// verifyKeys asks OpenFiskal about keys that nobody could ask about when they
// were stored, about all keys of registers it has just refused, and, with all
// set, about refused ones as well: the one that is right takes its place. It
// gives true where something is left to ask, and stops where nobody can be
// asked.
func (g *Gateway) verifyKeys(ctx context.Context, all bool) (left bool) {
	suspect := g.keys.take()
	lost, err := g.lostRequests(ctx)
	if err != nil && ctx.Err() == nil {
		g.log.Error("requests for register keys cannot be read", "cause", err)
	}
	for _, info := range g.keysToAsk() {
		open := info.State == sale.KeyStatePending || info.State == sale.KeyStateUnverified
		request, isLost := lost[info.Register]
		if !open && !suspect[info.Register] && !(isLost && info.State == sale.KeyStateActive) && (!all || info.State != sale.KeyStateRefused) {
			continue
		}
		switch g.verify(ctx, info) {
		case keyUnknown:
			return true
		case keyOpen, keyWithoutUnit:
			left = true
		case keyConfirmed:
			left = g.stillTaken(ctx, info, request, isLost) || left
		}
	}
	return left
}

// keysToAsk gives every key of every register, or the platform key of a site
// that sends with it.
func (g *Gateway) keysToAsk() (list []devicekeys.KeyInfo) {
	if g.serverSide() {
		return g.ring.KeyVersions(sale.PlatformKey)
	}
	for _, r := range g.ring.Registers() {
		list = append(list, g.ring.KeyVersions(r)...)
	}
	return list
}

// verify asks about one key and records the answer.
func (k *control) verify(ctx context.Context, info devicekeys.KeyInfo) verdict {
	v := k.ask(ctx, info)
	state := sale.KeyStateActive
	switch v {
	case keyDenied:
		state = sale.KeyStateRefused
	case keyConfirmed:
	default:
		return v
	}
	if state == info.State {
		return v
	}
	if err := k.ring.SetKeyState(context.WithoutCancel(ctx), info.Register, info.Version, state, "edgegw"); err != nil {
		k.log.Error("the state of a register key cannot be stored", "register", info.Register, "cause", err)
		return keyUnknown
	}
	k.log.Info("a register key was checked", "register", info.Register, "version", info.Version, "state", string(state))
	if state == sale.KeyStateActive && k.relay != nil {
		k.wakeFor(info.Register)
	}
	return v
}

// ask asks, and records nothing.
func (k *control) ask(ctx context.Context, info devicekeys.KeyInfo) verdict {
	key, err := k.ring.Version(ctx, info.Register, info.Version)
	if err != nil {
		return keyShut // the conditions say so
	}
	defer key.Wipe()
	register := k.probedWith(info.Register)
	if register == "" {
		return keyUnknown
	}
	err = k.fiscal.Probe(ctx, register, key)
	var p *sale.Problem
	switch {
	case err == nil:
		return keyConfirmed
	case errors.Is(err, fiscal.ErrNoUnit):
		if info.Register == sale.PlatformKey {
			return keyConfirmed
		}
		return keyWithoutUnit
	case !errors.As(err, &p) || p.Class == sale.Uplink:
		return keyUnknown
	case p.Class != sale.KeyRefused:
		return keyOpen
	case p.Status == 0:
		return keyShut // it may not be sent to this host at all
	}
	return keyDenied
}
