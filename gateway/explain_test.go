package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"edgegw/admin"
	"edgegw/clock"
	"edgegw/fiscal/sandbox"
	"edgegw/health"
	"edgegw/people"
	"edgegw/relay"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/tokens"
)

// The sentences name times of day: a bubble begins at midnight UTC.
func init() { time.Local = time.UTC }

// toldSite is a site in a bubble, and a technician's look at it.
type toldSite struct {
	*testing.T
	w    *world
	l    *life
	k    *control
	line *line
}

// line is the way to OpenFiskal, which may lead elsewhere while it is used.
type line struct {
	mu sync.Mutex
	to http.RoundTripper
}

func (l *line) leads(to http.RoundTripper) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.to = to
}

func (l *line) RoundTrip(r *http.Request) (*http.Response, error) {
	l.mu.Lock()
	to := l.to
	l.mu.Unlock()
	return to.RoundTrip(r)
}

// control gives what people see of a life.
func (w *world) control(l *life) *control {
	none, err := tokens.Open(w.t.Context(), l.db)
	if err != nil {
		w.t.Fatal(err)
	}
	nobody, err := people.Open(w.t.Context(), l.db)
	if err != nil {
		w.t.Fatal(err)
	}
	return &control{db: l.db, ring: l.ring, relay: l.relay, tokens: none, people: nobody, since: time.Now(), meters: newMeters(), history: newHistory(nil),
		clock: clock.New(clock.Options{Built: bubbleBegin, Synchronised: func() bool { return true }})}
}

// playScene plays one in a bubble. Without keys the registers have none.
func playScene(t *testing.T, keys bool, tune func(*relay.Options), play func(*toldSite)) {
	t.Helper()
	template := t.TempDir()
	prepare(t, template)
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		copyFiles(t, template, dir)
		w := newWorld(t, dir, sandbox.Options{}, nil)
		w.tune = func(o *relay.Options) {
			o.Jitter = func(most time.Duration) time.Duration { return most / 2 } // the same times in each run
			if tune != nil {
				tune(o)
			}
		}
		north := &line{to: w.sandbox}
		w.north = north
		l := w.start(newPower(0))
		s := &toldSite{T: t, w: w, l: l, k: w.control(l), line: north}
		defer func() { s.l.end() }()
		for _, r := range []sale.RegisterID{"reg_1", "reg_2"} {
			key := secret.FromString(w.sandbox.MustAddRegister(string(r)))
			if !keys {
				continue
			}
			if err := l.giveKey(r, key); err != nil {
				t.Fatal(err)
			}
		}
		w.on(l)
		play(s)
	})
}

// sells reports whole sales.
func (s *toldSite) sells(d sale.DeviceID, ids ...string) {
	s.Helper()
	for _, id := range ids {
		s.w.device(d, []event{{0, sale.Whole, fmt.Sprintf(wholeEvent, id)}})
	}
}

func (s *toldSite) starts(d sale.DeviceID, id string) {
	s.Helper()
	s.w.device(d, []event{{0, sale.Start, fmt.Sprintf(startEvent, id)}})
}

func (s *toldSite) fault(f sandbox.Fault) { s.w.sandbox.Inject(f) }

func (s *toldSite) answers(register string, status int) {
	s.fault(sandbox.Fault{Register: register, Action: sandbox.Answer, Status: status})
}

func wait(d time.Duration) { <-time.After(d) }

