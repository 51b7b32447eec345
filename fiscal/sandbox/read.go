package sandbox

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// retrieve is GET /sales/{operation}.
func (s *Service) retrieve(q *request) (int, any, *fail) {
	return http.StatusOK, q.op.view(q.now), nil
}

const (
	defaultLimit = 50
	mostLimit    = 200
)

type listView struct {
	Object     string          `json:"object"`
	Data       []operationView `json:"data"`
	NextCursor *string         `json:"next_cursor"`
	HasMore    bool            `json:"has_more"`
}

// list is GET /registers/{register}/operations, and …/sales: newest first. The
// cursor is the sequence number of the last operation given, so that new
// operations do not shift the pages.
func (s *Service) list(q *request) (int, any, *fail) {
	limit, before := defaultLimit, len(q.reg.ops)+1
	if v, ok := q.query["limit"]; ok {
		n, err := strconv.Atoi(v[0])
		if err != nil || n < 1 || n > mostLimit {
			return 0, nil, invalid("limit", "The limit is 1 to 200.")
		}
		limit = n
	}
	if v, ok := q.query["cursor"]; ok {
		n, err := strconv.Atoi(v[0])
		if err != nil || n < 1 || n > before {
			return 0, nil, invalid("cursor", "This cursor did not come from here.")
		}
		before = n
	}
	out := listView{Object: "list", Data: []operationView{}}
	for i := before - 2; i >= 0 && len(out.Data) < limit; i-- {
		out.Data = append(out.Data, q.reg.ops[i].view(q.now))
		before = q.reg.ops[i].sequence
	}
	if before > 1 {
		next := strconv.Itoa(before)
		out.NextCursor, out.HasMore = &next, true
	}
	return http.StatusOK, out, nil
}

type receiptView struct {
	Object     string          `json:"object"`
	ID         string          `json:"id"`
	Version    string          `json:"version"`
	CreatedAt  string          `json:"created_at"`
	Issuer     map[string]any  `json:"issuer"`
	Operation  map[string]any  `json:"operation"`
	LineItems  []lineItem      `json:"line_items"`
	Totals     totals          `json:"totals"`
	Payments   []Payment       `json:"payments"`
	Fiscal     *fiscalDocument `json:"fiscal"`
	References reference       `json:"references"`
	Metadata   json.RawMessage `json:"metadata"`
}

// receipt is GET /operations/{operation}/receipt: completed ones only.
func (s *Service) receipt(q *request) (int, any, *fail) {
	if q.op.state != stateCompleted {
		return 0, nil, &fail{status: http.StatusConflict, code: "operation_not_completed",
			message: "Only completed operations have a receipt."}
	}
	v, loc := q.op.view(q.now), q.reg.location
	return http.StatusOK, receiptView{
		Object: "receipt", ID: "rcpt_" + strconv.Itoa(q.op.number), Version: "1.0", CreatedAt: stamp(q.op.ended),
		Issuer: map[string]any{"organization_id": loc.org.id, "legal_name": loc.org.legalName, "tax_id": loc.org.taxID,
			"location_id": loc.id, "location_name": loc.name, "register_id": q.reg.id, "register_label": q.reg.label},
		Operation: map[string]any{"id": v.ID, "external_id": v.ExternalID, "type": v.Type, "sequence_number": v.SequenceNumber,
			"started_at": v.StartedAt, "completed_at": v.CompletedAt, "currency": v.Data.Currency, "cashier": v.Cashier},
		LineItems: v.Data.LineItems, Totals: v.Data.Totals, Payments: v.Data.Payments,
		Fiscal: v.Fiscal, References: v.References, Metadata: v.Metadata,
	}, nil
}
