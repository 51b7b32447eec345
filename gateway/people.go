package gateway

import (
	"context"
	"errors"
	"sync"
	"time"

	"edgegw/admin"
	"edgegw/health"
	"edgegw/people"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/wording"
)

// pinLives is how long a PIN opens the page where nobody says how long.
const pinLives = 7 * 24 * time.Hour

// leap finds that a clock was set.
type leap struct {
	mu       sync.Mutex
	at, mono time.Time
}

// leapt is by how much an estimate must leave the time that has really passed to
// have been set: less is a clock that is being brought in step.
const leapt = time.Minute

// by gives how far the clock was set since it was asked before; 0 if it was not. The
// lock is held.
func (l *leap) by(now time.Time) (by time.Duration) {
	mono := time.Now()
	if !l.at.IsZero() {
		by = now.Sub(l.at) - mono.Sub(l.mono)
	}
	l.at, l.mono = now, mono
	if by.Abs() < leapt {
		return 0
	}
	return by
}

// peopleNow is the time by which people and sessions end. A box that learns what
// time it is must not put out whoever has just set it up, nor let in for longer: an
// end is moved with the clock, before it is looked at.
func (k *control) peopleNow(ctx context.Context) time.Time {
	k.peopleAt.mu.Lock() // nobody is judged before the ends have moved
	defer k.peopleAt.mu.Unlock()
	now := k.clock.Now()
	if by := k.peopleAt.by(now); by != 0 {
		k.log.Info("the clock was set, and with it when people end", "by", by)
		if err := k.people.Shift(context.WithoutCancel(ctx), by, now); err != nil {
			k.log.Warn("when people end could not be moved with the clock", "cause", err)
		}
	}
	return now
}

// People lists those who may use the page.
func (k *control) People(context.Context) ([]admin.Person, error) {
	list := []admin.Person{}
	for _, p := range k.people.List() {
		list = append(list, personInfo(p))
	}
	return list, nil
}

func personInfo(p sale.Person) admin.Person {
	return admin.Person{Name: p.Name, Role: p.Role, CreatedAt: p.CreatedAt, ExpiresAt: p.ExpiresAt, LastSeen: p.SeenAt}
}

// AddPerson adds somebody.
func (k *control) AddPerson(ctx context.Context, a admin.AddPerson, by string) (admin.AddedPerson, error) {
	now := k.peopleNow(ctx)
	p := sale.Person{Name: a.Name, Role: a.Role, CreatedAt: now}
	if a.Lives == 0 && a.Password.Empty() {
		a.Lives = pinLives
	}
	if a.Lives > 0 {
		p.ExpiresAt = now.Add(a.Lives)
	}
	pin, err := k.people.Add(ctx, p, a.Password, by)
	if err != nil {
		return admin.AddedPerson{}, personRefusal(err)
	}
	return admin.AddedPerson{Person: personInfo(p), PIN: pin}, nil
}

// RemovePerson ends somebody's access at once.
func (k *control) RemovePerson(ctx context.Context, name, by string) error {
	return personRefusal(k.people.Remove(ctx, name, k.peopleNow(ctx), by))
}

// SetPassword gives somebody another password.
func (k *control) SetPassword(ctx context.Context, name string, password secret.Text, by string) error {
	return personRefusal(k.people.SetPassword(ctx, name, password, k.peopleNow(ctx), by))
}

// Claimed reports whether the site has an owner.
func (k *control) Claimed(context.Context) (bool, error) { return k.people.Claimed(), nil }

// Claim makes the first owner.
func (k *control) Claim(ctx context.Context, code, name string, password secret.Text, from sale.Origin) (string, error) {
	session, err := k.people.Claim(ctx, code, name, password, k.peopleNow(ctx), from)
	return session, personRefusal(err)
}

// Login lets somebody in.
func (k *control) Login(ctx context.Context, name string, password secret.Text, from sale.Origin) (string, error) {
	session, err := k.people.Login(ctx, name, password, k.peopleNow(ctx), from)
	return session, personRefusal(err)
}

// Who is behind a session.
func (k *control) Who(ctx context.Context, session string) (admin.Person, error) {
	p, err := k.people.Who(ctx, session, k.peopleNow(ctx))
	return personInfo(p), personRefusal(err)
}

// Logout ends a session.
func (k *control) Logout(ctx context.Context, session string) error {
	return k.people.Logout(ctx, session, k.peopleNow(ctx))
}

