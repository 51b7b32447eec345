package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"edgegw/broker"
	"edgegw/clock"
	"edgegw/devicekeys"
	"edgegw/sale"
	"edgegw/store"
)

// roster shows the ring's devices to the relay.
type roster struct {
	ring       *devicekeys.Ring
	serverSide bool
}

func (r roster) Device(id sale.DeviceID) (sale.Device, bool) {
	d, err := r.ring.Get(id)
	return d, err == nil
}

func (r roster) Registers() int {
	if !r.serverSide {
		return len(r.ring.Registers())
	}
	of := map[sale.RegisterID]bool{}
	for _, d := range r.ring.List() {
		of[d.Register] = true
	}
	return len(of)
}

// mailbox shows the store's letters to the broker, rendered.
type mailbox struct {
	db  *store.DB
	now func() time.Time
}

func (m mailbox) Waiting(ctx context.Context, d sale.DeviceID, after int64, most int) ([]sale.Letter, error) {
	stored, err := m.db.Letters(ctx, d, after, most)
	letters := make([]sale.Letter, 0, len(stored))
	for _, l := range stored {
		letter, bad := rendered(l)
		if bad != nil {
			return letters, bad
		}
		letters = append(letters, letter)
	}
	return letters, err
}

func (m mailbox) Delivered(ctx context.Context, d sale.DeviceID, no int64) error {
	return m.db.Delivered(ctx, d, no, m.now())
}

// Again looks twice: the PUBACK of a letter that was sent before may be recorded
// between the putting back and the reading, and takes it out once more.
func (m mailbox) Again(ctx context.Context, d sale.DeviceID, saleID string) (sale.Letter, error) {
	for range 2 {
		err := m.db.Again(ctx, d, saleID, m.now())
		if errors.Is(err, sale.ErrNone) {
			return sale.Letter{}, m.without(ctx, d, saleID)
		}
		if err != nil {
			return sale.Letter{}, err
		}
		l, err := m.db.Letter(ctx, d, saleID)
		if err == nil {
			return rendered(l)
		}
		if !errors.Is(err, sale.ErrNone) {
			return sale.Letter{}, err
		}
	}
	return sale.Letter{}, fmt.Errorf("read the receipt of %s for %s: it is taken out as soon as it is put back", saleID, d)
}

// without says why a sale has no receipt.
func (m mailbox) without(ctx context.Context, d sale.DeviceID, saleID string) error {
	if _, err := m.db.Currency(ctx, d, saleID); err != nil {
		return err // sale.ErrNone where there is no such sale
	}
	return broker.ErrNoReceipt
}

func rendered(l sale.StoredLetter) (sale.Letter, error) {
	r, err := l.Receipt()
	if err != nil {
		return sale.Letter{}, err
	}
	return sale.Letter{No: l.No, Sale: l.Sale, Body: r.JSON()}, nil
}

// site is what devices are told of the site as a whole. last belongs to the
// upkeep's goroutine.
type site struct {
	changed chan struct{}
	last    siteWords
}

// siteWords is the retained edgegw/v1/site/status (CONTRACT.md 2.3).
type siteWords struct {
	Accept string    `json:"accept"`
	Reason string    `json:"reason"`
	Uplink string    `json:"uplink"`
	Since  time.Time `json:"since"`
}

func (s *site) poke() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// accepts is what devices are told of selling: `accept` and `reason`.
func (g *Gateway) accepts() (accept, reason string) {
	if accept, reason = g.accepting.words(); accept == "yes" {
		return g.room.now().words()
	}
	return accept, reason
}

func (g *Gateway) siteStatus() []byte {
	s := &g.site
	now := siteWords{Uplink: "up"}
	now.Accept, now.Reason = g.accepts()
	if !g.relay.Uplink().Up {
		now.Uplink = "down"
	}
	now.Since = s.last.Since
	if now != s.last {
		now.Since = g.clock.Now().Truncate(time.Millisecond)
		s.last = now
	}
	b, _ := json.Marshal(s.last) // of plain strings
	return b
}

// siteTime is edgegw/v1/site/time (CONTRACT.md 2.3).
func (k *control) siteTime() []byte {
	quality := k.clock.Quality()
	k.told.Store(&quality)
	b, _ := json.Marshal(struct {
		Now     time.Time     `json:"now"`
		Quality clock.Quality `json:"quality"`
	}{k.clock.Now(), quality}) // of plain values
	return b
}
