package sandbox

import (
	"encoding/json"
	"fmt"
	"math/big"
)

// lineItem is a resolved LineItem (OPENFISKAL.md section 3.2).
type lineItem struct {
	ID             string         `json:"id"`
	Position       int            `json:"position"`
	Description    string         `json:"description"`
	Quantity       json.Number    `json:"quantity"`
	Unit           string         `json:"unit"`
	UnitPriceGross int64          `json:"unit_price_gross"`
	ProductRef     *string        `json:"product_ref"`
	Flags          []string       `json:"flags"`
	SubtotalGross  int64          `json:"subtotal_gross"`
	LineDiscounts  []lineDiscount `json:"line_discounts"`
	DiscountAmount int64          `json:"line_discount_amount"`
	Discounted     int64          `json:"subtotal_after_line_discounts"`
	Allocations    []struct{}     `json:"cart_discount_allocations"` // cart discounts are not taken
	CartDiscount   int64          `json:"cart_discount_amount"`
	TotalGross     int64          `json:"total_gross"`
	Tax            lineTax        `json:"tax"`
}

type lineDiscount struct {
	ID     string `json:"id"`
	Source string `json:"source"`
	Type   string `json:"type,omitempty"`
	Label  string `json:"label"`
	Rate   string `json:"rate,omitempty"`
	Amount int64  `json:"amount"`
}

type lineTax struct {
	Rate     string `json:"rate"`
	Category string `json:"category"`
	Net      int64  `json:"net_amount"`
	Tax      int64  `json:"tax_amount"`
}

// totals are the Totals of OPENFISKAL.md section 3.4.
type totals struct {
	SubtotalGross      int64       `json:"subtotal_gross"`
	LineDiscounts      int64       `json:"total_line_discounts"`
	AfterLineDiscounts int64       `json:"subtotal_after_line_discounts"`
	CartDiscounts      int64       `json:"total_cart_discounts"`
	AfterAll           int64       `json:"subtotal_after_all_discounts"`
	Rounding           int64       `json:"rounding_adjustment"`
	TotalGross         int64       `json:"total_gross"`
	TotalNet           int64       `json:"total_net"`
	TotalTax           int64       `json:"total_tax"`
	TaxBreakdown       []taxAmount `json:"tax_breakdown"`
	NetPayable         int64       `json:"net_payable"`
}

type taxAmount struct {
	Rate     string `json:"rate"`
	Category string `json:"category"`
	Taxable  int64  `json:"taxable_amount"`
	Tax      int64  `json:"tax_amount"`
}

// readLines takes line_items apart and computes each line.
func (f fields) readLines() ([]lineItem, *fail) {
	var lines []lineItem
	for i, raw := range f.array("line_items", false) {
		at := f.element("line_items", i)
		l := f.r.object(raw, at, "description", "quantity", "unit_price_gross", "tax", "unit", "line_discounts", "product_ref", "flags")
		item := lineItem{Position: i + 1, Description: l.text("description", true, mostText),
			Quantity: l.quantity("quantity"), UnitPriceGross: l.integer("unit_price_gross", true, 0),
			Unit: l.text("unit", false, mostText), Flags: []string{}, LineDiscounts: []lineDiscount{}, Allocations: []struct{}{}}
		if item.Unit == "" {
			item.Unit = "piece"
		}
		if ref := l.text("product_ref", false, mostText); ref != "" {
			item.ProductRef = &ref
		}
		item.Flags = append(item.Flags, l.flags()...)
		item.LineDiscounts = append(item.LineDiscounts, l.discounts()...)
		item.Tax = l.tax()
		if f.r.err != nil {
			return nil, f.r.err
		}
		if err := item.compute(at); err != nil {
			return nil, err
		}
		lines = append(lines, item)
	}
	return lines, f.r.err
}

func (f fields) flags() []string {
	var out []string
	for i, raw := range f.array("flags", false) {
		name := f.element("flags", i)
		one := fields{r: f.r, vals: map[string]json.RawMessage{name: raw}} // an element is read as a field is
		out = append(out, one.oneOf(name, true, "deposit", "gift_card", "service_charge", "tip"))
	}
	return out
}

func (f fields) discounts() []lineDiscount {
	var out []lineDiscount
	for i, raw := range f.array("line_discounts", false) {
		d := f.r.object(raw, f.element("line_discounts", i), "source", "type", "label", "rate", "amount")
		out = append(out, lineDiscount{
			ID: fmt.Sprintf("ldsc_%02d", i+1), Source: d.oneOf("source", true, "manual"), Type: d.text("type", false, mostText),
			Label: d.text("label", true, mostText), Rate: d.text("rate", false, 16), Amount: d.integer("amount", true, 1)})
	}
	return out
}

func (f fields) tax() lineTax {
	raw, ok := f.take("tax", true)
	if !ok {
		return lineTax{}
	}
	t := f.r.object(raw, f.name("tax"), "rate", "category", "included_in_price")
	out := lineTax{Rate: t.text("rate", true, 16), Category: t.text("category", true, mostText)}
	t.boolean("included_in_price")
	if f.r.err == nil && !rateText.MatchString(out.Rate) {
		f.r.fail(t.name("rate"), "A decimal string from \"0\" to \"1\" is needed here.")
	}
	return out
}

