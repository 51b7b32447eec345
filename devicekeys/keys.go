package devicekeys

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"edgegw/sale"
	"edgegw/secret"
	"edgegw/wording"
)

// What the two kinds of keys begin with (OPENFISKAL.md, credentials).
const (
	keyPrefix      = "ofk_reg_"
	platformPrefix = "ofk_platform_"
)

// mostKey is the longest key, in bytes.
const mostKey = 512

var keyFamily = regexp.MustCompile(`^ofk_[a-z]{1,16}_`)

// CheckRegisterKey refuses what cannot be a register key, before it is stored or
// sent. Its errors name what is wrong and never show the key. Whether it is a
// live or a test key, and whether OpenFiskal takes it, is the caller's question.
func CheckRegisterKey(key secret.Text) error { return checkKey(key, "register key", keyPrefix) }

// CheckPlatformKey is the same for a platform key.
func CheckPlatformKey(key secret.Text) error { return checkKey(key, "platform key", platformPrefix) }

func checkKey(key secret.Text, what, prefix string) error {
	b := key.Reveal()
	switch {
	case len(b) == 0:
		return wording.Err(nil, "the %s is empty", wording.Word(what))
	case strings.HasPrefix(string(b), "\xef\xbb\xbf"):
		return wording.Err(nil, "the %s begins with a byte order mark: save the file as UTF-8 without BOM", wording.Word(what))
	}
	for _, c := range b {
		switch {
		case c == '\n' || c == '\r':
			return wording.Err(nil, "the %s contains a line end", wording.Word(what))
		case c == ' ' || c == '\t':
			return wording.Err(nil, "the %s contains a space", wording.Word(what))
		case c < 0x20 || c == 0x7f:
			return wording.Err(nil, "the %s contains a control character", wording.Word(what))
		case c > 0x7e:
			return wording.Err(nil, "the %s contains a character that is not ASCII", wording.Word(what))
		}
	}
	if family := keyFamily.Find(b); !strings.HasPrefix(string(b), prefix) {
		if family != nil {
			return wording.Err(nil, "this is a key of the kind %s, but what is needed is a %s, which begins with %s", family, wording.Word(what), prefix)
		}
		return wording.Err(nil, "a %s begins with %s", wording.Word(what), prefix)
	}
	if len(b) <= len(prefix) || len(b) > mostKey {
		return wording.Err(nil, "the %s must be %d to %d characters long", wording.Word(what), len(prefix)+1, mostKey)
	}
	return nil
}

// KeyInfo is what may be shown of a register key.
type KeyInfo struct {
	Register sale.RegisterID
	Version  int64
	State    sale.KeyState
	AddedAt  time.Time

	// LastFour are its last four characters, so that a person can compare it with
	// OpenFiskal's own list, which masks keys in the same way. A hash would not
	// compare with anything there, and would let a weak key be guessed offline.
	// Empty where the key is too short to give four away, or cannot be opened.
	LastFour string
}

// showFrom is the length from which four characters give little away.
const showFrom = len(keyPrefix) + 16

// SetKey seals a key as the newest version of its register. state is active,
// which takes the place of what is there; unverified, which is sent with where
// nothing is active; or pending, which waits until SetKeyState promotes it. The
// vault's own names take what belongs to them: sale.PlatformKey a platform key,
// sale.BundleKey an identity.
func (r *Ring) SetKey(ctx context.Context, register sale.RegisterID, key secret.Text, state sale.KeyState, by string) (KeyInfo, error) {
	if err := checkFor(register, key); err != nil {
		return KeyInfo{}, fmt.Errorf("set key of register %q: %w", string(register), err)
	}
	return r.setKey(ctx, register, key, state, by)
}

// KeepKey seals a key that OpenFiskal has just made, as pending, whatever it looks
// like: it is given once, and the one before is dead.
func (r *Ring) KeepKey(ctx context.Context, register sale.RegisterID, key secret.Text, by string) (KeyInfo, error) {
	return r.setKey(ctx, register, key, sale.KeyStatePending, by)
}

func (r *Ring) setKey(ctx context.Context, register sale.RegisterID, key secret.Text, state sale.KeyState, by string) (KeyInfo, error) {
	act := fmt.Sprintf("set key of register %q", string(register))
	r.changing.Lock()
	defer r.changing.Unlock()
	now := r.state.Load()
	k, err := now.seal(register, key, state, r.now())
	if err != nil {
		return KeyInfo{}, fmt.Errorf("%s: %w", act, err)
	}
	if err := r.settle(ctx, act, r.rows.PutKey(ctx, k, by)); err != nil {
		return KeyInfo{}, err
	}
	return now.info(k), nil
}

