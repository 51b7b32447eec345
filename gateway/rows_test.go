package gateway

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"edgegw/fiscal"
	"edgegw/fiscal/sandbox"
	"edgegw/health"
	"edgegw/sale"
	"edgegw/store"
)

// Every row of the table of answers (docs/answers.md) is met by a whole gateway
// over real sockets, by the stand-in's switches: the call, the queue, the
// neighbour, the device, the metrics and the words are what the row says. Then
// the fault ends, and the sale does too: once, to the cent.
func TestEveryRowOfTheTable(t *testing.T) {
	for i, row := range fiscal.Table() {
		if row.To < 200 {
			continue // no HTTP server ends a request with such a status; the table's own test has it
		}
		status := sample(row)
		name := fmt.Sprintf("%02d_%d_%s", i, status, row.Class)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			meetRow(t, row, status)
		})
	}
	// No answer at all has no row: nothing was sent, or nobody knows.
	for name, r := range map[string]struct {
		fault sandbox.Fault
		class sale.Class
	}{
		"no_connection": {sandbox.Fault{Action: sandbox.DropRequest}, sale.InDoubt}, // over real HTTP the connection was there
		"lost_answer":   {sandbox.Fault{Action: sandbox.DropAnswer}, sale.InDoubt},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r.fault.Step = sandbox.StepStart
			meet(t, []sandbox.Fault{r.fault}, r.class, 0)
		})
	}
}

// sample gives a status of the row that no earlier row takes.
func sample(r fiscal.Row) int {
	switch {
	case r.From == 400 && r.To == 499:
		return 418
	case r.From == 500:
		return 503
	case r.From == 300:
		return 307
	}
	return r.From
}

func meetRow(t *testing.T, row fiscal.Row, status int) {
	fault := sandbox.Fault{Action: sandbox.Answer, Status: status, Step: sandbox.StepStart}
	switch row.Body {
	case fiscal.Broken:
		fault.Cut = true
	case fiscal.Signing:
		fault.Body = `{"object":"error","code":"fiscalization_failed","fiscal_errors":[{"code":"tse_unreachable"}]}`
	case fiscal.Retryable:
		fault.Body = `{"code":"busy","retryable":true}`
	}
	if row.Class == sale.Misconfigured && row.From == 300 {
		fault.Action, fault.Location = sandbox.Redirect, "https://elsewhere.test/"
	}
	faults := []sandbox.Fault{fault}
	switch row.Of {
	case fiscal.AfterStart:
		faults[0].Step = sandbox.StepComplete
	case fiscal.Replay: // too early: nothing was done, and the same call comes again
		faults = []sandbox.Fault{{Action: sandbox.Answer, Status: 425, Step: sandbox.StepStart, Times: 1}, fault}
	case fiscal.LookUp:
		faults = []sandbox.Fault{{Action: sandbox.DropRequest, Step: sandbox.StepStart, Times: 1}, fault}
		faults[1].Step = sandbox.StepLookup
	}
	if row.Class == sale.Confirmed {
		faults = nil
	}
	meet(t, faults, row.Class, status)
}

// meet lets one register meet the faults, and looks at everything around it.
func meet(t *testing.T, faults []sandbox.Fault, class sale.Class, status int) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	s.add("pump-02")
	device := s.connect("pump-01", 5, topic("pump-01", "receipt"))
	neighbour := s.connect("pump-02", 5, topic("pump-02", "receipt"))
	for _, f := range faults {
		f.Register = "reg_pump-01"
		s.sandbox.Inject(f)
	}
	publish(t, device, 1, "sale", fmt.Sprintf(wholeEvent, "s1"))
	if err := neighbour.Publish(topic("pump-02", "sale"), 1, 1, fmt.Sprintf(wholeEvent, "n1")); err != nil {
		t.Fatal(err)
	}
	if r := awaitReceipt(t, neighbour, nil); r.State != "completed" { // whatever the other meets
		t.Errorf("the neighbour's receipt says %s", r.State)
	}
	looked := len(faults) > 1 && faults[1].Step == sandbox.StepLookup
	if class != sale.Confirmed {
		s.awaitAttempt(t, class, status, looked)
	}
	s.lookAround(t, class, status, looked)
	course := (&sale.Problem{Class: class}).Course()
	if course.Quarantine {
		if r := awaitReceipt(t, device, nil); r.State != "quarantined" || r.SaleID != "s1" {
			t.Errorf("the device hears %+v", r)
		}
	}
	s.recover(t, course)
	if r := awaitReceipt(t, device, nil); r.State != "completed" || r.SaleID != "s1" {
		t.Errorf("in the end the device hears %+v", r)
	}
	if err := errors.Join(s.sandbox.Check([]sandbox.Expect{{Register: "reg_pump-01", ExternalID: "s1", Total: 7622},
		{Register: "reg_pump-02", ExternalID: "n1", Total: 7622}}), s.sandbox.CheckFrozen(), oneKeyPerCall(s.sandbox)); err != nil {
		t.Error(err)
	}
	if found, err := s.db.Recount(t.Context()); err != nil || len(found) > 0 {
		t.Errorf("the books: %v, %v", found, err)
	}
}

// awaitAttempt waits until the journal says what came back.
func (s *testSite) awaitAttempt(t *testing.T, class sale.Class, status int, looked bool) {
	t.Helper()
	if looked {
		status = 0 // the lost attempt; a refused look-up is not one
	}
	await(t, fmt.Sprintf("an attempt of class %s with status %d", class, status), func() bool {
		if looked {
			s.relay.Wake("reg_pump-01") // it would wait 3 s for the attempt to settle
		}
		attempts, err := s.db.Attempts(t.Context(), "reg_pump-01")
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range attempts {
			if a.Class == class && a.Status == status {
				return true
			}
		}
		return false
	})
}