// compute works one line out in whole minor units. A price that does not come
// out whole is refused and never rounded: rounding is where cents get lost.
func (l *lineItem) compute(at string) *fail {
	q, _ := new(big.Rat).SetString(string(l.Quantity)) // checked by quantity
	sub := q.Mul(q, new(big.Rat).SetInt64(l.UnitPriceGross))
	if !sub.IsInt() || !sub.Num().IsInt64() || sub.Num().Int64() > mostMinor {
		return unprocessable("amount_not_whole", at, "quantity × unit_price_gross is not a whole minor unit.")
	}
	l.SubtotalGross = sub.Num().Int64()
	for _, d := range l.LineDiscounts {
		l.DiscountAmount += d.Amount
	}
	if l.DiscountAmount > l.SubtotalGross {
		return unprocessable("discount_too_large", at+".line_discounts", "The discounts exceed the line.")
	}
	l.Discounted = l.SubtotalGross - l.DiscountAmount
	l.TotalGross = l.Discounted
	l.Tax.Net = netOf(l.TotalGross, l.Tax.Rate)
	l.Tax.Tax = l.TotalGross - l.Tax.Net
	return nil
}

// netOf is gross ÷ (1 + rate), half away from zero.
func netOf(gross int64, rate string) int64 {
	r, _ := new(big.Rat).SetString(rate) // checked by tax
	r.Add(r, big.NewRat(1, 1))
	net := new(big.Rat).Quo(big.NewRat(gross, 1), r)
	net.Add(net, big.NewRat(1, 2))
	return new(big.Int).Quo(net.Num(), net.Denom()).Int64()
}

// sum adds the lines up; tax is worked out per rate, not per line.
func sum(lines []lineItem) totals {
	t := totals{TaxBreakdown: []taxAmount{}}
	for _, l := range lines {
		t.SubtotalGross += l.SubtotalGross
		t.LineDiscounts += l.DiscountAmount
		t.TotalGross += l.TotalGross
		found := false
		for i := range t.TaxBreakdown {
			if b := &t.TaxBreakdown[i]; b.Rate == l.Tax.Rate && b.Category == l.Tax.Category {
				b.Taxable += l.TotalGross
				found = true
			}
		}
		if !found {
			t.TaxBreakdown = append(t.TaxBreakdown, taxAmount{Rate: l.Tax.Rate, Category: l.Tax.Category, Taxable: l.TotalGross})
		}
	}
	for i := range t.TaxBreakdown {
		b := &t.TaxBreakdown[i]
		gross := b.Taxable
		b.Taxable = netOf(gross, b.Rate)
		b.Tax = gross - b.Taxable
		t.TotalNet += b.Taxable
		t.TotalTax += b.Tax
	}
	t.AfterLineDiscounts, t.AfterAll, t.NetPayable = t.TotalGross, t.TotalGross, t.TotalGross
	return t
}

// Payment is one PaymentInput as it was taken (OPENFISKAL.md section 3.3).
type Payment struct {
	ID        string          `json:"id"`
	Method    string          `json:"method"`
	Direction string          `json:"direction"`
	Amount    int64           `json:"amount"` // minor units, positive
	Currency  string          `json:"currency"`
	Reference *string         `json:"reference"`
	Status    string          `json:"status"`
	Cash      json.RawMessage `json:"cash,omitempty"`
	Card      json.RawMessage `json:"card,omitempty"`
	Wallet    json.RawMessage `json:"wallet,omitempty"`
	Voucher   json.RawMessage `json:"voucher,omitempty"`
	GiftCard  json.RawMessage `json:"gift_card,omitempty"`
	Online    json.RawMessage `json:"online,omitempty"`
}

var (
	methods    = []string{"cash", "card", "wallet", "voucher", "gift_card", "online", "other"}
	subObjects = map[string][]string{
		"card":      {"scheme", "last4", "authorization_code", "terminal_id", "application_id"},
		"wallet":    {"provider", "scheme", "last4", "authorization_code"},
		"voucher":   {"code", "type"},
		"gift_card": {"gift_card_id", "last4"},
		"online":    {"provider", "transaction_reference"},
	}
)

// readPayments takes payments apart: at least one, each amount positive.
func (f fields) readPayments(currency string) []Payment {
	raws := f.array("payments", true)
	if f.r.err == nil && len(raws) == 0 {
		f.r.fail(f.name("payments"), "One payment or more is needed.")
	}
	out := make([]Payment, 0, len(raws))
	for i, raw := range raws {
		p := f.r.object(raw, f.element("payments", i), "method", "direction", "amount", "currency", "reference",
			"cash", "card", "wallet", "voucher", "gift_card", "online")
		v := Payment{ID: fmt.Sprintf("pay_%02d", i+1), Method: p.oneOf("method", true, methods...),
			Direction: p.oneOf("direction", true, "inbound", "outbound"), Amount: p.integer("amount", true, 1),
			Currency: p.text("currency", false, 3), Status: "approved"}
		if ref := p.text("reference", false, mostText); ref != "" {
			v.Reference = &ref
		}
		if v.Currency == "" {
			v.Currency = currency
		} else if v.Currency != currency {
			f.r.fail(p.name("currency"), "The payment is in another currency than the sale.")
		}
		v.details(p)
		out = append(out, v)
	}
	return out
}

// details checks the sub-objects and keeps the one that matches the method.
func (v *Payment) details(p fields) {
	if raw, ok := p.take("cash", false); ok {
		p.r.object(raw, p.name("cash"), "amount_tendered").integer("amount_tendered", false, 1)
	}
	for name, known := range subObjects {
		raw, ok := p.take(name, false)
		if !ok {
			continue
		}
		o := p.r.object(raw, p.name(name), known...)
		for _, k := range known {
			o.text(k, false, mostText)
		}
	}
	if p.r.err != nil {
		return
	}
	kept := map[string]*json.RawMessage{"cash": &v.Cash, "card": &v.Card, "wallet": &v.Wallet, "voucher": &v.Voucher,
		"gift_card": &v.GiftCard, "online": &v.Online}
	if dst := kept[v.Method]; dst != nil {
		*dst = p.vals[v.Method]
	}
}
