package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"edgegw/admin"
	"edgegw/broker/brokertest"
	"edgegw/config"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
)

// quarantineSite is a site with one device, connected, and the policy for what
// OpenFiskal refuses.
func quarantineSite(t *testing.T, policy string) (*testSite, *brokertest.Client) {
	t.Helper()
	s := newSite(t, sandbox.Options{})
	s.flags["openfiskal.on_rejected"] = policy
	s.on()
	s.add("pump-01")
	return s, s.connect("pump-01", 5, topic("pump-01", "receipt"))
}

// refuse makes OpenFiskal refuse the step of the next sale for good, once.
func (s *testSite) refuse(step sandbox.Step, action sandbox.Action) {
	s.sandbox.Inject(sandbox.Fault{Register: "reg_pump-01", Step: step, Action: action, Status: 422, Times: 1,
		Body: `{"object":"error","code":"validation_error","message":"no such tax rate","param":"line_items[0]"}`})
}

// hears waits for the device's next receipt.
func hears(t *testing.T, c *brokertest.Client, saleID, state string) sale.Receipt {
	t.Helper()
	r := awaitReceipt(t, c, nil)
	if r.SaleID != saleID || r.State != state {
		t.Errorf("the device hears %s of %s, want %s of %s", r.State, r.SaleID, state, saleID)
	}
	return r
}

// empty waits until the device's acknowledgements are recorded: what is not
// would be sent once more.
func (s *testSite) empty(t *testing.T) {
	t.Helper()
	await(t, "the mailbox to be empty", func() bool {
		st, err := s.Status(t.Context())
		return err == nil && st.Totals.Receipts == 0
	})
}

func (s *testSite) decide(t *testing.T, id string, d sale.Decision, operation string) admin.DecisionResult {
	t.Helper()
	r, err := s.Decide(t.Context(), admin.Decision{ID: id, Decision: d, Reason: "because", Operation: operation}, "anna")
	if err != nil {
		t.Fatalf("%s %s: %v", d, id, err)
	}
	return r
}

// refused checks that a decision is refused, and that the refusal says what to do.
func (s *testSite) refused(t *testing.T, id string, d sale.Decision, operation, code string) {
	t.Helper()
	_, err := s.Decide(t.Context(), admin.Decision{ID: id, Decision: d, Reason: "because", Operation: operation}, "anna")
	var f *admin.Refusal
	if !errors.As(err, &f) || f.Code != code || f.Remedy == "" {
		t.Errorf("%s %s: got %v, want a refusal %s", d, id, err, code)
	}
}

func (s *testSite) onlyItem(t *testing.T) admin.QuarantineItem {
	t.Helper()
	items, err := s.Quarantine(t.Context(), admin.QuarantineFilter{})
	if err != nil || len(items) != 1 {
		t.Fatalf("items %+v, %v", items, err)
	}
	return items[0]
}

// balanced checks totals, rows and the stand-in.
func (s *testSite) balanced(t *testing.T, want admin.Totals, operations ...string) {
	t.Helper()
	st, err := s.Status(t.Context())
	got := st.Totals
	got.Receipts, got.Accepted = 0, 0
	if err != nil || got != want {
		t.Errorf("totals %+v, %v, want %+v", got, err, want)
	}
	if faults, err := s.db.Recount(t.Context()); err != nil || len(faults) > 0 {
		t.Errorf("the books: %v, %v", faults, err)
	}
	var have []string
	for _, o := range s.sandbox.Operations("") {
		have = append(have, fmt.Sprintf("%s %s %d", o.ExternalID, o.State, o.Total))
	}
	if !slices.Equal(have, operations) {
		t.Errorf("OpenFiskal has %q, want %q", have, operations)
	}
	if err := errors.Join(s.sandbox.CheckFrozen(), oneKeyPerCall(s.sandbox)); err != nil {
		t.Error(err)
	}
}

// A refused sale under both policies: the device hears of it, the next sale goes
// past it or waits behind it, a restart changes nothing, and a retry brings it
// home with the same bytes.
func TestARefusedSaleIsSentAgain(t *testing.T) {
	for _, policy := range []string{"step_over", "block"} {
		t.Run(policy, func(t *testing.T) {
			s, c := quarantineSite(t, policy)
			s.refuse(sandbox.StepComplete, sandbox.Answer)
			publish(t, c, 1, "sale", fmt.Sprintf(wholeEvent, "s1"))
			hears(t, c, "s1", "quarantined")
			publish(t, c, 2, "sale", fmt.Sprintf(wholeEvent, "s2"))
			if policy == "step_over" {
				hears(t, c, "s2", "completed")
			}
			s.empty(t)
			s.off()
			s.on()
			c = s.connect("pump-01", 5)
			i := s.onlyItem(t)
			if i.SaleID != "s1" || i.Step != "complete" || i.State != "quarantined" || i.Code != "validation_error" || i.Blocking != (policy == "block") || i.InDoubt {
				t.Errorf("item %+v", i)
			}
			s.tellsOfQuarantine(t, policy, i.ID)
			if r := s.decide(t, "s1", sale.DecisionRetry, ""); r.ID != i.ID || r.Notice != "" {
				t.Errorf("result %+v", r)
			}
			hears(t, c, "s1", "completed")
			if policy == "block" {
				hears(t, c, "s2", "completed") // nothing has gone past s1
			}
			s.refused(t, i.ID, sale.DecisionDiscard, "", "conflict")
			s.refused(t, "s1", sale.DecisionRetry, "", "conflict")
			s.balanced(t, admin.Totals{Confirmed: 2}, "s1 completed 7622", "s2 completed 7622")
			s.off()
		})
	}
}

