package devicekeys

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"

	"edgegw/sale"
)

var ctx = context.Background()

func clientCert(cn string) *x509.Certificate {
	return &x509.Certificate{SerialNumber: new(big.Int).SetBytes([]byte("1" + cn)), Subject: pkix.Name{CommonName: cn}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
}

func list(t *testing.T, r *Ring, id sale.DeviceID) *x509.Certificate {
	t.Helper()
	c := clientCert(string(id))
	if _, err := r.AddCertificate(ctx, id, c, "tester"); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAuthenticate(t *testing.T) {
	rows := newMemory()
	r := openRing(t, rows)
	one, two, off := addPump(t, r, "pump-1"), addPump(t, r, "pump-2"), addPump(t, r, "pump-3")
	if err := r.Disable(ctx, "pump-3", "tester"); err != nil {
		t.Fatal(err)
	}
	rows.devices["pump-4"] = sale.Device{ID: "pump-4", Register: "reg_4"}                                                // a row without a hash
	rows.devices["pump-5"] = sale.Device{ID: "pump-5", Register: "reg_5", SecretHash: rows.devices["pump-1"].SecretHash} // a copied hash
	if err := r.Reload(ctx); err != nil {
		t.Fatal(err)
	}
	for _, id := range []sale.DeviceID{"pump-1", "pump-2", "pump-3"} {
		list(t, r, id)
	}
	stranger := clientCert("pump-1")
	stranger.SerialNumber = big.NewInt(7)
	borrowed := clientCert("pump-1")
	borrowed.SerialNumber = clientCert("pump-2").SerialNumber
	server := clientCert("pump-1")
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	authority := clientCert("pump-1")
	authority.IsCA = true
	for _, row := range []struct {
		name, user string
		secret     []byte
		cert       *x509.Certificate
		want       sale.DeviceID
		err        error
	}{
		{"right secret", "pump-1", one.Reveal(), nil, "pump-1", nil},
		{"wrong secret", "pump-1", []byte("x"), nil, "", errWrongSecret},
		{"another device's secret", "pump-1", two.Reveal(), nil, "", errWrongSecret},
		{"no secret", "pump-1", nil, nil, "", errWrongSecret},
		{"secret and more", "pump-1", append(slices.Clone(one.Reveal()), 0), nil, "", errWrongSecret},
		{"secret cut", "pump-1", one.Reveal()[:25], nil, "", errWrongSecret},
		{"unknown device", "pump-9", one.Reveal(), nil, "", errUnknownDevice},
		{"no device", "", nil, nil, "", errUnknownDevice},
		{"user name in capitals", "PUMP-1", one.Reveal(), nil, "", errUnknownDevice},
		{"user name with NUL", "pump-1\x00", one.Reveal(), nil, "", errUnknownDevice},
		{"very long user name", strings.Repeat("a", 1<<16), one.Reveal(), nil, "", errUnknownDevice},
		{"disabled, right secret", "pump-3", off.Reveal(), nil, "", errDisabled},
		{"disabled, wrong secret", "pump-3", []byte("x"), nil, "", errWrongSecret},
		{"row without a hash", "pump-4", nil, nil, "", errWrongSecret},
		{"row with a copied hash", "pump-5", one.Reveal(), nil, "", errWrongSecret},
		{"own certificate", "pump-1", nil, clientCert("pump-1"), "pump-1", nil},
		{"own certificate, no user name", "", nil, clientCert("pump-1"), "pump-1", nil},
		{"another device's certificate", "pump-1", nil, clientCert("pump-2"), "", errWrongCert},
		{"another device's certificate, right secret", "pump-1", one.Reveal(), clientCert("pump-2"), "", errWrongCert},
		{"certificate of an unknown device", "", nil, clientCert("pump-9"), "", errUnknownDevice},
		{"certificate of a disabled device", "pump-3", nil, clientCert("pump-3"), "", errDisabled},
		{"certificate without a name", "", nil, clientCert(""), "", errUnknownDevice},
		{"certificate that is not on the list", "pump-1", nil, stranger, "", errUnlistedCert},
		{"certificate that is not on the list, right secret", "pump-1", one.Reveal(), stranger, "", errUnlistedCert},
		{"certificate under the number of another's", "pump-1", nil, borrowed, "", errUnlistedCert},
		{"certificate for servers", "pump-1", nil, server, "", errWrongCert},
		{"certificate of an authority", "pump-1", nil, authority, "", errWrongCert},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := r.Authenticate(row.user, row.secret, row.cert)
			if got != row.want || !errors.Is(err, row.err) || (err != nil && !errors.Is(err, ErrRefused)) {
				t.Errorf("got %q, %v; want %q, %v", got, err, row.want, row.err)
			}
		})
	}
	empty := openRing(t, newMemory())
	if _, err := empty.Authenticate("pump-1", one.Reveal(), nil); !errors.Is(err, ErrRefused) {
		t.Errorf("an empty table lets %v in", err)
	}
}