// seal makes the next version of a register's key.
func (s *state) seal(register sale.RegisterID, key secret.Text, ks sale.KeyState, now time.Time) (sale.SealedKey, error) {
	if ks != sale.KeyStateActive && ks != sale.KeyStateUnverified && ks != sale.KeyStatePending {
		return sale.SealedKey{}, fmt.Errorf("a new key cannot be %q", string(ks))
	}
	k := sale.SealedKey{Register: register, Version: s.last[register] + 1, State: ks, AddedAt: now.UTC()}
	var err error
	k.Sealed, err = s.vault.seal(register, k.Version, key)
	return k, err
}

// checkFor refuses what cannot be the key of that name.
func checkFor(register sale.RegisterID, key secret.Text) error {
	switch {
	case register == sale.BundleKey:
		return nil // made here
	case register == sale.PlatformKey:
		return CheckPlatformKey(key)
	case !register.Valid():
		return errors.New("the register id must be 1 to 128 of A-Z, a-z, 0-9, _ and -")
	}
	return CheckRegisterKey(key)
}

// SetKeyState records what OpenFiskal said of a version. Active retires the older
// ones: what nobody has confirmed destroys nothing.
func (r *Ring) SetKeyState(ctx context.Context, register sale.RegisterID, version int64, state sale.KeyState, by string) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	return r.setKeyState(ctx, register, version, state, by)
}

// ChangeKeyState is SetKeyState for a version whose state is still was; otherwise
// ErrChanged: what was found out about it is of the past.
func (r *Ring) ChangeKeyState(ctx context.Context, register sale.RegisterID, version int64, was, state sale.KeyState, by string) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	if !r.isStill(register, version, was) {
		return fmt.Errorf("set state of key %d of register %q: %w", version, string(register), ErrChanged)
	}
	return r.setKeyState(ctx, register, version, state, by)
}

func (r *Ring) isStill(register sale.RegisterID, version int64, state sale.KeyState) bool {
	return slices.ContainsFunc(r.state.Load().keys[register], func(k sale.SealedKey) bool { return k.Version == version && k.State == state })
}

func (r *Ring) setKeyState(ctx context.Context, register sale.RegisterID, version int64, state sale.KeyState, by string) error {
	act := fmt.Sprintf("set state of key %d of register %q", version, string(register))
	list := r.state.Load().keys[register]
	i := slices.IndexFunc(list, func(k sale.SealedKey) bool { return k.Version == version })
	switch {
	case i < 0:
		return fmt.Errorf("%s: %w", act, sale.ErrNone)
	case state == sale.KeyStateRetired:
		return fmt.Errorf("%s: a key retires when a newer one takes its place", act)
	}
	err := r.rows.SetKeyState(ctx, register, version, state, by)
	if state == sale.KeyStateActive {
		// A crash in between leaves two in use; the newer one counts (inUse).
		for _, older := range list[i+1:] {
			if err == nil {
				err = r.rows.SetKeyState(ctx, register, older.Version, sale.KeyStateRetired, by)
			}
		}
	}
	return r.settle(ctx, act, err)
}

// DropKey forgets a version that was never in use: pending, or refused while it
// was.
func (r *Ring) DropKey(ctx context.Context, register sale.RegisterID, version int64, by string) error {
	act := fmt.Sprintf("drop key %d of register %q", version, string(register))
	r.changing.Lock()
	defer r.changing.Unlock()
	return r.settle(ctx, act, r.rows.DropKey(ctx, register, version, by))
}

// DropRefused is DropKey for a version that is still refused; otherwise ErrChanged.
func (r *Ring) DropRefused(ctx context.Context, register sale.RegisterID, version int64, by string) error {
	act := fmt.Sprintf("drop key %d of register %q", version, string(register))
	r.changing.Lock()
	defer r.changing.Unlock()
	if !r.isStill(register, version, sale.KeyStateRefused) {
		return fmt.Errorf("%s: %w", act, ErrChanged)
	}
	return r.settle(ctx, act, r.rows.DropKey(ctx, register, version, by))
}

// inUse picks the version to send with, and opens it: the newest that is active,
// else the newest that nobody could ask about, else the oldest that was refused.
// That one worked once, where any did, and a slow probe may find it well again; the
// newer ones were refused before they ever worked. One that stays shut comes after
// all that open. Without any the error is sale.ErrNone; where none opens, it is of
// the first. The caller owns the key.
func (s *state) inUse(list []sale.SealedKey) (sale.SealedKey, secret.Text, error) {
	var order []sale.SealedKey
	for _, wanted := range []sale.KeyState{sale.KeyStateActive, sale.KeyStateUnverified} {
		for _, k := range list {
			if k.State == wanted {
				order = append(order, k)
			}
		}
	}
	for _, k := range slices.Backward(list) {
		if k.State == sale.KeyStateRefused {
			order = append(order, k)
		}
	}
	var first sale.SealedKey
	err := error(sale.ErrNone)
	for i, k := range order {
		key, shut := s.open(k)
		if shut == nil {
			return k, key, nil
		}
		if i == 0 {
			first, err = k, shut
		}
	}
	return first, secret.Text{}, err
}

