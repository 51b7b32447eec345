package sale

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// MaxPayload is the largest event, in bytes (CONTRACT.md 2.2: 60 KiB).
const MaxPayload = 60 << 10

// fields marks the names seen in one object, to refuse a repeated one: JSON
// leaves open which of two amounts counts, so neither does.
type fields uint32

func (f *fields) once(bit uint) *Fault {
	if *f&(1<<bit) != 0 {
		return &Fault{Code: "repeated", Message: "stands twice"}
	}
	*f |= 1 << bit
	return nil
}

func (f fields) has(bit uint) bool { return f&(1<<bit) != 0 }

// Parse reads one event and checks what can be checked without knowing the
// sale: form, required fields, enums, the money of lines and payments. Where
// the event carries no currency, CheckCurrency is the caller's to do. On a fault
// the event holds what was understood, its SaleID above all. Unknown fields
// are ignored. The event keeps slices of payload.
func Parse(kind Kind, payload []byte) (*Event, *Fault) {
	e := &Event{Kind: kind}
	if len(payload) > MaxPayload {
		return e, &Fault{Code: "too_large", Message: "the payload is larger than 60 KiB"}
	}
	p := parser{e: e, s: scanner{b: payload}}
	if f := p.s.document(p.member); f != nil {
		return e, f
	}
	if f := p.required(); f != nil {
		return e, f
	}
	return e, e.check()
}

type parser struct {
	e    *Event
	s    scanner
	seen fields
}

// The fields of an event, by their bit.
const (
	fSaleID uint = iota
	fOccurred
	fStarted
	fCurrency
	fSeq
	fCashier
	fClock
	fMetadata
	fLines
	fPayments
	fMeter
	fOCMF
	fReason
)

func (p *parser) member(name string) *Fault {
	bit, known := fieldBits[name]
	if !known {
		return p.s.skip()
	}
	f := p.seen.once(bit)
	if f == nil {
		f = p.field(bit)
	}
	return f.under(name)
}

var fieldBits = map[string]uint{"sale_id": fSaleID, "occurred_at": fOccurred, "started_at": fStarted, "currency": fCurrency, "seq": fSeq,
	"cashier": fCashier, "clock": fClock, "metadata": fMetadata, "line_items": fLines, "payments": fPayments, "meter": fMeter,
	"ocmf": fOCMF, "reason": fReason}

func (p *parser) field(bit uint) *Fault {
	e := p.e
	switch bit {
	case fSaleID:
		return p.saleID()
	case fOccurred:
		return p.instant(&e.OccurredAt, &e.At)
	case fStarted:
		var at time.Time
		return p.instant(&e.StartedAt, &at)
	case fCurrency:
		return p.currency()
	case fSeq:
		return p.seq()
	case fCashier:
		return p.cashier()
	case fClock:
		return p.clock()
	case fMetadata:
		return p.metadata()
	case fLines:
		return p.lines()
	case fPayments:
		return p.payments()
	case fMeter:
		return p.object(&e.Meter)
	case fOCMF:
		return p.str(&e.OCMF)
	}
	return p.words(&e.Reason)
}

func (p *parser) saleID() *Fault {
	id, f := p.s.text()
	if f != nil {
		return f
	}
	if !validSaleID(id) {
		return &Fault{Code: "invalid", Message: "must be 1 to 64 printable ASCII characters"}
	}
	p.e.SaleID = id
	return nil
}

func (p *parser) instant(text *string, at *time.Time) *Fault {
	t, f := p.s.text()
	if f != nil {
		return f
	}
	parsed, err := time.Parse(time.RFC3339Nano, t)
	if err != nil || !strictTime(t) {
		return &Fault{Code: "invalid", Message: "must be a time such as 2026-11-22T08:31:07+01:00 (RFC 3339 with offset)"}
	}
	*text, *at = t, parsed
	return nil
}

// strictTime holds a time to the letter of RFC 3339, where Go's parser is
// lenient: two digits for the hour, a point before the fraction, an offset
// below a day, and a year that a calendar has.
func strictTime(t string) bool {
	const form = "dddd-dd-ddTdd:dd:dd"
	if len(t) <= len(form) || t[:4] == "0000" {
		return false
	}
	for i := range len(form) {
		if digit := t[i] >= '0' && t[i] <= '9'; form[i] == 'd' != digit || form[i] != 'd' && t[i] != form[i] {
			return false
		}
	}
	rest := t[len(form):]
	if rest[0] == '.' {
		rest = strings.TrimLeft(rest[1:], "0123456789")
	}
	return rest == "Z" || len(rest) == len("+01:00") && rest[1:3] < "24" && rest[3] == ':' && rest[4:] < "60"
}

func (p *parser) currency() *Fault {
	c, f := p.s.text()
	if f != nil {
		return f
	}
	if _, ok := Exponent(c); !ok {
		return &Fault{Code: "invalid", Message: `must be an ISO 4217 code such as "EUR"`}
	}
	p.e.Currency = c
	return nil
}

