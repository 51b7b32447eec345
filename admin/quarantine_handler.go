package admin

import (
	"net/http"
	"slices"
	"strings"

	"edgegw/sale"
	"edgegw/secret"
)

func (a api) quarantine(w http.ResponseWriter, r *http.Request) {
	filter, f := quarantineFilter(r)
	if f != nil {
		fail(w, f, secret.Text{})
		return
	}
	all, err := a.b.Quarantine(r.Context(), filter)
	replyList(w, all, err)
}

func quarantineFilter(r *http.Request) (QuarantineFilter, *Refusal) {
	if f := query(r, names(askItemState, askDevice, askSale, askLimit)...); f != nil {
		return QuarantineFilter{}, f
	}
	q := r.URL.Query()
	filter := QuarantineFilter{State: q.Get("state"), DeviceID: sale.DeviceID(q.Get("device_id")), SaleID: q.Get("sale_id")}
	if filter.DeviceID != "" && !filter.DeviceID.Valid() {
		return QuarantineFilter{}, noDevice()
	}
	if filter.State != "" && !slices.Contains(QuarantineStates, filter.State) {
		return QuarantineFilter{}, invalid("there is no such state of the quarantine", "States are "+strings.Join(QuarantineStates, ", ")+".")
	}
	n, f := limit(q.Get("limit"))
	filter.Limit = n
	return filter, f
}

func (a api) quarantineItem(w http.ResponseWriter, r *http.Request) {
	f := query(r)
	id := r.PathValue("id")
	if f == nil && !itemID(id) {
		f = noItem()
	}
	if f != nil {
		fail(w, f, secret.Text{})
		return
	}
	i, err := a.b.QuarantineItem(r.Context(), id)
	reply(w, i, err, secret.Text{})
}

func (a api) decide(what sale.Decision) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		d := Decision{ID: r.PathValue("id"), Decision: what}
		f := query(r)
		if f == nil && !itemID(d.ID) {
			f = noItem()
		}
		if f == nil {
			var b decisionBody
			f = readBody(r, b.fields()...)
			d.Reason, d.Operation = b.Reason, b.Operation
		}
		if f == nil {
			f = d.Check()
		}
		if f != nil {
			fail(w, f, secret.Text{})
			return
		}
		result, err := a.b.Decide(r.Context(), d, by(r))
		reply(w, result, err, secret.Text{})
	}
}

// itemID reports whether id can name an item and stand in a path.
func itemID(id string) bool {
	return id != "" && id != "." && id != ".." && len(id) <= 256 && !sale.LooksLikeKey(id)
}
