package people

import (
	"context"
	"errors"
	"slices"
	"strings"
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

func (a *alone) AddSession(ctx context.Context, s sale.Session) error {
	a.note("login")
	return a.rows.AddSession(ctx, s)
}

func (a *alone) RemoveSession(ctx context.Context, s sale.Session, at time.Time, by, why string) error {
	a.note("logged out: " + why)
	return a.rows.RemoveSession(ctx, s, at, by, why)
}

func (a *alone) RemoveSessions(ctx context.Context, person string, at time.Time, by string) error {
	a.note("logged out everywhere")
	return a.rows.RemoveSessions(ctx, person, at, by)
}

// Whoever logs out while somebody else logs in is not let in again by it.
func TestSessionsChangeOneAtATime(t *testing.T) {
	b, r := claimed(t)
	a := &alone{rows: r, changing: &b.changing}
	b.rows = a
	login := func() string {
		t.Helper()
		s, err := b.Login(t.Context(), "anna", text(good), t0, from("10.0.0.1"))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if err := b.Logout(t.Context(), login(), t0); err != nil {
		t.Error(err)
	}
	if err := b.EndSession(t.Context(), b.IDOf(login()), "", t0, "test"); err != nil {
		t.Error(err)
	}
	if _, err := b.EndSessions(t.Context(), "anna", t0, "test"); err != nil {
		t.Error(err)
	}
	if len(a.open) > 0 || len(r.sessions) > 0 {
		t.Errorf("while another change could be under way: %v; %d sessions left", a.open, len(r.sessions))
	}
}

// Who is logged in, and how that ends: one browser, all of a person, and of one
// person no other's.
func TestWhoIsLoggedIn(t *testing.T) {
	b, r := claimed(t)
	if _, err := b.Add(t.Context(), sale.Person{Name: "tom", Role: sale.RoleTechnician, ExpiresAt: t0.Add(2 * time.Hour)}, text(good), "anna"); err != nil {
		t.Fatal(err)
	}
	login := func(name string, at time.Time) (session, id string) {
		t.Helper()
		session, err := b.Login(t.Context(), name, text(good), at, sale.Origin{Address: "10.0.0.7", Browser: "Firefox", System: "Linux"})
		if err != nil {
			t.Fatal(err)
		}
		return session, b.IDOf(session)
	}
	first, firstID := login("anna", t0.Add(time.Minute))
	second, secondID := login("anna", t0.Add(2*time.Minute))
	toms, tomsID := login("tom", t0.Add(3*time.Minute))
	now := t0.Add(4 * time.Minute)
	ids := func(name string, now time.Time) (all []string) {
		for _, s := range b.Sessions(name, now) {
			if s.Hash != nil {
				t.Errorf("%s is shown with its hash", s.ID)
			}
			all = append(all, s.ID)
		}
		return all
	}
	if got := ids("", now); len(got) != 4 || !slices.Equal(got[:3], []string{tomsID, secondID, firstID}) || !slices.Equal(ids("tom", now), []string{tomsID}) {
		t.Errorf("logged in are %v, want %v and the claim", got, []string{tomsID, secondID, firstID})
	}
	if s := b.Sessions("tom", now)[0]; s.Person != "tom" || s.From.Browser != "Firefox" || s.From.System != "Linux" || s.From.Address != "10.0.0.7" || !s.CreatedAt.Equal(t0.Add(3*time.Minute)) {
		t.Errorf("%+v", s)
	}
	if got := ids("", t0.Add(3*time.Hour)); slices.Contains(got, tomsID) || len(ids("", t0.Add(15*time.Hour))) != 0 {
		t.Errorf("whose time is over is logged in: %v", got)
	}
	for session, id := range map[string]string{first: firstID, second: secondID, toms: tomsID} {
		if len(id) != 8 || strings.Contains(session, id) {
			t.Errorf("the id %q of %q", id, session)
		}
		if _, err := b.Who(t.Context(), id, now); !errors.Is(err, ErrSession) {
			t.Errorf("an id lets in: %v", err)
		}
	}

	for name, row := range map[string][2]string{"another's": {tomsID, "anna"}, "no id": {"", ""}, "what a browser shows": {first, ""}, "none": {"AAAAAAAA", ""}} {
		if err := b.EndSession(t.Context(), row[0], row[1], now, "person:anna"); !errors.Is(err, ErrNoSession) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := b.EndSession(t.Context(), firstID, "anna", now, "person:anna"); err != nil {
		t.Error(err)
	}
	in := func(session string) bool {
		_, err := b.Who(t.Context(), session, now)
		return err == nil
	}
	if in(first) || !in(second) || !in(toms) || r.said("anna logged out by person:anna: session "+firstID) != 1 {
		t.Errorf("in are %t %t %t; %v", in(first), in(second), in(toms), r.lines)
	}
	if n, err := b.EndSessions(t.Context(), "anna", now, "cli:root"); n != 2 || err != nil || in(second) || !in(toms) || r.said("anna logged out everywhere by cli:root") != 1 {
		t.Errorf("%d ended, %v; in are %t %t; %v", n, err, in(second), in(toms), r.lines)
	}
	if _, err := b.EndSessions(t.Context(), "nobody", now, "cli:root"); !errors.Is(err, sale.ErrNone) {
		t.Errorf("of nobody: %v", err)
	}
	if again, err := Open(t.Context(), r); err != nil || again.IDOf(toms) != tomsID {
		t.Errorf("after a restart the id is %q, was %q; %v", again.IDOf(toms), tomsID, err)
	}
}
