package fiscal

import (
	"strconv"

	"edgegw/sale"
)

// Encoder renders the calls of generation G1 (OPENFISKAL.md section 0). Every
// body is rendered once, at acceptance, and goes out unchanged ever after.
type Encoder struct {
	// NewKey makes an idempotency key, a UUID.
	NewKey func() string
}

// Encode gives the calls that an event owes, in order. For an event that opens
// a sale, operation is the client-made UUID of it (decision 2). open says that
// the event must open the sale itself: a whole sale, or a complete whose start
// never came. exp is the exponent of the sale's currency.
func (x Encoder) Encode(e *sale.Event, r sale.RegisterID, d sale.Device, operation string, open bool, exp int) []sale.Call {
	calls := make([]sale.Call, 0, 3)
	if open || e.Kind == sale.Start {
		calls = append(calls, sale.Call{Step: sale.StepStart, Method: "POST",
			Path: "/registers/" + string(r) + "/sales", Body: startBody(e, d, operation)})
	}
	switch e.Kind {
	case sale.Update:
		calls = append(calls, patch(e, exp))
	case sale.Complete, sale.Whole:
		calls = append(calls, patch(e, exp), sale.Call{Step: sale.StepComplete, Method: "POST",
			Path: "/sales/" + sale.OperationSlot + "/complete", Body: completeBody(e)})
	case sale.Cancel:
		calls = append(calls, sale.Call{Step: sale.StepCancel, Method: "POST",
			Path: "/sales/" + sale.OperationSlot + "/cancel", Body: cancelBody(e)})
	}
	for i := range calls {
		calls[i].Index = i
		calls[i].IdempotencyKey = x.NewKey() // on PATCH and cancel too: decision 1
	}
	return calls
}

// startBody: decision 2. The fields stand in the order of that list.
func startBody(e *sale.Event, d sale.Device, operation string) []byte {
	b := make([]byte, 0, 256+len(e.Metadata))
	b = append(b, `{"id":"`...)
	b = append(b, operation...)
	b = append(b, `","external_id":`...)
	b = appendString(b, e.SaleID)
	b = append(b, `,"cashier":{"id":`...)
	b = appendRawOr(b, e.Cashier.ID, string(d.ID))
	b = append(b, `,"display_name":`...)
	name := d.Label
	if name == "" {
		name = string(d.ID)
	}
	b = appendRawOr(b, e.Cashier.Name, name)
	b = append(b, '}')
	if e.Currency != "" {
		b = append(b, `,"currency":"`...)
		b = append(b, e.Currency...)
		b = append(b, '"')
	}
	at := e.OccurredAt
	if e.StartedAt != "" {
		at = e.StartedAt
	}
	b = appendOccurred(append(b, ','), at)
	if e.Metadata != nil {
		b = append(b, `,"metadata":`...)
		b = append(b, e.Metadata...)
	}
	return append(b, '}')
}

func patch(e *sale.Event, exp int) sale.Call {
	b := make([]byte, 0, 128+256*len(e.Lines)+len(e.Metadata)+len(e.OCMF))
	b = appendOccurred(append(b, '{'), e.OccurredAt)
	b = append(b, `,"line_items":[`...)
	var mapped []byte
	for i := range e.Lines {
		if i > 0 {
			b = append(b, ',')
		}
		l := &e.Lines[i]
		m := l.Map(exp)
		b = appendLine(b, l, m)
		if !m.Exact {
			mapped = appendMappedLine(mapped, i, l)
		}
	}
	b = append(b, ']')
	b = appendMetadata(b, e, mapped)
	return sale.Call{Step: sale.StepUpdate, Method: "PATCH", Path: "/sales/" + sale.OperationSlot, Body: append(b, '}')}
}

func appendLine(b []byte, l *sale.Line, m sale.Mapped) []byte {
	b = append(b, `{"description":`...)
	if m.Exact {
		b = append(b, l.Description...)
	} else {
		// The exact quantity and price stand in the text (ruling 13).
		b = append(b, l.Description[:len(l.Description)-1]...)
		b = append(b, " ("...)
		b = append(b, l.Quantity.String()...)
		if len(l.Unit) > 2 {
			b = append(b, ' ')
			b = append(b, l.Unit[1:len(l.Unit)-1]...)
		}
		b = append(b, " × "...)
		b = append(b, l.UnitPrice.String()...)
		b = append(b, `)"`...)
	}
	b = append(b, `,"quantity":`...)
	b = append(b, m.Quantity.String()...)
	b = append(b, `,"unit_price_gross":`...)
	b = strconv.AppendInt(b, m.UnitPrice, 10)
	b = append(b, `,"tax":{"rate":"`...)
	b = append(b, l.TaxRate.String()...)
	b = append(b, '"')
	if l.TaxCategory != nil {
		b = append(b, `,"category":`...)
		b = append(b, l.TaxCategory...)
	}
	b = append(b, '}')
	if m.Exact && l.Unit != nil {
		b = append(b, `,"unit":`...)
		b = append(b, l.Unit...)
	}
	b = appendDiscounts(b, l.Discounts)
	if l.ProductRef != nil {
		b = append(b, `,"product_ref":`...)
		b = append(b, l.ProductRef...)
	}
	if l.Flags != nil {
		b = append(b, `,"flags":`...)
		b = append(b, l.Flags...)
	}
	return append(b, '}')
}

