package gateway

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"edgegw/clock"
	"edgegw/devicekeys"
	"edgegw/fiscal"
	"edgegw/fiscal/sandbox"
	"edgegw/relay"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/store"
)

// The master test: a few interleaved sales on two registers, one of whose keys
// is rotated underneath, with the power cut at step 1, 2, 3 … of all that
// crosses the seams of disk and uplink; a restart on the same file; the devices
// send again what was not acknowledged; ten minutes pass. Then the stand-in is
// asked: each sale ended exactly once, in order, with its money, and nothing
// else is there. It ends when no step is left.
//
// The same run must fail when a law is broken on purpose: see mutants.
func TestMasterEveryCrashPoint(t *testing.T) {
	for _, mode := range []sandbox.Idempotency{sandbox.Honour, sandbox.Ignore} {
		for _, serverIDs := range []bool{false, true} {
			if serverIDs && testing.Short() {
				continue
			}
			t.Run(fmt.Sprintf("idempotency=%v/serverIDs=%v", mode, serverIDs), func(t *testing.T) {
				t.Parallel()
				points, err := everyCut(t, sandbox.Options{Idempotency: mode, ServerIDs: serverIDs}, nil, 1)
				if err != nil {
					t.Error(err)
				}
				t.Logf("%d crash points", points)
				if points < 150 {
					t.Errorf("only %d crash points: the power cut does not reach the parts", points)
				}
			})
		}
	}
}

// mutants break one law each. A test that lets one of them through guards
// nothing.
var mutants = map[string]*mutant{
	"acknowledges before the commit": {journal: func(j relay.Journal) relay.Journal { return hasty{j} }},
	"does not journal the attempt":   {journal: func(j relay.Journal) relay.Journal { return forgetful{j} }},
	"sends again without looking":    {service: func(s relay.Service) relay.Service { return blind{s} }},
	"renders the body anew":          {service: func(s relay.Service) relay.Service { return redraws{s} }},
	"makes a new idempotency key":    {service: func(s relay.Service) relay.Service { return rekeys{s} }},
	"takes the answer for granted":   {service: func(s relay.Service) relay.Service { return credulous{s} }},
	"gives up after a refusal":       {journal: func(j relay.Journal) relay.Journal { return quitter{j} }},
	"keeps no order":                 {journal: func(j relay.Journal) relay.Journal { return &shuffler{Journal: j} }},
}

func TestMasterCatchesItsMutants(t *testing.T) {
	for name, m := range mutants {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			for _, mode := range []sandbox.Idempotency{sandbox.Ignore, sandbox.Honour} {
				if points, err := everyCut(t, sandbox.Options{Idempotency: mode}, m, 1); err != nil {
					t.Logf("caught at crash point %d: %v", points, firstLine(err))
					return
				}
			}
			t.Errorf("a gateway that %s passes the master test", name)
		})
	}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

type mutant struct {
	journal func(relay.Journal) relay.Journal
	service func(relay.Service) relay.Service
}

// everyCut runs the scene with the power cut at each step, and gives how many
// there were, or the step that went wrong.
func everyCut(t *testing.T, o sandbox.Options, m *mutant, from int) (points int, err error) {
	template := t.TempDir()
	prepare(t, template)
	for n := from; ; n++ {
		var cut bool
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			copyFiles(t, template, dir)
			w := newWorld(t, dir, o, m)
			cut = w.play(n)
			err = w.check()
		})
		if err != nil {
			return n, fmt.Errorf("power cut at step %d: %w", n, err)
		}
		if !cut {
			return n - 1, nil
		}
	}
}

var masterKEK = secret.FromString("7d9f3c1a5e80b2467d9f3c1a5e80b246a1b2c3d4e5f60718293a4b5c6d7e8f90")

// prepare makes the data of a site with three devices on two registers, once.
func prepare(t *testing.T, dir string) {
	t.Helper()
	w := newWorld(t, dir, sandbox.Options{}, nil)
	life := w.start(newPower(0))
	for d, r := range map[sale.DeviceID]sale.RegisterID{"pump-1": "reg_1", "pump-2": "reg_2", "kiosk-1": "reg_1"} {
		if _, err := life.ring.Add(t.Context(), devicekeys.NewDevice{ID: d, Register: r}, "test"); err != nil {
			panic(err)
		}
	}
	life.end()
}

func copyFiles(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		panic(err)
	}
}

// world is a site with its devices and its OpenFiskal, over several lives of
// its gateway.
type world struct {
	t       *testing.T
	dir     string
	sandbox *sandbox.Service
	north   http.RoundTripper // the way to it
	tune    func(*relay.Options)
	wall    func() time.Time // what the box's clock says; nil: the truth
	watch   func(enter bool) // told of each request
	mutant  *mutant
	kek     secret.Text // of the lives to come; empty: masterKEK

	mu    sync.Mutex
	life  *life         // the one that is on
	alive chan struct{} // closed when one is on

	done sync.WaitGroup
}

