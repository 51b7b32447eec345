package page

import (
	"html/template"
	"slices"
	"strings"

	"edgegw/admin"
	"edgegw/health"
)

// How a device and a sale are, in a sentence. In English it is the gateway's own; in
// another language it is made of the same facts.

// flag says what is remarkable about a sale or an event.
func (l lang) flag(flag string) string {
	switch flag {
	case "superseded":
		return l.text("A newer report took its place before it was sent.")
	case "start_missing":
		return l.text("Its start was never reported.")
	case "qos0":
		return l.text("It was sent with QoS 0, which nobody acknowledges.")
	}
	return flag
}

func (v *visit) deviceSentence(d admin.Device, own *admin.Explanation, st *admin.Status) template.HTML {
	if v.lang == english {
		return escaped(own.Sentence)
	}
	if !own.SentenceWords.Empty() {
		return withCauses(nil, append([]template.HTML{v.lang.sentence(own.SentenceWords)}, v.causes(besides(st), d.Waiting > 0, string(d.DeviceID))...))
	}
	var parts []string
	if d.Waiting > 0 {
		parts = append(parts, v.lang.count(d.Waiting, "%d sale of its register waits.", "%d sales of its register wait."))
	} else {
		parts = append(parts, v.t("No sale of its register waits."))
	}
	if d.Receipts > 0 {
		parts = append(parts, v.lang.count(d.Receipts, "%d receipt waits for it.", "%d receipts wait for it."))
	}
	return withCauses(parts, v.causes(st, d.Waiting > 0, string(d.DeviceID), string(d.RegisterID)))
}

func (v *visit) saleSentence(story *admin.SaleStory, st *admin.Status) template.HTML {
	if v.lang == english {
		return escaped(story.Sentence)
	}
	if !story.SentenceWords.Empty() {
		return v.lang.sentence(story.SentenceWords)
	}
	s := &story.Sale
	switch {
	case s.State == "confirmed" && s.FiscalState == "pending":
		return escaped(v.t("OpenFiskal has it, and has not signed it yet; it is asked again by itself."))
	case s.State == "confirmed" && s.FiscalState == "failed":
		return escaped(v.t("OpenFiskal has it and could not sign it; tell its support the id of the last request."))
	case s.State == "confirmed" && s.DocumentNumber != "":
		return escaped(v.t("OpenFiskal has confirmed it with the receipt %s.", s.DocumentNumber))
	case s.State == "confirmed":
		return escaped(v.t("OpenFiskal has confirmed it."))
	case s.State == "quarantined":
		return escaped(v.t("It is in quarantine and waits for a decision."))
	case s.State == "resolved":
		return escaped(v.t("A person has decided about it."))
	case s.Open:
		return escaped(v.t("It is open: its end has not been reported."))
	}
	return withCauses([]string{v.t("It waits for OpenFiskal.")}, v.causes(st, true, string(s.RegisterID)))
}

func escaped(text string) template.HTML { return template.HTML(template.HTMLEscapeString(text)) }

// withCauses puts causes behind what is said.
func withCauses(parts []string, causes []template.HTML) template.HTML {
	all := escaped(strings.Join(parts, " "))
	for _, c := range causes {
		if all != "" {
			all += " "
		}
		all += c
	}
	return all
}

// besides is a status with those conditions only of which the sentence of a register
// does not tell.
func besides(st *admin.Status) *admin.Status {
	other := *st
	other.Conditions = slices.DeleteFunc(slices.Clone(st.Conditions), func(c health.Condition) bool {
		return c.Code == "uplink_down" || c.Code == "signing_down" || c.Code == "seq_gap" || c.Code == "messages_refused"
	})
	return &other
}

// siteWide are conditions that hold up every register.
var siteWide = map[string]bool{"uplink_down": true, "signing_down": true, "kek_missing": true, "storage_low": true, "storage_full": true, "storage_failed": true}

// causes are the conditions that somebody who looks at one of affected should know, and
// what to do.
func (v *visit) causes(st *admin.Status, waits bool, affected ...string) (parts []template.HTML) {
	for _, c := range st.Conditions {
		concerns := waits && siteWide[c.Code]
		for _, a := range affected {
			concerns = concerns || c.Severity >= health.Attention && a != "" && c.Affected == a
		}
		if w := v.lang.condition(c); concerns {
			parts = append(parts, stopped(w.Title), stopped(w.Remedy))
		}
	}
	return parts
}