func (s *testSite) tellsOfQuarantine(t *testing.T, policy, id string) {
	t.Helper()
	st, err := s.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	codes := map[string]string{}
	for _, c := range st.Conditions {
		codes[c.Code] = c.Remedy
	}
	for code, want := range map[string]bool{"sale_quarantined": policy == "step_over", "queue_blocked": policy == "block"} {
		if remedy, there := codes[code]; there != want || there && !strings.Contains(remedy, "edgegw quarantine show "+id) {
			t.Errorf("condition %s: there is %v, remedy %q", code, there, remedy)
		}
	}
	if state := st.Registers[0].State; (state == "blocked") != (policy == "block") {
		t.Errorf("the queue is %s", state)
	}
}

// What a device reports later of a sale in quarantine is stored with it and
// goes out with it.
func TestLaterEventsFollowTheSale(t *testing.T) {
	s, c := quarantineSite(t, "step_over")
	if _, _, err := c.Subscribe(9001, 1, topic("pump-01", "sale/ack")); err != nil {
		t.Fatal(err)
	}
	s.refuse(sandbox.StepStart, sandbox.Answer)
	publish(t, c, 1, "sale/start", fmt.Sprintf(startEvent, "s1"))
	hears(t, c, "s1", "quarantined")
	if err := c.Publish(topic("pump-01", "sale/complete"), 1, 2, fmt.Sprintf(completeEvent, "s1")); err != nil {
		t.Fatal(err)
	}
	for {
		p, err := c.Read(brokertest.Patience)
		if err != nil {
			t.Fatal(err)
		}
		var ack sale.Ack
		if p.Type == brokertest.PUBLISH && strings.HasSuffix(p.Topic, "/sale/ack") && json.Unmarshal(p.Payload, &struct{ Error **sale.Fault }{&ack.Error}) == nil && ack.Error != nil {
			if ack.Error.Code != "sale_quarantined" {
				t.Errorf("ack %s", p.Payload)
			}
			break
		}
	}
	s.decide(t, "s1", sale.DecisionRetry, "")
	hears(t, c, "s1", "completed")
	s.balanced(t, admin.Totals{Confirmed: 1}, "s1 completed 7622")
	s.off()
}

// OpenFiskal said no and has carried the call out all the same: the answer that
// the operation has is the sale's.
func TestResolveAdoptsWhatIsThere(t *testing.T) {
	for _, policy := range []string{"step_over", "block"} {
		t.Run(policy, func(t *testing.T) {
			s, c := quarantineSite(t, policy)
			s.refuse(sandbox.StepComplete, sandbox.ProcessThenAnswer)
			publish(t, c, 1, "sale", fmt.Sprintf(wholeEvent, "s1"))
			hears(t, c, "s1", "quarantined")
			publish(t, c, 2, "sale", fmt.Sprintf(wholeEvent, "s2"))
			if policy == "step_over" {
				hears(t, c, "s2", "completed")
				s.refused(t, "s1", sale.DecisionResolve, s.sandbox.Operations("")[1].ID, "other_sale")
			}
			s.refused(t, "s1", sale.DecisionResolve, "op_nowhere", "no_operation")
			r := s.decide(t, "s1", sale.DecisionResolve, "")
			if op := s.sandbox.Operations("")[0]; !r.Adopted || r.Operation != op.ID || r.Notice != "" {
				t.Errorf("result %+v, the operation is %s", r, op.ID)
			}
			if heard := hears(t, c, "s1", "completed"); heard.FiscalState != "succeeded" || heard.DocumentNumber == "" {
				t.Errorf("receipt %+v", heard)
			}
			if policy == "block" {
				hears(t, c, "s2", "completed")
			}
			s.balanced(t, admin.Totals{Confirmed: 1, Resolved: 1}, "s1 completed 7622", "s2 completed 7622")
			s.off()
		})
	}
}

