package admin

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"edgegw/doctor"
	"edgegw/secret"
)

// Check is one thing that the doctor looked at.
type Check = doctor.Check

// Physician looks at everything that a site needs.
type Physician interface {
	// Doctor gives every check, those that failed first. asker is the version of
	// the program that asks, "" where that does not matter. It takes no longer than
	// half a minute, whatever is broken.
	Doctor(ctx context.Context, asker string) ([]Check, error)
}

func (a api) doctor(w http.ResponseWriter, r *http.Request) {
	f := query(r, "version")
	asker := r.URL.Query().Get("version")
	if f == nil && !versionWord(asker) {
		f = invalid("version is not the version of a program", "Leave it out.")
	}
	if f != nil {
		fail(w, f, secret.Text{})
		return
	}
	all, err := a.b.Doctor(r.Context(), asker)
	reply(w, all, err, secret.Text{})
}

// versionWord keeps out of an answer what is no version: a key that was given as
// one.
func versionWord(s string) bool {
	return len(s) <= 40 && !strings.Contains(s, "_") && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.+-") == ""
}

// Doctor asks the gateway to look at everything.
func (c *Client) Doctor(ctx context.Context, asker string) (all []Check, err error) {
	path := "/doctor"
	if asker != "" && versionWord(asker) {
		path += "?" + url.Values{"version": {asker}}.Encode()
	}
	return all, c.do(ctx, http.MethodGet, path, nil, "", &all)
}
