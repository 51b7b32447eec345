package page

import (
	"net/http"

	"edgegw/admin"
	"edgegw/secret"
)

// cookie holds the session. The prefix keeps other pages and plain HTTP from setting
// it; browsers take it over TLS only.
func cookieName(r *http.Request) string {
	if r.TLS != nil {
		return "__Host-edgegw"
	}
	return "edgegw"
}

func sessionOf(r *http.Request) string {
	c, err := r.Cookie(cookieName(r))
	if err != nil {
		return ""
	}
	return c.Value
}

func setSession(w http.ResponseWriter, r *http.Request, session string) {
	c := &http.Cookie{Name: cookieName(r), Value: session, Path: "/", HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode}
	if session == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

type loginView struct{ Name string }

func (s *Site) loginForm(v *visit) error {
	claimed, err := s.Door.Claimed(v.r.Context())
	switch {
	case err != nil:
		return err
	case !claimed:
		return v.seeOther("/claim")
	case v.person != nil:
		return v.seeOther("/")
	}
	return v.show("login", view{Title: v.t("Log in"), Content: loginView{}})
}

func (s *Site) login(v *visit) error {
	if err := v.form(); err != nil {
		return err
	}
	name := v.field("name")
	session, err := s.Door.Login(v.r.Context(), name, secret.FromString(v.r.PostForm.Get("password")), v.origin())
	if err != nil {
		return orAgain(err, func(f *admin.Refusal) error {
			return v.show("login", view{Title: v.t("Log in"), Content: loginView{name}, Refusal: f})
		})
	}
	setSession(v.w, v.r, session)
	return v.seeOther("/")
}

func (s *Site) logout(v *visit) error {
	if v.person != nil {
		if err := s.Door.Logout(v.r.Context(), sessionOf(v.r)); err != nil {
			return err
		}
	}
	setSession(v.w, v.r, "")
	return v.seeOther("/login")
}

func (s *Site) claimForm(v *visit) error {
	claimed, err := s.Door.Claimed(v.r.Context())
	if err != nil {
		return err
	}
	if claimed {
		return v.seeOther("/login")
	}
	return v.show("claim", view{Title: v.t("Claim this gateway"), Content: loginView{}})
}

func (s *Site) claim(v *visit) error {
	if err := v.form(); err != nil {
		return err
	}
	name := v.field("name")
	again := func(f *admin.Refusal) error {
		return v.show("claim", view{Title: v.t("Claim this gateway"), Content: loginView{name}, Refusal: f})
	}
	if v.r.PostForm.Get("password") != v.r.PostForm.Get("again") {
		return again(&admin.Refusal{Code: "invalid", Message: "The two passwords differ.", Remedy: "Type the same one twice."})
	}
	session, err := s.Door.Claim(v.r.Context(), v.field("code"), name, secret.FromString(v.r.PostForm.Get("password")), v.origin())
	if err != nil {
		return orAgain(err, again)
	}
	setSession(v.w, v.r, session)
	return v.seeOther("/")
}
