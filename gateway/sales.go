package gateway

import (
	"context"

	"edgegw/admin"
	"edgegw/sale"
	"edgegw/store"
	"edgegw/wording"
)

var stateOf = map[string]sale.State{"": 0, "waiting": sale.Waiting, "confirmed": sale.Settled, "quarantined": sale.Quarantine, "resolved": sale.ByPerson}

// searched is a search as the journal takes it.
func searched(f admin.SaleFilter) (store.SaleFilter, error) {
	state, ok := stateOf[f.State]
	if !ok {
		return store.SaleFilter{}, admin.Refuse("invalid", wording.Of("a sale is never %q", f.State),
			wording.Of("Choose waiting, confirmed, quarantined or resolved"))
	}
	if refusal := f.Check(); refusal != nil {
		return store.SaleFilter{}, refusal
	}
	return store.SaleFilter{Device: f.DeviceID, Register: f.RegisterID, SaleID: f.SaleID, State: state, Operation: f.Operation, Document: f.Document,
		Amount: f.Amount, From: f.From, To: f.To, Before: f.Before, Limit: f.Limit}, nil
}

// Sales tells of sales, newest first.
func (k *control) Sales(ctx context.Context, f admin.SaleFilter) ([]admin.Sale, error) {
	filter, err := searched(f)
	if err != nil {
		return nil, err
	}
	rows, err := k.db.Sales(ctx, filter)
	return listed(rows), err
}

// FindSales looks for sales.
func (k *control) FindSales(ctx context.Context, f admin.SaleFilter) (admin.FoundSales, error) {
	filter, err := searched(f)
	if err != nil {
		return admin.FoundSales{}, err
	}
	found, err := k.db.FindSales(ctx, filter)
	return admin.FoundSales{Sales: listed(found.Sales), Next: found.Next, Reached: found.Reached}, err
}

func listed(rows []store.Sale) []admin.Sale {
	list := []admin.Sale{}
	for i := range rows {
		list = append(list, shownSale(&rows[i]))
	}
	return list
}

func shownSale(s *store.Sale) admin.Sale {
	a := admin.Sale{SaleID: s.SaleID, DeviceID: s.Device, RegisterID: s.Register, State: s.State.String(), Open: s.Open, Total: s.Total,
		Currency: s.Currency, Operation: s.Operation, FiscalState: s.FiscalState, DocumentNumber: s.Document,
		AcceptedAt: s.AcceptedAt, ChangedAt: s.ChangedAt}
	a.Flags = flagList(s.StartMissing, s.Unsafe, false)
	return a
}

func flagList(startMissing, unsafe, superseded bool) []string {
	all := []string{}
	for _, f := range []struct {
		is   bool
		word string
	}{{startMissing, sale.FlagStartMissing}, {unsafe, "qos0"}, {superseded, "superseded"}} {
		if f.is {
			all = append(all, f.word)
		}
	}
	return all
}