// TestEveryLoginTakesTheSamePath counts the hashes: one for each login, over
// the same secret, whoever comes.
func TestEveryLoginTakesTheSamePath(t *testing.T) {
	r := openRing(t, newMemory())
	right := addPump(t, r, "pump-1")
	addPump(t, r, "pump-2")
	if err := r.Disable(ctx, "pump-2", "tester"); err != nil {
		t.Fatal(err)
	}
	var calls []string
	r.hash = func(salt []byte, id sale.DeviceID, secretBytes []byte) []byte {
		calls = append(calls, fmt.Sprint(len(salt), id, string(secretBytes)))
		return keyedHash(salt, id, secretBytes)
	}
	for _, user := range []string{"pump-1", "pump-2", "pump-9", ""} {
		for _, s := range []string{string(right.Reveal()), "wrong", ""} {
			calls = nil
			_, _ = r.Authenticate(user, []byte(s), nil)
			if want := []string{fmt.Sprint(saltSize, user, s)}; !slices.Equal(calls, want) {
				t.Errorf("%q with %q: %q, want %q", user, s, calls, want)
			}
		}
	}
}

func TestDevicesLogInWithoutTheKEK(t *testing.T) {
	rows := newMemory()
	r := openRing(t, rows)
	s := addPump(t, r, "pump-1")
	setKey(t, r, "reg_pump-1", liveKey, sale.KeyStateActive)
	for _, row := range []struct {
		name string
		kek  KEK
		want error
	}{{"no KEK", KEK{}, ErrNoKEK}, {"wrong KEK", testKEK(t, otherKEK), ErrWrongKEK}} {
		t.Run(row.name, func(t *testing.T) {
			r, err := Open(ctx, rows, row.kek)
			if err != nil {
				t.Fatal(err)
			}
			if id, err := r.Authenticate("pump-1", s.Reveal(), nil); id != "pump-1" {
				t.Errorf("the device cannot log in: %v", err)
			}
			if _, err := r.Credential(ctx, "reg_pump-1"); !errors.Is(err, row.want) || errors.Is(err, sale.ErrNone) {
				t.Errorf("credential: %v, want %v", err, row.want)
			}
			if p := r.Check(); len(p) != 1 || p[0].Register != "reg_pump-1" || !errors.Is(p[0].Err, row.want) {
				t.Errorf("check: %+v", p)
			}
			if _, err := r.Add(ctx, NewDevice{ID: "new-" + sale.DeviceID(strings.Fields(row.name)[0]), Register: "reg_n"}, "tester"); err != nil {
				t.Errorf("a device cannot be added: %v", err)
			}
		})
	}
}