// Credential opens the key to send with, anew for each request, so that a
// rotated key needs no restart. Without one it wraps sale.ErrNone; ErrNoKEK,
// ErrWrongKEK and ErrSealBroken say that there is one that cannot be opened. The
// caller owns the result and should wipe it.
func (r *Ring) Credential(ctx context.Context, register sale.RegisterID) (secret.Text, error) {
	err := ctx.Err()
	var key secret.Text
	if err == nil {
		now := r.state.Load()
		_, key, err = now.inUse(now.keys[register])
	}
	if err != nil {
		return secret.Text{}, fmt.Errorf("open key of register %q: %w", string(register), err)
	}
	return key, nil
}

// Pending opens the key that waits to take the place of the one in use, for a
// probe; without one it wraps sale.ErrNone.
func (r *Ring) Pending(ctx context.Context, register sale.RegisterID) (secret.Text, int64, error) {
	now := r.state.Load()
	i := slices.IndexFunc(now.keys[register], func(k sale.SealedKey) bool { return k.State == sale.KeyStatePending })
	if i < 0 {
		return secret.Text{}, 0, fmt.Errorf("open pending key of register %q: %w", string(register), sale.ErrNone)
	}
	k := now.keys[register][i]
	key, err := now.opened(ctx, register, k)
	return key, k.Version, err
}

func (s *state) opened(ctx context.Context, register sale.RegisterID, k sale.SealedKey) (secret.Text, error) {
	err := ctx.Err()
	var key secret.Text
	if err == nil {
		key, err = s.open(k)
	}
	if err != nil {
		return secret.Text{}, fmt.Errorf("open key of register %q: %w", string(register), err)
	}
	return key, nil
}

// Version opens one version, whatever its state, for a probe.
func (r *Ring) Version(ctx context.Context, register sale.RegisterID, version int64) (secret.Text, error) {
	now := r.state.Load()
	i := slices.IndexFunc(now.keys[register], func(k sale.SealedKey) bool { return k.Version == version })
	if i < 0 {
		return secret.Text{}, fmt.Errorf("open key %d of register %q: %w", version, string(register), sale.ErrNone)
	}
	return now.opened(ctx, register, now.keys[register][i])
}

// Registers lists the registers that have keys; the vault's own names are none.
func (r *Ring) Registers() []sale.RegisterID {
	all := slices.Sorted(maps.Keys(r.state.Load().keys))
	return slices.DeleteFunc(all, func(id sale.RegisterID) bool { return !id.Valid() })
}

// KeyInfo describes the key in use, or the pending one where none is.
func (r *Ring) KeyInfo(register sale.RegisterID) (KeyInfo, error) {
	now := r.state.Load()
	list := now.keys[register]
	k, key, err := now.inUse(list)
	key.Wipe()
	switch {
	case !errors.Is(err, sale.ErrNone):
		return now.info(k), nil
	case len(list) > 0:
		return now.info(list[0]), nil
	}
	return KeyInfo{}, fmt.Errorf("find key of register %q: %w", string(register), sale.ErrNone)
}

// KeyVersions describes all versions of a register that are not retired, the
// newest first.
func (r *Ring) KeyVersions(register sale.RegisterID) []KeyInfo {
	now := r.state.Load()
	list := []KeyInfo{}
	for _, k := range now.keys[register] {
		list = append(list, now.info(k))
	}
	return list
}

func (s *state) info(k sale.SealedKey) KeyInfo {
	i := KeyInfo{Register: k.Register, Version: k.Version, State: k.State, AddedAt: k.AddedAt}
	if key, err := s.open(k); err == nil {
		if b := key.Reveal(); len(b) >= showFrom {
			i.LastFour = string(b[len(b)-4:])
		}
		key.Wipe()
	}
	return i
}

// opens says why a version stays shut, nil where it opens.
func (s *state) opens(k sale.SealedKey) error {
	key, err := s.open(k)
	key.Wipe()
	return err
}

// Opens reports whether a version is there and can be opened.
func (r *Ring) Opens(register sale.RegisterID, version int64) bool {
	now := r.state.Load()
	return slices.ContainsFunc(now.keys[register], func(k sale.SealedKey) bool { return k.Version == version && now.opens(k) == nil })
}

// KeyProblem is a stored key that cannot be opened.
type KeyProblem struct {
	Register sale.RegisterID
	Version  int64
	Err      error // ErrNoKEK, ErrWrongKEK or ErrSealBroken
}

// Check opens every seal and lists those that stay shut, by register and
// version: the gateway shows them as conditions.
func (r *Ring) Check() []KeyProblem {
	now := r.state.Load()
	list := []KeyProblem{}
	for _, keys := range now.keys {
		for _, k := range keys {
			if err := now.opens(k); err != nil {
				list = append(list, KeyProblem{Register: k.Register, Version: k.Version, Err: err})
			}
		}
	}
	slices.SortFunc(list, func(a, b KeyProblem) int {
		if a.Register != b.Register {
			return strings.Compare(string(a.Register), string(b.Register))
		}
		return int(a.Version - b.Version)
	})
	return list
}