func (p *parser) seq() *Fault {
	n, f := p.s.integer()
	if f == nil && n < 0 {
		f = &Fault{Code: "invalid", Message: "must not be negative"}
	}
	p.e.Seq, p.e.HasSeq = n, f == nil
	return f
}

var clocks = []string{"synchronised", "informative", "relative", "unknown"}

func (p *parser) clock() *Fault {
	c, f := p.s.text()
	if f == nil && !slices.Contains(clocks, c) {
		f = oneOf(clocks)
	}
	p.e.Clock = c
	return f
}

func (p *parser) cashier() *Fault {
	return p.s.object(func(name string) *Fault {
		switch name {
		case "id":
			return p.words(&p.e.Cashier.ID).under(name)
		case "display_name":
			return p.words(&p.e.Cashier.Name).under(name)
		}
		return p.s.skip()
	})
}

// object keeps a raw JSON object.
func (p *parser) object(into *[]byte) *Fault {
	if p.s.peek() != '{' {
		return typeFault("an object")
	}
	raw, f := p.s.raw()
	*into = raw
	return f
}

// Members of the operation's metadata that the gateway writes itself (ruling
// 13); the device's own of these names stay in its event and go no further.
var ownMetadata = []string{"lines", "meter", "ocmf"}

// metadata keeps the raw object, without members whose names the gateway
// needs: a name that stands twice would leave open which one counts.
func (p *parser) metadata() *Fault {
	if p.s.peek() != '{' {
		return typeFault("an object")
	}
	from := p.s.at
	clash := false
	f := p.s.object(func(name string) *Fault {
		clash = clash || slices.Contains(ownMetadata, name)
		return p.s.skip()
	})
	p.e.Metadata = p.s.b[from:p.s.at]
	if f == nil && clash {
		p.e.Metadata = withoutOwn(p.e.Metadata)
	}
	return f
}

func withoutOwn(object []byte) []byte {
	s := scanner{b: object}
	var kept []byte
	s.object(func(name string) *Fault {
		value, f := s.raw()
		if !slices.Contains(ownMetadata, name) {
			quoted, _ := json.Marshal(name) // of a string
			kept = append(append(append(append(kept, ','), quoted...), ':'), value...)
		}
		return f
	})
	return append(append([]byte{'{'}, bytes.TrimPrefix(kept, []byte{','})...), '}')
}

// str keeps a raw JSON string.
func (p *parser) str(into *[]byte) *Fault {
	raw, f := p.s.rawString()
	*into = raw
	return f
}

// words keeps a raw JSON string that says something; an empty one is as none.
func (p *parser) words(into *[]byte) *Fault {
	raw, f := p.s.rawString()
	if len(raw) > len(`""`) {
		*into = raw
	}
	return f
}

// strOrNull keeps a raw JSON string or null.
func (p *parser) strOrNull(into *[]byte) *Fault {
	if p.s.null() {
		*into = []byte("null")
		return nil
	}
	return p.str(into)
}

// amount reads minor units from least up.
func (p *parser) amount(into *int64) *Fault {
	n, f := p.s.integer()
	if f != nil {
		return &Fault{Code: codeType, Message: "must be a whole number of minor units"}
	}
	if n < 0 || n > maxAmount {
		return &Fault{Code: "invalid", Message: "must be from 0 to 10^15 minor units"}
	}
	*into = n
	return nil
}

// decimal reads an exact number, a string or a JSON number.
func (p *parser) decimal(into *Decimal) *Fault {
	var text string
	var f *Fault
	if p.s.peek() == '"' {
		text, f = p.s.text()
	} else {
		text, f = p.s.number()
	}
	if f != nil {
		return &Fault{Code: codeType, Message: errDecimalForm.Error()}
	}
	d, err := ParseDecimal(text)
	if err != nil {
		return &Fault{Code: "invalid", Message: err.Error()}
	}
	*into = d
	return nil
}

// required checks the fields an event of its kind must have.
func (p *parser) required() *Fault {
	for i := range needed {
		n := &needed[i]
		if !p.seen.has(n.bit) && (n.of == nil || slices.Contains(n.of, p.e.Kind)) {
			return missing(n.name)
		}
	}
	return nil
}

var needed = [...]struct {
	bit  uint
	name string
	of   []Kind // nil: of all
}{
	{fSaleID, "sale_id", nil},
	{fOccurred, "occurred_at", nil},
	{fCurrency, "currency", []Kind{Start, Whole}},
	{fLines, "line_items", []Kind{Update, Complete, Whole}},
	{fPayments, "payments", []Kind{Complete, Whole}},
}

func missing(name string) *Fault {
	return &Fault{Code: "missing", Field: pointer(name), Message: "is required"}
}

func oneOf(words []string) *Fault {
	m := "must be one of"
	for i, w := range words {
		if i > 0 {
			m += ","
		}
		m += " " + w
	}
	return &Fault{Code: "invalid", Message: m}
}
