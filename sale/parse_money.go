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
		return p.words(&l.Unit)
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

// maxRateScale is enough for every rate there is: 0.055 is 5.5 %.
const maxRateScale = 4

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
	case len(l.TaxCategory) == len(`""`):
		f = &Fault{Code: "invalid", Field: "/category", Message: "must not be empty"}
	case l.TaxRate.scale > maxRateScale:
		f = &Fault{Code: "invalid", Field: "/rate", Message: "has too many digits: 4 are allowed after the point"}
	}
	return f
}

func (p *parser) discounts(l *Line) *Fault {
	return p.s.array(func(i int) *Fault {
		d := Discount{Amount: -1}
		f := p.s.object(func(name string) *Fault {
			switch name {
			case "label":
				return p.words(&d.Label).under(name)
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

// detailFields are the fields of each method's sub-object that OpenFiskal
// defines (OPENFISKAL.md 3.3), in the order of methods. All are strings but
// amount_tendered. Fields it does not define stay in the event and go no
// further: it would refuse the payment for them.
var detailFields = [...][]string{
	{"amount_tendered"},
	{"scheme", "last4", "authorization_code", "terminal_id", "application_id"},
	{"provider", "scheme", "last4", "authorization_code"},
	{"code", "type"},
	{"gift_card_id", "last4"},
	{"provider", "transaction_reference"},
	nil,
}

// detail keeps the known fields of a sub-object, as they came.
func (p *parser) detail(method int, into *[]byte) *Fault {
	kept := []byte{'{'}
	var seen fields
	f := p.s.object(func(name string) *Fault {
		at := slices.Index(detailFields[method], name)
		if at < 0 {
			return p.s.skip()
		}
		if f := seen.once(uint(at)); f != nil {
			return f.under(name)
		}
		p.s.space()
		from := p.s.at
		var f *Fault
		if name == "amount_tendered" {
			var n int64
			f = p.amount(&n)
		} else {
			_, f = p.s.rawString()
		}
		if f == nil {
			if len(kept) > 1 {
				kept = append(kept, ',')
			}
			kept = append(append(append(append(kept, '"'), name...), '"', ':'), p.s.b[from:p.s.at]...)
		}
		return f.under(name)
	})
	*into = append(kept, '}')
	return f
}

func (p *parser) payments() *Fault {
	return p.s.array(func(i int) *Fault {
		p.e.Payments = append(p.e.Payments, Payment{})
		pay := &p.e.Payments[len(p.e.Payments)-1]
		var seen fields
		var details [len(detailFields)][]byte
		f := p.s.object(func(name string) *Fault {
			if at := slices.Index(methods, name); at >= 0 {
				if details[at] != nil {
					return (&Fault{Code: "repeated", Message: "stands twice"}).under(name)
				}
				return p.detail(at, &details[at]).under(name)
			}
			return p.paymentMember(pay, &seen, name)
		})
		if f == nil {
			f = pay.required(seen)
		}
		if at := slices.Index(methods, pay.Method); at >= 0 && len(details[at]) > len("{}") {
			pay.Detail = details[at] // only the sub-object of the method counts
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
		if f := e.CheckCurrency(e.Currency); f != nil {
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
