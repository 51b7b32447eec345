package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"edgegw/admin"
	"edgegw/devicekeys"
	"edgegw/sale"
	"edgegw/secret"
)

// AddDevice makes a device. A key that came along is checked first: one that
// OpenFiskal refuses stores nothing (ruling 17).
func (k *control) AddDevice(ctx context.Context, a admin.AddDevice, by string) (admin.Credentials, error) {
	n := devicekeys.NewDevice{ID: a.DeviceID, Register: a.RegisterID, Kind: a.Kind, Label: a.Label}
	if err := n.Check(); err != nil {
		return admin.Credentials{}, refusal(err)
	}
	if _, err := k.ring.Get(a.DeviceID); err == nil {
		return admin.Credentials{}, &admin.Refusal{Code: "exists", Message: fmt.Sprintf("there is a device %s already", a.DeviceID),
			Remedy: "Choose another id, or remove it first: edgegw device remove " + string(a.DeviceID)}
	}
	var checked checkedKey
	if !a.Key.Empty() {
		var err error
		if checked, err = k.checkKey(ctx, a.RegisterID, a.Key, a.Unverified); err != nil {
			return admin.Credentials{}, err
		}
	}
	password, err := k.ring.Add(ctx, n, by)
	if err != nil {
		return admin.Credentials{}, refusal(err)
	}
	result := admin.KeyResult{}
	if !a.Key.Empty() {
		if result, err = k.storeKey(ctx, a.RegisterID, a.Key, checked, by); err != nil {
			// The secret is shown once: a device without it would be no use.
			return admin.Credentials{}, errors.Join(err, k.ring.Remove(ctx, a.DeviceID, by))
		}
	} else if result.Key, _ = k.keyState(a.RegisterID); result.Key == "missing" {
		result.Notice = "This register has no key yet: sales are taken and wait. Give it one: edgegw key set " + string(a.DeviceID) + " --key-stdin"
	}
	c := admin.Credentials{DeviceID: a.DeviceID, Username: string(a.DeviceID), Password: string(password.Reveal()), MQTTURL: k.MQTTURL(),
		Key: result.Key, Notice: result.Notice}
	if k.config.MQTT.CertFile == "" {
		c.CAFile = k.CAFile() // with the operator's certificate it is his own CA that devices trust
	}
	return c, nil
}

// SetKey gives a register a new key: the register of a device, or one that no
// device has any more while its sales still wait.
func (k *control) SetKey(ctx context.Context, s admin.SetKey, by string) (admin.KeyResult, error) {
	register := s.RegisterID
	if s.DeviceID != "" {
		d, err := k.ring.Get(s.DeviceID)
		if err != nil {
			return admin.KeyResult{}, unknown(s.DeviceID)
		}
		register = d.Register
	}
	known, err := k.db.HasRegister(ctx, register)
	if err != nil {
		return admin.KeyResult{}, err
	}
	if !known {
		return admin.KeyResult{}, &admin.Refusal{Code: "not_found", Message: fmt.Sprintf("there is no register %q at this site", string(register)),
			Remedy: "See the devices and their registers: edgegw device list"}
	}
	checked, err := k.checkKey(ctx, register, s.Key, s.Unverified)
	if err != nil {
		return admin.KeyResult{}, err
	}
	return k.storeKey(ctx, register, s.Key, checked, by)
}

// checkedKey is what OpenFiskal said of a key.
type checkedKey struct {
	state  sale.KeyState
	notice string
}

func (k *control) storeKey(ctx context.Context, r sale.RegisterID, key secret.Text, c checkedKey, by string) (admin.KeyResult, error) {
	if c.state == sale.KeyStateUnverified && k.works(r) {
		// Nobody could ask whether the new one is right, and the old one works:
		// it waits beside it (CONTRACT.md section 4).
		c.state = sale.KeyStatePending
		c.notice += " The key in use stays until the new one has been confirmed."
	}
	if _, err := k.ring.SetKey(ctx, r, key, c.state, by); err != nil {
		return admin.KeyResult{}, refusal(err)
	}
	if k.relay != nil {
		k.relay.Wake(r)
		k.running.keys.ask("")
	}
	return admin.KeyResult{RegisterID: r, Key: string(c.state), Notice: c.notice}, nil
}

// works reports whether the register has a key that OpenFiskal confirmed, and
// has not refused since.
func (k *control) works(r sale.RegisterID) bool {
	info, err := k.ring.KeyInfo(r)
	return err == nil && info.State == sale.KeyStateActive
}

// checkKey asks OpenFiskal, read-only, whether the key opens the register.
func (k *control) checkKey(ctx context.Context, r sale.RegisterID, key secret.Text, unverified bool) (checkedKey, error) {
	if err := devicekeys.CheckRegisterKey(key); err != nil {
		return checkedKey{}, refusal(err)
	}
	err := k.fiscal.Probe(ctx, r, key)
	var p *sale.Problem
	switch {
	case err == nil:
		return checkedKey{state: sale.KeyStateActive}, nil
	case !errors.As(err, &p):
		return checkedKey{}, err
	case unverified:
		return checkedKey{sale.KeyStateUnverified, "OpenFiskal did not confirm this key (" + p.Error() + "); it was stored because you said so."}, nil
	case p.Class == sale.KeyRefused || p.Class == sale.RegisterUnknown || p.Class == sale.Poison:
		return checkedKey{}, &admin.Refusal{Code: "key_refused", Message: fmt.Sprintf("OpenFiskal refuses this key for register %s: %s", r, p.Error()),
			Remedy: "Nothing was stored. Check the register id and the key, or store it all the same with --unverified"}
	}
	return checkedKey{sale.KeyStateUnverified, "OpenFiskal could not be asked (" + p.Error() + "): the key is stored and will be checked when it can be."}, nil
}

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

// verifyKeys asks OpenFiskal about keys that nobody could ask about when they
// were stored, about all keys of registers it has just refused, and, with all
// set, about refused ones as well: the one that is right takes its place. It
// gives true, and stops, where nobody can be asked.
func (g *Gateway) verifyKeys(ctx context.Context, all bool) (left bool) {
	suspect := g.keys.take()
	for _, r := range g.ring.Registers() {
		for _, info := range g.ring.KeyVersions(r) {
			open := info.State == sale.KeyStatePending || info.State == sale.KeyStateUnverified
			if !open && !suspect[r] && (!all || info.State != sale.KeyStateRefused) {
				continue
			}
			if !g.verify(ctx, info) {
				return true
			}
		}
	}
	return false
}

// verify gives false if nobody could be asked.
func (g *Gateway) verify(ctx context.Context, info devicekeys.KeyInfo) bool {
	key, err := g.ring.Version(ctx, info.Register, info.Version)
	if err != nil {
		return true // it cannot be opened, and the conditions say so
	}
	defer key.Wipe()
	err = g.fiscal.Probe(ctx, info.Register, key)
	state := sale.KeyStateActive
	var p *sale.Problem
	if errors.As(err, &p) && p.Class == sale.KeyRefused {
		state = sale.KeyStateRefused
	} else if err != nil {
		return false
	}
	if state == info.State {
		return true
	}
	if err := g.ring.SetKeyState(ctx, info.Register, info.Version, state, "edgegw"); err != nil {
		g.log.Error("the state of a register key cannot be stored", "register", info.Register, "cause", err)
		return false
	}
	g.log.Info("a register key was checked", "register", info.Register, "version", info.Version, "state", string(state))
	if state == sale.KeyStateActive {
		g.relay.Wake(info.Register)
	}
	return true
}
