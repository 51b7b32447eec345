package page

import (
	"bytes"
	"errors"
	"html/template"
	"net"
	"net/http"

	"edgegw/admin"
	"edgegw/card"
	"edgegw/sale"
	"edgegw/secret"
)

// visit is one request: who asks, in which language.
type visit struct {
	site   *Site
	w      http.ResponseWriter
	r      *http.Request
	lang   lang
	person *admin.Person // nil: nobody has logged in
	hidden secret.Text   // came with the form; no page shows it
}

// view is what every page gets beside its own content.
type view struct {
	Lang    lang
	Title   string
	At      string // the entry of the menu that this page belongs to
	Person  *admin.Person
	Status  *admin.Status // for the header; nil before the login
	Content any
	Version string
	Path    string
	Live    bool // parts of it change by themselves
	Refusal *admin.Refusal
	Once    bool // it shows a secret, this once: nothing in it may be altered
}

// entry is one of the menu.
type entry struct{ Name, To, Text string }

// Further are the entries that a phone has behind "More".
func (v view) Further() (all []entry) {
	all = append(all, entry{"commission", "/commissioning", v.Lang.text("Commissioning")})
	all = append(all, entry{"audit", "/audit", v.Lang.text("Audit trail")})
	if v.May() {
		all = append(all, entry{"doctor", "/doctor", v.Lang.text("Doctor")})
		all = append(all, entry{"support", "/support", v.Lang.text("Support bundle")})
	}
	if v.Owner() {
		all = append(all, entry{"backup", "/backup", v.Lang.text("Backup")})
		all = append(all, entry{"settings", "/settings", v.Lang.text("Settings")})
		all = append(all, entry{"people", "/people", v.Lang.text("People")})
	}
	return all
}

// May reports whether the person may change things.
func (v view) May() bool { return v.Person != nil && v.Person.Role != sale.RoleAuditor }

// Owner reports whether the person may do everything.
func (v view) Owner() bool { return v.Person != nil && v.Person.Role == sale.RoleOwner }

func (v *visit) t(text string, args ...any) string { return v.lang.text(text, args...) }

// by is the person behind a change, for the audit trail.
func (v *visit) by() string { return "person:" + v.person.Name }

// show renders a page, with the status that says the same as its refusal.
func (v *visit) show(name string, page view) error {
	status := http.StatusOK
	if page.Refusal != nil {
		status = admin.StatusOf(page.Refusal)
	}
	return v.showAs(status, name, page)
}

// showAs renders a page whole before it is sent: half a page with a status of 200
// would pass for a page.
func (v *visit) showAs(status int, name string, page view) error {
	page.Lang, page.Person, page.Version, page.Path = v.lang, v.person, v.site.Version, v.r.URL.Path
	if v.person != nil && page.Status == nil {
		st, err := v.site.Backend.Status(v.r.Context())
		if err != nil {
			return err
		}
		page.Status = &st
	}
	all, err := v.site.views()
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := all[v.lang][name].ExecuteTemplate(&out, "layout", page); err != nil {
		return err
	}
	text := v.hide(out.Bytes())
	if !page.Once && card.Seen(text) {
		text = []byte(card.Mask(string(text)))
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(status)
	_, _ = v.w.Write(text) // whoever asked is gone: nothing to tell him
	return nil
}

// hide takes the secret of a form out of a page, should a text of somebody else have
// quoted it.
func (v *visit) hide(text []byte) []byte {
	const least = 4 // shorter than any key, and so short that it would hit ordinary words
	s := string(v.hidden.Reveal())
	if len(s) < least {
		return text
	}
	return bytes.ReplaceAll(bytes.ReplaceAll(text, []byte(s), []byte(secret.Redacted)), []byte(template.HTMLEscapeString(s)), []byte(secret.Redacted))
}

// orAgain shows a form again with what a person can mend about it; other errors it
// gives back.
func orAgain(err error, again func(*admin.Refusal) error) error {
	if f := (*admin.Refusal)(nil); errors.As(err, &f) {
		return again(f)
	}
	return err
}

// fault shows what a person can mend, and logs what he cannot.
func (v *visit) fault(err error) {
	var refusal *admin.Refusal
	if errors.As(err, &refusal) {
		v.refuse(admin.StatusOf(refusal), refusal)
		return
	}
	v.site.Log.Error("a page could not be shown", "path", v.r.URL.Path, "cause", err)
	v.refuse(http.StatusInternalServerError, &admin.Refusal{Code: "internal", Message: "The gateway could not do that.", Remedy: "Try again. If it lasts, look into the gateway's log."})
}

func (v *visit) refuse(status int, f *admin.Refusal) {
	if err := v.showAs(status, "refusal", view{Title: v.t("Not done"), Refusal: f}); err != nil {
		v.site.Log.Error("a page could not be shown", "path", v.r.URL.Path, "cause", err)
		http.Error(v.w, f.Error(), status)
	}
}

// origin is where the browser is, and which one it says that it is.
func (v *visit) origin() sale.Origin {
	browser, system := browserOf(v.r.UserAgent())
	host, _, err := net.SplitHostPort(v.r.RemoteAddr)
	if err != nil {
		host = v.r.RemoteAddr
	}
	return sale.Origin{Address: host, Browser: browser, System: system}
}

// seeOther sends the browser on after a change, so that reloading does not repeat it.
func (v *visit) seeOther(to string) error {
	http.Redirect(v.w, v.r, to, http.StatusSeeOther)
	return nil
}
