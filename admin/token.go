package admin

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"edgegw/sale"
	"edgegw/secret"
)

// TokenKeeper is what can be done with the tokens of programs that use the API
// over a network. No token opens any of it: one that was stolen must not make
// others.
type TokenKeeper interface {
	AddToken(ctx context.Context, n NewToken, by string) (MadeToken, error)
	Tokens(ctx context.Context) ([]Token, error)
	// RemoveToken ends a token at once.
	RemoveToken(ctx context.Context, id, by string) error
}

// NewToken asks for a token.
type NewToken struct {
	Name    string     `json:"name"`
	Scope   sale.Scope `json:"scope"`
	Seconds int64      `json:"expires_seconds,omitempty"` // from now; 0: never
}

func (n *NewToken) fields() []field {
	return []field{{"name", "a string", &n.Name}, {"scope", "a string", &n.Scope}, {"expires_seconds", "a whole number", &n.Seconds}}
}

// Token is a token as technicians see it.
type Token struct {
	ID        string     `json:"token_id"`
	Name      string     `json:"name"`
	Scope     sale.Scope `json:"scope"`
	State     string     `json:"state" enum:"valid,expired"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt time.Time  `json:"expires_at,omitzero"`
	UsedAt    time.Time  `json:"used_at,omitzero"` // to the hour
}

// MadeToken is a token that was just made: its one showing.
type MadeToken struct {
	Token
	Secret string `json:"token"`
	URL    string `json:"url,omitempty"` // of the API, as this machine can use it
	CAFile string `json:"ca_file,omitempty"`
	Notice string `json:"notice,omitempty"`
}

func (a api) tokens(w http.ResponseWriter, r *http.Request) {
	if f := query(r); f != nil {
		fail(w, f, secret.Text{})
		return
	}
	all, err := a.b.Tokens(r.Context())
	replyList(w, all, err)
}

func (a api) addToken(w http.ResponseWriter, r *http.Request) {
	var n NewToken
	f := query(r)
	if f == nil {
		f = readBody(r, n.fields()...)
	}
	if f != nil {
		fail(w, f, secret.Text{})
		return
	}
	made, err := a.b.AddToken(r.Context(), n, by(r))
	if err == nil {
		w.Header().Set("Cache-Control", "no-store")
	}
	reply(w, made, err, secret.Text{})
}

func (a api) removeToken(w http.ResponseWriter, r *http.Request) {
	f := query(r)
	id := r.PathValue("token")
	if f == nil && !tokenID(id) {
		f = noToken()
	}
	if f != nil {
		fail(w, f, secret.Text{})
		return
	}
	done(w, a.b.RemoveToken(r.Context(), id, by(r)), secret.Text{})
}

// tokenID keeps out of an address what is not an id: a whole token that was given
// as one.
func tokenID(id string) bool {
	return id != "" && len(id) <= 16 && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

func noToken() *Refusal {
	return &Refusal{Code: "not_found", Message: "there is no such token", Remedy: "List them, with their ids: edgegw token list"}
}

// AddToken makes a token; it is in no later answer.
func (c *Client) AddToken(ctx context.Context, n NewToken, by string) (out MadeToken, err error) {
	return out, c.do(ctx, http.MethodPost, "/tokens", n, by, &out)
}

// Tokens lists all tokens.
func (c *Client) Tokens(ctx context.Context) (out []Token, err error) {
	return out, c.do(ctx, http.MethodGet, "/tokens", nil, "", &out)
}

// RemoveToken ends one.
func (c *Client) RemoveToken(ctx context.Context, id, by string) error {
	if !tokenID(id) {
		return noToken()
	}
	return c.do(ctx, http.MethodDelete, "/tokens/"+url.PathEscape(id), nil, by, nil)
}
