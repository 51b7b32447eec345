package simulator

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"time"
)

// Kind is what a device sells.
type Kind string

// The kinds of CONTRACT.md.
const (
	KindPump    Kind = "pump"    // fuel by the litre
	KindCharger Kind = "charger" // energy by the kWh
	KindKiosk   Kind = "kiosk"   // goods by the piece
)

// Sale is one made-up but plausible sale. Its content is drawn once, by Pump,
// Charger or Kiosk; the times and Seq may be set before it is rendered.
type Sale struct {
	ID        string // UUID, version 4
	Kind      Kind
	Currency  string // ISO 4217
	StartedAt time.Time
	EndedAt   time.Time
	Seq       int64 // the device's event counter for the event rendered next; 0 leaves it out
	Lines     []Line
	Payments  []Payment
	Meter     *Meter // nil where nothing is metered
	Nozzle    string // nozzle or connector; "" for goods

	signature string // of the OCMF text: noise, made once so that the bytes stay the same
}

// Line is one line of a sale. Amount is what it costs, tax included and after
// its discounts, in minor units.
type Line struct {
	Description string
	ProductRef  string
	Unit        string
	Quantity    Decimal
	UnitPrice   Decimal // in major units: fuel is priced in tenths of a cent
	Amount      int64
	TaxRate     string // "0.19"
	TaxCategory string
	Discounts   []Discount
}

// Discount is taken off a line, in positive minor units (CONTRACT.md ruling 13).
type Discount struct {
	Label  string `json:"label"`
	Amount int64  `json:"amount"`
}

// Payment is one line of payment; change is an outbound line of its own
// (OPENFISKAL.md 3.3).
type Payment struct {
	Method    string         `json:"method"`
	Direction string         `json:"direction"`
	Amount    int64          `json:"amount"` // minor units, positive
	Cash      map[string]any `json:"cash,omitempty"`
	Card      map[string]any `json:"card,omitempty"`
	Wallet    map[string]any `json:"wallet,omitempty"`
}

// Meter is the totaliser before and after the sale.
type Meter struct {
	Begin, End Decimal
	Unit       string
}

// Total is the money of all lines in minor units.
func (s *Sale) Total() int64 {
	var sum int64
	for _, l := range s.Lines {
		sum += l.Amount
	}
	return sum
}

// Text is the sale for people: "42.37 l Super E10 76.22 EUR".
func (s *Sale) Text() string {
	l := s.Lines[0]
	what := fmt.Sprintf("%v %s %s", l.Quantity, l.Unit, l.Description)
	if more := len(s.Lines) - 1; more > 0 {
		what += fmt.Sprintf(" + %d more", more)
	}
	return what + " " + Money(s.Total(), s.Currency)
}

// ContinueMeter lets the totaliser go on from where the sale before left it.
func (s *Sale) ContinueMeter(begin Decimal) {
	if s.Meter == nil {
		return
	}
	s.Meter.Begin = begin
	s.Meter.End = Decimal{begin.Units + s.Lines[0].Quantity.Units, begin.Places}
}

type product struct {
	name, ref, unit string
	price           int64 // units of the product's own places, for a currency of exponent 2
}

var (
	fuels = []product{
		{"Super E10", "E10", "l", 1799}, {"Super E5", "E5", "l", 1859},
		{"Diesel", "B7", "l", 1669}, {"HVO100", "HVO100", "l", 1789}, {"Autogas", "LPG", "l", 1029},
	}
	energies = []product{
		{"AC charging", "AC22", "kWh", 4900}, {"DC charging", "DC150", "kWh", 5899}, {"HPC charging", "HPC300", "kWh", 6900},
	}
	standardGoods = []product{
		{"Cola 0.5 l", "4001", "piece", 289}, {"Coffee large", "4002", "piece", 379},
		{"Screen wash 3 l", "4003", "piece", 899}, {"Car wash Comfort", "4004", "piece", 1490}, {"Ice scraper", "4005", "piece", 349},
	}
	reducedGoods = []product{
		{"Sandwich", "5001", "piece", 459}, {"Butter pretzel", "5002", "piece", 229},
		{"Newspaper", "5003", "piece", 320}, {"Apple", "5004", "piece", 95},
	}
)

// Pump draws a sale of fuel: 0.01 l steps, prices in tenths of a cent.
func Pump(r *rand.Rand, currency string, at time.Time) *Sale {
	s := newSale(r, KindPump, currency, at)
	s.meter(r, pick(r, fuels), Decimal{200 + r.Int64N(8800), 2}, 3)
	s.EndedAt = at.Add(time.Duration(45+r.IntN(180)) * time.Second)
	s.pay(r, 20)
	return s
}

// Charger draws a sale of energy: 0.001 kWh steps, prices in hundredths of a
// cent, and signed meter data whose signature is noise.
func Charger(r *rand.Rand, currency string, at time.Time) *Sale {
	s := newSale(r, KindCharger, currency, at)
	s.meter(r, pick(r, energies), Decimal{3000 + r.Int64N(77000), 3}, 4)
	var noise [64]byte
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	s.signature = hex.EncodeToString(noise[:])
	s.EndedAt = at.Add(time.Duration(10+r.IntN(50)) * time.Minute)
	s.pay(r, 0)
	return s
}

