package page

import (
	"html/template"
	"strconv"
	"time"

	"edgegw/admin"
)

// storyLine is one thing that happened to a sale, in the words of the page.
type storyLine struct {
	At      time.Time
	Mood    string // good, notice, bad or ""
	Title   string
	Beneath []template.HTML
	Item    string // of the quarantine
	Times   int    // more than one: as often, until Until
	Until   time.Time
	Details []detail
	Texts   []detail // what was reported, sent and answered
}

type detail struct {
	Name, Text string
	Quoted     bool // what somebody else has said, in English
}

// detail adds what only somebody's support asks for.
func (l *storyLine) detail(name, text string) {
	if text != "" {
		l.Details = append(l.Details, detail{Name: name, Text: text})
	}
}

func (l *storyLine) text(name, text string) {
	if text != "" {
		l.Texts = append(l.Texts, detail{Name: name, Text: text})
	}
}

func (l *storyLine) beneath(text string) {
	if text != "" {
		l.Beneath = append(l.Beneath, template.HTML(template.HTMLEscapeString(text)))
	}
}

// line puts a part of a story into words.
func (v *visit) line(p *admin.StoryPart) storyLine {
	l := storyLine{At: p.At}
	switch {
	case p.Event != nil:
		v.eventLine(&l, p.Event)
	case p.Attempt != nil:
		v.attemptLine(&l, p.Attempt)
	case p.Answer != nil:
		v.answerLine(&l, p.Answer)
	case p.Item != nil:
		v.itemLine(&l, p.Item)
	case p.Decision != nil:
		d := p.Decision
		l.Title, l.Item = v.t("Decided: %s", v.lang.word(string(d.Decision))), d.Item
		l.beneath(d.By + ": " + d.Reason)
		l.detail(v.t("Operation at OpenFiskal"), d.Operation)
	case p.Receipt != nil:
		v.receiptLine(&l, p.Receipt, p.What == "delivered")
	default: // of a newer gateway
		l.Title = p.What
		l.Details = append(l.Details, detail{v.t("In its own words"), p.Text, true})
	}
	return l
}

func (v *visit) eventLine(l *storyLine, e *admin.StoryEvent) {
	switch e.Event {
	case "start":
		l.Title = v.t("The device reported the start.")
	case "update":
		l.Title = v.t("The device reported what it stands at.")
	case "complete":
		l.Title = v.t("The device reported the end, paid.")
	case "cancel":
		l.Title = v.t("The device reported that nothing was sold.")
	default:
		l.Title = v.t("The device reported the whole sale.")
	}
	l.beneath(v.t("By the device's clock: %s", e.DeviceTime))
	switch e.DeviceClock {
	case "informative", "relative", "unknown":
		l.beneath(v.t("The device does not vouch for its clock."))
	}
	switch e.Clock {
	case "informative":
		l.beneath(v.t("Nobody vouched for the gateway's clock then."))
	case "unknown":
		l.Mood = "notice"
		l.beneath(v.t("The gateway's clock was wrong then."))
	case "":
		l.beneath(v.t("How right the gateway's clock was is not recorded."))
	}
	for _, f := range e.Flags {
		l.beneath(v.lang.flag(f))
	}
	l.text(v.t("What the device reported"), e.Payload)
	for _, c := range e.Calls {
		l.detail(v.t("Request: %s", v.lang.word(c.Step)), v.lang.word(c.State)+" · "+c.Method+" "+c.Path+" · "+c.IdempotencyKey)
		l.text(v.t("What is sent: %s", v.lang.word(c.Step)), c.Body)
	}
}

func (v *visit) attemptLine(l *storyLine, a *admin.StoryAttempt) {
	l.Mood, l.Title, l.Times, l.Until = "notice", v.t("Tried in vain: %s", v.lang.word(a.Step)), a.Times, a.Last
	l.beneath(v.classWords(a.Class))
	v.atOpenFiskal(l, a.Status, a.Code, a.RequestID)
	if a.Detail != "" {
		l.Details = append(l.Details, detail{v.t("In its own words"), a.Detail, true})
	}
	l.text(v.t("What OpenFiskal said"), a.Body)
}

// classWords says why an attempt confirmed nothing.
func (v *visit) classWords(class string) string {
	switch class {
	case "uplink":
		return v.t("OpenFiskal could not be reached; nothing was sent.")
	case "in_doubt":
		return v.t("It was sent, and no answer came that can be relied on. It is looked up before it is sent again.")
	case "throttled":
		return v.t("OpenFiskal asked for fewer requests.")
	case "transient":
		return v.t("OpenFiskal was out of order.")
	case "key_refused":
		return v.t("OpenFiskal refused the register's key, or there was none.")
	case "register_unknown":
		return v.t("OpenFiskal did not know the register.")
	case "resolve":
		return v.t("OpenFiskal knew the request already.")
	case "signing_down":
		return v.t("OpenFiskal could not sign.")
	case "poison":
		return v.t("OpenFiskal refused the request as it is.")
	case "misconfigured":
		return v.t("What answered was not OpenFiskal.")
	}
	return class
}

// atOpenFiskal is what its support asks for.
func (v *visit) atOpenFiskal(l *storyLine, status int, code, request string) {
	if status != 0 {
		l.detail(v.t("Status"), strconv.Itoa(status))
	}
	l.detail(v.t("Code"), code)
	l.detail(v.t("Request id"), request)
}

func (v *visit) answerLine(l *storyLine, a *admin.StoryAnswer) {
	l.Mood, l.Title = "good", v.t("OpenFiskal confirmed: %s", v.lang.word(a.Step))
	if a.Adopted {
		l.beneath(v.t("It had been carried out already, and was read back."))
	}
	v.atOpenFiskal(l, a.Status, "", a.RequestID)
	l.text(v.t("What OpenFiskal said"), a.Body)
}

func (v *visit) itemLine(l *storyLine, i *admin.StoryItem) {
	l.Mood, l.Item = "bad", i.ID
	if i.Message {
		l.Title = v.t("A report with its name was kept and not taken.")
		l.text(v.t("What the device reported"), i.Body)
	} else {
		l.Title = v.t("Put into quarantine.")
		l.text(v.t("What OpenFiskal said"), i.Body)
	}
	l.Beneath = append(l.Beneath, v.lang.orText(i.ReasonWords, i.Reason))
	if i.InDoubt {
		l.beneath(v.t("It may have been carried out."))
	}
	v.atOpenFiskal(l, i.Status, i.Code, i.RequestID)
}

func (v *visit) receiptLine(l *storyLine, r *admin.StoryReceipt, delivered bool) {
	switch {
	case r.Item != "" && delivered:
		l.Title = v.t("The device knows that it is in quarantine.")
	case r.Item != "":
		l.Title = v.t("A note for the device was laid down: it is in quarantine.")
	case delivered:
		l.Mood, l.Title = "good", v.t("The device has taken its receipt.")
	default:
		l.Title = v.t("The receipt was laid down for the device.")
		l.beneath(r.DocumentNumber)
		if r.FiscalState != "" {
			l.beneath(v.lang.word(r.FiscalState))
		}
		if r.DeliveredAt.IsZero() {
			l.Mood = "notice"
			l.beneath(v.t("The device has not taken it yet."))
		}
	}
}
