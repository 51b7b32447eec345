package fiscal

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"edgegw/sale"
)

// Find looks up the operation of a call in doubt: by its id, then in the
// register's list, newest first, by id, and for a start by its external id too
// (decision 5). The error is sale.ErrNone where the service has provably no such
// operation, else a *sale.Problem; "lookup_refused" means that the service does
// not say. foreign names operations that belong to other sales with the same
// external id; it may be nil. Find makes one request per page and retries none.
func (c *Client) Find(ctx context.Context, call sale.Call, foreign func(operation string) bool) (sale.Answer, error) {
	if !call.Register.Valid() {
		return sale.Answer{}, &sale.Problem{Class: sale.RegisterUnknown, Code: "bad_register", Detail: "this cannot be a register id"}
	}
	if sale.ValidOperation(call.Operation) {
		answer, found, problem := c.findByID(ctx, call)
		if problem != nil {
			return sale.Answer{}, problem
		}
		if found {
			return answer, nil
		}
	}
	return c.findInList(ctx, call.Register, newWanted(call, c.clientIDs.Load(), foreign))
}

// findByID is GET /sales/{operation}. Where it is not there or not allowed, the
// list is asked next: only that is a proof, because the service may have chosen
// an id of its own.
func (c *Client) findByID(ctx context.Context, call sale.Call) (sale.Answer, bool, *sale.Problem) {
	r, problem := c.send(ctx, call.Register, request{purpose: "lookup", method: http.MethodGet, path: salePath(call.Operation)})
	if problem != nil {
		return sale.Answer{}, false, problem
	}
	switch r.status {
	case http.StatusNotFound, http.StatusGone, http.StatusForbidden, http.StatusMethodNotAllowed:
		return sale.Answer{}, false, nil
	}
	answer, fault := sale.Answer{}, r.fault()
	if r.status/100 == 2 && fault == "" {
		answer, fault = check(r, sale.Call{Step: sale.StepUpdate, Operation: call.Operation, SaleID: expected(call).SaleID})
	}
	if problem := classify(r, purpose{lookup: true}, fault); problem != nil {
		return sale.Answer{}, false, problem
	}
	answer.Adopted = true
	if isUUID(call.Operation) {
		c.clientIDs.Store(true)
	}
	return answer, true, nil
}

// page is one page of a list. Both ways of paging are understood (decision 5).
type page struct {
	Data       []json.RawMessage `json:"data"`
	Cursor     string            `json:"cursor"`
	NextCursor string            `json:"next_cursor"`
	HasMore    *bool             `json:"has_more"`
}

// page reads a list; false where it is none.
func (r reply) page() (page, bool) {
	var p page
	if err := json.Unmarshal(r.body, &p); err != nil || p.Data == nil {
		return page{}, false
	}
	return p, true
}

// next gives the cursor of the page after p, "" after the last. It is false
// where there is more and no way to it.
func (p page) next() (string, bool) {
	if p.HasMore != nil && !*p.HasMore {
		return "", true
	}
	cursor := p.NextCursor
	if cursor == "" {
		cursor = p.Cursor
	}
	return cursor, cursor != "" || p.HasMore == nil
}

// findInList pages through the register's operations.
func (c *Client) findInList(ctx context.Context, register sale.RegisterID, w wanted) (sale.Answer, error) {
	var answer sale.Answer
	found := false
	err := c.pages(ctx, register, func(r reply, p page) (end bool, fault string) {
		answer, found, fault = p.match(r, w)
		return found, fault
	})
	switch {
	case err != nil:
		return sale.Answer{}, err
	case !found:
		return sale.Answer{}, sale.ErrNone
	}
	return answer, nil
}

// readPage gives a page and the cursor of the next. A list that leads in a
// circle, or on without a cursor, proves nothing.
func readPage(r reply, seen map[string]bool) (page, string, string) {
	p, ok := r.page()
	if !ok {
		return page{}, "", codeUnreadable
	}
	cursor, ok := p.next()
	if !ok || seen[cursor] {
		return page{}, "", codeUnreadable
	}
	return p, cursor, ""
}

