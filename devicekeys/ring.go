package devicekeys

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"edgegw/sale"
	"edgegw/secret"
	"edgegw/wording"
)

// Ring is the devices of a site and the keys of their registers. It keeps both
// in memory, because logins must not wait for a disk; keys stay sealed there.
type Ring struct {
	rows   Rows
	now    func() time.Time // what is written down
	hash   hashFunc
	nobody []byte // stands in for the hash of a device that is not there; no secret matches it

	changing sync.Mutex
	state    atomic.Pointer[state]
}

// state is one consistent view; it is replaced, never changed.
type state struct {
	devices map[sale.DeviceID]sale.Device
	certs   map[string]sale.Certificate          // by serial number; the valid and the revoked
	keys    map[sale.RegisterID][]sale.SealedKey // by version, the newest first
	last    map[sale.RegisterID]int64            // the highest version there ever was
	vault   *vault                               // nil without a KEK
	older   []*vault                             // open what was sealed before the KEK changed
}

// Open reads all rows. The zero KEK, or one that does not fit, is no error:
// devices can log in, Credential says why there is no key, and Check lists the
// registers concerned. Keys that are still sealed with an older KEK are opened
// with that one; Reseal ends this.
func Open(ctx context.Context, rows Rows, kek KEK, older ...KEK) (*Ring, error) {
	_, nobody, err := newSecret("")
	if err != nil {
		return nil, fmt.Errorf("open device keys: %w", err)
	}
	r := &Ring{rows: rows, now: time.Now, hash: keyedHash, nobody: nobody}
	r.state.Store(&state{})
	if err := r.UseKEK(kek, older...); err != nil {
		return nil, fmt.Errorf("open device keys: %w", err)
	}
	if err := r.Reload(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// UseClock sets what times are written down by, before the ring is shared.
func (r *Ring) UseClock(now func() time.Time) { r.now = now }

// Reload reads all rows again.
func (r *Ring) Reload(ctx context.Context) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	return r.reload(ctx)
}

func (r *Ring) reload(ctx context.Context) error {
	devices, err := r.rows.Devices(ctx)
	if err != nil {
		return fmt.Errorf("read devices: %w", err)
	}
	keys, err := r.rows.Keys(ctx)
	if err != nil {
		return fmt.Errorf("read register keys: %w", err)
	}
	certs, err := r.rows.Certificates(ctx)
	if err != nil {
		return fmt.Errorf("read certificates: %w", err)
	}
	now := r.state.Load()
	next := &state{certs: make(map[string]sale.Certificate, len(certs)), devices: make(map[sale.DeviceID]sale.Device, len(devices)), keys: map[sale.RegisterID][]sale.SealedKey{}, last: map[sale.RegisterID]int64{}, vault: now.vault, older: now.older}
	for _, d := range devices {
		next.devices[d.ID] = d
	}
	for _, c := range certs {
		next.certs[c.Serial] = c
	}
	for _, k := range keys {
		next.last[k.Register] = max(next.last[k.Register], k.Version)
		if k.State != sale.KeyStateRetired {
			next.keys[k.Register] = append(next.keys[k.Register], k)
		}
	}
	for _, list := range next.keys {
		slices.SortFunc(list, func(a, b sale.SealedKey) int { return cmp.Compare(b.Version, a.Version) })
	}
	r.state.Store(next)
	return nil
}

// settle ends a change. After an error nobody knows whether it was committed, so
// memory is read anew: a device whose removal did reach the disk must not log in.
func (r *Ring) settle(ctx context.Context, act string, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if readErr := r.reload(ctx); readErr != nil {
		err = errors.Join(err, readErr)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	return nil
}

// NewDevice is what a technician says of a device.
type NewDevice struct {
	ID       sale.DeviceID
	Register sale.RegisterID
	Kind     string // one of sale.DeviceKinds; "" is pump
	Label    string // for people, at most 100 characters
	NoSecret bool   // it logs in with certificates only
}

// Check refuses what cannot be a device, before anything is asked or stored.
func (n NewDevice) Check() error {
	switch {
	case !n.ID.Valid():
		return wording.Err(nil, "device id %q must be 1 to 63 of a-z, 0-9 and -, not begin with -, and not be %q", string(n.ID), string(sale.ReservedDevice))
	case !n.Register.Valid():
		return wording.Err(nil, "register id %q must be 1 to 128 of A-Z, a-z, 0-9, _ and -", string(n.Register))
	case sale.LooksLikeKey(string(n.Register)):
		return wording.Err(nil, "the register id looks like an API key (ofk_): a register id looks like reg_01HXYZ")
	case n.Kind != "" && !slices.Contains(sale.DeviceKinds, n.Kind):
		return wording.Err(nil, "kind %q must be one of %s", n.Kind, strings.Join(sale.DeviceKinds, ", "))
	case !utf8.ValidString(n.Label) || utf8.RuneCountInString(n.Label) > 100 || strings.ContainsFunc(n.Label, unicode.IsControl):
		return wording.Err(nil, "the label must be at most 100 characters of UTF-8 without control characters")
	}
	return nil
}

// Add makes a device and gives its secret, the only time it is seen. A device
// that is there already is ErrExists.
func (r *Ring) Add(ctx context.Context, n NewDevice, by string) (secret.Text, error) {
	return r.add(ctx, n, func(d sale.Device) error { return r.rows.AddDevice(ctx, d, by) })
}

// AddWithKey makes a device and stores a key of its register, both or none.
func (r *Ring) AddWithKey(ctx context.Context, n NewDevice, key secret.Text, state sale.KeyState, by string) (secret.Text, error) {
	if err := checkFor(n.Register, key); err != nil {
		return secret.Text{}, fmt.Errorf("add device %s: %w", n.ID, err)
	}
	return r.add(ctx, n, func(d sale.Device) error {
		k, err := r.state.Load().seal(n.Register, key, state, r.now())
		if err != nil {
			return err
		}
		return r.settle(ctx, "store key", r.rows.AddDeviceWithKey(ctx, d, k, by))
	})
}

func (r *Ring) add(ctx context.Context, n NewDevice, store func(sale.Device) error) (secret.Text, error) {
	if err := n.Check(); err != nil {
		return secret.Text{}, fmt.Errorf("add device: %w", err)
	}
	text, kept, err := newSecret(n.ID)
	if err != nil {
		return secret.Text{}, fmt.Errorf("add device %s: %w", n.ID, err)
	}
	if n.NoSecret {
		text.Wipe()
		text, kept = secret.Text{}, nil
	}
	d := sale.Device{ID: n.ID, Register: n.Register, Kind: cmp.Or(n.Kind, sale.DeviceKinds[0]), Label: n.Label, SecretHash: kept, CreatedAt: r.now().UTC()}
	r.changing.Lock()
	defer r.changing.Unlock()
	act := "add device " + string(n.ID)
	if _, there := r.state.Load().devices[n.ID]; there {
		return secret.Text{}, fmt.Errorf("%s: %w", act, ErrExists)
	}
	if err := store(d); err != nil {
		return secret.Text{}, r.settle(ctx, act, err)
	}
	r.remember(d)
	return text, nil
}

// remember puts a committed device into memory.
func (r *Ring) remember(d sale.Device) {
	next := *r.state.Load()
	next.devices = maps.Clone(next.devices)
	next.devices[d.ID] = d
	r.state.Store(&next)
}

// List gives all devices by their id, without what is kept of their secrets.
func (r *Ring) List() []sale.Device {
	devices := r.state.Load().devices
	list := make([]sale.Device, 0, len(devices))
	for _, d := range devices {
		d.SecretHash = nil
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b sale.Device) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// Get gives one device, without what is kept of its secret.
func (r *Ring) Get(id sale.DeviceID) (sale.Device, error) {
	d, ok := r.state.Load().devices[id]
	if !ok {
		return sale.Device{}, fmt.Errorf("find device %q: %w", string(id), sale.ErrNone)
	}
	d.SecretHash = nil
	return d, nil
}

// HasSecret reports whether a device may log in with a secret, and not only with
// a certificate.
func (r *Ring) HasSecret(id sale.DeviceID) bool {
	return len(r.state.Load().devices[id].SecretHash) > 0
}

// Describe changes what a device is called and what kind it is; the empty string
// leaves either as it is. It gives whether that changed anything.
func (r *Ring) Describe(ctx context.Context, id sale.DeviceID, kind, label, by string) (bool, error) {
	d, err := r.Get(id)
	if err != nil {
		return false, err
	}
	n := NewDevice{ID: id, Register: d.Register, Kind: cmp.Or(kind, d.Kind), Label: cmp.Or(label, d.Label)}
	if err := n.Check(); err != nil || n.Kind == d.Kind && n.Label == d.Label {
		return false, err
	}
	return true, r.update(ctx, id, "device described", by, func(d *sale.Device) { d.Kind, d.Label = n.Kind, n.Label })
}

// Disable refuses further logins of a device; to end its connection is the
// caller's part.
func (r *Ring) Disable(ctx context.Context, id sale.DeviceID, by string) error {
	return r.update(ctx, id, "device disabled", by, func(d *sale.Device) { d.Disabled = true })
}

// Enable ends Disable.
func (r *Ring) Enable(ctx context.Context, id sale.DeviceID, by string) error {
	return r.update(ctx, id, "device enabled", by, func(d *sale.Device) { d.Disabled = false })
}

// Password gives a device a new secret; the old one ends at once.
func (r *Ring) Password(ctx context.Context, id sale.DeviceID, by string) (secret.Text, error) {
	text, kept, err := newSecret(id)
	if err != nil {
		return secret.Text{}, fmt.Errorf("update device %q: %w", string(id), err)
	}
	if err := r.update(ctx, id, "device secret renewed", by, func(d *sale.Device) { d.SecretHash = kept }); err != nil {
		return secret.Text{}, err
	}
	return text, nil
}

// Replace is for new hardware in an old place: the same id and register, so that
// its queue, numbering and receipts go on, and a new secret, or with noSecret
// none. What the old hardware logged in with, certificates too, ends at once.
func (r *Ring) Replace(ctx context.Context, id sale.DeviceID, noSecret bool, by string) (secret.Text, error) {
	text, kept, err := newSecret(id)
	if err != nil {
		return secret.Text{}, fmt.Errorf("replace device %q: %w", string(id), err)
	}
	if noSecret {
		text.Wipe()
		text, kept = secret.Text{}, nil
	}
	r.changing.Lock()
	defer r.changing.Unlock()
	act := fmt.Sprintf("replace device %q", string(id))
	d, ok := r.state.Load().devices[id]
	if !ok {
		return secret.Text{}, fmt.Errorf("%s: %w", act, sale.ErrNone)
	}
	d.SecretHash = kept
	if err := r.settle(ctx, act, r.rows.ReplaceDevice(ctx, d, by)); err != nil {
		return secret.Text{}, err
	}
	return text, nil
}

// AddCertificate lists a certificate of a device, which lets it in from now on.
func (r *Ring) AddCertificate(ctx context.Context, id sale.DeviceID, cert *x509.Certificate, by string) (sale.Certificate, error) {
	c := sale.Certificate{Serial: serial(cert), Device: id, IssuedAt: r.now().UTC(), NotAfter: cert.NotAfter}
	r.changing.Lock()
	defer r.changing.Unlock()
	act := fmt.Sprintf("list certificate of %q", string(id))
	if _, ok := r.state.Load().devices[id]; !ok {
		return c, fmt.Errorf("%s: %w", act, sale.ErrNone)
	}
	return c, r.settle(ctx, act, r.rows.AddCertificate(ctx, c, by))
}

// Revoke ends one certificate of a device, or with an empty serial all of them.
func (r *Ring) Revoke(ctx context.Context, id sale.DeviceID, serial, by string) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	return r.settle(ctx, fmt.Sprintf("revoke certificates of %q", string(id)), r.rows.RevokeCertificates(ctx, id, serial, by))
}

// Certificates gives those of a device, the oldest first.
func (r *Ring) Certificates(id sale.DeviceID) []sale.Certificate {
	list := []sale.Certificate{}
	for _, c := range r.state.Load().certs {
		if c.Device == id {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b sale.Certificate) int {
		return cmp.Or(a.IssuedAt.Compare(b.IssuedAt), cmp.Compare(a.Serial, b.Serial))
	})
	return list
}

func (r *Ring) update(ctx context.Context, id sale.DeviceID, what, by string, change func(*sale.Device)) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	act := fmt.Sprintf("update device %q", string(id))
	d, ok := r.state.Load().devices[id]
	if !ok {
		return fmt.Errorf("%s: %w", act, sale.ErrNone)
	}
	change(&d)
	if err := r.rows.UpdateDevice(ctx, d, what, by); err != nil {
		return r.settle(ctx, act, err)
	}
	r.remember(d)
	return nil
}

// Remove forgets a device. The key of its register stays: calls may be waiting.
func (r *Ring) Remove(ctx context.Context, id sale.DeviceID, by string) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	act := fmt.Sprintf("remove device %q", string(id))
	if _, ok := r.state.Load().devices[id]; !ok {
		return fmt.Errorf("%s: %w", act, sale.ErrNone)
	}
	if err := r.rows.RemoveDevice(ctx, id, by); err != nil {
		return r.settle(ctx, act, err)
	}
	return r.settle(ctx, act, nil) // its certificates are gone, too
}
