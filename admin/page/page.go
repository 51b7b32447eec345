// Package page is what technicians see in a browser: the operations of admin.Backend
// as pages that work on a phone, without JavaScript and without the internet. It
// promises that everything a page needs comes with it, that no page shows a key or a
// card number, and that nothing is changed by anybody who has not logged in, has a
// lesser role, or was sent by another page. What may be done is admin's business, who
// may come in admin.Door's.
package page

import (
	"context"
	"embed"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"edgegw/admin"
	"edgegw/sale"
)

//go:embed templates static
var files embed.FS

// Options are what a page is made of.
type Options struct {
	Backend admin.Backend
	Door    admin.Door
	// Changed blocks until there may be something new to see, or ctx ends.
	Changed func(ctx context.Context) error
	Log     *slog.Logger
	CA      func() []byte // the site's, in PEM: public
	Version string
	Now     func() time.Time // the gateway's clock
}

// Site serves the pages.
type Site struct {
	Options
	views func() (map[lang]views, error) // read when the first page is shown: no device waits for them
	mux   *http.ServeMux
	walks walks
}

// need is who a page is for.
type need uint8

const (
	anybody need = iota // logged in or not
	reader              // every role
	worker              // owner and technician
	owner
)

// New builds the site. Its error is a fault of this package.
func New(o Options) (*Site, error) {
	return newSite(o, sync.OnceValues(func() (map[lang]views, error) { return parse(o.Now) }))
}

func newSite(o Options, all func() (map[lang]views, error)) (*Site, error) {
	s := &Site{Options: o, views: all, mux: http.NewServeMux()}
	static, err := fs.Sub(files, "static")
	if err != nil {
		return nil, err
	}
	s.mux.Handle("GET /static/", s.cached(http.StripPrefix("/static/", http.FileServerFS(static))))
	for pattern, rt := range s.routes() {
		s.mux.Handle(pattern, s.guard(rt))
	}
	return s, nil
}

// route is one page, or one thing to do.
type route struct {
	need   need
	handle func(*visit) error
}

// routes are all pages. A pattern that is not GET changes something.
func (s *Site) routes() map[string]route {
	return map[string]route{
		"GET /{$}":         {reader, s.overview},
		"GET /login":       {anybody, s.loginForm},
		"POST /login":      {anybody, s.login},
		"POST /logout":     {anybody, s.logout},
		"GET /claim":       {anybody, s.claimForm},
		"POST /claim":      {anybody, s.claim},
		"POST /language":   {anybody, s.language},
		"GET /live":        {reader, s.live},
		"GET /more":        {reader, s.more},
		"GET /site-ca.pem": {anybody, s.siteCA},

		"GET /devices":                 {reader, s.devices},
		"GET /devices/new":             {worker, s.newDevice},
		"POST /devices/new":            {worker, s.addDevice},
		"GET /devices/{id}":            {reader, s.device},
		"POST /devices/{id}/{act}":     {worker, s.actOnDevice},
		"GET /devices/{id}/{act}":      {worker, s.confirmAct},
		"GET /sales":                   {reader, s.sales},
		"GET /sales/{device}/{sale}":   {reader, s.sale},
		"GET /quarantine":              {reader, s.quarantine},
		"GET /quarantine/{id}":         {reader, s.quarantineItem},
		"POST /quarantine/{id}/decide": {worker, s.decide},
		"GET /commissioning":           {reader, s.commission},
		"POST /commissioning/begin":    {worker, s.beginWalk},
		"GET /audit":                   {reader, s.audit},
		"GET /support":                 {worker, s.support},
		"POST /support/bundle":         {worker, s.supportBundle},
		"GET /export":                  {reader, s.export},
		"GET /doctor":                  {worker, s.doctorForm},
		"POST /doctor":                 {worker, s.examine},
		"GET /backup":                  {owner, s.backupForm},
		"POST /backup/file":            {owner, s.backupFile},
		"GET /settings":                {owner, s.settings},
		"GET /settings/change":         {owner, s.changeSection},
		"GET /settings/preview":        {owner, s.previewSettings},
		"GET /settings/history":        {owner, s.settingsHistory},
		"POST /settings/apply":         {owner, s.applySettings},
		"POST /settings/confirm":       {owner, s.confirmSettings},
		"POST /settings/undo":          {owner, s.undoSettings},
		"GET /account":                 {reader, s.account},
		"POST /account/end":            {reader, s.endOwn},
		"POST /account/logout":         {reader, s.logoutEverywhere},
		"GET /people":                  {owner, s.people},
		"POST /people/add":             {owner, s.addPerson},
		"POST /people/remove":          {owner, s.removePerson},
		"POST /people/end":             {owner, s.endSession},
		"POST /people/logout":          {owner, s.logoutPerson},
		"/":                            {anybody, s.notFound},
	}
}

