package simulator

import (
	"encoding/json"
	"fmt"
	"time"
)

// timeLayout is RFC 3339 to the millisecond, always with a numeric offset: the
// device says which clock it means (CONTRACT.md 2.2).
const timeLayout = "2006-01-02T15:04:05.000-07:00"

// payload is every event of CONTRACT.md 2.2; what an event does not carry is
// left out.
type payload struct {
	SaleID     string            `json:"sale_id"`
	StartedAt  string            `json:"started_at,omitempty"`
	OccurredAt string            `json:"occurred_at"`
	Currency   string            `json:"currency,omitempty"`
	Seq        int64             `json:"seq,omitempty"`
	Reason     string            `json:"reason,omitempty"`
	LineItems  []lineItem        `json:"line_items,omitempty"`
	Payments   []Payment         `json:"payments,omitempty"`
	Meter      *meterText        `json:"meter,omitempty"`
	OCMF       string            `json:"ocmf,omitempty"`
	Metadata   map[string]string `json:"metadata,omitempty"`
}

type lineItem struct {
	Description string            `json:"description"`
	ProductRef  string            `json:"product_ref,omitempty"`
	Quantity    string            `json:"quantity"`
	Unit        string            `json:"unit"`
	UnitPrice   string            `json:"unit_price"`
	Amount      int64             `json:"amount"`
	Discounts   []Discount        `json:"discounts,omitempty"`
	Tax         map[string]string `json:"tax"`
}

type meterText struct {
	Begin string `json:"begin"`
	End   string `json:"end"`
	Unit  string `json:"unit"`
}

// StartJSON renders sale/start.
func (s *Sale) StartJSON() []byte {
	return marshal(payload{SaleID: s.ID, OccurredAt: s.StartedAt.Format(timeLayout), Currency: s.Currency, Seq: s.Seq, Metadata: s.metadata()})
}

// UpdateJSON renders sale/update when part of the sale is done: of a metered
// sale that share of the quantity, of goods that share of the lines.
func (s *Sale) UpdateJSON(part, of int, at time.Time) []byte {
	lines := s.Lines
	if s.Meter != nil {
		l := lines[0]
		l.Quantity.Units = l.Quantity.Units * int64(part) / int64(of)
		l.Amount = LineAmount(l.Quantity, l.UnitPrice, Exponent(s.Currency))
		lines = []Line{l}
	} else {
		lines = lines[:max(1, len(lines)*part/of)]
	}
	return marshal(payload{SaleID: s.ID, OccurredAt: at.Format(timeLayout), Seq: s.Seq, LineItems: lineItems(lines)})
}

// CompleteJSON renders sale/complete.
func (s *Sale) CompleteJSON() []byte {
	return marshal(s.final())
}

// WholeJSON renders the whole sale in one event, for the topic `sale`.
func (s *Sale) WholeJSON() []byte { return marshal(s.whole()) }

// CancelJSON renders sale/cancel at EndedAt.
func (s *Sale) CancelJSON(reason string) []byte {
	return marshal(payload{SaleID: s.ID, OccurredAt: s.EndedAt.Format(timeLayout), Seq: s.Seq, Reason: reason})
}

func (s *Sale) final() payload {
	p := payload{
		SaleID: s.ID, OccurredAt: s.EndedAt.Format(timeLayout), Seq: s.Seq,
		LineItems: lineItems(s.Lines), Payments: s.Payments, OCMF: s.ocmf(),
	}
	if m := s.Meter; m != nil {
		p.Meter = &meterText{m.Begin.String(), m.End.String(), m.Unit}
	}
	return p
}

func (s *Sale) whole() payload {
	p := s.final()
	p.StartedAt, p.Currency, p.Metadata = s.StartedAt.Format(timeLayout), s.Currency, s.metadata()
	return p
}

func (s *Sale) metadata() map[string]string {
	if s.Nozzle == "" {
		return nil
	}
	name := "nozzle"
	if s.Kind == KindCharger {
		name = "connector"
	}
	return map[string]string{name: s.Nozzle}
}

func lineItems(lines []Line) []lineItem {
	out := make([]lineItem, len(lines))
	for i, l := range lines {
		out[i] = lineItem{
			Description: l.Description, ProductRef: l.ProductRef, Quantity: l.Quantity.String(), Unit: l.Unit,
			UnitPrice: l.UnitPrice.String(), Amount: l.Amount, Discounts: l.Discounts,
			Tax: map[string]string{"rate": l.TaxRate, "category": l.TaxCategory},
		}
	}
	return out
}

// ocmf renders signed meter data in the shape of the Open Charge Metering
// Format. The signature is noise: nobody can verify it, and nobody here has to.
func (s *Sale) ocmf() string {
	if s.signature == "" || s.Meter == nil {
		return ""
	}
	const meterTime = "2006-01-02T15:04:05,000-0700 S"
	return fmt.Sprintf(`OCMF|{"FV":"1.0","GI":"edgegw simulator","GS":"%.8s","PG":"T%d","MV":"simulated","MS":"%.8s","RD":[`+
		`{"TM":"%s","TX":"B","RV":%v,"RI":"1-b:1.8.0","RU":"kWh","ST":"G"},{"TM":"%s","TX":"E","RV":%v,"RI":"1-b:1.8.0","RU":"kWh","ST":"G"}]}|{"SD":"%s"}`,
		s.ID, s.Seq, s.ID, s.StartedAt.Format(meterTime), s.Meter.Begin, s.EndedAt.Format(meterTime), s.Meter.End, s.signature)
}

// marshal cannot fail on these types: text, integers and maps of them.
func marshal(p payload) []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic(fmt.Sprintf("render event of sale %s: %v", p.SaleID, err))
	}
	return b
}
