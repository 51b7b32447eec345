package page

import (
	"strings"
	"sync"

	"edgegw/admin"
)

// walks is the one walk of a site. It is in memory only; after a restart a walk begins
// anew.
type walks struct {
	mu sync.Mutex
	w  admin.Walk
}

func (s *Site) commission(v *visit) error {
	c, err := admin.Commission(v.r.Context(), s.Backend)
	if err != nil {
		return err
	}
	s.walks.mu.Lock()
	c.Judge(&s.walks.w, s.Now())
	s.walks.mu.Unlock()
	return v.show("commission", view{Title: v.t("Commissioning"), At: "commission", Status: &c.Status, Content: c, Live: true})
}

func (s *Site) beginWalk(v *visit) error {
	s.walks.mu.Lock()
	s.walks.w = admin.Walk{By: v.person.Name, Begun: s.Now()}
	s.walks.mu.Unlock()
	return v.seeOther("/commissioning")
}

// lacks says what a step is still about.
func (l lang) lacks(s admin.CommissionStep) string {
	switch s.Of {
	case "device":
		return l.count(s.Count, "%d device", "%d devices")
	case "queued":
		return l.count(s.Count, "%d sale queued", "%d sales queued")
	case "waiting":
		return l.count(s.Count, "%d sale waits", "%d sales wait")
	}
	ids := make([]string, len(s.Lacking))
	for i, id := range s.Lacking {
		ids[i] = string(id)
	}
	return strings.Join(ids, ", ")
}
