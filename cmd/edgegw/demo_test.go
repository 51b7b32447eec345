package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"edgegw/admin"
	"edgegw/fiscal/sandbox"
	"edgegw/simulator"
)

func TestDemoReconciles(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "demo")
	o := edgegw(t, "", "--data-dir", data, "demo", "--for", "6s", "--plain")
	o.want(t, 0)
	for _, line := range []string{"the uplink is CUT for 2 s", "the uplink is back", "the queue is empty again", "reconciled: ", "each exactly once, in order, to the cent"} {
		if !strings.Contains(o.out, line) {
			t.Errorf("the demo does not say %q", line)
		}
	}
	if strings.Contains(o.out, "NOT") || strings.Contains(o.out, "\x1b") || o.err != "" {
		t.Errorf("the demo says what it should not:\n%s", o.err)
	}
	if t.Failed() {
		t.Log(o.out)
	}
	// The data that stay behind agree with the table.
	all := decode[[]admin.Sale](t, edgegw(t, "", "--data-dir", data, "--set", "allow_volatile_data=true", "sales", "--limit", "10000", "--json"))
	want := fmt.Sprintf("reconciled: %d sales", len(all))
	if len(all) == 0 || !strings.Contains(o.out, want) {
		t.Errorf("the data hold %d sales, and the demo does not say so", len(all))
	}
	edgegw(t, "", "--data-dir", data, "demo").want(t, 2, "not empty")
}

