package simulator

import (
	"time"

	"edgegw/sale"
)

// What says which fact a Notice reports.
type What string

// The facts of the feed.
const (
	WentOnline   What = "online"
	WentOffline  What = "offline"
	Began        What = "began"         // sale/start reported, or filling for a whole sale
	Updated      What = "updated"       // sale/update reported
	Sold         What = "sold"          // sale/complete or sale reported
	CancelledOne What = "cancelled"     // sale/cancel reported
	Stored       What = "stored"        // PUBACK: the gateway has the event on disk
	KeptBack     What = "kept"          // negative PUBACK: the device keeps the event
	Answered     What = "answered"      // sale/ack
	GotReceipt   What = "receipt"       // receipt
	SiteSays     What = "site"          // site/status has changed its accept
	Identify     What = "identify"      // a technician asks the device to show itself
	Unreadable   What = "unreadable"    // a message that is not what the contract promises
	ItsFault     What = "contradiction" // what came back can never be right
)

// Notice is one line of the feed.
type Notice struct {
	At     time.Time
	Device sale.DeviceID
	What   What
	SaleID string // "" where no sale is meant
	Text   string
}

// String is the notice as a plain line.
func (n Notice) String() string {
	s := n.At.Format("15:04:05.000") + " " + string(n.Device) + " " + string(n.What)
	if n.Text != "" {
		s += " " + n.Text
	}
	if n.SaleID != "" {
		s += " (" + n.SaleID + ")"
	}
	return s
}

// say feeds a notice to the owner. It must not be called with d.mu held: the
// owner may ask for a Snapshot from there.
func (d *Device) say(what What, saleID, text string) {
	if d.cfg.OnNotice != nil {
		d.cfg.OnNotice(Notice{At: time.Now(), Device: d.cfg.DeviceID, What: what, SaleID: saleID, Text: text})
	}
}
