package devicekeys

import (
	"context"
	"fmt"
	"slices"

	"edgegw/sale"
	"edgegw/secret"
)

// UseKEK takes another KEK into use, such as one whose file was missing at the
// start. What is stored does not change; Reseal does that.
func (r *Ring) UseKEK(kek KEK, older ...KEK) error {
	v, err := newVault(kek)
	if err != nil {
		return err
	}
	var before []*vault
	for _, k := range older {
		o, err := newVault(k)
		if err != nil {
			return err
		}
		if o != nil {
			before = append(before, o)
		}
	}
	r.changing.Lock()
	defer r.changing.Unlock()
	next := *r.state.Load()
	next.vault, next.older = v, before
	r.state.Store(&next)
	return nil
}

// Sealing is what a ring has derived from its KEKs. It opens what the ring opens,
// and shows nothing.
type Sealing struct{ reveal func() (*vault, []*vault) }

// Sealing is for the ring that takes this one's place in the same process: the
// KEK itself is gone by then.
func (r *Ring) Sealing() Sealing {
	s := r.state.Load()
	v, older := s.vault, s.older
	return Sealing{func() (*vault, []*vault) { return v, older }}
}

// UseSealing is UseKEK with what another ring has derived.
func (r *Ring) UseSealing(s Sealing) {
	r.changing.Lock()
	defer r.changing.Unlock()
	next := *r.state.Load()
	next.vault, next.older = s.reveal()
	r.state.Store(&next)
}

// open opens a key with the KEK that its seal names.
func (s *state) open(k sale.SealedKey) (secret.Text, error) {
	for _, v := range s.older {
		if v.made(k.Sealed) {
			return v.open(k)
		}
	}
	return s.vault.open(k)
}

// Reseal seals what an older KEK has sealed under the one in use, all in one
// transaction, and gives how many keys that were. What none of them opens stays
// as it is: it may be opened again when its KEK comes back, and Check names it.
// After an error either form may be on disk, and both can be opened.
func (r *Ring) Reseal(ctx context.Context, rows Resealer, by string) (int, error) {
	const act = "seal register keys anew"
	r.changing.Lock()
	defer r.changing.Unlock()
	now := r.state.Load()
	if now.vault == nil {
		return 0, fmt.Errorf("%s: %w", act, ErrNoKEK)
	}
	var resealed []sale.SealedKey
	for register, keys := range now.keys {
		for _, k := range keys {
			if now.vault.made(k.Sealed) {
				continue
			}
			key, err := now.open(k)
			if err != nil {
				continue
			}
			k.Sealed, err = now.vault.seal(register, k.Version, key)
			key.Wipe()
			if err != nil {
				return 0, fmt.Errorf("%s: register %q: %w", act, string(register), err)
			}
			resealed = append(resealed, k)
		}
	}
	if len(resealed) == 0 {
		return 0, nil
	}
	return len(resealed), r.settle(ctx, act, rows.ReplaceKeys(ctx, resealed, by))
}

// Elsewhere finds another register that has this key already, so that one pasted
// into the wrong place is refused by name: where several have it, the one that
// comes first in the order active, unverified, pending, refused.
func (r *Ring) Elsewhere(register sale.RegisterID, key secret.Text) (owner KeyInfo, there bool) {
	now := r.state.Load()
	for other := range now.keys {
		i, holds := now.holds(other, key)
		if holds && other != register && (!there || slices.Index(trust, i.State) < slices.Index(trust, owner.State)) {
			owner, there = i, true
		}
	}
	return owner, there
}

// trust orders states by how sure it is that the key is this register's.
var trust = []sale.KeyState{sale.KeyStateActive, sale.KeyStateUnverified, sale.KeyStatePending, sale.KeyStateRefused}

// Holds finds a key among those of one register.
func (r *Ring) Holds(register sale.RegisterID, key secret.Text) (KeyInfo, bool) {
	return r.state.Load().holds(register, key)
}

func (s *state) holds(register sale.RegisterID, key secret.Text) (found KeyInfo, there bool) {
	for _, k := range s.keys[register] {
		stored, err := s.open(k)
		same := err == nil && stored.Equal(key)
		stored.Wipe()
		if same {
			return s.info(k), true
		}
	}
	return KeyInfo{}, false
}

// Sealable says why a new key of this register should not be stored now, nil where
// it can be: without a KEK it could not, and where what the register has already
// stays shut, the KEK may be the wrong one.
func (r *Ring) Sealable(register sale.RegisterID) error {
	now := r.state.Load()
	if now.vault == nil {
		return ErrNoKEK
	}
	for _, k := range now.keys[register] {
		if err := now.opens(k); err != nil {
			return err
		}
	}
	return nil
}

// OpensNothing reports whether there are keys, and none of them opens: the KEK is
// another one than any that was in use here.
func (r *Ring) OpensNothing() bool {
	now := r.state.Load()
	shut := false
	for _, keys := range now.keys {
		for _, k := range keys {
			if now.opens(k) == nil {
				return false
			}
			shut = true
		}
	}
	return shut
}

// ForgetKeys removes every version of a name's keys.
func (r *Ring) ForgetKeys(ctx context.Context, register sale.RegisterID, by string) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	return r.settle(ctx, fmt.Sprintf("forget keys of %q", string(register)), r.rows.ForgetKeys(ctx, register, by))
}
