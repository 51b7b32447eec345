package gateway

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"edgegw/admin"
	"edgegw/devicekeys"
	"edgegw/fiscal/sandbox"
	"edgegw/relay"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/store"
	"edgegw/wording"
)

// A register's key is rotated while its device sells, with the power cut at step
// 1, 2, 3 … of all that crosses the seams of disk and uplink. The person asks
// again only where the gateway says that it is needed. Whatever the step: each
// sale is at OpenFiskal once, the gateway ends up with the key that OpenFiskal
// takes and no other, and in between it never says that all is well while no
// key that it has is taken.
func TestARotationAtEveryCrashPoint(t *testing.T) {
	stride := 1
	if testing.Short() {
		stride = 9
	}
	template := t.TempDir()
	prepare(t, template)
	asked := 0
	for n := 1; ; n += stride {
		var cut bool
		var err error
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			copyFiles(t, template, dir)
			r := newRotation(t, dir)
			cut = r.act(n, r.begin)
			r.stop()
			r.watchers.Wait()
			err = r.check()
			asked += r.asked - 1
		})
		if err != nil {
			t.Fatalf("power cut at step %d: %v", n, err)
		}
		if !cut {
			t.Logf("%d crash points; the person asked again %d times", n-1, asked)
			if n < 40 || asked == 0 && stride == 1 {
				t.Errorf("%d crash points, %d lost answers: the power cut does not reach the parts", n-1, asked)
			}
			return
		}
	}
}

type rotation struct {
	*world
	life     context.Context
	stop     context.CancelFunc
	watchers sync.WaitGroup

	mu    sync.Mutex
	gates map[*life]*Gateway
	asked int
	lied  error
}

func newRotation(t *testing.T, dir string) *rotation {
	r := &rotation{world: newWorld(t, dir, sandbox.Options{}, nil), gates: map[*life]*Gateway{}}
	r.life, r.stop = context.WithCancel(context.Background())
	r.tune = func(o *relay.Options) {
		o.Refused = func(id sale.RegisterID) { r.gateway().keys.ask(id) }
	}
	return r
}

func (r *rotation) begin() {
	r.done.Go(func() {
		var events []event
		for i := range 4 {
			events = append(events, event{5 * time.Second, sale.Whole, fmt.Sprintf(
				`{"sale_id":"%d","occurred_at":"2026-11-22T08:31:07+01:00","currency":"EUR","line_items":[{"description":"Super","quantity":"1","unit":"l","unit_price":"10.01","amount":1001,"tax":{"rate":"0.19","category":"standard"}}],"payments":[{"method":"card","direction":"inbound","amount":1001}]}`, i)})
		}
		r.device("pump-1", events)
	})
	r.done.Go(r.person)
}

// gateway gives as much of a gateway as keys need, for the life that is on.
func (r *rotation) gateway() *Gateway {
	l := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if g := r.gates[l]; g != nil {
		return g
	}
	c := l.control()
	c.config.OpenFiskal.BaseURL = "https://sandbox.test/v1"
	g := &Gateway{control: c, keys: keyWatch{suspects: map[sale.RegisterID]bool{}, poke: make(chan struct{}, 1)}}
	c.running = g
	r.gates[l] = g
	if err := c.adoptRequests(context.Background()); err != nil && !errors.Is(err, errPower) {
		r.t.Error(err)
	}
	r.watchers.Go(func() { _ = g.checkKeys(r.life) })
	return g
}

// person wants one rotation, and after trouble looks what the gateway says.
func (r *rotation) person() {
	<-time.After(7 * time.Second)
	for want := true; want; {
		r.asked++
		_, err := r.gateway().RequestKey(context.Background(), admin.KeyRequest{KeyOf: admin.KeyOf{RegisterID: "reg_1"}, Kind: sale.KeyRotate,
			PlatformKey: secret.FromString(r.sandbox.PlatformKey()), Organization: "org_sandbox"}, "anna")
		if err == nil {
			return
		}
		<-time.After(4 * time.Minute)
		want = r.look()
	}
}

