package admin

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"edgegw/sale"
	"edgegw/secret"
)

// SessionKeeper is what can be done with the logins of those who use the page. No
// token opens any of it.
type SessionKeeper interface {
	// Sessions lists who is logged in, the last used first.
	Sessions(ctx context.Context) ([]Session, error)
	// EndSession logs one browser out.
	EndSession(ctx context.Context, id, by string) error
	// EndSessions logs somebody out everywhere.
	EndSessions(ctx context.Context, name, by string) (EndedSessions, error)
}

// Session is a browser in which somebody has logged in.
type Session struct {
	ID        string    `json:"session_id"` // names it among people, and opens nothing
	Name      string    `json:"name"`
	Role      sale.Role `json:"role"`
	CreatedAt time.Time `json:"created_at"`
	LastSeen  time.Time `json:"last_seen"` // to the hour
	Address   string    `json:"address"`   // at the login
	Browser   string    `json:"browser"`   // by its own word, such as Firefox; "" where it is not known
	System    string    `json:"system"`    // such as Android
	Current   bool      `json:"-"`         // whoever asks uses it
}

// EndedSessions says out of how many browsers somebody was logged out.
type EndedSessions struct {
	Name  string `json:"name"`
	Ended int    `json:"ended"`
}

func (a api) sessions(w http.ResponseWriter, r *http.Request) {
	if f := query(r); f != nil {
		fail(w, f, secret.Text{})
		return
	}
	all, err := a.b.Sessions(r.Context())
	replyList(w, all, err)
}

func (a api) endSession(w http.ResponseWriter, r *http.Request) {
	if f := query(r); f != nil {
		fail(w, f, secret.Text{})
		return
	}
	done(w, a.b.EndSession(r.Context(), r.PathValue("session"), by(r)), secret.Text{})
}

func (a api) endSessions(w http.ResponseWriter, r *http.Request) {
	if f := query(r); f != nil {
		fail(w, f, secret.Text{})
		return
	}
	ended, err := a.b.EndSessions(r.Context(), r.PathValue("name"), by(r))
	reply(w, ended, err, secret.Text{})
}

// Sessions lists who is logged in.
func (c *Client) Sessions(ctx context.Context) (out []Session, err error) {
	return out, c.do(ctx, http.MethodGet, "/sessions", nil, "", &out)
}

// EndSession logs one browser out.
func (c *Client) EndSession(ctx context.Context, id, by string) error {
	return c.do(ctx, http.MethodDelete, "/sessions/"+url.PathEscape(id), nil, by, nil)
}

// EndSessions logs somebody out everywhere.
func (c *Client) EndSessions(ctx context.Context, name, by string) (out EndedSessions, err error) {
	return out, c.do(ctx, http.MethodDelete, "/people/"+url.PathEscape(name)+"/sessions", nil, by, &out)
}
