package store

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edgegw/sale"
)

// refuse ends an attempt of the head of r with a quarantine.
func refuse(t *testing.T, db *DB, r sale.RegisterID, block bool) sale.Head {
	t.Helper()
	h, err := db.Head(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Begin(t.Context(), sale.Attempt{Call: h.Call, At: t0, Next: t0}); err != nil {
		t.Fatal(err)
	}
	h.Attempts++
	o := sale.Outcome{Call: h.Call, At: t0.Add(time.Second), Quarantine: true, Blocked: block,
		Problem: &sale.Problem{Class: sale.Poison, Status: 422, Code: "validation_error", RequestID: "req_9", Body: []byte(`{"code":"validation_error"}`)}}
	posted, err := db.Settle(t.Context(), o)
	if err != nil || posted != h.Device {
		t.Fatalf("quarantine: posted to %q, %v", posted, err)
	}
	return h
}

// drain confirms all that waits on r and gives the calls in order.
func drain(t *testing.T, db *DB, r sale.RegisterID) string {
	t.Helper()
	var got []string
	for {
		h, err := db.Head(t.Context(), r)
		if errors.Is(err, sale.ErrNone) {
			return strings.Join(got, ",")
		}
		if errors.Is(err, sale.ErrHeld) {
			return strings.Join(append(got, "HELD"), ",")
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %s", h.SaleID, h.Step))
		confirm(t, db, r)
	}
}

// books checks that the totals are what the rows say.
func books(t *testing.T, db *DB, waiting, confirmed, quarantined, resolved int64) {
	t.Helper()
	queues, err := db.Queues(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := [4]int64{}
	for _, q := range queues {
		got[0], got[1], got[2], got[3] = got[0]+q.Waiting, got[1]+q.Confirmed, got[2]+q.Quarantined, got[3]+q.Resolved
	}
	if want := [4]int64{waiting, confirmed, quarantined, resolved}; got != want {
		t.Errorf("waiting, confirmed, quarantined, resolved are %v, want %v", got, want)
	}
	if faults, err := db.Recount(t.Context()); err != nil || len(faults) > 0 {
		t.Errorf("the books: %v, %v", faults, err)
	}
}

func decide(t *testing.T, db *DB, item int64, d sale.Decision, operation string, a *sale.Answer) error {
	t.Helper()
	_, _, err := db.Decide(t.Context(), sale.Ruling{Item: item, Decision: d, Operation: operation, Answer: a, By: "anna", Reason: "because", At: t0.Add(time.Hour)})
	return err
}

func openItems(t *testing.T, db *DB) []sale.Item {
	t.Helper()
	items, err := db.Items(t.Context(), ItemFilter{Open: true})
	if err != nil {
		t.Fatal(err)
	}
	return items
}

// scene has three sales of one register: s1 with start, update and complete, and
// two whole ones around its complete.
func scene(t *testing.T) *DB {
	db := openTest(t)
	addDevice(t, db, "pump-01", "reg_1")
	for _, e := range []struct {
		k  sale.Kind
		id string
	}{{sale.Start, "s1"}, {sale.Whole, "s2"}, {sale.Update, "s1"}, {sale.Complete, "s1"}, {sale.Whole, "s3"}} {
		mustAppend(t, db, entry("pump-01", "reg_1", e.k, e.id, e.k.String()), sale.Queued)
	}
	return db
}

const (
	whole2 = "s2 start,s2 update,s2 complete"
	whole3 = "s3 start,s3 update,s3 complete"
)

func TestASaleIsSteppedOverWithAllItsEvents(t *testing.T) {
	db := scene(t)
	refuse(t, db, "reg_1", false) // the start of s1
	books(t, db, 2, 0, 1, 0)
	items := openItems(t, db)
	if len(items) != 1 || items[0].SaleID != "s1" || items[0].Step != sale.StepStart || items[0].Problem.Code != "validation_error" || items[0].Blocking {
		t.Fatalf("items %+v", items)
	}
	if got := drain(t, db, "reg_1"); got != whole2+","+whole3 {
		t.Errorf("the queue went on with %s", got)
	}
	letters, err := db.Letters(t.Context(), "pump-01", 0, 10)
	if err != nil || len(letters) != 3 || !letters[0].Quarantined {
		t.Fatalf("letters %+v, %v", letters, err)
	}
	// Asked for, it is found too; delivered, it is put back.
	for range 2 {
		if l, err := db.Letter(t.Context(), "pump-01", "s1"); err != nil || !l.Quarantined {
			t.Errorf("asked for: %+v, %v", l, err)
		}
		if err := db.Delivered(t.Context(), "pump-01", letters[0].No, t0); err != nil {
			t.Fatal(err)
		}
		if err := db.Again(t.Context(), "pump-01", "s1", t0); err != nil {
			t.Error(err)
		}
	}
	if r, err := letters[0].Receipt(); err != nil || string(r.JSON()) != `{"sale_id":"s1","state":"quarantined","delayed":false}` {
		t.Errorf("the device hears %s, %v", r.JSON(), err)
	}
	if err := decide(t, db, items[0].No, sale.DecisionRetry, "", nil); err != nil {
		t.Fatal(err)
	}
	books(t, db, 1, 2, 0, 0)
	h, err := db.Head(t.Context(), "reg_1")
	if err != nil || h.SaleID != "s1" || h.Attempts != 1 {
		t.Errorf("after the retry the head is %+v, %v: its first attempt is not forgotten", h, err)
	}
	if got := drain(t, db, "reg_1"); got != "s1 start,s1 update,s1 complete" {
		t.Errorf("the retry sent %s", got)
	}
	books(t, db, 0, 3, 0, 0)
	if err := decide(t, db, items[0].No, sale.DecisionDiscard, "", nil); !errors.Is(err, ErrDecided) {
		t.Errorf("decided twice: %v", err)
	}
}

// A call in the middle of an event: what is confirmed before it is not sent again.
func TestARetryGoesOnWhereItStopped(t *testing.T) {
	for _, block := range []bool{false, true} {
		db := scene(t)
		confirm(t, db, "reg_1") // s1 start
		for range 3 {
			confirm(t, db, "reg_1") // s2
		}
		confirm(t, db, "reg_1") // the update part of s1's complete
		h := refuse(t, db, "reg_1", block)
		if h.SaleID != "s1" || h.Step != sale.StepComplete || h.Index != 1 {
			t.Fatalf("refused %+v", h)
		}
		want := whole3 + ",s1 complete"
		if block {
			if got := drain(t, db, "reg_1"); got != "HELD" {
				t.Errorf("a blocked queue sent %s", got)
			}
			want = "s1 complete," + whole3 // nothing has gone past it
		}
		item := openItems(t, db)[0]
		if item.Blocking != block {
			t.Errorf("item %+v", item)
		}
		if err := decide(t, db, item.No, sale.DecisionRetry, "", nil); err != nil {
			t.Fatal(err)
		}
		if got := drain(t, db, "reg_1"); got != want {
			t.Errorf("block %v: sent %s, want %s", block, got, want)
		}
		books(t, db, 0, 3, 0, 0)
	}
}

func TestABlockedQueueGoesOnWithEachDecision(t *testing.T) {
	for _, d := range []sale.Decision{sale.DecisionResolve, sale.DecisionDiscard} {
		db := scene(t)
		refuse(t, db, "reg_1", true)
		q, _ := db.Queues(t.Context())
		if q[0].Blocker == 0 || q[0].BlockedSince.IsZero() || q[0].Problem == "" || q[0].Class != sale.Poison {
			t.Errorf("queue %+v", q[0])
		}
		item := openItems(t, db)[0]
		var a *sale.Answer
		op := ""
		if d == sale.DecisionResolve {
			op = "op_by_hand"
			found, err := sale.ParseAnswer(200, "req_2", []byte(`{"id":"op_by_hand","state":"completed","fiscal_state":"pending","fiscal":{"document_number":"D-7"}}`))
			if err != nil {
				t.Fatal(err)
			}
			a = &found
		}
		if err := decide(t, db, item.No, d, op, a); err != nil {
			t.Fatal(err)
		}
		if got := drain(t, db, "reg_1"); got != whole2+","+whole3 {
			t.Errorf("%s: sent %s", d, got)
		}
		books(t, db, 0, 2, 0, 1)
		letters, _ := db.Letters(t.Context(), "pump-01", 0, 10)
		pending, _ := db.Pending(t.Context(), 10)
		if want := 3; d == sale.DecisionDiscard && len(letters) != want || d == sale.DecisionResolve && (len(letters) != want+1 || len(pending) != 1) {
			t.Errorf("%s: %d letters, %d pending", d, len(letters), len(pending))
		}
		decided, _ := db.Items(t.Context(), ItemFilter{No: item.No})
		if i := decided[0]; i.Decision != d || i.By != "anna" || i.Reason != "because" || len(i.Allowed()) != 0 || i.Call == nil || len(i.Raw) == 0 {
			t.Errorf("item %+v", i)
		}
		var lines int
		if err := db.queryOne(t.Context(), `SELECT count(*) FROM audit WHERE who = 'anna' AND what = 'quarantine ' || ?`, []any{string(d)}, &lines); err != nil || lines != 1 {
			t.Errorf("%d lines in the audit trail, %v", lines, err)
		}
	}
}

// What comes later for a sale in quarantine follows its fate.
func TestLaterEventsFollowTheFateOfTheirSale(t *testing.T) {
	db := openTest(t)
	addDevice(t, db, "pump-01", "reg_1")
	p := func(k sale.Kind, id, content string) sale.Entry { return entry("pump-01", "reg_1", k, id, content) }
	mustAppend(t, db, p(sale.Start, "s1", "a"), sale.Queued)
	refuse(t, db, "reg_1", false)
	mustAppend(t, db, p(sale.Update, "s1", "u1"), sale.Quarantined)
	mustAppend(t, db, p(sale.Update, "s1", "u2"), sale.Quarantined)
	mustAppend(t, db, p(sale.Complete, "s1", "c"), sale.Quarantined)
	mustAppend(t, db, p(sale.Complete, "s1", "c"), sale.Duplicate)
	if _, err := db.Head(t.Context(), "reg_1"); !errors.Is(err, sale.ErrNone) {
		t.Errorf("something is sent: %v", err)
	}
	if err := decide(t, db, openItems(t, db)[0].No, sale.DecisionRetry, "", nil); err != nil {
		t.Fatal(err)
	}
	// The complete's own PATCH stands for the updates.
	if got := drain(t, db, "reg_1"); got != "s1 start,s1 update,s1 complete" {
		t.Errorf("sent %s", got)
	}
	books(t, db, 0, 1, 0, 0)
}

// Where the queue waits for the decision, what comes later for the sale keeps
// the place in which it came.
func TestLaterEventsOfABlockingSaleKeepTheirPlace(t *testing.T) {
	for _, d := range []sale.Decision{sale.DecisionRetry, sale.DecisionDiscard} {
		db := openTest(t)
		addDevice(t, db, "pump-01", "reg_1")
		p := func(k sale.Kind, id string) sale.Entry { return entry("pump-01", "reg_1", k, id, k.String()) }
		mustAppend(t, db, p(sale.Start, "s1"), sale.Queued)
		refuse(t, db, "reg_1", true)
		mustAppend(t, db, p(sale.Start, "s2"), sale.Queued)
		mustAppend(t, db, p(sale.Complete, "s1"), sale.Quarantined)
		mustAppend(t, db, p(sale.Whole, "s3"), sale.Queued)
		if err := decide(t, db, openItems(t, db)[0].No, d, "", nil); err != nil {
			t.Fatal(err)
		}
		want := map[sale.Decision]string{sale.DecisionRetry: "s1 start,s2 start,s1 update,s1 complete," + whole3, sale.DecisionDiscard: "s2 start," + whole3}[d]
		if got := drain(t, db, "reg_1"); got != want {
			t.Errorf("%s: sent %s, want %s", d, got, want)
		}
		if faults, err := db.Recount(t.Context()); err != nil || len(faults) > 0 {
			t.Errorf("the books: %v, %v", faults, err)
		}
	}
}

// Money for a sale that a person has closed without knowing of it calls for a
// person again; it is looked up before it could be sent.
func TestMoneyAfterADecisionIsNotBuried(t *testing.T) {
	for _, d := range []sale.Decision{sale.DecisionDiscard, sale.DecisionResolve} {
		db := openTest(t)
		addDevice(t, db, "pump-01", "reg_1")
		mustAppend(t, db, entry("pump-01", "reg_1", sale.Start, "s1", "a"), sale.Queued)
		refuse(t, db, "reg_1", false)
		op := ""
		if d == sale.DecisionResolve {
			op = "op_7"
		}
		if err := decide(t, db, openItems(t, db)[0].No, d, op, nil); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, db, entry("pump-01", "reg_1", sale.Complete, "s1", "c"), sale.Quarantined)
		books(t, db, 0, 0, 1, 0)
		items := openItems(t, db)
		if len(items) != 1 || items[0].Problem.Code != "event_after_decision" || !items[0].InDoubt {
			t.Fatalf("items %+v", items)
		}
		if err := decide(t, db, items[0].No, sale.DecisionRetry, "", nil); err != nil {
			t.Fatal(err)
		}
		want := "s1 start,s1 update,s1 complete"
		if d == sale.DecisionResolve {
			want = "s1 update,s1 complete" // another operation stands for the start
			if h, err := db.Head(t.Context(), "reg_1"); err != nil || h.Operation != "op_7" || h.InDoubtSince.IsZero() {
				t.Errorf("head %+v, %v", h, err)
			}
		}
		if got := drain(t, db, "reg_1"); got != want {
			t.Errorf("%s: sent %s, want %s", d, got, want)
		}
		books(t, db, 0, 1, 0, 0)
	}
}

// What the gateway itself quarantined before it knew better returns to its own
// place, in order, unless something behind it has been confirmed.
func TestReinstateKeepsTheOrder(t *testing.T) {
	fill := func() *DB {
		db := openTest(t)
		addDevice(t, db, "pump-01", "reg_1")
		for i := range 4 {
			mustAppend(t, db, entry("pump-01", "reg_1", sale.Whole, fmt.Sprintf("s%d", i), "a"), sale.Queued)
		}
		return db
	}
	all := func(ids ...int) string {
		var calls []string
		for _, i := range ids {
			calls = append(calls, fmt.Sprintf("s%d start,s%d update,s%d complete", i, i, i))
		}
		return strings.Join(calls, ",")
	}
	db := fill()
	refuse(t, db, "reg_1", false)
	refuse(t, db, "reg_1", false)
	if n, err := db.Reinstate(t.Context(), "reg_1", t0, t0, "signing"); n != 2 || err != nil {
		t.Errorf("%d came back, %v", n, err)
	}
	if got := drain(t, db, "reg_1"); got != all(0, 1, 2, 3) {
		t.Errorf("sent %s", got)
	}
	books(t, db, 0, 4, 0, 0)

	db = fill()
	refuse(t, db, "reg_1", false)
	for range 3 {
		confirm(t, db, "reg_1") // s1 got through: s0 cannot be before it any more
	}
	if n, err := db.Reinstate(t.Context(), "reg_1", t0, t0, "signing"); n != 1 || err != nil {
		t.Errorf("%d came back, %v", n, err)
	}
	if got := drain(t, db, "reg_1"); got != all(2, 3, 0) {
		t.Errorf("sent %s", got)
	}

	db = fill()
	refuse(t, db, "reg_1", true)
	if n, err := db.Reinstate(t.Context(), "reg_1", t0, t0, "signing"); n != 1 || err != nil {
		t.Errorf("%d came back, %v", n, err)
	}
	if got := drain(t, db, "reg_1"); got != all(0, 1, 2, 3) {
		t.Errorf("sent %s", got)
	}
	if n, err := db.Reinstate(t.Context(), "reg_1", t0, t0, "signing"); n != 0 || err != nil {
		t.Errorf("%d came back from nothing, %v", n, err)
	}
}

// A call that came back in doubt is looked up before it is begun: each end of
// the look-up finds the queue.
func TestACallThatCameBackInDoubtIsSettledWithoutABegin(t *testing.T) {
	for _, confirmed := range []bool{true, false} {
		db := openTest(t)
		addDevice(t, db, "pump-01", "reg_1")
		mustAppend(t, db, entry("pump-01", "reg_1", sale.Whole, "s1", "a"), sale.Queued)
		confirm(t, db, "reg_1")
		h, _ := db.Head(t.Context(), "reg_1")
		if err := db.Begin(t.Context(), sale.Attempt{Call: h.Call, At: t0, Next: t0}); err != nil {
			t.Fatal(err)
		}
		h.Attempts, h.InDoubtSince = 1, t0
		if _, err := db.Settle(t.Context(), sale.Outcome{Call: h.Call, At: t0, Quarantine: true, InDoubt: true, Problem: &sale.Problem{Class: sale.Poison, Code: "window_over"}}); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, db, entry("pump-01", "reg_1", sale.Whole, "s2", "a"), sale.Queued)
		if err := decide(t, db, openItems(t, db)[0].No, sale.DecisionRetry, "", nil); err != nil {
			t.Fatal(err)
		}
		if got := h; got.Index != 1 {
			t.Fatalf("refused call %d", got.Index)
		}
		for range 3 {
			confirm(t, db, "reg_1") // s2 has its place before it
		}
		back, err := db.Head(t.Context(), "reg_1")
		if err != nil || back.SaleID != "s1" || back.Index != 1 || back.Attempts != 1 || !back.InDoubtSince.Equal(t0.Add(time.Hour)) {
			t.Fatalf("head %+v, %v", back, err)
		}
		if confirmed {
			a, _ := sale.ParseAnswer(200, "", fmt.Appendf(nil, `{"id":%q,"state":"open"}`, back.Operation))
			a.Adopted = true
			if _, err := db.Settle(t.Context(), sale.Outcome{Call: back.Call, At: t0, Answer: &a}); err != nil {
				t.Fatal(err)
			}
		} else {
			p := &sale.Problem{Class: sale.Transient, Status: 503, Code: "server_error"}
			if _, err := db.Settle(t.Context(), sale.Outcome{Call: back.Call, At: t0, Problem: p, Next: t0, InDoubt: true}); err != nil {
				t.Fatal(err)
			}
			if again, err := db.Head(t.Context(), "reg_1"); err != nil || again.Index != 1 || again.Attempts != 1 || again.InDoubtSince.IsZero() {
				t.Errorf("head %+v, %v", again, err)
			}
		}
		want := "s1 update,s1 complete"
		if confirmed {
			want = "s1 complete"
		}
		if got := drain(t, db, "reg_1"); got != want {
			t.Errorf("sent %s, want %s", got, want)
		}
		books(t, db, 0, 2, 0, 0)
	}
}

func TestMessagesAreDecidedOnceAndShareTheNumbers(t *testing.T) {
	db := scene(t)
	mustAppend(t, db, entry("pump-01", "reg_1", sale.Complete, "s9", "c"), sale.Quarantined)
	refuse(t, db, "reg_1", false)
	mustAppend(t, db, entry("pump-01", "reg_1", sale.Start, "s2", "other"), sale.Quarantined)
	mustAppend(t, db, entry("pump-01", "reg_1", sale.Whole, "s3", "other"), sale.Conflict)
	items := openItems(t, db)
	var got []string
	for _, i := range items {
		got = append(got, fmt.Sprintf("%d %s %s %v", i.No, i.SaleID, i.Status, i.Allowed()))
	}
	want := "4 s3 conflict [resolve discard];3 s2 quarantined [retry resolve discard];2 s1 quarantined [retry resolve discard];1 s9 quarantined [retry resolve discard]"
	if strings.Join(got, ";") != want {
		t.Errorf("items %s", strings.Join(got, ";"))
	}
	v := sale.Ruling{Item: 1, Decision: sale.DecisionDiscard, By: "anna", Reason: "a test", At: t0}
	if err := db.DecideMessage(t.Context(), v); err != nil {
		t.Error(err)
	}
	if err := db.DecideMessage(t.Context(), v); !errors.Is(err, ErrDecided) {
		t.Errorf("decided twice: %v", err)
	}
	v.Item = 2
	if err := db.DecideMessage(t.Context(), v); !errors.Is(err, ErrDecided) {
		t.Errorf("a sale was decided as a message: %v", err)
	}
	if n, err := db.CountRefused(t.Context()); n != 2 || err != nil {
		t.Errorf("%d messages wait, %v", n, err)
	}
	if len(openItems(t, db)) != 3 {
		t.Errorf("open items %+v", openItems(t, db))
	}
}

// A journal of the version before opens with its books as they were, and its
// queue goes on.
func TestTheSchemaBeforeIsBroughtUp(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	if err := createPrivate(path); err != nil {
		t.Fatal(err)
	}
	conn, err := connector{dsn: writerDSN(path)}.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{conn: conn, stmts: map[string]driver.Stmt{}}
	text, err := migrations.ReadFile("migrations/0001.sql")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.script(&tx{w}, string(text), "PRAGMA user_version = 1",
		`INSERT INTO register VALUES (1, 'reg_1')`, `INSERT INTO device VALUES (1, 'pump-01', 1, 'pump', '', 0, 0, 1, x'00')`,
		`INSERT INTO queue (register, head, tail, accepted, confirmed, step) VALUES (1, 2, 2, 2, 1, 0)`,
		`INSERT INTO refused VALUES (5, 1, 3, 1, 'quarantined', 's9', 'start_missing', '', '', x'01', x'02')`); err != nil {
		t.Fatal(err)
	}
	for i, id := range []string{"s1", "s2"} {
		if _, err := (&tx{w}).exec(`INSERT INTO event VALUES (?1, ?1, 1, 1, ?1, 5, 0, 1, 100, ?2, 'op-' || ?2, 'EUR', x'7b7d', ?3)`,
			i+1, id, freeze([]sale.Step{1, 2, 3}, id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.script(&tx{w}, `INSERT INTO sale (no, state, changed_at) VALUES (1, 2, 1)`); err != nil {
		t.Fatal(err)
	}
	w.release()
	db := openIn(t, dir)
	books(t, db, 1, 1, 0, 0)
	refuse(t, db, "reg_1", false)
	books(t, db, 0, 1, 1, 0)
	items := openItems(t, db)
	if len(items) != 2 || items[0].No != 6 || items[1].No != 5 || items[1].SaleID != "s9" {
		t.Errorf("items %+v", items)
	}
	if err := decide(t, db, 6, sale.DecisionRetry, "", nil); err != nil {
		t.Fatal(err)
	}
	if got := drain(t, db, "reg_1"); got != whole2 {
		t.Errorf("sent %s", got)
	}
}

// Gaps in what a device counts are known over a restart, and filled by what
// comes late.
func TestGapsInADevicesCounter(t *testing.T) {
	dir := t.TempDir()
	db := openIn(t, dir)
	addDevice(t, db, "pump-01", "reg_1")
	addDevice(t, db, "pump-02", "reg_2")
	n := 0
	report := func(db *DB, seqs ...int64) {
		t.Helper()
		for _, s := range seqs {
			n++
			e := entry("pump-01", "reg_1", sale.Whole, fmt.Sprintf("s%d", n), "a")
			e.Event.Seq, e.Event.HasSeq = s, true
			mustAppend(t, db, e, sale.Queued)
		}
	}
	gaps := func(db *DB) string {
		t.Helper()
		list, err := db.Gaps(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, g := range list {
			got = append(got, fmt.Sprintf("%s %d-%d", g.Device, g.First, g.Last))
		}
		return strings.Join(got, ",")
	}
	report(db, 10, 11, 15)
	if got := gaps(db); got != "pump-01 12-14" {
		t.Errorf("gaps %q", got)
	}
	again := entry("pump-01", "reg_1", sale.Whole, "s3", "a")
	again.Event.Seq, again.Event.HasSeq = 12, true
	mustAppend(t, db, again, sale.Duplicate) // the same event again is not a missing one
	db.Close()
	db = openIn(t, dir)
	report(db, 13)
	if got := gaps(db); got != "pump-01 12-12,pump-01 14-14" {
		t.Errorf("gaps %q", got)
	}
	done := make(chan error, 1)
	db.Refuse(t.Context(), sale.Refusal{Message: sale.Message{Device: "pump-01", Kind: sale.Update, Payload: []byte("{"), Received: t0},
		Status: sale.Quarantined, Fault: &sale.Fault{Code: "not_json"}, Seq: 14, HasSeq: true}, func(_ sale.Accepted, err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	report(db, 12)
	if got := gaps(db); got != "" {
		t.Errorf("gaps %q", got)
	}
	report(db, 1, 2) // a device that begins anew misses nothing
	if got := gaps(db); got != "" {
		t.Errorf("gaps %q", got)
	}
	report(db, 9)
	if err := db.ForgetGaps(t.Context(), "pump-01", t0, "anna"); err != nil || gaps(db) != "" {
		t.Errorf("gaps %q, %v", gaps(db), err)
	}
}

// The refused request is shown as it went out, also where it repeats what the
// device sent and so is stored as copies out of that.
func TestAnItemHasItsRequest(t *testing.T) {
	db := openTest(t)
	addDevice(t, db, "pump-01", "reg_1")
	e := entry("pump-01", "reg_1", sale.Start, "s1", "a long text of the device, which its call repeats")
	e.Opening = sale.Freeze([]sale.Call{{Step: sale.StepStart, Method: "POST", Path: "/start", Body: e.Raw, IdempotencyKey: "k"}}, e.Raw)
	mustAppend(t, db, e, sale.Queued)
	refuse(t, db, "reg_1", false)
	items, err := db.Items(t.Context(), ItemFilter{No: openItems(t, db)[0].No})
	if err != nil || len(items) != 1 || items[0].Call == nil || string(items[0].Call.Body) != string(e.Raw) {
		t.Errorf("items %+v, %v", items, err)
	}
}

// A counter is noted when its event first comes. Neither a bad event that the
// device sends again nor one that a person brings back begins a count anew, for
// then all that came since would be missed.
func TestALateCounterBeginsNothingAnew(t *testing.T) {
	db := openTest(t)
	addDevice(t, db, "pump-01", "reg_1")
	numbered := func(k sale.Kind, id string, seq int64) sale.Entry {
		e := entry("pump-01", "reg_1", k, id, id)
		e.Event.Seq, e.Event.HasSeq = seq, true
		return e
	}
	bad := func() {
		t.Helper()
		done := make(chan error, 1)
		db.Refuse(t.Context(), sale.Refusal{Message: sale.Message{Device: "pump-01", Kind: sale.Whole, Payload: []byte("{"), Received: t0},
			Status: sale.Quarantined, Fault: &sale.Fault{Code: "not_json"}, Seq: 1, HasSeq: true}, func(_ sale.Accepted, err error) { done <- err })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	bad()
	mustAppend(t, db, numbered(sale.Complete, "s9", 2), sale.Quarantined)
	for i := range int64(3) {
		mustAppend(t, db, numbered(sale.Whole, fmt.Sprintf("s%d", i), 3+i), sale.Queued)
	}
	bad()
	mustAppend(t, db, numbered(sale.Complete, "s9", 2), sale.Quarantined)
	mustAppend(t, db, numbered(sale.Start, "s9", 6), sale.Queued)
	again := numbered(sale.Complete, "s9", 2)
	again.Again = true
	mustAppend(t, db, again, sale.Queued)
	mustAppend(t, db, numbered(sale.Whole, "s7", 7), sale.Queued)
	if gaps, err := db.Gaps(t.Context()); err != nil || len(gaps) != 0 {
		t.Errorf("gaps %+v, %v", gaps, err)
	}
}

// A device's counter is written in one place, wherever it and others of its register
// sell, and a start knows it from there.
func TestACounterIsInOnePlace(t *testing.T) {
	dir := t.TempDir()
	db := openIn(t, dir)
	addDevice(t, db, "pump-01", "r1")
	addDevice(t, db, "pump-02", "r1")
	want, register := map[sale.DeviceID]int64{}, sale.RegisterID("r1")
	sells := func(devices ...sale.DeviceID) { // one batch, or several
		t.Helper()
		done := make(chan error, len(devices))
		for _, d := range devices {
			want[d]++
			e := entry(d, register, sale.Whole, fmt.Sprint(d, "-", want[d]), "x")
			e.Event.Seq, e.Event.HasSeq = want[d], true
			db.Append(t.Context(), e, func(_ sale.Accepted, err error) { done <- err })
		}
		for range devices {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		for id, seq := range want {
			var places int
			var kept int64
			err := db.queryOne(t.Context(), `SELECT count(*), max(seq) FROM (SELECT last_seq AS seq FROM device WHERE device_id = ?1 AND last_seq IS NOT NULL
				UNION ALL SELECT seq FROM queue WHERE seq_device = (SELECT no FROM device WHERE device_id = ?1))`, []any{string(id)}, &places, &kept)
			if err != nil || places != 1 || kept != seq {
				t.Fatalf("after %v: %s has %d in %d places, want %d (%v)", devices, id, kept, places, seq, err)
			}
		}
	}
	again := func() {
		t.Helper()
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db = openIn(t, dir)
		if gaps, err := db.Gaps(t.Context()); err != nil || len(gaps) != 0 {
			t.Errorf("gaps: %v, %v", gaps, err)
		}
	}
	sells("pump-01")
	sells("pump-01")
	var own any
	if err := db.queryOne(t.Context(), `SELECT last_seq FROM device WHERE device_id = 'pump-01'`, nil, &own); err != nil || own != nil {
		t.Errorf("its own row has %v, %v", own, err)
	}
	sells("pump-02")
	sells("pump-01")
	sells("pump-01", "pump-02")
	again()
	sells("pump-02")
	sells("pump-01", "pump-02")
	devices, err := db.Devices(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range devices {
		devices[i].Register = "r2"
		if err := db.UpdateDevice(t.Context(), devices[i], "device changed", "test"); err != nil {
			t.Fatal(err)
		}
	}
	addDevice(t, db, "pump-03", "r1")
	sells("pump-03")
	register = "r2"
	sells("pump-01", "pump-02", "pump-03")
	sells("pump-01")
	sells("pump-02")
	sells("pump-03")
	again()
	sells("pump-03", "pump-02", "pump-01")
	again()
	for id := range want { // the box goes back to a gateway of before, and comes again
		want[id] += 100
		err := db.change(t.Context(), func(t *tx) error {
			_, err := t.exec(`UPDATE device SET last_seq = ? WHERE device_id = ?`, want[id], string(id))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	again()
	sells("pump-01", "pump-02", "pump-03")
	again()
}
