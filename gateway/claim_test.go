package gateway

import (
	"database/sql/driver"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/people"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/store"
)

// A site whose owner nobody knows is taken from him on the box: whoever was in is out
// at once, a technician of his as well; the old code is worth nothing, the new one
// makes another owner; and what the site sells with stays.
func TestAClaimIsReset(t *testing.T) {
	s := newAPISite(t)
	defer s.off()
	st, err := s.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	old := st.Claim.Code
	anna := s.surf()
	anna.claimIt()
	s.add("pump-01")
	s.sell("pump-01", "s1")
	s.confirmed(1)
	token := s.token("reader", sale.ScopeRead, 0).Secret
	made, err := s.AddPerson(t.Context(), admin.AddPerson{Name: "tom", Role: sale.RoleTechnician}, "person:anna")
	if err != nil {
		t.Fatal(err)
	}
	tom := s.enter("tom", made.PIN)
	if st, err = s.Status(t.Context()); err != nil || hasCondition(st, "unclaimed") {
		t.Errorf("a claimed site says that it is not: %v", err)
	}

	reset, err := s.ResetClaim(t.Context(), "cli:root")
	if err != nil || strings.Join(reset.Removed, " ") != "anna tom" || reset.Code == "" || reset.Code == old || len(reset.Page) != 2 {
		t.Fatalf("%+v, %v", reset, err)
	}
	for name, b := range map[string]*surfer{"anna": anna, "tom": tom} {
		if _, at, _ := b.page("/devices"); at != "/claim" {
			t.Errorf("%s is at %s", name, at)
		}
	}
	if status, _, _ := s.surf().send("/login", url.Values{"name": {"tom"}, "password": {made.PIN}}); status != http.StatusUnauthorized {
		t.Errorf("his PIN: %d", status)
	}
	st, err = s.Status(t.Context())
	if err != nil || !hasCondition(st, "unclaimed") || st.Claim.Claimed || st.Claim.Code != reset.Code || !strings.Contains(s.logs.String(), reset.Code) {
		t.Errorf("%+v, %v; in the log %t", st.Claim, err, strings.Contains(s.logs.String(), reset.Code))
	}
	for _, c := range st.Conditions {
		if c.Code == "unclaimed" && !c.Since.After(st.Since) {
			t.Errorf("unclaimed since %v, the gateway runs since %v", c.Since, st.Since)
		}
	}
	if st.Totals.Confirmed != 1 || st.Devices != 1 {
		t.Errorf("of the site %d sales and %d devices are left", st.Totals.Confirmed, st.Devices)
	}
	if r := s.ask(s.program(true), "GET", s.secure("/api/v1/status"), token, ""); r.StatusCode != http.StatusOK {
		t.Errorf("a program's token: %s", r.Status)
	}
	s.sell("pump-01", "s2")
	s.confirmed(2)
	for _, line := range [][3]string{{"person removed", "anna", "cli:root"}, {"person removed", "tom", "cli:root"}, {"claim reset", "", "cli:root"}} {
		s.audited(line[0], line[1], line[2])
	}

	eve := s.surf()
	if status, _, _ := eve.send("/claim", url.Values{"code": {old}, "name": {"eve"}, "password": {ownersPassword}, "again": {ownersPassword}}); status != http.StatusUnauthorized {
		t.Errorf("the old code: %d", status)
	}
	s.off()
	s.on()
	if st, err = s.Status(t.Context()); err != nil || st.Claim.Claimed || st.Claim.Code == "" || st.Claim.Code == reset.Code {
		t.Errorf("after a restart %+v, %v", st.Claim, err)
	}
	berta := s.surf()
	berta.claimIt()
	if _, err := s.ResetClaim(t.Context(), "cli:root"); err != nil {
		t.Errorf("once more: %v", err)
	}
}

// Nothing of it is reached over the network: not by a browser, not with a token. That
// no token opens the route stands in admin's table; here it is asked of a gateway.
func TestAClaimIsResetOnTheBoxOnly(t *testing.T) {
	s := newAPISite(t)
	defer s.off()
	anna := s.surf()
	anna.claimIt()
	for _, path := range []string{"/claim/reset", "/api/v1/claim/reset"} {
		if status, _, _ := anna.send(path, url.Values{}); status < 400 {
			t.Errorf("%s by the owner's browser: %d", path, status)
		}
		for _, scope := range sale.Scopes {
			token := s.token(strings.Trim(strings.ReplaceAll(path, "/", "-"), "-")+"-"+string(scope), scope, 0).Secret
			if r := s.ask(s.program(true), "POST", s.secure(path), token, ""); r.StatusCode < 400 {
				t.Errorf("%s with scope %s: %s", path, scope, r.Status)
			}
		}
	}
	if !s.people.Claimed() || !anna.in() {
		t.Error("the claim was reset over the network")
	}
}

// A reset is one step, wherever the power is cut: everybody is there and nothing is
// written down, or nobody is, and all of it is.
func TestAResetAtEveryCrashPoint(t *testing.T) {
	now := time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC)
	open := func(dir string, p *power) (*store.DB, *people.Book) {
		t.Helper()
		db, err := store.Open(t.Context(), dir, store.Options{Disk: func(c driver.Connector) driver.Connector { return cutDisk{p, c} }})
		if err != nil {
			t.Fatal(err)
		}
		b, err := people.Open(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		return db, b
	}
	template := t.TempDir()
	db, b := open(template, newPower(0))
	if _, err := b.Claim(t.Context(), b.Code(), "anna", secret.FromString(ownersPassword), now, sale.Origin{Address: "10.0.0.1"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"eva", "tom"} {
		if _, err := b.Add(t.Context(), sale.Person{Name: name, Role: sale.RoleTechnician, CreatedAt: now, ExpiresAt: now.Add(time.Hour)}, secret.Text{}, "person:anna"); err != nil {
			t.Fatal(err)
		}
	}
	must(t, db.Close())
	done := 0
	for n := 1; ; n++ {
		dir := t.TempDir()
		copyFiles(t, template, dir)
		p := newPower(0)
		db, b := open(dir, p)
		p.mu.Lock()
		p.cutAt, p.step = n, 0
		p.mu.Unlock()
		_, cutErr := b.Reset(t.Context(), now, "cli:root")
		_ = db.Close() // the power is off
		db, b = open(dir, newPower(0))
		lines, err := db.Audit(t.Context(), sale.AuditFilter{Who: "cli:root", Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		switch there, in := len(b.List()), len(b.Sessions("", now)); {
		case there == 3 && in == 1 && len(lines) == 0:
		case there == 0 && in == 0 && len(lines) == 4 && !b.Claimed():
			done++
		default:
			t.Errorf("cut at step %d: %d people, %d sessions, %d lines", n, there, in, len(lines))
		}
		must(t, db.Close())
		if cutErr == nil {
			t.Logf("%d crash points, after %d of them it was done", n-1, done-1)
			if n < 8 || done < 2 {
				t.Errorf("%d crash points: the power cut does not reach the parts", n-1)
			}
			return
		}
	}
}
