package gateway

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
)

const cardNumber = "4111111111111111"

// A sale that was refused, decided about, kept by an outage, confirmed, and whose
// receipts were fetched: each step with its time, and nothing else.
func TestTheStoryOfASale(t *testing.T) {
	playScene(t, true, nil, func(s *toldSite) {
		s.fault(sandbox.Fault{Register: "reg_2", Step: sandbox.StepStart, Action: sandbox.Answer, Status: 400, Times: 1})
		s.sells("pump-1", "s1") // another one of that name
		s.w.device("pump-2", []event{{0, sale.Start, strings.Replace(fmt.Sprintf(startEvent, "s1"), `"nozzle":"2"`, `"note":"`+cardNumber+`"`, 1)},
			{10 * time.Minute, sale.Complete, fmt.Sprintf(completeEvent, "s1")}})
		wait(10 * time.Minute)
		s.line.leads(noDoor{})
		if _, err := s.l.control().Decide(s.Context(), admin.Decision{ID: "1", Decision: sale.DecisionRetry, Reason: "mended " + cardNumber}, "person:anna"); err != nil {
			s.Fatal(err)
		}
		wait(time.Hour)
		s.storyStates("start waiting; update waiting; complete waiting")
		s.line.leads(s.w.sandbox)
		wait(10 * time.Minute)
		letters, err := s.l.db.Letters(s.Context(), "pump-2", 0, 9)
		if err != nil || len(letters) != 2 {
			s.Fatal(letters, err)
		}
		for _, l := range letters {
			if err := s.l.db.Delivered(s.Context(), "pump-2", l.No, time.Now()); err != nil {
				s.Fatal(err)
			}
		}
		s.storyStates("start confirmed; update confirmed; complete confirmed")
		story := s.story("pump-2", "s1", false)
		if got := outline(story); got != wantOutline {
			s.Errorf("the story is\n%s\nwant\n%s", got, wantOutline)
		}
		if story.Sale.DocumentNumber != "2000-000001" || story.Sale.State != "confirmed" || !strings.HasPrefix(story.Sentence, "Sale s1 of pump-2 was confirmed at 01:2") {
			s.Errorf("%+v: %s", story.Sale, story.Sentence)
		}
		s.masked(story, "")
		s.masked(s.story("pump-2", "s1", true), `"payload":"{\"sale_id\":\"s1\"`)
	})
}

const wantOutline = `00:00:00 event: start reported; 2026-11-22T08:31:07.250+01:00 by the device
00:00:00 attempt: start tried in vain: injected_fault: This answer was asked for by a fault rule. (poison 400 with request)
00:00:00 quarantine: put into quarantine as item 1: OpenFiskal refuses its start (400 injected_fault) (poison 400 with request)
00:00:00 receipt: one that says that the sale is in quarantine (item 1) put into the mailbox
00:10:00 event: complete reported; 2026-11-22T08:33:00+01:00 by the device
00:20:00 decision: retry by person:anna: mended ************1111
00:20:00 attempt: start tried in vain: refused: dial tcp: connect: connection refused (136 times, the last one 2000-01-01 01:19:37) (uplink, 136 times until 01:19:37)
01:20:07 answer: start confirmed (201 with request)
01:20:07 answer: update confirmed (200 with request)
01:20:07 answer: complete confirmed (200 with request)
01:20:07 receipt: put into the mailbox 2000-000001
01:30:00 delivered: acknowledged by pump-2
01:30:00 delivered: acknowledged by pump-2 2000-000001`

func (s *toldSite) story(d sale.DeviceID, id string, payloads bool) admin.SaleStory {
	s.Helper()
	story, err := s.k.SaleStory(s.Context(), d, id, payloads)
	if err != nil {
		s.Fatal(err)
	}
	return story
}

func (s *toldSite) storyStates(want string) {
	s.Helper()
	var got []string
	for _, p := range s.story("pump-2", "s1", false).Parts {
		if p.Event == nil {
			continue
		}
		for _, c := range p.Event.Calls {
			got = append(got, c.Step+" "+c.State)
			if c.IdempotencyKey == "" || c.Method == "" || strings.Contains(c.Path, "{") {
				s.Errorf("call %+v", c)
			}
		}
	}
	if strings.Join(got, "; ") != want {
		s.Errorf("calls are %q, want %q", got, want)
	}
}

// masked checks that a story tells what it should of what was reported, and of a
// card's number its last digits only.
func (s *toldSite) masked(story admin.SaleStory, want string) {
	s.Helper()
	text, err := json.Marshal(story)
	if err != nil || strings.Contains(string(text), cardNumber) || !strings.Contains(string(text), want) {
		s.Errorf("%v: %s", err, text)
	}
	for _, p := range story.Parts {
		if p.Event != nil && (p.Event.Payload == "") != (want == "") {
			s.Errorf("payload %q", p.Event.Payload)
		}
	}
}

// outline is a story on a line each.
func outline(story admin.SaleStory) string {
	var lines []string
	for _, p := range story.Parts {
		line := p.At.UTC().Format("15:04:05") + " " + p.What + ": " + p.Text
		request := func(id string) string {
			if id == "" {
				return ""
			}
			return " with request"
		}
		switch a := p.Attempt; {
		case p.Event != nil:
			line += "; " + p.Event.DeviceTime + " by the device"
		case a != nil && a.Status == 0:
			line += fmt.Sprintf(" (%s, %d times until %s)", a.Class, a.Times, a.Last.UTC().Format("15:04:05"))
		case a != nil:
			line += fmt.Sprintf(" (%s %d%s)", a.Class, a.Status, request(a.RequestID))
		case p.Answer != nil:
			line += fmt.Sprintf(" (%d%s)", p.Answer.Status, request(p.Answer.RequestID))
		case p.Item != nil:
			line += fmt.Sprintf(" (%s %d%s)", p.Item.Class, p.Item.Status, request(p.Item.RequestID))
		case p.Receipt != nil && p.Receipt.DocumentNumber != "":
			line += " " + p.Receipt.DocumentNumber
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// What the API gives of a real site: how far its clock could be believed, the
// device's word for its own, and no card number.
func TestTheStoryOverTheWire(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	c := s.connect("pump-01", 5, topic("pump-01", "receipt"))
	id := "a/b ?#%"
	publish(t, c, 1, "sale", strings.Replace(fmt.Sprintf(wholeEvent, id), "{", `{"clock":"relative","metadata":{"note":"`+cardNumber+`"},`, 1))
	awaitReceipt(t, c, nil)
	client, err := admin.Dial(filepath.Join(s.dir, admin.SocketName))
	must(t, err)
	defer client.Close()
	for _, payloads := range []bool{false, true} {
		story, err := client.SaleStory(t.Context(), "pump-01", id, payloads)
		if err != nil || len(story.Parts) < 5 || story.Sale.SaleID != id {
			t.Fatalf("%+v, %v", story, err)
		}
		e := story.Parts[0].Event
		if e == nil || e.Clock != "synchronised" || e.DeviceClock != "relative" || e.DeviceTime != "2026-11-22T08:33:00+01:00" || len(e.Calls) != 3 || e.Calls[2].State != "confirmed" {
			t.Errorf("event %+v", e)
		}
		text, err := json.Marshal(story)
		if err != nil || strings.Contains(string(text), cardNumber) || strings.Contains(string(text), "************1111") != payloads || strings.Contains(string(text), "qr_data") != payloads {
			t.Errorf("with payloads %v: %v %s", payloads, err, text)
		}
	}
	if _, err := client.SaleStory(t.Context(), "pump-01", "a", false); err == nil {
		t.Error("half an id has a story")
	}
}
