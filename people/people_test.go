package people

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"edgegw/sale"
	"edgegw/secret"
)

var t0 = time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC)

// rows keeps people in memory. Where lost is set, a change is made and its answer is
// an error: what a disk may do that dies after its commit.
type rows struct {
	people   map[string]sale.Person
	sessions map[string]sale.Session
	lines    []string
	lost     error
}

func (r *rows) say(format string, args ...any) error {
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
	return r.lost
}

func (r *rows) People(context.Context) (list []sale.Person, err error) {
	for _, p := range r.people {
		list = append(list, p)
	}
	return list, nil
}

func (r *rows) Logins(context.Context) (list []sale.Session, err error) {
	for _, s := range r.sessions {
		list = append(list, s)
	}
	return list, nil
}

func (r *rows) AddPerson(_ context.Context, p sale.Person, by string) error {
	r.people[p.Name] = p
	return r.say("added %s by %s", p.Name, by)
}

func (r *rows) endSessions(name string) {
	for h, s := range r.sessions {
		if s.Person == name {
			delete(r.sessions, h)
		}
	}
}

func (r *rows) RemovePerson(_ context.Context, name string, _ time.Time, by string) error {
	if _, ok := r.people[name]; !ok {
		return sale.ErrNone
	}
	delete(r.people, name)
	r.endSessions(name)
	return r.say("removed %s by %s", name, by)
}

func (r *rows) RemoveEverybody(_ context.Context, _ time.Time, by string) error {
	clear(r.people)
	clear(r.sessions)
	return r.say("everybody removed by %s", by)
}

func (r *rows) SetPersonHash(_ context.Context, name string, hash []byte, expires, _ time.Time, by string) error {
	p := r.people[name]
	p.Hash, p.ExpiresAt = hash, expires
	r.people[name] = p
	r.endSessions(name)
	return r.say("password of %s by %s", name, by)
}

func (r *rows) AddSession(_ context.Context, s sale.Session) error {
	r.sessions[string(s.Hash)] = s
	return r.say("%s logged in from %s", s.Person, s.From.Address)
}

func (r *rows) SessionSeen(_ context.Context, hash []byte, at time.Time) error {
	s := r.sessions[string(hash)]
	s.SeenAt = at
	r.sessions[string(hash)] = s
	return r.say("seen")
}

func (r *rows) RemoveSession(_ context.Context, s sale.Session, _ time.Time, by, why string) error {
	delete(r.sessions, string(s.Hash))
	return r.say("%s logged out by %s: %s", s.Person, by, why)
}

func (r *rows) RemoveSessions(_ context.Context, person string, _ time.Time, by string) error {
	r.endSessions(person)
	return r.say("%s logged out everywhere by %s", person, by)
}

func (r *rows) LoginsInVain(_ context.Context, from string, times int, _ time.Time) error {
	return r.say("%d in vain from %s", times, from)
}

func (r *rows) ShiftPeople(_ context.Context, by time.Duration, _ time.Time) error {
	for h, s := range r.sessions {
		s.CreatedAt, s.SeenAt = s.CreatedAt.Add(by), s.SeenAt.Add(by)
		r.sessions[h] = s
	}
	for n, p := range r.people {
		if !p.ExpiresAt.IsZero() {
			p.ExpiresAt = p.ExpiresAt.Add(by)
			r.people[n] = p
		}
	}
	return r.say("shifted by %s", by)
}

func (r *rows) said(text string) (n int) {
	for _, l := range r.lines {
		if strings.Contains(l, text) {
			n++
		}
	}
	return n
}

