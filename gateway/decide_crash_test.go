package gateway

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"edgegw/admin"
	"edgegw/fiscal/sandbox"
	"edgegw/relay"
	"edgegw/sale"
	"edgegw/store"
)

// OpenFiskal refuses the first of two sales of a register, and a person decides
// about it, with the power cut at step 1, 2, 3 … of all that crosses the seams
// of disk and uplink. He says it again until it holds. Whatever the step: it is
// decided once, in one line of the audit trail, and each sale is at OpenFiskal
// once or, where it was given up, as far as it had come.
func TestADecisionAtEveryCrashPoint(t *testing.T) {
	for _, block := range []bool{false, true} {
		for _, d := range []sale.Decision{sale.DecisionRetry, sale.DecisionResolve, sale.DecisionDiscard} {
			t.Run(fmt.Sprintf("block=%v/%s", block, d), func(t *testing.T) {
				t.Parallel()
				template := t.TempDir()
				prepare(t, template)
				stride := 1
				if testing.Short() {
					stride = 7
				}
				for n := 1; ; n += stride {
					cut := false
					var err error
					synctest.Test(t, func(t *testing.T) {
						dir := t.TempDir()
						copyFiles(t, template, dir)
						p := newPerson(t, dir, block, d)
						cut = p.act(n, p.begin)
						err = p.check()
					})
					if err != nil {
						t.Fatalf("power cut at step %d: %v", n, err)
					}
					if !cut {
						t.Logf("%d crash points", n-1)
						if n < 40 {
							t.Errorf("only %d crash points: the power cut does not reach the parts", n-1)
						}
						return
					}
				}
			})
		}
	}
}

// person decides about what a stubborn OpenFiskal refuses.
type person struct {
	*world
	decision sale.Decision
	by       sync.Mutex
	mended   bool          // OpenFiskal refuses nothing any more
	refused  *http.Request // the newest, with its body
	body     []byte
}

func newPerson(t *testing.T, dir string, block bool, d sale.Decision) *person {
	p := &person{world: newWorld(t, dir, sandbox.Options{}, nil), decision: d}
	p.north = p
	p.tune = func(o *relay.Options) { o.Block = block }
	return p
}

