package gateway

import (
	"context"
	"errors"

	"edgegw/relay"
	"edgegw/sale"
	"edgegw/store"
)

// siteFacts gathers what the sentences say of the site as a whole.
func (k *control) siteFacts() *siteFacts {
	f := &siteFacts{now: k.now().Local(), began: k.since, uplink: relay.UplinkState{Up: true}}
	if k.relay != nil {
		f.running, f.uplink, f.signing = true, k.relay.Uplink(), k.relay.SigningDown()
	}
	return f
}

// registerFacts gathers what they say of one register. What cannot be read is
// left out: the rest is still worth saying.
func (k *control) registerFacts(ctx context.Context, q store.Queue, devices []sale.Device) registerFacts {
	r := registerFacts{Queue: q, platform: k.serverSide()}
	if k.lostKeys.Load() && !k.serverSide() {
		if lost, err := k.lostRequests(ctx); err == nil {
			if request, ok := lost[q.Register]; ok {
				r.lost = &request
			}
		}
	}
	for _, d := range devices {
		if d.Register == q.Register {
			r.devices = append(r.devices, d.ID)
		}
	}
	r.key = k.keyFact(ctx, &r)
	if k.relay != nil {
		r.unreadable = k.relay.Troubles()[q.Register]
	}
	if !q.Idle && q.Problem != "" && q.Blocker == 0 {
		if last, err := k.db.Trouble(ctx, q.Register); err == nil {
			r.last = last
		}
	}
	if q.Quarantined > 0 {
		if items, err := k.db.Items(ctx, store.ItemFilter{Register: q.Register, Open: true}); err == nil {
			r.items = items
		}
	}
	return r
}

// keyFact looks whether there is something to send with. A register that no
// device has any more needs none, as long as nothing waits.
func (k *control) keyFact(ctx context.Context, r *registerFacts) keyFact {
	if len(r.devices) == 0 && r.Waiting == 0 {
		return keyThere
	}
	info, err := k.ring.KeyInfo(k.keyName(r.Register))
	switch {
	case errors.Is(err, sale.ErrNone):
		return keyMissing
	case err == nil && info.State == sale.KeyStatePending:
		return keyPending
	case k.sealedAway(ctx, r.Register):
		return keySealed
	case err == nil && info.State == sale.KeyStateRefused:
		return keyRefused // nobody should find out with the next sale
	}
	return keyThere
}

// sealedAway reports whether the register has a key in use that cannot be
// opened.
func (k *control) sealedAway(ctx context.Context, r sale.RegisterID) bool {
	key, err := k.ring.Credential(ctx, k.keyName(r))
	key.Wipe()
	return err != nil && !errors.Is(err, sale.ErrNone)
}
