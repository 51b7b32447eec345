package store

import (
	"testing"
	"time"

	"edgegw/sale"
)

func TestShiftPeople(t *testing.T) {
	db := openTest(t)
	ctx := t.Context()
	const by = 400 * 24 * time.Hour
	if err := db.ShiftPeople(ctx, by, t0); err != nil {
		t.Fatal(err)
	}
	for _, p := range []sale.Person{{Name: "anna", Role: sale.RoleOwner, CreatedAt: t0}, {Name: "tom", Role: sale.RoleTechnician, CreatedAt: t0, ExpiresAt: t0.Add(time.Hour)}} {
		if err := db.AddPerson(ctx, p, "test"); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.AddSession(ctx, sale.Session{Hash: []byte("h"), Person: "anna", CreatedAt: t0, SeenAt: t0.Add(time.Minute)}, "10.0.0.1"); err != nil {
		t.Fatal(err)
	}
	if err := db.ShiftPeople(ctx, by, t0.Add(by)); err != nil {
		t.Fatal(err)
	}
	people, err := db.People(ctx)
	if err != nil || len(people) != 2 || !people[0].ExpiresAt.IsZero() || !people[1].ExpiresAt.Equal(t0.Add(time.Hour+by)) || !people[1].CreatedAt.Equal(t0) {
		t.Errorf("%+v, %v", people, err)
	}
	sessions, err := db.Logins(ctx)
	if err != nil || len(sessions) != 1 || !sessions[0].CreatedAt.Equal(t0.Add(by)) || !sessions[0].SeenAt.Equal(t0.Add(time.Minute+by)) {
		t.Errorf("%+v, %v", sessions, err)
	}
	var lines int
	if err := db.queryOne(ctx, `SELECT count(*) FROM audit WHERE who = 'clock' AND what = 'ends of people moved' AND detail = 'by 9600h0m0s'`, nil, &lines); err != nil || lines != 1 {
		t.Errorf("%d lines in the audit trail, want 1: nobody ended the first time; %v", lines, err)
	}
}
