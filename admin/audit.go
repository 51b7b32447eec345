package admin

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"edgegw/secret"
)

// Auditing shows who changed what.
type Auditing interface {
	// Audit lists lines of the audit trail, the newest first.
	Audit(ctx context.Context, f AuditFilter) ([]AuditEntry, error)
}

// AuditEntry is one line of the audit trail.
type AuditEntry struct {
	No      int64     `json:"no"`
	At      time.Time `json:"at"`
	Who     string    `json:"who"` // person:NAME, token:NAME, a user of the box, or gateway
	What    string    `json:"what"`
	Subject string    `json:"subject"`
	Detail  string    `json:"detail"`
}

// AuditFilter chooses lines; zero fields choose all.
type AuditFilter struct {
	Who     string
	What    string
	Subject string
	From    time.Time // at or after
	To      time.Time // before
	Before  int64     // lines with a lower number: the next page
	Limit   int       // 0: 100
}

// usualAudit is how many lines are listed where nobody says how many.
const usualAudit = 100

// Lines is the limit that counts.
func (f AuditFilter) Lines() int {
	if f.Limit <= 0 {
		return usualAudit
	}
	return min(f.Limit, maxLimit)
}

func (a api) audit(w http.ResponseWriter, r *http.Request) {
	f, refusal := auditFilter(r)
	if refusal != nil {
		fail(w, refusal, secret.Text{})
		return
	}
	all, err := a.b.Audit(r.Context(), f)
	replyList(w, all, err)
}

func auditFilter(r *http.Request) (AuditFilter, *Refusal) {
	if f := query(r, names(auditParams...)...); f != nil {
		return AuditFilter{}, f
	}
	q := r.URL.Query()
	f := AuditFilter{Who: q.Get("who"), What: q.Get("what"), Subject: q.Get("subject")}
	if refusal := between(q, &f.From, &f.To); refusal != nil {
		return f, refusal
	}
	if text := q.Get("before"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 1 {
			return f, invalid("before is no number of a line", "Take one from the listing.")
		}
		f.Before = n
	}
	n, refusal := limit(q.Get("limit"))
	f.Limit = n
	return f, refusal
}

// Audit lists lines of the audit trail.
func (c *Client) Audit(ctx context.Context, f AuditFilter) (out []AuditEntry, err error) {
	q := url.Values{}
	for name, value := range map[string]string{"who": f.Who, "what": f.What, "subject": f.Subject} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for name, t := range map[string]time.Time{"from": f.From, "to": f.To} {
		if !t.IsZero() {
			q.Set(name, t.UTC().Format(time.RFC3339))
		}
	}
	if f.Before > 0 {
		q.Set("before", strconv.FormatInt(f.Before, 10))
	}
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	return out, c.do(ctx, http.MethodGet, "/audit?"+q.Encode(), nil, "", &out)
}
