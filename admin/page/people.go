package page

import (
	"strconv"
	"time"

	"edgegw/admin"
	"edgegw/sale"
)

type peopleView struct {
	People []admin.Person
	In     []admin.Session // who is logged in
	Roles  []sale.Role
	Days   []int
	Name   string
	Role   sale.Role
}

// pinDays are how long a PIN may be good for, as the page offers it.
var pinDays = []int{1, 7, 30, 90}

func (s *Site) people(v *visit) error { return s.showPeople(v, peopleView{}, nil) }

func (s *Site) showPeople(v *visit, in peopleView, f *admin.Refusal) error {
	all, err := s.Backend.People(v.r.Context())
	if err != nil {
		return err
	}
	if in.In, err = s.sessions(v); err != nil {
		return err
	}
	in.People, in.Roles, in.Days = all, []sale.Role{sale.RoleTechnician, sale.RoleAuditor}, pinDays
	return v.show("people", view{Title: v.t("People"), At: "people", Content: in, Refusal: f})
}

// addPerson makes a PIN for somebody and shows it, this once. An owner is made on the
// box: whoever took over this browser must not leave himself a way in for ever.
func (s *Site) addPerson(v *visit) error {
	if err := v.form(); err != nil {
		return err
	}
	in := peopleView{Name: v.field("name"), Role: sale.Role(v.field("role"))}
	days, err := strconv.Atoi(v.field("days"))
	if err != nil || days < 1 || days > pinDays[len(pinDays)-1] || in.Role == sale.RoleOwner {
		return s.showPeople(v, in, &admin.Refusal{Code: "invalid", Message: "The form could not be read.", Remedy: "Send it again."})
	}
	added, err := s.Backend.AddPerson(v.r.Context(), admin.AddPerson{Name: in.Name, Role: in.Role, Lives: time.Duration(days) * 24 * time.Hour}, v.by())
	if err != nil {
		return orAgain(err, func(f *admin.Refusal) error { return s.showPeople(v, in, f) })
	}
	return v.show("pin", view{Title: v.t("The PIN of %s", added.Name), At: "people", Content: added, Once: true})
}

func (s *Site) removePerson(v *visit) error {
	if err := v.form(); err != nil {
		return err
	}
	if err := s.Backend.RemovePerson(v.r.Context(), v.field("name"), v.by()); err != nil {
		return orAgain(err, func(f *admin.Refusal) error { return s.showPeople(v, peopleView{}, f) })
	}
	return v.seeOther("/people")
}
