package sale

import "time"

// Device is what the site knows of one device. SecretHash is a keyed hash of
// the secret it logs in with; the secret itself is shown once and not kept.
type Device struct {
	ID         DeviceID
	Register   RegisterID
	Kind       string // pump, charger or kiosk
	Label      string // for people
	SecretHash []byte
	Disabled   bool
	CreatedAt  time.Time
}

// DeviceKinds are the kinds a device may be of.
var DeviceKinds = []string{"pump", "charger", "kiosk"}

// KeyState is the life of a register key in the vault.
type KeyState string

const (
	KeyStateActive     KeyState = "active"     // in use; OpenFiskal has accepted it
	KeyStateUnverified KeyState = "unverified" // in use; nobody could ask OpenFiskal yet
	KeyStatePending    KeyState = "pending"    // waits to take the place of the one in use
	KeyStateRefused    KeyState = "refused"    // OpenFiskal answered 401 or 403
	KeyStateRetired    KeyState = "retired"    // replaced
)

// SealedKey is a register key as the store holds it: never in clear.
type SealedKey struct {
	Register RegisterID
	Version  int64 // 1, 2, 3 … per register; part of the seal's associated data
	State    KeyState
	Sealed   []byte
	AddedAt  time.Time
}
