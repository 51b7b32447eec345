package gateway

import (
	"context"
	"errors"
	"strings"

	"edgegw/admin"
	"edgegw/devicekeys"
	"edgegw/fiscal"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/wording"
)

// AddDevice makes a device. A key that came along is checked first: one that
// OpenFiskal refuses stores nothing (ruling 17).
func (k *control) AddDevice(ctx context.Context, a admin.AddDevice, by string) (admin.Credentials, error) {
	n := devicekeys.NewDevice{ID: a.DeviceID, Register: a.RegisterID, Kind: a.Kind, Label: a.Label, NoSecret: a.Cert}
	if err := n.Check(); err != nil {
		return admin.Credentials{}, refusal(err)
	}
	if _, err := k.ring.Get(a.DeviceID); err == nil {
		return admin.Credentials{}, admin.Refuse("exists", wording.Of("there is a device %s already", a.DeviceID),
			wording.Of("Choose another id, or, for new hardware in its place: edgegw device replace %s", a.DeviceID))
	}
	var checked checkedKey
	if !a.Key.Empty() {
		end, err := k.oneKeyAtATime(a.RegisterID)
		if err != nil {
			return admin.Credentials{}, err
		}
		defer end()
		if checked, err = k.checkNewKey(ctx, a.RegisterID, a.Key, a.Unverified); err != nil {
			return admin.Credentials{}, err
		}
	}
	return k.addDevice(ctx, n, a.Key, checked, by)
}

// addDevice stores a device, with a key that was checked, if one came: both or
// none.
func (k *control) addDevice(ctx context.Context, n devicekeys.NewDevice, key secret.Text, checked checkedKey, by string) (admin.Credentials, error) {
	info, known := k.ring.Holds(n.Register, key)
	var password secret.Text
	var err error
	switch {
	case key.Empty() || known:
		if known && checked.state == sale.KeyStateActive && info.State != sale.KeyStateActive {
			err = k.ring.SetKeyState(context.WithoutCancel(ctx), n.Register, info.Version, sale.KeyStateActive, by)
		}
		if err == nil {
			password, err = k.ring.Add(ctx, n, by)
		}
	default:
		checked = k.beside(n.Register, checked)
		password, err = k.ring.AddWithKey(ctx, n, key, checked.state, by)
	}
	if err != nil {
		return admin.Credentials{}, refusal(err)
	}
	c := k.loginOf(n.ID)
	c.Password = string(password.Reveal())
	c.Note(checked.notice)
	if c.Key == "missing" {
		c.Note(wording.Of("This register has no key yet: sales are taken and wait. Give it one: %s", k.setKeyCommand(n.ID)))
	}
	if n.NoSecret {
		record := context.WithoutCancel(ctx)
		if c.Certificate, err = k.certify(record, n.ID, by); err != nil {
			return admin.Credentials{}, errors.Join(err, k.ring.Remove(record, n.ID, by)) // it could never log in
		}
	}
	if !key.Empty() {
		k.newKey(n.Register)
	}
	return c, nil
}

// SetKey gives a register a new key: the register of a device, or one that no
// device has any more while its sales still wait.
func (k *control) SetKey(ctx context.Context, s admin.SetKey, by string) (admin.KeyResult, error) {
	register, err := k.registerOf(ctx, admin.KeyOf{DeviceID: s.DeviceID, RegisterID: s.RegisterID})
	if err != nil {
		return admin.KeyResult{}, err
	}
	if err := k.mayBeKeyOf(register, s.Key); err != nil {
		return admin.KeyResult{}, err
	}
	end, err := k.oneKeyAtATime(register)
	if err != nil {
		return admin.KeyResult{}, err
	}
	defer end()
	ask := func(ctx context.Context) (checkedKey, error) { return k.askAbout(ctx, register, s.Key, s.Unverified) }
	return k.setKey(ctx, register, s.Key, ask, by)
}

