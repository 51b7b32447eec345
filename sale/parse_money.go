package sale

import "slices"

// The parts of an event that carry money.

const (
	lDescription uint = iota
	lProduct
	lQuantity
	lUnit
	lPrice
	lAmount
	lTax
	lDiscounts
	lFlags
)

func (p *parser) lines() *Fault {
	p.e.HasLines = true
	return p.s.array(func(i int) *Fault {
		p.e.Lines = append(p.e.Lines, Line{})
		l := &p.e.Lines[len(p.e.Lines)-1]
		var seen fields
		f := p.s.object(func(name string) *Fault { return p.lineMember(l, &seen, name) })
		if f == nil {
			f = l.required(seen)
		}
		return f.under(i)
	})
}

var lineBits = map[string]uint{"description": lDescription, "product_ref": lProduct, "quantity": lQuantity, "unit": lUnit,
	"unit_price": lPrice, "amount": lAmount, "tax": lTax, "discounts": lDiscounts, "flags": lFlags}

func (p *parser) lineMember(l *Line, seen *fields, name string) *Fault {
	bit, known := lineBits[name]
	if !known {
		return p.s.skip()
	}
	f := seen.once(bit)
	if f == nil {
		f = p.lineField(l, bit)
	}
	return f.under(name)
}

func (p *parser) lineField(l *Line, bit uint) *Fault {
	switch bit {
	case lDescription:
		return p.str(&l.Description)
	case lProduct:
		return p.strOrNull(&l.ProductRef)
	case lQuantity:
		return p.decimal(&l.Quantity)
	case lUnit:
		return p.str(&l.Unit)
	case lPrice:
		return p.decimal(&l.UnitPrice)
	case lAmount:
		return p.amount(&l.Amount)
	case lTax:
		return p.tax(l)
	case lDiscounts:
		return p.discounts(l)
	}
	return p.lineFlags(l)
}

func (l *Line) required(seen fields) *Fault {
	for _, n := range [...]struct {
		bit  uint
		name string
	}{{lDescription, "description"}, {lQuantity, "quantity"}, {lPrice, "unit_price"}, {lAmount, "amount"}, {lTax, "tax"}} {
		if !seen.has(n.bit) {
			return missing(n.name)
		}
	}
	if len(l.Description) == len(`""`) {
		return &Fault{Code: "invalid", Field: "/description", Message: "must not be empty"}
	}
	return nil
}

func (p *parser) tax(l *Line) *Fault {
	rate := false
	f := p.s.object(func(name string) *Fault {
		switch name {
		case "rate":
			if rate {
				return (&Fault{Code: "repeated", Message: "stands twice"}).under(name)
			}
			rate = true
			f := p.decimal(&l.TaxRate)
			if f == nil && l.TaxRate.aboveOne() {
				f = &Fault{Code: "invalid", Message: `must be a fraction from 0 to 1, such as "0.19"`}
			}
			return f.under(name)
		case "category":
			return p.str(&l.TaxCategory).under(name)
		}
		return p.s.skip()
	})
	switch {
	case f != nil:
	case !rate:
		f = missing("rate")
	case l.TaxCategory == nil:
		f = missing("category")
	}
	return f
}

func (p *parser) discounts(l *Line) *Fault {
	return p.s.array(func(i int) *Fault {
		d := Discount{Amount: -1}
		f := p.s.object(func(name string) *Fault {
			switch name {
			case "label":
				return p.str(&d.Label).under(name)
			case "amount":
				if d.Amount >= 0 {
					return (&Fault{Code: "repeated", Message: "stands twice"}).under(name)
				}
				return p.amount(&d.Amount).under(name)
			}
			return p.s.skip()
		})
		if f == nil && d.Amount < 0 {
			f = missing("amount")
		}
		if f == nil && d.Amount == 0 {
			f = &Fault{Code: "invalid", Field: "/amount", Message: "must be positive"}
		}
		l.Discounts = append(l.Discounts, d)
		return f.under(i)
	})
}

// lineFlags are OpenFiskal's (OPENFISKAL.md 3.2).
var lineFlags = []string{"deposit", "gift_card", "service_charge", "tip"}

