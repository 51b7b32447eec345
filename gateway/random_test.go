package gateway

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"edgegw/fiscal/sandbox"
	"edgegw/relay"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/store"
)

// The random test: a plan of things that happen to a site (sales, repeated
// events, faults of every kind, a cut uplink, a rotated key, power cuts at any
// step of disk and uplink, restarts with the other policy for refused sales,
// a clock that jumps, a person's decisions) is drawn, carried out, and after
// every step the promises of CONTRACT.md section 1 are looked at. At the end all
// faults are mended, and each sale must be where it belongs, once.
//
// go test ./gateway -run TestWhateverHappens -rapid.checks=2000 for the long run.
func TestWhateverHappens(t *testing.T) {
	if set := flag.Lookup("rapid.checks"); set.Value.String() == set.DefValue {
		n := "25"
		if testing.Short() {
			n = "40" // of which rapid takes a fifth with -short
		}
		if err := set.Value.Set(n); err != nil {
			t.Fatal(err)
		}
	}
	template := t.TempDir()
	prepare(t, template)
	seen := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		plan := rapid.SliceOfN(rapid.Custom(drawStep), 40, 120).Draw(rt, "plan")
		ignore := rapid.Bool().Draw(rt, "ignore idempotency")
		serverIDs := rapid.Bool().Draw(rt, "server ids")
		var err error
		synctest.Test(t, func(t *testing.T) { // draws nothing: a failed draw must not panic in here
			dir := t.TempDir()
			copyFiles(t, template, dir)
			o := sandbox.Options{ServerIDs: serverIDs}
			if ignore {
				o.Idempotency = sandbox.Ignore
			}
			m := &machine{world: newWorld(t, dir, o, nil), seen: seen}
			err = m.run(plan)
		})
		if err != nil {
			rt.Fatal(err)
		}
	})
	reach := []string{"sale", "confirmed", "fault"}
	if !testing.Short() { // so few plans cannot be held to more
		reach = append(reach, "crash", "restart", "rotated", "quarantined", "decision retry", "decision discard", "decision resolve")
	}
	for _, must := range reach {
		if seen[must] == 0 {
			t.Errorf("it never came to %q: the plans reach too little", must)
		}
	}
	t.Logf("what happened: %v", seen)
}

// act is one step of a plan; n, m and k choose among what there is when it is
// carried out.
type act struct {
	What    string
	N, M, K int
}

func (a act) String() string { return fmt.Sprintf("%s(%d,%d,%d)", a.What, a.N, a.M, a.K) }

func drawStep(t *rapid.T) act {
	what := rapid.SampledFrom([]string{"start", "start", "update", "complete", "complete", "cancel", "whole", "whole", "again",
		"fault", "fault", "refuse", "refuse", "down", "up", "rotate", "key", "crash", "crash", "restart", "decide", "decide", "jump", "wait", "wait"}).Draw(t, "what")
	return act{what, rapid.IntRange(0, 11).Draw(t, "n"), rapid.IntRange(0, 11).Draw(t, "m"), rapid.IntRange(1, 60).Draw(t, "k")}
}

// modelSale is what the test knows of a sale, from its device's side.
type modelSale struct {
	device sale.DeviceID
	id     string
	total  int64
	open   bool
	end    sale.Kind
}

type machine struct {
	*world
	power  *power
	block  bool
	offset time.Duration
	rot    map[sale.RegisterID]string // keys that a technician has still to enter
	sales  []*modelSale
	last   map[sale.DeviceID]event
	boxes  map[sale.DeviceID]*box
	cents  int64
	seen   map[string]int
	mu     sync.Mutex
}

// box is a device's outbox: its events go out in order, each until it is
// acknowledged.
type box struct {
	mu     sync.Mutex
	events []event
	wake   chan struct{}
}

func (b *box) put(e event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, e)
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *box) empty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.events) == 0
}

// send is the device: it reports what is in its outbox until ctx ends.
func (m *machine) send(ctx context.Context, d sale.DeviceID, b *box) {
	for ctx.Err() == nil {
		b.mu.Lock()
		var e *event
		if len(b.events) > 0 {
			e = &b.events[0]
		}
		b.mu.Unlock()
		if e == nil {
			select {
			case <-b.wake:
			case <-ctx.Done():
			}
			continue
		}
		m.device(d, []event{*e})
		b.mu.Lock()
		b.events = b.events[1:]
		b.mu.Unlock()
	}
}

var machineDevices = []sale.DeviceID{"pump-1", "kiosk-1", "pump-2"} // the first two on reg_1

