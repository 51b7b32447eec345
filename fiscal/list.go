package fiscal

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"edgegw/sale"
)

// listMargin is how far back beyond the time that is asked for a list is read:
// clocks differ, and what was made just before may have been in doubt.
const listMargin = 24 * time.Hour

// List reads the register's operations that were made since a time, or all where that
// is zero. The error is a *sale.Problem; "lookup_refused" means that the service does
// not give the list. It makes one request per page and retries none.
func (c *Client) List(ctx context.Context, register sale.RegisterID, since time.Time) ([]sale.Listed, error) {
	if !register.Valid() {
		return nil, &sale.Problem{Class: sale.RegisterUnknown, Code: "bad_register", Detail: "this cannot be a register id"}
	}
	r := reading{since: since, all: []sale.Listed{}}
	if err := c.pages(ctx, register, func(_ reply, p page) (end bool, fault string) { return r.take(p) }); err != nil {
		return nil, err
	}
	return r.all, nil
}

// reading is a list while it is read. It ends early only where the list itself shows
// that its newest operations come first (decision 5 takes that for granted): what it
// misses would be sent again.
type reading struct {
	since       time.Time
	all         []sale.Listed
	first, last time.Time
	mixed       bool // one was made after the one before it, or does not say when
}

// listJitter is how much a list may be out of order, by times that several machines of
// the service have written.
const listJitter = time.Hour

func (r *reading) take(p page) (end bool, fault string) {
	old := len(p.Data) > 0 && !r.since.IsZero()
	for _, raw := range p.Data {
		var e listed
		if json.Unmarshal(raw, &e) != nil || e.ID == "" {
			return false, codeUnreadable
		}
		made, err := time.Parse(time.RFC3339Nano, e.CreatedAt) // the zero time where it is none
		switch {
		case err != nil:
			r.mixed = true
		case r.first.IsZero():
			r.first = made
		case made.After(r.last.Add(listJitter)):
			r.mixed = true
		}
		r.last = made
		old = old && made.Before(r.since.Add(-listMargin))
		if e.Type == "" || e.Type == "sale" { // a refund may bear the id of its sale
			r.all = append(r.all, sale.Listed{Operation: e.ID, ExternalID: e.ExternalID, Cashier: e.Cashier.ID, MadeAt: made})
		}
	}
	return old && !r.mixed && r.first.After(r.last), ""
}

// pages reads the register's operations page by page until each says that it is
// the end. An operation may carry 60 KiB of metadata, so a page that is too long is
// asked for again in smaller pieces: otherwise a few large sales would make every
// look-up fail.
func (c *Client) pages(ctx context.Context, register sale.RegisterID, each func(reply, page) (end bool, fault string)) error {
	seen := map[string]bool{}
	cursor, limit, most := "", firstPage, fullPage
	for range maxPages {
		query := url.Values{"limit": {strconv.Itoa(limit)}}
		if cursor != "" {
			query.Set("cursor", cursor)
		}
		r, problem := c.send(ctx, register, request{purpose: "lookup", method: http.MethodGet, path: operationsPath(register), query: query})
		if problem != nil {
			return problem
		}
		if errors.Is(r.readErr, errTooLong) && limit > 1 {
			limit = max(limit/4, 1)
			most = limit
			continue
		}
		p, next, end, fault := page{}, "", false, r.fault()
		if r.status/100 == 2 && fault == "" {
			p, next, fault = readPage(r, seen)
		}
		if fault == "" && r.status/100 == 2 {
			end, fault = each(r, p)
		}
		if problem := classify(r, purpose{lookup: true}, fault); problem != nil {
			return problem
		}
		if end || next == "" {
			return nil
		}
		seen[next] = true
		cursor, limit = next, most
	}
	return &sale.Problem{Class: sale.InDoubt, Code: codeUnreadable, Detail: "the list of operations has no end"}
}
