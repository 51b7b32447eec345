package gateway

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"edgegw/admin"
	"edgegw/sale"
	"edgegw/store"
	"edgegw/wording"
)

// Explain says how the site is, or a device, a register or a sale of it.
func (k *control) Explain(ctx context.Context, subject string) (admin.Explanation, error) {
	queues, err := k.db.Queues(ctx)
	if err != nil {
		return admin.Explanation{}, err
	}
	status, facts, err := k.look(ctx, queues)
	if err != nil {
		return admin.Explanation{}, err
	}
	e := explainer{k, facts, &status}
	switch device, saleID, pair := strings.Cut(subject, "/"); {
	case subject == "":
		return e.site(), nil
	case pair && sale.DeviceID(device).Valid():
		return e.sale(ctx, sale.DeviceID(device), saleID)
	}
	if d, err := k.ring.Get(sale.DeviceID(subject)); err == nil {
		return e.device(ctx, d)
	}
	for i := range facts.registers {
		if r := &facts.registers[i]; string(r.Register) == subject {
			return e.register(r), nil
		}
	}
	return e.search(ctx, subject)
}

type explainer struct {
	k      *control
	facts  *siteFacts
	status *admin.Status
}

// mostChoices bounds how many sales of one name are named.
const mostChoices = 10

// search looks for sales of that name.
func (e explainer) search(ctx context.Context, saleID string) (admin.Explanation, error) {
	found, err := e.k.db.Sales(ctx, store.SaleFilter{SaleID: saleID, Limit: mostChoices})
	switch {
	case err != nil:
		return admin.Explanation{}, err
	case len(found) == 0:
		return admin.Explanation{}, unexplained(saleID)
	case len(found) == 1:
		return e.sale(ctx, found[0].Device, saleID)
	}
	choices := make([]string, len(found))
	for i, s := range found {
		choices[i] = fmt.Sprintf("edgegw explain %s/%s", s.Device, s.SaleID)
	}
	return admin.Explanation{}, admin.Refuse("ambiguous", wording.Of("%d devices have a sale %s", len(found), saleID),
		wording.Of("Choose one: %s", strings.Join(choices, ", or ")))
}

// unexplained does not repeat what may be a key.
func unexplained(subject string) error {
	what := any(strconv.Quote(subject))
	if sale.LooksLikeKey(subject[strings.LastIndexByte(subject, '/')+1:]) {
		what = wording.Of("of that name")
	}
	return admin.Refuse("not_found", wording.Of("there is no device, register or sale %s", what),
		wording.Of("See what there is: edgegw device list, edgegw sales"))
}

func (e explainer) site() admin.Explanation {
	x := admin.Explanation{Kind: "site", Sentence: e.status.Sentence}
	for i := range e.facts.registers {
		r := &e.facts.registers[i]
		x.Details = append(x.Details, admin.Detail{At: r.Oldest, What: "register", Text: e.facts.registerSentence(r.name(), r).String()})
	}
	for _, c := range e.status.Conditions {
		x.Details = append(x.Details, admin.Detail{At: c.Since, What: "condition", Text: sentences([]string{c.Code + ": " + c.Title, c.Remedy})})
	}
	return x
}

func (e explainer) register(r *registerFacts) admin.Explanation {
	x := admin.Explanation{Subject: string(r.Register), Kind: "register", Sentence: e.facts.registerSentence(r.name(), r).String()}
	if len(r.devices) > 0 {
		x.Sentence = e.facts.registerSentence(wording.Of("%s (%s)", string(r.Register), r.name()), r).String()
	}
	x.Details = e.ofRegister(r, string(r.Register))
	return x
}

