package page

import (
	"edgegw/admin"
	"edgegw/doctor"
	"edgegw/sale"
)

// trialCheck is a check of a test sale, with its name in the person's language.
type trialCheck struct {
	admin.Check
	Name string
}

type trialView struct {
	admin.TestSale
	Failed, Rest []trialCheck
	Lines        []storyLine // its way
}

// testSale makes a test sale. It is a form and no link, because it costs: a site is
// made for it.
func (s *Site) testSale(v *visit, id sale.DeviceID) error {
	t, err := s.Backend.TestSale(v.r.Context(), id, v.by())
	if err != nil {
		return err
	}
	in := trialView{TestSale: t}
	for _, c := range t.Checks {
		if named := (trialCheck{c, v.trialName(c)}); c.State == doctor.Failed {
			in.Failed = append(in.Failed, named)
		} else {
			in.Rest = append(in.Rest, named)
		}
	}
	for i := range t.Parts {
		in.Lines = append(in.Lines, v.line(&t.Parts[i]))
	}
	return v.show("trial", view{Title: v.t("Test sale of %s", string(id)), At: "devices", Content: in})
}

func (v *visit) trialName(c admin.Check) string {
	switch c.Check {
	case "gateway":
		return v.t("This gateway")
	case "stand_in":
		return v.t("A sale of its kind, against the stand-in")
	case "device":
		return v.t("The device")
	case "key":
		return v.t("The key of its register")
	case "queue":
		return v.t("The way to OpenFiskal")
	}
	return v.t("Also known of it")
}

type identifiedView struct {
	admin.Identified
	Mood, Words string
}

// identify asks a device to show itself, and says what became of that.
func (s *Site) identify(v *visit, id sale.DeviceID) error {
	i, err := s.Backend.Identify(v.r.Context(), id, v.by())
	if err != nil {
		return err
	}
	in := identifiedView{Identified: i, Mood: "bad"}
	switch i.Outcome {
	case "delivered":
		in.Mood, in.Words = "good", v.t("It has acknowledged it, and should show itself for %d s. Where nothing is to be seen, its firmware does nothing about it.", i.Seconds)
	case "unconfirmed":
		in.Mood, in.Words = "notice", v.t("It was sent; the device listens in a way in which nobody can know whether it has heard. Look at it.")
	case "declined":
		in.Words = v.t("It has heard it, and its acknowledgement says no. Ask whoever makes its firmware.")
	case "silent":
		in.Words = v.t("It was sent, and no acknowledgement came. Look at it; its line may be bad, or it may hang.")
	case "not_sent":
		in.Words = v.t("It is connected and takes no more messages. Switch it off and on again.")
	case "not_subscribed":
		in.Words = v.t("It is connected and does not listen for this: nothing was sent. Its firmware does not know how to show itself.")
	case "not_connected":
		in.Words = v.t("It is not connected: nothing was sent. Check its power and its network.")
	default: // of a newer gateway
		in.Words = i.Sentence
	}
	return v.show("identified", view{Title: string(id), At: "devices", Content: in})
}
