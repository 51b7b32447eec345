package people

import (
	"context"
	"sync"
	"testing"
	"time"

	"edgegw/sale"
)

// alone notes what is written while another change could be under way: its reading of
// memory would bring back what the other one has ended.
type alone struct {
	*rows
	changing *sync.Mutex
	open     []string
}

func (a *alone) note(what string) {
	if a.changing.TryLock() {
		a.changing.Unlock()
		a.open = append(a.open, what)
	}
}

func (a *alone) AddSession(ctx context.Context, s sale.Session, from string) error {
	a.note("login")
	return a.rows.AddSession(ctx, s, from)
}

func (a *alone) RemoveSession(ctx context.Context, hash []byte, person string, at time.Time, why string) error {
	a.note("logged out: " + why)
	return a.rows.RemoveSession(ctx, hash, person, at, why)
}

// Whoever logs out while somebody else logs in is not let in again by it.
func TestSessionsChangeOneAtATime(t *testing.T) {
	b, r := claimed(t)
	a := &alone{rows: r, changing: &b.changing}
	b.rows = a
	s, err := b.Login(t.Context(), "anna", text(good), t0, "10.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	before := len(r.sessions)
	if err := b.Logout(t.Context(), s, t0); err != nil {
		t.Error(err)
	}
	if len(a.open) > 0 || len(r.sessions) != before-1 {
		t.Errorf("while another change could be under way: %v; %d sessions left of %d", a.open, len(r.sessions), before)
	}
}
