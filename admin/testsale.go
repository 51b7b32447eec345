package admin

import (
	"context"
	"encoding/json"
	"net/http"

	"edgegw/sale"
	"edgegw/secret"
)

// NoFiscalRecord is what every test sale ends with.
const NoFiscalRecord = "No fiscal record was made. Only the device itself can make a real sale."

// TestSale is what a sale of a device would do, and what is known to stand in the way
// of its next real one.
type TestSale struct {
	DeviceID   sale.DeviceID   `json:"device_id"`
	RegisterID sale.RegisterID `json:"register_id"`
	Kind       string          `json:"kind"`
	Label      string          `json:"label"`
	Currency   string          `json:"currency"` // of its last sale
	Ready      bool            `json:"ready"`    // nothing that is known keeps its next real sale from going out
	Sentence   string          `json:"sentence"` // that in words, with what to do
	Notice     string          `json:"notice"`   // that no fiscal record was made
	Checks     []Check         `json:"checks"`
	TookMS     int64           `json:"took_ms"` // from the first report until the receipt was acknowledged; 0 where it did not get so far
	Receipt    json.RawMessage `json:"receipt"` // as the device would get it; null where none came
	Parts      []StoryPart     `json:"parts"`   // its whole way, on a site of its own that is gone
}

// MarshalJSON writes empty lists as [], and no receipt as null.
func (s TestSale) MarshalJSON() ([]byte, error) {
	type plain TestSale
	p := plain(s)
	if p.Checks == nil {
		p.Checks = []Check{}
	}
	if p.Parts == nil {
		p.Parts = []StoryPart{}
	}
	return json.Marshal(p)
}

func (a api) testSale(w http.ResponseWriter, r *http.Request) {
	id, f := deviceID(r)
	if f != nil {
		fail(w, f, secret.Text{})
		return
	}
	s, err := a.b.TestSale(r.Context(), id, by(r))
	reply(w, s, err, secret.Text{})
}

// TestSale tries what a sale of the device would do.
func (c *Client) TestSale(ctx context.Context, id sale.DeviceID, by string) (out TestSale, err error) {
	return out, c.do(ctx, http.MethodPost, devicePath(id, "test"), nil, by, &out)
}
