package sale

import "time"

// Person is somebody who may use the technicians' page.
type Person struct {
	Name      string // for the audit trail
	Role      Role
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
	SeenAt    time.Time // about; zero: never
	Hash      []byte    // of the password or PIN
}

// Expired reports whether the person's time is over.
func (p Person) Expired(now time.Time) bool { return !p.ExpiresAt.IsZero() && !now.Before(p.ExpiresAt) }

// Session is a browser in which a person has logged in.
type Session struct {
	ID        string // its name among people; it opens nothing
	Hash      []byte // of what the browser shows
	Person    string
	CreatedAt time.Time
	SeenAt    time.Time // about
	From      Origin
}

// Origin is where a login comes from. What a browser says of itself is its own word,
// and proves nothing.
type Origin struct {
	Address string
	Browser string // as people call it, such as Firefox; "" where nobody knows it
	System  string // such as Android
}

// Role is what a person may do. Which pages that opens stands beside them, in
// admin/page.
type Role string

const (
	RoleOwner      Role = "owner"      // everything
	RoleTechnician Role = "technician" // devices, keys, quarantine, tests; no people and no settings
	RoleAuditor    Role = "auditor"    // looks, and changes nothing
)

// Roles are all roles.
var Roles = []Role{RoleOwner, RoleTechnician, RoleAuditor}

// Valid reports whether r is one of them.
func (r Role) Valid() bool { return r == RoleOwner || r == RoleTechnician || r == RoleAuditor }
