package sale

import (
	"slices"
	"time"
)

// Decision is what a person may decide about something in quarantine
// (CONTRACT.md section 3).
type Decision string

const (
	DecisionRetry   Decision = "retry"   // send it again: the same bytes, looked up first where it may have been carried out
	DecisionResolve Decision = "resolve" // OpenFiskal has it already: this operation stands for it
	DecisionDiscard Decision = "discard" // nothing is to be sent for it
)

// Item is one thing that waits for a person, or waited: a sale that cannot go
// on (Register is set), or a message that is no part of a sale. No is the number
// that people name it by.
type Item struct {
	No       int64
	Device   DeviceID
	Register RegisterID // "" of a message
	SaleID   string     // of a message as far as it could be read
	Kind     Kind       // the event
	Step     Step       // of a sale: the call that could not be confirmed
	At       time.Time
	Status   Status // of a message: Quarantined or Conflict
	Fault    Fault  // of a message
	Problem  Problem
	InDoubt  bool // the call may have been carried out
	Blocking bool // its register's queue waits for the decision

	Raw  []byte // the device's bytes
	Call *Call  // the request, frozen; nil of a message

	// Operation names it at OpenFiskal: the one that was made for it, or the one
	// that a person named.
	Operation string
	Decision  Decision // "" while it waits
	Decided   time.Time
	By        string
	Reason    string
}

// Allowed gives the decisions that make sense for the item: none twice, and no
// retry of a conflict, because the event whose name it bears stands.
func (i *Item) Allowed() []Decision {
	switch {
	case i.Decision != "":
		return nil
	case i.Register == "" && i.Status == Conflict:
		return []Decision{DecisionResolve, DecisionDiscard}
	}
	return []Decision{DecisionRetry, DecisionResolve, DecisionDiscard}
}

// Allows reports whether d is one of them.
func (i *Item) Allows(d Decision) bool { return slices.Contains(i.Allowed(), d) }

// Ruling is a decision with what belongs to it.
type Ruling struct {
	Item      int64
	Decision  Decision
	Operation string  // with DecisionResolve: OpenFiskal's
	Answer    *Answer // with DecisionResolve, where it could be read
	By        string  // who decides
	Reason    string
	At        time.Time
}

// Back tells of events that return from quarantine into their queue: which of
// them are sent. An update whose content a later event of the sale replaces, or
// whose sale has been cancelled, is not.
func Back(kinds []Kind) (sent []bool) {
	sent = make([]bool, len(kinds))
	last := false // a later event makes updates needless
	for i := len(kinds) - 1; i >= 0; i-- {
		sent[i] = kinds[i] != Update || !last
		last = last || kinds[i] == Update || kinds[i] == Complete || kinds[i] == Cancel
	}
	return sent
}
