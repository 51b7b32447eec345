package page

import (
	"strconv"
	"strings"

	"edgegw/admin"
)

type auditView struct {
	Filter  admin.AuditFilter
	Entries []admin.AuditEntry
	Next    int64 // the number before which the next page begins; 0 for none
}

// pageOfAudit is how many lines one page shows.
const pageOfAudit = 50

func (s *Site) audit(v *visit) error {
	q := v.r.URL.Query()
	f := admin.AuditFilter{Who: strings.TrimSpace(q.Get("who")), Subject: strings.TrimSpace(q.Get("subject")), Limit: pageOfAudit}
	if n, err := strconv.ParseInt(q.Get("before"), 10, 64); err == nil && n > 0 {
		f.Before = n
	}
	all, err := s.Backend.Audit(v.r.Context(), f)
	if err != nil {
		return err
	}
	a := auditView{Filter: f, Entries: all}
	if len(all) == pageOfAudit {
		a.Next = all[len(all)-1].No
	}
	return v.show("audit", view{Title: v.t("Audit trail"), At: "audit", Content: a, Live: f.Before == 0})
}