func newWorld(t *testing.T, dir string, o sandbox.Options, m *mutant) *world {
	s := sandbox.New(o)
	return &world{t: t, dir: dir, sandbox: s, north: s, mutant: m, alive: make(chan struct{})}
}

// life is one life of the gateway, from start to its end or the power's.
type life struct {
	db     *store.DB
	ring   *devicekeys.Ring
	fiscal *fiscal.Client
	relay  *relay.Relay
	end    func()
}

func (w *world) start(p *power) *life { return w.begin(p, func(*life) {}) }

// startWith starts a life whose journal is changed before its relay runs.
func (w *world) startWith(change func(*life)) *life { return w.begin(newPower(0), change) }

// RoundTrip is the way to OpenFiskal, watched.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.watch != nil {
		w.watch(true)
		defer w.watch(false)
	}
	return w.north.RoundTrip(r)
}

func (w *world) begin(p *power, change func(*life)) *life {
	db, err := store.Open(context.Background(), w.dir, store.Options{Disk: func(c driver.Connector) driver.Connector { return cutDisk{p, c} }})
	if err != nil {
		panic(err)
	}
	text := masterKEK
	if !w.kek.Empty() {
		text = w.kek
	}
	kek, _, err := devicekeys.LoadKEK(devicekeys.KEKOptions{Text: text})
	if err != nil {
		panic(err)
	}
	ring, err := devicekeys.Open(context.Background(), db, kek)
	if err != nil {
		panic(err)
	}
	o := relay.Options{Operation: uuid.NewString}
	fo := fiscal.Options{BaseURL: "https://sandbox.test/v1", Transport: cutTransport{p, w}}
	if w.wall != nil {
		last, _, err := db.LastTime(context.Background())
		if err != nil {
			panic(err)
		}
		c := clock.New(clock.Options{Built: bubbleBegin, Journal: last, Wall: w.wall, Synchronised: func() bool { return false }})
		o.Now, fo.Date = c.Now, c.Hint
	}
	client, err := fiscal.New(fo, ring)
	if err != nil {
		panic(err)
	}
	var journal relay.Journal = db
	var service relay.Service = client
	if w.mutant != nil && w.mutant.journal != nil {
		journal = w.mutant.journal(journal)
	}
	if w.mutant != nil && w.mutant.service != nil {
		service = w.mutant.service(service)
	}
	if w.tune != nil {
		w.tune(&o)
	}
	change(&life{db: db, ring: ring})
	r := relay.New(o, journal, fiscal.Encoder{NewKey: uuid.NewString}, service, roster{ring: ring})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	return &life{db: db, ring: ring, fiscal: client, relay: r, end: func() {
		cancel()
		<-ended // its error is the power cut's; what matters is on the disk
		db.Close()
	}}
}

// play runs the scene with the power cut at step n; cut says whether there was
// such a step.
func (w *world) play(n int) (cut bool) {
	return w.act(n, func() {
		for d, events := range scene() {
			w.done.Go(func() { w.device(d, events) })
		}
		w.done.Go(w.backOffice)
	})
}

// act is play for any scene, which begin begins.
func (w *world) act(n int, begin func()) (cut bool) {
	p := newPower(0) // keys are given before the scene begins
	first := w.start(p)
	for _, r := range []sale.RegisterID{"reg_1", "reg_2"} {
		if err := first.giveKey(r, secret.FromString(w.sandbox.MustAddRegister(string(r)))); err != nil {
			panic(err)
		}
	}
	p.mu.Lock()
	p.cutAt, p.step = n, 0
	p.mu.Unlock()
	w.on(first)
	begin()
	select {
	case <-p.cut:
		cut = true
	case <-time.After(15 * time.Minute):
	}
	last := first
	if cut {
		w.off()
		first.end()
		last = w.start(newPower(0))
		w.on(last)
	}
	w.done.Wait()
	<-time.After(10 * time.Minute)
	last.end()
	return cut
}

// backOffice rotates a key while sales are under way, and a technician enters
// the new one a minute later, whom a dead process does not discourage.
func (w *world) backOffice() {
	<-time.After(4 * time.Second)
	key := secret.FromString(w.sandbox.Rotate("reg_2"))
	<-time.After(time.Minute)
	for {
		l := w.now()
		if err := l.giveKey("reg_2", key); err == nil {
			l.relay.Wake("reg_2")
			return
		}
		<-time.After(100 * time.Millisecond)
	}
}

func (l *life) giveKey(r sale.RegisterID, key secret.Text) error {
	_, err := l.ring.SetKey(context.Background(), r, key, sale.KeyStateUnverified, "test")
	return err
}

