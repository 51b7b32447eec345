package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"edgegw/sale"
	"edgegw/secret"
	"edgegw/wording"
)

// Keys is what can be done with register keys beside entering one.
type Keys interface {
	// RequestKey asks OpenFiskal to make a key, with a platform key that is used
	// for this one request and not kept.
	RequestKey(ctx context.Context, q KeyRequest, by string) (KeyResult, error)
	// CheckKey asks OpenFiskal, read-only, about each key that is stored.
	CheckKey(ctx context.Context, of KeyOf) ([]KeyCheck, error)
	// ForRotation lists every key on this box: what must be rotated when it was
	// stolen.
	ForRotation(ctx context.Context) ([]KeyToRotate, error)
	// SetPlatformKey stores the site's platform key: the server-side topology.
	SetPlatformKey(ctx context.Context, key secret.Text, by string) (KeyResult, error)
	// ForgetPlatformKey removes it from the box.
	ForgetPlatformKey(ctx context.Context, by string) error
	// Recipient is what bundles for this box are encrypted to; anew makes another,
	// which opens no earlier bundle.
	Recipient(ctx context.Context, anew bool, by string) (string, error)
	// Import adds and changes devices and keys, row by row, and tells each as
	// soon as it is done. Its error is of the file as a whole: then no row counts.
	Import(ctx context.Context, file []byte, by string, each func(ImportRow)) error
}

// KeyOf names a register by one of its devices, or by itself.
type KeyOf struct {
	DeviceID   sale.DeviceID
	RegisterID sale.RegisterID
}

// KeyRequest asks for a new key.
type KeyRequest struct {
	KeyOf
	Kind         sale.KeyRequestKind
	PlatformKey  secret.Text
	Organization string // org_…; "" is the configured one
	NewKEK       bool   // the key before was sealed with a key-encryption key that is lost for good
}

// KeyCheck is what OpenFiskal says of one stored key.
type KeyCheck struct {
	RegisterID sale.RegisterID `json:"register_id"`
	Version    int64           `json:"version"`
	State      string          `json:"state"` // of the stored key: active, unverified, pending or refused
	KeyHint    string          `json:"key_hint,omitempty"`
	Verdict    string          `json:"verdict"` // accepted, refused, no_fiscal_unit, unknown or sealed
	Detail     string          `json:"detail,omitempty"`

	Words wording.Sentence `json:"-"` // what Detail is made of
}

// KeyToRotate is a register with a key on this box, also one that no device has
// any more. The platform key of a site has the register id "@platform".
type KeyToRotate struct {
	RegisterID sale.RegisterID `json:"register_id"`
	DeviceIDs  []sale.DeviceID `json:"device_ids"`
	Labels     []string        `json:"labels"`
	Key        string          `json:"key"` // active, unverified, pending or refused
	KeyHint    string          `json:"key_hint,omitempty"`
	AddedAt    time.Time       `json:"added_at"`
	Waiting    int64           `json:"waiting"` // sales, on this box only
}

// ImportRow says what became of one row.
type ImportRow struct {
	Line       int             `json:"line"`
	DeviceID   sale.DeviceID   `json:"device_id"`
	RegisterID sale.RegisterID `json:"register_id"`
	Result     string          `json:"result" enum:"added,key_changed,updated,unchanged,failed"`
	Key        string          `json:"key,omitempty"`    // as in Credentials
	Detail     string          `json:"detail,omitempty"` // why it failed, or what to know
	Username   string          `json:"username,omitempty"`
	Password   string          `json:"password,omitempty"` // of a device that was added: its one showing
	MQTTURL    string          `json:"mqtt_url,omitempty"`
	CAFile     string          `json:"ca_file,omitempty"`
}

// Results of a row.
const (
	RowAdded      = "added"
	RowKeyChanged = "key_changed"
	RowUpdated    = "updated" // its label or kind
	RowUnchanged  = "unchanged"
	RowFailed     = "failed"
)

// platformBody brings a platform key for one request.
type platformBody struct {
	Key          string `json:"platform_key"`
	Organization string `json:"organization,omitempty"`
	NewKEK       bool   `json:"new_kek,omitempty"`
}

func (b *platformBody) fields() []field {
	return []field{{"platform_key", "a string", &b.Key}, {"organization", "a string", &b.Organization}, {"new_kek", "true or false", &b.NewKEK}}
}