// lookAround compares queue, totals, metrics and conditions with the class.
func (s *testSite) lookAround(t *testing.T, class sale.Class, status int, looked bool) {
	t.Helper()
	if looked || class == sale.Confirmed {
		return // it is sent again at once, inside the window
	}
	course := (&sale.Problem{Class: class, Status: status}).Course()
	q := s.queueOf(t, "reg_pump-01")
	if !course.InDoubt { // not in the middle of the next attempt, which an unlucky draw puts close behind
		await(t, "no attempt to be under way", func() bool { q = s.queueOf(t, "reg_pump-01"); return q.InDoubtSince.IsZero() })
	}
	if course.Quarantine != (q.Quarantined == 1) || course.Quarantine == (q.Waiting == 1) || course.Blocked == q.BlockedSince.IsZero() ||
		!course.Quarantine && q.Class != class || course.InDoubt == q.InDoubtSince.IsZero() {
		t.Errorf("%s: queue %+v", class, q)
	}
	if !course.Quarantine && !course.Blocked && q.NextAttempt.IsZero() {
		t.Errorf("%s: no next attempt: %+v", class, q)
	}
	m := s.exposed(t)
	if n := m.value(t, "edgegw_attempts_total", "class", class.String()); n < 1 {
		t.Errorf("%s: %v attempts in the metrics", class, n)
	}
	if got, want := m.value(t, "edgegw_sales_quarantined"), float64(q.Quarantined); got != want {
		t.Errorf("%s: the metrics say %v in quarantine", class, got)
	}
	if course.Blocked && m.value(t, "edgegw_queue_blocked", "reason", class.String()) != 1 {
		t.Errorf("%s: the metrics say nothing of a blocked queue", class)
	}
	if got := m.value(t, "edgegw_uplink_up"); got != 1 {
		t.Errorf("%s: the uplink is said to be down", class)
	}
	now, most := s.relay.Rate()
	if (class == sale.Throttled) != (now < most) {
		t.Errorf("%s: %v of %v requests a second", class, now, most)
	}
	if class != sale.SigningDown && !s.relay.SigningDown().IsZero() { // there the neighbour's success may have ended it
		t.Errorf("%s: signing is down since %s", class, s.relay.SigningDown())
	}
	s.words(t, class)
}

// saidOf is what a technician must find: a condition where a person is needed,
// and the words about the device.
var saidOf = map[sale.Class]struct{ code, words string }{
	sale.InDoubt:         {"", "is looked up before it is sent again"},
	sale.Throttled:       {"", "OpenFiskal asks for fewer requests (429)"},
	sale.Transient:       {"", "OpenFiskal is out of order"},
	sale.KeyRefused:      {"key_refused", "Enter a new key: edgegw key set pump-01"},
	sale.RegisterUnknown: {"register_unknown", "OpenFiskal does not know the register"},
	sale.Resolve:         {"", "is looked up before it is sent again"},
	sale.SigningDown:     {"", "OpenFiskal cannot sign at the moment (422)"},
	sale.Poison:          {"sale_quarantined", "is in quarantine"},
	sale.Misconfigured:   {"misconfigured", "Check openfiskal.base_url"},
}

// words checks that the site never says it is well, and names what needs a
// person.
func (s *testSite) words(t *testing.T, class sale.Class) {
	t.Helper()
	st, err := s.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(st.Sentence, "up to date.") && !strings.Contains(st.Sentence, "other") {
		t.Errorf("%s: the site says %q", class, st.Sentence)
	}
	codes := map[string]bool{}
	for _, c := range st.Conditions {
		if c.Severity == health.Attention {
			codes[c.Code] = true
		}
	}
	said := saidOf[class]
	if said.code != "" && !codes[said.code] {
		t.Errorf("%s: conditions are %+v", class, st.Conditions)
	}
	await(t, fmt.Sprintf("%s: the words %q", class, said.words), func() bool { // between two attempts it is being sent
		x, err := s.Explain(t.Context(), "pump-01")
		if err != nil {
			t.Fatal(err)
		}
		return said.words != "" && strings.Contains(x.Sentence, said.words)
	})
}

// recover ends the fault, and does what a person would.
func (s *testSite) recover(t *testing.T, course sale.Course) {
	t.Helper()
	s.sandbox.ClearFaults()
	if course.Quarantine {
		items, err := s.db.Items(t.Context(), store.ItemFilter{Open: true})
		if err != nil || len(items) != 1 {
			t.Fatalf("items %+v, %v", items, err)
		}
		if _, _, err := s.db.Decide(t.Context(), sale.Ruling{Item: items[0].No, Decision: sale.DecisionRetry, By: "test", Reason: "mended", At: time.Now()}); err != nil {
			t.Fatal(err)
		}
		s.relay.Kick("reg_pump-01")
	}
	await(t, "the queue to go on", func() bool {
		s.relay.Wake("reg_pump-01") // nobody waits for a back-off of minutes here
		return s.queueOf(t, "reg_pump-01").Waiting == 0
	})
}

func (s *testSite) queueOf(t *testing.T, r sale.RegisterID) store.Queue {
	t.Helper()
	queues, err := s.db.Queues(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range queues {
		if q.Register == r {
			return q
		}
	}
	t.Fatalf("there is no queue of %s", r)
	return store.Queue{}
}
