package brokertest

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"sync"
	"time"

	"edgegw/sale"
)

// Guard knows devices by their secrets. A client certificate counts by its
// common name.
type Guard struct {
	mu      sync.Mutex
	secrets map[sale.DeviceID]string
}

// NewGuard knows these devices, all with the secret "s-" and their name.
func NewGuard(ds ...sale.DeviceID) *Guard {
	g := &Guard{secrets: make(map[sale.DeviceID]string)}
	for _, d := range ds {
		g.secrets[d] = "s-" + string(d)
	}
	return g
}

// Remove forgets a device.
func (g *Guard) Remove(d sale.DeviceID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.secrets, d)
}

// ErrUnknown is the one answer to a wrong name and to a wrong secret.
var ErrUnknown = errors.New("unknown device or wrong secret")

// Authenticate implements broker.Guard.
func (g *Guard) Authenticate(username string, secret []byte, cert *x509.Certificate) (sale.DeviceID, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if cert != nil {
		d := sale.DeviceID(cert.Subject.CommonName)
		if _, ok := g.secrets[d]; ok {
			return d, nil
		}
		return "", ErrUnknown
	}
	d := sale.DeviceID(username)
	if want, ok := g.secrets[d]; !ok || want != string(secret) {
		return "", ErrUnknown
	}
	return d, nil
}

// Acceptor keeps every event in memory, in the order of acceptance. Decide says
// what becomes of one; nil: queued, or duplicate where it is there already.
// Without Hold the verdict comes at once.
type Acceptor struct {
	Decide func(sale.Message) sale.Verdict
	Hold   bool // verdicts wait for Release

	mu   sync.Mutex
	got  []sale.Message
	seen map[string]bool
	held []func()
	more chan struct{} // closed and replaced with every event
}

// Accept implements broker.Acceptor.
func (a *Acceptor) Accept(_ context.Context, m sale.Message) <-chan sale.Verdict {
	a.mu.Lock()
	defer a.mu.Unlock()
	var v sale.Verdict
	if a.Decide != nil {
		v = a.Decide(m)
	} else {
		v = Queued(m)
		if a.seen == nil {
			a.seen = make(map[string]bool)
		}
		name := string(m.Device) + "/" + m.Kind.String() + "/" + string(m.Payload)
		if a.seen[name] {
			v.Ack.Status = sale.Duplicate
		}
		a.seen[name] = true
	}
	if v.Err == nil && v.Ack.Status != sale.Duplicate {
		a.got = append(a.got, m)
	}
	ch := make(chan sale.Verdict, 1)
	if a.Hold {
		a.held = append(a.held, func() { ch <- v })
	} else {
		ch <- v
	}
	if a.more != nil {
		close(a.more)
		a.more = nil
	}
	return ch
}

// Queued is the verdict of an event that was stored.
func Queued(m sale.Message) sale.Verdict {
	return sale.Verdict{Ack: sale.Ack{SaleID: string(m.Payload[:min(len(m.Payload), 36)]), Event: m.Kind, Status: sale.Queued, AcceptedAt: m.Received, Uplink: "up"}}
}

// Got gives what was stored.
func (a *Acceptor) Got() []sale.Message {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.got)
}

// AwaitHeld waits until n verdicts are held.
func (a *Acceptor) AwaitHeld(n int) bool {
	limit := time.After(Patience)
	for {
		a.mu.Lock()
		if len(a.held) >= n {
			a.mu.Unlock()
			return true
		}
		if a.more == nil {
			a.more = make(chan struct{})
		}
		more := a.more
		a.mu.Unlock()
		select {
		case <-more:
		case <-limit:
			return false
		}
	}
}

// Release gives the held verdicts in the order pick puts their indices in; nil:
// as they came. It reports how many there were.
func (a *Acceptor) Release(pick func(n int) []int) int {
	a.mu.Lock()
	held := a.held
	a.held = nil
	a.mu.Unlock()
	if pick == nil {
		for _, f := range held {
			f()
		}
		return len(held)
	}
	for _, i := range pick(len(held)) {
		held[i]()
	}
	return len(held)
}

