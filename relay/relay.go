// Package relay is the engine: it accepts what devices report, forwards the
// calls of each register in order, and hands receipts to the mailbox. It
// promises that an accepted sale goes on until OpenFiskal has confirmed it,
// whatever dies in between, and that nothing is sent again before somebody
// looked whether it had arrived. It decides by sale's pure functions and
// leaves disk, network and MQTT to the interfaces below.
package relay

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"edgegw/pacing"
	"edgegw/sale"
)

// Journal is what the relay needs from a disk. A nil error means synced.
type Journal interface {
	Append(ctx context.Context, e sale.Entry, done func(sale.Accepted, error))
	Refuse(ctx context.Context, r sale.Refusal, done func(sale.Accepted, error))
	Currency(ctx context.Context, d sale.DeviceID, saleID string) (string, error) // sale.ErrNone
	Head(ctx context.Context, r sale.RegisterID) (sale.Head, error)               // sale.ErrNone, sale.ErrHeld
	Begin(ctx context.Context, a sale.Attempt) error                              // sale.ErrNone: not the head any more
	Settle(ctx context.Context, o sale.Outcome) (posted sale.DeviceID, err error)
	// Reinstate takes back what was quarantined on the register since then.
	Reinstate(ctx context.Context, r sale.RegisterID, since, at time.Time, reason string) (int, error)
	WithWork(ctx context.Context) ([]sale.RegisterID, error)
	Pending(ctx context.Context, most int) ([]sale.Pending, error)
	SettleFiscal(ctx context.Context, p sale.Pending, a sale.Answer, at time.Time) (posted sale.DeviceID, err error)
	// Foreign gives the operations of other sales of the register that have the
	// same external id: two devices may count alike.
	Foreign(ctx context.Context, c sale.Call) (map[string]bool, error)

	// ReadBack stores OpenFiskal's list of a register whose journal is a backup's,
	// or that it does not give one; Sent tells then whether a call may have been
	// carried out since the backup, and of a start what it made.
	ReadBack(ctx context.Context, r sale.RegisterID, list []sale.Listed, refused bool) error
	Sent(ctx context.Context, c sale.Call) (sale.Sent, error)
}

// Encoder renders the calls an event owes, in one generation of the API.
type Encoder interface {
	Encode(e *sale.Event, r sale.RegisterID, d sale.Device, operation string, open bool, exp int) []sale.Call
}

// Service is OpenFiskal: one request per call. Errors are *sale.Problem.
type Service interface {
	Do(ctx context.Context, c sale.Call) (sale.Answer, error)
	// Find looks up the operation of a call in doubt, by its id, and that of a
	// start then by its external id among those that foreign does not name;
	// sale.ErrNone means that it provably is not there.
	Find(ctx context.Context, c sale.Call, foreign func(operation string) bool) (sale.Answer, error)
	// List gives the register's operations that were made since then, or all.
	List(ctx context.Context, r sale.RegisterID, since time.Time) ([]sale.Listed, error)
	CloseIdle() // the next request makes a new connection
}

// Roster knows the site's devices.
type Roster interface {
	Device(d sale.DeviceID) (sale.Device, bool)
	Registers() int // how many the site has
}

// Options tune a Relay. Zero fields take the contract's defaults.
type Options struct {
	Concurrency int           // requests under way at once, over all registers; 32
	Window      time.Duration // openfiskal.idempotency_window; 20 h
	Rate        int           // openfiskal.requests_per_second; 100
	Block       bool          // openfiskal.on_rejected: a refused sale blocks its queue until a person decides
	Jitter      Jitter
	Now         func() time.Time      // the time that is written down; waits are monotonic whatever it says. Default time.Now
	Quality     func() string         // how far Now can be believed: synchronised, informative or unknown; default: not said
	Operation   func() string         // makes a client-made operation id, a UUID
	Posted      func(sale.DeviceID)   // a receipt was put into the device's mailbox
	Changed     func(UplinkState)     // the uplink went down or came back
	Refused     func(sale.RegisterID) // OpenFiskal refused the register's key
	Log         *slog.Logger
}

// Relay is one site's engine.
type Relay struct {
	o       Options
	journal Journal
	encoder Encoder
	fiscal  Service
	roster  Roster
	log     *slog.Logger

	open     openSales
	pending  chan struct{} // a sale has ended with a pending fiscal state
	uplink   *uplink
	signing  signing
	overload overload
	pace     *pace
	busy     atomic.Int64 // queues that want to send
	took     atomic.Int64 // nanoseconds that requests take, about

	mu       sync.Mutex
	queues   map[sale.RegisterID]*queue    // those with work
	begin    func(sale.RegisterID, *queue) // starts a queue's goroutine; set while Run lives
	troubles map[sale.RegisterID]error     // of queues that cannot be read
	listed   map[sale.RegisterID]time.Time // when its list was asked for, of those that were put back
	gates    map[sale.RegisterID]chan struct{}
}

// Jitter draws from [0, most).
type Jitter = pacing.Jitter

// New builds a relay; Run brings it to life. Accept may be called before.
func New(o Options, j Journal, e Encoder, s Service, r Roster) *Relay {
	if o.Concurrency <= 0 {
		o.Concurrency = 32
	}
	if o.Window <= 0 {
		o.Window = 20 * time.Hour
	}
	if o.Rate <= 0 {
		o.Rate = 100
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Quality == nil {
		o.Quality = func() string { return "" }
	}
	if o.Jitter == nil {
		o.Jitter = rand.N[time.Duration]
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Posted == nil {
		o.Posted = func(sale.DeviceID) {}
	}
	if o.Refused == nil {
		o.Refused = func(sale.RegisterID) {}
	}
	if o.Changed == nil {
		o.Changed = func(UplinkState) {}
	}
	return &Relay{o: o, journal: j, encoder: e, fiscal: s, roster: r, log: o.Log,
		open: openSales{m: map[saleKey]openSale{}}, uplink: newUplink(o.Jitter), signing: newSigning(), overload: newOverload(),
		pace: newPace(o.Rate, o.Concurrency), queues: map[sale.RegisterID]*queue{}, troubles: map[sale.RegisterID]error{}, listed: map[sale.RegisterID]time.Time{},
		gates: map[sale.RegisterID]chan struct{}{}, pending: make(chan struct{}, 1)}
}
