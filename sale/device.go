package sale

import "time"

// Device is what the site knows of one device. SecretHash is a keyed hash of
// the secret it logs in with; the secret itself is shown once and not kept. It
// is empty where the device has certificates only.
type Device struct {
	ID         DeviceID
	Register   RegisterID
	Kind       string // pump, charger or kiosk
	Label      string // for people
	SecretHash []byte
	Disabled   bool
	CreatedAt  time.Time
}

// Certificate is a client certificate that was issued to a device. Only what is
// on this list and not revoked lets it in.
type Certificate struct {
	Serial    string // hexadecimal
	Device    DeviceID
	IssuedAt  time.Time
	NotAfter  time.Time
	RevokedAt time.Time // zero: valid
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

// What the vault keeps beside register keys, under names that no register can
// have: one transaction seals all of it anew.
const (
	// PlatformKey is the site's platform key, where an operator chose the
	// server-side topology (CONTRACT.md section 4).
	PlatformKey RegisterID = "@platform"
	// BundleKey opens bundles that were encrypted for this box.
	BundleKey RegisterID = "@bundle"
)

// SealedKey is a register key as the store holds it: never in clear.
type SealedKey struct {
	Register RegisterID
	Version  int64 // 1, 2, 3 … per register; part of the seal's associated data
	State    KeyState
	Sealed   []byte
	AddedAt  time.Time
}

// KeyRequest is a request to OpenFiskal to make a register key, written down
// before it leaves. It is there until the key is stored: the answer of such a
// request is given once, and the key before it may be dead.
type KeyRequest struct {
	Register RegisterID
	Kind     KeyRequestKind
	At       time.Time
	By       string
	Version  int64 // of the newest key at that moment
	State    KeyRequestState
}

// KeyRequestKind is what OpenFiskal was asked to do.
type KeyRequestKind string

const (
	KeyIssue  KeyRequestKind = "issue"  // a fiscal unit, with the register's first key
	KeyRotate KeyRequestKind = "rotate" // a new key; the one before ends at once
)

// KeyRequestState is how far it came.
type KeyRequestState string

const (
	KeyAsked KeyRequestState = "asked" // the answer is out
	KeyLost  KeyRequestState = "lost"  // no answer will come any more
)