// setKey stores a key beside the one in use before anybody is asked about it, so
// that a crash loses neither, and then puts it to use, or forgets it where it is
// refused.
func (k *control) setKey(ctx context.Context, register sale.RegisterID, key secret.Text, ask func(context.Context) (checkedKey, error), by string) (admin.KeyResult, error) {
	info, known := k.ring.Holds(register, key)
	if !known {
		var err error
		if info, err = k.ring.SetKey(ctx, register, key, sale.KeyStatePending, by); err != nil {
			return admin.KeyResult{}, refusal(err)
		}
	}
	checked, err := ask(ctx)
	record := context.WithoutCancel(ctx) // what OpenFiskal said counts, whatever becomes of the person's patience
	if err != nil {
		r := (*admin.Refusal)(nil)
		switch {
		case !errors.As(err, &r):
		case !known:
			err = also(err, k.ring.DropKey(record, register, info.Version, by))
		case inPlace(info.State):
			k.verify(record, info) // the one that is sent with is refused: nobody may think that all is well
		}
		return admin.KeyResult{}, err
	}
	if now, there := k.ring.Holds(register, key); there {
		info = now // what was found out about it meanwhile counts
	}
	if !inPlace(info.State) {
		checked = k.beside(register, checked)
	} else if checked.state != sale.KeyStateActive {
		checked.state = info.State // nobody could say more of it
	}
	if known {
		checked.notice = wording.Join(wording.Of(storedBefore), checked.notice)
	}
	if checked.state != info.State {
		if err := k.ring.SetKeyState(record, register, info.Version, checked.state, by); err != nil {
			return admin.KeyResult{}, err
		}
	}
	if checked.state == sale.KeyStateActive {
		if err := k.dropShut(record, register, by); err != nil {
			return admin.KeyResult{}, err
		}
	}
	k.newKey(register)
	result := admin.KeyResult{RegisterID: register, Key: string(checked.state)}
	result.Note(checked.notice)
	return result, nil
}

// dropShut forgets what was never in use and stays shut, such as a key that was
// sealed with a key-encryption key of a day: the right one was just entered.
func (k *control) dropShut(ctx context.Context, register sale.RegisterID, by string) error {
	for _, i := range k.ring.KeyVersions(register) {
		if (i.State == sale.KeyStatePending || i.State == sale.KeyStateRefused) && !k.ring.Opens(register, i.Version) {
			if err := k.ring.DropKey(ctx, register, i.Version, by); err != nil {
				return err
			}
		}
	}
	return nil
}

// also keeps a refusal one where nothing else went wrong.
func also(err, more error) error {
	if more == nil {
		return err
	}
	return errors.Join(err, more)
}

const storedBefore = "It was stored before."

// oneKeyAtATime keeps a register's keys in the order in which they came: one that
// is entered while OpenFiskal makes another could be taken for its answer.
func (k *control) oneKeyAtATime(r sale.RegisterID) (end func(), err error) {
	if !k.requests.begin(r) {
		return nil, admin.Refuse("conflict", wording.Of("a key of register %s is just being asked for, or stored", r), wording.Of("Wait for it"))
	}
	return func() { k.requests.end(r) }, nil
}

// registerOf finds a register that this site knows.
func (k *control) registerOf(ctx context.Context, of admin.KeyOf) (sale.RegisterID, error) {
	if of.DeviceID != "" {
		d, err := k.ring.Get(of.DeviceID)
		if err != nil {
			return "", unknown(of.DeviceID)
		}
		return d.Register, nil
	}
	known, err := k.db.HasRegister(ctx, of.RegisterID)
	if err == nil && !known {
		err = admin.Refuse("not_found", wording.Of("there is no register %q at this site", string(of.RegisterID)),
			wording.Of("See the devices and their registers: edgegw device list"))
	}
	return of.RegisterID, err
}

// checkedKey is what OpenFiskal said of a key.
type checkedKey struct {
	state   sale.KeyState
	notice  wording.Sentence
	offline bool // the uplink is to blame
}

// beside keeps a key that works in use where nobody could ask whether the new
// one is right (CONTRACT.md section 4).
func (k *control) beside(r sale.RegisterID, c checkedKey) checkedKey {
	if c.state == sale.KeyStateUnverified && k.works(r) {
		c.state = sale.KeyStatePending
		c.notice = wording.Join(c.notice, wording.Of("The key in use stays until the new one has been confirmed."))
	}
	return c
}

// inPlace reports whether a key is sent with, or would be if nothing better were
// there.
func inPlace(s sale.KeyState) bool {
	return s == sale.KeyStateActive || s == sale.KeyStateUnverified
}

// works reports whether the register has a key that OpenFiskal confirmed, and
// has not refused since.
func (k *control) works(r sale.RegisterID) bool {
	info, err := k.ring.KeyInfo(r)
	return err == nil && info.State == sale.KeyStateActive && k.ring.Opens(r, info.Version) // one that stays shut works for nobody
}

// newKey lets a queue go on that waited for a key.
func (k *control) newKey(r sale.RegisterID) {
	if k.running != nil {
		k.relay.Wake(r)
		k.running.keys.ask("")
	}
}

