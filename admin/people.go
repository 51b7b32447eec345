package admin

import (
	"context"
	"time"

	"edgegw/secret"
)

// Role is what a person may do on the page.
type Role string

const (
	RoleOwner      Role = "owner"      // everything
	RoleTechnician Role = "technician" // devices, keys, quarantine, tests
	RoleAuditor    Role = "auditor"    // reads
)

// Person is somebody who may use the page.
type Person struct {
	Name      string    `json:"name"`
	Role      Role      `json:"role"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	LastSeen  time.Time `json:"last_seen,omitzero"`
}

// Door lets people in to the page. Refusals are *Refusal, in words for a person.
type Door interface {
	// Claimed reports whether the site has an owner.
	Claimed(ctx context.Context) (bool, error)
	// Claim makes the first owner, with the one-time code of the console.
	Claim(ctx context.Context, code, name string, password secret.Text, from string) (session string, err error)
	Login(ctx context.Context, name string, password secret.Text, from string) (session string, err error)
	// Who is behind a session; a refusal with code "session" where nobody is.
	Who(ctx context.Context, session string) (Person, error)
	Logout(ctx context.Context, session string) error
}
