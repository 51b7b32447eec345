package gateway

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"edgegw/admin"
	"edgegw/config"
	"edgegw/devicekeys"
	"edgegw/fiscal"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/wording"
)

// serverSide reports whether the operator chose the server-side topology for
// this site: one platform key for all registers (CONTRACT.md section 4).
func (k *control) serverSide() bool { return k.config.OpenFiskal.Topology == config.ServerSide }

// actsFor is the organization of the site's platform key; "" without one.
func (k *control) actsFor() string {
	if k.serverSide() {
		return k.config.OpenFiskal.Organization
	}
	return ""
}

// keyName is under which name the vault has what opens a register.
func (k *control) keyName(r sale.RegisterID) sale.RegisterID {
	if k.serverSide() {
		return sale.PlatformKey
	}
	return r
}

// keyNames are the names in the vault of all that the site sends with.
func (k *control) keyNames() []sale.RegisterID {
	if k.serverSide() {
		return []sale.RegisterID{sale.PlatformKey}
	}
	return k.ring.Registers()
}

// credentials gives OpenFiskal's client the key of a register, whichever it is.
type credentials struct{ k *control }

func (c credentials) Credential(ctx context.Context, r sale.RegisterID) (secret.Text, error) {
	return c.k.ring.Credential(ctx, c.k.keyName(r))
}

// wakeFor lets the queues go on that a key opens.
func (k *control) wakeFor(ctx context.Context, r sale.RegisterID) {
	if r != sale.PlatformKey {
		k.relay.Wake(r)
		return
	}
	k.wakeAll(ctx)
}

// askPlatform asks about a platform key with the site's registers, one after the
// other, until one says yes. That OpenFiskal does not know the key says one answer
// (401) as well as all of them; a register that it does not know, or that is not
// the key's to touch, says nothing of the others.
func (k *control) askPlatform(ctx context.Context, key secret.Text) verdict {
	all := k.sending(ctx)
	v, forbidden, unknown := keyUnknown, 0, 0
	for _, r := range all {
		err := k.fiscal.Probe(ctx, r, key)
		var p *sale.Problem
		switch {
		case err == nil || errors.Is(err, fiscal.ErrNoUnit):
			return keyConfirmed
		case !errors.As(err, &p) || p.Class == sale.Uplink:
			return keyUnknown
		case p.Class == sale.KeyRefused && p.Status == 0:
			return keyShut // it may not be sent to this host at all
		case p.Class == sale.KeyRefused && p.Status == http.StatusUnauthorized:
			return keyDenied
		case p.Class == sale.KeyRefused:
			forbidden++
		case p.Class == sale.RegisterUnknown:
			unknown++
		}
		v = keyOpen
	}
	if forbidden > 0 && forbidden+unknown == len(all) {
		return keyDenied
	}
	return v
}

// setKeyCommand is how a person enters the key that a device's sales need.
func (k *control) setKeyCommand(d sale.DeviceID) wording.Sentence {
	if k.serverSide() {
		return enterPlatformKey
	}
	return enterKeyOf(d)
}

