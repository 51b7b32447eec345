package gateway

import (
	"cmp"
	"fmt"
	"strings"

	"edgegw/admin"
	"edgegw/sale"
	"edgegw/store"
	"edgegw/wording"
)

// saleFacts is what the sentence about a sale is made from.
type saleFacts struct {
	store.Story
	register *registerFacts
	head     sale.Head // of its register's queue
	known    bool      // there is one that can be sent
}

// saleSentence says where a sale stands.
func (s *siteFacts) saleSentence(f *saleFacts) wording.Sentence {
	who := wording.Of("Sale %s of %s", f.SaleID, string(f.Device))
	switch f.State {
	case sale.Settled:
		return ended([]wording.Sentence{s.confirmed(who, f), s.fiscal(f)})
	case sale.Quarantine:
		return ended(s.quarantined(who, f))
	case sale.ByPerson:
		return ended([]wording.Sentence{s.decided(who, f)})
	}
	if !f.Queued {
		text := wording.Of("%s is open since %s: its end has not been reported", who, timeOf(s.now, f.AcceptedAt))
		if n := len(f.Answers); n > 0 {
			text = wording.Of("%s, and OpenFiskal has all that came before (its %s)", text, wording.Word(f.Answers[n-1].Step.String()))
		}
		return ended([]wording.Sentence{text})
	}
	return ended(s.waiting(who, f))
}

// waiting is a sale of which a call is owed.
func (s *siteFacts) waiting(who wording.Sentence, f *saleFacts) []wording.Sentence {
	c := s.cause(f.register, "the register's")
	text := wording.Of("%s waits since %s", who, timeOf(s.now, f.AcceptedAt))
	var then []wording.Sentence
	h := &f.head
	switch {
	case !f.known:
	case h.Device == f.Device && h.SaleID == f.SaleID:
		text = wording.Of("%s: its %s is next", text, wording.Word(h.Step.String()))
		if h.Attempts > 0 {
			text = wording.Of("%s, tried %s", text, timesWords(h.Attempts))
		}
		if !h.InDoubtSince.IsZero() && c.code != "in_doubt" {
			then = append(then, wording.Of("It may have been carried out (in doubt since %s), so it is looked up before it is sent again", timeOf(s.now, h.InDoubtSince)))
		}
		if h.NextAttempt.After(s.now) && c.code != "uplink_down" && c.code != "not_running" {
			then = append(then, wording.Of("The next attempt is %s", momentWords(s.now, h.NextAttempt)))
		}
	default:
		text = wording.Of("%s behind sale %s of %s, which stands at the head of the queue", text, h.SaleID, string(h.Device))
	}
	if !c.why.Empty() {
		text = wording.Of("%s; %s", text, c.why)
	}
	if f.Open {
		then = append(then, wording.Of("Its end has not been reported"))
	}
	return append(append([]wording.Sentence{text}, then...), c.do)
}

func times(n int) string { return timesWords(n).String() }

func timesWords(n int) wording.Sentence {
	if n == 1 {
		return wording.Of("once")
	}
	return wording.Of("%d times", n)
}

func (s *siteFacts) quarantined(who wording.Sentence, f *saleFacts) []wording.Sentence {
	if len(f.Items) == 0 {
		return []wording.Sentence{wording.Of("%s is in quarantine", who)}
	}
	i := &f.Items[0]
	parts := []wording.Sentence{wording.Of("%s is in quarantine since %s as item %d: %s", who, timeOf(s.now, i.At), i.No, whyHeld(i))}
	if f.register.Blocker == i.No {
		parts = append(parts, wording.Of("The queue of %s waits for the decision", f.register.name()))
	}
	if i.InDoubt {
		parts = append(parts, wording.Of("It may have been carried out"))
	}
	return append(parts, decide(i.No))
}

func (s *siteFacts) decided(who wording.Sentence, f *saleFacts) wording.Sentence {
	text := wording.Of("%s was closed by a person %s", who, momentWords(s.now, f.ChangedAt))
	for i := range f.Items {
		if d := &f.Items[i]; d.Decision != "" {
			return wording.Of("%s: %s (%s), by %s: %s", text, wording.Word(d.Decision), momentWords(s.now, d.Decided), d.By, wording.Quote(d.Reason))
		}
	}
	return text
}

// confirmed tells what OpenFiskal has made of the sale, and where its receipt
// is.
func (s *siteFacts) confirmed(who wording.Sentence, f *saleFacts) wording.Sentence {
	text := wording.Of("%s was confirmed %s", who, momentWords(s.now, f.ChangedAt))
	switch {
	case f.Document != "":
		text = wording.Of("%s as document %s", text, f.Document)
	case len(f.Answers) > 0 && f.Answers[len(f.Answers)-1].Step == sale.StepCancel:
		text = wording.Of("%s as cancelled", text)
	}
	if len(f.Letters) == 0 {
		return text
	}
	l := f.Letters[len(f.Letters)-1]
	if l.Delivered.IsZero() {
		return wording.Of("%s; its receipt waits for %s since %s", text, string(f.Device), timeOf(s.now, l.At))
	}
	return wording.Of("%s; %s has its receipt since %s", text, string(f.Device), timeOf(s.now, l.Delivered))
}

func (s *siteFacts) fiscal(f *saleFacts) wording.Sentence {
	switch f.FiscalState {
	case sale.FiscalPending:
		return wording.Of("OpenFiskal has not signed it yet; it is asked for again by itself")
	case "failed":
		return wording.Of("OpenFiskal could not sign it; tell its support the request id of the last answer")
	}
	return wording.Sentence{}
}

func tried(t store.TriedInVain, before string) admin.Detail {
	text := fmt.Sprintf("%s%s tried in vain: %s", before, t.Step, strings.TrimSuffix(cmp.Or(t.Code, t.Class.String())+": "+t.Detail, ": "))
	if t.Times > 1 {
		text += fmt.Sprintf(" (%s, the last one %s)", times(t.Times), t.Last.Local().Format("2006-01-02 15:04:05"))
	}
	return admin.Detail{At: t.At, What: "attempt", Text: text, Class: t.Class.String(), Status: t.Status, RequestID: t.RequestID}
}
