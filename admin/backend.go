// Package admin is the technicians' side: the operations they may do, as JSON
// over HTTP on the gateway's socket, and the client the commands use. It
// promises that a command does the same whether a gateway runs or not, and
// that no answer ever holds a register key.
package admin

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"edgegw/health"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/wording"
)

// Backend is what a technician can do. The gateway is one, running or opened
// for one command; Client is one, too, speaking to a gateway that runs.
// Errors that a person caused are *Refusal.
type Backend interface {
	Status(ctx context.Context) (Status, error)
	Devices(ctx context.Context) ([]Device, error)
	Device(ctx context.Context, id sale.DeviceID) (Device, error)
	AddDevice(ctx context.Context, a AddDevice, by string) (Credentials, error)
	RemoveDevice(ctx context.Context, id sale.DeviceID, by string) error
	SetKey(ctx context.Context, k SetKey, by string) (KeyResult, error)
	Identities
	Trier
	Keys
	TokenKeeper
	PeopleKeeper
	Auditing
	Accounts
	Physician
	Supporter
	BackupMaker
	Journal
	Chronicler
	SettingsKeeper
	// Explain says in a sentence how something is: the site (""), a device, a
	// register, a sale, or DEVICE/SALE.
	Explain(ctx context.Context, subject string) (Explanation, error)
	// Acknowledge says that a person knows what became of a database that was made
	// again, and gives how much there was to know.
	Acknowledge(ctx context.Context, by string) (int, error)
	// ForgetGaps says that somebody has looked into the events that a device
	// counted and never reported.
	ForgetGaps(ctx context.Context, id sale.DeviceID, by string) error
	// ForgetCards says that somebody has seen to a device that sent card data.
	ForgetCards(ctx context.Context, id sale.DeviceID, by string) error
	Quarantine(ctx context.Context, f QuarantineFilter) ([]QuarantineItem, error)
	QuarantineItem(ctx context.Context, id string) (QuarantineItem, error)
	Decide(ctx context.Context, d Decision, by string) (DecisionResult, error)
	Close() error
}

// Refusal is an error that names what the person can do. Code is stable.
type Refusal struct {
	Code    string `json:"code"` // not_found, exists, invalid, key_refused, conflict, …
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"` // what to do, as a sentence or a command

	// What Message and Remedy are made of, where values stand in them: the page says
	// it in its own language. Where they are empty the two are constants.
	Says, Do wording.Sentence `json:"-"`
}

// Refuse makes a refusal of sentences with values in them.
func Refuse(code string, says, do wording.Sentence) *Refusal {
	return &Refusal{Code: code, Message: says.String(), Remedy: do.String(), Says: says, Do: do}
}

func (r *Refusal) Error() string {
	if r.Remedy == "" {
		return r.Message
	}
	return strings.TrimRight(r.Message, ". ") + ". " + r.Remedy
}

// Status is the site in one look.
type Status struct {
	Site          string             `json:"site"`
	Version       string             `json:"version"`
	Running       bool               `json:"running"` // a gateway runs; false: read from the data directory
	Since         time.Time          `json:"since"`
	Sentence      string             `json:"sentence"` // in words first
	SentenceWords wording.Sentence   `json:"-"`        // what Sentence is made of
	Uplink        string             `json:"uplink" enum:"up,down,unknown"`
	UplinkWhy     string             `json:"uplink_reason,omitempty"`
	UplinkFrom    time.Time          `json:"uplink_since,omitzero"` // it is so; missing where no gateway runs
	Outages       []Outage           `json:"outages"`               // of the last 24 hours, the oldest first
	Oldest        *WaitingSale       `json:"oldest_waiting,omitempty"`
	Disk          *Disk              `json:"disk,omitempty"` // missing where the system does not tell
	Clock         Clock              `json:"clock"`
	OpenFiskal    string             `json:"openfiskal"` // base URL
	MQTT          []string           `json:"mqtt"`       // URLs devices can use
	Page          []string           `json:"page"`       // URLs of the technicians' page
	Devices       int                `json:"devices"`
	Online        int                `json:"online"`
	Totals        Totals             `json:"totals"`
	Registers     []Register         `json:"registers"`
	Conditions    []health.Condition `json:"conditions"`
	Claim         Claim              `json:"claim"`
}

// Say sets the sentence in every form.
func (s *Status) Say(w wording.Sentence) { s.Sentence, s.SentenceWords = w.String(), w }

// Totals counts sales: Accepted = Confirmed + Waiting + Quarantined + Resolved.
type Totals struct {
	Accepted    int64 `json:"accepted"`
	Confirmed   int64 `json:"confirmed"`
	Waiting     int64 `json:"waiting"`
	Quarantined int64 `json:"quarantined"`
	Resolved    int64 `json:"resolved"`
	Refused     int64 `json:"refused"`  // messages kept as evidence, no sales
	Receipts    int64 `json:"receipts"` // that wait for their device
}

