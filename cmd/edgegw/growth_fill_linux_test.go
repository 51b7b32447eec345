package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"edgegw/bench"
	"edgegw/devicekeys"
	"edgegw/fiscal"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/simulator"
	"edgegw/store"
)

// journal is the data of a growthSite while no gateway runs. It is filled through the
// store's own methods, with what a gateway would have handed to them.
type journal struct {
	b       *testing.B
	site    *growthSite
	db      *store.DB
	ring    *devicekeys.Ring
	encoder fiscal.Encoder
	bulks   []*simulator.Bulk // of each device: its counter has no gaps
}

// open opens the data of a site; the journal is closed when with has returned.
func (s *growthSite) open(with func(*journal)) {
	s.b.Helper()
	ctx := context.Background()
	db, err := store.Open(ctx, s.dir, store.Options{})
	if err != nil {
		s.b.Fatal(err)
	}
	kek, _, err := devicekeys.LoadKEK(devicekeys.KEKOptions{DataDir: s.dir, SealedKeysExist: len(s.devices) > 0})
	if err != nil {
		s.b.Fatal(err)
	}
	ring, err := devicekeys.Open(ctx, db, kek)
	if err != nil {
		s.b.Fatal(err)
	}
	with(&journal{b: s.b, site: s, db: db, ring: ring, encoder: fiscal.Encoder{NewKey: uuid.NewString}})
	if err := db.Close(); err != nil {
		s.b.Fatal(err)
	}
}

// add adds devices until there are n, on so many registers in turn, each of which has a
// key that nobody could ask OpenFiskal about.
func (j *journal) add(registers, n int) {
	ctx, s := context.Background(), j.site
	for i := len(s.devices); i < n; i++ {
		d := devicekeys.NewDevice{ID: sale.DeviceID(fmt.Sprintf("pump-%05d", i)), Register: sale.RegisterID(fmt.Sprintf("reg_%04d", i%registers)), Kind: "kiosk"}
		var login bench.Login
		text, err := j.ring.Add(ctx, d, "bench")
		if err == nil && i < registers {
			_, err = j.ring.SetKey(ctx, d.Register, secret.FromString(s.cloud.MustAddRegister(string(d.Register))), sale.KeyStateUnverified, "bench")
		}
		if err != nil {
			j.b.Fatal(err)
		}
		login.ID, login.Secret = d.ID, string(text.Reveal())
		s.logins = append(s.logins, login)
		made, err := j.ring.Get(d.ID)
		if err != nil {
			j.b.Fatal(err)
		}
		s.devices = append(s.devices, made)
	}
}

// fillStep is how many sales are on their way to the journal at once.
const fillStep = 4000

// sell appends n whole sales of 1 KiB, from and to these times, evenly to the devices.
// After each step between is called.
func (j *journal) sell(n int, from, to time.Time, between func()) {
	s := j.site
	for i := len(j.bulks); i < len(s.devices); i++ {
		j.bulks = append(j.bulks, simulator.NewBulk(simulator.Source(uint64(s.sales+1), string(s.devices[i].ID)), "EUR"))
	}
	for done := 0; done < n; {
		var wg sync.WaitGroup
		for range min(fillStep, n-done) {
			at := from.Add(time.Duration(float64(to.Sub(from)) * float64(done) / float64(n)))
			raw, id := j.bulks[s.sales%len(s.devices)].Append(nil, at)
			if s.oldest == "" {
				s.oldest = id
			}
			x := j.entry(raw, s.devices[s.sales%len(s.devices)], at)
			wg.Add(1)
			j.db.Append(context.Background(), x, func(_ sale.Accepted, err error) {
				if err != nil {
					j.b.Error(err)
				}
				wg.Done()
			})
			s.sales++
			done++
		}
		wg.Wait()
		if j.b.Failed() {
			j.b.FailNow()
		}
		between()
	}
}

// entry is a whole sale as the relay hands it to the journal.
func (j *journal) entry(raw []byte, d sale.Device, at time.Time) sale.Entry {
	e, fault := sale.Parse(sale.Whole, raw)
	if fault != nil {
		j.b.Fatal(fault)
	}
	operation, err := uuid.NewV7()
	if err != nil {
		j.b.Fatal(err)
	}
	x := sale.Entry{Event: e, Raw: raw, At: at, Operation: operation.String(), Device: d.ID, Register: d.Register, Currency: "EUR"}
	x.Opening = sale.Freeze(j.encoder.Encode(e, d.Register, d, x.Operation, true, 2), raw)
	return x
}

