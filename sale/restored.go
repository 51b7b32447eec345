package sale

import (
	"encoding/json"
	"time"
)

// Restored says of a register that its journal is a backup's: calls of the backup
// may have been carried out since, and sales that the backup does not know may be
// reported again.
type Restored struct {
	Since   time.Time // OpenFiskal's list is read back to here; zero: to its end
	Read    bool      // it has been, or was refused
	Refused bool
	At      time.Time // put back
}

// Happened reports whether a call is of a time in which the lost box may have sold and
// sent: between the backup and its putting back, by the device's clock.
func (r Restored) Happened(c Call) bool {
	var body struct {
		OccurredAt time.Time `json:"occurred_at"`
	}
	_ = json.Unmarshal(c.Body, &body) // what it does not say cannot tell
	return body.OccurredAt.Before(r.At) && !body.OccurredAt.Before(r.Since.Add(-madeTolerance))
}

// Sent is what is known of a call whose register was put back, and read.
type Sent struct {
	Operation string // what it was made on, or of a start what it made
	May       bool   // it may have been carried out since the backup
	Unproven  bool   // and under another idempotency key, which nobody knows
}

// Listed is an operation in OpenFiskal's list of a register.
type Listed struct {
	Operation  string
	ExternalID string    // the device's sale id; "" where it has none
	Cashier    string    // the device, or whoever sold there; "" where the list does not say
	MadeAt     time.Time // by the service's clock; zero where the list does not say
}

// madeTolerance is how far a device's clock may be ahead. What was made longer
// before a sale happened is another one's, whose id was used again.
const madeTolerance = 24 * time.Hour

// Is reports whether the operation is the one that this start would make. A sale
// id is a device's own affair: two devices of a register may count alike, so the
// cashier is compared too, which is the device where nobody else is named. loosely
// leaves that out: the end of a sale may be reported without the cashier that its
// start has named. accepted is when the event came: a device that says it happened
// later does not know the time.
func (l Listed) Is(start Call, accepted time.Time, loosely bool) bool {
	if start.Step != StepStart || l.ExternalID != start.SaleID {
		return false
	}
	var body struct {
		Cashier struct {
			ID string `json:"id"`
		} `json:"cashier"`
		OccurredAt time.Time `json:"occurred_at"`
	}
	_ = json.Unmarshal(start.Body, &body) // what it does not say cannot tell
	if !loosely && l.Cashier != "" && body.Cashier.ID != "" && l.Cashier != body.Cashier.ID {
		return false
	}
	return l.MadeAt.IsZero() || body.OccurredAt.IsZero() || body.OccurredAt.After(accepted) || !l.MadeAt.Before(body.OccurredAt.Add(-madeTolerance))
}

// sameMoney reports whether a completed operation was paid as the call says. Where
// either does not say, nothing speaks against it.
func (c Call) sameMoney(found Answer) bool {
	type payments []struct {
		Direction string `json:"direction"`
		Amount    int64  `json:"amount"`
	}
	sum := func(all payments) (n int64) {
		for _, p := range all {
			if p.Direction == "outbound" {
				n -= p.Amount
			} else {
				n += p.Amount
			}
		}
		return n
	}
	var asked struct {
		Payments payments `json:"payments"`
	}
	var made struct {
		Data struct {
			Payments payments `json:"payments"`
		} `json:"data"`
	}
	if json.Unmarshal(c.Body, &asked) != nil || json.Unmarshal(found.Body, &made) != nil || len(asked.Payments) == 0 || len(made.Data.Payments) == 0 {
		return true
	}
	return sum(asked.Payments) == sum(made.Data.Payments)
}
