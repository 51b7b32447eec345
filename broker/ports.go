package broker

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"time"

	"edgegw/sale"
)

// Guard says who a connection is. It is asked once per CONNECT, from many
// goroutines, and must take the same time for a wrong secret as for an unknown
// name. cert is the verified client certificate, nil without one; username is ""
// and secret empty where the device sent none.
type Guard interface {
	Authenticate(username string, secret []byte, cert *x509.Certificate) (sale.DeviceID, error)
}

// Acceptor makes an event durable. Accept may block, but no longer than ctx,
// which ends with the connection: that is how it slows a device down. Exactly one Verdict comes on the channel, which must be buffered,
// after the commit's fsync or after its failure. Calls for one device come in
// the order in which the device published, one at a time per connection.
type Acceptor interface {
	Accept(ctx context.Context, m sale.Message) <-chan sale.Verdict
}

// Mailbox holds the receipts that wait for their devices (CONTRACT.md 2.3).
type Mailbox interface {
	// Waiting gives at most `most` undelivered letters with No > after, oldest first.
	Waiting(ctx context.Context, d sale.DeviceID, after int64, most int) ([]sale.Letter, error)
	// Delivered records the device's own PUBACK.
	Delivered(ctx context.Context, d sale.DeviceID, no int64) error
	// Again puts the receipt of a sale back into the mailbox, under its old
	// number or a new one, and gives it; sale.ErrNone where the device has
	// reported no such sale, ErrNoReceipt where there is no receipt of it yet.
	Again(ctx context.Context, d sale.DeviceID, saleID string) (sale.Letter, error)
}

// ErrNoReceipt says that a sale has no receipt yet.
var ErrNoReceipt = errors.New("the sale has no receipt yet")

// Sessions keeps MQTT sessions over a restart. The blobs mean nothing to it.
type Sessions interface {
	SaveSession(ctx context.Context, d sale.DeviceID, blob []byte) error
	DeleteSession(ctx context.Context, d sale.DeviceID) error
	Sessions(ctx context.Context) (map[sale.DeviceID][]byte, error)
}

// Presence is what the broker knows of one device, since the gateway started.
type Presence struct {
	Device   sale.DeviceID
	Online   bool
	Since    time.Time       // when it came online, or went offline
	Remote   string          // address of the present or last connection
	Protocol byte            // 4 is MQTT 3.1.1, 5 is MQTT 5.0
	Status   json.RawMessage // the last valid JSON it published on `status`, nil without one
	StatusAt time.Time
	Fight    *Fight // nil where nobody contests its name
}

// Stats are counts since start, except Connections and Sockets, which are now.
type Stats struct {
	Connections  int // MQTT connections established
	Sockets      int // sockets held, those that have not said CONNECT yet included
	Connects     uint64
	Accepted     uint64 // sale events on disk: queued, duplicate or conflict
	Quarantined  uint64 // sale events on disk that a person must look at
	Unstored     uint64 // sale events that could not be stored, and got no positive answer
	Unsafe       uint64 // sale events that came with QoS 0
	Refused      uint64 // PUBLISH, SUBSCRIBE or will outside the device's rights
	AuthFailures uint64
	Turned       uint64 // sockets closed at once: over a connection limit
	Unfinished   uint64 // sockets closed because TLS or CONNECT did not come in time or was broken
	BadFirst     uint64 // of them: the first packet was no CONNECT, or announced as too long for one
	AcceptErrors uint64 // errors of the listening sockets, each tried again
	Panics       uint64 // recovered: each cost one connection
	TakenOver    uint64 // connections ended by a newer one of the same device
	AcksDropped  uint64 // sale/ack messages the device left no room for
	LettersSent  uint64 // receipts written to a connection
	Letters      uint64 // receipts whose PUBACK came and is recorded
	Oversize     uint64 // messages longer than the device's Maximum Packet Size, not sent
	SessionFails uint64 // writes to the Sessions store that failed
}