// While the operation is open, or cannot be read, only a person who has looked
// himself can say what stands for the sale.
func TestResolveAsksForTheOperation(t *testing.T) {
	s, c := quarantineSite(t, "step_over")
	s.refuse(sandbox.StepComplete, sandbox.Answer)
	publish(t, c, 1, "sale", fmt.Sprintf(wholeEvent, "s1"))
	hears(t, c, "s1", "quarantined")
	s.refused(t, "s1", sale.DecisionResolve, "", "still_open")
	for _, f := range []sandbox.Fault{{Action: sandbox.Answer, Status: 401}, {Action: sandbox.Answer, Status: 405}, {Action: sandbox.Answer, Status: 503}, {Action: sandbox.DropRequest}} {
		f.Step = sandbox.StepLookup
		s.sandbox.Inject(f)
		s.refused(t, "s1", sale.DecisionResolve, "", "unreadable")
		s.sandbox.ClearFaults()
	}
	s.sandbox.Inject(sandbox.Fault{Step: sandbox.StepLookup, Action: sandbox.Answer, Status: 403})
	r := s.decide(t, "s1", sale.DecisionResolve, "op_byhand")
	if own := s.sandbox.Operations("")[0].ID; r.Adopted || r.Operation != "op_byhand" || !strings.Contains(r.Notice, "could not be read") || !strings.Contains(r.Notice, own) {
		t.Errorf("result %+v", r)
	}
	i, err := s.QuarantineItem(t.Context(), r.ID)
	if err != nil || i.State != "decided" || i.Decision != sale.DecisionResolve || i.DecidedBy != "anna" || i.DecisionReason != "because" || i.Operation != "op_byhand" || len(i.Allowed) != 0 {
		t.Errorf("item %+v, %v", i, err)
	}
	s.balanced(t, admin.Totals{Resolved: 1}, "s1 open 7622")
	s.off()
}

func TestDiscardSaysWhatStaysOpen(t *testing.T) {
	s, c := quarantineSite(t, "block")
	for n, step := range []sandbox.Step{sandbox.StepStart, sandbox.StepComplete} {
		id := fmt.Sprintf("s%d", n+1)
		s.refuse(step, sandbox.Answer)
		publish(t, c, uint16(n+1), "sale", fmt.Sprintf(wholeEvent, id))
		hears(t, c, id, "quarantined")
		r := s.decide(t, id, sale.DecisionDiscard, "")
		if open := strings.Contains(r.Notice, "stays open"); open != (step == sandbox.StepComplete) {
			t.Errorf("%s was refused: the notice is %q", step, r.Notice)
		}
	}
	publish(t, c, 3, "sale", fmt.Sprintf(wholeEvent, "s3"))
	hears(t, c, "s3", "completed")
	s.balanced(t, admin.Totals{Confirmed: 1, Resolved: 2}, "s2 open 7622", "s3 completed 7622")
	s.off()
}

// An end without its start is evidence; once the start has come, it can be
// taken again, and finds its way like any other.
func TestAMessageIsTakenAgain(t *testing.T) {
	s, c := quarantineSite(t, "step_over")
	publish(t, c, 1, "sale/complete", fmt.Sprintf(completeEvent, "s1"))
	i := s.onlyItem(t)
	if i.RegisterID != "" || i.Step != "" || i.Event != "complete" || i.State != "quarantined" || len(i.Allowed) != 3 {
		t.Errorf("item %+v", i)
	}
	s.refused(t, i.ID, sale.DecisionRetry, "", "still_refused")
	s.refused(t, i.ID, sale.DecisionResolve, "", "operation_missing")
	publish(t, c, 2, "sale/start", fmt.Sprintf(startEvent, "s1"))
	if r := s.decide(t, i.ID, sale.DecisionRetry, ""); r.Notice != "" {
		t.Errorf("result %+v", r)
	}
	hears(t, c, "s1", "completed")
	publish(t, c, 3, "sale/complete", fmt.Sprintf(completeEvent, "s1")) // a duplicate now
	s.refused(t, i.ID, sale.DecisionRetry, "", "conflict")
	s.balanced(t, admin.Totals{Confirmed: 1}, "s1 completed 7622")
	s.off()
}

// What a device says twice with another content cannot be taken again.
func TestAConflictIsNotTakenAgain(t *testing.T) {
	s, c := quarantineSite(t, "step_over")
	publish(t, c, 1, "sale", fmt.Sprintf(wholeEvent, "s1"))
	hears(t, c, "s1", "completed")
	publish(t, c, 2, "sale", strings.Replace(fmt.Sprintf(wholeEvent, "s1"), "Super E10", "Diesel", 1))
	i := s.onlyItem(t)
	if i.State != "conflict" {
		t.Errorf("item %+v", i)
	}
	s.refused(t, i.ID, sale.DecisionRetry, "", "not_allowed")
	if r := s.decide(t, i.ID, sale.DecisionResolve, "op_other"); r.Adopted || r.Operation != "op_other" {
		t.Errorf("result %+v", r)
	}
	s.balanced(t, admin.Totals{Confirmed: 1}, "s1 completed 7622")
	s.off()
}

