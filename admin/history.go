package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"edgegw/sale"
	"edgegw/secret"
)

// Chronicler tells how the last day was.
type Chronicler interface {
	History(ctx context.Context) (History, error)
}

// States of the uplink, of Stretch.State.
const (
	UplinkUp      = "up"
	UplinkDown    = "down"
	UplinkUntried = "untried" // the gateway ran, and nothing has been sent yet
	UplinkOff     = "off"     // no gateway ran
	UplinkUnknown = "unknown" // nobody wrote it down, or the clock was not known then
)

// History is the last 24 hours of the site.
type History struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`      // now, by the gateway's clock
	Uplink  []Stretch `json:"uplink"`  // the oldest first; each begins where the one before ends
	Outages []Outage  `json:"outages"` // that lie in this time or reach into it, the oldest first
	// Sales that began in each hour of the clock, the oldest first; the last one is
	// under way. All since SalesSince have been counted.
	Sales      []HourOfSales `json:"sales"`
	SalesSince time.Time     `json:"sales_since"`
	// Sales that waited, since this gateway began: the gateway looks once a minute.
	Waiting []WaitingSales `json:"waiting"`
}

// Stretch is a time in which the uplink was as it was.
type Stretch struct {
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	State string    `json:"state" enum:"up,down,untried,off,unknown"`
}

// Outage is a time in which OpenFiskal could not be reached, as far as attempts tell:
// while nothing was to be sent, nobody noticed.
type Outage struct {
	Began time.Time `json:"began"`
	Ended time.Time `json:"ended,omitzero"` // by an answer; missing where none has come yet
	Cause string    `json:"cause"`          // a code, such as dns
	Why   string    `json:"why"`            // the same in words
}

// Lasted is how long it was, or is until now.
func (o Outage) Lasted(now time.Time) time.Duration {
	if o.Ended.IsZero() {
		return max(0, now.Sub(o.Began))
	}
	return o.Ended.Sub(o.Began)
}

// Longest is the longest one's duration.
func Longest(all []Outage, now time.Time) (most time.Duration) {
	for _, o := range all {
		most = max(most, o.Lasted(now))
	}
	return most
}

// HourOfSales is how many sales began in an hour.
type HourOfSales struct {
	From  time.Time `json:"from"`
	Sales int64     `json:"sales"`
}

// WaitingSales is the most sales that waited in the ten minutes from At on.
type WaitingSales struct {
	At      time.Time `json:"at"`
	Waiting int64     `json:"waiting"`
}

// WaitingSale is the sale whose next call has waited longest.
type WaitingSale struct {
	SaleID     string          `json:"sale_id"`
	DeviceID   sale.DeviceID   `json:"device_id"`
	RegisterID sale.RegisterID `json:"register_id"`
	Since      time.Time       `json:"since"` // what waits was accepted
}

// Disk is the file system that holds data_dir.
type Disk struct {
	Free     int64  `json:"free"` // bytes, as the others
	Total    int64  `json:"total"`
	Database int64  `json:"database"`                  // of them the journal's, its write-ahead log included
	State    string `json:"state" enum:"ok,low,short"` // low: below twice store.min_free_bytes; short: below it

	// For how many days there is room without an uplink, if each were like the last one,
	// until devices are told to hold back. Absent where no whole day of sales was seen.
	DaysLeft  *int64 `json:"days_left,omitempty"`
	SalesADay int64  `json:"sales_a_day,omitempty"` // that began in the last 24 hours
}

// States of Disk.State.
const (
	DiskOK    = "ok"
	DiskLow   = "low"
	DiskShort = "short"
)

// Clock is what time it is on the box, and how far that can be believed.
type Clock struct {
	Now     time.Time `json:"now"` // the gateway's estimate
	Quality string    `json:"quality" enum:"synchronised,informative,unknown"`
	Source  string    `json:"source" enum:"kernel,clock,openfiskal,continued,floor"` // of the estimate
}

// MarshalJSON writes empty lists as [].
func (h History) MarshalJSON() ([]byte, error) {
	type plain History
	p := plain(h)
	p.Uplink, p.Outages, p.Sales, p.Waiting = some(p.Uplink), some(p.Outages), some(p.Sales), some(p.Waiting)
	return json.Marshal(p)
}

// some is [] where there is nothing.
func some[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func (a api) history(w http.ResponseWriter, r *http.Request) {
	if f := query(r); f != nil {
		fail(w, f, secret.Text{})
		return
	}
	h, err := a.b.History(r.Context())
	reply(w, h, err, secret.Text{})
}

// History tells how the last day was.
func (c *Client) History(ctx context.Context) (h History, err error) {
	return h, c.do(ctx, http.MethodGet, "/history", nil, "", &h)
}
