package fiscal

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"

	"edgegw/sale"
	"edgegw/secret"
)

// Platform is a platform key with the organization that it acts for, given for
// one run and never stored.
type Platform struct {
	Key          secret.Text
	Organization string // org_…
}

// RotateKey asks OpenFiskal for a new key of a register; the one before is dead
// from then on. It makes one request and never a second: the new key is given
// once, so a request whose answer was lost must be known as such. The error is a
// *sale.Problem; after Lost nobody knows which key is the right one.
func (c *Client) RotateKey(ctx context.Context, r sale.RegisterID, p Platform) (secret.Text, error) {
	return c.newKey(ctx, r, p, request{purpose: "rotate", method: http.MethodPost, path: rotatePath(r)})
}

// IssueKey makes a fiscal unit of a register, and with it the register's first
// key. What is said of RotateKey holds. The unit may take a while to become
// active; Probe gives ErrNoUnit until then.
func (c *Client) IssueKey(ctx context.Context, r sale.RegisterID, p Platform) (secret.Text, error) {
	return c.newKey(ctx, r, p, request{purpose: "issue", method: http.MethodPost, path: unitsPath(r), body: []byte(`{"issue_register_credential":true}`)})
}

// Lost reports whether a problem of RotateKey or IssueKey leaves open whether
// OpenFiskal made a key.
func Lost(p *sale.Problem) bool { return p.Class == sale.InDoubt || p.Class == sale.Transient }

func (c *Client) newKey(ctx context.Context, register sale.RegisterID, p Platform, q request) (secret.Text, error) {
	switch {
	case !register.Valid():
		return secret.Text{}, &sale.Problem{Class: sale.RegisterUnknown, Code: "bad_register", Detail: "this cannot be a register id"}
	case p.Key.Empty() || p.Organization == "":
		return secret.Text{}, &sale.Problem{Class: sale.KeyRefused, Code: "no_key", Detail: "there is no platform key, or no organization that it acts for"}
	}
	r, problem := c.exchange(ctx, credential{p.Key, p.Organization}, q)
	if problem != nil {
		return secret.Text{}, problem
	}
	defer clear(r.body)
	key, fault := secret.Text{}, r.fault()
	if fault == "" && r.status/100 == 2 {
		if key = newKeyIn(r.body, register); key.Empty() {
			fault = codeUnreadable
		}
	}
	if problem := classify(r, purpose{probe: true}, fault); problem != nil {
		problem.Body = nil // a key may stand in half of it
		return secret.Text{}, problem
	}
	return key, nil
}

// newKeyIn finds the new key in an answer about this register. Both forms have
// it at the top level (OPENFISKAL.md section 7); the register's id stands beside
// it or inside.
func newKeyIn(body []byte, register sale.RegisterID) secret.Text {
	var v struct {
		RegisterID sale.RegisterID `json:"register_id"`
		Register   struct {
			ID sale.RegisterID `json:"id"`
		} `json:"register"`
		Key json.RawMessage `json:"register_api_key"`
	}
	if json.Unmarshal(body, &v) != nil || v.RegisterID != register && v.Register.ID != register {
		return secret.Text{}
	}
	defer clear(v.Key)
	text := bytes.TrimSuffix(bytes.TrimPrefix(v.Key, []byte(`"`)), []byte(`"`))
	if len(text) != len(v.Key)-2 || bytes.ContainsRune(text, '\\') || !validKey(text) {
		return secret.Text{}
	}
	return secret.New(bytes.Clone(text))
}

// registerView is what an answer says of a register.
type registerView struct {
	ID   sale.RegisterID `json:"id"`
	Unit json.RawMessage `json:"active_fiscal_unit"`
}

// register reads the body as a register; the zero view where it is none.
func (r reply) register() (v registerView) {
	if r.status/100 != 2 || json.Unmarshal(r.body, &v) != nil {
		return registerView{}
	}
	return v
}

// withoutUnit reports whether the answer says that no fiscal unit is active. One
// that says nothing of it says nothing against it.
func (v registerView) withoutUnit() bool {
	if len(v.Unit) == 0 {
		return false
	}
	var unit struct {
		State string `json:"state"`
	}
	_ = json.Unmarshal(v.Unit, &unit) // of another form: an id
	return string(v.Unit) == "null" || unit.State != "" && unit.State != "active"
}
