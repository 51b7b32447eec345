package sandbox

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Idempotency says what the service does with an idempotency key it has seen.
type Idempotency uint8

const (
	Honour Idempotency = iota // the original answer again, for Options.Retention
	Ignore                    // the key is checked for its form and forgotten
)

// BaseURL is a base URL for use in process, where the Service is the transport
// and no name is ever resolved.
const BaseURL = "https://sandbox.api.openfiskal.com/v1"

// DefaultRetention is how long an idempotency key is remembered
// (OPENFISKAL.md section 5: at least 24 hours).
const DefaultRetention = 24 * time.Hour

// defaultKeepRequests bounds the memory of a stand-in that runs for days.
const defaultKeepRequests = 200_000

// Options shape a Service. The zero value is an honest service without control
// paths.
type Options struct {
	Idempotency  Idempotency
	Retention    time.Duration   // of idempotency keys; 0 means DefaultRetention
	ServerIDs    bool            // answer a start with an id of the service (op_…) instead of the client's
	Control      bool            // serve /_sandbox/…
	Rand         func(n int) int // 0 ≤ result < n, for Fault.Percent; nil means math/rand
	PlatformKey  string          // "" makes one
	Provisioning time.Duration   // how long a fiscal unit made over HTTP takes until it is active
	KeepRequests int             // how many requests Requests remembers; 0 means 200 000
	Log          *slog.Logger    // one line per request, at debug level; nil means none
}

// Service is the stand-in. It is safe for concurrent use; the zero value is not
// usable, New makes one.
type Service struct {
	opt      Options
	platform string
	signer   *ecdsa.PrivateKey
	run      string // sets the request ids of this service apart from another's

	mu        sync.Mutex
	down      bool
	cut       chan struct{} // closed while the uplink is cut
	latency   time.Duration
	servers   map[*Server]struct{}
	faults    []*rule
	faultNo   int
	requestNo int
	requests  []*Request
	forgotten int

	orgs      map[string]*organization
	locations map[string]*location
	registers map[string]*register
	keys      map[string]*register // by register key
	ops       map[string]*operation
	order     []*operation
	effects   map[string][]Effect // by register
	memory    map[idemKey]idemEntry
	memoryAge []idemKey // oldest first
	idNo      int
}

var (
	_ http.Handler      = (*Service)(nil)
	_ http.RoundTripper = (*Service)(nil)
)

// New makes an empty service: no registers, no faults, uplink up.
func New(o Options) *Service {
	if o.Retention <= 0 {
		o.Retention = DefaultRetention
	}
	if o.Rand == nil {
		o.Rand = mathrand.IntN
	}
	if o.KeepRequests <= 0 {
		o.KeepRequests = defaultKeepRequests
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.PlatformKey == "" {
		o.PlatformKey = "ofk_platform_test_" + randomHex(16)
	}
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic("sandbox: make a signing key: " + err.Error()) // crypto/rand does not fail
	}
	return &Service{
		opt: o, platform: o.PlatformKey, signer: signer, run: randomHex(4),
		cut: make(chan struct{}), servers: map[*Server]struct{}{},
		orgs: map[string]*organization{}, locations: map[string]*location{},
		registers: map[string]*register{}, keys: map[string]*register{},
		ops: map[string]*operation{}, effects: map[string][]Effect{}, memory: map[idemKey]idemEntry{},
	}
}

// PlatformKey gives the key of the platform side (Authorization: Bearer).
func (s *Service) PlatformKey() string { return s.platform }

// PublicKey verifies the signatures of the German fiscal blocks: plain r‖s,
// ECDSA P-256 over the SHA-256 of the signed text.
func (s *Service) PublicKey() *ecdsa.PublicKey { return &s.signer.PublicKey }

// SetLatency makes every request wait d before it is processed.
func (s *Service) SetLatency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency = d
}

// SetDown cuts the uplink, or mends it. While it is cut, RoundTrip returns a
// dial error and servers neither listen nor keep a connection; requests under
// way lose their answer. It returns when every server has followed.
func (s *Service) SetDown(down bool) {
	s.mu.Lock()
	if s.down == down {
		s.mu.Unlock()
		return
	}
	s.down = down
	if down {
		close(s.cut)
	} else {
		s.cut = make(chan struct{})
	}
	servers := make([]*Server, 0, len(s.servers))
	for v := range s.servers {
		servers = append(servers, v)
	}
	s.mu.Unlock()
	for _, v := range servers {
		v.setDown(down)
	}
}

// Register names a register and the key that opens it.
type Register struct {
	ID           string `json:"register_id"`
	Key          string `json:"register_api_key"`
	Jurisdiction string `json:"jurisdiction"`
}

// AddRegister makes a register with an active fiscal unit and a key. An empty
// id or jurisdiction means a made-up id and "DE".
func (s *Service) AddRegister(id, jurisdiction string) (Register, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if jurisdiction == "" {
		jurisdiction = "DE"
	}
	if regimes[jurisdiction] == nil {
		return Register{}, fmt.Errorf("add register: jurisdiction %q is not DE, AT or IT", jurisdiction)
	}
	if id == "" {
		id = s.newID("reg")
	}
	if !validID(id) {
		return Register{}, fmt.Errorf("add register: %q is not a register id", id)
	}
	if s.registers[id] != nil {
		return Register{}, fmt.Errorf("add register %s: it exists", id)
	}
	now := time.Now()
	r := s.makeRegister(id, s.defaultLocation(now), jurisdiction, "Kasse "+id, "", now)
	s.makeUnit(r, now)
	return Register{ID: id, Key: s.issueKey(r), Jurisdiction: jurisdiction}, nil
}

// AddBareRegister makes a register as a back office does: it has neither a
// fiscal unit nor a key yet.
func (s *Service) AddBareRegister(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !validID(id) || s.registers[id] != nil {
		return fmt.Errorf("add register %q: it is no register id, or there is one already", id)
	}
	now := time.Now()
	s.makeRegister(id, s.defaultLocation(now), "DE", "Kasse "+id, "", now)
	return nil
}

// MustAddRegister is AddRegister for tests: a German register; it gives the key
// and panics where AddRegister would return an error.
func (s *Service) MustAddRegister(id string) string {
	r, err := s.AddRegister(id, "DE")
	if err != nil {
		panic("sandbox: " + err.Error())
	}
	return r.Key
}

// Rotate gives the register a new key; the old one is dead at once
// (OPENFISKAL.md section 7). It gives "" for an unknown register.
func (s *Service) Rotate(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.registers[id]
	if r == nil {
		return ""
	}
	return s.issueKey(r)
}

// Key gives the register's key as it is now, for tests that look for it.
func (s *Service) Key(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.registers[id]; r != nil {
		return r.key
	}
	return ""
}

// Revoke kills the register's key without giving a new one.
func (s *Service) Revoke(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.registers[id]; r != nil {
		delete(s.keys, r.key)
		r.key = ""
	}
}

// SetUnknown makes the service answer 404 for a register whose key still
// opens: what a register looks like that somebody removed.
func (s *Service) SetUnknown(id string, unknown bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.registers[id]; r != nil {
		r.unknown = unknown
	}
}

// newID makes ids that sort in the order they were made, as the real ones do.
func (s *Service) newID(prefix string) string {
	s.idNo++
	return fmt.Sprintf("%s_01%012X", prefix, s.idNo)
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: it ends the process instead
	return hex.EncodeToString(b)
}
