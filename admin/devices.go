package admin

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"edgegw/sale"
	"edgegw/secret"
)

// Identities is what can be done with how devices prove who they are. Each ends
// the device's connection at once where what it logged in with has ended.
type Identities interface {
	DisableDevice(ctx context.Context, id sale.DeviceID, by string) error
	EnableDevice(ctx context.Context, id sale.DeviceID, by string) error
	// RenewPassword gives a device a new secret.
	RenewPassword(ctx context.Context, id sale.DeviceID, by string) (Credentials, error)
	// ReplaceDevice is for new hardware in an old place: everything that the old
	// one logged in with ends; register, queue, numbering and history go on. With
	// cert it gets a certificate and no secret.
	ReplaceDevice(ctx context.Context, id sale.DeviceID, cert bool, by string) (Credentials, error)
	// IssueCertificate makes one more certificate for a device.
	IssueCertificate(ctx context.Context, id sale.DeviceID, by string) (Credentials, error)
	// RevokeCertificate ends one, or with an empty serial all of a device.
	RevokeCertificate(ctx context.Context, id sale.DeviceID, serial, by string) error
}

// ClientCertificate is a certificate with its key, this once: the gateway does
// not keep the key.
type ClientCertificate struct {
	Serial   string    `json:"serial"`
	NotAfter time.Time `json:"not_after"`
	PEM      string    `json:"certificate"`
	Key      string    `json:"private_key"`
	CA       string    `json:"ca"` // of the site
}

// CertificateInfo is what may be shown of a certificate later.
type CertificateInfo struct {
	Serial    string    `json:"serial"`
	State     string    `json:"state" enum:"valid,revoked"`
	IssuedAt  time.Time `json:"issued_at"`
	NotAfter  time.Time `json:"not_after"`
	RevokedAt time.Time `json:"revoked_at,omitzero"`
}

type replaceBody struct {
	Cert bool `json:"certificate"`
}

func (b *replaceBody) fields() []field {
	return []field{{"certificate", "true or false", &b.Cert}}
}

// revokeBody names a certificate; none is all of the device.
type revokeBody struct {
	Serial string `json:"serial"`
}

func (b *revokeBody) fields() []field { return []field{{"serial", "a string", &b.Serial}} }

func (a api) deviceAct(act func(context.Context, sale.DeviceID, string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, f := deviceID(r)
		if f != nil {
			fail(w, f, secret.Text{})
			return
		}
		done(w, act(r.Context(), id, by(r)), secret.Text{})
	}
}

// credentials answers with what is shown once: no cache on the way may keep it.
func (a api) credentials(w http.ResponseWriter, c Credentials, err error) {
	if err == nil {
		w.Header().Set("Cache-Control", "no-store")
	}
	reply(w, c, err, secret.Text{})
}

func (a api) renewPassword(w http.ResponseWriter, r *http.Request) {
	id, f := deviceID(r)
	if f != nil {
		fail(w, f, secret.Text{})
		return
	}
	c, err := a.b.RenewPassword(r.Context(), id, by(r))
	a.credentials(w, c, err)
}

func (a api) replaceDevice(w http.ResponseWriter, r *http.Request) {
	id, f := deviceID(r)
	var b replaceBody
	if f == nil {
		f = readBody(r, b.fields()...)
	}
	if f != nil {
		fail(w, f, secret.Text{})
		return
	}
	c, err := a.b.ReplaceDevice(r.Context(), id, b.Cert, by(r))
	a.credentials(w, c, err)
}

func (a api) issueCertificate(w http.ResponseWriter, r *http.Request) {
	id, f := deviceID(r)
	if f != nil {
		fail(w, f, secret.Text{})
		return
	}
	c, err := a.b.IssueCertificate(r.Context(), id, by(r))
	a.credentials(w, c, err)
}

func (a api) revokeCertificate(w http.ResponseWriter, r *http.Request) {
	id, f := deviceID(r)
	var b revokeBody
	if f == nil {
		f = readBody(r, b.fields()...)
	}
	if f == nil && len(b.Serial) > 40 {
		f = invalid("serial is no serial number", "See them: edgegw device show ID")
	}
	if f != nil {
		fail(w, f, secret.Text{})
		return
	}
	done(w, a.b.RevokeCertificate(r.Context(), id, b.Serial, by(r)), secret.Text{})
}

func devicePath(id sale.DeviceID, what string) string {
	return "/devices/" + url.PathEscape(string(id)) + "/" + what
}

// DisableDevice refuses a device until EnableDevice.
func (c *Client) DisableDevice(ctx context.Context, id sale.DeviceID, by string) error {
	return c.do(ctx, http.MethodPost, devicePath(id, "disable"), nil, by, nil)
}

// EnableDevice ends DisableDevice.
func (c *Client) EnableDevice(ctx context.Context, id sale.DeviceID, by string) error {
	return c.do(ctx, http.MethodPost, devicePath(id, "enable"), nil, by, nil)
}

// RenewPassword gives a device a new secret.
func (c *Client) RenewPassword(ctx context.Context, id sale.DeviceID, by string) (out Credentials, err error) {
	return out, c.do(ctx, http.MethodPost, devicePath(id, "password"), nil, by, &out)
}

// ReplaceDevice gives new hardware the place of a device.
func (c *Client) ReplaceDevice(ctx context.Context, id sale.DeviceID, cert bool, by string) (out Credentials, err error) {
	return out, c.do(ctx, http.MethodPost, devicePath(id, "replace"), replaceBody{cert}, by, &out)
}

// IssueCertificate makes a certificate for a device.
func (c *Client) IssueCertificate(ctx context.Context, id sale.DeviceID, by string) (out Credentials, err error) {
	return out, c.do(ctx, http.MethodPost, devicePath(id, "certificate"), nil, by, &out)
}

// RevokeCertificate ends certificates of a device.
func (c *Client) RevokeCertificate(ctx context.Context, id sale.DeviceID, serial, by string) error {
	return c.do(ctx, http.MethodPost, devicePath(id, "revoke"), revokeBody{serial}, by, nil)
}
