package gateway

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"edgegw/health"
	"edgegw/relay"
	"edgegw/sale"
	"edgegw/store"
	"edgegw/wording"
)

// facts is a site of so many registers with a device and a key each.
func facts(registers int) *siteFacts {
	s := &siteFacts{now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), running: true, uplink: relay.UplinkState{Up: true}, devices: registers}
	for i := range registers {
		n := string(rune('0'+i/10)) + string(rune('0'+i%10))
		s.registers = append(s.registers, registerFacts{Queue: store.Queue{Register: sale.RegisterID("reg_" + n), Idle: true}, devices: []sale.DeviceID{sale.DeviceID("pump-" + n)}})
	}
	return s
}

// The sentence of the issue, word for word up to how the key is given.
func TestTheSentenceOfTheIssue(t *testing.T) {
	s := facts(12)
	since := time.Date(2026, 11, 22, 10, 42, 0, 0, time.UTC)
	r := &s.registers[7]
	r.Idle, r.Waiting, r.Oldest, r.BlockedSince, r.Class = false, 3, since, since, sale.KeyRefused
	r.last = store.TriedInVain{Class: sale.KeyRefused, Status: 401, Times: 1}
	want := "pump-07: 3 sales wait since 10:42; OpenFiskal refuses its key (401). The other 11 registers are up to date. Enter a new key: edgegw key set pump-07 --key-stdin."
	if got := s.sentence().String(); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	r.Oldest = since.AddDate(0, 0, -3)
	if got := s.sentence().String(); !strings.HasPrefix(got, "pump-07: 3 sales wait since 2026-11-19; ") {
		t.Error(got)
	}
}

func TestNoSiteYet(t *testing.T) {
	if got := (&siteFacts{}).sentence().String(); got != "No device has been added yet: edgegw device add pump-01 --register reg_…" {
		t.Error(got)
	}
}

// Many registers in trouble are not all told.
// "a message could not become a sale: must be a string" says nothing to anybody.
func TestARefusalNamesItsField(t *testing.T) {
	for _, row := range []struct {
		fault sale.Fault
		want  string
	}{
		{sale.Fault{Field: "/sale_id", Message: "must be a string"}, "/sale_id must be a string"},
		{sale.Fault{Field: "/currency", Message: "is required"}, "/currency is required"},
		{sale.Fault{Field: "/currency", Message: "differs from the currency of the sale's start"}, "/currency differs from the currency of the sale's start"},
		{sale.Fault{Field: "/line_items/0/amount", Message: "quantity × unit_price differs from amount"}, "quantity × unit_price differs from amount"},
		{sale.Fault{Message: "the payload is not UTF-8"}, "the payload is not UTF-8"},
	} {
		if got := refusedFor(&sale.Item{Fault: row.fault}); got != row.want {
			t.Errorf("%+v: %s, want %s", row.fault, got, row.want)
		}
	}
}