// wanted is the operation a look-up is after. externalID is only set for a
// start: of every later call the operation's id is known, and a match by
// anything else could only be another sale.
type wanted struct {
	operation, externalID string
	currency              string                      // what the start asked for
	occurred              time.Time                   // when it happened, by the device
	since                 time.Time                   // when the attempt in doubt began, by our clock
	clientIDs             bool                        // the service is known to keep client-made ids
	foreign               func(operation string) bool // known to be another sale's; may be nil
}

func newWanted(call sale.Call, clientIDs bool, foreign func(string) bool) wanted {
	w := wanted{operation: call.Operation, clientIDs: clientIDs, foreign: foreign}
	if call.Step != sale.StepStart {
		return w
	}
	var start struct {
		Currency   string    `json:"currency"`
		OccurredAt time.Time `json:"occurred_at"`
	}
	_ = json.Unmarshal(call.Body, &start) // what it does not say cannot tell
	w.externalID, w.currency, w.occurred, w.since = call.SaleID, start.Currency, start.OccurredAt, call.InDoubtSince
	return w
}

// listed is an operation of a list, as far as a look-up reads it.
type listed struct {
	ID         string `json:"id"`
	ExternalID string `json:"external_id"`
	Type       string `json:"type"`
	State      string `json:"state"`
	StartedAt  string `json:"started_at"`
	CreatedAt  string `json:"created_at"`
	Cashier    struct {
		ID string `json:"id"`
	} `json:"cashier"`
	Data struct {
		Currency string `json:"currency"`
	} `json:"data"`
}

// clockTolerance is how far the service's clock and ours may be apart for a
// start to be taken for the one in doubt.
const clockTolerance = 10 * time.Minute

// ours reports whether an entry with our external id can be what the start in
// doubt has made. A device that took another's place may use its sale ids
// again, and a box that lost its data knows nothing of them: adopting such a
// sale would lose ours. So it must be open, in our currency, not known as
// another's, and begun when ours began or made since the attempt.
func (w wanted) ours(e listed) bool {
	switch {
	case w.externalID == "" || e.ExternalID != w.externalID || e.Type != "" && e.Type != "sale":
		return false
	case w.foreign != nil && w.foreign(e.ID):
		return false
	case w.clientIDs && isUUID(w.operation) && isUUID(e.ID):
		return false // the service keeps client-made ids, and this is not ours
	case e.State != sale.StateOpen:
		return false
	case w.currency != "" && e.Data.Currency != "" && e.Data.Currency != w.currency:
		return false
	}
	if at, err := time.Parse(time.RFC3339Nano, e.StartedAt); err == nil && at.Equal(w.occurred) {
		return true
	}
	made, err := time.Parse(time.RFC3339Nano, e.CreatedAt)
	return err != nil || w.since.IsZero() || !made.Before(w.since.Add(-clockTolerance))
}

// match looks for the operation on a page: by id, then by external id, where
// the first is the newest. An entry without an id could be the one.
func (p page) match(r reply, w wanted) (sale.Answer, bool, string) {
	var hit json.RawMessage
	for _, raw := range p.Data {
		var entry listed
		if json.Unmarshal(raw, &entry) != nil || entry.ID == "" {
			return sale.Answer{}, false, codeUnreadable
		}
		if w.operation != "" && entry.ID == w.operation {
			hit = raw
			break
		}
		if hit == nil && w.ours(entry) {
			hit = raw
		}
	}
	if hit == nil {
		return sale.Answer{}, false, ""
	}
	answer, err := sale.ParseAnswer(r.status, r.requestID, hit)
	if err != nil {
		return sale.Answer{}, false, codeUnreadable
	}
	answer.Adopted = true
	return answer, true, ""
}

// isUUID reports whether an id has the form of a client-made one; the service's
// own look like op_01HXYZ.
func isUUID(id string) bool {
	if len(id) != 36 {
		return false
	}
	for i := 0; i < len(id); i++ {
		c := id[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}
