package page

import "edgegw/admin"

// account shows somebody where he is logged in.
func (s *Site) account(v *visit) error { return s.showAccount(v, nil) }

func (s *Site) showAccount(v *visit, f *admin.Refusal) error {
	own, err := s.Door.Own(v.r.Context(), sessionOf(v.r))
	if err != nil {
		return err
	}
	return v.show("account", view{Title: v.t("Where you are logged in"), At: "account", Content: own, Refusal: f})
}

// endOwn logs another browser of the same person out.
func (s *Site) endOwn(v *visit) error {
	if err := v.form(); err != nil {
		return err
	}
	if err := s.Door.EndOwn(v.r.Context(), sessionOf(v.r), v.field("session")); err != nil {
		return orAgain(err, func(f *admin.Refusal) error { return s.showAccount(v, f) })
	}
	return v.seeOther("/account")
}

func (s *Site) logoutEverywhere(v *visit) error {
	if err := s.Door.LogoutEverywhere(v.r.Context(), sessionOf(v.r)); err != nil {
		return err
	}
	setSession(v.w, v.r, "")
	return v.seeOther("/login")
}

// sessions lists who is logged in, and marks the browser in which that is looked at.
func (s *Site) sessions(v *visit) ([]admin.Session, error) {
	all, err := s.Backend.Sessions(v.r.Context())
	if err != nil {
		return nil, err
	}
	own, err := s.Door.Own(v.r.Context(), sessionOf(v.r))
	if err != nil {
		return nil, err
	}
	for i := range all {
		for _, o := range own {
			all[i].Current = all[i].Current || o.Current && o.ID == all[i].ID
		}
	}
	return all, nil
}

func (s *Site) endSession(v *visit) error {
	if err := v.form(); err != nil {
		return err
	}
	if err := s.Backend.EndSession(v.r.Context(), v.field("session"), v.by()); err != nil {
		return orAgain(err, func(f *admin.Refusal) error { return s.showPeople(v, peopleView{}, f) })
	}
	return v.seeOther("/people")
}

func (s *Site) logoutPerson(v *visit) error {
	if err := v.form(); err != nil {
		return err
	}
	if _, err := s.Backend.EndSessions(v.r.Context(), v.field("name"), v.by()); err != nil {
		return orAgain(err, func(f *admin.Refusal) error { return s.showPeople(v, peopleView{}, f) })
	}
	return v.seeOther("/people")
}