// A register that has its unit is refused by OpenFiskal itself, whatever else a 409
// of that call may mean.
func TestAUnitThatIsThereIsNoStranger(t *testing.T) {
	got := problemWords(&sale.Problem{Class: sale.Misconfigured, Status: 409, Code: "fiscal_unit_exists"}).String()
	if want := "the register has a fiscal unit already (409 fiscal_unit_exists)"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestTheSentenceHasAnEnd(t *testing.T) {
	s := facts(12)
	for i := range s.registers {
		r := &s.registers[i]
		r.key, r.Idle, r.Waiting, r.Oldest = keyMissing, false, 1, s.now
	}
	got := s.sentence().String()
	if len(got) > 800 || !strings.Contains(got, "More is to be told: pump-03, pump-04 and 7 more devices; see edgegw status.") {
		t.Error(got)
	}
}

// Every code of the fiscal client's uplink has words of its own.
func TestWordsOfAnUplinkThatIsDown(t *testing.T) {
	for _, row := range []struct{ code, detail, why, do string }{
		{"dns", "", "its host cannot be resolved", "DNS"},
		{"refused", "", "refuses the connection", "openfiskal.base_url"},
		{"unreachable", "", "no way to its host", "SIM card"},
		{"timeout", "", "does not answer in time", "firewall"},
		{"tls", "", "no TLS connection that can be trusted", "clock of this machine"},
		{"tls_time", "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2077-01-01T00:00:00Z is after 2027-09-01T00:00:00Z",
			"current time 2077-01-01T00:00:00Z is after 2027-09-01T00:00:00Z", "clock of this machine"},
		{"tls_missing", "", "does not speak TLS", "openfiskal.base_url"},
		{"proxy_unreachable", "", "proxy itself cannot be reached", "openfiskal.proxy"},
		{"proxy", "", "the proxy does not let it through", "openfiskal.proxy"},
		{"captive_portal", "", "a login page", "Log in to the site's network"},
		{"cancelled", "given up", "given up", "internet connection"},
		{"", "", "the cause is not known", "internet connection"},
	} {
		s := facts(2)
		s.uplink = relay.UplinkState{Problem: row.code, Detail: row.detail, Since: s.now.Add(-time.Minute)}
		got := s.sentence().String()
		if !strings.HasPrefix(got, "OpenFiskal cannot be reached since 11:59: ") || !strings.Contains(got, row.why) || !strings.Contains(got, row.do) ||
			!strings.Contains(got, "All 2 registers are up to date.") {
			t.Errorf("%s: %s", row.code, got)
		}
	}
}

// Whatever stands in the way of a register, it is not called up to date.
func TestNothingThatWaitsIsUpToDate(t *testing.T) {
	at := time.Date(2026, 11, 22, 11, 0, 0, 0, time.UTC)
	item := sale.Item{No: 4, SaleID: "s1", Device: "pump-00", At: at, Step: sale.StepStart, Problem: sale.Problem{Status: 400, Code: "bad"}}
	for name, change := range map[string]func(*siteFacts, *registerFacts){
		"waiting":     func(_ *siteFacts, r *registerFacts) { r.Idle, r.Waiting = false, 1 },
		"open":        func(_ *siteFacts, r *registerFacts) { r.Waiting = 1 },
		"quarantined": func(_ *siteFacts, r *registerFacts) { r.Quarantined, r.items = 1, []sale.Item{item} },
		"held":        func(_ *siteFacts, r *registerFacts) { r.Quarantined, r.Blocker, r.Idle = 1, 4, false },
		"keyless":     func(_ *siteFacts, r *registerFacts) { r.key = keyMissing },
		"sealed":      func(_ *siteFacts, r *registerFacts) { r.key = keySealed },
		"unreadable":  func(_ *siteFacts, r *registerFacts) { r.unreadable = errors.New("damaged") },
		"message":     func(s *siteFacts, _ *registerFacts) { s.messages, s.refused = []sale.Item{item}, 1 },
		"gap": func(s *siteFacts, _ *registerFacts) {
			s.conditions = []health.Condition{gapCondition("pump-00", []store.Gap{{Device: "pump-00", First: 7, Last: 7, At: at}})}
		},
		"disk": func(s *siteFacts, _ *registerFacts) {
			s.conditions = []health.Condition{{Code: "storage_full", Severity: health.Attention, Title: "The disk is full", Remedy: "Make room"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := facts(1)
			change(s, &s.registers[0])
			if got := s.sentence().String(); got == "" || strings.Contains(got, "up to date") {
				t.Errorf("the site: %q", got)
			}
			if got := s.registerSentence(wording.Of("pump-00"), &s.registers[0]).String(); name != "disk" && strings.Contains(got, "up to date") {
				t.Errorf("the register: %q", got)
			}
		})
	}
}

// docs/conditions.md describes the conditions that there are, and no others.
func TestEveryConditionIsDescribed(t *testing.T) {
	page, err := os.ReadFile("../docs/conditions.md")
	if err != nil {
		t.Fatal(err)
	}
	described := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		described[m[1]] = true
	}
	raised := regexp.MustCompile(`(?:health\.Condition\{Code: |cause\{code: |c\.[cC]ode(?:, [\w.]+)* = |[^\w]ending\([^"\n]*)"([a-z_]+)"`)
	found := map[string]bool{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		source, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range raised.FindAllStringSubmatch(string(source), -1) {
			found[m[1]] = true
		}
	}
	delete(found, "not_running") // a cause in sentences: status says it in a line of its own
	for code := range found {
		if !described[code] {
			t.Errorf("docs/conditions.md does not describe %s", code)
		}
	}
	for code := range described {
		if !found[code] {
			t.Errorf("docs/conditions.md describes %s, which nothing raises", code)
		}
	}
	if len(found) < 20 {
		t.Errorf("only %d codes were found in the source", len(found))
	}
}
