package sandbox

import (
	"encoding/json"
	"time"
)

// States of an operation and of its fiscalization (OPENFISKAL.md section 9).
const (
	stateOpen      = "open"
	stateCompleted = "completed"
	stateCancelled = "cancelled"

	fiscalPending   = "pending"
	fiscalSucceeded = "succeeded"
	fiscalFailed    = "failed"
)

type cashier struct {
	ID          string `json:"id"`
	DisplayName string `json:"display_name"`
}

type organization struct {
	id, legalName, country, taxID string
	created                       time.Time
}

type location struct {
	id, name, timezone string
	org                *organization
	created            time.Time
}

type register struct {
	id, label, jurisdiction, serial string
	location                        *location
	key                             string // "" means none was issued
	unknown                         bool   // SetUnknown
	units                           []*fiscalUnit
	ops                             []*operation // oldest first
	counter                         int64        // transactions of the TSE
	documents                       int64
	created                         time.Time
}

// unit is the newest unit of the register, nil if it has none.
func (r *register) unit() *fiscalUnit {
	if len(r.units) == 0 {
		return nil
	}
	return r.units[len(r.units)-1]
}

// activeUnit is the one that can sign.
func (r *register) activeUnit() *fiscalUnit {
	if u := r.unit(); u != nil && u.isActive() {
		return u
	}
	return nil
}

type fiscalUnit struct {
	id, serial string
	created    time.Time
	ready      time.Time // provisioning until then
}

func (u *fiscalUnit) isActive() bool { return !time.Now().Before(u.ready) }

// operation is one sale as the service holds it.
type operation struct {
	number     int // over all registers, from 1
	sequence   int // within the register, from 1
	register   *register
	unit       *fiscalUnit
	id         string
	clientID   string // the `id` the start carried
	externalID string
	currency   string
	cashier    cashier
	metadata   json.RawMessage
	state      string
	reason     string
	lines      []lineItem
	totals     totals
	payments   []Payment

	startedAt, updatedAt, endedAt string // occurred_at, as they came
	created, updated, ended       time.Time

	start, end     *fiscalEvent
	documentNumber string
	pendUntil      time.Time // fiscal_state is pending until then
	pendTo         string
}

// fiscalState tells what the fiscal state is at a moment; nothing runs in the
// background for it.
func (o *operation) fiscalState(now time.Time) string {
	switch {
	case o.state == stateOpen || o.state == stateCompleted && now.Before(o.pendUntil):
		return fiscalPending
	case o.state == stateCompleted && o.pendTo != "":
		return o.pendTo
	}
	return fiscalSucceeded
}

type reference struct {
	OriginalOperationID *string `json:"original_operation_id"`
	Reason              *string `json:"reason"`
}

type operationView struct {
	ID             string          `json:"id"`
	Object         string          `json:"object"`
	Type           string          `json:"type"`
	State          string          `json:"state"`
	RegisterID     string          `json:"register_id"`
	LocationID     string          `json:"location_id"`
	OrganizationID string          `json:"organization_id"`
	ExternalID     string          `json:"external_id"`
	SequenceNumber int             `json:"sequence_number"`
	Cashier        cashier         `json:"cashier"`
	Fiscal         *fiscalDocument `json:"fiscal"`
	FiscalState    string          `json:"fiscal_state"`
	References     reference       `json:"references"`
	Metadata       json.RawMessage `json:"metadata"`
	StartedAt      string          `json:"started_at"`
	CompletedAt    *string         `json:"completed_at"`
	CreatedAt      string          `json:"created_at"`
	Data           operationData   `json:"data"`
}

type operationData struct {
	Currency  string     `json:"currency"`
	LineItems []lineItem `json:"line_items"`
	Totals    totals     `json:"totals"`
	Payments  []Payment  `json:"payments"`
}

// view renders the operation envelope of OPENFISKAL.md section 3.5.
func (o *operation) view(now time.Time) operationView {
	v := operationView{
		ID: o.id, Object: "operation", Type: "sale", State: o.state,
		RegisterID: o.register.id, LocationID: o.register.location.id, OrganizationID: o.register.location.org.id,
		ExternalID: o.externalID, SequenceNumber: o.sequence, Cashier: o.cashier,
		Fiscal: o.fiscal(now), FiscalState: o.fiscalState(now), Metadata: o.metadata,
		StartedAt: stamp(o.created), CreatedAt: stamp(o.created),
		Data: operationData{Currency: o.currency, LineItems: o.lines, Totals: o.totals, Payments: o.payments},
	}
	if o.reason != "" {
		v.References.Reason = &o.reason
	}
	if o.state == stateCompleted {
		at := stamp(o.ended)
		v.CompletedAt = &at
	}
	if v.Metadata == nil {
		v.Metadata = json.RawMessage("{}")
	}
	if v.Data.LineItems == nil {
		v.Data.LineItems = []lineItem{}
	}
	if v.Data.Totals.TaxBreakdown == nil {
		v.Data.Totals.TaxBreakdown = []taxAmount{}
	}
	if v.Data.Payments == nil {
		v.Data.Payments = []Payment{}
	}
	return v
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }
