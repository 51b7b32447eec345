package gateway

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"edgegw/admin"
	"edgegw/card"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/store"
	"edgegw/wording"
)

// Quarantine tells of what waits for a person, the newest first.
func (k *control) Quarantine(ctx context.Context, f admin.QuarantineFilter) ([]admin.QuarantineItem, error) {
	if f.State != "" && !slices.Contains(admin.QuarantineStates, f.State) {
		return nil, admin.Refuse("invalid", wording.Of("the quarantine has no state %q", f.State), wording.Of("Choose open or all"))
	}
	rows, err := k.db.Items(ctx, store.ItemFilter{Device: f.DeviceID, SaleID: f.SaleID, Open: f.State != "all", Limit: f.Limit})
	list := []admin.QuarantineItem{}
	for i := range rows {
		list = append(list, shown(&rows[i]))
	}
	return list, err
}

// QuarantineItem tells all of one item.
func (k *control) QuarantineItem(ctx context.Context, id string) (admin.QuarantineItem, error) {
	i, err := k.item(ctx, id)
	if err != nil {
		return admin.QuarantineItem{}, err
	}
	a := shown(&i)
	a.Rule, a.Payload = words(rule(&i)), masked(i.Raw)
	if c := i.Call; c != nil {
		a.Request = &admin.QuarantineRequest{Method: c.Method, Path: c.URLPath(), IdempotencyKey: c.IdempotencyKey, Body: masked(c.Body)}
	}
	if p := &i.Problem; p.Status != 0 || len(p.Body) > 0 {
		a.Answer = &admin.QuarantineAnswer{Status: p.Status, RequestID: p.RequestID, Body: masked(p.Body)}
	}
	return a, nil
}

// item finds what a person named: by its number, else by the id of its sale,
// where one open item has it, or where none is open and one was decided.
func (k *control) item(ctx context.Context, id string) (sale.Item, error) {
	if no, err := strconv.ParseInt(id, 10, 64); err == nil && no > 0 {
		found, err := k.db.Items(ctx, store.ItemFilter{No: no})
		if err != nil || len(found) == 1 {
			return first(found), err
		}
	}
	if id == "" || sale.LooksLikeKey(id) {
		return sale.Item{}, noItem("such")
	}
	for _, open := range []bool{true, false} {
		found, err := k.db.Items(ctx, store.ItemFilter{SaleID: id, Open: open})
		switch {
		case err != nil:
			return sale.Item{}, err
		case len(found) > 1:
			return sale.Item{}, ambiguous(id, found)
		case len(found) == 1: // with its bytes
			whole, err := k.db.Items(ctx, store.ItemFilter{No: found[0].No})
			return first(whole), err
		}
	}
	return sale.Item{}, noItem(strconv.Quote(id))
}

func first(items []sale.Item) sale.Item {
	if len(items) == 0 {
		return sale.Item{}
	}
	return items[0]
}

func noItem(which string) error {
	return admin.Refuse("not_found", wording.Of("there is no item %s in quarantine", which), wording.Of("See all of them: edgegw quarantine list --all"))
}

func ambiguous(id string, found []sale.Item) error {
	names := make([]string, len(found))
	for n, i := range found {
		names[n] = fmt.Sprintf("%d (%s of %s)", i.No, i.Kind, i.Device)
	}
	return admin.Refuse("ambiguous", wording.Of("%d items belong to sale %q: %s", len(found), id, strings.Join(names, ", ")),
		wording.Of("Name one by its number"))
}

// shown is what a listing has of an item.
func shown(i *sale.Item) admin.QuarantineItem {
	a := admin.QuarantineItem{ID: strconv.FormatInt(i.No, 10), DeviceID: i.Device, RegisterID: i.Register, SaleID: i.SaleID, Event: i.Kind.String(),
		State: string(i.Status), Code: i.Fault.Code, Reason: words(i.Fault.Error()), Since: i.At, Blocking: i.Blocking && i.Decision == "", InDoubt: i.InDoubt,
		Allowed: i.Allowed(), Decision: i.Decision, DecidedAt: i.Decided, DecidedBy: i.By, DecisionReason: i.Reason, Operation: i.Operation}
	a.ReasonWords, a.RuleWords = itemWords(i), ruleWords(i)
	if i.Register != "" {
		a.Step, a.Code, a.Reason = i.Step.String(), i.Problem.Code, words(i.Problem.Error())
	}
	if i.Decision != "" {
		a.State = "decided"
	}
	return a
}

// rule says which rule failed, and what that means for the decision.
func rule(i *sale.Item) string {
	switch {
	case i.Register == "" && i.Status == sale.Conflict:
		return "An event of this name was stored before with another content. That one stands; this one is kept and is never sent"
	case i.Register == "":
		return fmt.Sprintf("%s: %s. It cannot become part of a sale as it is", i.Fault.Code, i.Fault.Error())
	case i.InDoubt:
		return fmt.Sprintf("The %s of this sale may have been carried out, and that could not be settled: %s", i.Step, i.Problem.Error())
	}
	words := fmt.Sprintf("OpenFiskal refused the %s of this sale in a way that no repetition changes: %s", i.Step, i.Problem.Error())
	if i.Problem.Param != "" {
		words += ". It names the field " + i.Problem.Param
	}
	return words
}

// masked gives bytes of others as text in which no key and no card number stands.
func masked(b []byte) string {
	return card.Text(secret.WithoutKeys(b))
}
