package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"edgegw/sale"
	"edgegw/secret"
	"edgegw/wording"
)

// Journal shows what was sold.
type Journal interface {
	// Sales lists sales, the newest first, however long it takes to find them.
	Sales(ctx context.Context, f SaleFilter) ([]Sale, error)
	// FindSales looks for sales no longer than one search may.
	FindSales(ctx context.Context, f SaleFilter) (FoundSales, error)
	// SaleStory tells all of one sale, with payloads where they are asked for.
	SaleStory(ctx context.Context, device sale.DeviceID, saleID string, payloads bool) (SaleStory, error)
}

// SaleFilter chooses sales; zero fields choose all.
type SaleFilter struct {
	DeviceID   sale.DeviceID
	RegisterID sale.RegisterID
	SaleID     string
	State      string // waiting, confirmed, quarantined, resolved
	Operation  string
	Document   string       // receipt number; with * at its end all that begin so
	Amount     sale.Amounts // of sales that have ended
	From, To   time.Time    // accepted: not before From, before To
	Before     int64        // FoundSales.Next of the page before
	Limit      int          // 0: 50
}

// Check refuses a search that cannot be. It quotes nothing: a key may stand where an
// id belongs.
func (f SaleFilter) Check() *Refusal {
	for _, text := range []string{string(f.DeviceID), string(f.RegisterID), f.SaleID, f.Operation, f.Document} {
		if ContainsKey(text) {
			return invalid("that is an OpenFiskal key where an id belongs", "Have this key replaced: what was typed may have been seen.")
		}
	}
	switch {
	case f.DeviceID != "" && !f.DeviceID.Valid():
		return noDevice()
	case f.RegisterID != "" && !f.RegisterID.Valid():
		return noRegister()
	case f.State != "" && !ValidState(f.State):
		return Refuse("invalid", wording.Of("there is no such state of a sale"), wording.Of("States are %s.", strings.Join(SaleStates, ", ")))
	case !f.From.IsZero() && !f.To.IsZero() && !f.From.Before(f.To):
		return invalid("the time ends before it begins", "Give from and to the other way round.")
	}
	return nil
}

// UsualCurrency is the one in which people write amounts: that of the newest sale.
func UsualCurrency(ctx context.Context, j Journal) (string, error) {
	newest, err := j.Sales(ctx, SaleFilter{Limit: 1})
	if err != nil || len(newest) == 0 {
		return "EUR", err
	}
	return newest[0].Currency, nil
}

// SaleStates are the values of SaleFilter.State and Sale.State.
var SaleStates = []string{"waiting", "confirmed", "quarantined", "resolved"}

// ValidState reports whether s is one of SaleStates.
func ValidState(s string) bool { return slices.Contains(SaleStates, s) }

// Sale is one sale as technicians see it.
type Sale struct {
	SaleID         string          `json:"sale_id"`
	DeviceID       sale.DeviceID   `json:"device_id"`
	RegisterID     sale.RegisterID `json:"register_id"`
	State          string          `json:"state" enum:"waiting,confirmed,quarantined,resolved"`
	Open           bool            `json:"open"` // its end has not been reported
	Total          int64           `json:"total"`
	Currency       string          `json:"currency"`
	Operation      string          `json:"operation"`
	FiscalState    string          `json:"fiscal_state,omitempty"`
	DocumentNumber string          `json:"document_number,omitempty"`
	AcceptedAt     time.Time       `json:"accepted_at"`
	ChangedAt      time.Time       `json:"changed_at,omitzero"`
	Flags          []string        `json:"flags"`
}

// MarshalJSON writes no flags as [].
func (s Sale) MarshalJSON() ([]byte, error) {
	type plain Sale
	p := plain(s)
	if p.Flags == nil {
		p.Flags = []string{}
	}
	return json.Marshal(p)
}

// FoundSales is a page of sales, the newest first.
type FoundSales struct {
	Sales []Sale
	// Next is where the search goes on, 0 where it is over. A page may be short, or
	// empty, and not be the last: one search looks at so many sales and no more.
	Next    int64
	Reached time.Time // where Next is set: all sales since have been looked at
}