// mayBeKeyOf refuses, by name, what cannot be the register's key.
func (k *control) mayBeKeyOf(r sale.RegisterID, key secret.Text) error {
	if k.serverSide() {
		return &admin.Refusal{Code: "invalid", Message: "this site sends with its platform key (openfiskal.topology: server_side), and takes no register keys",
			Remedy: "Enter the platform key: edgegw key set --platform --key-stdin"}
	}
	if err := devicekeys.CheckRegisterKey(key); err != nil {
		return refusal(err)
	}
	if err := fiscal.KeyFits(hostOf(k.config.OpenFiskal.BaseURL), key); err != nil {
		return admin.Refuse("wrong_host", wording.From(err), wording.Of("Check openfiskal.base_url, or ask the back office for the key of this register there"))
	}
	if owner, there := k.ring.Elsewhere(r, key); there && owner.State == sale.KeyStateActive {
		return admin.Refuse("key_of_other_register", wording.Of("this is the key of %s, not of register %s: nothing was stored", k.nameOf(owner.Register), r),
			wording.Of("Ask the back office for the key of register %s", r))
	}
	return nil
}

// elsewhere refuses, by name, a key that nobody could ask about and that is at
// another register of this site already: a key opens one. Once it was refused
// there, it does not count.
func (k *control) elsewhere(r sale.RegisterID, key secret.Text) error {
	owner, there := k.ring.Elsewhere(r, key)
	if here, _ := k.ring.Holds(r, key); !there || here.State == sale.KeyStateActive || owner.State == sale.KeyStateRefused {
		return nil
	}
	return admin.Refuse("key_of_other_register", wording.Of("this key is stored for %s already, and OpenFiskal could not be asked which of the two it belongs to: nothing was stored", k.nameOf(owner.Register)),
		wording.Of("Compare the two with the back office's list; once the uplink is back, enter it again"))
}

// nameOf names a register with its devices.
func (k *control) nameOf(r sale.RegisterID) wording.Sentence {
	var names []string
	for _, d := range k.ring.List() {
		if d.Register == r {
			names = append(names, string(d.ID))
		}
	}
	if len(names) == 0 {
		return wording.Of("register %s", r)
	}
	return wording.Of("register %s (%s)", r, strings.Join(names, ", "))
}

// checkNewKey is what can be known of a key before it is stored.
func (k *control) checkNewKey(ctx context.Context, r sale.RegisterID, key secret.Text, unverified bool) (checkedKey, error) {
	if err := k.mayBeKeyOf(r, key); err != nil {
		return checkedKey{}, err
	}
	return k.askAbout(ctx, r, key, unverified)
}

// askAbout asks OpenFiskal, read-only, whether the key opens the register.
func (k *control) askAbout(ctx context.Context, r sale.RegisterID, key secret.Text, unverified bool) (checkedKey, error) {
	c, err := k.probeNew(ctx, r, key, unverified)
	if err == nil && c.state == sale.KeyStateUnverified && !unverified {
		err = k.elsewhere(r, key)
	}
	return c, err
}

func (k *control) probeNew(ctx context.Context, r sale.RegisterID, key secret.Text, unverified bool) (checkedKey, error) {
	err := k.fiscal.Probe(ctx, r, key)
	var p *sale.Problem
	switch {
	case err == nil:
		return checkedKey{state: sale.KeyStateActive}, nil
	case errors.Is(err, fiscal.ErrNoUnit):
		return checkedKey{state: sale.KeyStatePending, notice: wording.Of(noUnitNotice)}, nil
	case !errors.As(err, &p):
		return checkedKey{}, err
	case p.Code == fiscal.CodeOtherRegister:
		return checkedKey{}, admin.Refuse("key_of_other_register", wording.Of("OpenFiskal says that %s: nothing was stored", wording.Quote(p.Detail)),
			wording.Of("Ask the back office for the key of register %s", r))
	case unverified:
		return checkedKey{state: sale.KeyStateUnverified, notice: wording.Of("OpenFiskal did not confirm this key (%s); it was stored because you said so.", problemWords(p))}, nil
	case p.Class == sale.KeyRefused || p.Class == sale.RegisterUnknown || p.Class == sale.Poison:
		return checkedKey{}, admin.Refuse("key_refused", wording.Of("OpenFiskal refuses this key for register %s: %s", r, problemWords(p)),
			wording.Of("Nothing was stored. Check the register id and the key, or store it all the same with --unverified"))
	}
	return checkedKey{state: sale.KeyStateUnverified, notice: wording.Of("OpenFiskal could not be asked (%s): the key is stored and will be checked when it can be.", problemWords(p)),
		offline: p.Class == sale.Uplink}, nil
}

const noUnitNotice = "The key is right, but OpenFiskal has no active fiscal unit for the register yet: sales are taken and wait for it, and the key is put to use when it is there."