// Kiosk draws a sale of goods: several lines, two tax rates, now and then a
// discount, paid by card or in cash with change.
func Kiosk(r *rand.Rand, currency string, at time.Time) *Sale {
	s := newSale(r, KindKiosk, currency, at)
	s.goods(r, pick(r, standardGoods), "0.19", "standard")
	s.goods(r, pick(r, reducedGoods), "0.07", "reduced")
	for range r.IntN(3) {
		s.goods(r, pick(r, standardGoods), "0.19", "standard")
	}
	s.EndedAt = at.Add(time.Duration(20+r.IntN(60)) * time.Second)
	s.pay(r, 50)
	return s
}

// Draw makes a sale of that kind; an unknown kind sells fuel.
func Draw(k Kind, r *rand.Rand, currency string, at time.Time) *Sale {
	switch k {
	case KindCharger:
		return Charger(r, currency, at)
	case KindKiosk:
		return Kiosk(r, currency, at)
	}
	return Pump(r, currency, at)
}

func newSale(r *rand.Rand, k Kind, currency string, at time.Time) *Sale {
	return &Sale{ID: newUUID(r, at), Kind: k, Currency: currency, StartedAt: at}
}

// meter adds the one line of a metered sale; places are those of the price in
// a currency of exponent 2, shifted for others so that the price stays plausible.
func (s *Sale) meter(r *rand.Rand, p product, quantity Decimal, places int) {
	price := Decimal{p.price, places - 2 + Exponent(s.Currency)}
	s.Lines = []Line{{
		Description: p.name, ProductRef: p.ref, Unit: p.unit, Quantity: quantity, UnitPrice: price,
		Amount:  LineAmount(quantity, price, Exponent(s.Currency)),
		TaxRate: "0.19", TaxCategory: "standard",
	}}
	s.Nozzle = fmt.Sprint(1 + r.IntN(4))
	s.Meter = &Meter{Unit: p.unit}
	s.ContinueMeter(Decimal{1_000_000 + r.Int64N(90_000_000), quantity.Places})
}

func (s *Sale) goods(r *rand.Rand, p product, rate, category string) {
	exp := Exponent(s.Currency)
	l := Line{
		Description: p.name, ProductRef: p.ref, Unit: p.unit,
		Quantity: Decimal{1 + r.Int64N(3), 0}, UnitPrice: Decimal{p.price, exp},
		TaxRate: rate, TaxCategory: category,
	}
	l.Amount = LineAmount(l.Quantity, l.UnitPrice, exp)
	if r.IntN(3) == 0 {
		off := l.Amount / 10
		l.Discounts = []Discount{{Label: "Club 10 %", Amount: off}}
		l.Amount -= off
	}
	s.Lines = append(s.Lines, l)
}

// pay settles the total: in cash with the given chance of 100, else by card,
// and at a charger sometimes by wallet.
func (s *Sale) pay(r *rand.Rand, cashPercent int) {
	total := s.Total()
	last4 := fmt.Sprintf("%04d", r.IntN(10000))
	switch draw := r.IntN(100); {
	case draw < cashPercent:
		tendered := (total + 499) / 500 * 500
		s.Payments = []Payment{{Method: "cash", Direction: "inbound", Amount: tendered, Cash: map[string]any{"amount_tendered": tendered}}}
		if change := tendered - total; change > 0 {
			s.Payments = append(s.Payments, Payment{Method: "cash", Direction: "outbound", Amount: change})
		}
	case s.Kind == KindCharger && draw < 30:
		s.Payments = []Payment{{Method: "wallet", Direction: "inbound", Amount: total,
			Wallet: map[string]any{"provider": "apple_pay", "scheme": "visa", "last4": last4}}}
	default:
		s.Payments = []Payment{{Method: "card", Direction: "inbound", Amount: total,
			Card: map[string]any{"scheme": pick(r, []string{"visa", "mastercard", "girocard"}), "last4": last4}}}
	}
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// newUUID draws a version 7 UUID, as the device contract advises: it sorts by
// time, so that the gateway's index of sale ids grows at one end. Its chance
// comes from a seeded source, so that a run with the same times can be repeated.
func newUUID(r *rand.Rand, at time.Time) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(at.UnixMilli())<<16|uint64(r.Uint32()&0xffff))
	binary.BigEndian.PutUint64(b[8:], r.Uint64())
	b[6] = b[6]&0x0f | 0x70
	b[8] = b[8]&0x3f | 0x80
	var text [36]byte
	hex.Encode(text[0:8], b[0:4])
	hex.Encode(text[9:13], b[4:6])
	hex.Encode(text[14:18], b[6:8])
	hex.Encode(text[19:23], b[8:10])
	hex.Encode(text[24:36], b[10:16])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}
