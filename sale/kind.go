package sale

import "fmt"

// Kind says which event of a sale a message reports. The numbers are stored.
type Kind uint8

const (
	Start    Kind = 1 // the customer begins
	Update   Kind = 2 // the running content of an open sale; replaces the one before
	Complete Kind = 3 // over and paid
	Cancel   Kind = 4 // ends with nothing sold
	Whole    Kind = 5 // start and complete in one message
)

var kindNames = [...]string{Start: "start", Update: "update", Complete: "complete", Cancel: "cancel", Whole: "sale"}

// String gives the contract's word, as in the `event` of sale/ack.
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Ends reports whether nothing may follow this event.
func (k Kind) Ends() bool { return k == Complete || k == Cancel || k == Whole }

// Opens reports whether the event begins a sale.
func (k Kind) Opens() bool { return k == Start || k == Whole }

func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Step is the HTTP request a call makes, in OpenFiskal's verbs. The numbers
// are stored.
type Step uint8

const (
	StepStart    Step = 1 // POST /registers/{register}/sales
	StepUpdate   Step = 2 // PATCH /sales/{operation}
	StepComplete Step = 3 // POST /sales/{operation}/complete
	StepCancel   Step = 4 // POST /sales/{operation}/cancel
)

var stepNames = [...]string{StepStart: "start", StepUpdate: "update", StepComplete: "complete", StepCancel: "cancel"}

func (s Step) String() string {
	if int(s) < len(stepNames) && stepNames[s] != "" {
		return stepNames[s]
	}
	return fmt.Sprintf("step(%d)", uint8(s))
}

func (s Step) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Ends reports whether the call closes the operation.
func (s Step) Ends() bool { return s == StepComplete || s == StepCancel }
