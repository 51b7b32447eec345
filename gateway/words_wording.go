package gateway

import (
	"strconv"
	"strings"

	"edgegw/fiscal"
	"edgegw/sale"
	"edgegw/store"
	"edgegw/wording"
)

// What is said of values that come from others: a sentence that each language has its
// own words for, with what they said themselves as a quotation in it.

// classes say what an answer of its class means, and an attempt without one.
var classes = map[sale.Class]wording.Sentence{
	sale.Uplink:          wording.Of("OpenFiskal could not be reached"),
	sale.InDoubt:         wording.Of("no answer came that can be relied on"),
	sale.Throttled:       wording.Of("OpenFiskal asked for fewer requests"),
	sale.Transient:       wording.Of("OpenFiskal was out of order"),
	sale.KeyRefused:      wording.Of("OpenFiskal refused the key"),
	sale.RegisterUnknown: wording.Of("OpenFiskal did not know the register"),
	sale.Resolve:         wording.Of("OpenFiskal knew the request already"),
	sale.SigningDown:     wording.Of("OpenFiskal could not sign"),
	sale.Poison:          wording.Of("OpenFiskal refused the request as it is"),
	sale.Misconfigured:   wording.Of("what answered was not OpenFiskal"),
}

// ownCodes are those that the gateway itself gives, and one of OpenFiskal's, which say
// more than the class.
var ownCodes = map[string]wording.Sentence{
	"contradiction":          wording.Of("OpenFiskal's record of the operation and the gateway's cannot both be"),
	"window_over":            wording.Of("the request may have been carried out, cannot be looked up, and is too old to be sent again"),
	"event_after_decision":   wording.Of("the device reported the end of this sale, with payments, after a person had closed it"),
	sale.CodeLookUpRefused:   wording.Of("OpenFiskal does not let the operation be looked up"),
	"redirect":               wording.Of("the host redirects, and redirects are not followed"),
	"fiscal_unit_exists":     wording.Of("the register has a fiscal unit already"),
	fiscal.CodeOtherRegister: wording.Of("the key belongs to another register"),
}

// problemWords say what a problem is: its class, the status and the code of the
// answer, and what OpenFiskal or the system said.
func problemWords(p *sale.Problem) wording.Sentence {
	says, known := ownCodes[p.Code]
	if !known {
		says, known = classes[p.Class]
	}
	if !known {
		says = wording.Of("%s", wording.Word(p.Class.String()))
	}
	status := ""
	if p.Status != 0 {
		status = strconv.Itoa(p.Status)
	}
	if mark := strings.TrimSpace(status + " " + words(p.Code)); mark != "" {
		says = wording.Of("%s (%s)", says, mark)
	}
	if p.Detail != "" {
		says = wording.Of("%s: %s", says, wording.Quote(words(p.Detail)))
	}
	return says
}

// queueWords say why a queue does not move.
func queueWords(q *store.Queue) wording.Sentence {
	switch {
	case q.Idle:
		return wording.Sentence{}
	case q.Blocker != 0:
		return wording.Of("the queue waits for a decision on item %d of the quarantine", q.Blocker)
	case q.Problem == "" && q.BlockedSince.IsZero():
		return wording.Sentence{}
	}
	return problemWords(&sale.Problem{Class: q.Class, Code: q.Problem})
}

// faults say what a report of a device lacks, by the code that the device is told.
var faults = map[string]wording.Sentence{
	"missing":           wording.Of("a field is missing"),
	"required":          wording.Of("a field is missing"),
	"wrong_type":        wording.Of("a field has a value of the wrong kind"),
	"invalid":           wording.Of("a field has a value that cannot be"),
	"too_large":         wording.Of("it is too large"),
	"repeated":          wording.Of("a field stands twice"),
	"not_json":          wording.Of("it is no JSON"),
	"not_utf8":          wording.Of("it is not UTF-8"),
	"start_missing":     wording.Of("the start of the sale was never reported"),
	"already_started":   wording.Of("the sale has been started by another event"),
	"sale_ended":        wording.Of("the sale is over, and nothing follows its end"),
	"amount_mismatch":   wording.Of("quantity, price and amount do not agree"),
	"payments_mismatch": wording.Of("the payments do not add up to the amounts"),
	"sale_quarantined":  wording.Of("the sale is in quarantine"),
	"conflict":          wording.Of("an event of this name was stored before with another content"),
}

// faultKind says what is wrong with a report: the kind of fault, and the place.
func faultKind(f *sale.Fault) wording.Sentence {
	says, known := faults[f.Code]
	if !known {
		says = wording.Of("%s", wording.Word(f.Code))
	}
	if f.Field != "" {
		says = wording.Of("%s (%s)", says, words(f.Field))
	}
	return says
}

// faultWords are the same with what the device was told.
func faultWords(f *sale.Fault) wording.Sentence {
	says := faultKind(f)
	if f.Message != "" {
		says = wording.Of("%s: %s", says, wording.Quote(words(f.Message)))
	}
	return says
}

// steps are those of a sale, in a sentence.
var steps = map[sale.Step]wording.Sentence{
	sale.StepStart: wording.Of("start"), sale.StepUpdate: wording.Of("update"), sale.StepComplete: wording.Of("end"), sale.StepCancel: wording.Of("cancellation"),
}

// itemWords say why something is in quarantine.
func itemWords(i *sale.Item) wording.Sentence {
	if i.Register == "" {
		return faultWords(&i.Fault)
	}
	return wording.Of("%s: %s", steps[i.Step], problemWords(&i.Problem))
}

// ruleWords say what that means for the decision.
func ruleWords(i *sale.Item) wording.Sentence {
	switch {
	case i.Register == "" && i.Status == sale.Conflict:
		return wording.Of("An event of this name was stored before with another content. That one stands; this one is kept and is never sent.")
	case i.Register == "":
		return wording.Of("It cannot become part of a sale as it is.")
	case i.InDoubt:
		return wording.Of("It may have been carried out, and that could not be settled.")
	}
	says := wording.Of("No repetition changes that.")
	if i.Problem.Param != "" {
		says = wording.Join(says, wording.Of("OpenFiskal names the field %s.", words(i.Problem.Param)))
	}
	return says
}

// oneOrMore chooses between one and many; both hold the number.
func oneOrMore(n int64, one, many string) wording.Sentence {
	if n == 1 {
		return wording.Of(one, n)
	}
	return wording.Of(many, n)
}
