package devicekeys

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"edgegw/sale"
	"edgegw/secret"
)

const reg = sale.RegisterID("reg_01")

func credential(t *testing.T, r *Ring, register sale.RegisterID) string {
	t.Helper()
	k, err := r.Credential(ctx, register)
	if err != nil {
		t.Fatal(err)
	}
	return string(k.Reveal())
}

func TestSetKeyThenCredential(t *testing.T) {
	rows := newMemory()
	r := openRing(t, rows)
	if _, err := r.Credential(ctx, reg); !errors.Is(err, sale.ErrNone) {
		t.Errorf("no key yet: %v", err)
	}
	if _, err := r.KeyInfo(reg); !errors.Is(err, sale.ErrNone) {
		t.Errorf("no key yet: %v", err)
	}
	for i, key := range []string{liveKey, nextKey, liveKey} {
		info := setKey(t, r, reg, key, sale.KeyStateActive)
		for _, ring := range []*Ring{r, openRing(t, rows)} {
			if got := credential(t, ring, reg); got != key {
				t.Errorf("got another key than the one set")
			}
			if got, err := ring.KeyInfo(reg); err != nil || got != info || got.Version != int64(i+1) || got.LastFour != key[len(key)-4:] {
				t.Errorf("info: %+v, %v; want %+v", got, err, info)
			}
			if n := len(ring.KeyVersions(reg)); n != 1 {
				t.Errorf("%d versions are not retired, want 1", n)
			}
		}
	}
	if setKey(t, r, reg, nextKey, sale.KeyStateUnverified); len(r.KeyVersions(reg)) != 2 || credential(t, r, reg) != liveKey {
		t.Error("a key that nobody has confirmed takes the place of one that works")
	}
	if _, err := r.Credential(ctx, "reg_other"); !errors.Is(err, sale.ErrNone) {
		t.Errorf("another register has a key: %v", err)
	}
}

// TestRotation walks through FAULTS.md 4.3, flow A, with a look from the disk
// after every step.
func TestRotation(t *testing.T) {
	rows := newMemory()
	r := openRing(t, rows)
	setKey(t, r, reg, liveKey, sale.KeyStateActive)
	type step struct {
		name    string
		do      func() error
		inUse   string
		pending string
	}
	state := func(version int64, s sale.KeyState) func() error {
		return func() error { return r.SetKeyState(ctx, reg, version, s, "relay") }
	}
	put := func(key string) func() error {
		return func() error {
			_, err := r.SetKey(ctx, reg, secret.FromString(key), sale.KeyStatePending, "back office")
			return err
		}
	}
	const third = "ofk_reg_live_THIRDCANARY0123456789"
	for _, s := range []step{
		{"a new key waits beside the old", put(nextKey), liveKey, nextKey},
		{"it is refused: the old one goes on", state(2, sale.KeyStateRefused), liveKey, ""},
		{"another one waits", put(third), liveKey, third},
		{"the old one is refused, and still there for the slow probe", state(1, sale.KeyStateRefused), liveKey, third},
		{"the probe finds the old one well again", state(1, sale.KeyStateActive), liveKey, third},
		{"the new one is accepted", state(3, sale.KeyStateActive), third, ""},
	} {
		if err := s.do(); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		for _, ring := range []*Ring{r, openRing(t, rows)} {
			if got := credential(t, ring, reg); got != s.inUse {
				t.Errorf("%s: in use is the key that ends in %s", s.name, got[len(got)-4:])
			}
			p, _, err := ring.Pending(ctx, reg)
			if string(p.Reveal()) != s.pending || errors.Is(err, sale.ErrNone) != (s.pending == "") {
				t.Errorf("%s: pending: %v", s.name, err)
			}
		}
	}
	if v := r.KeyVersions(reg); len(v) != 1 || v[0].Version != 3 || v[0].State != sale.KeyStateActive {
		t.Errorf("versions at the end: %+v", v)
	}
	for _, bad := range []error{state(9, sale.KeyStateActive)(), state(1, sale.KeyStateActive)()} {
		if !errors.Is(bad, sale.ErrNone) {
			t.Errorf("a version that is not there: %v", bad)
		}
	}
	if err := state(3, sale.KeyStateRetired)(); err == nil {
		t.Error("the newest key can be retired")
	}
	if i := setKey(t, r, reg, liveKey, sale.KeyStateActive); i.Version != 4 {
		t.Errorf("the next version is %d, want 4", i.Version)
	}
}

