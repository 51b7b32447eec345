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

// List reads the register's operations, newest first, that were made since a time,
// or all where that is zero. The error is a *sale.Problem; "lookup_refused" means
// that the service does not give the list. It makes one request per page and
// retries none.
func (c *Client) List(ctx context.Context, register sale.RegisterID, since time.Time) ([]sale.Listed, error) {
	if !register.Valid() {
		return nil, &sale.Problem{Class: sale.RegisterUnknown, Code: "bad_register", Detail: "this cannot be a register id"}
	}
	list := []sale.Listed{}
	err := c.pages(ctx, register, func(_ reply, p page) (end bool, fault string) {
		end = len(p.Data) > 0 && !since.IsZero()
		for _, raw := range p.Data {
			var e listed
			if json.Unmarshal(raw, &e) != nil || e.ID == "" {
				return false, codeUnreadable
			}
			made, err := time.Parse(time.RFC3339Nano, e.CreatedAt) // the zero time where it is none
			if err != nil || !made.Before(since.Add(-listMargin)) {
				end = false
			}
			list = append(list, sale.Listed{Operation: e.ID, ExternalID: e.ExternalID, Cashier: e.Cashier.ID, MadeAt: made})
		}
		return end, ""
	})
	if err != nil {
		return nil, err
	}
	return list, nil
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
