package simulator

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"edgegw/sale"
	"edgegw/secret"
)

// Style is how a device reports a sale.
type Style string

// The styles of CONTRACT.md 2.2.
const (
	Steps Style = "steps" // start, updates, complete, sometimes cancel
	Whole Style = "whole" // one event when it is over
)

// Until says when a device that sells no more has ended.
type Until uint8

// What to wait for after the last sale.
const (
	Acknowledged Until = iota // every event has its PUBACK
	Receipted                 // and every sale its receipt, or a person who must look
)

// Config describes one device. DeviceID and URL are required.
type Config struct {
	DeviceID    sale.DeviceID
	Secret      secret.Text      // of the device; user name and client identifier are the DeviceID
	Certificate *tls.Certificate // of the site CA, where the device logs in with one
	URL         string           // mqtts://host:port, or mqtt:// for a plain listener
	Roots       *x509.CertPool   // whom to trust; nil: the system's roots

	Kind     Kind   // default KindPump
	Style    Style  // default Steps; kiosks Whole
	Currency string // ISO 4217, default EUR
	Seed     uint64 // of the content; 0 draws one. The same seed makes the same sale ids again: for new gateways only
	FirstSeq int64  // of the device's event counter, default 1

	Sales   int           // how many sales to make; 0: until StopSelling
	Pace    time.Duration // mean time between two sales; 0: at once
	Fill    time.Duration // mean time that a sale is open; 0: at once
	Window  int           // how many sales may be unacknowledged at once, and so how many events in flight; default 1
	Cancels int           // of 100 sales in steps; 0: 8, negative: none
	Until   Until         // when it has ended
	Linger  bool          // stay connected after the end, until ctx ends

	AssumeAccept  bool                            // sell although no site/status has come: for brokers that have none
	AnswerTimeout time.Duration                   // for CONNACK, SUBACK and PUBACK, default 30 s; then the line is dropped
	Backoff       func(attempt int) time.Duration // before attempt 0, 1, 2 …; default: full jitter, 0.25 s doubling to 30 s
	OnNotice      func(Notice)                    // feed; called from several goroutines, must be quick
	OnReceipt     func(Receipt) error             // records a receipt; an error leaves it unacknowledged
	Dial          func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Device is one simulated device. Its outbox and ledger outlive Run, so that
// Run may be called again: the device was switched off for a while. The ledger
// keeps every sale, some 300 bytes each.
type Device struct {
	cfg    Config
	target target
	rand   *mathrand.Rand // content; used by the selling goroutine only

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced at each change that somebody may wait for
	running  bool
	online   bool
	problem  string // why it is offline, or refused
	site     siteStatus
	seq      int64
	total    Decimal // totaliser, where the kind has one
	current  *openSale
	lastSale string
	stopped  bool // StopSelling
	sellDone bool
	ending   Until
	busy     int // messages recorded and not yet acknowledged
	pause    time.Time
	refusals int // in a row
	outbox   outbox
	ledger   ledger
	cut      func(cause error) // closes the connection that is up
}

// siteStatus is what a device needs of edgegw/v1/site/status.
type siteStatus struct {
	Accept string `json:"accept"`
	Reason string `json:"reason"`
	Uplink string `json:"uplink"`
}

// New builds a device; it connects and sells in Run.
func New(cfg Config) (*Device, error) {
	if !cfg.DeviceID.Valid() {
		return nil, fmt.Errorf("device id %q: want a-z, 0-9 and -, at most 63 characters, and not %q", cfg.DeviceID, sale.ReservedDevice)
	}
	target, err := parseTarget(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", cfg.DeviceID, err)
	}
	cfg = cfg.withDefaults()
	if !slices.Contains([]Kind{KindPump, KindCharger, KindKiosk}, cfg.Kind) {
		return nil, fmt.Errorf("device %s: kind %q: want pump, charger or kiosk", cfg.DeviceID, cfg.Kind)
	}
	if cfg.Style != Steps && cfg.Style != Whole {
		return nil, fmt.Errorf("device %s: style %q: want steps or whole", cfg.DeviceID, cfg.Style)
	}
	d := &Device{
		cfg: cfg, target: target, rand: Source(cfg.Seed, string(cfg.DeviceID)),
		changed: make(chan struct{}), seq: cfg.FirstSeq - 1, ending: cfg.Until,
	}
	if cfg.AssumeAccept {
		d.site.Accept = "yes"
	}
	return d, nil
}

func (c Config) withDefaults() Config {
	if c.Kind == "" {
		c.Kind = KindPump
	}
	if c.Style == "" {
		c.Style = Steps
		if c.Kind == KindKiosk {
			c.Style = Whole
		}
	}
	if c.Currency == "" {
		c.Currency = "EUR"
	}
	for c.Seed == 0 {
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails since Go 1.24
		c.Seed = binary.LittleEndian.Uint64(b[:])
	}
	c.FirstSeq = max(c.FirstSeq, 1)
	c.Window = max(c.Window, 1)
	switch {
	case c.Cancels == 0:
		c.Cancels = 8
	case c.Cancels < 0:
		c.Cancels = 0
	}
	if c.AnswerTimeout <= 0 {
		c.AnswerTimeout = 30 * time.Second
	}
	if c.Backoff == nil {
		c.Backoff = FullJitter(250*time.Millisecond, 30*time.Second)
	}
	return c
}

// FullJitter waits a random time between 0 and base × 2^attempt, at most most:
// devices that lost the same gateway must not come back in one moment.
func FullJitter(base, most time.Duration) func(attempt int) time.Duration {
	return func(attempt int) time.Duration {
		limit := most
		if attempt < 30 && base<<attempt > 0 {
			limit = min(most, base<<attempt)
		}
		return time.Duration(mathrand.Int64N(int64(min(limit, math.MaxInt64-1)) + 1))
	}
}

// ID names the device.
func (d *Device) ID() sale.DeviceID { return d.cfg.DeviceID }

// ErrRunning says that Run was called while it runs.
var ErrRunning = errors.New("the device is running already")

// Run connects, sells and stays in touch until the device has ended: its sales
// are made or StopSelling was called, and what Until asks for has come. It
// returns nil then, and ctx's error where ctx ended first; the outbox keeps
// what is unacknowledged for the next Run.
func (d *Device) Run(ctx context.Context) error {
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	var children sync.WaitGroup
	children.Go(func() { d.stayConnected(inner) })
	children.Go(func() { d.sell(inner) })
	err := d.until(inner, func() bool { return !d.cfg.Linger && d.ended() })
	cancel()
	children.Wait()
	return err
}

func (d *Device) enter() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running {
		return fmt.Errorf("run device %s: %w", d.cfg.DeviceID, ErrRunning)
	}
	d.running, d.sellDone = true, false
	return nil
}