// Changes are the patterns of the routes that change something, for whoever tries
// all of them.
func Changes() (all []string) {
	for pattern := range (&Site{}).routes() {
		if method, _, ok := strings.Cut(pattern, " "); ok && method != http.MethodGet {
			all = append(all, pattern)
		}
	}
	slices.Sort(all)
	return all
}

// ServeHTTP serves one request.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	// Everything comes from this box: a text from outside that got into a page
	// unquoted could load and send nothing.
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if !strings.HasPrefix(r.URL.Path, "/static/") {
		h.Set("Cache-Control", "no-store")
	}
	s.mux.ServeHTTP(w, r)
}

// cached lets browsers keep what comes with the binary: its address has the version.
func (s *Site) cached(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=86400")
		h.ServeHTTP(w, r)
	})
}

// guard lets in who may see a page, sends others to the login, and shows what went
// wrong.
func (s *Site) guard(rt route) http.Handler {
	other := http.NewCrossOriginProtection()
	show := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := &visit{site: s, w: w, r: r, lang: langOf(r)}
		if !s.admit(v, rt.need) {
			return
		}
		if err := rt.handle(v); err != nil {
			v.fault(err)
		}
	})
	other.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := &visit{site: s, w: w, r: r, lang: langOf(r)}
		v.refuse(http.StatusForbidden, &admin.Refusal{Code: admin.CodeCrossOrigin, Message: "Another page has sent your browser here.", Remedy: "Nothing was changed. Open this page by itself and try again."})
	}))
	return other.Handler(show)
}

// admit finds out who is there.
func (s *Site) admit(v *visit, n need) bool {
	var refusal *admin.Refusal
	p, err := s.Door.Who(v.r.Context(), sessionOf(v.r))
	switch {
	case err == nil:
		v.person = &p
	case !errors.As(err, &refusal):
		v.fault(err)
		return false
	}
	switch {
	case n == anybody:
		return true
	case v.person == nil:
		s.sendToLogin(v)
		return false
	case n == worker && p.Role == sale.RoleAuditor, n == owner && p.Role != sale.RoleOwner:
		v.refuse(http.StatusForbidden, &admin.Refusal{Code: "role", Message: "Your role does not allow that.", Remedy: "Ask the owner of this site."})
		return false
	}
	return true
}

// sendToLogin sends a stranger to the login, or to the claim of a new site. Where he
// wanted to change something, that is not done afterwards.
func (s *Site) sendToLogin(v *visit) {
	to := "/login"
	if claimed, err := s.Door.Claimed(v.r.Context()); err == nil && !claimed {
		to = "/claim"
	}
	if v.r.URL.Path == "/live" {
		v.w.WriteHeader(http.StatusUnauthorized)
		return
	}
	http.Redirect(v.w, v.r, to, http.StatusSeeOther)
}

// siteCA gives what phones and devices must trust.
func (s *Site) siteCA(v *visit) error {
	v.w.Header().Set("Content-Type", "application/x-pem-file")
	v.w.Header().Set("Content-Disposition", `attachment; filename="site-ca.pem"`)
	_, _ = v.w.Write(s.CA()) // whoever asked is gone: nothing to tell him
	return nil
}

func (s *Site) notFound(v *visit) error {
	return &admin.Refusal{Code: "not_found", Message: "There is no such page.", Remedy: "Go to the overview."}
}

// maxForm bounds a form that is sent.
const maxForm = 256 << 10

// form reads a sent form.
func (v *visit) form() error {
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
	if err := v.r.ParseForm(); err != nil {
		_, _ = io.Copy(io.Discard, v.r.Body)
		return &admin.Refusal{Code: "invalid", Message: "The form could not be read.", Remedy: "Send it again."}
	}
	return nil
}

// field gives a field of the form, without the spaces that phones add.
func (v *visit) field(name string) string { return strings.TrimSpace(v.r.PostForm.Get(name)) }
