package gateway

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"edgegw/devicekeys"
	"edgegw/fiscal"
	"edgegw/sale"
)

// keyWatch is what makes the gateway ask about keys.
type keyWatch struct {
	mu       sync.Mutex
	suspects map[sale.RegisterID]bool  // whose key was just refused
	open     map[sale.RegisterID]int64 // the version of which OpenFiskal said neither yes nor no
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

// answered notes whether OpenFiskal said neither yes nor no of a key.
func (k *keyWatch) answered(info devicekeys.KeyInfo, v verdict) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if v != keyOpen {
		delete(k.open, info.Register)
		return
	}
	if k.open == nil {
		k.open = map[sale.RegisterID]int64{}
	}
	k.open[info.Register] = info.Version
}

// unconfirmed reports whether that was the last that it said.
func (k *keyWatch) unconfirmed(info devicekeys.KeyInfo) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.open[info.Register] == info.Version
}

// keep remembers suspects that nobody could be asked about.
func (k *keyWatch) keep(suspects map[sale.RegisterID]bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	maps.Copy(k.suspects, suspects)
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
		v := g.verify(ctx, info)
		if v != keyUnknown && info.State == sale.KeyStateUnverified {
			g.keys.answered(info, v)
		}
		switch v {
		case keyUnknown:
			g.keys.keep(suspect)
			return true
		case keyOpen:
			left = true
			if suspect[info.Register] {
				g.keys.keep(map[sale.RegisterID]bool{info.Register: true})
			}
		case keyWithoutUnit:
			left = true
			g.stillTaken(ctx, info, request, isLost) // it is taken, unit or not
		case keyConfirmed:
			left = g.stillTaken(ctx, info, request, isLost) || left
		case keyDenied:
			if all && info.State == sale.KeyStateRefused {
				g.dropBeaten(ctx, info)
			}
		}
	}
	return left
}

// beatenAfter is how long a key may be refused beside one that is taken before it is
// forgotten: one that OpenFiskal has made is known everywhere by then.
const beatenAfter = 7 * 24 * time.Hour

// dropBeaten forgets a key that OpenFiskal still refuses while it takes the one in
// use: it was entered in the wrong place, and is nobody's to wait for.
func (g *Gateway) dropBeaten(ctx context.Context, info devicekeys.KeyInfo) {
	inUse, err := g.ring.KeyInfo(info.Register)
	if err != nil || g.now().Sub(info.AddedAt) < beatenAfter || inUse.State != sale.KeyStateActive || g.ask(ctx, inUse) != keyConfirmed {
		return
	}
	if err := g.ring.DropRefused(context.WithoutCancel(ctx), info.Register, info.Version, "edgegw"); err != nil {
		g.log.Error("a register key that is refused cannot be dropped", "register", info.Register, "cause", err)
		return
	}
	g.log.Info("a register key that OpenFiskal refuses was dropped; it takes the one in use", "register", info.Register, "version", info.Version)
}

// keysToAsk gives every version of the keys that the site sends with.
func (g *Gateway) keysToAsk() (list []devicekeys.KeyInfo) {
	for _, name := range g.keyNames() {
		list = append(list, g.ring.KeyVersions(name)...)
	}
	return list
}

// verify asks about one key and records the answer.
func (k *control) verify(ctx context.Context, info devicekeys.KeyInfo) verdict {
	v := k.ask(ctx, info)
	state := sale.KeyStateActive
	switch v {
	case keyDenied:
		if young(info, k.now()) {
			return keyOpen
		}
		state = sale.KeyStateRefused
	case keyWithoutUnit: // its register would only refuse the sales: they wait for the unit
		if info.State != sale.KeyStateUnverified {
			return v
		}
		state = sale.KeyStatePending
	case keyConfirmed:
	default:
		return v
	}
	if state == info.State {
		return v
	}
	err := k.ring.ChangeKeyState(context.WithoutCancel(ctx), info.Register, info.Version, info.State, state, "edgegw")
	if errors.Is(err, devicekeys.ErrChanged) {
		return keyOpen // somebody found out more meanwhile
	}
	if err != nil {
		k.log.Error("the state of a register key cannot be stored", "register", info.Register, "cause", err)
		return keyOpen
	}
	k.log.Info("a register key was checked", "register", info.Register, "version", info.Version, "state", string(state))
	if state == sale.KeyStateActive && k.relay != nil {
		k.wakeFor(ctx, info.Register)
	}
	return v
}

// settleKey is how long a key that waits may be unknown to OpenFiskal without being
// wrong: it may just have been made.
const settleKey = 10 * time.Minute

func young(info devicekeys.KeyInfo, now time.Time) bool {
	age := now.Sub(info.AddedAt)
	return info.State == sale.KeyStatePending && age >= 0 && age < settleKey
}

// ask asks, and records nothing.
func (k *control) ask(ctx context.Context, info devicekeys.KeyInfo) verdict {
	key, err := k.ring.Version(ctx, info.Register, info.Version)
	if err != nil {
		return keyShut // the conditions say so
	}
	defer key.Wipe()
	if info.Register == sale.PlatformKey {
		return k.askPlatform(ctx, key)
	}
	err = k.fiscal.Probe(ctx, info.Register, key)
	var p *sale.Problem
	switch {
	case err == nil:
		return keyConfirmed
	case errors.Is(err, fiscal.ErrNoUnit):
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
