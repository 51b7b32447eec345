package simulator

import (
	"encoding/json"
	"fmt"
	"time"

	"edgegw/sale"
)

// Record is what a device knows of one sale: what it sold and what came back.
type Record struct {
	Device   sale.DeviceID
	SaleID   string
	End      sale.Kind // Complete, Cancel or Whole; 0 while the sale is open
	Currency string
	Amount   int64  // minor units; 0 for an open or a cancelled sale
	Text     string // "42.37 l Super E10 76.22 EUR"
	Begun    time.Time
	Ended    time.Time

	Events       int  // reported so far
	Acknowledged int  // of those, stored by the gateway
	Person       bool // the gateway stored an event as evidence: a person must look

	Receipts       int    // messages on the topic receipt, repetitions too
	State          string // of the last receipt
	FiscalState    string
	DocumentNumber string

	waiting  int  // events in the outbox
	inFlight bool // one of them is on its way
}

// Stored reports whether the sale has ended and every event of it is stored.
func (r *Record) Stored() bool { return r.End != 0 && r.Acknowledged == r.Events }

// Owed reports whether a receipt must still come: the first one, or the one
// that ends a pending fiscal state. What a person has to look at waits for that
// person, not for the gateway.
func (r *Record) Owed() bool {
	return r.End != 0 && !r.Person && (r.Receipts == 0 || r.FiscalState == fiscalPending)
}

// The values of fiscal_state in a receipt (CONTRACT.md 2.3).
const (
	fiscalSucceeded = "succeeded"
	fiscalPending   = "pending"
	fiscalFailed    = "failed"
)

// ledger is all sales of one device, with running counts so that a look at it
// costs nothing. It is plain data: the device's lock guards it.
type ledger struct {
	records   []*Record
	byID      map[string]*Record
	documents map[string]string // document number → sale id
	earlier   map[string]bool   // sales with a receipt that this ledger does not know: of the time before it
	counts    Counts
	acks      map[sale.Status]int
	owed      int
	faults    []string
}

// Counts are running totals of one device.
type Counts struct {
	Sold       int // complete and whole sales
	Cancelled  int
	Open       int // begun and not ended
	Receipts   int // sales with at least one receipt
	Earlier    int // sales of before this ledger that a receipt came for
	Repeated   int // receipts that said nothing new
	Resent     int // events sent more than once, each sending counted
	Refused    int // negative PUBACKs: the event was kept
	Evidence   int // PUBACK 0x99: stored, and a person must look
	Unreadable int // messages that are not what the contract promises
}

// maxFaults bounds what is kept of findings: one is enough to fail a run.
const maxFaults = 100

func (l *ledger) fault(format string, args ...any) {
	if len(l.faults) < maxFaults {
		l.faults = append(l.faults, fmt.Sprintf(format, args...))
	}
}

// begin opens the record of a sale.
func (l *ledger) begin(device sale.DeviceID, s *Sale) *Record {
	r := &Record{Device: device, SaleID: s.ID, Currency: s.Currency, Begun: s.StartedAt}
	l.records = append(l.records, r)
	if l.byID == nil {
		l.byID, l.documents, l.acks = make(map[string]*Record), make(map[string]string), make(map[sale.Status]int)
	}
	l.byID[s.ID] = r
	l.counts.Open++
	return r
}

// end closes it.
func (l *ledger) end(r *Record, s *Sale, kind sale.Kind) {
	l.change(r, func() {
		r.End, r.Ended, r.Text = kind, s.EndedAt, s.Text()
		if kind != sale.Cancel {
			r.Amount = s.Total()
		}
	})
	l.counts.Open--
	if kind == sale.Cancel {
		l.counts.Cancelled++
	} else {
		l.counts.Sold++
	}
}

// change keeps the count of owed receipts true around f.
func (l *ledger) change(r *Record, f func()) {
	if r.Owed() {
		l.owed--
	}
	f()
	if r.Owed() {
		l.owed++
	}
}

// person says that the gateway stored an event of r as evidence.
func (l *ledger) person(r *Record) { l.change(r, func() { r.Person = true }) }

// answer is the content of sale/ack, as far as a device needs it.
type answer struct {
	SaleID string      `json:"sale_id"`
	Event  string      `json:"event"`
	Status sale.Status `json:"status"`
}

// acked writes down a sale/ack. An ack for a sale that this device never made
// counts only: a gateway may answer an event of the time before a restart.
func (l *ledger) acked(body []byte) (answer, bool) {
	var a answer
	if err := json.Unmarshal(body, &a); err != nil || a.Status == "" {
		l.counts.Unreadable++
		return a, false
	}
	if l.acks == nil {
		l.acks = make(map[sale.Status]int)
	}
	l.acks[a.Status]++
	if r := l.byID[a.SaleID]; r != nil && (a.Status == sale.Quarantined || a.Status == sale.Conflict) {
		l.person(r)
	}
	return a, true
}

// received writes down a receipt and looks for what can never be right.
func (l *ledger) received(body []byte) (Receipt, bool) {
	var in Receipt
	if err := json.Unmarshal(body, &in); err != nil || in.SaleID == "" || in.State == "" {
		l.counts.Unreadable++
		return in, false
	}
	in.Raw = body
	r := l.byID[in.SaleID]
	if r == nil {
		// The mailbox keeps receipts for a device that lost its memory meanwhile.
		if l.earlier == nil {
			l.earlier = make(map[string]bool)
		}
		if !l.earlier[in.SaleID] {
			l.counts.Earlier++
		}
		l.earlier[in.SaleID] = true
		return in, true
	}
	l.check(r, in)
	if r.Receipts == 0 {
		l.counts.Receipts++
	} else if r.State == in.State && r.FiscalState == in.FiscalState && r.DocumentNumber == in.DocumentNumber {
		l.counts.Repeated++
	}
	l.change(r, func() {
		r.Receipts++
		r.State, r.FiscalState = in.State, in.FiscalState
		if in.DocumentNumber != "" {
			r.DocumentNumber = in.DocumentNumber
		}
	})
	return in, true
}

// check finds contradictions: a sale fiscalized twice, a number given twice, an
// end that is not the one the device reported.
func (l *ledger) check(r *Record, in Receipt) {
	if n := in.DocumentNumber; n != "" {
		if r.DocumentNumber != "" && r.DocumentNumber != n {
			l.fault("sale %s has two document numbers: %s, then %s", r.SaleID, r.DocumentNumber, n)
		}
		if other, taken := l.documents[n]; taken && other != r.SaleID {
			l.fault("document number %s stands for two sales: %s and %s", n, other, r.SaleID)
		}
		l.documents[n] = r.SaleID
	}
	switch {
	case r.End == 0:
		l.fault("receipt (%s) for sale %s, which is still open", in.State, r.SaleID)
	case in.State == "completed" && r.End == sale.Cancel, in.State == "cancelled" && r.End != sale.Cancel:
		l.fault("receipt says %s, but sale %s ended with %v", in.State, r.SaleID, r.End)
	}
}

// Receipt is the content of the topic receipt, as far as a device needs it.
// Raw is all of it, and is what a device prints from.
type Receipt struct {
	SaleID         string          `json:"sale_id"`
	State          string          `json:"state"`
	FiscalState    string          `json:"fiscal_state"`
	DocumentNumber string          `json:"document_number"`
	Fiscal         json.RawMessage `json:"fiscal"`
	Delayed        bool            `json:"delayed"`
	Raw            []byte          `json:"-"`
}
