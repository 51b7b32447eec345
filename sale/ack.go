package sale

import (
	"encoding/json"
	"errors"
	"time"
)

// Status is what became of an event, for its device (CONTRACT.md 2.3).
type Status string

const (
	Queued      Status = "queued"      // stored; its calls wait or have gone out
	Duplicate   Status = "duplicate"   // stored before; nothing changed
	Conflict    Status = "conflict"    // the same event with another content; kept as evidence, never sent
	Quarantined Status = "quarantined" // stored byte for byte; a person must look
	Rejected    Status = "rejected"    // not stored: the device keeps it
)

// Fault says what is wrong with an event: Field is a JSON pointer (RFC 6901)
// to the place, "" for the whole document.
type Fault struct {
	Code    string `json:"code"`
	Field   string `json:"field"`
	Message string `json:"message"`
}

func (f *Fault) Error() string {
	if f.Field == "" {
		return f.Message
	}
	return f.Field + ": " + f.Message
}

// Ack is the content of sale/ack: one per event (CONTRACT.md 2.3, ruling 6).
type Ack struct {
	SaleID     string    `json:"sale_id"`
	Event      Kind      `json:"event"`
	Status     Status    `json:"status"`
	Seq        *int64    `json:"seq"`
	AcceptedAt time.Time `json:"accepted_at"`
	Uplink     string    `json:"uplink"`
	Error      *Fault    `json:"error"`
}

// Message is one event as it came from a device, before anybody understood it.
type Message struct {
	Device   DeviceID
	Kind     Kind
	Payload  []byte    // the device's own bytes; the receiver may keep them
	QoS      byte      // 0 is taken, and flagged as unsafe
	Received time.Time // the gateway's clock
	Again    bool      // a person brings it back from quarantine
}

// Verdict is the end of one Message. With Err nil the event is on disk, as Ack
// says, and the broker may acknowledge it. With Err set nothing is promised and
// nothing may be acknowledged.
type Verdict struct {
	Ack Ack
	Err error
}

// Letter is one receipt that waits in a device's mailbox. Body is the JSON of
// the topic `receipt`; No orders the letters of a device and names this one
// until its PUBACK.
type Letter struct {
	No   int64
	Sale string
	Body []byte
}

// Receipt is the outcome of a sale for its device (CONTRACT.md 2.3).
type Receipt struct {
	SaleID         string          `json:"sale_id"`
	State          string          `json:"state"` // completed, cancelled or quarantined
	FiscalState    string          `json:"fiscal_state,omitempty"`
	DocumentNumber string          `json:"document_number,omitempty"`
	Fiscal         json.RawMessage `json:"fiscal,omitempty"` // verbatim: OPENFISKAL.md decision 7
	CompletedAt    string          `json:"completed_at,omitempty"`
	Delayed        bool            `json:"delayed"`
}

// DelayedAfter is how late a receipt may be before it says so (ruling 8).
const DelayedAfter = 10 * time.Second

// Errors that callers test for.
var (
	ErrNone     = errors.New("nothing there")
	ErrNotReady = errors.New("the gateway takes no sales now")
)