// Register is one register's queue.
type Register struct {
	RegisterID  sale.RegisterID `json:"register_id"`
	State       string          `json:"state" enum:"idle,waiting,retrying,blocked"`
	Reason      string          `json:"reason,omitempty"`
	Since       time.Time       `json:"since,omitzero"` // the oldest waiting call was accepted
	NextAttempt time.Time       `json:"next_attempt,omitzero"`
	Attempts    int             `json:"attempts"`
	Totals

	ReasonWords wording.Sentence `json:"-"` // what Reason means
}

// Device is a device as technicians see it.
type Device struct {
	DeviceID   sale.DeviceID   `json:"device_id"`
	RegisterID sale.RegisterID `json:"register_id"`
	Kind       string          `json:"kind"`
	Label      string          `json:"label"`
	State      string          `json:"state" enum:"online,offline,disabled,unknown"` // unknown where no gateway runs
	Since      time.Time       `json:"since,omitzero"`
	Remote     string          `json:"remote,omitempty"`
	Key        string          `json:"key" enum:"active,unverified,pending,refused,missing"`
	KeyHint    string          `json:"key_hint,omitempty"`
	Waiting    int64           `json:"waiting"`                                    // sales of its register
	Queue      string          `json:"queue" enum:"idle,waiting,retrying,blocked"` // of its register
	Receipts   int64           `json:"receipts"`                                   // that wait for it
	// The last report of a sale that was accepted from it. It is not there where other
	// devices of its register have reported much since.
	LastSaleAt time.Time `json:"last_sale_at,omitzero"`
	CreatedAt  time.Time `json:"created_at"`
	// What the device says of itself, or its last will: free JSON, at most 16 KiB.
	// A listing leaves out what is longer than 1 KiB. null where it has said nothing
	// since the gateway started.
	Status   json.RawMessage `json:"status"`
	StatusAt time.Time       `json:"status_at,omitzero"`

	Password     bool              `json:"password"`              // it may log in with its secret
	Certificates []CertificateInfo `json:"certificates,omitzero"` // that were issued to it; a listing, which is flat, leaves them out
}

// AddDevice asks for a new device. Key may be empty: sales wait until it comes.
type AddDevice struct {
	DeviceID   sale.DeviceID   `json:"device_id"`
	RegisterID sale.RegisterID `json:"register_id"`
	Kind       string          `json:"kind"`
	Label      string          `json:"label"`
	Key        secret.Text     `json:"-"`
	Unverified bool            `json:"unverified"`  // store a key that OpenFiskal refuses
	Cert       bool            `json:"certificate"` // it logs in with a client certificate, and has no secret
}

// Credentials are shown once, when a device is added or gets new ones. The
// password is empty where it has certificates only.
type Credentials struct {
	DeviceID sale.DeviceID `json:"device_id"`
	Username string        `json:"username"`
	Password string        `json:"password"` // the device secret, in clear: its one showing
	MQTTURL  string        `json:"mqtt_url"`
	CAFile   string        `json:"ca_file"`
	Key      string        `json:"key"`              // active, unverified or missing
	Notice   string        `json:"notice,omitempty"` // what the person should know, such as that the key could not be checked yet

	Certificate *ClientCertificate `json:"client_certificate,omitempty"`

	NoticeWords wording.Sentence `json:"-"` // what Notice is made of
}

// Note sets what the person should know.
func (c *Credentials) Note(s wording.Sentence) { c.Notice, c.NoticeWords = s.String(), s }

// SetKey gives a register a new key: the register of a device, or, where
// DeviceID is empty, the one named.
type SetKey struct {
	DeviceID   sale.DeviceID   `json:"device_id"`
	RegisterID sale.RegisterID `json:"register_id,omitempty"`
	Key        secret.Text     `json:"-"`
	Unverified bool            `json:"unverified"`
}

// KeyResult says what became of a new key.
type KeyResult struct {
	RegisterID sale.RegisterID `json:"register_id"`
	Key        string          `json:"key"` // active, unverified or pending
	Notice     string          `json:"notice,omitempty"`

	NoticeWords wording.Sentence `json:"-"` // what Notice is made of
}

// Note sets what the person should know.
func (r *KeyResult) Note(s wording.Sentence) { r.Notice, r.NoticeWords = s.String(), s }

// Explanation says how something is, in a sentence that ends in what to do.
type Explanation struct {
	Subject       string           `json:"subject"` // as it can be asked for again; "" is the site
	Kind          string           `json:"kind" enum:"site,device,register,sale"`
	Sentence      string           `json:"sentence"`
	SentenceWords wording.Sentence `json:"-"`       // what Sentence is made of; empty where it has none
	Details       []Detail         `json:"details"` // of a sale its story, the oldest first
}

// Detail is one line of an explanation. It holds no key and no payload.
type Detail struct {
	At        time.Time `json:"at,omitzero"`
	What      string    `json:"what"` // event, attempt, answer, receipt, quarantine, decision, register, device or condition
	Text      string    `json:"text"`
	Class     string    `json:"class,omitempty"`  // of an attempt in vain
	Status    int       `json:"status,omitempty"` // of HTTP
	RequestID string    `json:"request_id,omitempty"`
}
