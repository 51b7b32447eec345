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
	if err := db.AddSession(ctx, sale.Session{Hash: []byte("h"), Person: "anna", CreatedAt: t0, SeenAt: t0.Add(time.Minute), From: sale.Origin{Address: "10.0.0.1"}}); err != nil {
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

// Whoever was logged in before it was noted from where stays logged in.
func TestOldSessionsStay(t *testing.T) {
	dir := t.TempDir()
	db := openIn(t, dir)
	if err := db.AddPerson(t.Context(), sale.Person{Name: "anna", Role: sale.RoleOwner, CreatedAt: t0}, "test"); err != nil {
		t.Fatal(err)
	}
	if err := db.AddSession(t.Context(), sale.Session{Hash: []byte("h"), Person: "anna", CreatedAt: t0, SeenAt: t0}); err != nil {
		t.Fatal(err)
	}
	for _, change := range []string{"ALTER TABLE session DROP COLUMN address", "ALTER TABLE session DROP COLUMN browser", "ALTER TABLE session DROP COLUMN system", "DROP TABLE second", "DROP TABLE rebuilt", "DROP TABLE forgotten",
		"ALTER TABLE queue DROP COLUMN seq_device", "ALTER TABLE queue DROP COLUMN seq", "PRAGMA user_version = 6"} {
		if err := db.change(t.Context(), func(t *tx) error { _, err := t.exec(change); return err }); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openIn(t, dir)
	old, err := db.Logins(t.Context())
	if err != nil || len(old) != 1 || old[0].Person != "anna" || !old[0].SeenAt.Equal(t0) || old[0].From != (sale.Origin{}) {
		t.Errorf("%+v, %v", old, err)
	}
	from := sale.Origin{Address: "10.0.0.1", Browser: "Firefox", System: "Linux"}
	if err := db.AddSession(t.Context(), sale.Session{Hash: []byte("i"), Person: "anna", CreatedAt: t0.Add(time.Hour), SeenAt: t0, From: from}); err != nil {
		t.Fatal(err)
	}
	if all, err := db.Logins(t.Context()); err != nil || len(all) != 2 || all[1].From != from {
		t.Errorf("%+v, %v", all, err)
	}
}
