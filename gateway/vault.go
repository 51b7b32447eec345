package gateway

import (
	"context"
	"slices"
	"sync"
	"time"

	"edgegw/devicekeys"
	"edgegw/sale"
)

// openKeys reads devices and keys. A key-encryption key that is missing or
// cannot be used stops sending, not selling, and nothing is made in its place
// (CONTRACT.md section 4).
func (k *control) openKeys(ctx context.Context) error {
	if k.options.Legacy.kek != nil {
		return k.inheritKeys(ctx)
	}
	sealed, err := k.db.Keys(ctx)
	if err != nil {
		return err
	}
	o := k.kekOptions(slices.ContainsFunc(sealed, func(s sale.SealedKey) bool { return len(s.Sealed) > 0 }))
	kek, source, err := devicekeys.LoadKEK(o)
	older, previous := o.Older()
	k.kek.Store(&kekState{source, err, previous})
	if err != nil {
		k.log.Error("register keys cannot be opened; sales are taken and wait", "cause", err)
	}
	defer forget(append(older, kek)) // the ring keeps what it derived from them
	if k.ring, err = devicekeys.Open(ctx, k.db, kek, older...); err != nil {
		return err
	}
	k.ring.UseClock(k.now)
	k.reseal(ctx)
	if err := k.adoptRequests(ctx); err != nil {
		k.log.Error("requests for register keys that an earlier process left cannot be settled; they count as lost", "cause", err) // no reason not to sell
	}
	return nil
}

// inheritKeys is openKeys with what the gateway before has derived.
func (k *control) inheritKeys(ctx context.Context) (err error) {
	k.kek.Store(k.options.Legacy.kek)
	if k.ring, err = devicekeys.Open(ctx, k.db, devicekeys.KEK{}); err != nil {
		return err
	}
	k.ring.UseSealing(k.options.Legacy.sealing)
	k.ring.UseClock(k.now)
	k.reseal(ctx)
	return k.adoptRequests(ctx)
}

func forget(keks []devicekeys.KEK) {
	for _, k := range keks {
		k.Wipe()
	}
}

func (k *control) kekOptions(sealed bool) devicekeys.KEKOptions {
	v := k.config.Vault
	return devicekeys.KEKOptions{Text: v.KEK, File: v.KEKFile, PreviousText: v.PreviousKEK, PreviousFile: v.PreviousKEKFile,
		DataDir: k.config.DataDir, SealedKeysExist: sealed}
}

// reseal ends a change of the KEK. Where it fails, keys are still opened with
// the one that sealed them, and the next start tries again. The old KEK's file
// stays: backups need it.
func (k *control) reseal(ctx context.Context) {
	if k.kekProblem() != nil {
		return
	}
	n, err := k.ring.Reseal(ctx, k.db, "edgegw")
	if err != nil {
		k.log.Error("register keys cannot be sealed with the new key-encryption key", "cause", err)
	} else if n > 0 {
		k.log.Info("register keys were sealed anew with the key-encryption key that is given now", "keys", n)
	}
}

// kekState is where the KEK came from, or why there is none.
type kekState struct {
	source   devicekeys.Source
	problem  error
	previous error // why one of before cannot be read
}

// kekNow is the zero state before the keys are open.
func (k *control) kekNow() kekState {
	if s := k.kek.Load(); s != nil {
		return *s
	}
	return kekState{}
}

func (k *control) kekProblem() error { return k.kekNow().problem }

// kekLook is how often a key-encryption key that is missing is looked for: its
// file may lie on something that is mounted late.
const kekLook = 15 * time.Second

// awaitKEK takes a missing KEK into use as soon as it is there, until ctx ends.
func (g *Gateway) awaitKEK(ctx context.Context) error {
	t := time.NewTicker(kekLook)
	defer t.Stop()
	for g.kekProblem() != nil {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		g.lookForKEK(ctx)
	}
	<-ctx.Done()
	return nil
}

func (g *Gateway) lookForKEK(ctx context.Context) {
	o := g.kekOptions(true)
	kek, source, err := devicekeys.LoadKEK(o)
	older, previous := o.Older()
	defer forget(append(older, kek))
	if err == nil {
		err = g.ring.UseKEK(kek, older...)
	}
	g.kek.Store(&kekState{source, err, previous})
	if err != nil {
		return
	}
	g.log.Info("the key-encryption key is there", "source", string(source.Kind))
	g.reseal(ctx)
	g.wakeAll(ctx)
	g.keys.ask("")
}

// wakeAll lets every queue go on.
func (k *control) wakeAll(ctx context.Context) {
	queues, err := k.db.Queues(ctx)
	if err != nil {
		k.log.Error("the queues cannot be read; each goes on when its next attempt is due", "cause", err)
	}
	for _, q := range queues {
		k.relay.Wake(q.Register)
	}
}

// requesting keeps two keys of one register apart, and the gateway from ending
// while one is being made: it is given once.
type requesting struct {
	mu  sync.Mutex
	of  map[sale.RegisterID]bool
	all sync.WaitGroup
}

func (r *requesting) begin(id sale.RegisterID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of[id] {
		return false
	}
	if r.of == nil {
		r.of = map[sale.RegisterID]bool{}
	}
	r.of[id] = true
	r.all.Add(1)
	return true
}

func (r *requesting) under(id sale.RegisterID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of[id]
}

func (r *requesting) end(id sale.RegisterID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.of, id)
	r.all.Done()
}