func (m *machine) run(plan []act) (err error) {
	m.rot, m.last, m.boxes, m.cents = map[sale.RegisterID]string{}, map[sale.DeviceID]event{}, map[sale.DeviceID]*box{}, 1000
	m.wall = func() time.Time {
		m.mu.Lock()
		defer m.mu.Unlock()
		return time.Now().Add(m.offset).Round(0)
	}
	m.tune = func(o *relay.Options) { o.Block = m.block }
	m.boot()
	for _, r := range []sale.RegisterID{"reg_1", "reg_2"} {
		if err := m.now().giveKey(r, secret.FromString(m.sandbox.MustAddRegister(string(r)))); err != nil {
			return err
		}
		m.now().relay.Wake(r)
	}
	ctx, cancel := context.WithCancel(context.Background())
	for _, d := range machineDevices {
		b := &box{wake: make(chan struct{}, 1)}
		m.boxes[d] = b
		m.done.Go(func() { m.send(ctx, d, b) })
	}
	defer func() {
		cancel()
		m.done.Wait()
		m.now().end()
	}()
	for i, a := range plan {
		m.do(a)
		if err := m.holds(); err != nil {
			return fmt.Errorf("after step %d, %s: %w", i, a, err)
		}
	}
	return m.mend()
}

// boot starts a life.
func (m *machine) boot() {
	m.power = newPower(0)
	m.on(m.start(m.power))
}

// reboot ends the present one, cleanly or dead.
func (m *machine) reboot() {
	l := m.now()
	m.off()
	l.end()
	m.boot()
}

func (m *machine) note(what string) { m.seen[what]++ }

func (m *machine) do(a act) {
	d := machineDevices[a.N%len(machineDevices)]
	r := []sale.RegisterID{"reg_1", "reg_2"}[a.M%2]
	switch a.What {
	case "start", "whole":
		m.begin(d, a.What)
	case "update", "complete", "cancel":
		m.proceed(d, a)
	case "again":
		if e, ok := m.last[d]; ok {
			m.boxes[d].put(e)
		}
	case "fault", "refuse":
		m.note("fault")
		m.sandbox.Inject(faultOf(a, r))
	case "down", "up":
		m.sandbox.SetDown(a.What == "down")
	case "rotate":
		m.note("rotated")
		m.rot[r] = m.sandbox.Rotate(string(r))
	case "key":
		m.enterKeys()
	case "crash":
		m.crash(a.K)
	case "restart":
		m.note("restart")
		m.block = a.M%3 == 0
		m.reboot()
	case "decide":
		m.decide(a)
	case "jump":
		m.mu.Lock()
		m.offset = time.Duration(a.N-6) * 8 * 365 * 24 * time.Hour
		m.mu.Unlock()
	case "wait":
		<-time.After([]time.Duration{time.Second, 10 * time.Second, time.Minute, 10 * time.Minute, 2 * time.Hour, 26 * time.Hour}[a.M%6])
	}
	<-time.After(time.Duration(a.K) * 20 * time.Millisecond)
}

// faultOf makes a fault of a plan's step: of the uplink, of the answer, or a
// refusal that sends a sale to a person.
func faultOf(a act, r sale.RegisterID) sandbox.Fault {
	f := sandbox.Fault{Register: string(r), Times: 1 + a.K%4,
		Step: []sandbox.Step{"", sandbox.StepStart, sandbox.StepUpdate, sandbox.StepComplete, sandbox.StepLookup, sandbox.StepCancel}[a.N%6]}
	if a.What == "refuse" {
		f.Action, f.Status = sandbox.Answer, []int{400, 422, 422, 409, 413, 415}[a.M%6]
		if f.Step == "" || f.Step == sandbox.StepLookup {
			f.Step = sandbox.StepComplete
		}
		return f
	}
	f.Action = []sandbox.Action{sandbox.Refuse, sandbox.DropRequest, sandbox.DropAnswer, sandbox.CutAnswer, sandbox.Garbage, sandbox.Empty, sandbox.CaptivePortal,
		sandbox.Throttle, sandbox.SigningDown, sandbox.Answer, sandbox.ProcessThenAnswer, sandbox.Pass}[a.M%12]
	switch f.Action {
	case sandbox.Answer:
		f.Status = []int{401, 403, 404, 408, 425, 500, 503, 418, 302}[a.K%9]
		if f.Status == 404 && f.Step != sandbox.StepStart {
			f.Status = 503 // an operation that is said not to be there is another story: it contradicts
		}
	case sandbox.ProcessThenAnswer:
		f.Status = []int{500, 502, 504, 408}[a.K%4]
	case sandbox.Pass:
		f.After = 15 * time.Second // longer than the client waits
	}
	return f
}

