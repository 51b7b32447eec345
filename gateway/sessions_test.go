package gateway

import (
	"net/url"
	"strings"
	"testing"

	"edgegw/admin"
	"edgegw/sale"
	"edgegw/secret"
)

// claimIt makes anna the owner of a site, in a browser.
func (b *surfer) claimIt() {
	b.t.Helper()
	st, err := b.Status(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	if status, at, text := b.send("/claim", url.Values{"code": {st.Claim.Code}, "name": {"anna"}, "password": {ownersPassword}, "again": {ownersPassword}}); status != 200 || at != "/" {
		b.t.Fatalf("claimed: %d at %s\n%s", status, at, text)
	}
}

// enter logs somebody in, in a new browser.
func (s *apiSite) enter(name, password string) *surfer {
	s.t.Helper()
	b := s.surf()
	if status, at, _ := b.send("/login", url.Values{"name": {name}, "password": {password}}); status != 200 || at != "/" {
		s.t.Fatalf("%s logs in: %d at %s", name, status, at)
	}
	return b
}

func (b *surfer) in() bool {
	b.t.Helper()
	_, at, _ := b.page("/")
	return at == "/"
}

// The owner ends one browser of a technician, the technician his own others and not
// the owner's; who did it stands in the audit trail, and no answer has what opens the
// page.
func TestSessionsOnThePage(t *testing.T) {
	s := newAPISite(t)
	defer s.off()
	anna := s.surf()
	anna.claimIt()
	made, err := s.AddPerson(t.Context(), admin.AddPerson{Name: "tom", Role: sale.RoleTechnician, Password: secret.FromString(ownersPassword)}, "test")
	if err != nil {
		t.Fatal(err)
	}
	one, two, three := s.enter(made.Name, ownersPassword), s.enter(made.Name, ownersPassword), s.enter(made.Name, ownersPassword)
	idOf := func(b *surfer) string {
		t.Helper()
		u, err := url.Parse(b.base)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range b.Jar.Cookies(u) {
			if c.Name == "__Host-edgegw" {
				if _, _, text := b.page("/account"); strings.Contains(text, c.Value) {
					t.Error("the page shows what opens it")
				}
				return s.people.IDOf(c.Value)
			}
		}
		t.Fatal("no cookie")
		return ""
	}
	if _, _, text := anna.page("/people"); strings.Count(text, `action="/people/end"`) != 3 || !strings.Contains(text, idOf(one)) || !strings.Contains(text, "127.0.0.1") {
		t.Errorf("the owner sees\n%s", text)
	}
	anna.send("/people/end", url.Values{"session": {idOf(one)}})
	if one.in() || !two.in() || !three.in() {
		t.Errorf("one was ended; in are %t %t %t", one.in(), two.in(), three.in())
	}
	if status, _, _ := two.send("/account/end", url.Values{"session": {idOf(anna)}}); status != 404 || !anna.in() {
		t.Errorf("a technician ends the owner's: %d", status)
	}
	if status, _, _ := two.send("/people/logout", url.Values{"name": {"anna"}}); status != 403 || !anna.in() {
		t.Errorf("a technician logs the owner out: %d", status)
	}
	if _, at, _ := two.send("/account/end", url.Values{"session": {idOf(three)}}); at != "/account" || three.in() || !two.in() {
		t.Errorf("his own other: at %s, in %t", at, three.in())
	}
	s.audited("logged out", "tom", "person:anna")
	s.audited("logged out", "tom", "person:tom")
	four := s.enter("tom", ownersPassword)
	if _, at, _ := two.send("/account/logout", url.Values{}); at != "/login" || two.in() || four.in() || !anna.in() {
		t.Errorf("everywhere: at %s, in %t %t", at, two.in(), four.in())
	}
	s.off()
	s.on()
	after, err := s.Sessions(t.Context())
	if err != nil || len(after) != 1 || after[0].Name != "anna" || after[0].Address != "127.0.0.1" {
		t.Errorf("after a restart: %+v, %v", after, err)
	}
}
