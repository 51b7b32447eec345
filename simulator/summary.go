package simulator

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"edgegw/sale"
)

// State is what a device is doing, for a live screen.
type State string

// The states of a device.
const (
	Idle       State = "idle"
	Filling    State = "filling"     // a customer is at it
	WaitingAck State = "waiting ack" // events are not acknowledged yet
	Refrains   State = "refrains"    // the site does not accept sales, or has not said so yet
)

// Snapshot is one device at one moment. Making one costs a lock and a copy.
type Snapshot struct {
	Device         sale.DeviceID
	Kind           Kind
	State          State
	Online         bool
	Problem        string // why it is offline, or why the last event was refused
	Accept         string // of site/status; "" until the site has said something
	LastSale       string // "42.37 l Super E10 76.22 EUR"
	Counts         Counts
	Unacknowledged int // events in the outbox
	Owed           int // sales that wait for their receipt
}

// Snapshot shows the device now.
func (d *Device) Snapshot() Snapshot {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := Snapshot{
		Device: d.cfg.DeviceID, Kind: d.cfg.Kind, State: Idle, Online: d.online, Problem: d.problem, Accept: d.site.Accept,
		LastSale: d.lastSale, Counts: d.ledger.counts, Unacknowledged: len(d.outbox.events), Owed: d.ledger.owed,
	}
	switch {
	case d.current != nil:
		s.State = Filling
	case s.Unacknowledged > 0:
		s.State = WaitingAck
	case d.site.Accept == "" || d.site.Accept == "no":
		s.State = Refrains
	}
	return s
}

// Sales gives a copy of the device's ledger, oldest sale first.
func (d *Device) Sales() []Record {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]Record, len(d.ledger.records))
	for i, r := range d.ledger.records {
		out[i] = *r
	}
	return out
}

// Summary compares what was sold with what came back.
type Summary struct {
	Counts             // summed over all devices
	Devices        int //
	Ended          int // sales with an end: Sold + Cancelled
	Acknowledged   int // of those, every event stored
	Unacknowledged int // of those, not yet
	Missing        int // acknowledged, and no receipt came, and no person was asked to look
	Pending        int // the last receipt says that the fiscal state is pending
	Failed         int // … failed
	Unclear        int // … completed, and no fiscal state that CONTRACT.md 2.3 knows
	Quarantined    int // sales with an event stored as evidence, or a receipt that says quarantined
	Acks           map[sale.Status]int
	MoneySold      map[string]int64 // minor units by currency: all sales
	MoneyStored    map[string]int64 // … of which acknowledged
	MoneyReceipted map[string]int64 // … of which with a receipt that says completed
	Faults         []string         // what can never be right: a sale with two document numbers, …
}

// Reconcile compares the device's own ledger with what came back.
func (d *Device) Reconcile() Summary {
	s := newSummary()
	s.add(d)
	return s
}

func newSummary() Summary {
	return Summary{Acks: map[sale.Status]int{}, MoneySold: map[string]int64{}, MoneyStored: map[string]int64{}, MoneyReceipted: map[string]int64{}}
}

func (s *Summary) add(d *Device) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.Devices++
	s.Counts = s.Counts.plus(d.ledger.counts)
	for status, n := range d.ledger.acks {
		s.Acks[status] += n
	}
	for _, f := range d.ledger.faults {
		s.Faults = append(s.Faults, string(d.cfg.DeviceID)+": "+f)
	}
	for _, r := range d.ledger.records {
		s.addRecord(r)
	}
}