// appendDiscounts: ruling 13.
func appendDiscounts(b []byte, discounts []sale.Discount) []byte {
	for i, d := range discounts {
		if i == 0 {
			b = append(b, `,"line_discounts":[`...)
		} else {
			b = append(b, ',')
		}
		b = append(b, `{"source":"manual","label":`...)
		b = appendRawOr(b, d.Label, "discount")
		b = append(b, `,"amount":`...)
		b = strconv.AppendInt(b, d.Amount, 10)
		b = append(b, '}')
	}
	if len(discounts) > 0 {
		b = append(b, ']')
	}
	return b
}

// appendMappedLine keeps what a mapped line lost, for `metadata.lines`.
func appendMappedLine(b []byte, i int, l *sale.Line) []byte {
	if b != nil {
		b = append(b, ',')
	}
	b = append(b, `{"line":`...)
	b = strconv.AppendInt(b, int64(i+1), 10)
	b = append(b, `,"quantity":"`...)
	b = append(b, l.Quantity.String()...)
	b = append(b, `","unit":`...)
	b = appendRawOr(b, l.Unit, "piece")
	b = append(b, `,"unit_price":"`...)
	b = append(b, l.UnitPrice.String()...)
	return append(b, `"}`...)
}

// appendMetadata adds the device's own metadata, the mapped lines, the meter
// and the signed meter data, if there is any of it (decision 4). The gateway's
// members come last, so they win over members of the same name.
func appendMetadata(b []byte, e *sale.Event, mapped []byte) []byte {
	if e.Metadata == nil && mapped == nil && e.Meter == nil && e.OCMF == nil {
		return b
	}
	b = append(b, `,"metadata":`...)
	from := len(b)
	if inner := trimObject(e.Metadata); len(inner) > 0 {
		b = append(append(b, ','), inner...)
	}
	if mapped != nil {
		b = append(append(append(b, `,"lines":[`...), mapped...), ']')
	}
	if e.Meter != nil {
		b = append(append(b, `,"meter":`...), e.Meter...)
	}
	if e.OCMF != nil {
		b = append(append(b, `,"ocmf":`...), e.OCMF...)
	}
	if len(b) == from {
		b = append(b, '{')
	}
	b[from] = '{'
	return append(b, '}')
}

// trimObject gives the members of a raw JSON object without its braces.
func trimObject(raw []byte) []byte {
	if len(raw) < 2 {
		return nil
	}
	raw = raw[1 : len(raw)-1]
	for _, c := range raw {
		if c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			return raw
		}
	}
	return nil
}

func completeBody(e *sale.Event) []byte {
	b := make([]byte, 0, 64+160*len(e.Payments))
	b = appendOccurred(append(b, '{'), e.OccurredAt)
	b = append(b, `,"payments":[`...)
	for i := range e.Payments {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendPayment(b, &e.Payments[i])
	}
	return append(b, `]}`...)
}

func appendPayment(b []byte, p *sale.Payment) []byte {
	b = append(b, `{"method":"`...)
	b = append(b, p.Method...)
	b = append(b, `","direction":"`...)
	b = append(b, p.Direction...)
	b = append(b, `","amount":`...)
	b = strconv.AppendInt(b, p.Amount, 10)
	if p.Currency != nil {
		b = append(append(b, `,"currency":`...), p.Currency...)
	}
	if p.Reference != nil {
		b = append(append(b, `,"reference":`...), p.Reference...)
	}
	if p.Detail != nil {
		b = append(append(append(append(b, ',', '"'), p.Method...), '"', ':'), p.Detail...)
	}
	return append(b, '}')
}

func cancelBody(e *sale.Event) []byte {
	b := make([]byte, 0, 96+len(e.Reason))
	b = appendOccurred(append(b, '{'), e.OccurredAt)
	b = append(b, `,"reason":`...)
	b = appendRawOr(b, e.Reason, "cancelled at the device")
	return append(b, '}')
}

// appendOccurred puts the device's own text: decision 3.
func appendOccurred(b []byte, at string) []byte {
	b = append(b, `"occurred_at":"`...)
	b = append(b, at...)
	return append(b, '"')
}

// appendRawOr puts a raw JSON string, or else a text.
func appendRawOr(b, raw []byte, or string) []byte {
	if raw != nil {
		return append(b, raw...)
	}
	return appendString(b, or)
}

// appendString quotes text for JSON.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
