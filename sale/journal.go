package sale

import (
	"errors"
	"time"
)

// Entry is an event on its way into the journal, with the calls it would owe
// already frozen, so that the writer only decides and records.
type Entry struct {
	Event     *Event
	Raw       []byte // the device's bytes
	Device    DeviceID
	Register  RegisterID // of a sale that begins now
	At        time.Time
	Unsafe    bool   // it came with QoS 0
	Quality   string // of At: synchronised, informative or unknown; "" is not recorded
	Begun     bool   // this process has seen the sale's start on its way to the journal
	Again     bool   // a person brings it back from quarantine: its counter was noted when it came
	Operation string // client-made UUID, for a sale that begins now
	Currency  string // what the calls were rendered in
	Calls     []byte // owed by an event of a sale that has begun
	Opening   []byte // owed by an event that begins its sale
}

// Accepted says what became of an Entry.
type Accepted struct {
	Status   Status
	Fault    *Fault
	Register RegisterID // whose queue has grown; "" if none
}

// Refusal is evidence: a message that cannot become part of a sale.
type Refusal struct {
	Message Message
	SaleID  string // as far as it could be read
	Status  Status // Quarantined or Conflict
	Fault   *Fault
	Seq     int64 // the device's event counter, as far as it could be read
	HasSeq  bool
}

// Outcome is the end of one attempt. Answer or Problem is set.
type Outcome struct {
	Call    Call
	Answer  *Answer
	Problem *Problem
	At      time.Time
	Next    time.Time // with Problem: not before
	InDoubt bool      // with Problem: the request may have been carried out
	Blocked bool      // with Problem: the queue waits for a person or a slow probe
	// With Problem: the sale goes to quarantine. Its queue steps over it, or,
	// with Blocked, waits for the decision.
	Quarantine bool
	Then       *Attempt // with Answer: the begin of the event's next call, in the same commit

	MayWait time.Duration // so long its commit may wait for others to share it
}

// Head is the call at the head of a register's queue.
type Head struct {
	Call
	Rest         []Call // the event's calls after it; their Operation is the one of Call's answer
	Device       DeviceID
	BlockedSince time.Time // zero: not blocked
	Class        Class     // of the last attempt
	Accepted     time.Time // when the event was accepted
	Restored     *Restored // the register's journal is a backup's; nil: it is not
}

// Attempt is one try of a call, noted before its bytes leave.
type Attempt struct {
	Call Call
	At   time.Time
	Next time.Time // not before, should nobody live to record the outcome

	MayWait time.Duration // so long its commit may wait for others to share it
}

// StoredLetter is a letter as the journal keeps it: the answer it is made from.
type StoredLetter struct {
	No          int64
	Sale        string
	Delayed     bool
	Quarantined bool // it says that a person must look; there is no answer then
	Status      int
	RequestID   string
	Body        []byte
}

// ErrHeld is given for a queue that waits for a person's decision.
var ErrHeld = errors.New("the queue waits for a decision")

// FiscalPending is the fiscal state of an operation that is not signed yet.
const FiscalPending = "pending"

// Pending is an ended sale whose fiscal state is pending.
type Pending struct {
	No        int64
	Register  RegisterID
	SaleID    string
	Operation string
}
