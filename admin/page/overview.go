package page

import (
	"html/template"

	"edgegw/admin"
	"edgegw/health"
)

// overviewView is the site in one look.
type overviewView struct {
	Mood      string // good, notice or bad
	Headline  string
	Beneath   template.HTML // the gateway's own sentence
	Attention []health.Condition
	Notices   []health.Condition
	Busy      []admin.Register // that wait, are tried again or blocked
	Devices   []admin.Device
	Latest    []admin.Sale
	Day       dayView
}

func (s *Site) overview(v *visit) error {
	ctx := v.r.Context()
	st, err := s.Backend.Status(ctx)
	if err != nil {
		return err
	}
	devices, err := s.Backend.Devices(ctx)
	if err != nil {
		return err
	}
	latest, err := s.Backend.Sales(ctx, admin.SaleFilter{Limit: 5})
	if err != nil {
		return err
	}
	h, err := s.Backend.History(ctx)
	if err != nil {
		return err
	}
	o := overviewView{Devices: devices, Latest: latest, Day: v.day(h, st.Totals.Waiting)}
	for _, c := range st.Conditions {
		if c.Severity >= health.Attention {
			o.Attention = append(o.Attention, c)
		} else {
			o.Notices = append(o.Notices, c)
		}
	}
	for _, r := range st.Registers {
		if r.State != "idle" {
			o.Busy = append(o.Busy, r)
		}
	}
	o.Mood, o.Headline = v.mood(st, o)
	if v.lang == english || !st.SentenceWords.Empty() {
		o.Beneath = v.lang.orText(st.SentenceWords, st.Sentence)
	}
	if o.Beneath == escaped(o.Headline) { // once is enough
		o.Beneath = ""
	}
	return v.show("overview", view{Title: v.t("Overview"), At: "overview", Status: &st, Content: o, Live: true})
}

// mood says in a sentence how the site is. It never says that all is well while
// something needs a person.
func (v *visit) mood(st admin.Status, o overviewView) (mood, headline string) {
	switch {
	case len(o.Attention) > 0:
		return "bad", v.lang.count(int64(len(o.Attention)), "Something needs you.", "%d things need you.")
	case st.Uplink == "down":
		return "notice", v.lang.count(st.Totals.Waiting, "No way to OpenFiskal: %d sale waits on this box.", "No way to OpenFiskal: %d sales wait on this box.")
	case len(o.Busy) > 0:
		return "notice", v.lang.count(st.Totals.Waiting, "%d sale is on its way.", "%d sales are on their way.")
	case len(st.Registers) == 0:
		return "notice", v.t("There is no device yet.")
	}
	return "good", v.lang.count(int64(len(st.Registers)), "The register is up to date.", "All %d registers are up to date.")
}

func (s *Site) more(v *visit) error { return v.show("more", view{Title: v.t("More"), At: "more"}) }