// TestDemoFindsALoss makes OpenFiskal refuse to end the sales of one register:
// they never get there, and the demo must say so.
func TestDemoFindsALoss(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	dir := filepath.Join(t.TempDir(), "demo")
	none := time.Duration(0)
	a := &app{out: &out, err: &errs, ctx: t.Context(), stop: func() {}, globals: globals{DataDir: dir}}
	c := &demoCmd{For: 2 * time.Second, Devices: 2, CutFor: &none, settle: 2 * time.Second, tamper: func(s *sandbox.Service) {
		for _, end := range []sandbox.Step{sandbox.StepComplete, sandbox.StepCancel} {
			s.Inject(sandbox.Fault{Register: "reg_pump_1", Step: end, Action: sandbox.Answer, Status: 503})
		}
	}}
	if code := a.report(c.Run(a)); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	for _, line := range []string{"NOT reconciled:", "fiscalized at OpenFiskal: ", "receipts back at the devices: ", "reg_pump_1: ", "still wait on the gateway's disk", "is open, want c"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("the demo does not say %q", line)
		}
	}
	if strings.Contains(out.String(), "reg_pump_2") {
		t.Error("the demo blames a register where nothing was lost")
	}
	if !strings.Contains(errs.String(), "did not reconcile") {
		t.Errorf("stderr: %s", errs.String())
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

// TestDemoWantsSignedReceipts: a sale that OpenFiskal completed and did not
// sign is no success, whatever the sums say.
func TestDemoWantsSignedReceipts(t *testing.T) {
	for _, c := range []struct {
		state string
		after time.Duration
		wait  time.Duration // for what is under way
		want  []string      // of OpenFiskal, and of the receipts
	}{
		{"failed", time.Millisecond, 30 * time.Second, []string{"its fiscal state is failed", "failed to be signed"}},
		{"succeeded", time.Hour, 2 * time.Second, []string{"its fiscal state is pending", "still pending at OpenFiskal: "}},
	} {
		t.Run(c.state, func(t *testing.T) {
			t.Parallel()
			var out, errs bytes.Buffer
			none := time.Duration(0)
			a := &app{out: &out, err: &errs, ctx: t.Context(), stop: func() {}, globals: globals{DataDir: filepath.Join(t.TempDir(), "demo")}}
			cmd := &demoCmd{For: time.Second, Devices: 2, CutFor: &none, settle: c.wait, tamper: func(s *sandbox.Service) {
				s.Inject(sandbox.Fault{Step: sandbox.StepComplete, Action: sandbox.Pend, PendTo: c.state, PendFor: c.after})
			}}
			if code := a.report(cmd.Run(a)); code != exitFailed {
				t.Errorf("exit code %d, want %d", code, exitFailed)
			}
			for _, w := range append(c.want, "NOT reconciled:", "fiscalized at OpenFiskal: ") {
				if !strings.Contains(out.String(), w) {
					t.Errorf("the demo does not say %q", w)
				}
			}
			if t.Failed() {
				t.Log(out.String())
			}
		})
	}
}

// TestReconcileAsksWhetherBytesWereFrozen sends one idempotency key with two
// bodies: the sums are as they were, and the demo must say so all the same.
func TestReconcileAsksWhetherBytesWereFrozen(t *testing.T) {
	service := sandbox.New(sandbox.Options{})
	fleet, err := simulator.NewFleet()
	if err != nil {
		t.Fatal(err)
	}
	d := &demo{cloud: service, fleet: fleet}
	if v := d.reconcile(holdings{}); len(v.faults) != 0 {
		t.Fatalf("nothing happened, and it finds %q", v.faults)
	}
	key := service.MustAddRegister("reg_1")
	for _, body := range []string{"{}", `{"other":1}`} {
		r := httptest.NewRequest(http.MethodPost, "/v1/registers/reg_1/sales", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Register-Api-Key", key)
		r.Header.Set("Idempotency-Key", "6f1d8c1e-5b0a-4a5e-9d5c-0d3c2f1b7a90")
		service.ServeHTTP(httptest.NewRecorder(), r)
	}
	if v := d.reconcile(holdings{}); len(v.faults) != 1 || !strings.Contains(v.faults[0], "bodies") {
		t.Errorf("got %q, want one that names the bodies", v.faults)
	}
}

// equal is a reconciliation where nothing differs.
func equal() (verdict, holdings) {
	v := verdict{}
	for _, name := range []string{"sold", "acknowledged", "accepted", "fiscalized", "receipts"} {
		v.places = append(v.places, place{name, 3, map[string]int64{"EUR": 500, "JPY": 7}})
	}
	return v, holdings{status: admin.Status{Totals: admin.Totals{Accepted: 3, Confirmed: 3}}}
}

func TestVerdictNamesEveryDifference(t *testing.T) {
	for _, c := range []struct {
		name string
		bend func(*verdict, *holdings)
		want string
	}{
		{"equal", func(*verdict, *holdings) {}, ""},
		{"a sale less", func(v *verdict, _ *holdings) { v.places[2].sales = 2 }, "accepted: 2 sales, want 3"},
		{"a sale more", func(v *verdict, _ *holdings) { v.places[3].sales = 4 }, "fiscalized: 4 sales, want 3"},
		{"a cent", func(v *verdict, _ *holdings) { v.places[4].money["EUR"]-- }, "receipts: 4.99 EUR, want 5.00 EUR"},
		{"another currency", func(v *verdict, _ *holdings) { delete(v.places[1].money, "JPY") }, "acknowledged: 0 JPY, want 7 JPY"},
		{"money nobody took", func(v *verdict, _ *holdings) { v.places[3].money["CHF"] = 1 }, "fiscalized: 0.01 CHF, want 0.00 CHF"},
		{"a sale that waits", func(_ *verdict, h *holdings) { h.status.Totals.Confirmed = 2 }, "2 confirmed"},
		{"a receipt that waits", func(_ *verdict, h *holdings) { h.status.Totals.Receipts = 1 }, "1 receipts"},
		{"evidence", func(_ *verdict, h *holdings) { h.status.Totals.Refused = 1 }, "1 messages"},
		{"a gateway that does not answer", func(_ *verdict, h *holdings) { h.err = os.ErrClosed }, "could not be asked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, h := equal()
			c.bend(&v, &h)
			v.compare()
			v.gateway(h)
			if got := strings.Join(v.faults, "\n"); (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if text := v.text(); strings.Contains(text, "NOT reconciled") != (c.want != "") {
				t.Errorf("the verdict is wrong:\n%s", text)
			}
		})
	}
}

func TestScript(t *testing.T) {
	d := func(d time.Duration) *time.Duration { return &d }
	for _, c := range []struct {
		name       string
		cmd        demoCmd
		after, cut time.Duration
	}{
		{"default", demoCmd{For: time.Minute}, 12 * time.Second, 20 * time.Second},
		{"half", demoCmd{For: 30 * time.Second}, 6 * time.Second, 10 * time.Second},
		{"for ever", demoCmd{}, 12 * time.Second, 20 * time.Second},
		{"explicit", demoCmd{For: time.Minute, CutAfter: d(time.Second), CutFor: d(2 * time.Second)}, time.Second, 2 * time.Second},
		{"never", demoCmd{For: time.Minute, CutFor: d(0)}, 12 * time.Second, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cmd.Devices = 6
			s, err := c.cmd.script()
			if err != nil || s.cutAfter != c.after || s.cutFor != c.cut {
				t.Errorf("got %+v, %v; want a cut after %v for %v", s, err, c.after, c.cut)
			}
		})
	}
}

// TestScreenFits draws on screens of many sizes: no line is longer than the
// screen is wide, and there are no more than it is high, or the terminal scrolls.
func TestScreenFits(t *testing.T) {
	escape := regexp.MustCompile("\x1b\\[[?0-9;]*[a-zA-Z]")
	l := look{money: map[string]coins{"EUR": {123456789, 2, 3, 4}, "JPY": {}}}
	for i := range 40 {
		l.rows = append(l.rows, row{device: fmt.Sprintf("charger-%d", i), now: "49.570 kWh HPC charging 1234.20 and more", busy: i%2 == 0, trouble: i%5 == 0,
			level: level{9999, 9999, 12, 11}})
	}
	for _, size := range [][2]int{{80, 24}, {80, 60}, {132, 50}, {40, 12}, {20, 5}, {1, 1}} {
		for _, st := range []stage{{}, {cut: true, share: 0.5, nextIn: time.Hour}, {settling: true, left: time.Minute}, {next: "cut", nextIn: time.Second, left: time.Minute}} {
			v := &show{colour: true, stage: st, most: 17, demo: &demo{dir: "/tmp/edgegw-demo-1234567890", logFile: "/tmp/edgegw-demo-1234567890/gateway.log"}}
			for range 30 {
				v.events = append(v.events, strings.Repeat("long event ", 20))
			}
			text := escape.ReplaceAllString(v.screen(l, size[0], size[1]), "")
			lines := strings.Split(text, "\r\n")
			if len(lines) > size[1] {
				t.Errorf("%v: %d lines", size, len(lines))
			}
			for _, line := range lines {
				if utf8.RuneCountInString(line) > size[0] {
					t.Errorf("%v: a line of %d: %q", size, utf8.RuneCountInString(line), line)
				}
			}
		}
	}
}
