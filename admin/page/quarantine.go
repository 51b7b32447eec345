package page

import (
	"edgegw/admin"
	"edgegw/sale"
	"edgegw/wording"
)

type quarantineView struct {
	Items []admin.QuarantineItem
	All   bool
}

func (s *Site) quarantine(v *visit) error {
	all := v.r.URL.Query().Get("state") == "all"
	f := admin.QuarantineFilter{Limit: pageOfSales}
	if all {
		f.State = "all"
	}
	items, err := s.Backend.Quarantine(v.r.Context(), f)
	if err != nil {
		return err
	}
	return v.show("quarantine", view{Title: v.t("Quarantine"), At: "quarantine", Live: true, Content: quarantineView{items, all}})
}

type itemView struct {
	Item     admin.QuarantineItem
	Decision string
	Reason   string
	Op       string

	Notice      string // what the decision leaves to somebody
	NoticeWords wording.Sentence
}

func (s *Site) quarantineItem(v *visit) error {
	item, err := s.Backend.QuarantineItem(v.r.Context(), v.r.PathValue("id"))
	if err != nil {
		return err
	}
	return v.show("item", view{Title: v.t("Quarantine"), At: "quarantine", Content: itemView{Item: item}})
}

// decide carries out what a person has decided, or shows his form again with what
// is wrong about it.
func (s *Site) decide(v *visit) error {
	if err := v.form(); err != nil {
		return err
	}
	id := v.r.PathValue("id")
	in := itemView{Decision: v.field("decision"), Reason: v.field("reason"), Op: v.field("operation")}
	done, err := s.Backend.Decide(v.r.Context(), admin.Decision{ID: id, Decision: sale.Decision(in.Decision), Reason: in.Reason, Operation: in.Op}, v.by())
	if err != nil {
		return orAgain(err, func(f *admin.Refusal) (err error) {
			if in.Item, err = s.Backend.QuarantineItem(v.r.Context(), id); err != nil {
				return err
			}
			return v.show("item", view{Title: v.t("Quarantine"), At: "quarantine", Content: in, Refusal: f})
		})
	}
	if done.Notice == "" {
		return v.seeOther("/quarantine/" + id)
	}
	decided := itemView{Notice: done.Notice, NoticeWords: done.NoticeWords}
	if decided.Item, err = s.Backend.QuarantineItem(v.r.Context(), id); err != nil {
		return err
	}
	return v.show("item", view{Title: v.t("Quarantine"), At: "quarantine", Content: decided})
}
