package sale

import "time"

// Event is one thing a device reports about a sale, understood and checked.
// Fields that go through to OpenFiskal as they came are kept as raw JSON, so
// that nothing is re-serialised on the way.
type Event struct {
	Kind       Kind
	SaleID     string
	OccurredAt string // the device's own text, RFC 3339 with offset: it goes out unchanged
	StartedAt  string // of a whole sale; "" if not given
	At         time.Time
	Currency   string // "" where the event carries none
	Seq        int64  // the device's own event counter
	HasSeq     bool
	Clock      string // synchronised, informative, relative, unknown or ""
	Cashier    Cashier
	Metadata   []byte // raw JSON object, or nil
	Lines      []Line
	Payments   []Payment
	HasLines   bool   // line_items was there, perhaps empty
	Reason     []byte // raw JSON string of a cancel, or nil
	Meter      []byte // raw JSON object, or nil
	OCMF       []byte // raw JSON string, or nil: signed meter data stays byte for byte
	Total      int64  // sum of the lines' amounts, minor units
	Flags      []string
}

// Cashier is who sold; raw JSON strings.
type Cashier struct{ ID, Name []byte }

// Line is one line of a sale. Amount is what is paid for it, tax included and
// discounts taken off, in minor units: authoritative (CONTRACT.md 2.2).
type Line struct {
	Description []byte // raw JSON string
	ProductRef  []byte // raw JSON string or null, or nil
	Unit        []byte // raw JSON string, or nil
	Flags       []byte // raw JSON array, or nil
	Quantity    Decimal
	UnitPrice   Decimal // in major units: 1.799 EUR
	Amount      int64
	TaxRate     Decimal
	TaxCategory []byte // raw JSON string, or nil
	Discounts   []Discount
}

// Discount is a positive amount taken off a line, in minor units (ruling 13).
type Discount struct {
	Label  []byte // raw JSON string, or nil
	Amount int64
}

// Payment is one leg of the payment. Detail is the sub-object named like the
// method, raw.
type Payment struct {
	Method    string
	Direction string
	Amount    int64
	Currency  []byte // raw JSON string, or nil
	Reference []byte // raw JSON string or null, or nil
	Detail    []byte // raw JSON object, or nil
}

// CanOpen reports whether a complete carries all of a sale, so that it can
// stand alone where its start never came.
func (e *Event) CanOpen() bool { return e.Kind == Whole || e.Kind == Complete && e.Currency != "" }
