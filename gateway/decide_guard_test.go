package gateway

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/broker/brokertest"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
)

// report publishes an event of pump-01 and takes its PUBACK.
func report(t *testing.T, c *brokertest.Client, id uint16, kind, payload string) {
	t.Helper()
	if err := c.Publish(topic("pump-01", kind), 1, id, payload); err != nil {
		t.Fatal(err)
	}
}

// A message that a person takes again does not begin its device's counter anew.
func TestATakenMessageLeavesTheCounterAlone(t *testing.T) {
	s, c := quarantineSite(t, "step_over")
	defer s.off()
	numbered := func(payload, id string, seq int) string {
		return strings.Replace(fmt.Sprintf(payload, id), `{`, fmt.Sprintf(`{"seq":%d,`, seq), 1)
	}
	report(t, c, 1, "sale/complete", numbered(completeEvent, "s1", 1)) // its start is missing
	for i := 2; i <= 4; i++ {
		report(t, c, uint16(i), "sale", numbered(wholeEvent, fmt.Sprint("w", i), i))
		hears(t, c, fmt.Sprint("w", i), "completed")
	}
	report(t, c, 5, "sale/start", numbered(startEvent, "s1", 5))
	await(t, "the start to be there", func() bool { st, err := s.Status(t.Context()); return err == nil && st.Totals.Accepted == 4 })
	s.decide(t, s.onlyItem(t).ID, sale.DecisionRetry, "")
	hears(t, c, "s1", "completed")
	report(t, c, 6, "sale", numbered(wholeEvent, "w6", 6))
	hears(t, c, "w6", "completed")
	if gaps, err := s.db.Gaps(t.Context()); err != nil || len(gaps) != 0 {
		t.Errorf("gaps %+v, %v", gaps, err)
	}
}

// Where OpenFiskal cannot be asked, an operation that stands for another sale of
// this site is refused all the same, whatever that sale is called.
func TestOneOperationDoesNotStandForTwoSales(t *testing.T) {
	s, c := quarantineSite(t, "step_over")
	defer s.off()
	report(t, c, 1, "sale", fmt.Sprintf(wholeEvent, "other"))
	hears(t, c, "other", "completed")
	s.refuse(sandbox.StepComplete, sandbox.Answer)
	report(t, c, 2, "sale", fmt.Sprintf(wholeEvent, "s1"))
	hears(t, c, "s1", "quarantined")
	operation := s.sandbox.Operations("")[0].ID
	s.sandbox.SetDown(true)
	s.refused(t, "s1", sale.DecisionResolve, operation, "other_sale")
}

// No key that somebody put where it does not belong is shown.
func TestNoKeyIsShownOfAnItem(t *testing.T) {
	s, c := quarantineSite(t, "step_over")
	defer s.off()
	s.refuse(sandbox.StepStart, sandbox.Answer)
	key := s.keys[0]
	report(t, c, 1, "sale", strings.Replace(fmt.Sprintf(wholeEvent, "s1"), `"Super E10"`, `"Super `+key+`"`, 1))
	hears(t, c, "s1", "quarantined")
	report(t, c, 2, "sale", `{"sale_id":"x","key":"`+key+`"}`)
	var items []admin.QuarantineItem
	await(t, "both items", func() bool {
		var err error
		items, err = s.Quarantine(t.Context(), admin.QuarantineFilter{})
		return err == nil && len(items) == 2
	})
	for _, i := range items {
		one, err := s.QuarantineItem(t.Context(), i.ID)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := json.Marshal(one); strings.Contains(string(b), key) {
			t.Errorf("a key is shown: %s", b)
		}
	}
}

// A key that OpenFiskal has refused is told of before a sale waits for it.
func TestARefusedKeyIsToldBeforeASaleWaits(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	s.add("pump-02")
	if err := s.ring.SetKeyState(t.Context(), "reg_pump-01", 1, sale.KeyStateRefused, "test"); err != nil {
		t.Fatal(err)
	}
	st, err := s.Status(t.Context())
	if err != nil || !hasCondition(st, "key_refused") || !strings.Contains(st.Sentence, "pump-01: OpenFiskal refuses its key") || !strings.Contains(st.Sentence, "edgegw key set pump-01") {
		t.Errorf("%q, %+v, %v", st.Sentence, st.Conditions, err)
	}
}

// However many sales are in quarantine, a message that could not become one is
// not forgotten behind them.
func TestAMessageIsToldBehindAHundredSales(t *testing.T) {
	s, c := quarantineSite(t, "step_over")
	defer s.off()
	s.add("pump-02")
	other := s.connect("pump-02", 5)
	if err := other.Publish(topic("pump-02", "sale"), 1, 1, `{"sale_id":"odd"}`); err != nil {
		t.Fatal(err)
	}
	await(t, "the message", func() bool { st, err := s.Status(t.Context()); return err == nil && st.Totals.Refused == 1 })
	s.sandbox.Inject(sandbox.Fault{Register: "reg_pump-01", Step: sandbox.StepStart, Action: sandbox.Answer, Status: 400})
	for i := range 101 {
		report(t, c, uint16(i+1), "sale", fmt.Sprintf(wholeEvent, fmt.Sprint("s", i)))
	}
	await(t, "a hundred in quarantine", func() bool { st, err := s.Status(t.Context()); return err == nil && st.Totals.Quarantined == 101 })
	if st, err := s.Status(t.Context()); err != nil || !hasCondition(st, "messages_refused") || strings.Contains(st.Sentence, "up to date") {
		t.Errorf("%q, %v", st.Sentence, err)
	}
}

// A decision about a sale that the queue has stepped over does not cut short
// what OpenFiskal has asked the queue to wait.
func TestADecisionDoesNotCutAWaitShort(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world, l *life) {
		w.sandbox.Inject(sandbox.Fault{Register: "reg_2", Step: sandbox.StepStart, Action: sandbox.Answer, Status: 400, Times: 1})
		w.device("pump-2", []event{{0, sale.Whole, fmt.Sprintf(wholeEvent, "s1")}})
		<-time.After(time.Second)
		w.sandbox.Inject(sandbox.Fault{Register: "reg_2", Action: sandbox.Throttle, RetryAfter: "600"})
		w.device("pump-2", []event{{0, sale.Whole, fmt.Sprintf(wholeEvent, "s2")}})
		<-time.After(time.Second)
		before := len(w.sandbox.Requests())
		if _, err := l.control().Decide(t.Context(), admin.Decision{ID: "s1", Decision: sale.DecisionRetry, Reason: "mended"}, "anna"); err != nil {
			t.Fatal(err)
		}
		<-time.After(5 * time.Minute)
		if n := len(w.sandbox.Requests()); n != before {
			t.Errorf("%d requests inside the wait of ten minutes", n-before)
		}
		w.sandbox.ClearFaults()
		<-time.After(15 * time.Minute)
		if q := l.queue(t, "reg_2"); q.Confirmed != 2 {
			t.Errorf("queue %+v", q)
		}
	})
}