// now gives the life that is on, waiting for one if need be.
func (w *world) now() *life {
	for {
		w.mu.Lock()
		l, alive := w.life, w.alive
		w.mu.Unlock()
		if l != nil {
			return l
		}
		<-alive
	}
}

func (w *world) on(l *life) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.life = l
	close(w.alive)
}

func (w *world) off() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.life, w.alive = nil, make(chan struct{})
}

// device reports its events in order, each again until it is acknowledged.
func (w *world) device(d sale.DeviceID, events []event) {
	for _, e := range events {
		<-time.After(e.after)
		for {
			v := <-w.now().relay.Accept(context.Background(), sale.Message{Device: d, Kind: e.kind, Payload: []byte(e.payload), QoS: 1, Received: w.wallTime()})
			if v.Err == nil {
				break
			}
			<-time.After(100 * time.Millisecond)
		}
	}
}

func (w *world) wallTime() time.Time {
	if w.wall != nil {
		return w.wall()
	}
	return time.Now()
}

// bubbleBegin is when the fake time of synctest begins.
var bubbleBegin = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

type event struct {
	after   time.Duration
	kind    sale.Kind
	payload string
}

// scene is what the devices report: interleaved sales of two devices on one
// register that count alike, updates, a cancel, whole sales.
func scene() map[sale.DeviceID][]event {
	at := `"occurred_at":"2026-11-22T08:31:07+01:00"`
	lines := func(cents int) string {
		return fmt.Sprintf(`"line_items":[{"description":"Super","quantity":"1.11","unit":"l","unit_price":"%d.%02d","amount":%d,"tax":{"rate":"0.19","category":"standard"},"discounts":[{"amount":%d}]}]`,
			cents/100, cents%100, cents, (cents*111+50)/100-cents)
	}
	pay := func(cents int) string {
		return fmt.Sprintf(`"payments":[{"method":"card","direction":"inbound","amount":%d}]`, cents)
	}
	start := func(id string) string { return fmt.Sprintf(`{"sale_id":%q,%s,"currency":"EUR"}`, id, at) }
	complete := func(id string, cents int) string {
		return fmt.Sprintf(`{"sale_id":%q,%s,%s,%s}`, id, at, lines(cents), pay(cents))
	}
	whole := func(id string, cents int) string {
		return fmt.Sprintf(`{"sale_id":%q,%s,"currency":"EUR",%s,%s}`, id, at, lines(cents), pay(cents))
	}
	return map[sale.DeviceID][]event{
		"pump-1": {
			{0, sale.Start, start("1")},
			{3 * time.Second, sale.Update, fmt.Sprintf(`{"sale_id":"1",%s,%s}`, at, lines(500))},
			{time.Second, sale.Complete, complete("1", 1001)},
			{time.Second, sale.Start, start("2")},
			{time.Second, sale.Cancel, fmt.Sprintf(`{"sale_id":"2",%s,"reason":"nozzle returned"}`, at)},
		},
		"kiosk-1": {
			{500 * time.Millisecond, sale.Whole, whole("1", 2002)},
		},
		"pump-2": {
			{time.Second, sale.Whole, whole("1", 3003)},
			{2 * time.Second, sale.Start, start("2")},
			{3 * time.Second, sale.Complete, complete("2", 4004)},
		},
	}
}

// check asks the stand-in: what ended on each register, told apart by its
// money, because two devices of reg_1 count alike on purpose.
func (w *world) check() error {
	var errs []error
	got := map[string][]string{}
	for _, o := range w.sandbox.Operations("") {
		got[o.Register] = append(got[o.Register], fmt.Sprintf("%s %s %d", o.ExternalID, o.State, o.Total))
	}
	for r, want := range map[string][]string{
		"reg_1": {"1 completed 1001", "1 completed 2002", "2 cancelled 0"},
		"reg_2": {"1 completed 3003", "2 completed 4004"},
	} {
		// A cut may let either device of reg_1 be first: they are not in order
		// with each other.
		if r == "reg_1" && len(got[r]) > 1 && got[r][0] == want[1] {
			want[0], want[1] = want[1], want[0]
		}
		if !slices.Equal(got[r], want) {
			errs = append(errs, fmt.Errorf("%s holds %q, want %q", r, got[r], want))
		}
	}
	errs = append(errs, w.sandbox.CheckFrozen(), oneKeyPerCall(w.sandbox), w.receipts())
	return errors.Join(errs...)
}

// oneKeyPerCall checks that a call went out under one idempotency key, however
// often it was sent.
func oneKeyPerCall(s *sandbox.Service) error {
	keys := map[string]string{}
	for _, r := range s.Requests() {
		if r.IdempotencyKey == "" || r.Outcome == "connection refused" || r.Outcome == "body not read" {
			continue // without a body two calls look alike
		}
		call := r.Method + " " + r.Path + " " + string(r.Body)
		if k, ok := keys[call]; ok && k != r.IdempotencyKey {
			return fmt.Errorf("%s went out under two idempotency keys", call)
		}
		keys[call] = r.IdempotencyKey
	}
	return nil
}

