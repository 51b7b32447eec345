package sale

import (
	"bytes"
	"encoding/json"
	"reflect"
)

// State is where a sale stands; at every moment exactly one of these
// (CONTRACT.md promise 2). The numbers are stored.
type State uint8

const (
	Waiting     State = 1 // accepted; OpenFiskal has not confirmed its end yet, or it has none yet
	Settled     State = 2 // OpenFiskal confirmed its end
	Quarantine  State = 3 // in front of a person
	ByPerson    State = 4 // a person resolved or discarded it
	lastOfState       = ByPerson
)

var stateNames = [...]string{Waiting: "waiting", Settled: "confirmed", Quarantine: "quarantined", ByPerson: "resolved"}

func (s State) String() string {
	if s >= Waiting && s <= lastOfState {
		return stateNames[s]
	}
	return "unknown"
}

func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Record is what the journal holds of a sale, as far as the next event's fate
// depends on it. A zero No means there is no such sale.
type Record struct {
	No        int64
	Operation string
	Currency  string
	State     State
	Opened    Kind // the event that opened it: Start, Whole, or Complete where the start never came
	End       Kind // the event that ended it, 0 while it is open
}

// Fate is what becomes of an event.
type Fate uint8

const (
	Open     Fate = iota + 1 // a new sale begins; its calls are owed
	Continue                 // belongs to a sale; its calls are owed
	Follow                   // belongs to a sale in quarantine: stored with it, nothing is owed yet
	Reopen                   // money was taken for a sale that a person had closed before: back to a person
	Compare                  // the same event was stored before: the content decides
	Refuse                   // can never become part of a sale: evidence for a person
)

// FlagStartMissing marks a sale whose start never came (ruling 12).
const FlagStartMissing = "start_missing"

// Take decides what becomes of an event, given the sale it names. It is the
// whole of the rule that nothing follows an end.
func (r Record) Take(e *Event) (Fate, *Fault) {
	if r.No == 0 {
		if e.Kind.Opens() || e.CanOpen() {
			return Open, nil
		}
		return Refuse, &Fault{Code: "start_missing", Field: "/sale_id",
			Message: "this sale has no start, and the event does not carry a whole sale (currency included)"}
	}
	switch {
	case e.Kind == r.Opened || e.Kind == r.End:
		return Compare, nil
	case r.End != 0 && e.Kind == Update:
		// A late copy of an update that was stored before is a duplicate; a new one is not.
		return Compare, afterEnd(r)
	case r.End != 0:
		return Refuse, afterEnd(r)
	case e.Kind.Opens():
		return Refuse, &Fault{Code: "already_started", Field: "/sale_id", Message: "this sale has been started by another event"}
	case e.Currency != "" && e.Currency != r.Currency:
		return Refuse, &Fault{Code: "invalid", Field: "/currency", Message: "differs from the currency of the sale's start"}
	case r.State == ByPerson && e.Kind == Complete:
		return Reopen, nil
	case r.State != Waiting:
		return Follow, nil
	}
	return Continue, nil
}

func afterEnd(r Record) *Fault {
	return &Fault{Code: "sale_ended", Field: "/sale_id", Message: "nothing follows the " + r.End.String() + " of a sale"}
}

// SameContent reports whether two payloads say the same: equal bytes, or equal
// JSON whatever the white space, the order of names and the device's running
// seq.
func SameContent(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, y := decode(a), decode(b)
	return x != nil && reflect.DeepEqual(x, y)
}

func decode(b []byte) map[string]any {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber() // 42.37 and 42.370 are different texts, and no float decides otherwise
	var m map[string]any
	if d.Decode(&m) != nil {
		return nil
	}
	delete(m, "seq")
	return m
}
