package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edgegw/sale"
)

var t0 = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

func openTest(t testing.TB) *DB {
	t.Helper()
	return openIn(t, t.TempDir())
}

func openIn(t testing.TB, dir string) *DB {
	t.Helper()
	db, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func addDevice(t testing.TB, db *DB, id sale.DeviceID, r sale.RegisterID) {
	t.Helper()
	err := db.AddDevice(t.Context(), sale.Device{ID: id, Register: r, Kind: "pump", SecretHash: []byte("h"), CreatedAt: t0}, "test")
	if err != nil {
		t.Fatal(err)
	}
}

// entry makes an event with calls that need not mean anything.
func entry(d sale.DeviceID, r sale.RegisterID, k sale.Kind, id, content string) sale.Entry {
	e := &sale.Event{Kind: k, SaleID: id}
	steps := map[sale.Kind][]sale.Step{sale.Start: {1}, sale.Update: {2}, sale.Complete: {2, 3}, sale.Cancel: {4}, sale.Whole: {1, 2, 3}}
	x := sale.Entry{Event: e, Raw: fmt.Appendf(nil, `{"sale_id":%q,"content":%q}`, id, content), Device: d, Register: r, At: t0,
		Operation: "op-" + string(d) + "-" + id, Currency: "EUR"}
	if k.Opens() {
		e.Currency = "EUR"
		x.Opening = freeze(steps[k], id)
	} else {
		x.Calls = freeze(steps[k], id)
	}
	return x
}

func freeze(steps []sale.Step, id string) []byte {
	var calls []sale.Call
	for i, s := range steps {
		calls = append(calls, sale.Call{Index: i, Step: s, Method: "POST", Path: "/" + s.String() + "/{operation}", Body: []byte(`{"of":"` + id + `"}`),
			IdempotencyKey: fmt.Sprint(id, i)})
	}
	return sale.Freeze(calls, nil)
}

func appendNow(t testing.TB, db *DB, e sale.Entry) (sale.Accepted, error) {
	t.Helper()
	type end struct {
		a   sale.Accepted
		err error
	}
	c := make(chan end, 1)
	db.Append(t.Context(), e, func(a sale.Accepted, err error) { c <- end{a, err} })
	x := <-c
	return x.a, x.err
}

func mustAppend(t testing.TB, db *DB, e sale.Entry, want sale.Status) {
	t.Helper()
	a, err := appendNow(t, db, e)
	if err != nil || a.Status != want {
		t.Fatalf("append %s of %s: %v %v, want %s", e.Event.Kind, e.Event.SaleID, a, err, want)
	}
}

// confirm settles the head of r and gives it.
func confirm(t testing.TB, db *DB, r sale.RegisterID) sale.Head {
	t.Helper()
	h, err := db.Head(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Begin(t.Context(), sale.Attempt{Call: h.Call, At: t0, Next: t0}); err != nil {
		t.Fatal(err)
	}
	state := sale.StateOpen
	if h.Step == sale.StepComplete {
		state = sale.StateCompleted
	} else if h.Step == sale.StepCancel {
		state = sale.StateCancelled
	}
	body := fmt.Appendf(nil, `{"id":%q,"state":%q,"fiscal_state":"succeeded","fiscal":{"document_number":"D-%s"}}`, h.Operation, state, h.SaleID)
	a, err := sale.ParseAnswer(200, "req_1", body)
	if err != nil {
		t.Fatal(err)
	}
	h.Attempts++
	if _, err := db.Settle(t.Context(), sale.Outcome{Call: h.Call, Answer: &a, At: t0.Add(time.Second)}); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestOneSaleFromEventToMailbox(t *testing.T) {
	db := openTest(t)
	addDevice(t, db, "pump-01", "reg_1")
	mustAppend(t, db, entry("pump-01", "reg_1", sale.Start, "s1", "a"), sale.Queued)
	mustAppend(t, db, entry("pump-01", "reg_1", sale.Complete, "s1", "b"), sale.Queued)
	for _, want := range []string{"/start/op-pump-01-s1", "/update/op-pump-01-s1", "/complete/op-pump-01-s1"} {
		if h := confirm(t, db, "reg_1"); h.URLPath() != want || h.SaleID != "s1" || h.Device != "pump-01" {
			t.Errorf("head %s of %s, want %s", h.URLPath(), h.SaleID, want)
		}
	}
	if _, err := db.Head(t.Context(), "reg_1"); !errors.Is(err, sale.ErrNone) {
		t.Errorf("head of an empty queue: %v", err)
	}
	letters, err := db.Letters(t.Context(), "pump-01", 0, 10)
	if err != nil || len(letters) != 1 {
		t.Fatalf("letters %v, %v", letters, err)
	}
	r, err := letters[0].Receipt()
	if err != nil || r.SaleID != "s1" || r.State != "completed" || r.DocumentNumber != "D-s1" || r.Delayed {
		t.Errorf("receipt %+v, %v", r, err)
	}
	if err := db.Delivered(t.Context(), "pump-01", letters[0].No, t0); err != nil {
		t.Fatal(err)
	}
	if letters, _ = db.Letters(t.Context(), "pump-01", 0, 10); len(letters) != 0 {
		t.Errorf("delivered letters wait: %v", letters)
	}
	for range 2 { // asked twice, it waits once
		if err := db.Again(t.Context(), "pump-01", "s1", t0); err != nil {
			t.Fatal(err)
		}
	}
	if letters, _ = db.Letters(t.Context(), "pump-01", 0, 10); len(letters) != 1 {
		t.Errorf("asked for again: %v", letters)
	}
	if err := db.Again(t.Context(), "pump-01", "s2", t0); !errors.Is(err, sale.ErrNone) {
		t.Errorf("receipt of an unknown sale: %v", err)
	}
	q, err := db.Queues(t.Context())
	if err != nil || len(q) != 1 || q[0].Accepted != 1 || q[0].Confirmed != 1 || q[0].Waiting != 0 || !q[0].Idle {
		t.Errorf("queues %+v, %v", q, err)
	}
	sales, err := db.Sales(t.Context(), SaleFilter{})
	if err != nil || len(sales) != 1 || sales[0].State != sale.Settled || sales[0].Document != "D-s1" || sales[0].Open {
		t.Errorf("sales %+v, %v", sales, err)
	}
}

func TestDuplicatesConflictsAndEvidence(t *testing.T) {
	db := openTest(t)
	addDevice(t, db, "pump-01", "reg_1")
	addDevice(t, db, "pump-02", "reg_1")
	seq := func(e sale.Entry, n int64) sale.Entry { e.Event.Seq, e.Event.HasSeq = n, true; return e }
	p := func(k sale.Kind, id, content string) sale.Entry { return entry("pump-01", "reg_1", k, id, content) }
	mustAppend(t, db, p(sale.Start, "s1", "a"), sale.Queued)
	mustAppend(t, db, p(sale.Start, "s1", "a"), sale.Duplicate)
	mustAppend(t, db, p(sale.Start, "s1", "other"), sale.Conflict)
	mustAppend(t, db, entry("pump-02", "reg_1", sale.Start, "s1", "other"), sale.Queued) // another device's own count
	mustAppend(t, db, seq(p(sale.Update, "s1", "u1"), 1), sale.Queued)
	mustAppend(t, db, seq(p(sale.Update, "s1", "u1"), 1), sale.Duplicate)
	mustAppend(t, db, seq(p(sale.Update, "s1", "u2"), 1), sale.Conflict)
	mustAppend(t, db, p(sale.Update, "s1", "u3"), sale.Queued)
	mustAppend(t, db, p(sale.Update, "s1", "u3"), sale.Duplicate)
	mustAppend(t, db, p(sale.Complete, "s1", "c"), sale.Queued)
	mustAppend(t, db, p(sale.Complete, "s1", "c"), sale.Duplicate)
	mustAppend(t, db, p(sale.Complete, "s1", "d"), sale.Conflict)
	mustAppend(t, db, p(sale.Cancel, "s1", "x"), sale.Quarantined)
	mustAppend(t, db, p(sale.Update, "s1", "u3"), sale.Duplicate) // late copies stay harmless
	mustAppend(t, db, p(sale.Update, "s1", "u4"), sale.Quarantined)
	mustAppend(t, db, p(sale.Start, "s1", "a"), sale.Duplicate)
	mustAppend(t, db, p(sale.Complete, "s9", "c"), sale.Quarantined)
	mustAppend(t, db, p(sale.Complete, "s9", "c"), sale.Quarantined) // kept once
	mustAppend(t, db, p(sale.Whole, "w1", "w"), sale.Queued)
	mustAppend(t, db, p(sale.Whole, "w1", "w"), sale.Duplicate)
	mustAppend(t, db, p(sale.Whole, "w1", "v"), sale.Conflict)
	list, err := db.Items(t.Context(), ItemFilter{})
	if err != nil || len(list) != 7 {
		t.Errorf("%d pieces of evidence, %v, want 7", len(list), err)
	}
	var got []string
	for {
		h, err := db.Head(t.Context(), "reg_1")
		if errors.Is(err, sale.ErrNone) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %s %s", h.Device, h.SaleID, h.Step))
		confirm(t, db, "reg_1")
	}
	// Both updates are superseded by the complete's final PATCH.
	want := "pump-01 s1 start,pump-02 s1 start,pump-01 s1 update,pump-01 s1 complete,pump-01 w1 start,pump-01 w1 update,pump-01 w1 complete"
	if strings.Join(got, ",") != want {
		t.Errorf("calls\n got %v\nwant %v", strings.Join(got, ","), want)
	}
}

// A device that pipelines start and complete sends both again when the start
// could not be stored; the complete must not become evidence in between.
func TestAnEndWhoseStartFailedIsNotTaken(t *testing.T) {
	db := openTest(t)
	addDevice(t, db, "pump-01", "reg_1")
	e := entry("pump-01", "reg_1", sale.Complete, "s1", "c")
	e.Begun = true
	if a, err := appendNow(t, db, e); !errors.Is(err, sale.ErrNotReady) {
		t.Errorf("taken: %v, %v", a, err)
	}
	mustAppend(t, db, entry("pump-01", "reg_1", sale.Start, "s1", "a"), sale.Queued)
	mustAppend(t, db, e, sale.Queued)
	if list, err := db.Items(t.Context(), ItemFilter{}); err != nil || len(list) != 0 {
		t.Errorf("evidence %v, %v", list, err)
	}
}

func TestAnUpdateUnderWayIsNotSuperseded(t *testing.T) {
	db := openTest(t)
	addDevice(t, db, "pump-01", "reg_1")
	mustAppend(t, db, entry("pump-01", "reg_1", sale.Start, "s1", "a"), sale.Queued)
	confirm(t, db, "reg_1")
	mustAppend(t, db, entry("pump-01", "reg_1", sale.Update, "s1", "u1"), sale.Queued)
	h, err := db.Head(t.Context(), "reg_1")
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Begin(t.Context(), sale.Attempt{Call: h.Call, At: t0, Next: t0}); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, db, entry("pump-01", "reg_1", sale.Update, "s1", "u2"), sale.Queued)
	again, err := db.Head(t.Context(), "reg_1")
	if err != nil || again.Event != h.Event || again.InDoubtSince.IsZero() {
		t.Fatalf("the update under way is gone: %+v, %v", again, err)
	}
	a, _ := sale.ParseAnswer(200, "", []byte(`{"id":"op-pump-01-s1","state":"open"}`))
	if _, err := db.Settle(t.Context(), sale.Outcome{Call: again.Call, Answer: &a, At: t0}); err != nil {
		t.Fatal(err)
	}
	// A head that was read before it was superseded must not begin.
	stale, err := db.Head(t.Context(), "reg_1")
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, db, entry("pump-01", "reg_1", sale.Complete, "s1", "c"), sale.Queued)
	if err := db.Begin(t.Context(), sale.Attempt{Call: stale.Call, At: t0}); !errors.Is(err, sale.ErrNone) {
		t.Errorf("a superseded update began: %v", err)
	}
	if h := confirm(t, db, "reg_1"); h.Step != sale.StepUpdate || h.Event == stale.Event {
		t.Errorf("head is %s of event %d", h.Step, h.Event)
	}
}

func TestTheServicesOperationWins(t *testing.T) {
	db := openTest(t)
	addDevice(t, db, "pump-01", "reg_1")
	mustAppend(t, db, entry("pump-01", "reg_1", sale.Whole, "s1", "a"), sale.Queued)
	h, _ := db.Head(t.Context(), "reg_1")
	if err := db.Begin(t.Context(), sale.Attempt{Call: h.Call, At: t0}); err != nil {
		t.Fatal(err)
	}
	a, _ := sale.ParseAnswer(201, "", []byte(`{"id":"op_01HXYZ","state":"open"}`))
	if _, err := db.Settle(t.Context(), sale.Outcome{Call: h.Call, Answer: &a, At: t0}); err != nil {
		t.Fatal(err)
	}
	if h, err := db.Head(t.Context(), "reg_1"); err != nil || h.URLPath() != "/update/op_01HXYZ" {
		t.Errorf("next call goes to %s, %v", h.URLPath(), err)
	}
}

// A row that fails must not fail its neighbours, nor leave half of itself.
func TestABadRowFailsAlone(t *testing.T) {
	db := openTest(t)
	addDevice(t, db, "pump-01", "reg_1")
	hold := make(chan struct{})
	held := make(chan struct{})
	db.w.submit(t.Context(), job{do: func(*tx) error { close(held); <-hold; return nil }, after: func(error) {}})
	<-held // the next three wait together and share a transaction
	errs := make(chan error, 3)
	done := func(_ sale.Accepted, err error) { errs <- err }
	db.Append(t.Context(), entry("pump-01", "reg_1", sale.Whole, "s1", "a"), done)
	bad := make(chan error, 2)
	db.w.submit(t.Context(), job{do: func(t *tx) error {
		if _, err := t.exec(`INSERT INTO audit (at, who, what, subject, detail) VALUES (1, 'x', 'half', 'x', 'x')`); err != nil {
			return err
		}
		_, err := t.exec(`INSERT INTO audit (at, who, what, subject, detail) VALUES ('text in a STRICT table', 'x', 'x', 'x', 'x')`)
		return err
	}, after: func(err error) { bad <- err }})
	db.w.submit(t.Context(), job{do: func(*tx) error { panic("a bug") }, after: func(err error) { bad <- err }})
	db.Append(t.Context(), entry("pump-01", "reg_1", sale.Whole, "s2", "a"), done)
	close(hold)
	for range 2 {
		if err := <-bad; err == nil {
			t.Error("a bad row succeeded")
		}
		if err := <-errs; err != nil {
			t.Errorf("a neighbour failed: %v", err)
		}
	}
	var n int
	if err := db.queryOne(t.Context(), `SELECT count(*) FROM audit WHERE what = 'half'`, nil, &n); err != nil || n != 0 {
		t.Errorf("half a change is left: %d, %v", n, err)
	}
	if sales, err := db.Sales(t.Context(), SaleFilter{}); err != nil || len(sales) != 2 {
		t.Errorf("sales %v, %v", sales, err)
	}
}

func TestOpenAgainKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	db := openIn(t, dir)
	addDevice(t, db, "pump-01", "reg_1")
	mustAppend(t, db, entry("pump-01", "reg_1", sale.Whole, "s1", "a"), sale.Queued)
	confirm(t, db, "reg_1")
	h, _ := db.Head(t.Context(), "reg_1")
	if err := db.Begin(t.Context(), sale.Attempt{Call: h.Call, At: t0, Next: t0.Add(time.Minute)}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	db = openIn(t, dir)
	again, err := db.Head(t.Context(), "reg_1")
	if err != nil || again.Event != h.Event || again.Index != h.Index || string(again.Body) != string(h.Body) ||
		!again.InDoubtSince.Equal(t0) || !again.NextAttempt.Equal(t0.Add(time.Minute)) || again.Attempts != 1 {
		t.Errorf("after opening again %+v, %v", again, err)
	}
	mustAppend(t, db, entry("pump-01", "reg_1", sale.Whole, "s1", "a"), sale.Duplicate)
	mustAppend(t, db, entry("pump-01", "reg_1", sale.Whole, "s2", "a"), sale.Queued)
	if ids, err := db.WithWork(t.Context()); err != nil || len(ids) != 1 {
		t.Errorf("with work: %v, %v", ids, err)
	}
}

func TestTroubleIsKeptButDoesNotGrow(t *testing.T) {
	db := openTest(t)
	addDevice(t, db, "pump-01", "reg_1")
	mustAppend(t, db, entry("pump-01", "reg_1", sale.Whole, "s1", "a"), sale.Queued)
	for i := range 100 {
		h, err := db.Head(t.Context(), "reg_1")
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Begin(t.Context(), sale.Attempt{Call: h.Call, At: t0}); err != nil {
			t.Fatal(err)
		}
		p := &sale.Problem{Class: sale.KeyRefused, Status: 401, Code: "unauthorized", Detail: "no"}
		if _, err := db.Settle(t.Context(), sale.Outcome{Call: h.Call, Problem: p, At: t0.Add(time.Duration(i) * time.Minute), Next: t0, Blocked: true}); err != nil {
			t.Fatal(err)
		}
	}
	var rows, times, audits int
	if err := db.queryOne(t.Context(), `SELECT count(*), sum(times), (SELECT count(*) FROM audit WHERE what = 'queue blocked') FROM attempt`,
		nil, &rows, &times, &audits); err != nil || rows != 1 || times != 100 || audits != 1 {
		t.Errorf("%d rows, %d times, %d audit lines, %v", rows, times, audits, err)
	}
	q, _ := db.Queues(t.Context())
	if q[0].BlockedSince.IsZero() || !q[0].BlockedSince.Equal(t0) || !q[0].InDoubtSince.IsZero() || q[0].Class != sale.KeyRefused {
		t.Errorf("queue %+v", q[0])
	}
}

func TestForeignOperations(t *testing.T) {
	db := openTest(t)
	addDevice(t, db, "pump-01", "reg_1")
	addDevice(t, db, "pump-02", "reg_1")
	addDevice(t, db, "pump-03", "reg_2")
	for _, d := range []sale.DeviceID{"pump-01", "pump-02"} {
		mustAppend(t, db, entry(d, "reg_1", sale.Whole, "1", "a"), sale.Queued)
	}
	mustAppend(t, db, entry("pump-03", "reg_2", sale.Whole, "1", "a"), sale.Queued)
	h, _ := db.Head(t.Context(), "reg_1")
	m, err := db.Foreign(t.Context(), h.Call)
	if err != nil || len(m) != 1 || !m["op-pump-02-1"] {
		t.Errorf("foreign %v, %v", m, err)
	}
}

func TestFileModesAndKeysNotInClear(t *testing.T) {
	dir := t.TempDir()
	db := openIn(t, dir)
	addDevice(t, db, "pump-01", "reg_1")
	if err := db.PutKey(t.Context(), sale.SealedKey{Register: "reg_1", Version: 1, State: sale.KeyStateActive, Sealed: []byte("one"), AddedAt: t0}, "t"); err != nil {
		t.Fatal(err)
	}
	if err := db.PutKey(t.Context(), sale.SealedKey{Register: "reg_1", Version: 2, State: sale.KeyStatePending, Sealed: []byte("two"), AddedAt: t0}, "t"); err != nil {
		t.Fatal(err)
	}
	if keys, _ := db.Keys(t.Context()); len(keys) != 2 {
		t.Errorf("keys %v", keys)
	}
	if err := db.SetKeyState(t.Context(), "reg_1", 2, sale.KeyStateActive, "t"); err != nil {
		t.Fatal(err)
	}
	if keys, _ := db.Keys(t.Context()); len(keys) != 2 || keys[1].Version != 2 || keys[0].State != sale.KeyStateRetired || len(keys[0].Sealed) != 0 {
		t.Errorf("keys after promotion %v", keys)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, f := range files {
		if st, err := os.Stat(f); err == nil && st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %o", f, st.Mode().Perm())
		}
	}
	if len(files) < 2 {
		t.Errorf("files %v", files)
	}
}

// The plans behind "flat from 1,000 to 5,000,000": look-ups by index only.
func TestPlansUseTheirIndexes(t *testing.T) {
	db := openTest(t)
	finds := func(f SaleFilter) string { text, _ := f.query(span{}); return text }
	for name, c := range map[string]struct{ text, want string }{
		"sales":              {finds(SaleFilter{Device: "d", State: 1, Operation: "o", From: t0}), "SEARCH o USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"},
		"sales of an amount": {finds(SaleFilter{Amount: sale.Amounts{Set: true}}), "SEARCH e USING INDEX event_end"},
		"sale of a document": {finds(SaleFilter{Document: "d"}), "SEARCH s USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"},
		"head":               {headQuery, "event_queue"},
		"end":                {`SELECT raw FROM event WHERE sale = ? AND kind IN (3, 4) AND ref IS NULL`, "event_end"},
		"ref":                {`SELECT no FROM event o WHERE o.device = ? AND o.ref = ?`, "event_ref"},
		"mail":               {`SELECT m.no FROM mailbox m WHERE m.device = ? AND m.delivered_at IS NULL AND m.no > ? ORDER BY m.no LIMIT 4`, "mailbox_waiting"},
		"read back":          {strings.NewReplacer("?1", "?", "?2", "?", "?3", "?").Replace(madeQuery), "read_back_ref"},
		"last report":        {reportQuery, "event_queue"},
		"pend":               {countPendingQuery, "sale_pending"},
		"oldest":             {oldestQuery, "event_queue"},
		"first and last":     {spanQuery("event"), "SEARCH event"},
		"answers":            {spanQuery("answer"), "SEARCH answer"},
		"letters":            {spanQuery("mailbox"), "SEARCH mailbox"},
	} {
		var plan []string
		err := db.query(context.Background(), "EXPLAIN QUERY PLAN "+c.text, func(scan func(...any) error) error {
			var id, parent, x int
			var detail string
			err := scan(&id, &parent, &x, &detail)
			plan = append(plan, detail)
			return err
		}, make([]any, strings.Count(c.text, "?"))...)
		all := strings.Join(plan, "; ")
		if err != nil || !strings.Contains(all, c.want) || strings.Contains(all, "SCAN event") || strings.Contains(all, "SCAN e") ||
			strings.Contains(all, "SCAN mailbox") || strings.Contains(all, "TEMP B-TREE") {
			t.Errorf("%s: %s, %v", name, all, err)
		}
	}
}
