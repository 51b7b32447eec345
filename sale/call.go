package sale

import (
	"encoding/json"
	"strings"
	"time"
)

// Call is one request the gateway owes OpenFiskal. Method, Path, Body and
// IdempotencyKey are frozen at acceptance and go out unchanged on every
// attempt (CONTRACT.md promise 3); only {operation} in Path is open until the
// service has named the operation.
type Call struct {
	Event    int64 // the journal's number of the event that caused it
	Index    int   // its place among that event's calls, from 0
	Last     bool  // the last of them
	Register RegisterID
	SaleID   string // the device's own id: OpenFiskal's external_id

	Step           Step
	Method         string
	Path           string // below the base URL, e.g. /sales/{operation}/complete
	Body           []byte
	IdempotencyKey string

	Operation    string // the client-made UUID, or the id the service gave in the start's answer
	Attempts     int    // attempts begun so far
	InDoubtSince time.Time
	NextAttempt  time.Time
	Restored     bool   // it may have been carried out after the backup that the journal is of
	Made         string // of such a start: the operation that it seems to have made
	Unproven     bool   // and neither a list nor an idempotency key can tell
}

// OperationSlot is the open place in a frozen path.
const OperationSlot = "{operation}"

// URLPath gives Path with the operation filled in.
func (c Call) URLPath() string {
	return strings.ReplaceAll(c.Path, OperationSlot, c.Operation)
}

// Answer is a well-formed success of OpenFiskal (OPENFISKAL.md decisions 6, 7).
type Answer struct {
	Status         int
	RequestID      string
	Body           []byte // verbatim, after decompression
	Operation      string // `id`
	ExternalID     string // `external_id`
	State          string // open, completed, cancelled
	FiscalState    string // succeeded, pending, failed, or "" where none was given
	DocumentNumber string // fiscal.document_number
	CompletedAt    string
	Fiscal         json.RawMessage // verbatim
	Adopted        bool            // read back by a look-up, not answered to the call itself
}

// Operation states of OpenFiskal.
const (
	StateOpen      = "open"
	StateCompleted = "completed"
	StateCancelled = "cancelled"
)