func (s *Summary) addRecord(r *Record) {
	if r.Person || r.State == "quarantined" {
		s.Quarantined++
	}
	switch r.FiscalState {
	case fiscalSucceeded:
	case fiscalPending:
		s.Pending++
	case fiscalFailed:
		s.Failed++
	default:
		if r.State == "completed" {
			s.Unclear++
		}
	}
	if r.End == 0 {
		return
	}
	s.Ended++
	s.MoneySold[r.Currency] += r.Amount
	if r.State == "completed" {
		s.MoneyReceipted[r.Currency] += r.Amount
	}
	if !r.Stored() {
		s.Unacknowledged++
		return
	}
	s.Acknowledged++
	s.MoneyStored[r.Currency] += r.Amount
	if r.Owed() && r.Receipts == 0 {
		s.Missing++
	}
}

func (c Counts) plus(o Counts) Counts {
	c.Sold += o.Sold
	c.Cancelled += o.Cancelled
	c.Open += o.Open
	c.Receipts += o.Receipts
	c.Earlier += o.Earlier
	c.Repeated += o.Repeated
	c.Resent += o.Resent
	c.Refused += o.Refused
	c.Evidence += o.Evidence
	c.Unreadable += o.Unreadable
	return c
}

// Balanced reports whether everything sold is acknowledged and has a receipt
// that says it is signed, nobody has to look at a sale, and nothing contradicts
// itself.
func (s Summary) Balanced() bool { return len(s.Differences()) == 0 }

// Differences says in words why the summary is not balanced, one line for each
// reason; Faults are among them.
func (s Summary) Differences() (lines []string) {
	for _, d := range []struct {
		n         int
		one, many string
	}{
		{s.Open, "1 sale is still open", "sales are still open"},
		{s.Unacknowledged, "1 sale is not acknowledged", "sales are not acknowledged"},
		{s.Missing, "1 sale was acknowledged and has no receipt", "sales were acknowledged and have no receipt"},
		{s.Pending, "1 sale is still pending at OpenFiskal: its receipt is not signed", "sales are still pending at OpenFiskal: their receipts are not signed"},
		{s.Failed, "1 sale failed to be signed: its receipt is not valid", "sales failed to be signed: their receipts are not valid"},
		{s.Unclear, "1 sale has a receipt that does not say whether it is signed", "sales have a receipt that does not say whether it is signed"},
		{s.Quarantined, "1 sale waits for a person in quarantine", "sales wait for a person in quarantine"},
	} {
		switch {
		case d.n == 1:
			lines = append(lines, d.one)
		case d.n > 1:
			lines = append(lines, fmt.Sprintf("%d %s", d.n, d.many))
		}
	}
	return append(lines, s.Faults...)
}

// String is the summary for people, a few lines.
func (s Summary) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d devices: %d sold, %d cancelled, %d open\n", s.Devices, s.Sold, s.Cancelled, s.Open)
	fmt.Fprintf(&b, "acknowledged %d of %d, receipts %d, missing %d, pending %d, failed %d, quarantined %d\n",
		s.Acknowledged, s.Ended, s.Receipts, s.Missing, s.Pending, s.Failed, s.Quarantined)
	fmt.Fprintf(&b, "events sent again %d, refused %d, answered duplicate %d, conflict %d; receipts repeated %d\n",
		s.Resent, s.Refused, s.Acks[sale.Duplicate], s.Acks[sale.Conflict], s.Repeated)
	for _, currency := range slices.Sorted(maps.Keys(s.MoneySold)) {
		fmt.Fprintf(&b, "money: sold %s, acknowledged %s, with receipt %s\n", Money(s.MoneySold[currency], currency),
			Money(s.MoneyStored[currency], currency), Money(s.MoneyReceipted[currency], currency))
	}
	if s.Earlier == 1 {
		b.WriteString("1 receipt from before this run\n")
	} else if s.Earlier > 1 {
		fmt.Fprintf(&b, "%d receipts from before this run\n", s.Earlier)
	}
	for _, d := range s.Differences() {
		mark := "NOT BALANCED"
		if slices.Contains(s.Faults, d) {
			mark = "WRONG"
		}
		fmt.Fprintf(&b, "%s: %s\n", mark, d)
	}
	return b.String()
}