func (m *machine) begin(d sale.DeviceID, what string) {
	m.note("sale")
	m.cents += 7
	n := 1
	for _, s := range m.sales {
		if s.device == d {
			n++
		}
	}
	s := &modelSale{device: d, id: fmt.Sprint(n), open: what == "start"}
	m.sales = append(m.sales, s)
	if what == "start" {
		m.report(d, event{0, sale.Start, fmt.Sprintf(`{"sale_id":%q,"occurred_at":"2026-11-22T08:31:07+01:00","currency":"EUR"}`, s.id)})
		return
	}
	s.total, s.end = m.cents, sale.Whole
	m.report(d, event{0, sale.Whole, wholeSale(s.id, int(m.cents))})
}

func (m *machine) report(d sale.DeviceID, e event) {
	m.last[d] = e
	m.boxes[d].put(e)
}

// proceed goes on with an open sale of the device, if there is one.
func (m *machine) proceed(d sale.DeviceID, a act) {
	for _, s := range m.sales {
		if s.device != d || !s.open {
			continue
		}
		m.cents += 7
		content := strings.Replace(wholeSale(s.id, int(m.cents)), `"currency":"EUR",`, "", 1)
		switch a.What {
		case "update":
			m.report(d, event{0, sale.Update, content[:strings.Index(content, `,"payments"`)] + "}"})
		case "complete":
			s.open, s.end, s.total = false, sale.Complete, m.cents
			m.report(d, event{0, sale.Complete, content})
		case "cancel":
			s.open, s.end = false, sale.Cancel
			m.report(d, event{0, sale.Cancel, fmt.Sprintf(`{"sale_id":%q,"occurred_at":"2026-11-22T08:31:07+01:00"}`, s.id)})
		}
		return
	}
}

func (m *machine) enterKeys() {
	for r, key := range m.rot {
		if m.now().giveKey(r, secret.FromString(key)) == nil {
			m.now().relay.Wake(r)
			delete(m.rot, r)
		}
	}
}

// crash cuts the power k steps of disk and uplink from now, if so many come.
func (m *machine) crash(k int) {
	p := m.power
	p.mu.Lock()
	p.cutAt = p.step + k
	p.mu.Unlock()
	select {
	case <-p.cut:
		m.note("crash")
	case <-time.After(2 * time.Minute):
	}
	m.reboot()
}

// decide is a person with something in quarantine.
func (m *machine) decide(a act) {
	items, err := m.now().db.Items(context.Background(), store.ItemFilter{Open: true})
	if err != nil || len(items) == 0 {
		return
	}
	i := items[a.N%len(items)]
	v := sale.Ruling{Item: i.No, By: "anna", Reason: "a test", At: m.wall()}
	v.Decision = []sale.Decision{sale.DecisionRetry, sale.DecisionRetry, sale.DecisionDiscard, sale.DecisionResolve}[a.M%4]
	m.ruling(i, v)
}

// byHand is an operation that a person claims to have entered.
const byHand = "op_by_hand"

func (m *machine) ruling(i sale.Item, v sale.Ruling) {
	l := m.now()
	if i.Register == "" {
		v.Decision = sale.DecisionDiscard
		_ = l.db.DecideMessage(context.Background(), v)
		return
	}
	if v.Decision == sale.DecisionResolve {
		v.Operation = byHand
	}
	register, _, err := l.db.Decide(context.Background(), v)
	if err != nil {
		return // the power went: the item says what became of it
	}
	m.note("decision " + string(v.Decision))
	l.relay.Kick(register)
	l.relay.Wake(register)
}

// holds looks at the promises while things are under way.
func (m *machine) holds() error {
	l := m.now()
	queues, err := l.db.Queues(context.Background())
	if err != nil {
		return nil // the power is off
	}
	var errs []error
	for _, q := range queues {
		if !balanced(q) {
			errs = append(errs, fmt.Errorf("books of %s: %+v", q.Register, q))
		}
	}
	faults, err := l.db.Recount(context.Background())
	if err == nil && len(faults) > 0 {
		errs = append(errs, fmt.Errorf("recount: %v", faults))
	}
	ended := map[string]int{}
	for _, o := range m.sandbox.Operations("") {
		if o.State == "completed" {
			ended[fmt.Sprintf("%s %s %d", o.Register, o.ExternalID, o.Total)]++
		}
	}
	for what, n := range ended {
		if n > 1 {
			errs = append(errs, fmt.Errorf("%s is fiscalized %d times", what, n))
		}
	}
	return errors.Join(append(errs, m.sandbox.CheckFrozen(), oneKeyPerCall(m.sandbox))...)
}

