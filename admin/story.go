package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"edgegw/sale"
	"edgegw/secret"
	"edgegw/wording"
)

// SaleStory is all that is known of one sale.
type SaleStory struct {
	Sale          Sale             `json:"sale"`
	Sentence      string           `json:"sentence"` // where it stands, and what to do
	SentenceWords wording.Sentence `json:"-"`        // what Sentence is made of
	Parts         []StoryPart      `json:"parts"`    // what happened, the oldest first
}

// StoryPart is one thing that happened. One of its members has the rest of it.
type StoryPart struct {
	At       time.Time      `json:"at"` // by the gateway's clock
	What     string         `json:"what" enum:"event,attempt,answer,quarantine,decision,receipt,delivered"`
	Text     string         `json:"text"` // in words
	Event    *StoryEvent    `json:"event,omitempty"`
	Attempt  *StoryAttempt  `json:"attempt,omitempty"`
	Answer   *StoryAnswer   `json:"answer,omitempty"`
	Item     *StoryItem     `json:"item,omitempty"`
	Decision *StoryDecision `json:"decision,omitempty"`
	Receipt  *StoryReceipt  `json:"receipt,omitempty"` // also of its delivery
}

// StoryEvent is what the device reported.
type StoryEvent struct {
	Event       string      `json:"event" enum:"start,update,complete,cancel,sale"`
	Clock       string      `json:"clock" enum:",synchronised,informative,unknown"` // how far the gateway's time could be believed; "": not recorded
	DeviceTime  string      `json:"device_time"`                                    // as the device wrote it
	StartedAt   string      `json:"started_at,omitempty"`                           // of a whole sale, likewise
	DeviceClock string      `json:"device_clock"`                                   // what the device says of its clock
	Flags       []string    `json:"flags"`
	Calls       []StoryCall `json:"calls"`
	Payload     string      `json:"payload,omitempty"`
}

// StoryCall is a request that an event owes OpenFiskal. It is the same one in every
// attempt.
type StoryCall struct {
	Step           string `json:"step" enum:"start,update,complete,cancel"`
	State          string `json:"state" enum:"waiting,confirmed,quarantined,superseded,closed"`
	Method         string `json:"method"`
	Path           string `json:"path"`
	IdempotencyKey string `json:"idempotency_key"`
	Body           string `json:"body,omitempty"`
}

// StoryAttempt is an attempt that confirmed nothing, or several with the same result.
type StoryAttempt struct {
	Step      string    `json:"step" enum:"start,update,complete,cancel"`
	Times     int       `json:"times"`
	Last      time.Time `json:"last_at"` // the first one is the part's time
	Class     string    `json:"class"`
	Status    int       `json:"status,omitempty"` // of HTTP
	Code      string    `json:"code,omitempty"`
	Detail    string    `json:"detail,omitempty"`
	RequestID string    `json:"request_id,omitempty"`
	Body      string    `json:"body,omitempty"`
}

// StoryAnswer is an answer of OpenFiskal that confirmed a call.
type StoryAnswer struct {
	Step      string `json:"step" enum:"start,update,complete,cancel"`
	Status    int    `json:"status"`
	Attempts  int    `json:"attempts"`
	Adopted   bool   `json:"adopted"` // read back by a look-up
	RequestID string `json:"request_id,omitempty"`
	Body      string `json:"body,omitempty"`
}

// StoryItem is an item of the quarantine: of the sale, or a message with its name that
// is no part of it.
type StoryItem struct {
	ID        string `json:"id"`
	Message   bool   `json:"message"` // no part of the sale
	Event     string `json:"event" enum:"start,update,complete,cancel,sale"`
	Step      string `json:"step,omitempty" enum:"start,update,complete,cancel"`
	Code      string `json:"code"`
	Reason    string `json:"reason"`
	InDoubt   bool   `json:"in_doubt"`        // it may have been carried out
	Class     string `json:"class,omitempty"` // of the refusal of a sale
	Status    int    `json:"status,omitempty"`
	RequestID string `json:"request_id,omitempty"`
	Body      string `json:"body,omitempty"` // of a message what was reported, else what OpenFiskal said

	ReasonWords wording.Sentence `json:"-"` // the same as Reason, for whoever says it in another language
}

// StoryDecision is what a person decided about an item.
type StoryDecision struct {
	Item      string        `json:"item"`
	Decision  sale.Decision `json:"decision"`
	By        string        `json:"by"`
	Reason    string        `json:"reason"`
	Operation string        `json:"operation,omitempty"`
}

// StoryReceipt is what the device is told of its sale.
type StoryReceipt struct {
	Item           string    `json:"item,omitempty"` // it says that the sale is in quarantine
	DocumentNumber string    `json:"document_number,omitempty"`
	FiscalState    string    `json:"fiscal_state,omitempty"`
	DeliveredAt    time.Time `json:"delivered_at,omitzero"` // the device acknowledged it
}

// SalePath is the path of one sale, in the API and on the page. A sale's id is any
// text: what would be a step up or another part of an address is encoded.
func SalePath(device sale.DeviceID, saleID string) string {
	id := url.PathEscape(saleID)
	if id == "." || id == ".." {
		id = strings.ReplaceAll(id, ".", "%2E")
	}
	return "/sales/" + url.PathEscape(string(device)) + "/" + id
}

func (a api) saleStory(w http.ResponseWriter, r *http.Request) {
	f := query(r, askPayloads.name)
	payloads, device, id := false, sale.DeviceID(r.PathValue("device")), r.PathValue("sale")
	if text := r.URL.Query().Get(askPayloads.name); f == nil && text != "" {
		var err error
		if payloads, err = strconv.ParseBool(text); err != nil {
			f = invalid("payloads is neither true nor false", "Send true or false.")
		}
	}
	if f == nil {
		f = SaleFilter{DeviceID: device, SaleID: id}.Check()
	}
	if f != nil {
		fail(w, f, secret.Text{})
		return
	}
	s, err := a.b.SaleStory(r.Context(), device, id, payloads)
	reply(w, s, err, secret.Text{})
}

// SaleStory tells all of one sale.
func (c *Client) SaleStory(ctx context.Context, device sale.DeviceID, saleID string, payloads bool) (s SaleStory, err error) {
	if f := (SaleFilter{DeviceID: device, SaleID: saleID}).Check(); f != nil || saleID == "" {
		if f == nil {
			f = noSale()
		}
		return s, f
	}
	path := SalePath(device, saleID)
	if payloads {
		path += "?" + askPayloads.name + "=true"
	}
	return s, c.do(ctx, http.MethodGet, path, nil, "", &s)
}

func noSale() *Refusal {
	return &Refusal{Code: "not_found", Message: "there is no such sale", Remedy: "Look for it: edgegw sales"}
}

// MarshalJSON writes no parts as [].
func (s SaleStory) MarshalJSON() ([]byte, error) {
	type plain SaleStory
	p := plain(s)
	if p.Parts == nil {
		p.Parts = []StoryPart{}
	}
	return json.Marshal(p)
}

// MarshalJSON writes no flags and no calls as [].
func (e StoryEvent) MarshalJSON() ([]byte, error) {
	type plain StoryEvent
	p := plain(e)
	if p.Flags == nil {
		p.Flags = []string{}
	}
	if p.Calls == nil {
		p.Calls = []StoryCall{}
	}
	return json.Marshal(p)
}
