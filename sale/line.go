package sale

// Mapped is how a line goes to OpenFiskal, whose unit price is an integer of
// minor units: UnitPrice × Quantity − the line's discounts is the line's
// Amount, to the last unit.
type Mapped struct {
	Quantity  Decimal
	UnitPrice int64 // minor units, before discounts
	Exact     bool  // false: sent as 1 × the amount, with the real quantity and price in the text
}

// gross is what the line costs before its discounts.
func (l *Line) gross() int64 {
	g := l.Amount
	for _, d := range l.Discounts {
		g += d.Amount
	}
	return g
}

// Map gives the line's form for a currency with exp digits, without changing
// the money taken: where quantity × unit price with an integer minor-unit
// price gives exactly the amount, it is sent so; otherwise as quantity 1 at
// the amount (CONTRACT.md 2.2).
func (l *Line) Map(exp int) Mapped {
	gross := l.gross()
	if l.Quantity.IsZero() {
		return Mapped{Quantity: oneUnit, UnitPrice: gross} // a quantity of nothing is no line to OpenFiskal
	}
	if price, whole := l.UnitPrice.minor(exp); whole {
		product := mul64(l.Quantity.coef, price)
		if product == (u128{0, uint64(gross)}).times(int(l.Quantity.scale)) {
			return Mapped{Quantity: l.Quantity, UnitPrice: int64(price), Exact: true}
		}
	}
	return Mapped{Quantity: oneUnit, UnitPrice: gross}
}

var oneUnit = Decimal{coef: 1, text: "1"}

// minor gives the number in minor units, and whether it is a whole one.
func (d Decimal) minor(exp int) (uint64, bool) {
	coef, scale := d.coef, int(d.scale)
	for scale > exp && coef%10 == 0 {
		coef /= 10
		scale--
	}
	if scale > exp {
		return 0, false
	}
	coef *= pow10[exp-scale] // at most 10^15 × 10^4
	return coef, coef <= maxAmount
}

// agrees reports whether |quantity × unit price − amount before discounts| is
// at most one minor unit.
func (l *Line) agrees(exp int) bool {
	product := mul64(l.Quantity.coef, l.UnitPrice.coef)
	gross := u128{0, uint64(l.gross())}
	one := u128{0, 1}
	// Both sides in the same unit: 10^-(scales) of a major one.
	if k := int(l.Quantity.scale) + int(l.UnitPrice.scale) - exp; k >= 0 {
		gross, one = gross.times(k), one.times(k)
	} else {
		product = product.times(-k)
	}
	return !one.less(product.minus(gross))
}

// CheckCurrency checks what needs the sale's currency: the lines' arithmetic
// and the payments' own. Parse cannot where a complete leaves the currency to
// its start.
func (e *Event) CheckCurrency(currency string) *Fault {
	exp, _ := Exponent(currency)
	for i := range e.Lines {
		if !e.Lines[i].agrees(exp) {
			return &Fault{Code: "amount_mismatch", Field: pointer("line_items", i, "amount"),
				Message: "quantity × unit_price differs from amount (plus discounts) by more than one minor unit"}
		}
	}
	for i := range e.Payments {
		if c := e.Payments[i].Currency; c != nil && unquote(c) != currency {
			return &Fault{Code: "invalid", Field: pointer("payments", i, "currency"), Message: "must be the sale's currency"}
		}
	}
	return nil
}