// platformKeyBody brings the one that the site keeps.
type platformKeyBody struct {
	Key string `json:"platform_key"`
}

func (b *platformKeyBody) fields() []field { return []field{{"platform_key", "a string", &b.Key}} }

func (a api) keyOf(r *http.Request) (KeyOf, *Refusal) {
	if f := query(r); f != nil {
		return KeyOf{}, f
	}
	if d := sale.DeviceID(r.PathValue("device")); d != "" {
		if !d.Valid() {
			return KeyOf{}, noDevice()
		}
		return KeyOf{DeviceID: d}, nil
	}
	id := sale.RegisterID(r.PathValue("register"))
	if !ValidRegister(id) {
		return KeyOf{}, noRegister()
	}
	return KeyOf{RegisterID: id}, nil
}

func (a api) requestKey(kind sale.KeyRequestKind) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		of, f := a.keyOf(r)
		q := KeyRequest{KeyOf: of, Kind: kind}
		var b platformBody
		if f == nil {
			f = readBody(r, b.fields()...)
		}
		if f == nil && b.Key == "" {
			f = invalid("platform_key is missing or empty", "Send the platform key; it is used once and not kept.")
		}
		q.PlatformKey, q.Organization, q.NewKEK = secret.FromString(b.Key), b.Organization, b.NewKEK
		if f != nil {
			fail(w, f, q.PlatformKey)
			return
		}
		result, err := a.b.RequestKey(r.Context(), q, by(r))
		reply(w, result, err, q.PlatformKey)
	}
}

func (a api) checkKey(w http.ResponseWriter, r *http.Request) {
	of, f := a.keyOf(r)
	if f != nil {
		fail(w, f, secret.Text{})
		return
	}
	all, err := a.b.CheckKey(r.Context(), of)
	replyList(w, all, err)
}

func (a api) setPlatformKey(w http.ResponseWriter, r *http.Request) {
	var b platformKeyBody
	f := query(r)
	if f == nil {
		f = readBody(r, b.fields()...)
	}
	if f == nil && b.Key == "" {
		f = invalid("platform_key is missing or empty", "Send the platform key.")
	}
	key := secret.FromString(b.Key)
	if f != nil {
		fail(w, f, key)
		return
	}
	result, err := a.b.SetPlatformKey(r.Context(), key, by(r))
	reply(w, result, err, key)
}

func (a api) forgetPlatformKey(w http.ResponseWriter, r *http.Request) {
	if f := query(r); f != nil {
		fail(w, f, secret.Text{})
		return
	}
	done(w, a.b.ForgetPlatformKey(r.Context(), by(r)), secret.Text{})
}

func (a api) forRotation(w http.ResponseWriter, r *http.Request) {
	if f := query(r); f != nil {
		fail(w, f, secret.Text{})
		return
	}
	all, err := a.b.ForRotation(r.Context())
	replyList(w, all, err)
}

type recipientBody struct {
	Recipient string `json:"recipient"`
}

// recipientAsk may want another one.
type recipientAsk struct {
	New bool `json:"new"`
}

func (b *recipientAsk) fields() []field { return []field{{"new", "true or false", &b.New}} }

func (a api) recipient(w http.ResponseWriter, r *http.Request) {
	var b recipientAsk
	f := query(r)
	if f == nil && r.ContentLength != 0 {
		f = readBody(r, b.fields()...)
	}
	if f != nil {
		fail(w, f, secret.Text{})
		return
	}
	to, err := a.b.Recipient(r.Context(), b.New, by(r))
	reply(w, recipientBody{to}, err, secret.Text{})
}

// importTypes are the media types of a file; what it is is seen in it.
var importTypes = []string{"text/csv", "application/octet-stream", "application/age-encryption"}

// importFile answers one JSON object per line, as rows are done.
func (a api) importFile(w http.ResponseWriter, r *http.Request) {
	f := query(r)
	if f == nil {
		f = &Refusal{Code: "media_type", Message: "the body must be the file itself", Remedy: "Send Content-Type: text/csv, or application/octet-stream for a bundle."}
		for _, t := range importTypes {
			if mediaType(r.Header.Get("Content-Type")) == t {
				f = nil
			}
		}
	}
	if f != nil {
		fail(w, f, secret.Text{})
		return
	}
	file, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	defer clear(file)
	switch {
	case err != nil:
		fail(w, invalid("the file could not be read to its end", "Send it again."), secret.Text{})
		return
	case len(file) > maxBody:
		fail(w, &Refusal{Code: "too_large", Message: "the file is longer than 1 MiB", Remedy: "Split it."}, secret.Text{})
		return
	}
	rows := &rowWriter{w: w}
	if err := a.b.Import(r.Context(), file, by(r), rows.write); err != nil {
		rows.end(err)
	}
}

