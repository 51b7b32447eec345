package gateway

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"edgegw/admin"
	"edgegw/admin/page"
	"edgegw/sale"
	"edgegw/secret"
)

var waits = regexp.MustCompile(`wait (\d+) s`)

// lockOut guesses until the address of a browser has to wait for two seconds or more.
func (b *surfer) lockOut(path string, guess url.Values) {
	b.t.Helper()
	await(b.t, "lock-out", func() bool {
		status, _, text := b.send(path, guess)
		if status != 401 && status != 429 {
			b.t.Fatalf("a guess: %d\n%s", status, text)
		}
		m := waits.FindStringSubmatch(text)
		if m == nil {
			return false
		}
		n, err := strconv.Atoi(m[1])
		return err == nil && n >= 2
	})
}

// filled fills the pattern of a change with what there is.
func filled(pattern string) string {
	_, path, _ := strings.Cut(pattern, " ")
	if strings.HasPrefix(path, "/quarantine/") {
		return strings.Replace(path, "{id}", "1", 1)
	}
	return strings.NewReplacer("{id}", "pump-01", "{act}", "disable").Replace(path)
}

// Whoever has guessed too often changes nothing, by no route of the page: not without
// a session, not with one that is made up, was ended, or is of somebody who was
// removed, and not with the right password. The routes are those of the router. And
// nobody else is kept out by it: not who is in already, also from that address, nor
// the same person from another one.
func TestNothingIsChangedAfterALockOut(t *testing.T) {
	s := newAPISite(t)
	defer s.off()
	s.add("pump-01")
	st, err := s.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	claim := url.Values{"code": {"AAAA-AAAA-AAAA-AAAA"}, "name": {"eve"}, "password": {ownersPassword}, "again": {ownersPassword}}
	eve := s.surf()
	eve.lockOut("/claim", claim)
	claim.Set("code", st.Claim.Code)
	if status, _, _ := eve.send("/claim", claim); status != 429 || s.people.Claimed() {
		t.Fatalf("the right code while the address waits: %d, claimed %t", status, s.people.Claimed())
	}
	anna := s.surfFrom("127.0.0.2")
	anna.claimIt()
	for _, name := range []string{"tom", "rita"} {
		if _, err := s.AddPerson(t.Context(), admin.AddPerson{Name: name, Role: sale.RoleOwner, Password: secret.FromString(ownersPassword)}, "test"); err != nil {
			t.Fatal(err)
		}
	}
	enter := func(name string) *surfer {
		t.Helper()
		b := s.surfFrom("127.0.0.3")
		if _, at, _ := b.send("/login", url.Values{"name": {name}, "password": {ownersPassword}}); at != "/" {
			t.Fatalf("%s is at %s", name, at)
		}
		return b
	}
	ended, removed := enter("tom"), enter("rita")
	must(t, s.RemovePerson(t.Context(), "rita", "test"))
	if _, err := s.EndSessions(t.Context(), "tom", "test"); err != nil {
		t.Fatal(err)
	}
	madeUp := s.surf()
	base, err := url.Parse(madeUp.base)
	if err != nil {
		t.Fatal(err)
	}
	made := ended.Jar.Cookies(base)
	if len(made) != 1 {
		t.Fatalf("%d cookies", len(made))
	}
	made[0].Value, made[0].Path, made[0].Secure = strings.Repeat("A", 26), "/", true
	madeUp.Jar.SetCookies(base, made)
	if len(madeUp.Jar.Cookies(base)) != 1 {
		t.Fatal("the made-up session is not sent")
	}
	ended.Transport, removed.Transport = eve.Transport, eve.Transport // from the address that waits

	trail := func() (kept []string) {
		for line := range strings.Lines(s.auditTrail()) {
			if !strings.HasPrefix(line, "logins in vain") {
				kept = append(kept, line)
			}
		}
		return kept
	}
	guess := url.Values{"name": {"anna"}, "password": {"a guess of somebody"}}
	form := url.Values{"name": {"anna"}, "password": {ownersPassword}, "again": {ownersPassword}, "code": {st.Claim.Code}, "days": {"7"}, "role": {"auditor"}, "device_id": {"pump-02"}, "register_id": {"reg_2"}, "kind": {"pump"},
		"decision": {"discard"}, "reason": {"why not"}, "passphrase": {"correct horse battery"}, "set.site.name": {"Station 2"}, "session": {"AAAAAAAA"}, "to": {"en"}, "back": {"/"}}
	before := trail()
	for _, pattern := range page.Changes() {
		for who, b := range map[string]*surfer{"without a session": eve, "with a made-up one": madeUp, "with one that was ended": ended, "with a removed person's": removed} {
			eve.lockOut("/login", guess)
			status, at, text := b.send(filled(pattern), form)
			switch pattern {
			case "POST /login":
				if status != 429 {
					t.Errorf("%s %s, with the right password: %d at %s", pattern, who, status, at)
				}
			case "POST /claim":
				if status != 409 {
					t.Errorf("%s %s: %d at %s", pattern, who, status, at)
				}
			default:
				if status != 200 || at != "/login" {
					t.Errorf("%s %s: %d at %s\n%s", pattern, who, status, at, text)
				}
			}
			if b.in() {
				t.Errorf("%s %s lets in", pattern, who)
			}
		}
	}
	if after := trail(); len(page.Changes()) < 20 || strings.Join(after, "") != strings.Join(before, "") {
		t.Errorf("%d changes were tried; the audit trail was\n%s\nand is\n%s", len(page.Changes()), strings.Join(before, ""), strings.Join(after, ""))
	}
	s.audited("logins in vain", "127.0.0.1", "gateway")

	eve.lockOut("/login", guess)
	here := s.surf()
	here.Jar = anna.Jar
	if status, at, _ := here.send("/devices/pump-01/disable", url.Values{}); status != 200 || at != "/devices/pump-01" {
		t.Errorf("who is in already is kept out, at the address that waits: %d at %s", status, at)
	}
	s.audited("device disabled", "pump-01", "person:anna")
	elsewhere := s.surfFrom("127.0.0.4")
	if status, at, _ := elsewhere.send("/login", url.Values{"name": {"anna"}, "password": {ownersPassword}}); status != 200 || at != "/" {
		t.Errorf("guesses at her name keep her out elsewhere: %d at %s", status, at)
	}
	await(t, "the end of the wait", func() bool {
		_, at, _ := eve.send("/login", url.Values{"name": {"anna"}, "password": {ownersPassword}})
		return at == "/"
	})
}