// RoundTrip refuses the end of the first sale, which is about 10.01.
func (p *person) RoundTrip(r *http.Request) (*http.Response, error) {
	p.by.Lock()
	defer p.by.Unlock()
	if p.mended || !strings.HasSuffix(r.URL.Path, "/complete") {
		return p.sandbox.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if !bytes.Contains(body, []byte("1001")) {
		return p.sandbox.RoundTrip(r)
	}
	p.refused, p.body = r, body
	return &http.Response{StatusCode: http.StatusUnprocessableEntity, Header: http.Header{"Content-Type": {"application/json"}}, Request: r,
		Body: io.NopCloser(strings.NewReader(`{"object":"error","code":"validation_error"}`))}, nil
}

// begin lets the device sell and the person look.
func (p *person) begin() {
	sold := func(id string, cents int) string {
		return fmt.Sprintf(`{"sale_id":%q,"occurred_at":"2026-11-22T08:31:07+01:00","currency":"EUR","line_items":[{"description":"Super","quantity":"1","unit":"l","unit_price":"%d.%02d","amount":%d,"tax":{"rate":"0.19","category":"standard"}}],"payments":[{"method":"card","direction":"inbound","amount":%d}]}`,
			id, cents/100, cents%100, cents, cents)
	}
	p.done.Go(func() {
		p.device("pump-1", []event{{0, sale.Whole, sold("1", 1001)}, {time.Second, sale.Whole, sold("2", 2002)}})
	})
	p.done.Go(p.decide)
}

// decide says it until it holds.
func (p *person) decide() {
	for ; ; <-time.After(100 * time.Millisecond) {
		c := p.now().control()
		items, err := c.Quarantine(context.Background(), admin.QuarantineFilter{State: "all", SaleID: "1"})
		if err != nil || len(items) == 0 {
			continue
		}
		if err := p.mend(); err != nil {
			p.t.Error(err)
			return
		}
		_, err = c.Decide(context.Background(), admin.Decision{ID: "1", Decision: p.decision, Reason: "seen to"}, "anna")
		if f := (*admin.Refusal)(nil); err == nil || errors.As(err, &f) && f.Code == "conflict" {
			return
		}
	}
}

// mend ends the refusals; for a resolve the sale is completed by hand.
func (p *person) mend() error {
	p.by.Lock()
	defer p.by.Unlock()
	if p.mended {
		return nil
	}
	p.mended = true
	if p.decision != sale.DecisionResolve {
		return nil
	}
	r := p.refused.Clone(context.Background())
	r.Body = io.NopCloser(bytes.NewReader(p.body))
	r.Header.Set("Idempotency-Key", "10d5ef3e-0000-4000-8000-000000000001")
	w, err := p.sandbox.RoundTrip(r)
	if err == nil && w.StatusCode != http.StatusOK {
		err = fmt.Errorf("completed by hand: %s", w.Status)
	}
	return err
}

// control is what a person can do in this life.
func (l *life) control() *control {
	return &control{db: l.db, ring: l.ring, fiscal: l.fiscal, relay: l.relay, log: slog.New(slog.DiscardHandler)}
}

// check asks the stand-in, the books, the mailbox and the audit trail.
func (p *person) check() error {
	var got, heard []string
	for _, o := range p.sandbox.Operations("") {
		got = append(got, fmt.Sprintf("%s %s %d", o.ExternalID, o.State, o.Total))
	}
	want := []string{"1 completed 1001", "2 completed 2002"}
	hears := []string{"1 completed", "1 quarantined", "2 completed"}
	confirmed := int64(1)
	switch p.decision {
	case sale.DecisionRetry:
		confirmed = 2
	case sale.DecisionDiscard:
		want[0], hears = "1 open 1001", hears[1:]
	}
	var errs []error
	if !slices.Equal(got, want) {
		errs = append(errs, fmt.Errorf("OpenFiskal holds %q, want %q", got, want))
	}
	errs = append(errs, p.sandbox.CheckFrozen(), oneKeyPerCall(p.sandbox))
	var disk driver.Connector
	db, err := store.Open(context.Background(), p.dir, store.Options{Disk: func(c driver.Connector) driver.Connector {
		disk = c
		return c
	}})
	if err != nil {
		return err
	}
	defer db.Close()
	faults, err := db.Recount(context.Background())
	if err != nil || len(faults) > 0 {
		errs = append(errs, err, fmt.Errorf("the books: %q", faults))
	}
	queues, err := db.Queues(context.Background())
	for _, q := range queues {
		if q.Register == "reg_1" && (q.Accepted != 2 || q.Confirmed != confirmed || q.Resolved != 2-confirmed || !q.BlockedSince.IsZero() || q.Blocker != 0) {
			errs = append(errs, fmt.Errorf("queue %+v", q))
		}
	}
	errs = append(errs, err)
	letters, err := db.Letters(context.Background(), "pump-1", 0, 100)
	errs = append(errs, err)
	for _, l := range letters {
		r, err := l.Receipt()
		errs = append(errs, err)
		heard = append(heard, r.SaleID+" "+r.State)
	}
	if slices.Sort(heard); !slices.Equal(heard, hears) {
		errs = append(errs, fmt.Errorf("the device hears %q, want %q", heard, hears))
	}
	return errors.Join(append(errs, p.decidedOnce(db, disk))...)
}

// decidedOnce checks the item and the audit trail.
func (p *person) decidedOnce(db *store.DB, disk driver.Connector) error {
	items, err := db.Items(context.Background(), store.ItemFilter{})
	if err != nil || len(items) != 1 || items[0].Decision != p.decision || items[0].By != "anna" {
		return fmt.Errorf("items %+v, %w", items, err)
	}
	lines, err := p.auditLines(disk)
	if err == nil && lines != 1 {
		err = fmt.Errorf("%d lines in the audit trail", lines)
	}
	return err
}

// auditLines counts what the trail has of the decision, past the store, which
// only writes it.
func (p *person) auditLines(disk driver.Connector) (n int64, err error) {
	c, err := disk.Connect(context.Background())
	if err != nil {
		return 0, err
	}
	defer c.Close()
	s, err := c.Prepare(`SELECT count(*) FROM audit WHERE who = 'anna' AND what = 'quarantine ` + string(p.decision) + `'`)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	rows, err := s.(driver.StmtQueryContext).QueryContext(context.Background(), nil)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	row := make([]driver.Value, 1)
	if err := rows.Next(row); err != nil {
		return 0, err
	}
	n, _ = row[0].(int64)
	return n, nil
}

// A fiscal state that is pending where a person adopts the answer is followed
// like every other.
func TestAnAdoptedPendingStateIsFollowed(t *testing.T) {
	inBubble(t, func(o *relay.Options) { o.Window = time.Second }, func(t *testing.T, w *world, l *life) {
		w.sandbox.Inject(sandbox.Fault{Step: sandbox.StepComplete, Action: sandbox.Pend, PendFor: time.Hour, Times: 1, After: time.Minute})
		w.sandbox.Inject(sandbox.Fault{Step: sandbox.StepLookup, Action: sandbox.Answer, Status: 405})
		w.device("pump-1", []event{{0, sale.Whole, fmt.Sprintf(wholeEvent, "s1")}})
		<-time.After(time.Minute) // the answer never came, nobody may look, and the window is over
		l.receipts(t, "s1  true")
		w.sandbox.ClearFaults()
		r, err := l.control().Decide(t.Context(), admin.Decision{ID: "s1", Decision: sale.DecisionResolve, Reason: "it is there"}, "anna")
		if err != nil || !r.Adopted {
			t.Fatalf("resolved %+v, %v", r, err)
		}
		<-time.After(2 * time.Hour)
		l.receipts(t, "s1  true,s1 pending true,s1 succeeded true")
	})
}