func TestLifeOfADevice(t *testing.T) {
	rows := newMemory()
	r := openRing(t, rows)
	first := addPump(t, r, "pump-1")
	mustLogin := func(s []byte, want bool) {
		t.Helper()
		for _, ring := range []*Ring{r, openRing(t, rows)} { // memory and disk agree
			if _, err := ring.Authenticate("pump-1", s, nil); (err == nil) != want {
				t.Errorf("login: %v, want %v", err, want)
			}
		}
	}
	mustLogin(first.Reveal(), true)
	second, err := r.Password(ctx, "pump-1", "tester")
	if err != nil || second.Equal(first) {
		t.Fatalf("password: %v", err)
	}
	mustLogin(first.Reveal(), false)
	mustLogin(second.Reveal(), true)
	third, err := r.Replace(ctx, "pump-1", false, "tester")
	if err != nil {
		t.Fatal(err)
	}
	mustLogin(second.Reveal(), false)
	mustLogin(third.Reveal(), true)
	if d, err := r.Get("pump-1"); err != nil || d.Register != "reg_pump-1" || d.SecretHash != nil || d.Label != "Pump" {
		t.Errorf("after replace: %+v, %v", d, err)
	}
	for _, step := range []struct {
		act  func(context.Context, sale.DeviceID, string) error
		want bool
	}{{r.Disable, false}, {r.Enable, true}, {r.Remove, false}} {
		if err := step.act(ctx, "pump-1", "tester"); err != nil {
			t.Fatal(err)
		}
		mustLogin(third.Reveal(), step.want)
	}
	if want := []string{"tester added pump-1", "tester device secret renewed pump-1", "tester replaced pump-1", "tester device disabled pump-1", "tester device enabled pump-1", "tester removed pump-1"}; !slices.Equal(rows.audit, want) {
		t.Errorf("audit trail: %q", rows.audit)
	}
	for _, act := range []func(context.Context, sale.DeviceID, string) error{r.Disable, r.Enable, r.Remove} {
		if err := act(ctx, "pump-1", "tester"); !errors.Is(err, sale.ErrNone) {
			t.Errorf("on a device that is gone: %v", err)
		}
	}
	if _, err := r.Get("pump-1"); !errors.Is(err, sale.ErrNone) {
		t.Errorf("get: %v", err)
	}
}

func TestAddRefuses(t *testing.T) {
	r := openRing(t, newMemory())
	addPump(t, r, "pump-1")
	for _, row := range []struct {
		name string
		d    NewDevice
	}{
		{"reserved id", NewDevice{ID: "site", Register: "reg_1"}},
		{"capitals", NewDevice{ID: "Pump", Register: "reg_1"}},
		{"wildcard", NewDevice{ID: "#", Register: "reg_1"}},
		{"slash", NewDevice{ID: "a/b", Register: "reg_1"}},
		{"dots in the register", NewDevice{ID: "a", Register: "../../x"}},
		{"no register", NewDevice{ID: "a"}},
		{"key for a register", NewDevice{ID: "a", Register: "ofk_reg_live_x"}},
		{"kind", NewDevice{ID: "a", Register: "reg_1", Kind: "toaster"}},
		{"label with an escape", NewDevice{ID: "a", Register: "reg_1", Label: "\x1b[2J"}},
		{"long label", NewDevice{ID: "a", Register: "reg_1", Label: strings.Repeat("x", 101)}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if s, err := r.Add(ctx, row.d, "tester"); err == nil || !s.Empty() {
				t.Error("accepted")
			}
		})
	}
	if _, err := r.Add(ctx, NewDevice{ID: "pump-1", Register: "reg_1"}, "tester"); !errors.Is(err, ErrExists) {
		t.Errorf("a second pump-1: %v", err)
	}
	if n := len(r.List()); n != 1 {
		t.Errorf("%d devices, want 1", n)
	}
}

// TestFailedWrites: memory says what the disk says, whether the write that
// answered an error took place or not.
func TestFailedWrites(t *testing.T) {
	for _, committed := range []bool{false, true} {
		t.Run(fmt.Sprintf("committed %v", committed), func(t *testing.T) {
			rows := newMemory()
			r := openRing(t, rows)
			s := addPump(t, r, "pump-1")
			broken := errors.New("disk I/O error")
			rows.committed = committed
			rows.fail = broken
			if err := r.Disable(ctx, "pump-1", "tester"); !errors.Is(err, broken) {
				t.Errorf("got %v", err)
			}
			if _, err := r.Authenticate("pump-1", s.Reveal(), nil); (err == nil) == committed {
				t.Errorf("login after the error: %v", err)
			}
			rows.fail = broken
			if _, err := r.Add(ctx, NewDevice{ID: "pump-2", Register: "reg_2"}, "tester"); !errors.Is(err, broken) {
				t.Errorf("got %v", err)
			}
			if _, err := r.Get("pump-2"); (err == nil) != committed {
				t.Errorf("pump-2 after the error: %v", err)
			}
			rows.fail = broken
			if err := r.Remove(ctx, "pump-1", "tester"); !errors.Is(err, broken) {
				t.Errorf("got %v", err)
			}
			if _, err := r.Get("pump-1"); (err != nil) != committed {
				t.Errorf("pump-1 after the error: %v", err)
			}
		})
	}
}

