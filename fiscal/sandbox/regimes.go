package sandbox

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
)

// regime is what a jurisdiction makes of a sale (OPENFISKAL.md section 8).
type regime struct {
	name         string // the discriminator `regime`
	documentType string
	signsStart   bool
	transmission string // transmission_status once done
}

// The names and types of Austria and Italy are not documented; these are
// plausible, and a client passes them on as they are.
var regimes = map[string]*regime{
	"DE": {name: "tse", documentType: "Kassenbeleg", signsStart: true, transmission: "not_required"},
	"AT": {name: "rksv", documentType: "Barzahlungsbeleg", transmission: "not_required"},
	"IT": {name: "rt", documentType: "Documento commerciale", transmission: "transmitted"},
}

// signatureAlgorithm is a name of BSI TR-03151 for the plain form r‖s.
const signatureAlgorithm = "ecdsa-plain-SHA256"

type fiscalEvent struct {
	SignedAt    string `json:"signed_at"`
	Counter     int64  `json:"transaction_counter"`
	Signature   string `json:"signature"`
	ProcessType string `json:"process_type,omitempty"`
	ProcessData string `json:"process_data,omitempty"`
}

type verification struct {
	URL    *string `json:"url"`
	QRData *string `json:"qr_data"`
}

type fiscalDocument struct {
	Regime             string       `json:"regime"`
	DocumentType       string       `json:"document_type"`
	TransmissionStatus string       `json:"transmission_status"`
	FiscalUnitID       string       `json:"fiscal_unit_id"`
	DocumentNumber     *string      `json:"document_number"`
	TransmittedAt      *string      `json:"transmitted_at"`
	Verification       verification `json:"verification"`
	TSESerial          string       `json:"tse_serial,omitempty"`
	ClientID           string       `json:"client_id,omitempty"`
	Algorithm          string       `json:"signature_algorithm,omitempty"`
	TimeFormat         string       `json:"time_format,omitempty"`
	CashRegisterID     string       `json:"cash_register_id,omitempty"` // rksv
	DeviceSerial       string       `json:"device_serial,omitempty"`    // rt
	Signature          string       `json:"signature,omitempty"`        // rksv, rt
	StartEvent         *fiscalEvent `json:"start_event"`
	EndEvent           *fiscalEvent `json:"end_event"`
}

// SignedText is what a signature of a fiscal event covers.
func SignedText(operation string, counter int64, signedAt, processData string) string {
	return fmt.Sprintf("%s;%d;%s;%s", operation, counter, signedAt, processData)
}

// sign makes a fiscal event; each takes the next number of the register's TSE.
func (s *Service) sign(o *operation, processType, processData string, now time.Time) *fiscalEvent {
	o.register.counter++
	e := &fiscalEvent{SignedAt: stamp(now), Counter: o.register.counter, ProcessType: processType, ProcessData: processData}
	hash := sha256.Sum256([]byte(SignedText(o.id, e.Counter, e.SignedAt, processData)))
	r, v, err := ecdsa.Sign(rand.Reader, s.signer, hash[:])
	if err != nil {
		panic("sandbox: sign: " + err.Error()) // crypto/rand does not fail
	}
	plain := make([]byte, 64)
	r.FillBytes(plain[:32])
	v.FillBytes(plain[32:])
	e.Signature = base64.StdEncoding.EncodeToString(plain)
	return e
}

// finish signs the end of a completed sale and numbers its document.
func (s *Service) finish(o *operation, now time.Time) {
	o.register.documents++
	o.documentNumber = fmt.Sprintf("%d-%06d", now.UTC().Year(), o.register.documents)
	o.end = s.sign(o, "Kassenbeleg-V1", processData(o), now)
}

// fiscal is the block `fiscal` as it stands; nil where the regime has nothing
// to say yet.
func (o *operation) fiscal(now time.Time) *fiscalDocument {
	g := regimes[o.register.jurisdiction]
	if !g.signsStart && o.state != stateCompleted {
		return nil
	}
	d := &fiscalDocument{Regime: g.name, DocumentType: g.documentType, TransmissionStatus: "pending", FiscalUnitID: o.unit.id}
	if g.signsStart {
		d.TSESerial, d.ClientID, d.Algorithm, d.TimeFormat = o.unit.serial, o.register.label, signatureAlgorithm, "utcTime"
		d.StartEvent = o.start
	}
	switch o.fiscalState(now) {
	case fiscalFailed:
		d.TransmissionStatus = "failed"
	case fiscalSucceeded:
		d.TransmissionStatus = g.transmission
		o.fillEnd(d, g)
	}
	return d
}

func (o *operation) fillEnd(d *fiscalDocument, g *regime) {
	if o.state == stateCompleted {
		d.DocumentNumber = &o.documentNumber
	}
	if o.end == nil {
		return
	}
	if g.transmission == "transmitted" {
		d.TransmittedAt = &o.end.SignedAt
	}
	var qr string
	switch g.name {
	case "tse":
		d.EndEvent = o.end
		qr = strings.Join([]string{"V0", o.register.label, signatureAlgorithm, o.start.SignedAt, o.end.SignedAt,
			decimal(o.totals.TotalGross), fmt.Sprint(o.end.Counter), o.end.Signature}, ";")
	case "rksv":
		d.CashRegisterID, d.Signature = o.register.id, o.end.Signature
		qr = strings.Join([]string{"_R1-AT0", o.register.id, o.documentNumber, o.end.SignedAt, decimal(o.totals.TotalGross), o.end.Signature}, "_")
	case "rt":
		d.DeviceSerial, d.Signature = o.unit.serial, o.end.Signature
	}
	if qr != "" && o.state == stateCompleted {
		d.Verification.QRData = &qr
	}
}

// processData is the text the German end signature covers: turnover by rate
// (19 %, 7 %, 10.7 %, 5.5 %, 0 %) and payments by kind.
func processData(o *operation) string {
	place := map[string]int{"0.19": 0, "0.07": 1, "0.107": 2, "0.055": 3}
	var rates [5]int64
	for _, b := range o.totals.TaxBreakdown {
		i, ok := place[b.Rate]
		if !ok {
			i = 4
		}
		rates[i] += b.Taxable + b.Tax
	}
	var cash, other int64
	for _, p := range o.payments {
		n := p.Amount
		if p.Direction == "outbound" {
			n = -n
		}
		if p.Method == "cash" {
			cash += n
		} else {
			other += n
		}
	}
	parts := make([]string, len(rates))
	for i, v := range rates {
		parts[i] = decimal(v)
	}
	var paid []string
	if cash != 0 {
		paid = append(paid, decimal(cash)+":Bar")
	}
	if other != 0 {
		paid = append(paid, decimal(other)+":Unbar")
	}
	return "Beleg^" + strings.Join(parts, "_") + "^" + strings.Join(paid, "_")
}

// decimal prints minor units with two places.
func decimal(n int64) string {
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	return fmt.Sprintf("%s%d.%02d", sign, n/100, n%100)
}
