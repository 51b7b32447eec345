package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"edgegw/admin"
	"edgegw/broker/brokertest"
	"edgegw/fiscal/sandbox"
	"edgegw/store"
)

const pan = "4111111111111111"

// A pump that sends card numbers wherever it can: no answer, log line or metric
// shows one; what is stored and sent is what came; a condition names the pump
// until somebody has seen to it.
func TestCardDataIsShownNowhere(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	s.sandbox.Inject(sandbox.Fault{Step: sandbox.StepComplete, Action: sandbox.Answer, Status: 400, Times: 1, // quotes what was sent
		Body: `{"code":"invalid_request","message":"payment reference 4111 1111 1111 1111 is not allowed","param":"` + pan + `"}`})
	c := s.connect("pump-01", 5, topic("pump-01", "receipt"))
	with := func(id, more string) string {
		return fmt.Sprintf(`{"sale_id":%q,%s,`, id, more) + strings.TrimPrefix(wholeEvent, `{"sale_id":%q,`)
	}
	events := []string{
		with(pan, `"metadata":{"track":"`+pan+`"}`),                        // refused by OpenFiskal, and logged by its id
		with("s2", `"metadata":{"pan":`+pan+`,"b":"4111-1111-1111-1111"}`), // a number, and groups
		with("s1", `"metadata":{"x":"`+pan+`"}`),
		strings.Replace(with("s4", `"metadata":{}`), "Super E10", `\u0034111111111111111`, 1),
		`{"sale_id":"s5","note":"` + pan + `"`,                                              // no JSON
		strings.Replace(with("s6", `"x":1`), `"currency":"EUR"`, `"currency":"`+pan+`"`, 1), // a fault that may quote it
	}
	for i, e := range events {
		if err := c.Publish(topic("pump-01", "sale"), 1, uint16(i+1), e); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Await(brokertest.PUBACK); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Publish(topic("pump-01", "status"), 1, 99, `{"last_card":`+pan+`}`); err != nil {
		t.Fatal(err)
	}
	await(t, "the sales to settle", func() bool {
		st, err := s.Status(t.Context())
		return err == nil && st.Totals.Confirmed == 3 && st.Totals.Quarantined == 1 && st.Totals.Refused == 2
	})
	await(t, "the condition", func() bool {
		text, _ := s.condition("card_data")
		return strings.Contains(text, "pump-01 sent what looks like a card number in 6 messages") && strings.Contains(text, "forget-cards pump-01")
	})

	exits := map[string]string{"the log": s.logs.String()}
	paths := []string{"/status", "/devices", "/devices/pump-01", "/sales", "/quarantine?state=all", "/explain", "/explain?subject=pump-01", "/explain?subject=reg_pump-01",
		"/explain?subject=" + pan, "/explain?subject=s1", "/keys", "/sales?sale_id=" + pan}
	for no := 1; no <= 3; no++ {
		paths = append(paths, fmt.Sprintf("/quarantine/%d", no))
	}
	for _, path := range paths {
		exits[path] = s.ask(t, admin.Prefix+path)
	}
	exits["/metrics"] = s.ask(t, "/metrics")
	for name, text := range exits {
		digits := strings.NewReplacer(" ", "", "-", "", `\u0034`, "4").Replace(text)
		if len(text) < 20 || strings.Contains(digits, pan) {
			t.Errorf("%s shows a card number, or nothing: %.300s", name, text)
		}
	}
	if !strings.Contains(exits["/quarantine/1"], "************1111") || !strings.Contains(exits["/sales"], "************1111") || !strings.Contains(exits["/devices/pump-01"], `"************1111"`) {
		t.Errorf("the last four are not shown: %s", exits["/sales"])
	}

	for _, id := range []string{"s1", "s2", "s4"} { // … and OpenFiskal has what was sold
		found := false
		for _, o := range s.sandbox.Operations("reg_pump-01") {
			found = found || o.ExternalID == id && o.Total == 7622
		}
		if !found {
			t.Errorf("sale %s is not at OpenFiskal as it was sent", id)
		}
	}
	raw, err := s.db.Items(t.Context(), store.ItemFilter{No: 1})
	if err != nil || len(raw) != 1 || !bytes.Contains(raw[0].Raw, []byte(pan)) {
		t.Errorf("the journal does not hold what was sent: %v", err)
	}
	if m := s.ask(t, "/metrics"); !strings.Contains(m, "edgegw_card_data_total 6") {
		t.Error("the metric does not count six")
	}
	if err := c.Publish(topic("pump-01", "status"), 1, 100, `{}`); err != nil {
		t.Fatal(err)
	}
	if err := s.ForgetCards(t.Context(), "pump-01", "anna"); err != nil {
		t.Fatal(err)
	}
	await(t, "the condition to end", func() bool { _, there := s.condition("card_data"); return !there })
	if err := s.ForgetCards(t.Context(), "pump-99", "anna"); err == nil {
		t.Error("a device that is not there")
	}
}

// ask asks over the commands' socket.
func (s *testSite) ask(t *testing.T, path string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://edgegw"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.overSocket().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || strings.HasPrefix(path, admin.Prefix) && !json.Valid(body) {
		t.Errorf("%s: %v, %s", path, err, body)
	}
	return string(body)
}