func (d *Device) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running = false
	d.notify()
}

// StopSelling lets an open sale finish, at once, and begins no other. It waits
// until what until asks for has come, or ctx ends, and never makes Run stay for
// less than Config.Until said.
func (d *Device) StopSelling(ctx context.Context, until Until) error {
	d.mu.Lock()
	d.stopped, d.ending = true, max(d.ending, until)
	d.notify()
	d.mu.Unlock()
	if err := d.until(ctx, d.ended); err != nil {
		s := d.Snapshot()
		return fmt.Errorf("wait for device %s (%d events unacknowledged, %d receipts owed): %w", d.cfg.DeviceID, s.Unacknowledged, s.Owed, err)
	}
	return nil
}

// Cut drops the connection without a DISCONNECT, as a pulled cable does. The
// device then connects again. It does nothing while the device is offline.
func (d *Device) Cut() {
	d.mu.Lock()
	cut := d.cut
	d.mu.Unlock()
	if cut != nil {
		cut(errors.New("the line was cut on purpose"))
	}
}

// ended is called with d.mu held.
func (d *Device) ended() bool {
	return (d.sellDone || d.stopped && !d.running) && d.current == nil && len(d.outbox.events) == 0 && d.busy == 0 &&
		(d.ending == Acknowledged || d.ledger.owed == 0)
}

// notify wakes everybody in until. Called with d.mu held.
func (d *Device) notify() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// until waits for a condition on what d.mu guards. The condition is asked with
// d.mu held, at each notify.
func (d *Device) until(ctx context.Context, condition func() bool) error {
	for {
		d.mu.Lock()
		ok, changed := condition(), d.changed
		d.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}
