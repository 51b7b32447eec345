package devicekeys

import (
	"errors"
	"testing"

	"edgegw/sale"
	"edgegw/secret"
)

// changed opens the rows as after a change of the KEK from hexKEK to otherKEK.
func changed(t *testing.T, rows *memory) *Ring {
	t.Helper()
	r, err := Open(ctx, rows, testKEK(t, otherKEK), testKEK(t, hexKEK))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A change of the KEK is one commit: cut anywhere, every key can be opened
// before it and after it, in this process and in the next.
func TestReseal(t *testing.T) {
	broken := errors.New("disk I/O error")
	for _, row := range []struct {
		name      string
		fail      error
		committed bool
	}{{"done", nil, true}, {"failed", broken, false}, {"failed after the commit", broken, true}} {
		t.Run(row.name, func(t *testing.T) {
			rows := newMemory()
			old := openRing(t, rows)
			setKey(t, old, "reg_a", liveKey, sale.KeyStateActive)
			setKey(t, old, "reg_b", liveKey, sale.KeyStateActive)
			setKey(t, old, "reg_b", nextKey, sale.KeyStatePending)
			setKey(t, old, sale.PlatformKey, "ofk_platform_live_CANARY0123456789", sale.KeyStateActive)
			r := changed(t, rows)
			if credential(t, r, "reg_a") != liveKey {
				t.Error("before it is sealed anew, another key comes out")
			}
			rows.fail, rows.committed = row.fail, row.committed
			if n, err := r.Reseal(ctx, rows, "tester"); !errors.Is(err, row.fail) || n != 4 {
				t.Fatal(n, err)
			}
			onDisk := otherKEK
			if !row.committed {
				onDisk = hexKEK
			}
			alone, err := Open(ctx, rows, testKEK(t, onDisk))
			if err != nil {
				t.Fatal(err)
			}
			for _, ring := range []*Ring{r, alone, changed(t, rows)} {
				if p := ring.Check(); len(p) != 0 {
					t.Errorf("shut: %+v", p)
				}
				if credential(t, ring, "reg_a") != liveKey {
					t.Error("another key came out")
				}
			}
			again := changed(t, rows)
			if n, err := again.Reseal(ctx, rows, "tester"); err != nil || (n == 0) != row.committed {
				t.Errorf("the next start seals %d anew, %v", n, err)
			}
		})
	}
}

// One damaged key must not keep all others under a KEK that is given up, and is
// not made worse.
func TestResealLeavesWhatItCannotOpen(t *testing.T) {
	rows := newMemory()
	old := openRing(t, rows)
	setKey(t, old, "reg_a", liveKey, sale.KeyStateActive)
	setKey(t, old, "reg_b", nextKey, sale.KeyStateActive)
	rows.keys["reg_b"][0].Sealed[sealHeader] ^= 1
	before := string(rows.keys["reg_b"][0].Sealed)
	r := changed(t, rows)
	if n, err := r.Reseal(ctx, rows, "tester"); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if string(rows.keys["reg_b"][0].Sealed) != before {
		t.Error("the damaged key was written")
	}
	if p := r.Check(); len(p) != 1 || p[0].Register != "reg_b" || !errors.Is(p[0].Err, ErrSealBroken) {
		t.Errorf("shut: %+v", p)
	}
}

// A wrong KEK changes nothing: the right one opens everything later.
func TestAWrongKEKOverwritesNothing(t *testing.T) {
	rows := newMemory()
	setKey(t, openRing(t, rows), "reg_a", liveKey, sale.KeyStateActive)
	before := string(rows.keys["reg_a"][0].Sealed)
	wrong, err := Open(ctx, rows, testKEK(t, otherKEK))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := wrong.Reseal(ctx, rows, "tester"); n != 0 || err != nil {
		t.Errorf("sealed %d anew, %v", n, err)
	}
	if _, err := wrong.Credential(ctx, "reg_a"); !errors.Is(err, ErrWrongKEK) {
		t.Errorf("a key came out, or %v", err)
	}
	if string(rows.keys["reg_a"][0].Sealed) != before {
		t.Error("the sealed key was written")
	}
	if err := wrong.UseKEK(testKEK(t, hexKEK)); err != nil {
		t.Fatal(err)
	}
	if credential(t, wrong, "reg_a") != liveKey {
		t.Error("another key came out")
	}
	none, err := Open(ctx, rows, KEK{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := none.Reseal(ctx, rows, "tester"); !errors.Is(err, ErrNoKEK) {
		t.Errorf("without a KEK: %v", err)
	}
}

func TestWhoHasAKey(t *testing.T) {
	r := openRing(t, newMemory())
	setKey(t, r, "reg_a", liveKey, sale.KeyStateActive)
	setKey(t, r, "reg_b", nextKey, sale.KeyStatePending)
	key := secret.FromString(nextKey)
	if i, ok := r.Holds("reg_b", key); !ok || i.Register != "reg_b" || i.State != sale.KeyStatePending {
		t.Errorf("it is %+v, %v", i, ok)
	}
	if i, ok := r.Holds("reg_a", key); ok {
		t.Errorf("it is another's: %+v", i)
	}
	if i, ok := r.Elsewhere("reg_b", key); ok {
		t.Errorf("it is nowhere else: %+v", i)
	}
	for register, state := range map[sale.RegisterID]sale.KeyState{"reg_c": sale.KeyStateUnverified, "reg_d": sale.KeyStateActive, "reg_e": sale.KeyStateUnverified} {
		setKey(t, r, register, nextKey, state)
	}
	if i, ok := r.Elsewhere("reg_a", key); !ok || i.Register != "reg_d" {
		t.Errorf("the owner is %+v, %v", i, ok) // the one that OpenFiskal has confirmed
	}
	if i, ok := r.Elsewhere("reg_a", secret.FromString(nextKey+"x")); ok {
		t.Errorf("a key that nobody has is %+v", i)
	}
}

func TestTheVaultsOwnNames(t *testing.T) {
	r := openRing(t, newMemory())
	setKey(t, r, "reg_a", liveKey, sale.KeyStateActive)
	setKey(t, r, sale.PlatformKey, "ofk_platform_live_CANARY0123456789", sale.KeyStateActive)
	setKey(t, r, sale.BundleKey, "AGE-SECRET-KEY-1CANARY", sale.KeyStateActive)
	if got := r.Registers(); len(got) != 1 || got[0] != "reg_a" {
		t.Errorf("registers: %v", got)
	}
	for _, wrong := range []struct {
		name sale.RegisterID
		key  string
	}{{sale.PlatformKey, liveKey}, {"reg_a", "ofk_platform_live_CANARY0123456789"}, {"@other", liveKey}} {
		if _, err := r.SetKey(ctx, wrong.name, secret.FromString(wrong.key), sale.KeyStateActive, "tester"); err == nil {
			t.Errorf("%s takes a key that is not of its kind", wrong.name)
		}
	}
}