// rowLimit bounds how long whoever asked may take to read a row.
const rowLimit = time.Minute

// rowWriter sends each row at once: should the line break, what was done so
// far has been said.
type rowWriter struct {
	w     http.ResponseWriter
	begun bool
}

func (s *rowWriter) write(row ImportRow) {
	if !s.begun {
		s.begun = true
		s.w.Header().Set("Content-Type", "application/x-ndjson")
		s.w.Header().Set("Cache-Control", "no-store") // device secrets are in it
		s.w.WriteHeader(http.StatusOK)
	}
	line, err := json.Marshal(row)
	if err != nil {
		return // a struct of strings always has a JSON form
	}
	to := http.NewResponseController(s.w)
	_ = to.SetWriteDeadline(time.Now().Add(rowLimit)) // a server's own limit is for a whole answer, and there may be thousands of rows
	_, _ = s.w.Write(append(line, '\n'))              // whoever asked is gone: the rows go on, and the next import says what is there
	_ = to.Flush()
}

// end tells an error: before the first row as the answer, later as a line.
func (s *rowWriter) end(err error) {
	if !s.begun {
		fail(s.w, err, secret.Text{})
		return
	}
	s.write(ImportRow{Result: RowFailed, Detail: err.Error()})
}

// path gives where the register's key is reached.
func (of KeyOf) path() (string, error) {
	if of.DeviceID != "" {
		return "/devices/" + url.PathEscape(string(of.DeviceID)) + "/key", nil
	}
	if !ValidRegister(of.RegisterID) { // a key that was given as one must not get into an address
		return "", noRegister()
	}
	return "/registers/" + url.PathEscape(string(of.RegisterID)) + "/key", nil
}

// RequestKey asks for a new key.
func (c *Client) RequestKey(ctx context.Context, q KeyRequest, by string) (out KeyResult, err error) {
	path, err := q.path()
	if err != nil {
		return out, err
	}
	return out, c.do(ctx, http.MethodPost, path+"/"+string(q.Kind), platformBody{string(q.PlatformKey.Reveal()), q.Organization, q.NewKEK}, by, &out)
}

// CheckKey asks about the keys of a register.
func (c *Client) CheckKey(ctx context.Context, of KeyOf) (out []KeyCheck, err error) {
	path, err := of.path()
	if err != nil {
		return out, err
	}
	return out, c.do(ctx, http.MethodPost, path+"/check", nil, "", &out)
}

// ForRotation lists what must be rotated when the box was stolen.
func (c *Client) ForRotation(ctx context.Context) (out []KeyToRotate, err error) {
	return out, c.do(ctx, http.MethodGet, "/keys", nil, "", &out)
}

// SetPlatformKey stores the site's platform key.
func (c *Client) SetPlatformKey(ctx context.Context, key secret.Text, by string) (out KeyResult, err error) {
	return out, c.do(ctx, http.MethodPut, "/platform-key", platformKeyBody{string(key.Reveal())}, by, &out)
}

// ForgetPlatformKey removes the site's platform key.
func (c *Client) ForgetPlatformKey(ctx context.Context, by string) error {
	return c.do(ctx, http.MethodDelete, "/platform-key", nil, by, nil)
}

// Recipient is what bundles are encrypted to.
func (c *Client) Recipient(ctx context.Context, anew bool, by string) (string, error) {
	var out recipientBody
	err := c.do(ctx, http.MethodPost, "/recipient", recipientAsk{anew}, by, &out)
	return out.Recipient, err
}

// Import sends a file and tells each row as its answer comes.
func (c *Client) Import(ctx context.Context, text []byte, by string, each func(ImportRow)) error {
	answer, err := c.ask(ctx, http.MethodPost, "/import", file(text), by)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode >= 300 {
		return refusedBy(answer)
	}
	for d := json.NewDecoder(answer.Body); ; {
		var row ImportRow
		if err := d.Decode(&row); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read the gateway's answer: %w: send the file again to see what was done", err)
		}
		each(row)
	}
}