func TestSealsAreBoundAndDamageIsSeen(t *testing.T) {
	rows := newMemory()
	r := openRing(t, rows)
	setKey(t, r, "reg_a", liveKey, sale.KeyStateActive)
	setKey(t, r, "reg_b", nextKey, sale.KeyStateActive)
	a, b := rows.keys["reg_a"][0], rows.keys["reg_b"][0]
	with := func(k sale.SealedKey, blob []byte) sale.SealedKey { k.Sealed = blob; return k }
	flipped := func(i int) sale.SealedKey {
		blob := bytes.Clone(a.Sealed)
		blob[i] ^= 1
		return with(a, blob)
	}
	later := a
	later.Version = 2
	for _, row := range []struct {
		name string
		k    sale.SealedKey
		want error
	}{
		{"as it was", a, nil},
		{"another register's blob", with(a, b.Sealed), ErrSealBroken},
		{"an older version's blob", later, ErrSealBroken},
		{"format", flipped(0), ErrSealBroken},
		{"KEK id", flipped(1), ErrWrongKEK},
		{"nonce", flipped(1 + kekIDSize), ErrSealBroken},
		{"ciphertext", flipped(sealHeader), ErrSealBroken},
		{"tag", flipped(len(a.Sealed) - 1), ErrSealBroken},
		{"cut", with(a, a.Sealed[:len(a.Sealed)-1]), ErrSealBroken},
		{"header only", with(a, a.Sealed[:sealHeader]), ErrSealBroken},
		{"short", with(a, a.Sealed[:5]), ErrSealBroken},
		{"empty", with(a, nil), ErrSealBroken},
	} {
		t.Run(row.name, func(t *testing.T) {
			rows.keys["reg_a"] = []sale.SealedKey{row.k}
			if err := r.Reload(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Credential(ctx, "reg_a"); !errors.Is(err, row.want) || errors.Is(err, sale.ErrNone) {
				t.Errorf("got %v, want %v", err, row.want)
			}
			if got := credential(t, r, "reg_b"); got != nextKey {
				t.Error("another register is touched")
			}
			if n := len(r.Check()); (n == 0) != (row.want == nil) {
				t.Errorf("check lists %d", n)
			}
		})
	}
}

func TestEqualKeysSealDifferently(t *testing.T) {
	rows := newMemory()
	r := openRing(t, rows)
	setKey(t, r, "reg_a", liveKey, sale.KeyStateActive)
	setKey(t, r, "reg_b", liveKey, sale.KeyStateActive)
	a, b := rows.keys["reg_a"][0].Sealed, rows.keys["reg_b"][0].Sealed
	if bytes.Equal(a[1+kekIDSize:sealHeader], b[1+kekIDSize:sealHeader]) || bytes.Equal(a[sealHeader:], b[sealHeader:]) {
		t.Error("nonce or ciphertext comes twice")
	}
}

func TestRowsHoldNothingInClear(t *testing.T) {
	rows := newMemory()
	r := openRing(t, rows)
	deviceSecret := addPump(t, r, "pump-1")
	setKey(t, r, reg, liveKey, sale.KeyStateActive)
	setKey(t, r, reg, nextKey, sale.KeyStatePending)
	var all bytes.Buffer
	fmt.Fprintf(&all, "%+v", rows.audit)
	for _, d := range rows.devices {
		fmt.Fprintf(&all, "%+v", d)
		all.Write(d.SecretHash)
	}
	for _, list := range rows.keys {
		for _, k := range list {
			fmt.Fprintf(&all, "%+v", k)
			all.Write(k.Sealed)
		}
	}
	for _, s := range []string{liveKey, nextKey, string(deviceSecret.Reveal()), "CANARY", "WXYZ"} {
		for _, form := range []string{s, hex.EncodeToString([]byte(s)), base64.StdEncoding.EncodeToString([]byte(s)), strings.Trim(fmt.Sprint([]byte(s)), "[]")} {
			if bytes.Contains(all.Bytes(), []byte(form)) {
				t.Errorf("%q stands in the rows", form)
			}
		}
	}
	raw, _ := hex.DecodeString(hexKEK)
	if bytes.Contains(all.Bytes(), raw) {
		t.Error("the KEK stands in the rows")
	}
}

func TestNothingPrintsASecret(t *testing.T) {
	r := openRing(t, newMemory())
	deviceSecret := addPump(t, r, "pump-1")
	info := setKey(t, r, reg, liveKey, sale.KeyStateActive)
	kek := testKEK(t, hexKEK)
	o := KEKOptions{Text: secret.FromString(hexKEK), DataDir: "d"}
	v := r.state.Load().vault
	nested := struct {
		k KEK
		p *Ring
	}{kek, r}
	var out strings.Builder
	text, js := slog.New(slog.NewTextHandler(&out, nil)), slog.New(slog.NewJSONHandler(&out, nil))
	for _, v := range []any{kek, &kek, o, &o, r, *v, v, nested, info, deviceSecret, r.List(), r.Check(), NewDevice{}, Source{}} {
		fmt.Fprintf(&out, "%v %+v %#v\n", v, v, v)
		fmt.Fprintf(&out, "%s %x %d %q\n", v, v, v, v)
		if b, err := json.Marshal(v); err == nil {
			out.Write(b)
		}
		text.Info("value", "v", v)
		js.Info("value", "v", v)
	}
	raw, _ := hex.DecodeString(hexKEK)
	for name, s := range map[string]string{"register key": liveKey, "device secret": string(deviceSecret.Reveal()), "KEK text": hexKEK, "KEK": string(raw)} {
		for _, form := range []string{s, hex.EncodeToString([]byte(s)), base64.StdEncoding.EncodeToString([]byte(s)), strings.Trim(fmt.Sprint([]byte(s)), "[]"), strings.Trim(fmt.Sprintf("%#v", []byte(s)), "[]byte{}")} {
			if strings.Contains(out.String(), form) {
				t.Errorf("the %s is printed", name)
			}
		}
	}
}

func TestCheckRegisterKey(t *testing.T) {
	for _, row := range []struct{ name, key, want string }{
		{"live", liveKey, ""},
		{"test", "ofk_reg_test_0123", ""},
		{"empty", "", "is empty"},
		{"newline", liveKey + "\n", "line end"},
		{"CR LF", liveKey + "\r\n", "line end"},
		{"header injection", "ofk_reg_x\r\nX-Evil: 1", "line end"},
		{"space before", " " + liveKey, "a space"},
		{"space inside", "ofk_reg_live 1234", "a space"},
		{"tab", liveKey + "\t", "a space"},
		{"BOM", "\xef\xbb\xbf" + liveKey, "byte order mark"},
		{"NUL", liveKey + "\x00", "control character"},
		{"DEL", liveKey + "\x7f", "control character"},
		{"zero-width space", liveKey + "\u200b", "not ASCII"},
		{"platform key", "ofk_platform_live_SECRET", "of the kind ofk_platform_, but what is needed is a register key"},
		{"setup token", "ofk_setup_SECRET", "of the kind ofk_setup_"},
		{"something else", "sk_live_SECRET", "begins with ofk_reg_"},
		{"prefix in capitals", "OFK_REG_SECRET123", "begins with ofk_reg_"},
		{"prefix alone", "ofk_reg_", "characters long"},
		{"longest", "ofk_reg_" + strings.Repeat("x", 504), ""},
		{"too long", "ofk_reg_" + strings.Repeat("x", 505), "characters long"},
	} {
		t.Run(row.name, func(t *testing.T) {
			rows := newMemory()
			_, err := openRing(t, rows).SetKey(ctx, reg, secret.FromString(row.key), sale.KeyStateActive, "tester")
			if row.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), row.want) || len(rows.keys) != 0 {
				t.Errorf("got %v, %d rows; want %q", err, len(rows.keys), row.want)
			} else if strings.Contains(err.Error(), "SECRET") || strings.Contains(err.Error(), "CANARY") {
				t.Errorf("the key is shown: %v", err)
			}
		})
	}
}