// HeaderReached is FoundSales.Reached in an answer.
const HeaderReached = "X-Edgegw-Reached"

func (a api) sales(w http.ResponseWriter, r *http.Request) {
	filter, f := saleFilter(r)
	if f != nil {
		fail(w, f, secret.Text{})
		return
	}
	found, err := a.b.FindSales(r.Context(), filter)
	if err == nil && found.Next > 0 {
		q := r.URL.Query()
		q.Set("before", strconv.FormatInt(found.Next, 10))
		w.Header().Set("Link", "<"+Prefix+"/sales?"+q.Encode()+`>; rel="next"`)
		w.Header().Set(HeaderReached, found.Reached.UTC().Format(time.RFC3339Nano))
	}
	replyList(w, found.Sales, err)
}

func saleFilter(r *http.Request) (SaleFilter, *Refusal) {
	if f := query(r, names(salesParams...)...); f != nil {
		return SaleFilter{}, f
	}
	q := r.URL.Query()
	filter := SaleFilter{DeviceID: sale.DeviceID(q.Get("device_id")), RegisterID: sale.RegisterID(q.Get("register_id")), SaleID: q.Get("sale_id"), State: q.Get("state"),
		Operation: q.Get("operation"), Document: q.Get("document_number")}
	if f := between(q, &filter.From, &filter.To); f != nil {
		return filter, f
	}
	if text := q.Get("amount"); text != "" {
		var ok bool
		if filter.Amount, ok = sale.ParseAmounts(text, "JPY"); !ok { // minor units: no digit stands behind a point
			return filter, invalid("amount is no amount", "Write it in minor units, as in 7622 or 7622..8000.")
		}
	}
	var f *Refusal
	if filter.Before, f = before(q.Get("before")); f == nil {
		filter.Limit, f = limit(q.Get("limit"))
	}
	if f == nil {
		f = filter.Check()
	}
	return filter, f
}

func before(text string) (int64, *Refusal) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return 0, invalid("before is no place in the list", "Take it from the Link of the page before.")
	}
	return n, nil
}

// query is the filter in an address.
func (f SaleFilter) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"device_id": string(f.DeviceID), "register_id": string(f.RegisterID), "sale_id": f.SaleID, "state": f.State,
		"operation": f.Operation, "document_number": f.Document} {
		if value != "" {
			q.Set(name, value)
		}
	}
	setBetween(q, f.From, f.To)
	if f.Amount.Set {
		q.Set("amount", strconv.FormatInt(f.Amount.Least, 10)+".."+strconv.FormatInt(f.Amount.Most, 10))
	}
	if f.Before > 0 {
		q.Set("before", strconv.FormatInt(f.Before, 10))
	}
	if f.Limit != 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	return q
}

// FindSales looks for sales.
func (c *Client) FindSales(ctx context.Context, f SaleFilter) (found FoundSales, err error) {
	if refusal := f.Check(); refusal != nil { // what was typed by mistake must not get into an address
		return found, refusal
	}
	header, err := c.fetch(ctx, http.MethodGet, "/sales?"+f.query().Encode(), nil, "", &found.Sales)
	if err != nil {
		return found, err
	}
	if address, _, is := strings.Cut(strings.TrimPrefix(header.Get("Link"), "<"), ">"); is {
		next, err := url.Parse(address)
		if err != nil {
			return found, err
		}
		found.Next, _ = strconv.ParseInt(next.Query().Get("before"), 10, 64) // 0 is the end
		found.Reached, _ = time.Parse(time.RFC3339Nano, header.Get(HeaderReached))
	}
	return found, nil
}

// Sales lists sales, page by page.
func (c *Client) Sales(ctx context.Context, f SaleFilter) (all []Sale, err error) {
	const usual = 50
	want := f.Limit
	if want == 0 {
		want = usual
	}
	for {
		found, err := c.FindSales(ctx, f)
		all = append(all, found.Sales...)
		if err != nil || found.Next == 0 || len(all) >= want {
			return all, err
		}
		f.Before, f.Limit = found.Next, want-len(all)
	}
}