// look asks OpenFiskal itself whether it takes the key in use, and the gateway
// what it says.
func (r *rotation) look() (rotateAgain bool) {
	g := r.gateway()
	key, err := g.ring.Credential(context.Background(), "reg_1")
	if err != nil {
		r.lied = fmt.Errorf("there is no key: %w", err)
		return false
	}
	taken := g.fiscal.Probe(context.Background(), "reg_1", key) == nil
	queues, err := g.db.Queues(context.Background())
	if err != nil {
		r.lied = err
		return false
	}
	says := ""
	for _, q := range queues {
		if q.Register == "reg_1" {
			f := g.registerFacts(context.Background(), q, g.ring.List())
			says = g.siteFacts().registerSentence(wording.Of("reg_1"), &f).String()
		}
	}
	again := strings.Contains(says, "Rotate again: edgegw key rotate")
	if !taken && !again {
		r.lied = fmt.Errorf("OpenFiskal does not take the key, and the gateway says %q", says)
	}
	if taken && again {
		r.lied = fmt.Errorf("OpenFiskal takes the key, and the gateway says %q", says)
	}
	return again
}

func (r *rotation) check() error {
	errs := []error{r.lied, r.sandbox.CheckFrozen(), oneKeyPerCall(r.sandbox)}
	var got []string
	for _, o := range r.sandbox.Operations("reg_1") {
		got = append(got, fmt.Sprintf("%s %s %d", o.ExternalID, o.State, o.Total))
	}
	if want := []string{"0 completed 1001", "1 completed 1001", "2 completed 1001", "3 completed 1001"}; !slices.Equal(got, want) {
		errs = append(errs, fmt.Errorf("OpenFiskal holds %q", got))
	}
	end := r.startWith(func(*life) {})
	defer end.end()
	key, err := end.ring.Credential(context.Background(), "reg_1")
	if err == nil {
		err = end.fiscal.Probe(context.Background(), "reg_1", key)
	}
	left, requestErr := end.db.KeyRequests(context.Background())
	if n := len(end.ring.KeyVersions("reg_1")); n != 1 || len(left) != 0 {
		errs = append(errs, fmt.Errorf("%d keys and %d requests are left", n, len(left)))
	}
	return errors.Join(append(errs, err, requestErr)...)
}

// A change of the KEK is one step, wherever it is cut: all keys open under the
// new one, or all under the old one.
func TestAKEKChangeAtEveryCrashPoint(t *testing.T) {
	kek := func(text string) devicekeys.KEK {
		k, _, err := devicekeys.LoadKEK(devicekeys.KEKOptions{Text: secret.FromString(text)})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	before, after := kek(string(masterKEK.Reveal())), kek(strings.Repeat("0123456789abcdef", 4))
	open := func(dir string, p *power, k devicekeys.KEK, older ...devicekeys.KEK) (*store.DB, *devicekeys.Ring, error) {
		db, err := store.Open(t.Context(), dir, store.Options{Disk: func(c driver.Connector) driver.Connector { return cutDisk{p, c} }})
		if err != nil {
			return nil, nil, err
		}
		ring, err := devicekeys.Open(t.Context(), db, k, older...)
		return db, ring, err
	}
	template := t.TempDir()
	db, ring, err := open(template, newPower(0), before)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		if _, err := ring.SetKey(t.Context(), sale.RegisterID(fmt.Sprintf("reg_%d", n)), secret.FromString(fmt.Sprintf("ofk_reg_test_%020d", n)), sale.KeyStateActive, "test"); err != nil {
			t.Fatal(err)
		}
	}
	db.Close()
	changed := 0
	for n := 1; ; n++ {
		dir := t.TempDir()
		copyFiles(t, template, dir)
		p := newPower(0)
		db, ring, err := open(dir, p, after, before)
		if err != nil {
			t.Fatal(err)
		}
		p.mu.Lock()
		p.cutAt, p.step = n, 0
		p.mu.Unlock()
		_, cutErr := ring.Reseal(t.Context(), db, "test")
		db.Close()
		whole := 0
		for _, k := range []devicekeys.KEK{before, after} {
			db, ring, err := open(dir, newPower(0), k)
			if err != nil {
				t.Fatal(err)
			}
			switch shut := len(ring.Check()); shut {
			case 0:
				whole++
			case 5:
			default:
				t.Errorf("cut at step %d: %d of 5 keys are shut", n, shut)
			}
			db.Close()
		}
		if whole != 1 {
			t.Errorf("cut at step %d: %d of the two KEKs open everything", n, whole)
		}
		db, ring, err = open(dir, newPower(0), after, before)
		if err != nil || len(ring.Check()) != 0 {
			t.Fatalf("cut at step %d: the next start finds %+v, %v", n, ring.Check(), err)
		}
		again, err := ring.Reseal(t.Context(), db, "test")
		if err != nil {
			t.Fatal(err)
		}
		if again == 0 {
			changed++
		}
		db.Close()
		if cutErr == nil {
			t.Logf("%d crash points, after %d of them the change had been made", n-1, changed-1)
			if n < 8 || changed < 2 {
				t.Errorf("%d crash points, %d after the commit: the power cut does not reach it", n-1, changed-1)
			}
			return
		}
	}
}

