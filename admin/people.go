package admin

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"edgegw/sale"
	"edgegw/secret"
)

// PeopleKeeper is what can be done with those who use the page. No token opens any
// of it.
type PeopleKeeper interface {
	People(ctx context.Context) ([]Person, error)
	// AddPerson adds somebody. Without a password a PIN is made.
	AddPerson(ctx context.Context, a AddPerson, by string) (AddedPerson, error)
	// RemovePerson ends somebody's access at once.
	RemovePerson(ctx context.Context, name, by string) error
	// SetPassword gives somebody another password, and logs him out everywhere.
	SetPassword(ctx context.Context, name string, password secret.Text, by string) error
	SessionKeeper
	// ResetClaim takes the site from its owners: everybody's access ends, and whoever
	// reads the new code may claim it.
	ResetClaim(ctx context.Context, by string) (ResetClaim, error)
}

// Person is somebody who may use the page.
type Person struct {
	Name      string    `json:"name"`
	Role      sale.Role `json:"role"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	LastSeen  time.Time `json:"last_seen,omitzero"` // of the last login
}

// AddPerson asks for somebody.
type AddPerson struct {
	Name     string
	Role     sale.Role
	Password secret.Text   // empty: a PIN is made; an owner has a password
	Lives    time.Duration // 0: without an end, of a PIN seven days
}

// AddedPerson is somebody who was just added.
type AddedPerson struct {
	Person
	PIN string `json:"pin,omitempty"` // its one showing
}

// Door lets people in to the page. What a person can mend is a *Refusal.
type Door interface {
	// Claimed reports whether the site has an owner.
	Claimed(ctx context.Context) (bool, error)
	// Claim makes the first owner, with the one-time code, and logs him in.
	Claim(ctx context.Context, code, name string, password secret.Text, from sale.Origin) (session string, err error)
	Login(ctx context.Context, name string, password secret.Text, from sale.Origin) (session string, err error)
	// Who is behind a session; a refusal with CodeSession where nobody is.
	Who(ctx context.Context, session string) (Person, error)
	Logout(ctx context.Context, session string) error
	// Own lists where the person behind a session is logged in, that one marked.
	Own(ctx context.Context, session string) ([]Session, error)
	// EndOwn ends a session of the person behind one, and nobody else's.
	EndOwn(ctx context.Context, session, id string) error
	// LogoutEverywhere ends all sessions of the person behind one.
	LogoutEverywhere(ctx context.Context, session string) error
}

// CodeSession is the code of a refusal where nobody has logged in.
const CodeSession = "session"

// Claim says how a site without an owner gets one.
type Claim struct {
	Claimed bool   `json:"claimed"`
	Code    string `json:"code,omitempty"` // over the socket only, and only while it is needed
}

// ResetClaim is a site that nobody owns any more.
type ResetClaim struct {
	Removed []string `json:"removed"`        // names of those whose access has ended
	Code    string   `json:"code,omitempty"` // claims it; "" where no gateway runs: each start makes its own
	Page    []string `json:"page"`           // URLs of the technicians' page
}

func (a api) resetClaim(w http.ResponseWriter, r *http.Request) {
	if f := query(r); f != nil {
		fail(w, f, secret.Text{})
		return
	}
	reset, err := a.b.ResetClaim(r.Context(), by(r))
	if err == nil {
		w.Header().Set("Cache-Control", "no-store")
	}
	reply(w, reset, err, secret.Text{})
}

// ResetClaim takes the site from its owners.
func (c *Client) ResetClaim(ctx context.Context, by string) (out ResetClaim, err error) {
	return out, c.do(ctx, http.MethodPost, "/claim/reset", nil, by, &out)
}

func (a api) people(w http.ResponseWriter, r *http.Request) {
	if f := query(r); f != nil {
		fail(w, f, secret.Text{})
		return
	}
	all, err := a.b.People(r.Context())
	replyList(w, all, err)
}

// personBody is what the client writes.
type personBody struct {
	Name     string    `json:"name"`
	Role     sale.Role `json:"role"`
	Password string    `json:"password,omitempty"`
	Seconds  int64     `json:"expires_seconds,omitempty"`
}

func (b *personBody) fields() []field {
	return []field{{"name", "a string", &b.Name}, {"role", "a string", &b.Role}, {"password", "a string", &b.Password}, {"expires_seconds", "a whole number", &b.Seconds}}
}

type passwordBody struct {
	Password string `json:"password"`
}

func (b *passwordBody) fields() []field { return []field{{"password", "a string", &b.Password}} }

func (a api) addPerson(w http.ResponseWriter, r *http.Request) {
	var b personBody
	f := query(r)
	if f == nil {
		f = readBody(r, b.fields()...)
	}
	if f == nil && (b.Seconds < 0 || b.Seconds > int64(longestLife/time.Second)) {
		f = invalid("a person's time ends after ten years at the most", "Give less.")
	}
	password := secret.FromString(b.Password)
	if f != nil {
		fail(w, f, password)
		return
	}
	added, err := a.b.AddPerson(r.Context(), AddPerson{Name: b.Name, Role: b.Role, Password: password, Lives: time.Duration(b.Seconds) * time.Second}, by(r))
	if err == nil {
		w.Header().Set("Cache-Control", "no-store")
	}
	reply(w, added, err, password)
}

const longestLife = 10 * 365 * 24 * time.Hour

func (a api) removePerson(w http.ResponseWriter, r *http.Request) {
	if f := query(r); f != nil {
		fail(w, f, secret.Text{})
		return
	}
	done(w, a.b.RemovePerson(r.Context(), r.PathValue("name"), by(r)), secret.Text{})
}

func (a api) setPassword(w http.ResponseWriter, r *http.Request) {
	var b passwordBody
	f := query(r)
	if f == nil {
		f = readBody(r, b.fields()...)
	}
	password := secret.FromString(b.Password)
	if f != nil {
		fail(w, f, password)
		return
	}
	done(w, a.b.SetPassword(r.Context(), r.PathValue("name"), password, by(r)), password)
}

// People lists those who may use the page.
func (c *Client) People(ctx context.Context) (out []Person, err error) {
	return out, c.do(ctx, http.MethodGet, "/people", nil, "", &out)
}

// AddPerson adds somebody.
func (c *Client) AddPerson(ctx context.Context, a AddPerson, by string) (out AddedPerson, err error) {
	body := personBody{a.Name, a.Role, string(a.Password.Reveal()), int64(a.Lives / time.Second)}
	return out, c.do(ctx, http.MethodPost, "/people", body, by, &out)
}

// RemovePerson removes somebody.
func (c *Client) RemovePerson(ctx context.Context, name, by string) error {
	return c.do(ctx, http.MethodDelete, "/people/"+url.PathEscape(name), nil, by, nil)
}

// SetPassword gives somebody another password.
func (c *Client) SetPassword(ctx context.Context, name string, password secret.Text, by string) error {
	return c.do(ctx, http.MethodPut, "/people/"+url.PathEscape(name)+"/password", passwordBody{string(password.Reveal())}, by, nil)
}