// mend takes every fault away, ends what is open, and lets a person send again
// what is in quarantine, until nothing waits; then each sale is looked for.
func (m *machine) mend() error {
	m.sandbox.ClearFaults()
	m.sandbox.SetDown(false)
	for _, d := range machineDevices {
		for range m.sales {
			m.proceed(d, act{What: "complete"})
		}
	}
	m.block = false
	m.reboot()
	for range 50 {
		m.enterKeys()
		<-time.After(20 * time.Minute)
		items, err := m.now().db.Items(context.Background(), store.ItemFilter{Open: true})
		if err != nil {
			return err
		}
		for _, i := range items {
			m.note("quarantined")
			v := sale.Ruling{Item: i.No, Decision: sale.DecisionRetry, By: "anna", Reason: "mended", At: m.wall()}
			if i.Operation == byHand {
				v.Decision = sale.DecisionResolve // sent, it would contradict for ever: there is no such operation
			}
			m.ruling(i, v)
		}
		if len(items) == 0 && m.quiet() {
			return errors.Join(m.holds(), m.final())
		}
	}
	queues, _ := m.now().db.Queues(context.Background())
	items, _ := m.now().db.Items(context.Background(), store.ItemFilter{Open: true})
	return fmt.Errorf("the site does not come to rest: %+v; in quarantine %+v", queues, items)
}

func (m *machine) quiet() bool {
	for _, b := range m.boxes {
		if !b.empty() {
			return false
		}
	}
	queues, err := m.now().db.Queues(context.Background())
	for _, q := range queues {
		if q.Waiting > 0 {
			return false
		}
	}
	return err == nil
}

// final compares sale by sale: the device's, the journal's, OpenFiskal's.
func (m *machine) final() error {
	db := m.now().db
	ops := map[string]sandbox.Operation{}
	for _, o := range m.sandbox.Operations("") {
		ops[o.ID] = o
	}
	items, err := db.Items(context.Background(), store.ItemFilter{Limit: 10_000})
	if err != nil {
		return err
	}
	touched := map[string]bool{}
	for _, i := range items {
		touched[string(i.Device)+"/"+i.SaleID] = true
	}
	var errs []error
	for _, want := range m.sales {
		rows, err := db.Sales(context.Background(), store.SaleFilter{Device: want.device, SaleID: want.id})
		if err != nil || len(rows) != 1 {
			errs = append(errs, fmt.Errorf("sale %s of %s: %d in the journal, %v", want.id, want.device, len(rows), err))
			continue
		}
		got := rows[0]
		op, there := ops[got.Operation]
		switch {
		case got.State == sale.ByPerson: // whatever a person says stands
		case got.State != sale.Settled:
			errs = append(errs, fmt.Errorf("sale %s of %s is %s", want.id, want.device, got.State))
		case !there || want.end == sale.Cancel && op.State != "cancelled" || want.end != sale.Cancel && (op.State != "completed" || op.Total != want.total):
			errs = append(errs, fmt.Errorf("sale %s of %s (%s, %d): OpenFiskal has %+v", want.id, want.device, want.end, want.total, op))
		default:
			m.note("confirmed")
		}
		if there && got.State == sale.Settled {
			delete(ops, got.Operation)
		}
	}
	for _, o := range ops {
		if o.State == "completed" && !m.closed(db, o) {
			errs = append(errs, fmt.Errorf("a stray operation: %+v", o))
		}
	}
	return errors.Join(append(errs, m.ordered(db, touched))...)
}

// closed reports whether an operation belongs to a sale that a person closed
// another way, when it had been carried out already.
func (m *machine) closed(db *store.DB, o sandbox.Operation) bool {
	rows, err := db.Sales(context.Background(), store.SaleFilter{SaleID: o.ExternalID, State: sale.ByPerson})
	return err == nil && len(rows) > 0
}

// ordered checks that what never was in quarantine began at OpenFiskal in the
// order in which it was accepted.
func (m *machine) ordered(db *store.DB, touched map[string]bool) error {
	numbers := map[string]int{}
	for _, o := range m.sandbox.Operations("") {
		numbers[o.ID] = o.Number
	}
	rows, err := db.Sales(context.Background(), store.SaleFilter{Limit: 10_000})
	if err != nil {
		return err
	}
	next := map[sale.RegisterID]int{}
	for _, s := range rows { // the newest first
		if touched[string(s.Device)+"/"+s.SaleID] {
			continue
		}
		n := numbers[s.Operation]
		if after, ok := next[s.Register]; ok && n > after {
			return fmt.Errorf("sale %s of %s began after one that was accepted later", s.SaleID, s.Device)
		}
		next[s.Register] = n
	}
	return nil
}
