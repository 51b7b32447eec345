package admin

import (
	"encoding/json"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"edgegw/sale"
	"edgegw/wording"
)

// QuarantineFilter chooses what is or was in quarantine; zero fields choose all
// that waits for a person.
type QuarantineFilter struct {
	State    string // open (also "") or all
	DeviceID sale.DeviceID
	SaleID   string
	Limit    int // 0: 100
}

// QuarantineStates are the values of QuarantineFilter.State.
var QuarantineStates = []string{"open", "all"}

// QuarantineItem is one thing that waits for a person, or waited: a sale that
// cannot go on, or a message of a device that is no part of a sale. A listing
// leaves out what is below Rule.
type QuarantineItem struct {
	ID         string          `json:"id"` // the number that people name it by
	DeviceID   sale.DeviceID   `json:"device_id"`
	RegisterID sale.RegisterID `json:"register_id"` // "" of a message
	SaleID     string          `json:"sale_id"`     // of a message as far as it could be read
	Event      string          `json:"event"`
	Step       string          `json:"step"`   // the call that could not be confirmed; "" of a message
	State      string          `json:"state"`  // quarantined, conflict or decided
	Code       string          `json:"code"`   // OpenFiskal's, or of the rule that the message broke
	Reason     string          `json:"reason"` // in words
	Since      time.Time       `json:"since"`
	Blocking   bool            `json:"blocking"` // its register's queue waits for the decision
	InDoubt    bool            `json:"in_doubt"` // the call may have been carried out
	Allowed    []sale.Decision `json:"allowed"`

	Decision       sale.Decision `json:"decision"` // "" while it waits
	DecidedAt      time.Time     `json:"decided_at,omitzero"`
	DecidedBy      string        `json:"decided_by"`
	DecisionReason string        `json:"decision_reason"`
	Operation      string        `json:"operation"` // its name at OpenFiskal

	// Long digit runs that can be card numbers are masked in all of these.
	Rule    string             `json:"rule,omitempty"`    // the one that failed, and what that means
	Payload string             `json:"payload,omitempty"` // the device's event as it came
	Request *QuarantineRequest `json:"request,omitempty"` // what was sent for it; none of a message
	Answer  *QuarantineAnswer  `json:"answer,omitempty"`  // what OpenFiskal said; none where it said nothing

	// The same as Reason and Rule, for whoever says it in another language.
	ReasonWords, RuleWords wording.Sentence `json:"-"`
}

// QuarantineRequest is the request that was refused.
type QuarantineRequest struct {
	Method         string `json:"method"`
	Path           string `json:"path"`
	IdempotencyKey string `json:"idempotency_key"`
	Body           string `json:"body"`
}

// QuarantineAnswer is what OpenFiskal answered to it.
type QuarantineAnswer struct {
	Status    int    `json:"status"`
	RequestID string `json:"request_id"`
	Body      string `json:"body"`
}

// Decision is what a person decides about one item. ID is its number, or the
// sale's id where only one open item has it.
type Decision struct {
	ID        string
	Decision  sale.Decision
	Reason    string // 1 to 500 printable characters
	Operation string // with resolve: OpenFiskal's, where the person names it
}

// DecisionResult says what a decision has done.
type DecisionResult struct {
	ID         string          `json:"id"`
	DeviceID   sale.DeviceID   `json:"device_id"`
	RegisterID sale.RegisterID `json:"register_id"`
	SaleID     string          `json:"sale_id"`
	Decision   sale.Decision   `json:"decision"`
	Operation  string          `json:"operation"`        // the one that stands for it now, with resolve
	Adopted    bool            `json:"adopted"`          // its answer was read, and its receipt goes to the device
	Notice     string          `json:"notice,omitempty"` // what the person should know

	NoticeWords wording.Sentence `json:"-"` // what Notice is made of
}

// longestReason is in characters.
const longestReason = 500

// Check refuses a decision that cannot be before anybody looks for its item.
// It quotes nothing: a key may stand where it does not belong.
func (d Decision) Check() *Refusal {
	switch {
	case sale.LooksLikeKey(d.ID) || d.ID == "":
		return noItem()
	case strings.TrimSpace(d.Reason) == "":
		return invalid("the decision has no reason", "Say why, in a few words: it goes into the audit trail.")
	case !utf8.ValidString(d.Reason) || utf8.RuneCountInString(d.Reason) > longestReason || strings.ContainsFunc(d.Reason, unprintable):
		return Refuse("invalid", wording.Of("the reason is not a line of 1 to %d printable characters", longestReason), wording.Of("Say it shorter, on one line."))
	case ContainsKey(d.Reason) || sale.LooksLikeKey(d.Operation):
		return invalid("the decision holds an OpenFiskal key", "Leave it out; a key belongs into no reason and no operation.")
	case d.Operation != "" && !sale.ValidOperation(d.Operation):
		return invalid("the operation is not the id of one", "It has 1 to 128 letters, digits, _ and -, as OpenFiskal shows it.")
	case d.Operation != "" && d.Decision != sale.DecisionResolve:
		return invalid("an operation goes with resolve only", "Leave it out, or resolve.")
	}
	return nil
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// ContainsKey reports whether an OpenFiskal key may stand somewhere in a text.
func ContainsKey(text string) bool {
	for i := range text {
		if sale.LooksLikeKey(text[i:]) {
			return true
		}
	}
	return false
}

func noItem() *Refusal {
	return &Refusal{Code: "not_found", Message: "there is no such item in quarantine", Remedy: "List them: edgegw quarantine list"}
}

// decisionBody is what a decision brings.
type decisionBody struct {
	Reason    string `json:"reason"`
	Operation string `json:"operation,omitempty"`
}

func (b *decisionBody) fields() []field {
	return []field{{"reason", "a string", &b.Reason}, {"operation", "a string", &b.Operation}}
}

// MarshalJSON writes no allowed decisions as [].
func (i QuarantineItem) MarshalJSON() ([]byte, error) {
	type plain QuarantineItem
	p := plain(i)
	if p.Allowed == nil {
		p.Allowed = []sale.Decision{}
	}
	return json.Marshal(p)
}
