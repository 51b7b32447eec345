package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"edgegw/secret"
)

// HeaderBy names the person behind a request, for the audit trail.
const HeaderBy = "X-Edgegw-By"

// Prefix begins every path of the API.
const Prefix = "/api/v1"

// maxBody bounds what is read of a request and of an answer to a change.
const maxBody = 1 << 20

// maxLimit bounds one listing of sales or of the quarantine.
const maxLimit = 10_000

// field is one name of a request body and where its value goes.
type field struct {
	name string
	want string // the type in words, for the refusal
	into any
}

// readBody reads a strict JSON object: no unknown, repeated or differently
// written name, nothing behind it. No refusal quotes the body, which may hold a
// register key. encoding/json alone takes repeated names and other cases.
func readBody(r *http.Request, fields ...field) *Refusal {
	if t := mediaType(r.Header.Get("Content-Type")); t != "application/json" {
		return &Refusal{Code: "media_type", Message: "the body must be JSON", Remedy: "Send Content-Type: application/json."}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return invalid("the body could not be read to its end", "Send it again.")
	}
	if len(body) > maxBody {
		return &Refusal{Code: "too_large", Message: "the body is longer than 1 MiB", Remedy: "Send one device or key at a time."}
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return invalid("the body is not a JSON object", "Send an object.")
	}
	seen := map[string]bool{}
	for d.More() {
		if f := readField(d, fields, seen); f != nil {
			return f
		}
	}
	if _, err := d.Token(); err != nil {
		return invalid("the body is not whole JSON", "Send it again, whole.")
	}
	if _, err := d.Token(); err != io.EOF {
		return invalid("something stands behind the JSON object", "Send one object and nothing more.")
	}
	return nil
}

func readField(d *json.Decoder, fields []field, seen map[string]bool) *Refusal {
	t, err := d.Token()
	name, ok := t.(string)
	if err != nil || !ok {
		return invalid("the body is not whole JSON", "Send it again, whole.")
	}
	for _, f := range fields {
		if f.name != name {
			continue
		}
		if seen[name] {
			return invalid("the field "+name+" stands twice", "Send it once.")
		}
		seen[name] = true
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return invalid("the body is not whole JSON", "Send it again, whole.")
		}
		if string(raw) == "null" || json.Unmarshal(raw, f.into) != nil {
			return invalid("the field "+name+" is not "+f.want, "Send "+f.want+".")
		}
		return nil
	}
	known := make([]string, len(fields))
	for i, f := range fields {
		known[i] = f.name
	}
	return invalid("the body has an unknown field", fmt.Sprintf("Known fields are %v.", known))
}

func invalid(message, remedy string) *Refusal {
	return &Refusal{Code: "invalid", Message: message, Remedy: remedy}
}

// body is what the request of a route brings: its fields are what readBody takes
// and what the description of the API tells.
type body interface{ fields() []field }

// addBody and keyBody are what the client writes. The key is a plain string
// only here: secret.Text prints itself as redacted everywhere.
type addBody struct {
	AddDevice
	Key string `json:"register_key,omitempty"`
}

func (b *addBody) fields() []field {
	return []field{{"device_id", "a string", &b.DeviceID}, {"register_id", "a string", &b.RegisterID}, {"kind", "a string", &b.Kind}, {"label", "a string", &b.Label},
		{"register_key", "a string", &b.Key}, {"unverified", "true or false", &b.Unverified}, {"certificate", "true or false", &b.Cert}}
}

type keyBody struct {
	Key        string `json:"register_key"`
	Unverified bool   `json:"unverified"`
}

func (b *keyBody) fields() []field {
	return []field{{"register_key", "a string", &b.Key}, {"unverified", "true or false", &b.Unverified}}
}

// statuses maps the code of a refusal to a status of HTTP; every other code is
// 422: understood, and not done.
var statuses = map[string]int{
	"invalid": http.StatusBadRequest, "not_found": http.StatusNotFound, "exists": http.StatusConflict,
	"conflict": http.StatusConflict, "ambiguous": http.StatusConflict, "too_large": http.StatusRequestEntityTooLarge,
	"media_type": http.StatusUnsupportedMediaType, "method": http.StatusMethodNotAllowed,
	"not_ready": http.StatusServiceUnavailable, "login": http.StatusUnauthorized, CodeSession: http.StatusUnauthorized,
	CodeToken: http.StatusUnauthorized, "scope": http.StatusForbidden, CodeTLSRequired: http.StatusForbidden,
	CodeCrossOrigin: http.StatusForbidden, CodeTooMany: http.StatusTooManyRequests,
}

// StatusOf gives the status of HTTP that says the same as a refusal.
func StatusOf(r *Refusal) int {
	if s, known := statuses[r.Code]; known {
		return s
	}
	return http.StatusUnprocessableEntity
}

// scrub takes a register key out of an answer, should a text of somebody else
// have quoted it: no answer holds one (CONTRACT.md promise 6). The key's JSON
// form differs from its bytes where it holds quotes or the like.
func scrub(answer []byte, key secret.Text) []byte {
	const least = 4 // shorter than any key, and so short that it would hit ordinary words
	if len(key.Reveal()) < least {
		return answer
	}
	quoted, err := json.Marshal(string(key.Reveal()))
	if err != nil {
		return answer // a string always has a JSON form
	}
	return bytes.ReplaceAll(answer, quoted[1:len(quoted)-1], []byte(secret.Redacted))
}

// MarshalJSON writes empty lists as [], never as null, so that a program can
// walk them without a question.
func (s Status) MarshalJSON() ([]byte, error) {
	type plain Status
	p := plain(s)
	p.MQTT, p.Page, p.Outages, p.Registers, p.Conditions = some(p.MQTT), some(p.Page), some(p.Outages), some(p.Registers), some(p.Conditions)
	return json.Marshal(p)
}