func TestSetKeyRefuses(t *testing.T) {
	rows := newMemory()
	r := openRing(t, rows)
	key := secret.FromString(liveKey)
	if _, err := r.SetKey(ctx, "../x", key, sale.KeyStateActive, "tester"); err == nil {
		t.Error("a register id with a path is accepted")
	}
	for _, s := range []sale.KeyState{sale.KeyStateRefused, sale.KeyStateRetired, ""} {
		if _, err := r.SetKey(ctx, reg, key, s, "tester"); err == nil {
			t.Errorf("a new key may be %q", s)
		}
	}
	bare, err := Open(ctx, rows, KEK{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bare.SetKey(ctx, reg, key, sale.KeyStateActive, "tester"); !errors.Is(err, ErrNoKEK) {
		t.Errorf("without a KEK: %v", err)
	}
	if len(rows.keys) != 0 {
		t.Errorf("rows were written: %+v", rows.keys)
	}
}

func TestShortKeysShowNothing(t *testing.T) {
	if i := setKey(t, openRing(t, newMemory()), reg, "ofk_reg_abcd1234", sale.KeyStateActive); i.LastFour != "" {
		t.Errorf("half of the key is shown: %s", i.LastFour)
	}
}

// Of two keys that were refused the older one is the one that worked once: a slow
// probe finds out whether it does again.
func TestTheKeyThatWorkedIsSentWith(t *testing.T) {
	r := openRing(t, newMemory())
	setKey(t, r, reg, liveKey, sale.KeyStateActive)
	other := setKey(t, r, reg, nextKey, sale.KeyStatePending)
	for _, row := range []struct {
		first, second sale.KeyState
		want          string
	}{
		{sale.KeyStateActive, sale.KeyStateRefused, liveKey},
		{sale.KeyStateRefused, sale.KeyStateRefused, liveKey},
		{sale.KeyStateRefused, sale.KeyStateUnverified, nextKey},
	} {
		for version, s := range map[int64]sale.KeyState{1: row.first, other.Version: row.second} {
			if err := r.SetKeyState(ctx, reg, version, s, "tester"); err != nil {
				t.Fatal(err)
			}
		}
		if got := credential(t, r, reg); got != row.want {
			t.Errorf("%s and %s: the wrong one", row.first, row.second)
		}
	}
}