// says looks at the site as a whole.
func (s *toldSite) says(want string) admin.Status {
	s.Helper()
	st, err := s.k.Status(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	if st.Sentence != want {
		s.Errorf("the site says\n%s\nwant\n%s", st.Sentence, want)
	}
	e, err := s.k.Explain(s.Context(), "")
	if err != nil || e.Kind != "site" || e.Sentence != st.Sentence {
		s.Errorf("explain says %+v, %v", e, err)
	}
	s.whole(st.Conditions)
	return st
}

// whole checks that every condition is of use.
func (s *toldSite) whole(conditions []health.Condition) {
	s.Helper()
	for _, c := range conditions {
		if c.Code == "" || c.Severity == 0 || c.Title == "" || c.Since.IsZero() || c.Since.After(time.Now()) || c.Remedy == "" || strings.Contains(c.Title+c.Remedy, "%!") {
			s.Errorf("condition %+v", c)
		}
	}
}

// has checks which conditions hold.
func (s *toldSite) has(st admin.Status, codes ...string) {
	s.Helper()
	var got []string
	for _, c := range st.Conditions {
		got = append(got, c.Code)
	}
	slices.Sort(got)
	slices.Sort(codes)
	if !slices.Equal(got, codes) {
		s.Errorf("conditions %q, want %q", got, codes)
	}
}

// explains looks at one subject.
func (s *toldSite) explains(subject, want string) admin.Explanation {
	s.Helper()
	e, err := s.k.Explain(s.Context(), subject)
	if err != nil {
		s.Fatal(err)
	}
	if e.Sentence != want {
		s.Errorf("%s:\n%s\nwant\n%s", subject, e.Sentence, want)
	}
	return e
}

// refuses wants no explanation.
func (s *toldSite) refuses(subject, code, remedy string) {
	s.Helper()
	_, err := s.k.Explain(s.Context(), subject)
	var f *admin.Refusal
	if !errors.As(err, &f) || f.Code != code || !strings.Contains(f.Remedy, remedy) {
		s.Errorf("%s: %v", subject, err)
	}
}

// The scenes: what happened, and what a technician reads.
func TestSentences(t *testing.T) {
	scenes := []struct {
		name string
		keys bool
		tune func(*relay.Options)
		play func(*toldSite)
	}{
		{"all up to date", true, nil, func(s *toldSite) {
			s.sells("pump-1", "s1")
			wait(time.Minute)
			s.has(s.says("All 2 registers are up to date."))
			s.explains("reg_2", "reg_2 (pump-2): no sale has been reported yet.")
			s.explains("reg_1", "reg_1 (kiosk-1 and pump-1): up to date, 1 sale reported and none waiting.")
		}},
		{"three sales and a refused key", true, nil, func(s *toldSite) {
			s.answers("reg_2", 401)
			wait(10*time.Hour + 42*time.Minute)
			s.sells("pump-2", "s1", "s2", "s3")
			wait(time.Minute)
			s.has(s.says("pump-2: 3 sales wait since 10:42; OpenFiskal refuses its key (401). The other register is up to date. Enter a new key: edgegw key set pump-2 --key-stdin."), "key_refused")
			s.explains("pump-2", "pump-2: 3 sales wait since 10:42; OpenFiskal refuses its key (401). Enter a new key: edgegw key set pump-2 --key-stdin.")
			s.explains("s1", "Sale s1 of pump-2 waits since 10:42: its start is next, tried once; OpenFiskal refuses the register's key (401). The next attempt is at 10:57. Enter a new key: edgegw key set pump-2 --key-stdin.")
			s.explains("s2", "Sale s2 of pump-2 waits since 10:42 behind sale s1 of pump-2, which stands at the head of the queue; OpenFiskal refuses the register's key (401). Enter a new key: edgegw key set pump-2 --key-stdin.")
			wait(48 * time.Hour)
			s.says("pump-2: 3 sales wait since 2000-01-01; OpenFiskal refuses its key (401). The other register is up to date. Enter a new key: edgegw key set pump-2 --key-stdin.")
		}},
		{"403", true, nil, func(s *toldSite) {
			s.answers("reg_1", 403)
			s.sells("pump-1", "s1")
			wait(time.Minute)
			s.has(s.says("kiosk-1 and pump-1: 1 sale waits since 00:00; OpenFiskal refuses their key (403). The other register is up to date. Enter a new key: edgegw key set kiosk-1 --key-stdin."), "key_refused")
		}},
		{"no key", false, nil, func(s *toldSite) {
			if err := s.l.giveKey("reg_1", secret.FromString(s.w.sandbox.Rotate("reg_1"))); err != nil {
				s.Fatal(err)
			}
			s.has(s.says("pump-2: its key has not been entered yet. The other register is up to date. Enter it: edgegw key set pump-2 --key-stdin."), "key_missing")
			s.sells("pump-2", "s1")
			wait(time.Minute)
			s.has(s.says("pump-2: 1 sale waits since 00:00; its key has not been entered yet. The other register is up to date. Enter it: edgegw key set pump-2 --key-stdin."), "key_missing")
		}},
		{"key sealed", true, nil, func(s *toldSite) {
			s.w.off()
			s.l.end()
			s.w.kek = secret.FromString("13579bdf02468ace13579bdf02468ace0f1e2d3c4b5a69788796a5b4c3d2e1f0")
			s.l = s.w.start(newPower(0))
			s.k = s.w.control(s.l)
			s.w.on(s.l)
			s.sells("pump-2", "s1")
			wait(time.Minute)
			s.has(s.says("kiosk-1 and pump-1: their key cannot be opened. pump-2: 1 sale waits since 00:00; its key cannot be opened. Give back the key-encryption key (vault.kek, vault.kek_file) and start the gateway again."), "key_sealed", "key_sealed")
		}},
		{"register unknown", true, nil, func(s *toldSite) {
			s.w.sandbox.SetUnknown("reg_2", true)
			s.sells("pump-2", "s1", "s2")
			wait(time.Minute)
			s.has(s.says("pump-2: 2 sales wait since 00:00; OpenFiskal does not know the register reg_2 (404). The other register is up to date. Ask the back office whether it was archived."), "register_unknown")
		}},
		{"redirect", true, nil, func(s *toldSite) {
			s.fault(sandbox.Fault{Register: "reg_2", Action: sandbox.Redirect, Location: "https://elsewhere.test/"})
			s.sells("pump-2", "s1")
			wait(time.Minute)
			s.has(s.says("pump-2: 1 sale waits since 00:00; the host redirects, and redirects are not followed (307). The other register is up to date. Check openfiskal.base_url."), "misconfigured")
		}},
		{"a status that OpenFiskal never gives", true, nil, func(s *toldSite) {
			s.answers("reg_2", 418)
			s.sells("pump-2", "s1")
			wait(time.Minute)
			s.has(s.says("pump-2: 1 sale waits since 00:00; the host answers in a way OpenFiskal never does (418). The other register is up to date. Check openfiskal.base_url."), "misconfigured")
		}},
		{"connection refused, then back and draining", true, nil, func(s *toldSite) {
			s.line.leads(noDoor{})
			s.sells("pump-1", "s1", "s2")
			wait(2 * time.Minute)
			s.has(s.says("OpenFiskal cannot be reached since 00:00: its host refuses the connection. kiosk-1 and pump-1: 2 sales wait since 00:00, and go out by themselves when the link is back. The other register is up to date. Check openfiskal.base_url and the site's firewall."), "uplink_down")
			s.explains("pump-1/s1", "Sale s1 of pump-1 waits since 00:00: its start is next, tried 20 times; OpenFiskal cannot be reached: its host refuses the connection. Check openfiskal.base_url and the site's firewall.")
			s.w.sandbox.SetLatency(5 * time.Second)
			s.line.leads(s.w.sandbox)
			wait(35 * time.Second)
			s.has(s.says("kiosk-1 and pump-1: 1 sale waits since 00:00, being sent now. The other register is up to date."))
		}},
		{"DNS", true, nil, func(s *toldSite) {
			s.line.leads(noDNS{})
			s.sells("pump-1", "s1")
			s.sells("pump-2", "s2")
			wait(time.Minute)
			s.has(s.says("OpenFiskal cannot be reached since 00:00: the name of its host is not known. kiosk-1, pump-1 and pump-2: 2 sales wait since 00:00, and go out by themselves when the link is back. Check openfiskal.base_url, and the name server (DNS) of the site's network."), "uplink_down")
		}},
		{"503 for ten minutes", true, nil, func(s *toldSite) {
			s.answers("", 503)
			s.sells("pump-1", "s1")
			s.sells("pump-2", "s1")
			wait(10 * time.Minute)
			s.has(s.says("kiosk-1, pump-1 and pump-2: 2 sales wait since 00:00; OpenFiskal is out of order (503). It is tried again by itself. If this lasts, tell OpenFiskal's support the last answer: edgegw explain reg_1."), "queue_waits", "queue_waits", "throttled")
			s.explains("pump-2/s1", "Sale s1 of pump-2 waits since 00:00: its start is next, tried once; OpenFiskal is out of order (503). It may have been carried out (in doubt since 00:00), so it is looked up before it is sent again. The next attempt is in 10 s. It is tried again by itself. If this lasts, tell OpenFiskal's support the last answer: edgegw explain reg_2.")
			s.refuses("s1", "ambiguous", "edgegw explain pump-1/s1")
		}},
		{"a story", true, nil, func(s *toldSite) {
			s.fault(sandbox.Fault{Register: "reg_2", Step: sandbox.StepStart, Action: sandbox.Answer, Status: 503, Times: 2})
			s.fault(sandbox.Fault{Register: "reg_2", Step: sandbox.StepComplete, Action: sandbox.DropAnswer, Times: 1})
			s.sells("pump-1", "other")
			s.starts("pump-2", "s1")
			s.w.device("pump-2", []event{{time.Minute, sale.Complete, fmt.Sprintf(completeEvent, "s1")}})
			wait(5 * time.Minute)
			e, err := s.k.Explain(s.Context(), "pump-2/s1")
			if err != nil {
				s.Fatal(err)
			}
			var story []string
			for _, d := range e.Details {
				line := d.At.UTC().Format("15:04") + " " + d.What + ": " + d.Text
				if d.Status != 0 {
					line += fmt.Sprintf(" [%s %d]", d.Class, d.Status)
				}
				if (d.What == "attempt" || d.What == "answer") && d.Status != 0 && d.RequestID == "" {
					s.Errorf("no request id: %+v", d)
				}
				story = append(story, line)
			}
			if got := strings.Join(story, "\n"); got != wantStory {
				s.Errorf("the story is\n%s\nwant\n%s", got, wantStory)
			}
		}},
		{"429", true, nil, func(s *toldSite) {
			s.fault(sandbox.Fault{Action: sandbox.Throttle, RetryAfter: "600"})
			s.sells("pump-1", "s1")
			wait(time.Minute)
			s.has(s.says("kiosk-1 and pump-1: 1 sale waits since 00:00; OpenFiskal asks for fewer requests (429). The other register is up to date. It is tried again by itself. If this lasts, tell OpenFiskal's support the last answer: edgegw explain reg_1."), "throttled")
		}},
		{"answers lost for ten minutes", true, nil, func(s *toldSite) {
			s.fault(sandbox.Fault{Register: "reg_2", Action: sandbox.DropAnswer})
			s.sells("pump-2", "s1")
			wait(10 * time.Minute)
			s.has(s.says("pump-2: 1 sale waits since 00:00; the last request got no answer that can be relied on, and is looked up before it is sent again (in doubt since 00:00). The other register is up to date. It is tried again by itself. If this lasts, tell OpenFiskal's support the last answer: edgegw explain reg_2."), "in_doubt")
			s.explains("pump-2/s1", "Sale s1 of pump-2 waits since 00:00: its start is next, tried once; the last request got no answer that can be relied on, and is looked up before it is sent again (in doubt since 00:00). The next attempt is in 18 s. It is tried again by itself. If this lasts, tell OpenFiskal's support the last answer: edgegw explain reg_2.")
		}},
		{"quarantine, stepped over", true, nil, func(s *toldSite) {
			s.fault(sandbox.Fault{Register: "reg_2", Step: sandbox.StepStart, Action: sandbox.Answer, Status: 400, Times: 1})
			s.sells("pump-2", "s1", "s2")
			wait(time.Minute)
			s.has(s.says("pump-2: 1 sale (s1) is in quarantine since 00:00: OpenFiskal refuses its start (400 injected_fault). The other register is up to date. Decide: edgegw quarantine show 1."), "sale_quarantined")
			s.explains("s1", "Sale s1 of pump-2 is in quarantine since 00:00 as item 1: OpenFiskal refuses its start (400 injected_fault). Decide: edgegw quarantine show 1.")
			s.explains("pump-2", "pump-2: 1 sale (s1) is in quarantine since 00:00: OpenFiskal refuses its start (400 injected_fault). Decide: edgegw quarantine show 1. 2 receipts wait for pump-2 to fetch.")
		}},
		{"quarantine, blocking", true, func(o *relay.Options) { o.Block = true }, func(s *toldSite) {
			s.fault(sandbox.Fault{Register: "reg_2", Step: sandbox.StepStart, Action: sandbox.Answer, Status: 400, Times: 1})
			s.sells("pump-2", "s1", "s2")
			wait(time.Minute)
			s.has(s.says("pump-2: 1 sale waits since 00:00; the queue waits for a decision on sale s1 in quarantine: OpenFiskal refuses its start (400 injected_fault). The other register is up to date. Decide: edgegw quarantine show 1."), "queue_blocked")
			s.explains("s1", "Sale s1 of pump-2 is in quarantine since 00:00 as item 1: OpenFiskal refuses its start (400 injected_fault). The queue of pump-2 waits for the decision. Decide: edgegw quarantine show 1.")
			s.explains("s2", "Sale s2 of pump-2 waits since 00:00; the queue waits for a decision on sale s1 in quarantine: OpenFiskal refuses its start (400 injected_fault). Decide: edgegw quarantine show 1.")
		}},
		{"a refused key here, a quarantine there", true, nil, func(s *toldSite) {
			s.answers("reg_1", 401)
			s.fault(sandbox.Fault{Register: "reg_2", Step: sandbox.StepStart, Action: sandbox.Answer, Status: 400, Times: 2})
			s.sells("pump-1", "s1")
			s.sells("pump-2", "t1", "t2")
			wait(time.Minute)
			s.has(s.says("kiosk-1 and pump-1: 1 sale waits since 00:00; OpenFiskal refuses their key (401). pump-2: 2 sales are in quarantine since 00:00, the newest is t2: OpenFiskal refuses its start (400 injected_fault). Enter a new key: edgegw key set kiosk-1 --key-stdin. Decide: edgegw quarantine show 2."), "key_refused", "sale_quarantined")
		}},
		{"a message that is no sale", true, nil, func(s *toldSite) {
			s.w.device("pump-2", []event{{0, sale.Whole, strings.Replace(fmt.Sprintf(wholeEvent, "s1"), `"amount":7622,"tax"`, `"amount":7600,"tax"`, 1)}})
			wait(time.Minute)
			s.has(s.says("1 message could not become a sale; the newest is of pump-2: quantity × unit_price differs from amount (plus discounts) by more than one minor unit. The other register is up to date. Decide: edgegw quarantine show 1."), "messages_refused")
			s.explains("pump-2", "pump-2: a message could not become a sale: quantity × unit_price differs from amount (plus discounts) by more than one minor unit. Decide: edgegw quarantine show 1.")
		}},
		{"a conflict", true, nil, func(s *toldSite) {
			s.sells("pump-2", "s1")
			s.w.device("pump-2", []event{{0, sale.Whole, strings.Replace(fmt.Sprintf(wholeEvent, "s1"), "Super E10", "Diesel", 1)}})
			wait(time.Minute)
			s.has(s.says("1 message could not become a sale; the newest is of pump-2: this event of the sale was reported before with another content; the first one counts. The other register is up to date. Decide: edgegw quarantine show 1."), "messages_refused")
		}},
		{"signing down, by its own word", true, nil, func(s *toldSite) {
			s.fault(sandbox.Fault{Step: sandbox.StepComplete, Action: sandbox.SigningDown})
			s.sells("pump-1", "s1")
			wait(10 * time.Minute)
			s.has(s.says("kiosk-1 and pump-1: 1 sale waits since 00:00; OpenFiskal cannot sign at the moment (422). The other register is up to date. It is tried again by itself. If this lasts, ask OpenFiskal's support when signing works again."), "signing_down")
		}},
		{"signing down, as refusals of all registers", true, nil, func(s *toldSite) {
			s.fault(sandbox.Fault{Step: sandbox.StepComplete, Action: sandbox.Answer, Status: 422})
			s.sells("pump-1", "s1")
			s.sells("pump-2", "s2")
			wait(time.Minute)
			s.has(s.says("kiosk-1, pump-1 and pump-2: 2 sales wait since 00:00; OpenFiskal cannot sign at the moment (422). It is tried again by itself. If this lasts, ask OpenFiskal's support when signing works again."), "signing_down")
		}},
		{"a fiscal state pending for an hour", true, nil, func(s *toldSite) {
			s.fault(sandbox.Fault{Step: sandbox.StepComplete, Action: sandbox.Pend, PendFor: 100 * time.Hour})
			s.sells("pump-2", "s1")
			wait(time.Hour)
			s.has(s.says("All 2 registers are up to date."), "fiscal_pending")
			s.explains("s1", "Sale s1 of pump-2 was confirmed at 00:00; its receipt waits for pump-2 since 00:00. OpenFiskal has not signed it yet; it is asked for again by itself.")
			wait(24 * time.Hour)
			s.has(s.says("All 2 registers are up to date. Somebody should look: 1 confirmed sale has not been signed by OpenFiskal yet; the first is s1 of pump-2. It is asked for again by itself. If this lasts, tell OpenFiskal's support the request id: edgegw explain pump-2/s1."), "fiscal_pending")
		}},
		{"an open sale for hours", true, nil, func(s *toldSite) {
			s.starts("pump-1", "s1")
			wait(3 * time.Hour)
			s.has(s.says("kiosk-1 and pump-1: 1 sale is open, its end has not been reported. The other register is up to date."))
			s.explains("s1", "Sale s1 of pump-1 is open since 00:00: its end has not been reported, and OpenFiskal has all that came before (its start).")
			s.explains("pump-1", "kiosk-1 and pump-1: 1 sale is open, its end has not been reported.")
		}},
		{"a gap in what a device counts", true, nil, func(s *toldSite) {
			s.w.device("pump-2", []event{{0, sale.Whole, countedSale("s1", 4710)}, {time.Minute, sale.Whole, countedSale("s2", 4713)}})
			wait(time.Minute)
			s.has(s.says("Somebody should look: pump-2 did not report 2 events (4711 to 4712), by its own count. They may be sales that nobody knows of: compare with the device's own records. Then: edgegw device forget-gaps pump-2. The other register is up to date."), "seq_gap")
			s.explains("pump-2", "pump-2: no sale waits. 2 receipts wait for pump-2 to fetch. pump-2 did not report 2 events (4711 to 4712), by its own count. They may be sales that nobody knows of: compare with the device's own records. Then: edgegw device forget-gaps pump-2.")
			if err := s.k.ForgetGaps(s.Context(), "pump-2", "test"); err != nil {
				s.Error(err)
			}
			s.has(s.says("All 2 registers are up to date."))
			if err := s.k.ForgetGaps(s.Context(), "pump-9", "test"); err == nil {
				s.Error("gaps of nobody were forgotten")
			}
		}},
		{"a confirmed sale, then its receipt", true, nil, func(s *toldSite) {
			s.sells("pump-2", "s1")
			wait(time.Minute)
			s.explains("s1", "Sale s1 of pump-2 was confirmed at 00:00 as document 2000-000001; its receipt waits for pump-2 since 00:00.")
			s.explains("pump-2", "pump-2: up to date, 1 sale reported and none waiting. 1 receipt waits for pump-2 to fetch.")
			letters, err := s.l.db.Letters(s.Context(), "pump-2", 0, 1)
			if err != nil || len(letters) != 1 {
				s.Fatal(letters, err)
			}
			if err := s.l.db.Delivered(s.Context(), "pump-2", letters[0].No, time.Now()); err != nil {
				s.Fatal(err)
			}
			s.explains("pump-2/s1", "Sale s1 of pump-2 was confirmed at 00:00 as document 2000-000001; pump-2 has its receipt since 00:01.")
			s.refuses("nothing", "not_found", "edgegw device list")
			s.refuses("pump-1/s1", "not_found", "edgegw sales")
			if _, err := s.k.Explain(s.Context(), "pump-1/ofk_reg_0123456789"); err == nil || strings.Contains(err.Error(), "ofk_") {
				s.Errorf("a key is said again: %v", err)
			}
		}},
		{"no gateway runs", true, nil, func(s *toldSite) {
			s.w.sandbox.SetDown(true)
			s.sells("pump-2", "s1")
			wait(time.Minute)
			s.k.relay = nil
			s.has(s.says("pump-2: 1 sale waits since 00:00; no gateway runs. The other register is up to date. Start it: edgegw run."))
			s.explains("s1", "Sale s1 of pump-2 waits since 00:00: its start is next, tried 17 times; no gateway runs. Start it: edgegw run.")
		}},
	}
	for _, scene := range scenes {
		t.Run(strings.ReplaceAll(scene.name, " ", "_"), func(t *testing.T) { playScene(t, scene.keys, scene.tune, scene.play) })
	}
}

const wantStory = `00:00 event: start reported
00:00 attempt: start tried in vain: injected_fault: This answer was asked for by a fault rule. (2 times, the last one 2000-01-01 00:00:03) [transient 503]
00:00 answer: start confirmed [ 201]
00:01 event: complete reported
00:01 attempt: complete tried in vain: cut: read tcp: read: connection reset by peer
00:01 answer: update confirmed [ 200]
00:01 answer: complete confirmed, as a look-up found [ 200]
00:01 receipt: put into the mailbox`

// noDoor is a host where nobody listens.
type noDoor struct{}

func (noDoor) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
}

// noDNS is a line whose name server knows nothing.
type noDNS struct{}

func (noDNS) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "api.openfiskal.com", IsNotFound: true}}
}

func countedSale(id string, seq int) string {
	return strings.Replace(fmt.Sprintf(wholeEvent, id), "{", fmt.Sprintf(`{"seq":%d,`, seq), 1)
}
