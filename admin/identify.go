package admin

import (
	"context"
	"net/http"

	"edgegw/sale"
	"edgegw/secret"
)

// Trier tries a device out without selling anything.
type Trier interface {
	// Identify asks a device to show itself, and waits some seconds for its
	// acknowledgement.
	Identify(ctx context.Context, id sale.DeviceID, by string) (Identified, error)
	// TestSale makes a sale of the device's kind on a site of its own, against the
	// stand-in for OpenFiskal, and says what keeps its next real one from going out.
	// Nothing of it reaches OpenFiskal or stays on this site. One at a time; it takes
	// no longer than some ten seconds.
	TestSale(ctx context.Context, id sale.DeviceID, by string) (TestSale, error)
}

// Identified says what became of asking a device to show itself.
type Identified struct {
	DeviceID sale.DeviceID `json:"device_id"`
	Outcome  string        `json:"outcome" enum:"delivered,declined,unconfirmed,silent,not_sent,not_subscribed,not_connected"`
	Sentence string        `json:"sentence"` // the same in words, with what to do
	Seconds  int           `json:"seconds"`  // for how long it was asked to show itself
	TookMS   int64         `json:"took_ms"`  // until that was known
}

// Sent reports whether the device may have heard of it.
func (i Identified) Sent() bool {
	switch i.Outcome {
	case "delivered", "declined", "unconfirmed", "silent":
		return true
	}
	return false
}

func (a api) identify(w http.ResponseWriter, r *http.Request) {
	id, f := deviceID(r)
	if f != nil {
		fail(w, f, secret.Text{})
		return
	}
	i, err := a.b.Identify(r.Context(), id, by(r))
	reply(w, i, err, secret.Text{})
}

// Identify asks a device to show itself.
func (c *Client) Identify(ctx context.Context, id sale.DeviceID, by string) (out Identified, err error) {
	return out, c.do(ctx, http.MethodPost, devicePath(id, "identify"), nil, by, &out)
}
