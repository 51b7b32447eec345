package gateway

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"edgegw/admin"
	"edgegw/sale"
	"edgegw/store"
)

// SaleStory tells all of one sale.
func (k *control) SaleStory(ctx context.Context, d sale.DeviceID, saleID string, payloads bool) (admin.SaleStory, error) {
	queues, err := k.db.Queues(ctx)
	if err != nil {
		return admin.SaleStory{}, err
	}
	status, facts, err := k.look(ctx, queues)
	if err != nil {
		return admin.SaleStory{}, err
	}
	sentence, story, err := explainer{k, facts, &status}.story(ctx, d, saleID)
	if err != nil {
		return admin.SaleStory{}, err
	}
	return admin.SaleStory{Sale: shownSale(&story.Sale), Sentence: sentence.String(), SentenceWords: sentence, Parts: tell(&story, payloads)}, nil
}

// teller puts a story in order.
type teller struct {
	*store.Story
	payloads bool
	parts    []admin.StoryPart
}

// tell gives what happened to a sale, the oldest first, and in one moment by what
// leads to what.
func tell(s *store.Story, payloads bool) []admin.StoryPart {
	t := &teller{Story: s, payloads: payloads}
	for i := range s.Events {
		t.event(&s.Events[i])
	}
	for _, all := range [][]sale.Item{s.Items, s.Refused} {
		for i := range all {
			t.decision(&all[i])
		}
	}
	for i := range s.Tries {
		t.attempt(&s.Tries[i])
	}
	for i := range s.Answers {
		t.answer(&s.Answers[i])
	}
	for _, all := range [][]sale.Item{s.Items, s.Refused} {
		for i := range all {
			t.item(&all[i])
		}
	}
	for i := range s.Letters {
		t.letter(&s.Letters[i])
	}
	slices.SortStableFunc(t.parts, func(a, b admin.StoryPart) int { return a.At.Compare(b.At) })
	return t.parts
}

func (t *teller) add(p admin.StoryPart) { t.parts = append(t.parts, p) }

// body is what others wrote, where it is asked for.
func (t *teller) body(b []byte) string {
	if !t.payloads {
		return ""
	}
	return masked(b)
}

func (t *teller) event(e *store.StoryEvent) {
	text := e.Kind.String() + " reported"
	if e.Superseded {
		text += "; a newer update stands for it"
	}
	said := eventOf(e.Kind, e.Raw)
	x := &admin.StoryEvent{Event: e.Kind.String(), Clock: e.Quality, DeviceTime: said.OccurredAt, StartedAt: said.StartedAt, DeviceClock: said.Clock,
		Flags: flagList(e.StartMissing, e.Unsafe, e.Superseded), Payload: t.body(e.Raw)}
	for i := range e.Calls {
		c := &e.Calls[i]
		x.Calls = append(x.Calls, admin.StoryCall{Step: c.Step.String(), State: t.callState(e, i), Method: c.Method, Path: c.URLPath(),
			IdempotencyKey: c.IdempotencyKey, Body: t.body(c.Body)})
	}
	t.add(admin.StoryPart{At: e.At, What: "event", Text: text, Event: x})
}

// callState says what became of a call.
func (t *teller) callState(e *store.StoryEvent, place int) string {
	step := e.Calls[place].Step
	answered := slices.ContainsFunc(t.Answers, func(a store.StoryAnswer) bool { return a.Event == e.No && a.Step == step })
	switch {
	case place < e.Done || answered:
		return "confirmed"
	case e.Superseded:
		return "superseded"
	case t.State == sale.ByPerson || t.State == sale.Settled:
		return "closed" // its sale is over without it
	case e.Held:
		return "quarantined"
	}
	return "waiting"
}

func (t *teller) attempt(a *store.TriedInVain) {
	d := tried(*a, "")
	t.add(admin.StoryPart{At: a.At, What: "attempt", Text: d.Text, Attempt: &admin.StoryAttempt{Step: a.Step.String(), Times: a.Times, Last: a.Last,
		Class: a.Class.String(), Status: a.Status, Code: a.Code, Detail: words(a.Detail), RequestID: a.RequestID, Body: t.body(a.Body)}})
}

func (t *teller) answer(a *store.StoryAnswer) {
	text := a.Step.String() + " confirmed"
	if a.Adopted {
		text += ", as a look-up found"
	}
	t.add(admin.StoryPart{At: a.At, What: "answer", Text: text, Answer: &admin.StoryAnswer{Step: a.Step.String(), Status: a.Status, Attempts: a.Attempts,
		Adopted: a.Adopted, RequestID: a.RequestID, Body: t.body(a.Body)}})
}

func (t *teller) item(i *sale.Item) {
	text := fmt.Sprintf("put into quarantine as item %d: %s", i.No, refusedFor(i))
	x := &admin.StoryItem{ID: strconv.FormatInt(i.No, 10), Message: i.Register == "", Event: i.Kind.String(), Reason: words(refusedFor(i)), ReasonWords: itemWords(i), InDoubt: i.InDoubt}
	if x.Message {
		text = fmt.Sprintf("%s kept as item %d and not taken: %s", i.Kind, i.No, refusedFor(i))
		x.Code, x.Body = i.Fault.Code, t.body(i.Raw)
	} else {
		x.Step, x.Code, x.Class = i.Step.String(), i.Problem.Code, i.Problem.Class.String()
		x.Status, x.RequestID, x.Body = i.Problem.Status, i.Problem.RequestID, t.body(i.Problem.Body)
	}
	t.add(admin.StoryPart{At: i.At, What: "quarantine", Text: text, Item: x})
}

func (t *teller) decision(i *sale.Item) {
	if i.Decision == "" {
		return
	}
	v := &admin.StoryDecision{Item: strconv.FormatInt(i.No, 10), Decision: i.Decision, By: i.By, Reason: words(i.Reason), Operation: i.Operation}
	t.add(admin.StoryPart{At: i.Decided, What: "decision", Text: fmt.Sprintf("%s by %s: %s", v.Decision, v.By, v.Reason), Decision: v})
}

func (t *teller) letter(l *store.StoryLetter) {
	text, x := "put into the mailbox", &admin.StoryReceipt{DocumentNumber: t.Document, FiscalState: t.FiscalState, DeliveredAt: l.Delivered}
	if l.Item != 0 {
		text = fmt.Sprintf("one that says that the sale is in quarantine (item %d) put into the mailbox", l.Item)
		x = &admin.StoryReceipt{Item: strconv.FormatInt(l.Item, 10), DeliveredAt: l.Delivered}
	}
	t.add(admin.StoryPart{At: l.At, What: "receipt", Text: text, Receipt: x})
	if !l.Delivered.IsZero() {
		t.add(admin.StoryPart{At: l.Delivered, What: "delivered", Text: "acknowledged by " + string(t.Device), Receipt: x})
	}
}

// details is a story as it is told beside a sentence.
func details(parts []admin.StoryPart) (all []admin.Detail) {
	for _, p := range parts {
		d := admin.Detail{At: p.At, What: p.What, Text: p.Text}
		switch {
		case p.Attempt != nil:
			d.Class, d.Status, d.RequestID = p.Attempt.Class, p.Attempt.Status, p.Attempt.RequestID
		case p.Answer != nil:
			d.Status, d.RequestID = p.Answer.Status, p.Answer.RequestID
		case p.Item != nil && !p.Item.Message:
			d.Class, d.Status, d.RequestID = p.Item.Class, p.Item.Status, p.Item.RequestID
		case p.What == "delivered":
			d.What = "receipt"
		}
		all = append(all, d)
	}
	return all
}
