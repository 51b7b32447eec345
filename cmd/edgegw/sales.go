package main

import (
	"fmt"
	"strings"

	"edgegw/admin"
	"edgegw/sale"
)

type salesCmd struct {
	Device    string `placeholder:"ID" completion:"device" help:"Only of this device."`
	Sale      string `placeholder:"ID" help:"Only this sale."`
	State     string `placeholder:"STATE" completion:"sale-state" help:"Only waiting, confirmed, quarantined or resolved ones."`
	Register  string `placeholder:"ID" completion:"register" help:"Only of this register."`
	Amount    string `placeholder:"AMOUNT" help:"Only of this amount, e.g. 76.22, or 76.22..80 for all between."`
	From      string `placeholder:"TIME" help:"Not accepted before, e.g. 2026-11-22 or 2026-11-22T08:00:00+01:00."`
	To        string `placeholder:"TIME" help:"Accepted before."`
	Receipt   string `placeholder:"NUMBER" help:"Only with this receipt number; 2026-00* for all that begin so."`
	Operation string `placeholder:"ID" help:"Only the sale that this operation at OpenFiskal stands for."`
	Limit     int    `default:"50" help:"How many at most."`
	JSON      bool   `help:"Print JSON."`
}

// Run lists sales.
func (c *salesCmd) Run(a *app) error {
	filter, err := c.filter()
	if err != nil {
		return err
	}
	return a.with(false, func(b admin.Backend) error {
		if filter.Amount, err = amounts(a, b, c.Amount); err != nil {
			return err
		}
		all, err := b.Sales(a.ctx, filter)
		if err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(list(all))
		}
		if len(all) == 0 {
			fmt.Fprintln(a.out, "There is no such sale.")
			return nil
		}
		a.printSales(all)
		return nil
	})
}

// filter is what was asked for, without the amount.
func (c *salesCmd) filter() (f admin.SaleFilter, err error) {
	f = admin.SaleFilter{SaleID: c.Sale, State: c.State, RegisterID: sale.RegisterID(c.Register), Document: c.Receipt, Operation: c.Operation, Limit: c.Limit}
	if c.Device != "" {
		if f.DeviceID, err = deviceID(c.Device); err != nil {
			return f, err
		}
	}
	if c.State != "" && !admin.ValidState(c.State) {
		return f, usage("--state %s: there is no such state; states are %s", c.State, strings.Join(admin.SaleStates, ", "))
	}
	if f.From, err = moment("--from", c.From); err != nil {
		return f, err
	}
	if f.To, err = moment("--to", c.To); err != nil {
		return f, err
	}
	if c.Limit < 1 || c.Limit > 10_000 {
		return f, usage("--limit %d: give a number from 1 to 10000", c.Limit)
	}
	if refusal := f.Check(); refusal != nil {
		return f, usage("%w", refusal)
	}
	return f, nil
}

// amounts reads an amount in the currency of the newest sale: nobody types minor
// units.
func amounts(a *app, b admin.Backend, text string) (sale.Amounts, error) {
	if text == "" {
		return sale.Amounts{}, nil
	}
	currency, err := admin.UsualCurrency(a.ctx, b)
	if err != nil {
		return sale.Amounts{}, err
	}
	all, ok := sale.ParseAmounts(text, currency)
	if !ok {
		return all, usage("--amount: that is no amount in %s; write it as in 76.22, or 76.22..80 for all between", currency)
	}
	return all, nil
}

func (a *app) printSales(all []admin.Sale) {
	rows := [][]string{{"ACCEPTED", "DEVICE", "SALE", "STATE", "TOTAL", "DOCUMENT", "FLAGS"}}
	for _, s := range all {
		state := s.State
		if s.Open {
			state += ", open"
		}
		if s.FiscalState != "" && s.FiscalState != "succeeded" {
			state += ", fiscal " + s.FiscalState
		}
		rows = append(rows, []string{a.when(s.AcceptedAt), string(s.DeviceID), s.SaleID, state,
			sale.FormatAmount(s.Total, s.Currency), dash(s.DocumentNumber), dash(strings.Join(s.Flags, " "))})
	}
	table(a.out, rows...)
}