// sending gives the registers that devices sell on, or that something waits for.
func (k *control) sending(ctx context.Context) (all []sale.RegisterID) {
	for _, d := range k.ring.List() {
		all = append(all, d.Register)
	}
	queues, err := k.db.Queues(ctx)
	if err != nil {
		k.log.Error("the queues cannot be read", "cause", err)
	}
	for _, q := range queues {
		if q.Waiting > 0 {
			all = append(all, q.Register)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// SetPlatformKey stores the site's platform key. It goes the way of a register
// key: stored beside the one in use, asked about, and put to use.
func (k *control) SetPlatformKey(ctx context.Context, key secret.Text, by string) (admin.KeyResult, error) {
	if !k.serverSide() {
		return admin.KeyResult{}, &admin.Refusal{Code: "invalid", Message: "each register of this site has a key of its own (openfiskal.topology: device_direct), and no platform key is kept",
			Remedy: "A platform key opens every register of its organization, and whoever steals the box has it. To keep one all the same, set openfiskal.topology: server_side and openfiskal.organization"}
	}
	if err := devicekeys.CheckPlatformKey(key); err != nil {
		return admin.KeyResult{}, refusal(err)
	}
	if err := fiscal.KeyFits(hostOf(k.config.OpenFiskal.BaseURL), key); err != nil {
		return admin.KeyResult{}, &admin.Refusal{Code: "wrong_host", Message: err.Error(), Remedy: "Check openfiskal.base_url, or take the platform key of that host"}
	}
	end, err := k.oneKeyAtATime(sale.PlatformKey)
	if err != nil {
		return admin.KeyResult{}, err
	}
	defer end()
	info, known := k.ring.Holds(sale.PlatformKey, key)
	if !known {
		if info, err = k.ring.SetKey(ctx, sale.PlatformKey, key, sale.KeyStatePending, by); err != nil {
			return admin.KeyResult{}, refusal(err)
		}
	}
	result, err := k.judgePlatformKey(ctx, info, known, by)
	if err == nil && k.running != nil {
		k.wakeFor(ctx, sale.PlatformKey)
		k.running.keys.ask("")
	}
	return result, err
}

// ForgetPlatformKey removes the platform key of a site that sends with register
// keys again: a thief would still have it.
func (k *control) ForgetPlatformKey(ctx context.Context, by string) error {
	if k.serverSide() {
		return &admin.Refusal{Code: "invalid", Message: "this site sends with its platform key (openfiskal.topology: server_side)",
			Remedy: "Set openfiskal.topology: device_direct first; or enter another platform key: " + platformKeyCommand}
	}
	if len(k.ring.KeyVersions(sale.PlatformKey)) == 0 {
		return &admin.Refusal{Code: "not_found", Message: "there is no platform key on this box", Remedy: "Nothing is to be done"}
	}
	return k.ring.ForgetKeys(ctx, sale.PlatformKey, by)
}

func (k *control) judgePlatformKey(ctx context.Context, info devicekeys.KeyInfo, known bool, by string) (admin.KeyResult, error) {
	record := context.WithoutCancel(ctx)
	state, notice := sale.KeyStateActive, wording.Sentence{}
	found := k.ask(ctx, info)
	if now, err := k.ring.KeyInfo(sale.PlatformKey); err == nil && now.Version == info.Version {
		info = now // what was found out about it meanwhile counts
	}
	switch found {
	case keyConfirmed:
	case keyDenied:
		refused := error(&admin.Refusal{Code: "key_refused", Message: "OpenFiskal refuses this platform key for organization " + k.config.OpenFiskal.Organization,
			Remedy: "Nothing was stored. Check the key and openfiskal.organization"})
		if !known {
			refused = also(refused, k.ring.DropKey(record, sale.PlatformKey, info.Version, by))
		} else if inPlace(info.State) {
			refused = also(refused, k.ring.SetKeyState(record, sale.PlatformKey, info.Version, sale.KeyStateRefused, by))
		}
		return admin.KeyResult{}, refused
	default:
		c := checkedKey{state: sale.KeyStateUnverified, notice: wording.Of("OpenFiskal could not be asked: the key is stored and will be checked when it can be.")}
		if found == keyOpen {
			c.notice = wording.Of("OpenFiskal answered, and confirmed the key for no register of this site: check the register ids and openfiskal.organization. The key is stored, and will be asked about again.")
		}
		if inPlace(info.State) {
			c.state = info.State // nobody could say more of it
		} else {
			c = k.beside(sale.PlatformKey, c)
		}
		state, notice = c.state, c.notice
	}
	if state != info.State {
		if err := k.ring.SetKeyState(record, sale.PlatformKey, info.Version, state, by); err != nil {
			return admin.KeyResult{}, err
		}
	}
	result := admin.KeyResult{RegisterID: sale.PlatformKey, Key: string(state)}
	result.Note(notice)
	return result, nil
}

// ForRotation lists every key that a thief of this box has, whether a device uses
// its register or not.
func (k *control) ForRotation(ctx context.Context) ([]admin.KeyToRotate, error) {
	queues, err := k.db.Queues(ctx)
	if err != nil {
		return nil, err
	}
	waiting := map[sale.RegisterID]int64{}
	for _, q := range queues {
		waiting[q.Register] = q.Waiting
	}
	list := []admin.KeyToRotate{}
	for _, r := range append(k.ring.Registers(), sale.PlatformKey) {
		for _, info := range k.ring.KeyVersions(r) {
			row := admin.KeyToRotate{RegisterID: r, DeviceIDs: []sale.DeviceID{}, Labels: []string{}, Key: string(info.State), AddedAt: info.AddedAt, Waiting: waiting[r]}
			if info.LastFour != "" {
				row.KeyHint = "…" + info.LastFour
			}
			for _, d := range k.ring.List() {
				if d.Register == r {
					row.DeviceIDs, row.Labels = append(row.DeviceIDs, d.ID), append(row.Labels, d.Label)
				}
			}
			list = append(list, row)
		}
	}
	return list, nil
}
