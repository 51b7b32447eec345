package gateway

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/sale"
	"edgegw/secret"
)

// The clock of a box that stands in 1970 is set while somebody is on the page: he
// stays there, and the PIN that he gave out ends when it would have, also after a
// restart.
func TestABoxLearnsTheTimeAndPutsNobodyOut(t *testing.T) {
	s := newAPISite(t)
	s.off()
	var right atomic.Bool
	s.options.Clock.Synchronised = right.Load
	s.options.Clock.Wall = func() time.Time {
		if right.Load() {
			return time.Now().AddDate(1, 0, 0)
		}
		return time.Unix(1000, 0)
	}
	s.on()
	ctx := t.Context()
	if q := s.clock.Quality(); q != "unknown" {
		t.Fatalf("the clock is %s", q)
	}
	if st, err := s.Status(ctx); err != nil || !hasCondition(st, "unclaimed") {
		t.Errorf("an unclaimed site does not say so: %v", err)
	}
	session, err := s.Claim(ctx, s.people.Code(), "anna", secret.FromString("seven green bicycles"), sale.Origin{Address: "192.0.2.1"})
	if err != nil {
		t.Fatal(err)
	}
	if st, err := s.Status(ctx); err != nil || hasCondition(st, "unclaimed") {
		t.Errorf("a claimed site says that it is not: %v", err)
	}
	tom, err := s.AddPerson(ctx, admin.AddPerson{Name: "tom", Role: "technician"}, "person:anna")
	if err != nil {
		t.Fatal(err)
	}
	right.Store(true)
	check := func(when string) {
		t.Helper()
		var all sync.WaitGroup
		for range 4 { // whoever comes first moves the ends, and nobody is judged before
			all.Go(func() {
				if _, err := s.Who(ctx, session); err != nil {
					t.Errorf("%s: her session has ended: %v", when, err)
				}
			})
		}
		all.Wait()
		if _, err := s.Login(ctx, "tom", secret.FromString(tom.PIN), sale.Origin{Address: "192.0.2.2"}); err != nil {
			t.Errorf("%s: his PIN has ended: %v", when, err)
		}
		people, err := s.People(ctx)
		if err != nil || len(people) != 2 {
			t.Fatalf("%+v, %v", people, err)
		}
		if left := people[1].ExpiresAt.Sub(s.clock.Now()); left < pinLives-time.Hour || left > pinLives {
			t.Errorf("%s: he has %s left, of seven days", when, left)
		}
	}
	check("the clock was set")
	s.off()
	s.on()
	check("restart")
	s.off()
}
