package gateway

import (
	"cmp"
	"fmt"
	"strings"

	"edgegw/admin"
	"edgegw/sale"
	"edgegw/store"
)

// saleFacts is what the sentence about a sale is made from.
type saleFacts struct {
	store.Story
	register *registerFacts
	head     sale.Head // of its register's queue
	known    bool      // there is one that can be sent
}

// saleSentence says where a sale stands.
func (s *siteFacts) saleSentence(f *saleFacts) string {
	who := fmt.Sprintf("Sale %s of %s", f.SaleID, f.Device)
	switch f.State {
	case sale.Settled:
		return sentences(append([]string{who + s.confirmed(f)}, s.fiscal(f)))
	case sale.Quarantine:
		return sentences(s.quarantined(who, f))
	case sale.ByPerson:
		return sentences([]string{who + s.decided(f)})
	}
	if !f.Queued {
		text := who + " is open since " + timeOf(s.now, f.AcceptedAt) + ": its end has not been reported"
		if n := len(f.Answers); n > 0 {
			text += fmt.Sprintf(", and OpenFiskal has all that came before (its %s)", f.Answers[n-1].Step)
		}
		return sentences([]string{text})
	}
	return sentences(s.waiting(who, f))
}

// waiting is a sale of which a call is owed.
func (s *siteFacts) waiting(who string, f *saleFacts) []string {
	c := s.cause(f.register, "the register's")
	text := who + " waits since " + timeOf(s.now, f.AcceptedAt)
	var then []string
	h := &f.head
	switch {
	case !f.known:
	case h.Device == f.Device && h.SaleID == f.SaleID:
		text += fmt.Sprintf(": its %s is next", h.Step)
		if h.Attempts > 0 {
			text += ", tried " + times(h.Attempts)
		}
		if !h.InDoubtSince.IsZero() && c.code != "in_doubt" {
			then = append(then, fmt.Sprintf("It may have been carried out (in doubt since %s), so it is looked up before it is sent again", timeOf(s.now, h.InDoubtSince)))
		}
		if h.NextAttempt.After(s.now) && c.code != "uplink_down" && c.code != "not_running" {
			then = append(then, "The next attempt is "+moment(s.now, h.NextAttempt))
		}
	default:
		text += fmt.Sprintf(" behind sale %s of %s, which stands at the head of the queue", h.SaleID, h.Device)
	}
	if why := c.why.String(); why != "" {
		text += "; " + why
	}
	if f.Open {
		then = append(then, "Its end has not been reported")
	}
	return append(append([]string{text}, then...), c.do.String())
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func (s *siteFacts) quarantined(who string, f *saleFacts) []string {
	text := who + " is in quarantine"
	if len(f.Items) == 0 {
		return []string{text}
	}
	i := &f.Items[0]
	parts := []string{fmt.Sprintf("%s since %s as item %d: %s", text, timeOf(s.now, i.At), i.No, refusedFor(i))}
	if f.register.Blocker == i.No {
		parts = append(parts, "The queue of "+f.register.name().String()+" waits for the decision")
	}
	if i.InDoubt {
		parts = append(parts, "It may have been carried out")
	}
	return append(parts, decide(i.No).String())
}

func (s *siteFacts) decided(f *saleFacts) string {
	text := " was closed by a person " + moment(s.now, f.ChangedAt)
	for i := range f.Items {
		if d := &f.Items[i]; d.Decision != "" {
			return fmt.Sprintf("%s: %s (%s), by %s: %s", text, d.Decision, moment(s.now, d.Decided), d.By, d.Reason)
		}
	}
	return text
}

// confirmed tells what OpenFiskal has made of the sale, and where its receipt
// is.
func (s *siteFacts) confirmed(f *saleFacts) string {
	text := " was confirmed " + moment(s.now, f.ChangedAt)
	switch {
	case f.Document != "":
		text += " as document " + f.Document
	case len(f.Answers) > 0 && f.Answers[len(f.Answers)-1].Step == sale.StepCancel:
		text += " as cancelled"
	}
	if len(f.Letters) == 0 {
		return text
	}
	l := f.Letters[len(f.Letters)-1]
	if l.Delivered.IsZero() {
		return text + fmt.Sprintf("; its receipt waits for %s since %s", f.Device, timeOf(s.now, l.At))
	}
	return text + fmt.Sprintf("; %s has its receipt since %s", f.Device, timeOf(s.now, l.Delivered))
}

func (s *siteFacts) fiscal(f *saleFacts) string {
	switch f.FiscalState {
	case sale.FiscalPending:
		return "OpenFiskal has not signed it yet; it is asked for again by itself"
	case "failed":
		return "OpenFiskal could not sign it; tell its support the request id of the last answer"
	}
	return ""
}

func tried(t store.TriedInVain, before string) admin.Detail {
	text := fmt.Sprintf("%s%s tried in vain: %s", before, t.Step, strings.TrimSuffix(cmp.Or(t.Code, t.Class.String())+": "+t.Detail, ": "))
	if t.Times > 1 {
		text += fmt.Sprintf(" (%s, the last one %s)", times(t.Times), t.Last.Local().Format("2006-01-02 15:04:05"))
	}
	return admin.Detail{At: t.At, What: "attempt", Text: text, Class: t.Class.String(), Status: t.Status, RequestID: t.RequestID}
}