// Mailbox keeps letters in memory.
type Mailbox struct {
	Fail error // what every call answers, where it is set before the broker runs

	mu        sync.Mutex
	next      int64
	letters   map[sale.DeviceID][]letter
	delivered chan Delivery
}

type letter struct {
	sale.Letter
	done bool
}

// Delivery is one recorded PUBACK.
type Delivery struct {
	Device sale.DeviceID
	No     int64
}

// NewMailbox is empty.
func NewMailbox() *Mailbox {
	return &Mailbox{letters: make(map[sale.DeviceID][]letter), delivered: make(chan Delivery, 1<<16)}
}

// Put adds a letter and gives its number.
func (m *Mailbox) Put(d sale.DeviceID, saleID, body string) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next++
	m.letters[d] = append(m.letters[d], letter{Letter: sale.Letter{No: m.next, Sale: saleID, Body: []byte(body)}})
	return m.next
}

// Deliveries gives one value for each call of Delivered.
func (m *Mailbox) Deliveries() <-chan Delivery { return m.delivered }

// Left counts the letters that wait for d.
func (m *Mailbox) Left(d sale.DeviceID) int {
	found, _ := m.Waiting(context.Background(), d, 0, 1<<30)
	return len(found)
}

// Waiting implements broker.Mailbox.
func (m *Mailbox) Waiting(_ context.Context, d sale.DeviceID, after int64, most int) ([]sale.Letter, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Fail != nil {
		return nil, m.Fail
	}
	var found []sale.Letter
	for _, l := range m.letters[d] {
		if !l.done && l.No > after && len(found) < most {
			found = append(found, l.Letter)
		}
	}
	return found, nil
}

// Delivered implements broker.Mailbox.
func (m *Mailbox) Delivered(_ context.Context, d sale.DeviceID, no int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Fail != nil {
		return m.Fail
	}
	for i := range m.letters[d] {
		if m.letters[d][i].No == no {
			m.letters[d][i].done = true
			m.delivered <- Delivery{d, no}
			return nil
		}
	}
	return sale.ErrNone
}

// Again implements broker.Mailbox; the letter keeps its number.
func (m *Mailbox) Again(_ context.Context, d sale.DeviceID, saleID string) (sale.Letter, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Fail != nil {
		return sale.Letter{}, m.Fail
	}
	for i := len(m.letters[d]) - 1; i >= 0; i-- {
		if m.letters[d][i].Sale == saleID {
			m.letters[d][i].done = false
			return m.letters[d][i].Letter, nil
		}
	}
	return sale.Letter{}, sale.ErrNone
}

// Sessions keeps blobs in memory, and counts writes.
type Sessions struct {
	mu     sync.Mutex
	blobs  map[sale.DeviceID][]byte
	writes int
}

// NewSessions is empty.
func NewSessions() *Sessions { return &Sessions{blobs: make(map[sale.DeviceID][]byte)} }

// SaveSession implements broker.Sessions.
func (s *Sessions) SaveSession(_ context.Context, d sale.DeviceID, blob []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[d] = slices.Clone(blob)
	s.writes++
	return nil
}

// DeleteSession implements broker.Sessions.
func (s *Sessions) DeleteSession(_ context.Context, d sale.DeviceID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.blobs, d)
	s.writes++
	return nil
}

// Sessions implements broker.Sessions.
func (s *Sessions) Sessions(context.Context) (map[sale.DeviceID][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[sale.DeviceID][]byte, len(s.blobs))
	for d, b := range s.blobs {
		all[d] = slices.Clone(b)
	}
	return all, nil
}

// Writes counts SaveSession and DeleteSession.
func (s *Sessions) Writes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes
}