// personRefusal says in words for a person what he can mend.
func personRefusal(err error) error {
	var wait *people.WaitError
	for _, row := range []struct {
		is       error
		code     string
		says, do wording.Sentence // says is empty where the error has a sentence of its own
	}{
		{people.ErrWrong, "login", wording.Of("the name or the password is wrong"), wording.Of("Try again. Who has forgotten it has it set anew on the box: edgegw person password NAME")},
		{people.ErrExpired, "login", wording.Of("the time of this person is over"), wording.Of("Ask the owner to remove you and to let you in again, with a new PIN.")},
		{people.ErrOver, "conflict", wording.Of("the time of this person is over: no password lets him in"), wording.Of("Remove him and let him in again: edgegw person remove NAME, and then edgegw person add NAME")},
		{people.ErrCode, "login", wording.Of("that is not the code of this gateway"), wording.Of("Read it again in the gateway's log, or with edgegw status on the box. It is a new one after each start.")},
		{people.ErrClaimed, "conflict", wording.Of("the site has an owner already"), wording.Of("Log in. Who has forgotten the password has it set anew on the box: edgegw person password NAME")},
		{people.ErrExists, "exists", wording.Of("there is somebody of that name already"), wording.Of("Choose another name, because the audit trail tells people apart by it; or, where it is the same person and needs a new PIN, remove him first")},
		{people.ErrLast, "conflict", wording.Of("a site cannot lose its last owner"), wording.Of("Add another owner first.")},
		{people.ErrSession, admin.CodeSession, wording.Of("there is no such session, or it is over"), wording.Of("Log in.")},
		{people.ErrUnclaimed, "conflict", wording.Of("nobody owns this site"), wording.Of("There is nothing to reset. Claim it with the code of: edgegw claim")},
		{people.ErrNoSession, "not_found", wording.Of("there is no session of that id"), wording.Of("List them: edgegw person sessions")},
		{people.ErrBusy, admin.CodeTooMany, wording.Of("too many logins at one time"), wording.Of("Try again in a few seconds.")},
		{people.ErrPassword, "invalid", wording.Sentence{}, wording.Of("Take another one: three or four words that nobody would put together are good.")},
		{people.ErrPerson, "invalid", wording.Sentence{}, wording.Of("See: edgegw person add --help")},
		{sale.ErrNone, "not_found", wording.Of("there is nobody of that name"), wording.Of("List them: edgegw person list")},
	} {
		if errors.Is(err, row.is) {
			says := row.says
			if says.Empty() {
				says = wording.From(err)
			}
			return admin.Refuse(row.code, says, row.do)
		}
	}
	if errors.As(err, &wait) {
		return admin.Refuse(admin.CodeTooMany, wording.Of("there were too many logins in vain from your address: wait %d s", wait.Seconds()),
			wording.Of("Nothing was looked at. From another address the right password gets in at once."))
	}
	return err
}

// claim is how the site gets an owner. The code is that of the gateway that runs.
func (k *control) claim() admin.Claim {
	c := admin.Claim{Claimed: k.people.Claimed()}
	if k.running != nil {
		c.Code = k.people.Code()
	}
	return c
}

// ResetClaim takes the site from its owners. A site that is claimed anew is as at its
// first start, but for all that is not people: sales, devices, keys, tokens of
// programs, settings and the audit trail stay.
func (k *control) ResetClaim(ctx context.Context, by string) (admin.ResetClaim, error) {
	now := k.peopleNow(ctx)
	removed, err := k.people.Reset(ctx, now, by)
	if err != nil {
		return admin.ResetClaim{}, personRefusal(err)
	}
	k.unclaimed.Store(&now)
	reset := admin.ResetClaim{Removed: []string{}, Code: k.claim().Code, Page: k.pageURLs()}
	for _, p := range removed {
		reset.Removed = append(reset.Removed, p.Name)
	}
	k.log.Info("the site was taken from its owners; nobody may use the technicians' page", "by", by)
	k.sayUnclaimed()
	return reset, nil
}

// sayUnclaimed puts the code where whoever has the box finds it.
func (k *control) sayUnclaimed() {
	if c := k.claim(); !c.Claimed && k.running != nil && (k.running.page != nil || k.running.pageTLS != nil) {
		k.log.Info("nobody owns the technicians' page yet: open it and claim it with this code", "code", c.Code)
	}
}

// claimCondition raises that somebody else may be first.
func (k *control) claimCondition(b *health.Board) {
	if len(k.pageURLs()) == 0 || k.people.Claimed() {
		return
	}
	since := k.since
	if at := k.unclaimed.Load(); at != nil {
		since = *at
	}
	b.Set(health.Condition{Code: "unclaimed", Severity: health.Notice, Since: since}.Saying(
		wording.Of("Nobody owns the technicians' page yet: whoever reads the code in the gateway's log may claim it"),
		wording.Of("Open the page and claim it, with the code that stands in the log and in: edgegw claim")))
}