func TestLoginsWhileDevicesChange(t *testing.T) {
	r := openRing(t, newMemory())
	s := addPump(t, r, "pump-1")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 500 {
				if _, err := r.Authenticate("pump-1", s.Reveal(), nil); err != nil {
					t.Error(err)
				}
				r.List()
			}
		})
	}
	for i := range 50 {
		addPump(t, r, sale.DeviceID(fmt.Sprintf("other-%d", i)))
		setKey(t, r, "reg_pump-1", liveKey, sale.KeyStateActive)
	}
	all.Wait()
	if n := len(r.List()); n != 51 {
		t.Errorf("%d devices, want 51", n)
	}
}

// BenchmarkAuthenticate500 is one reconnect of a whole site after a power cut.
func BenchmarkAuthenticate500(b *testing.B) {
	r := openRing(b, newMemory())
	secrets := map[string][]byte{}
	for i := range 500 {
		id := fmt.Sprintf("pump-%d", i)
		secrets[id] = addPump(b, r, sale.DeviceID(id)).Reveal()
	}
	for b.Loop() {
		for id, s := range secrets {
			if _, err := r.Authenticate(id, s, nil); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// A certificate lets in as long as it is on the list: until it is revoked, or
// its device is replaced or removed. One that was made for a removed device does
// not open the door again when its name is given to another.
func TestCertificatesEnd(t *testing.T) {
	rows := newMemory()
	r := openRing(t, rows)
	secret := addPump(t, r, "pump-1")
	must := func(what string, c *x509.Certificate, want error) {
		t.Helper()
		for _, ring := range []*Ring{r, openRing(t, rows)} { // memory and disk agree
			if _, err := ring.Authenticate("pump-1", secret.Reveal(), c); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", what, err, want)
			}
		}
	}
	numbered := func(n int64) *x509.Certificate {
		c := clientCert("pump-1")
		c.SerialNumber = big.NewInt(n)
		if _, err := r.AddCertificate(ctx, "pump-1", c, "tester"); err != nil {
			t.Fatal(err)
		}
		return c
	}
	one, two := numbered(1), numbered(2)
	must("issued", one, nil)
	if err := r.Revoke(ctx, "pump-1", "1", "tester"); err != nil {
		t.Fatal(err)
	}
	must("revoked", one, errUnlistedCert)
	must("its neighbour", two, nil)
	if err := r.Revoke(ctx, "pump-1", "1", "tester"); !errors.Is(err, sale.ErrNone) {
		t.Errorf("revoked twice: %v", err)
	}
	if _, err := r.Replace(ctx, "pump-1", true, "tester"); err != nil {
		t.Fatal(err)
	}
	must("replaced", two, errUnlistedCert)
	must("the secret of a device with certificates only", nil, errWrongSecret)
	three := numbered(3)
	must("the new hardware's", three, nil)
	if err := r.Remove(ctx, "pump-1", "tester"); err != nil {
		t.Fatal(err)
	}
	must("removed", three, errUnknownDevice)
	secret = addPump(t, r, "pump-1")
	must("its name given to another", three, errUnlistedCert)
	must("the other's secret", nil, nil)
	if _, err := r.AddCertificate(ctx, "pump-9", clientCert("pump-9"), "tester"); !errors.Is(err, sale.ErrNone) {
		t.Errorf("a certificate of nobody: %v", err)
	}
}