// ofRegister gives the last attempt in vain, and the conditions that hold for
// one of affected.
func (e explainer) ofRegister(r *registerFacts, affected ...string) (details []admin.Detail) {
	if r.last.Times > 0 {
		details = append(details, tried(r.last, "sale "+r.last.SaleID+": "))
	}
	for _, c := range e.status.Conditions {
		for _, a := range affected {
			if c.Affected == a && a != "" {
				details = append(details, admin.Detail{At: c.Since, What: "condition", Text: sentences([]string{c.Code + ": " + c.Title, c.Remedy})})
			}
		}
	}
	return details
}

func (e explainer) device(ctx context.Context, d sale.Device) (admin.Explanation, error) {
	x := admin.Explanation{Subject: string(d.ID), Kind: "device"}
	says := wording.Of("%s: no sale has been reported yet.", string(d.ID))
	for i := range e.facts.registers {
		r := &e.facts.registers[i]
		if r.Register != d.Register {
			continue
		}
		says = e.facts.registerSentence(r.name(), r)
		x.Details = e.ofRegister(r, string(d.Register), string(d.ID))
	}
	if d.Disabled {
		says = wording.Join(wording.Of("%s is disabled and cannot connect; to let it in again: edgegw device enable %s.", string(d.ID), string(d.ID)), says)
	}
	mail, err := e.k.db.Mail(ctx)
	if err != nil {
		return x, err
	}
	if n := int64(mail[d.ID]); n > 0 {
		says = wording.Join(says, wording.Of("%s for %s to fetch.", oneOrMore(n, "%d receipt waits", "%d receipts wait"), string(d.ID)))
	}
	gaps, err := e.k.db.Gaps(ctx)
	if err != nil {
		return x, err
	}
	var own []store.Gap
	for _, g := range gaps {
		if g.Device == d.ID {
			own = append(own, g)
		}
	}
	if len(own) > 0 {
		c := gapCondition(d.ID, own)
		says = wording.Join(says, ended([]wording.Sentence{c.TitleWords, c.RemedyWords}))
	}
	x.Sentence, x.SentenceWords = says.String(), says
	if twins, err := e.k.db.Sales(ctx, store.SaleFilter{SaleID: string(d.ID), Limit: mostChoices}); err == nil {
		for _, t := range twins {
			x.Details = append(x.Details, admin.Detail{What: "device", Text: fmt.Sprintf("A sale has the same name: edgegw explain %s/%s", t.Device, t.SaleID)})
		}
	}
	return x, nil
}

func (e explainer) sale(ctx context.Context, d sale.DeviceID, saleID string) (admin.Explanation, error) {
	x := admin.Explanation{Subject: string(d) + "/" + saleID, Kind: "sale"}
	sentence, story, err := e.story(ctx, d, saleID)
	if err != nil {
		return x, err
	}
	x.Sentence, x.Details = sentence.String(), details(tell(&story, false))
	return x, nil
}

// story gives a sale's story, and the sentence about it.
func (e explainer) story(ctx context.Context, d sale.DeviceID, saleID string) (wording.Sentence, store.Story, error) {
	var none wording.Sentence
	story, err := e.k.db.Story(ctx, d, saleID)
	if errors.Is(err, sale.ErrNone) {
		return none, story, unexplained(string(d) + "/" + saleID)
	}
	if err != nil {
		return none, story, err
	}
	f := saleFacts{Story: story}
	for i := range e.facts.registers {
		if r := &e.facts.registers[i]; r.Register == story.Register {
			f.register = r
		}
	}
	if f.register == nil {
		return none, story, fmt.Errorf("explain sale %s: its register has no queue", saleID)
	}
	if h, err := e.k.db.Head(ctx, story.Register); err == nil {
		f.head, f.known = h, true // otherwise nothing can be sent, and the cause is told
	}
	return e.facts.saleSentence(&f), story, nil
}

// ForgetGaps takes the gaps in a device's count off, which somebody has looked
// into.
func (k *control) ForgetGaps(ctx context.Context, id sale.DeviceID, by string) error {
	if _, err := k.ring.Get(id); err != nil {
		return unknown(id)
	}
	return k.db.ForgetGaps(ctx, id, k.now(), by)
}
