package sale

import (
	"errors"
	"strings"
)

// errAnswer is given for a 2xx that is not an operation: the outcome of the
// call is in doubt then.
var errAnswer = errors.New("the answer is not an operation with an id and a state")

// deepestAnswer is how deeply an answer may be nested: more than any, because one that
// is not understood leaves its call in doubt.
const deepestAnswer = 1000

// ParseAnswer reads a success of OpenFiskal: it must be whole JSON and carry an
// id and a state (OPENFISKAL.md decision 6). fiscal_state is read at the top
// level, then inside fiscal (decision 7). Fiscal is a piece of body.
//
// Each request of a drain has an answer of some kilobytes of which six members are
// looked at; encoding/json took a seventh of a drain's processor time for it.
func ParseAnswer(status int, requestID string, body []byte) (Answer, error) {
	a := Answer{Status: status, RequestID: requestID, Body: body}
	s := scanner{b: body, deepest: deepestAnswer}
	f := s.whole(func(name string) *Fault {
		switch name {
		case "id":
			return s.words(&a.Operation)
		case "external_id":
			return s.words(&a.ExternalID)
		case "state":
			return s.words(&a.State)
		case "fiscal_state":
			return s.words(&a.FiscalState)
		case "completed_at":
			return s.words(&a.CompletedAt)
		case "fiscal":
			var f *Fault
			a.Fiscal, f = s.raw()
			return f
		}
		return s.skip()
	})
	if f != nil || !ValidOperation(a.Operation) || a.State == "" {
		return Answer{}, errAnswer
	}
	a.readFiscal()
	return a, nil
}

// words reads a text, which null leaves as it was.
func (s *scanner) words(into *string) *Fault {
	if s.null() {
		return nil
	}
	text, f := s.text()
	if f == nil {
		*into = strings.ToValidUTF8(text, "\ufffd") // it is stored as text, and shown
	}
	return f
}

// readFiscal takes what is understood of the fiscal block: a regime of another shape is
// passed on all the same.
func (a *Answer) readFiscal() {
	var state string
	s := scanner{b: a.Fiscal, deepest: deepestAnswer}
	if s.peek() == '{' {
		_ = s.object(func(name string) *Fault {
			into := &state
			switch {
			case name == "document_number":
				into = &a.DocumentNumber
			case name != "state":
				return s.skip()
			}
			if s.peek() != '"' {
				return s.skip()
			}
			return s.words(into)
		})
	}
	if a.FiscalState == "" {
		a.FiscalState = state
	}
	if string(a.Fiscal) == "null" {
		a.Fiscal = nil
	}
}