// confirm settles everything that waits, with answers of the stand-in, and delivers the
// receipts: register by register side by side, so that commits are shared.
func (j *journal) confirm(answers *answers) {
	registers := map[sale.RegisterID]bool{}
	var wg sync.WaitGroup
	for _, d := range j.site.devices {
		if !registers[d.Register] {
			registers[d.Register] = true
			wg.Go(func() { j.check(j.drain(d.Register, answers)) })
		}
	}
	wg.Wait()
	at := time.Now()
	for _, d := range j.site.devices {
		wg.Go(func() { j.check(j.deliver(d.ID, at)) })
	}
	wg.Wait()
	if j.b.Failed() {
		j.b.FailNow()
	}
}

func (j *journal) check(err error) {
	if err != nil {
		j.b.Error(err)
	}
}

// drain settles what waits of one register: each answer came a second after the sale.
func (j *journal) drain(r sale.RegisterID, answers *answers) error {
	ctx := context.Background()
	for {
		h, err := j.db.Head(ctx, r)
		if errors.Is(err, sale.ErrNone) {
			return nil
		}
		if err != nil {
			return err
		}
		at := h.Accepted.Add(time.Second)
		call, rest := h.Call, h.Rest
		if err := j.db.Begin(ctx, sale.Attempt{Call: call, At: at, Next: at}); err != nil {
			return err
		}
		for {
			call.Attempts++
			answer, err := answers.to(call)
			if err != nil {
				return err
			}
			o := sale.Outcome{Call: call, Answer: &answer, At: at}
			if len(rest) > 0 {
				next := rest[0]
				next.Operation = answer.Operation
				o.Then = &sale.Attempt{Call: next, At: at, Next: at}
			}
			if _, err := j.db.Settle(ctx, o); err != nil {
				return err
			}
			if o.Then == nil {
				break
			}
			call, rest = o.Then.Call, rest[1:]
		}
	}
}

// deliver notes that the device has acknowledged every receipt that waits for it.
func (j *journal) deliver(d sale.DeviceID, at time.Time) error {
	ctx := context.Background()
	for {
		letters, err := j.db.Letters(ctx, d, 0, 500)
		if err != nil || len(letters) == 0 {
			return err
		}
		var wg sync.WaitGroup
		errs := make([]error, len(letters))
		for i, l := range letters {
			wg.Go(func() { errs[i] = j.db.Delivered(ctx, d, l.No, at) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
}

// answers are those of the stand-in to the three calls of one sale, of which every other
// sale gets its own.
type answers struct {
	of        [3]sale.Answer
	operation string
	document  string
	mu        sync.Mutex
	given     int
}

// newAnswers sells one sale at the stand-in.
func (j *journal) newAnswers() *answers {
	d, now := j.site.devices[0], time.Now()
	raw, _ := simulator.NewBulk(simulator.Source(1, "answers"), "EUR").Append(nil, now)
	x := j.entry(raw, d, now)
	calls, err := sale.Thaw(x.Opening, raw)
	if err != nil || len(calls) != 3 {
		j.b.Fatalf("a whole sale owes %d calls: %v", len(calls), err)
	}
	client, err := fiscal.New(fiscal.Options{BaseURL: sandbox.BaseURL, Transport: j.site.cloud}, j.ring)
	if err != nil {
		j.b.Fatal(err)
	}
	a := &answers{operation: x.Operation}
	for i := range calls {
		c := calls[i]
		c.Register, c.Operation, c.SaleID, c.Attempts = d.Register, x.Operation, x.Event.SaleID, 1
		if a.of[i], err = client.Do(context.Background(), c); err != nil {
			j.b.Fatal(err)
		}
	}
	if a.document = a.of[2].DocumentNumber; a.document == "" || a.of[2].State != sale.StateCompleted {
		j.b.Fatalf("the stand-in answered %s", a.of[2].Body)
	}
	return a
}

// number is the receipt number of the n-th sale.
func (a *answers) number(n int) string { return fmt.Sprintf("R-%09d", n) }

// to is the answer to a call.
func (a *answers) to(c sale.Call) (sale.Answer, error) {
	was := a.of[c.Index]
	body := bytes.ReplaceAll(was.Body, []byte(a.operation), []byte(c.Operation))
	if c.Step == sale.StepComplete {
		a.mu.Lock()
		number := a.number(a.given)
		a.given++
		a.mu.Unlock()
		body = bytes.ReplaceAll(body, []byte(a.document), []byte(number))
	}
	return sale.ParseAnswer(was.Status, strings.Clone(was.RequestID), body)
}

// sweep removes what retention removes with this limit, and gives the space back.
func (j *journal) sweep(kept time.Duration) {
	ctx, now := context.Background(), time.Now()
	s := store.Sweep{Now: now}
	for !s.Done {
		var err error
		if s, err = j.db.Sweep(ctx, s, now.Add(-kept)); err != nil {
			j.b.Fatal(err)
		}
	}
	for more := true; more; {
		var err error
		if more, err = j.db.GiveBack(ctx); err != nil {
			j.b.Fatal(err)
		}
	}
	j.site.sales -= int(s.Removed)
	j.site.oldest = ""
}
