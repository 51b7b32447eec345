package sale

import (
	"slices"
	"time"
)

// Token is a bearer token of the HTTP API as the site keeps it. Hash is a keyed
// hash of its secret; the secret itself is shown once and not kept.
type Token struct {
	ID        string
	Name      string // of the program that has it, for the audit trail
	Scope     Scope
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
	UsedAt    time.Time // about; zero: never
	Hash      []byte
}

// Expired reports whether the token has ended by itself.
func (t Token) Expired(now time.Time) bool { return !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt) }

// Scope is what a token may be used for. Which routes that is stands beside
// them, in admin.
type Scope string

// The scopes, from the one that opens least.
const (
	ScopeMetrics   Scope = "metrics"   // to read the metrics
	ScopeRead      Scope = "read"      // to read everything
	ScopeProvision Scope = "provision" // to add devices and to give keys
)

// Scopes are all of them.
var Scopes = []Scope{ScopeMetrics, ScopeRead, ScopeProvision}

// Valid reports whether there is such a scope.
func (s Scope) Valid() bool { return slices.Contains(Scopes, s) }
