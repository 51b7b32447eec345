package admin

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"edgegw/audit"
	"edgegw/secret"
)

// Accounts are for an auditor.
type Accounts interface {
	// Export writes a ZIP file with what happened in a period (docs/export.md). What
	// was written before an error is no whole one.
	Export(ctx context.Context, p Period, by string, to io.Writer) error
	// Verify checks the chain of the whole audit trail; heads are values that must
	// occur in it.
	Verify(ctx context.Context, heads []audit.Chain) (Verified, error)
}

// Period is a time; the zero From is the beginning, the zero To is now.
type Period struct {
	From time.Time // at or after
	To   time.Time // before
}

// Verified says how the audit trail is.
type Verified struct {
	OK    bool         `json:"ok"`
	Lines int64        `json:"lines"` // that fit, up to the first that does not
	Head  audit.Point  `json:"head"`  // the last of them: its chain value is to be noted
	Fault *audit.Fault `json:"fault,omitempty"`
	Note  string       `json:"note,omitempty"` // what else must be known of it: it was salvaged from a damaged database
}

// acknowledged is how many things somebody has been told.
type acknowledged struct {
	Acknowledged int `json:"acknowledged"`
}

func (a api) acknowledge(w http.ResponseWriter, r *http.Request) {
	if f := query(r); f != nil {
		fail(w, f, secret.Text{})
		return
	}
	n, err := a.b.Acknowledge(r.Context(), by(r))
	reply(w, acknowledged{n}, err, secret.Text{})
}

// mostHeads bounds how many values may be asked for at once.
const mostHeads = 16

func (a api) export(w http.ResponseWriter, r *http.Request) {
	p, f := period(r)
	if f != nil {
		fail(w, f, secret.Text{})
		return
	}
	err := SendFile(w, "edgegw-export.zip", ExportType, func(to io.Writer) error { return a.b.Export(r.Context(), p, by(r), to) })
	if err != nil {
		fail(w, err, secret.Text{})
	}
}

func period(r *http.Request) (p Period, f *Refusal) {
	if f := query(r, names(askFrom, askTo)...); f != nil {
		return p, f
	}
	return p, between(r.URL.Query(), &p.From, &p.To)
}

// between reads the two times of a query.
func between(q url.Values, from, to *time.Time) *Refusal {
	for name, into := range map[string]*time.Time{"from": from, "to": to} {
		text := q.Get(name)
		if text == "" {
			continue
		}
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return invalid(name+" is no time", "Write it as in 2026-11-22T08:00:00Z.")
		}
		*into = t
	}
	return nil
}

// setBetween writes them.
func setBetween(q url.Values, from, to time.Time) {
	for name, t := range map[string]time.Time{"from": from, "to": to} {
		if !t.IsZero() {
			q.Set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
}

// ExportType is the media type of an export.
const ExportType = "application/zip"

func (a api) verify(w http.ResponseWriter, r *http.Request) {
	heads, f := heads(r)
	if f != nil {
		fail(w, f, secret.Text{})
		return
	}
	v, err := a.b.Verify(r.Context(), heads)
	reply(w, v, err, secret.Text{})
}

// heads reads chain values; it is the one parameter that may stand several times.
func heads(r *http.Request) (all []audit.Chain, f *Refusal) {
	q := r.URL.Query()
	texts := q["head"]
	if len(texts) > 1 {
		q["head"] = texts[:1]
	}
	once := *r
	once.URL = &url.URL{RawQuery: q.Encode()}
	if f := query(&once, askHead.name); f != nil {
		return nil, f
	}
	if len(texts) > mostHeads {
		return nil, invalid("there are too many chain values", fmt.Sprintf("Ask for %d at most.", mostHeads))
	}
	for _, text := range texts {
		c, err := audit.ParseChain(text)
		if err != nil {
			return nil, invalid("head is no chain value", "It has 64 hexadecimal digits; an export and verify show it.")
		}
		all = append(all, c)
	}
	return all, nil
}

// Export has the gateway write one.
func (c *Client) Export(ctx context.Context, p Period, by string, to io.Writer) error {
	q := url.Values{}
	setBetween(q, p.From, p.To)
	return c.file(ctx, http.MethodGet, "/export?"+q.Encode(), nil, ExportType, to, by)
}

// Verify has the gateway check its audit trail.
func (c *Client) Verify(ctx context.Context, heads []audit.Chain) (out Verified, err error) {
	q := url.Values{}
	for _, h := range heads {
		q.Add("head", h.String())
	}
	return out, c.do(ctx, http.MethodGet, "/verify?"+q.Encode(), nil, "", &out)
}