func open(t *testing.T) (*Book, *rows) {
	t.Helper()
	r := &rows{people: map[string]sale.Person{}, sessions: map[string]sale.Session{}}
	b, err := Open(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return b, r
}

func from(address string) sale.Origin { return sale.Origin{Address: address} }

func text(s string) secret.Text { return secret.FromString(s) }

const good = "blue lorry eats 7 stairs"

// claimed is a site with the owner anna.
func claimed(t *testing.T) (*Book, *rows) {
	t.Helper()
	b, r := open(t)
	if _, err := b.Claim(t.Context(), b.Code(), "anna", text(good), t0, from("10.0.0.1")); err != nil {
		t.Fatal(err)
	}
	return b, r
}

func TestASiteIsClaimedOnce(t *testing.T) {
	b, r := open(t)
	code := b.Code()
	if b.Claimed() || len(code) != 19 {
		t.Fatalf("claimed %t, code %q", b.Claimed(), code)
	}
	for name, row := range map[string]struct {
		code, person, password string
		want                   error
	}{
		"no code":        {"", "anna", good, ErrCode},
		"another code":   {"AAAA-BBBB-CCCC-DDDD", "anna", good, ErrCode},
		"a part of it":   {code[:14], "anna", good, ErrCode},
		"no name":        {code, "", good, ErrPerson},
		"short password": {code, "anna", "short", ErrPassword},
		"no password":    {code, "anna", "", ErrPassword},
	} {
		if _, err := b.Claim(t.Context(), row.code, row.person, text(row.password), t0, from("10.0.0."+fmt.Sprint(len(name)))); !errors.Is(err, row.want) || b.Claimed() {
			t.Errorf("%s: %v, claimed %t", name, err, b.Claimed())
		}
	}
	session, err := b.Claim(t.Context(), strings.ToLower(strings.ReplaceAll(code, "-", " ")), "anna", text(good), t0, from("10.0.0.9"))
	if err != nil {
		t.Fatal(err)
	}
	if p, err := b.Who(t.Context(), session, t0); err != nil || p.Name != "anna" || p.Role != sale.RoleOwner || p.Hash != nil {
		t.Errorf("%+v, %v", p, err)
	}
	if b.Code() != "" || r.said("added anna by claim") != 1 {
		t.Errorf("the code is shown still, or nobody wrote it down: %v", r.lines)
	}
	if _, err := b.Claim(t.Context(), code, "bert", text(good), t0, from("10.0.0.9")); !errors.Is(err, ErrClaimed) {
		t.Errorf("claimed twice: %v", err)
	}
	if again, err := Open(t.Context(), r); err != nil || !again.Claimed() {
		t.Errorf("after a restart: claimed %t, %v", again.Claimed(), err)
	}
}

// A reset puts out everybody, and the code that claimed the site claims it no more.
func TestAResetTakesTheSiteFromEverybody(t *testing.T) {
	b, r := open(t)
	old := b.Code()
	if _, err := b.Reset(t.Context(), t0, "cli:root"); !errors.Is(err, ErrUnclaimed) {
		t.Errorf("a site that nobody owns: %v", err)
	}
	first, err := b.Claim(t.Context(), old, "anna", text(good), t0, from("10.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	pin, err := b.Add(t.Context(), sale.Person{Name: "tom", Role: sale.RoleTechnician, ExpiresAt: t0.Add(time.Hour)}, secret.Text{}, "person:anna")
	if err != nil {
		t.Fatal(err)
	}
	second, err := b.Login(t.Context(), "tom", text(pin), t0, from("10.0.0.2"))
	if err != nil {
		t.Fatal(err)
	}
	proved, _ := b.person("anna")
	removed, err := b.Reset(t.Context(), t0, "cli:root")
	if err != nil || len(removed) != 2 || removed[0].Name != "anna" || removed[1].Hash != nil {
		t.Errorf("removed %+v, %v", removed, err)
	}
	for _, s := range []string{first, second} {
		if _, err := b.Who(t.Context(), s, t0); !errors.Is(err, ErrSession) {
			t.Errorf("somebody is in still: %v", err)
		}
	}
	if _, err := b.Login(t.Context(), "tom", text(pin), t0, from("10.0.0.2")); !errors.Is(err, ErrWrong) {
		t.Errorf("his PIN opens the page: %v", err)
	}
	if _, err := b.enter(t.Context(), proved, t0, from("10.0.0.1")); !errors.Is(err, ErrWrong) {
		t.Errorf("a login that was under way: %v", err)
	}
	if b.Claimed() || b.Code() == "" || b.Code() == old || r.said("everybody removed by cli:root") != 1 {
		t.Errorf("claimed %t, code %q, before %q: %v", b.Claimed(), b.Code(), old, r.lines)
	}
	if _, err := b.Claim(t.Context(), old, "eve", text(good), t0, from("10.0.0.3")); !errors.Is(err, ErrCode) {
		t.Errorf("the old code claims the site: %v", err)
	}
	if _, err := b.Claim(t.Context(), b.Code(), "anna", text(good), t0, from("10.0.0.1")); err != nil {
		t.Errorf("the new one does not: %v", err)
	}
}

func TestWhoMayBe(t *testing.T) {
	b, _ := claimed(t)
	for name, row := range map[string]struct {
		p        sale.Person
		password string
		want     error
	}{
		"there already":       {sale.Person{Name: "anna", Role: sale.RoleAuditor}, good, ErrExists},
		"big letters":         {sale.Person{Name: "Bert", Role: sale.RoleOwner}, good, ErrPerson},
		"a digit first":       {sale.Person{Name: "1bert", Role: sale.RoleOwner}, good, ErrPerson},
		"a line end":          {sale.Person{Name: "bert\n", Role: sale.RoleOwner}, good, ErrPerson},
		"too long":            {sale.Person{Name: strings.Repeat("b", 33), Role: sale.RoleOwner}, good, ErrPerson},
		"no role":             {sale.Person{Name: "bert"}, good, ErrPerson},
		"another role":        {sale.Person{Name: "bert", Role: "root"}, good, ErrPerson},
		"an owner with a PIN": {sale.Person{Name: "bert", Role: sale.RoleOwner, ExpiresAt: t0.AddDate(0, 0, 1)}, "", ErrPassword},
		"a PIN for ever":      {sale.Person{Name: "bert", Role: sale.RoleTechnician}, "", ErrPerson},
		"nine characters":     {sale.Person{Name: "bert", Role: sale.RoleOwner}, "abcdefghi", ErrPassword},
		"his own name":        {sale.Person{Name: "bert", Role: sale.RoleOwner}, "my name is Bert", ErrPassword},
		"the usual":           {sale.Person{Name: "bert", Role: sale.RoleOwner}, "qwertzuiop", ErrPassword},
		"one over and over":   {sale.Person{Name: "bert", Role: sale.RoleOwner}, "aaaaaaaaaaaaaaa", ErrPassword},
		"endless":             {sale.Person{Name: "bert", Role: sale.RoleOwner}, good + strings.Repeat("x", 200), ErrPassword},
	} {
		if pin, err := b.Add(t.Context(), row.p, text(row.password), "anna"); !errors.Is(err, row.want) || pin != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(b.List()); n != 1 {
		t.Errorf("%d people", n)
	}
}

func TestAPINOpensUntilItsEnd(t *testing.T) {
	b, r := claimed(t)
	end := t0.Add(time.Hour)
	pin, err := b.Add(t.Context(), sale.Person{Name: "tech", Role: sale.RoleTechnician, ExpiresAt: end}, secret.Text{}, "anna")
	if err != nil || len(pin) != 10 || strings.Trim(pin, "0123456789") != "" {
		t.Fatalf("PIN %q, %v", pin, err)
	}
	session, err := b.Login(t.Context(), "tech", text(pin), end.Add(-time.Minute), from("10.0.0.2"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Who(t.Context(), session, end.Add(-time.Second)); err != nil {
		t.Errorf("a second before its end: %v", err)
	}
	if _, err := b.Who(t.Context(), session, end); !errors.Is(err, ErrSession) {
		t.Errorf("at its end: %v", err)
	}
	if _, err := b.Login(t.Context(), "tech", text(pin), end, from("10.0.0.2")); !errors.Is(err, ErrExpired) {
		t.Errorf("after its end: %v", err)
	}
	if err := b.SetPassword(t.Context(), "tech", text(good+"!"), end, "root"); !errors.Is(err, ErrOver) {
		t.Errorf("a password that lets nobody in: %v", err)
	}
	if err := b.SetPassword(t.Context(), "tech", text(good+"!"), end.Add(-time.Second), "root"); err != nil {
		t.Errorf("a password a second before its end: %v", err)
	}
	for _, p := range r.people {
		if bytes.Contains(p.Hash, []byte(pin)) || bytes.Contains(p.Hash, []byte(good)) || len(p.Hash) != 1+saltSize+keySize {
			t.Errorf("kept of %s: %x", p.Name, p.Hash)
		}
	}
}

// What is wrong is not told, and costs the same work.
func TestEveryLoginInVainLooksTheSame(t *testing.T) {
	b, _ := claimed(t)
	for i, row := range [][2]string{{"anna", "wrong password"}, {"nobody", good}, {"", ""}, {"anna", ""}, {"anna", good + "\x00"}, {"anna ", good}} {
		_, err := b.Login(t.Context(), row[0], text(row[1]), t0, from(fmt.Sprint("10.0.1.", i)))
		if !errors.Is(err, ErrWrong) {
			t.Errorf("%q: %v", row, err)
		}
	}
	if n := testing.AllocsPerRun(1, func() { _, _ = b.slow.matches(t.Context(), nil, text("x")) }); n == 0 {
		t.Error("nothing is computed for somebody who is not there")
	}
}

// Whoever guesses waits longer and longer, up to a minute; others do not wait; and
// after the minute the right password gets in from his address as well.
func TestGuessingIsSlowAndLocksNobodyElseOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, r := claimed(t)
		tries := 0
		begin := time.Now()
		for time.Since(begin) < time.Hour {
			_, err := b.Login(t.Context(), "anna", text("guess"), t0, from("10.0.0.66"))
			var wait *WaitError
			switch {
			case errors.As(err, &wait):
				if _, err := b.Login(t.Context(), "anna", text(good), t0, from("10.0.0.66")); !errors.As(err, &wait) {
					t.Fatalf("the right one is looked at while the address waits: %v", err)
				}
				<-time.After(wait.Wait)
			case errors.Is(err, ErrWrong):
				tries++
			default:
				t.Fatal(err)
			}
		}
		if tries < 60 || tries > 75 {
			t.Errorf("%d guesses in an hour", tries)
		}
		if n := r.said("in vain from 10.0.0.66"); n < 5 || n > 8 {
			t.Errorf("written down %d times: %v", n, r.lines)
		}
		if _, err := b.Login(t.Context(), "anna", text(good), t0, from("10.0.0.5")); err != nil {
			t.Errorf("from another address: %v", err)
		}
		<-time.After(longest)
		if _, err := b.Login(t.Context(), "anna", text(good), t0, from("10.0.0.66")); err != nil {
			t.Errorf("after the wait: %v", err)
		}
		// Having got in does not begin anew: he may guess at somebody else.
		if _, err := b.Login(t.Context(), "bert", text("guess"), t0, from("10.0.0.66")); !errors.Is(err, ErrWrong) {
			t.Errorf("%v", err)
		}
		if wait := (*WaitError)(nil); !errors.As(may(b.guess, "10.0.0.66"), &wait) {
			t.Error("an address that got in guesses without waiting")
		}
	})
}

func may(g *guesses, from string) error {
	over, err := g.begin(from)
	if err == nil {
		over()
	}
	return err
}

// Whoever sends many guesses at once has no more of them than one after the other,
// and leaves the turn of the hashes to others.
func TestGuessesAtOnceAreNoMore(t *testing.T) {
	b, _ := claimed(t)
	for round := range 3 {
		b.slow.turn <- struct{}{} // nothing is answered before all have come
		ended := make(chan error, 40)
		for range cap(ended) {
			go func() {
				_, err := b.Login(t.Context(), "anna", text("guess"), t0, from("10.0.0.66"))
				ended <- err
			}()
		}
		looked, most := 0, free
		if round > 0 {
			most = 1
		}
		for range cap(ended) - most {
			err := <-ended
			if wait := (*WaitError)(nil); !errors.As(err, &wait) {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		<-b.slow.turn
		for range most {
			if err := <-ended; errors.Is(err, ErrWrong) {
				looked++
			}
		}
		if looked != most {
			t.Errorf("round %d: %d guesses at once were looked at, want %d", round, looked, most)
		}
		b.guess.from[neighbours("10.0.0.66")].until = time.Time{} // it has waited
	}
	if n := b.guess.from[neighbours("10.0.0.66")].under; n != 0 {
		t.Errorf("%d tries are under way for ever", n)
	}
}

// A password that is taken away while it is being checked opens nothing.
func TestAPasswordThatChangesWhileItIsChecked(t *testing.T) {
	b, r := claimed(t)
	before, _ := b.person("anna")
	sessions := len(r.sessions)
	if err := b.SetPassword(t.Context(), "anna", text("green lorry eats 9 stairs"), t0, "test"); err != nil {
		t.Fatal(err)
	}
	if s, err := b.enter(t.Context(), before, t0, from("10.0.0.5")); !errors.Is(err, ErrWrong) || s != "" || len(r.sessions) >= sessions {
		t.Errorf("the old password opens a session: %v, %d sessions", err, len(r.sessions))
	}
	// Somebody else who has the name by now is not let in by the password of the one before.
	if _, err := b.Add(t.Context(), sale.Person{Name: "tom", Role: sale.RoleAuditor, CreatedAt: t0}, text(good), "test"); err != nil {
		t.Fatal(err)
	}
	tom, _ := b.person("tom")
	if err := b.Remove(t.Context(), "tom", t0, "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.enter(t.Context(), tom, t0, from("10.0.0.5")); !errors.Is(err, ErrWrong) {
		t.Errorf("who was removed: %v", err)
	}
	if _, err := b.Add(t.Context(), sale.Person{Name: "tom", Role: sale.RoleOwner, CreatedAt: t0}, text("green lorry eats 9 stairs"), "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.enter(t.Context(), tom, t0, from("10.0.0.5")); !errors.Is(err, ErrWrong) {
		t.Errorf("the one before: %v", err)
	}
}

// Strangers from everywhere take no more memory than 1,024 addresses.
func TestStrangersAreBounded(t *testing.T) {
	g := newGuesses()
	for i := range 5000 {
		g.wrong(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255))
		g.wrong(fmt.Sprintf("2001:db8:%x::1", i))
	}
	if len(g.from) > mostAddresses {
		t.Errorf("%d accounts", len(g.from))
	}
	if wait := (*WaitError)(nil); !errors.As(may(g, "10.200.0.1"), &wait) || wait.Wait > othersWait {
		t.Errorf("those there is no room for wait %v, want a second", wait)
	}
	if neighbours("2001:db8::1") != neighbours("2001:db8::ffff:1") || neighbours("::ffff:10.0.0.1") != neighbours("10.0.0.1") || neighbours("10.0.0.1") == neighbours("10.0.0.2") {
		t.Error("neighbours are told apart wrongly")
	}
}

func TestSessionsEnd(t *testing.T) {
	b, r := claimed(t)
	login := func(at time.Time) string {
		t.Helper()
		s, err := b.Login(t.Context(), "anna", text(good), at, from("10.0.0.1"))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	who := func(session string, at time.Time) bool {
		_, err := b.Who(t.Context(), session, at)
		if err != nil && !errors.Is(err, ErrSession) {
			t.Fatal(err)
		}
		return err == nil
	}
	s := login(t0)
	at := t0
	for range 59 { // used every twelve hours
		at = at.Add(idle)
		if !who(s, at) {
			t.Fatalf("over after %v in use", at.Sub(t0))
		}
	}
	if who(s, t0.Add(whole)) {
		t.Error("it lives longer than 30 days")
	}
	s = login(t0)
	if who(s, t0.Add(idle+seenNoted)) {
		t.Error("it lives without being used")
	}
	s = login(t0)
	if !who(s, t0.Add(-50*365*24*time.Hour)) || who(s, t0.Add(idle)) {
		t.Error("a clock that was set back for a while ends it, or lets it live for ever")
	}
	s = login(t0)
	for range mostSessions {
		login(t0.Add(time.Minute))
	}
	if who(s, t0.Add(time.Minute)) || len(r.sessions) > mostSessions {
		t.Errorf("%d browsers of one person", len(r.sessions))
	}
	s = login(t0)
	if err := b.Logout(t.Context(), s, t0); err != nil || who(s, t0) {
		t.Errorf("logged out: %v", err)
	}
	for _, bad := range []string{"", "x", s} {
		if who(bad, t0) {
			t.Errorf("%q lets in", bad)
		}
	}
	s = login(t0)
	if err := b.SetPassword(t.Context(), "anna", text(good+"!"), t0, "root"); err != nil || who(s, t0) {
		t.Errorf("another password leaves old browsers in: %v", err)
	}
	for h := range r.sessions {
		if strings.Contains(h, s) {
			t.Error("what a browser shows is kept")
		}
	}
}

// A clock that is set takes ends along: what is left of them stays the same.
func TestEndsMoveWithTheClock(t *testing.T) {
	b, r := claimed(t)
	pin, err := b.Add(t.Context(), sale.Person{Name: "tech", Role: sale.RoleTechnician, CreatedAt: t0, ExpiresAt: t0.Add(time.Hour)}, secret.Text{}, "anna")
	if err != nil {
		t.Fatal(err)
	}
	session, err := b.Login(t.Context(), "anna", text(good), t0, from("10.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, by := range []time.Duration{400 * 24 * time.Hour, -900 * 24 * time.Hour} {
		now := t0.Add(by)
		if err := b.Shift(t.Context(), by, now); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Who(t.Context(), session, now); err != nil {
			t.Errorf("set by %s: the session ended: %v", by, err)
		}
		if _, err := b.Who(t.Context(), session, now.Add(idle+seenNoted)); !errors.Is(err, ErrSession) {
			t.Errorf("set by %s: the session does not end: %v", by, err)
		}
		if _, err := b.Login(t.Context(), "tech", text(pin), now.Add(time.Hour-time.Minute), from("10.0.0.2")); err != nil {
			t.Errorf("set by %s: the PIN ended: %v", by, err)
		}
		if _, err := b.Login(t.Context(), "tech", text(pin), now.Add(time.Hour), from("10.0.0.2")); !errors.Is(err, ErrExpired) {
			t.Errorf("set by %s: the PIN does not end: %v", by, err)
		}
		if p := r.people["anna"]; !p.ExpiresAt.IsZero() {
			t.Errorf("the owner ends at %s", p.ExpiresAt)
		}
		if err := b.Shift(t.Context(), -by, t0); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheLastOwnerStays(t *testing.T) {
	b, _ := claimed(t)
	if err := b.Remove(t.Context(), "anna", t0, "anna"); !errors.Is(err, ErrLast) {
		t.Errorf("removed: %v", err)
	}
	if _, err := b.Add(t.Context(), sale.Person{Name: "bert", Role: sale.RoleOwner}, text(good), "anna"); err != nil {
		t.Fatal(err)
	}
	s, err := b.Login(t.Context(), "anna", text(good), t0, from("10.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Remove(t.Context(), "anna", t0, "bert"); err != nil {
		t.Error(err)
	}
	if _, err := b.Who(t.Context(), s, t0); !errors.Is(err, ErrSession) {
		t.Errorf("a removed person is let in: %v", err)
	}
	if err := b.Remove(t.Context(), "nobody", t0, "bert"); !errors.Is(err, sale.ErrNone) {
		t.Errorf("nobody was removed: %v", err)
	}
}

// A change whose answer was lost: what is on disk counts.
func TestALostAnswerLeavesNobodyIn(t *testing.T) {
	b, r := claimed(t)
	s, err := b.Login(t.Context(), "anna", text(good), t0, from("10.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	r.lost = errors.New("input/output error")
	if err := b.SetPassword(t.Context(), "anna", text(good+"!"), t0, "root"); !errors.Is(err, r.lost) {
		t.Errorf("%v", err)
	}
	if _, err := b.Who(t.Context(), s, t0); !errors.Is(err, ErrSession) {
		t.Errorf("still in: %v", err)
	}
}

// A flood of logins computes one hash at a time, and more than a few are turned away.
func TestAFloodTakesTheMemoryOfOne(t *testing.T) {
	s := newSlow()
	s.turn <- struct{}{} // one is being computed
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 100)
	for range 100 {
		go func() {
			_, err := s.matches(ctx, nil, text("x"))
			ended <- err
		}()
	}
	for range 100 - mostWaiting {
		if err := <-ended; !errors.Is(err, ErrBusy) {
			t.Errorf("%v", err)
		}
	}
	cancel()
	for range mostWaiting {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	}
}

// What one login costs: time on the processor, once at a time.
func BenchmarkLogin(b *testing.B) {
	s := newSlow()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.hash(b.Context(), text(good)); err != nil {
			b.Fatal(err)
		}
	}
}

// A phone begins a name with a big letter.
func TestANameIsTakenAsPhonesTypeIt(t *testing.T) {
	b, _ := claimed(t)
	if _, err := b.Login(t.Context(), "Anna", text(good), t0, from("10.0.0.1")); err != nil {
		t.Error(err)
	}
}