func (p *parser) lineFlags(l *Line) *Fault {
	p.s.space()
	from := p.s.at
	f := p.s.array(func(i int) *Fault {
		t, f := p.s.text()
		if f == nil && !slices.Contains(lineFlags, t) {
			f = oneOf(lineFlags)
		}
		return f.under(i)
	})
	l.Flags = p.s.b[from:p.s.at]
	return f
}

const (
	pMethod uint = iota
	pDirection
	pAmount
	pCurrency
	pReference
)

// Payment methods and directions of OpenFiskal (OPENFISKAL.md 3.3).
var (
	methods    = []string{"cash", "card", "wallet", "voucher", "gift_card", "online", "other"}
	directions = []string{"inbound", "outbound"}
)

func (p *parser) payments() *Fault {
	return p.s.array(func(i int) *Fault {
		p.e.Payments = append(p.e.Payments, Payment{})
		pay := &p.e.Payments[len(p.e.Payments)-1]
		var seen fields
		var details [7]struct {
			method string
			raw    []byte
		}
		f := p.s.object(func(name string) *Fault {
			if at := slices.Index(methods, name); at >= 0 {
				details[at].method = name
				return p.object(&details[at].raw).under(name)
			}
			return p.paymentMember(pay, &seen, name)
		})
		if f == nil {
			f = pay.required(seen)
		}
		for _, d := range details {
			if d.method == pay.Method { // only the sub-object of the method counts
				pay.Detail = d.raw
			}
		}
		return f.under(i)
	})
}

var paymentBits = map[string]uint{"method": pMethod, "direction": pDirection, "amount": pAmount, "currency": pCurrency, "reference": pReference}

func (p *parser) paymentMember(pay *Payment, seen *fields, name string) *Fault {
	bit, known := paymentBits[name]
	if !known {
		return p.s.skip()
	}
	f := seen.once(bit)
	if f == nil {
		f = p.paymentField(pay, bit)
	}
	return f.under(name)
}

func (p *parser) paymentField(pay *Payment, bit uint) *Fault {
	switch bit {
	case pMethod:
		return p.word(&pay.Method, methods)
	case pDirection:
		return p.word(&pay.Direction, directions)
	case pAmount:
		return p.amount(&pay.Amount)
	case pCurrency:
		return p.str(&pay.Currency)
	}
	return p.strOrNull(&pay.Reference)
}

func (p *parser) word(into *string, words []string) *Fault {
	t, f := p.s.text()
	if f == nil && !slices.Contains(words, t) {
		f = oneOf(words)
	}
	*into = t
	return f
}

func (pay *Payment) required(seen fields) *Fault {
	switch {
	case !seen.has(pMethod):
		return missing("method")
	case !seen.has(pDirection):
		return missing("direction")
	case !seen.has(pAmount):
		return missing("amount")
	}
	return nil
}

// check does the sums.
func (e *Event) check() *Fault {
	for i := range e.Lines {
		// No line is worth less than nothing, and the sum of a 60 KiB payload's
		// amounts, each at most 10^15, stays far inside int64.
		e.Total += e.Lines[i].Amount
	}
	if e.Currency != "" {
		exp, _ := Exponent(e.Currency)
		if f := e.CheckLines(exp); f != nil {
			return f
		}
	}
	if e.Kind != Complete && e.Kind != Whole {
		return nil
	}
	if len(e.Lines) == 0 {
		return &Fault{Code: "invalid", Field: "/line_items", Message: "must have at least one line"}
	}
	return e.checkPayments()
}

func (e *Event) checkPayments() *Fault {
	var paid int64
	if len(e.Payments) == 0 {
		return &Fault{Code: "invalid", Field: "/payments", Message: "must have at least one payment; a sale for which nothing is paid ends with sale/cancel"}
	}
	for i := range e.Payments {
		p := &e.Payments[i]
		if p.Currency != nil && e.Currency != "" && unquote(p.Currency) != e.Currency {
			return &Fault{Code: "invalid", Field: pointer("payments", i, "currency"), Message: "must be the sale's currency"}
		}
		if p.Amount == 0 {
			return &Fault{Code: "invalid", Field: pointer("payments", i, "amount"), Message: "must be positive"}
		}
		if p.Direction == "inbound" {
			paid += p.Amount
		} else {
			paid -= p.Amount
		}
	}
	if paid != e.Total {
		return &Fault{Code: "payments_mismatch", Field: "/payments",
			Message: "inbound minus outbound payments must equal the sum of the lines' amounts"}
	}
	return nil
}
