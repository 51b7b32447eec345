package sale

import "encoding/json"

// Receipt makes the receipt of a letter's answer.
func (l StoredLetter) Receipt() (Receipt, error) {
	if l.Quarantined {
		return Receipt{SaleID: l.Sale, State: Quarantine.String(), Delayed: l.Delayed}, nil
	}
	a, err := ParseAnswer(l.Status, l.RequestID, l.Body)
	if err != nil {
		return Receipt{}, err
	}
	return Receipt{
		SaleID:         l.Sale,
		State:          a.State,
		FiscalState:    a.FiscalState,
		DocumentNumber: a.DocumentNumber,
		Fiscal:         a.Fiscal,
		CompletedAt:    a.CompletedAt,
		Delayed:        l.Delayed,
	}, nil
}

// JSON renders the receipt for the topic `receipt`.
func (r Receipt) JSON() []byte {
	b, err := json.Marshal(r)
	if err != nil { // only a fiscal block that is not JSON could do that
		r.Fiscal = nil
		b, _ = json.Marshal(r)
	}
	return b
}
