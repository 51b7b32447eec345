package sale

import (
	"encoding/json"
	"errors"
)

// errAnswer is given for a 2xx that is not an operation: the outcome of the
// call is in doubt then.
var errAnswer = errors.New("the answer is not an operation with an id and a state")

// ParseAnswer reads a success of OpenFiskal: it must be whole JSON and carry an
// id and a state (OPENFISKAL.md decision 6). fiscal_state is read at the top
// level, then inside fiscal (decision 7).
func ParseAnswer(status int, requestID string, body []byte) (Answer, error) {
	var op struct {
		ID          string          `json:"id"`
		ExternalID  string          `json:"external_id"`
		State       string          `json:"state"`
		FiscalState string          `json:"fiscal_state"`
		CompletedAt string          `json:"completed_at"`
		Fiscal      json.RawMessage `json:"fiscal"`
	}
	if err := json.Unmarshal(body, &op); err != nil || !ValidOperation(op.ID) || op.State == "" {
		return Answer{}, errAnswer
	}
	var fiscal struct {
		State    string `json:"state"`
		Document string `json:"document_number"`
	}
	if len(op.Fiscal) > 0 {
		_ = json.Unmarshal(op.Fiscal, &fiscal) // a regime of another shape is passed on all the same
	}
	if op.FiscalState == "" {
		op.FiscalState = fiscal.State
	}
	if string(op.Fiscal) == "null" {
		op.Fiscal = nil
	}
	return Answer{Status: status, RequestID: requestID, Body: body, Operation: op.ID, ExternalID: op.ExternalID,
		State: op.State, FiscalState: op.FiscalState, DocumentNumber: fiscal.Document, CompletedAt: op.CompletedAt,
		Fiscal: op.Fiscal}, nil
}