// Where no gateway runs a sale is decided all the same, and sent by the next
// start; a message needs the gateway.
func TestDecisionsWithoutAGateway(t *testing.T) {
	s, c := quarantineSite(t, "block")
	publish(t, c, 1, "sale/complete", fmt.Sprintf(completeEvent, "m1"))
	message := s.onlyItem(t)
	s.refuse(sandbox.StepComplete, sandbox.Answer)
	publish(t, c, 2, "sale", fmt.Sprintf(wholeEvent, "s1"))
	hears(t, c, "s1", "quarantined")
	s.empty(t)
	s.off()
	cfg, err := config.Load(config.Options{Flags: s.flags, Search: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := OpenOffline(context.Background(), cfg, s.options)
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Decide(t.Context(), admin.Decision{ID: message.ID, Decision: sale.DecisionRetry, Reason: "x"}, "anna")
	if f := (*admin.Refusal)(nil); !errors.As(err, &f) || f.Code != "offline" {
		t.Errorf("a message without a gateway: %v", err)
	}
	r, err := b.Decide(t.Context(), admin.Decision{ID: "s1", Decision: sale.DecisionRetry, Reason: "x"}, "anna")
	if err != nil || !strings.Contains(r.Notice, "No gateway runs") {
		t.Errorf("decided %+v, %v", r, err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	s.on()
	c = s.connect("pump-01", 5)
	hears(t, c, "s1", "completed")
	s.balanced(t, admin.Totals{Confirmed: 1, Refused: 1}, "s1 completed 7622")
	s.off()
}

// Names: the number first, then the sale's id, where only one item has it.
func TestHowItemsAreNamed(t *testing.T) {
	s, c := quarantineSite(t, "step_over")
	for n, id := range []string{"s1", "s1", "2", "9"} { // the second s1 has another content
		publish(t, c, uint16(n+1), "sale/complete", strings.Replace(fmt.Sprintf(completeEvent, id), "Super E10", fmt.Sprintf("Super %d", n), 1))
	}
	for id, want := range map[string]string{"1": "s1", "2": "s1", "3": "2", "9": "9"} {
		i, err := s.QuarantineItem(t.Context(), id)
		if err != nil || i.SaleID != want {
			t.Errorf("%q names %s, %v, want %s", id, i.SaleID, err, want)
		}
	}
	s.refused(t, "s1", sale.DecisionDiscard, "", "ambiguous")
	s.refused(t, "s8", sale.DecisionDiscard, "", "not_found")
	s.refused(t, "-1", sale.DecisionDiscard, "", "not_found")
	s.decide(t, "1", sale.DecisionDiscard, "")
	if r := s.decide(t, "s1", sale.DecisionDiscard, ""); r.ID != "2" {
		t.Errorf("s1 is item %s", r.ID)
	}
	s.off()
}

// No card number leaves the box, whatever a device writes where.
func TestCardNumbersAreMasked(t *testing.T) {
	for text, want := range map[string]string{
		`{"note":"4111111111111111"}`: `{"note":"************1111"}`,
		`4222222222222`:               `*********2222`,
		`6304000000000000000`:         `***************0000`,
		`4111111111111112`:            `4111111111111112`, // no check digit
		`411111111111`:                `411111111111`,
		`00000000000000000000`:        `00000000000000000000`,
		"a\xff4111111111111111b":      "a\uFFFD************1111b",
		``:                            ``,
	} {
		if got := masked([]byte(text)); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	s, c := quarantineSite(t, "step_over")
	s.sandbox.Inject(sandbox.Fault{Step: sandbox.StepStart, Action: sandbox.Answer, Status: 400, Body: `{"code":"invalid","message":"4111111111111111?"}`})
	publish(t, c, 1, "sale/start", strings.Replace(fmt.Sprintf(startEvent, "s1"), `"nozzle":"2"`, `"card":"4111111111111111"`, 1))
	hears(t, c, "s1", "quarantined")
	i, err := s.QuarantineItem(t.Context(), "s1")
	if err != nil || i.Request == nil || i.Answer == nil {
		t.Fatalf("item %+v, %v", i, err)
	}
	for what, text := range map[string]string{"payload": i.Payload, "request": i.Request.Body, "answer": i.Answer.Body} {
		if strings.Contains(text, "4111111111111111") || !strings.Contains(text, "************1111") {
			t.Errorf("the %s shows %s", what, text)
		}
	}
	if whole, _ := json.Marshal(i); strings.Contains(string(whole), "4111111111111111") {
		t.Errorf("the item shows %s", whole)
	}
	s.off()
}