// receipts checks that every end has exactly one receipt in its own device's
// mailbox, and that the totals are whole.
func (w *world) receipts() error {
	db, err := store.Open(context.Background(), w.dir, store.Options{})
	if err != nil {
		return err
	}
	defer db.Close()
	for d, want := range map[sale.DeviceID]string{"pump-1": "1 completed,2 cancelled", "kiosk-1": "1 completed", "pump-2": "1 completed,2 completed"} {
		letters, err := db.Letters(context.Background(), d, 0, 100)
		if err != nil {
			return err
		}
		var got []string
		for _, l := range letters {
			r, err := l.Receipt()
			if err != nil {
				return err
			}
			got = append(got, r.SaleID+" "+r.State)
		}
		if strings.Join(got, ",") != want {
			return fmt.Errorf("receipts of %s: %v, want %s", d, got, want)
		}
	}
	queues, err := db.Queues(context.Background())
	for _, q := range queues {
		if q.Waiting != 0 || !q.Idle || q.Accepted != q.Confirmed {
			return errors.Join(err, fmt.Errorf("queue %+v", q))
		}
	}
	return err
}

// The mutants.

type hasty struct{ relay.Journal }

func (h hasty) Append(ctx context.Context, e sale.Entry, done func(sale.Accepted, error)) {
	done(sale.Accepted{Status: sale.Queued}, nil)
	h.Journal.Append(ctx, e, func(sale.Accepted, error) {})
}

type forgetful struct{ relay.Journal }

func (forgetful) Begin(context.Context, sale.Attempt) error { return nil }
func (f forgetful) Settle(ctx context.Context, o sale.Outcome) (sale.DeviceID, error) {
	o.Then = nil
	if err := f.Journal.Begin(ctx, sale.Attempt{Call: before(o.Call), At: o.At}); err != nil {
		return "", err
	}
	return f.Journal.Settle(ctx, o)
}

func before(c sale.Call) sale.Call {
	c.Attempts--
	return c
}

type blind struct{ relay.Service }

func (blind) Find(context.Context, sale.Call, func(string) bool) (sale.Answer, error) {
	return sale.Answer{Operation: "x", State: sale.StateOpen}, sale.ErrNone
}

type redraws struct{ relay.Service }

func (r redraws) Do(ctx context.Context, c sale.Call) (sale.Answer, error) {
	c.Body = bytes.Replace(c.Body, []byte("2026-11-22T08:31:07+01:00"), []byte(time.Now().Format(time.RFC3339Nano)), 1)
	return r.Service.Do(ctx, c)
}

type rekeys struct{ relay.Service }

func (r rekeys) Do(ctx context.Context, c sale.Call) (sale.Answer, error) {
	c.IdempotencyKey = uuid.NewString()
	return r.Service.Do(ctx, c)
}

type credulous struct{ relay.Service }

func (r credulous) Do(ctx context.Context, c sale.Call) (sale.Answer, error) {
	a, err := r.Service.Do(ctx, c)
	if p := (*sale.Problem)(nil); errors.As(err, &p) && p.Class == sale.KeyRefused {
		return sale.Answer{Operation: c.Operation, State: "completed", Body: []byte(`{"id":"x","state":"completed"}`)}, nil
	}
	return a, err
}

type quitter struct{ relay.Journal }

func (q quitter) Settle(ctx context.Context, o sale.Outcome) (sale.DeviceID, error) {
	if o.Problem != nil && o.Problem.Class == sale.KeyRefused {
		o.Answer = &sale.Answer{Operation: o.Call.Operation, State: "completed", Body: []byte(`{"id":"x","state":"completed"}`)}
	}
	return q.Journal.Settle(ctx, o)
}

// shuffler accepts an end before the start of the sale it belongs to was sent:
// the queue of the next sale goes first.
type shuffler struct {
	relay.Journal
	mu   sync.Mutex
	held func()
}

func (s *shuffler) Append(ctx context.Context, e sale.Entry, done func(sale.Accepted, error)) {
	if e.Event.Kind == sale.Whole && e.Device == "pump-2" {
		// "On disk", but really only after the device's next sale.
		s.mu.Lock()
		s.held = func() { s.Journal.Append(ctx, e, func(sale.Accepted, error) {}) }
		s.mu.Unlock()
		done(sale.Accepted{Status: sale.Queued}, nil)
		return
	}
	s.Journal.Append(ctx, e, done)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held != nil && e.Device == "pump-2" {
		s.held()
		s.held = nil
	}
}
