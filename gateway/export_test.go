package gateway

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/audit"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
)

// exported makes an export and takes it apart.
func exported(t *testing.T, b admin.Backend, p admin.Period) (archive []byte, report audit.Report, files map[string]string) {
	t.Helper()
	var out bytes.Buffer
	if err := b.Export(t.Context(), p, "person:anna", &out); err != nil {
		t.Fatal(err)
	}
	report, fault := audit.Verify(bytes.NewReader(out.Bytes()), int64(out.Len()), nil, nil)
	if fault != nil {
		t.Fatal(fault)
	}
	z, err := zip.NewReader(bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil {
		t.Fatal(err)
	}
	files = map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name] = string(text)
	}
	return out.Bytes(), report, files
}

// rowsOf reads JSON lines.
func rowsOf(t *testing.T, text string) (rows []map[string]any) {
	t.Helper()
	for line := range strings.Lines(text) {
		var row map[string]any
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

// expects compares some cells of a row.
func expects(t *testing.T, what string, row map[string]any, want map[string]any) {
	t.Helper()
	for name, value := range want {
		if fmt.Sprint(row[name]) != fmt.Sprint(value) {
			t.Errorf("%s: %s is %v, want %v", what, name, row[name], value)
		}
	}
}

// A day of a site, as an auditor gets it: a good sale, one that was refused and
// decided about, a message that waits, and an outage.
func TestAnExportTellsWhatHappened(t *testing.T) {
	const key = "ofk_reg_live_0123456789abcdef"
	s, c := quarantineSite(t, "step_over")
	publish(t, c, 1, "sale/start", fmt.Sprintf(startEvent, "good"))
	publish(t, c, 2, "sale/complete", fmt.Sprintf(completeEvent, "good"))
	hears(t, c, "good", "completed")
	publish(t, c, 3, "sale/complete", fmt.Sprintf(completeEvent, "m1"))
	s.sandbox.Inject(sandbox.Fault{Step: sandbox.StepComplete, Action: sandbox.Answer, Status: 422, Times: 1, Body: `{"object":"error","code":"no_rate","message":"not with ` + key + `"}`})
	publish(t, c, 4, "sale", fmt.Sprintf(wholeEvent, cardNumber))
	hears(t, c, cardNumber, "quarantined")
	reason := "=1+1, his card " + cardNumber
	if _, err := s.Decide(t.Context(), admin.Decision{ID: cardNumber, Decision: sale.DecisionDiscard, Reason: reason}, "person:anna"); err != nil {
		t.Fatal(err)
	}
	s.sandbox.SetDown(true)
	publish(t, c, 5, "sale", fmt.Sprintf(wholeEvent, "late"))
	await(t, "an attempt that cannot be sent", func() bool {
		all, err := s.db.Attempts(t.Context(), "reg_pump-01")
		return err == nil && len(all) > 0 && all[len(all)-1].Class == sale.Uplink
	})
	s.sandbox.SetDown(false)
	hears(t, c, "late", "completed")
	s.empty(t)

	archive, report, files := exported(t, s, admin.Period{})
	if m := report.Manifest; m.Site != "test" || m.Version != "test" || m.MadeBy != "person:anna" || m.Clock != "synchronised" || !m.From.IsZero() || m.To.IsZero() {
		t.Errorf("%+v", m)
	}
	for name, text := range files {
		for _, secret := range append([]string{cardNumber, key}, s.keys...) {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows %s", name, secret)
			}
		}
	}
	sales := rowsOf(t, files["sales.jsonl"])
	if len(sales) != 3 {
		t.Fatalf("sales:\n%s", files["sales.jsonl"])
	}
	expects(t, "good", sales[0], map[string]any{"n": 1, "device_id": "pump-01", "sale_id": "good", "register_id": "reg_pump-01", "state": "confirmed", "open": false, "total": 7622,
		"currency": "EUR", "fiscal_state": "succeeded", "attempts": 1, "attempts_in_vain": 0, "item": nil, "decision": "", "received_clock": "synchronised", "completed_received_clock": "synchronised"})
	for _, name := range []string{"started_at", "completed_at", "received_at", "completed_received_at", "settled_at", "operation", "document_number", "request_id"} {
		if text, _ := sales[0][name].(string); text == "" {
			t.Errorf("good has no %s", name)
		}
	}
	expects(t, "refused", sales[1], map[string]any{"sale_id": "************1111", "state": "resolved", "decision": "discard", "decided_by": "person:anna", "settled_at": "",
		"decision_reason": "=1+1, his card ************1111"})
	expects(t, "late", sales[2], map[string]any{"sale_id": "late", "state": "confirmed"})
	if vain, _ := sales[2]["attempts_in_vain"].(float64); vain < 1 {
		t.Errorf("late: %v attempts in vain", vain)
	}
	if !strings.Contains(files["sales.csv"], `,"'=1+1, his card ************1111",`) {
		t.Errorf("sales.csv:\n%s", files["sales.csv"])
	}
	if events := rowsOf(t, files["events.jsonl"]); len(events) != 4 || events[0]["event"] != "start" || events[1]["event"] != "complete" || events[1]["occurred_at"] == "" {
		t.Errorf("events:\n%s", files["events.jsonl"])
	}
	decisions := rowsOf(t, files["decisions.jsonl"])
	if len(decisions) != 2 {
		t.Fatalf("decisions:\n%s", files["decisions.jsonl"])
	}
	expects(t, "message", decisions[0], map[string]any{"of": "message", "sale_id": "m1", "decision": "", "code": "start_missing"})
	expects(t, "decided", decisions[1], map[string]any{"of": "sale", "decision": "discard", "decided_by": "person:anna", "http_status": 422, "code": "no_rate"})
	if why := fmt.Sprint(decisions[1]["why"]); !strings.Contains(why, "not with [redacted]") {
		t.Errorf("why: %s", why)
	}
	outages := rowsOf(t, files["outages.jsonl"])
	if len(outages) != 1 {
		t.Fatalf("outages:\n%s", files["outages.jsonl"])
	}
	expects(t, "outage", outages[0], map[string]any{"registers": 1})
	if outages[0]["began_at"] == "" || outages[0]["ended_at"] == "" || outages[0]["cause"] == "" {
		t.Errorf("outage %v", outages[0])
	}

	// The whole trail is in it, and is the one on the box.
	v, err := s.Verify(t.Context(), []audit.Chain{report.Manifest.Trail.Head.Chain})
	if err != nil || !v.OK || v.Head != report.Manifest.Trail.Head || v.Head != report.Manifest.Trail.Last || v.Lines != int64(len(rowsOf(t, files["audit.jsonl"]))) {
		t.Errorf("%+v, %v; the export says %+v", v, err, report.Manifest.Trail)
	}
	if _, fault := audit.Verify(bytes.NewReader(archive), int64(len(archive)), []audit.Chain{v.Head.Chain}, nil); fault != nil {
		t.Error(fault)
	}
	if v, err := s.Verify(t.Context(), []audit.Chain{{7}}); err != nil || v.OK || v.Fault == nil || v.Fault.Kind != audit.Missing {
		t.Errorf("a value that was never there: %+v, %v", v, err)
	}
	s.off()
}

// A period has what lies in it, and its part of the trail hangs on what is before.
func TestAnExportOfAPeriod(t *testing.T) {
	s, c := quarantineSite(t, "step_over")
	publish(t, c, 1, "sale", fmt.Sprintf(wholeEvent, "first"))
	hears(t, c, "first", "completed")
	first, err := s.Sales(t.Context(), admin.SaleFilter{SaleID: "first"})
	if err != nil || len(first) != 1 {
		t.Fatal(err)
	}
	after := first[0].AcceptedAt.Add(time.Millisecond)
	await(t, "the next millisecond", func() bool { return time.Now().After(after) })
	s.add("pump-02")
	publish(t, c, 2, "sale", fmt.Sprintf(wholeEvent, "second"))
	hears(t, c, "second", "completed")
	_, report, files := exported(t, s, admin.Period{From: after})
	trail := report.Manifest.Trail
	if trail.Before.No == 0 || trail.Before.Chain == (audit.Chain{}) || trail.Last != trail.Head || trail.Last.No <= trail.Before.No {
		t.Errorf("%+v", trail)
	}
	if sales := rowsOf(t, files["sales.jsonl"]); len(sales) != 1 || sales[0]["sale_id"] != "second" {
		t.Errorf("sales %v", sales)
	}
	_, report, files = exported(t, s, admin.Period{To: after.Add(-time.Hour)})
	if trail := report.Manifest.Trail; files["sales.jsonl"] != "" || trail.Before != trail.Last || trail.Head.No == 0 {
		t.Errorf("a period before the site: %+v, %s", trail, files["sales.jsonl"])
	}
	f := (*admin.Refusal)(nil)
	if err := s.Export(t.Context(), admin.Period{From: after, To: after}, "", io.Discard); !errors.As(err, &f) || f.Code != "invalid" {
		t.Errorf("a period of nothing: %v", err)
	}
	// One at a time; a reader that goes away lets the next one in.
	begun, goOn := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	go func() { ended <- s.Export(t.Context(), admin.Period{}, "", &halting{begun: begun, goOn: goOn}) }()
	<-begun
	if err := s.Export(t.Context(), admin.Period{}, "", io.Discard); !errors.As(err, &f) || f.Code != "not_ready" {
		t.Errorf("two at a time: %v", err)
	}
	close(goOn)
	if err := <-ended; err == nil {
		t.Error("the reader went away, and nobody noticed")
	}
	exported(t, s, admin.Period{})
	s.off()
}

// halting is a reader that waits, and then goes away.
type halting struct{ begun, goOn chan struct{} }

func (h *halting) Write([]byte) (int, error) {
	close(h.begun)
	<-h.goOn
	return 0, io.ErrClosedPipe
}