// A file is imported with the power cut at every step, and once more after the
// restart. A row is done wholly or not at all; a password that was shown is
// right; and in the end everything is there once.
func TestAnImportAtEveryCrashPoint(t *testing.T) {
	template := t.TempDir()
	prepare(t, template)
	for n := 1; ; n++ {
		cut := false
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			copyFiles(t, template, dir)
			w := newWorld(t, dir, sandbox.Options{}, nil)
			key := func(r string) string { return w.sandbox.MustAddRegister(r) }
			old := key("reg_1")
			file := "device_id,register_id,register_key\npump-10,reg_10," + key("reg_10") + "\npump-1,reg_1,%s\npump-11,reg_11," + key("reg_11") + "\nkiosk-1,reg_1,\n"
			first := w.start(newPower(0))
			if err := first.giveKey("reg_1", secret.FromString(old)); err != nil {
				t.Fatal(err)
			}
			first.end()
			file = fmt.Sprintf(file, w.sandbox.Rotate("reg_1"))

			shown := map[sale.DeviceID]string{}
			imports := func(p *power, cutAt int) (results []string, err error) {
				l := w.start(p)
				defer l.end()
				p.mu.Lock()
				p.cutAt, p.step = cutAt, 0
				p.mu.Unlock()
				c := l.control()
				c.config.MQTT.CertFile = "operator.pem" // no site CA here
				err = c.Import(context.Background(), []byte(file), "test", func(r admin.ImportRow) {
					results = append(results, r.Result)
					if r.Password != "" {
						shown[r.DeviceID] = r.Password
					}
				})
				return results, err
			}
			p := newPower(0)
			_, _ = imports(p, n) // it ends where the power does
			cut = p.off
			l := w.start(newPower(0))
			for _, d := range []sale.DeviceID{"pump-10", "pump-11"} {
				_, err := l.ring.Get(d)
				_, keyErr := l.ring.KeyInfo("reg_" + sale.RegisterID(strings.TrimPrefix(string(d), "pump-")))
				if (err == nil) != (keyErr == nil) {
					t.Errorf("cut at step %d: %s is half there: %v, %v", n, d, err, keyErr)
				}
				if text := shown[d]; text != "" {
					if _, err := l.ring.Authenticate(string(d), []byte(text), nil); err != nil {
						t.Errorf("cut at step %d: the password of %s was shown and is not right: %v", n, d, err)
					}
				}
			}
			l.end()
			results, err := imports(newPower(0), 0)
			if err != nil || slices.Contains(results, admin.RowFailed) || len(results) != 4 {
				t.Errorf("cut at step %d: the second time %q, %v", n, results, err)
			}
			l = w.start(newPower(0))
			defer l.end()
			if k := l.ring.KeyVersions("reg_1"); len(k) != 1 || k[0].State != sale.KeyStateActive {
				t.Errorf("cut at step %d: keys of reg_1: %+v", n, k)
			}
			if len(l.ring.List()) != 5 {
				t.Errorf("cut at step %d: devices %+v", n, l.ring.List())
			}
		})
		if t.Failed() {
			return
		}
		if !cut {
			t.Logf("%d crash points", n-1)
			if n < 20 {
				t.Errorf("only %d crash points", n-1)
			}
			return
		}
	}
}
