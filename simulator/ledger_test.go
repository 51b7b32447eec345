package simulator

import (
	"strings"
	"testing"
	"time"

	"edgegw/sale"
)

// sold is a ledger of one device with two sales and a cancelled one: a, b, c.
func sold() *ledger {
	l := &ledger{}
	for _, id := range []string{"a", "b", "c"} {
		s := Pump(Source(1, id), "EUR", time.Unix(0, 0))
		s.ID = id
		r := l.begin("pump-07", s)
		kind := sale.Complete
		if id == "c" {
			kind = sale.Cancel
		}
		l.end(r, s, kind)
	}
	return l
}

func TestLedgerFindsWhatCanNeverBeRight(t *testing.T) {
	for _, c := range []struct {
		name     string
		receipts []string
		want     string // in the finding; "" for none
	}{
		{"the plain course", []string{receiptJSON("a", "completed", "succeeded", "1"), receiptJSON("b", "completed", "succeeded", "2"), receiptJSON("c", "cancelled", "", "")}, ""},
		{"pending, then succeeded", []string{receiptJSON("a", "completed", "pending", ""), receiptJSON("a", "completed", "succeeded", "1")}, ""},
		{"the same receipt twice", []string{receiptJSON("a", "completed", "succeeded", "1"), receiptJSON("a", "completed", "succeeded", "1")}, ""},
		{"fiscalized twice", []string{receiptJSON("a", "completed", "succeeded", "1"), receiptJSON("a", "completed", "succeeded", "2")}, "two document numbers"},
		{"one number for two sales", []string{receiptJSON("a", "completed", "succeeded", "1"), receiptJSON("b", "completed", "succeeded", "1")}, "stands for two sales"},
		{"a sale from before this run", []string{receiptJSON("z", "completed", "succeeded", "1")}, ""},
		{"completed, but it was cancelled", []string{receiptJSON("c", "completed", "succeeded", "1")}, "says completed"},
		{"cancelled, but it was paid", []string{receiptJSON("a", "cancelled", "", "")}, "says cancelled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := sold()
			for _, r := range c.receipts {
				if _, ok := l.received([]byte(r)); !ok {
					t.Fatalf("%s could not be read", r)
				}
			}
			if c.want == "" && len(l.faults) != 0 {
				t.Errorf("got %q, want nothing", l.faults)
			}
			if c.want != "" && (len(l.faults) != 1 || !strings.Contains(l.faults[0], c.want)) {
				t.Errorf("got %q, want one that says %q", l.faults, c.want)
			}
		})
	}
}

func TestLedgerCountsWhatIsOwed(t *testing.T) {
	l := sold()
	steps := []struct {
		do   func()
		want int
	}{
		{func() {}, 3},
		{func() { l.received([]byte(receiptJSON("a", "completed", "pending", ""))) }, 3}, // it is no receipt that a customer can take
		{func() { l.received([]byte(receiptJSON("a", "completed", "succeeded", "1"))) }, 2},
		{func() { l.acked([]byte(`{"sale_id":"b","event":"complete","status":"conflict"}`)) }, 1},
		{func() { l.acked([]byte(`{"sale_id":"c","event":"cancel","status":"duplicate"}`)) }, 1},
		{func() { l.received([]byte(receiptJSON("c", "cancelled", "", ""))) }, 0},
		{func() { l.received([]byte(`{"sale_id":`)) }, 0},
	}
	for i, s := range steps {
		if s.do(); l.owed != s.want {
			t.Errorf("step %d: %d receipts owed, want %d", i, l.owed, s.want)
		}
	}
	if l.counts.Unreadable != 1 || l.acks[sale.Conflict] != 1 || l.acks[sale.Duplicate] != 1 || l.counts.Receipts != 2 {
		t.Errorf("got %+v, acks %v", l.counts, l.acks)
	}
}

func TestOutboxOrder(t *testing.T) {
	var o outbox
	a, b := &Record{SaleID: "a"}, &Record{SaleID: "b"}
	a1, a2, b1 := &event{record: a}, &event{record: a}, &event{record: b}
	for _, ev := range []*event{a1, a2, b1} {
		o.add(ev)
	}
	now := time.Unix(0, 0)
	want := func(step string, limit int, ev *event) {
		t.Helper()
		if got := o.next(limit); got != ev {
			t.Errorf("%s: the wrong event is next", step)
		}
	}
	want("at first", 1, a1)
	if o.sent(a1, now) {
		t.Error("the first sending counts as a repetition")
	}
	want("one in flight is all that may be", 1, nil)
	want("the next of the same sale waits, and nobody overtakes it", 5, nil)
	o.settle(a1)
	want("the start is stored", 5, a2)
	o.sent(a2, now)
	want("another sale may be in flight beside it", 5, b1)
	o.sent(b1, now.Add(time.Second))
	want("all are on their way", 5, nil)
	if got := o.silence(now.Add(time.Minute)); got != time.Minute {
		t.Errorf("silence: got %v, want 1m", got)
	}
	o.lost()
	want("after a loss it begins with the oldest", 5, a2)
	first := a2.packetID
	if !o.sent(a2, now) || a2.packetID != first {
		t.Error("sent again, but not as the same packet")
	}
	o.refused(a2)
	want("a refused one stays the oldest", 5, a2)
	if o.sent(a2, now) {
		t.Error("after a refusal it is a new packet")
	}
	o.settle(a2)
	want("and then the other sale", 5, b1)
	o.sent(b1, now)
	o.settle(b1)
	if o.sales != 0 || o.inFlight != 0 || len(o.events) != 0 || len(o.byID) != 0 {
		t.Errorf("the outbox is not empty: %+v", o)
	}
}
