// Package people knows who may use the technicians' page, and how they prove it. It
// promises that of passwords, PINs and sessions only hashes are kept, that every
// login costs the same time and memory whoever tries it, that guessing is slow from
// everywhere at once, and that nobody can keep somebody else out for longer than a
// minute. What a role may do is admin/page's business.
package people

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"edgegw/sale"
	"edgegw/secret"
	"edgegw/wording"
)

// Rows are people and sessions on disk.
type Rows interface {
	People(ctx context.Context) ([]sale.Person, error)
	Logins(ctx context.Context) ([]sale.Session, error)
	AddPerson(ctx context.Context, p sale.Person, by string) error
	RemovePerson(ctx context.Context, name string, at time.Time, by string) error
	RemoveEverybody(ctx context.Context, at time.Time, by string) error
	SetPersonHash(ctx context.Context, name string, hash []byte, expires, at time.Time, by string) error
	AddSession(ctx context.Context, s sale.Session) error
	SessionSeen(ctx context.Context, hash []byte, at time.Time) error
	RemoveSession(ctx context.Context, s sale.Session, at time.Time, by, why string) error
	RemoveSessions(ctx context.Context, person string, at time.Time, by string) error
	LoginsInVain(ctx context.Context, from string, times int, at time.Time) error
	ShiftPeople(ctx context.Context, by time.Duration, at time.Time) error
}

// What keeps somebody out. The texts are for the log; a browser learns no more than
// Wrong or Wait.
var (
	ErrWrong     = errors.New("the name or the password is wrong")
	ErrExpired   = errors.New("the time of this person is over")
	ErrOver      = errors.New("a new password would let nobody in")
	ErrCode      = errors.New("that is not the code of this gateway")
	ErrUnclaimed = errors.New("nobody owns this site")
	ErrClaimed   = errors.New("the site has an owner already")
	ErrExists    = errors.New("there is somebody of that name already")
	ErrLast      = errors.New("a site cannot lose its last owner")
	ErrSession   = errors.New("there is no such session, or it is over")
	ErrNoSession = errors.New("there is no session of that id")
	ErrBusy      = errors.New("too many logins at one time")
	ErrPassword  = errors.New("the password cannot be used")
	ErrPerson    = errors.New("that is no person")
)

// WaitError says that an address has guessed too often.
type WaitError struct{ Wait time.Duration }

func (e *WaitError) Error() string {
	return fmt.Sprintf("too many logins in vain; wait %d s", e.Seconds())
}

// Seconds is the rest of the wait, rounded up.
func (e *WaitError) Seconds() int { return int((e.Wait + time.Second - 1) / time.Second) }

const (
	// A session ends when nobody has used it for idle, and after whole in any case.
	idle  = 12 * time.Hour
	whole = 30 * 24 * time.Hour
	// seenNoted is how exact the time of the last use is: each write costs a sync.
	seenNoted = time.Hour
	// mostSessions is how many browsers one person may be logged in with; the
	// oldest is logged out.
	mostSessions = 10
	// mostPeople bounds the list.
	mostPeople = 200
)

// Book is the people of a site.
type Book struct {
	rows  Rows
	slow  slow
	guess *guesses
	code  string // claims the site, as long as it has no owner; mu guards it, once the book is shared

	changing sync.Mutex // one change at a time: two must not each leave the other as the last owner
	mu       sync.Mutex
	people   map[string]sale.Person
	sessions map[[sha256.Size]byte]sale.Session
}

// Open reads everybody. A site without an owner gets a new code.
func Open(ctx context.Context, rows Rows) (*Book, error) {
	b := &Book{rows: rows, slow: newSlow(), guess: newGuesses(), code: newCode()}
	return b, b.reload(ctx)
}

func (b *Book) reload(ctx context.Context) error {
	people, err := b.rows.People(ctx)
	if err != nil {
		return fmt.Errorf("read people: %w", err)
	}
	sessions, err := b.rows.Logins(ctx)
	if err != nil {
		return fmt.Errorf("read sessions: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.people, b.sessions = map[string]sale.Person{}, map[[sha256.Size]byte]sale.Session{}
	for _, p := range people {
		b.people[p.Name] = p
	}
	for _, s := range sessions {
		s.ID = sessionID(s.Hash)
		b.sessions[[sha256.Size]byte(s.Hash)] = s
	}
	return nil
}

// settle ends a change. Memory is read anew also after an error, because nobody
// knows then whether it was committed.
func (b *Book) settle(ctx context.Context, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(err, b.reload(ctx))
}

// Code is what claims the site; "" once it has an owner.
func (b *Book) Code() string {
	if b.Claimed() {
		return ""
	}
	return b.rightCode()
}

func (b *Book) rightCode() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.code
}

// KeepCode keeps a code that was shown before, "" for none. It comes before the book
// is shared.
func (b *Book) KeepCode(code string) {
	if code != "" {
		b.code = code
	}
}

// Claimed reports whether the site has an owner.
func (b *Book) Claimed() bool { return b.owners() > 0 }

func (b *Book) owners() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.people {
		if p.Role == sale.RoleOwner {
			n++
		}
	}
	return n
}

// List gives everybody, by name, without what proves them.
func (b *Book) List() (list []sale.Person) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.people {
		p.Hash = nil
		list = append(list, p)
	}
	slices.SortFunc(list, func(x, y sale.Person) int { return cmp.Compare(x.Name, y.Name) })
	return list
}

func (b *Book) person(name string) (sale.Person, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, ok := b.people[name]
	return p, ok
}

// Add makes somebody. Where there is no password a PIN is made, and given back this
// once.
func (b *Book) Add(ctx context.Context, p sale.Person, password secret.Text, by string) (pin string, err error) {
	b.changing.Lock()
	defer b.changing.Unlock()
	return b.add(ctx, p, password, by)
}

func (b *Book) add(ctx context.Context, p sale.Person, password secret.Text, by string) (pin string, err error) {
	if err := check(p, password); err != nil {
		return "", err
	}
	if _, there := b.person(p.Name); there {
		return "", ErrExists
	}
	if len(b.List()) >= mostPeople {
		return "", wording.Err(ErrPerson, "that is no person: there are %d people already", mostPeople)
	}
	if password.Empty() {
		pin = newPIN()
		password = secret.FromString(pin)
	}
	if p.Hash, err = b.slow.hash(ctx, password); err != nil {
		return "", err
	}
	return pin, b.settle(ctx, b.rows.AddPerson(ctx, p, by))
}

// Remove ends somebody's access at once.
func (b *Book) Remove(ctx context.Context, name string, now time.Time, by string) error {
	b.changing.Lock()
	defer b.changing.Unlock()
	p, ok := b.person(name)
	switch {
	case !ok: // a key may have been typed there: nothing of it gets to the database
		return sale.ErrNone
	case p.Role == sale.RoleOwner && b.owners() == 1:
		return ErrLast
	}
	return b.settle(ctx, b.rows.RemovePerson(ctx, name, now, by))
}

// SetPassword gives somebody another password, and logs him out everywhere. ErrOver
// where his time has ended: no password changes that.
func (b *Book) SetPassword(ctx context.Context, name string, password secret.Text, now time.Time, by string) error {
	b.changing.Lock()
	defer b.changing.Unlock()
	p, ok := b.person(name)
	if !ok {
		return sale.ErrNone
	}
	if p.Expired(now) {
		return ErrOver
	}
	if err := checkPassword(name, password); err != nil {
		return err
	}
	hash, err := b.slow.hash(ctx, password)
	if err != nil {
		return err
	}
	return b.settle(ctx, b.rows.SetPersonHash(ctx, name, hash, p.ExpiresAt, now, by))
}

// Claim makes the first owner, for whoever knows the code, and logs him in.
func (b *Book) Claim(ctx context.Context, code, name string, password secret.Text, now time.Time, from sale.Origin) (session string, err error) {
	b.changing.Lock()
	defer b.changing.Unlock()
	if b.Claimed() {
		return "", ErrClaimed
	}
	over, err := b.guess.begin(from.Address)
	if err != nil {
		return "", err
	}
	defer over()
	if subtle.ConstantTimeCompare([]byte(plain(code)), []byte(plain(b.rightCode()))) != 1 {
		return "", b.inVain(ctx, from.Address, now, ErrCode)
	}
	if _, err := b.add(ctx, sale.Person{Name: name, Role: sale.RoleOwner, CreatedAt: now}, password, "claim"); err != nil {
		return "", err
	}
	return b.begin(ctx, name, now, from)
}

// Reset takes the site from its owners, for whoever is on the box: everybody's access
// ends, because nobody knows whom they have let in, and a new code claims the site. It
// gives those who were removed.
func (b *Book) Reset(ctx context.Context, now time.Time, by string) ([]sale.Person, error) {
	b.changing.Lock()
	defer b.changing.Unlock()
	if !b.Claimed() {
		return nil, ErrUnclaimed
	}
	before := b.List()
	b.mu.Lock()
	b.code = newCode() // before the commit: whoever has read the old one in a log gets nothing by it
	b.mu.Unlock()
	return before, b.settle(ctx, b.rows.RemoveEverybody(ctx, now, by))
}

// Login lets somebody in. Whatever is wrong, the answer and the work are the same.
func (b *Book) Login(ctx context.Context, name string, password secret.Text, now time.Time, from sale.Origin) (session string, err error) {
	over, err := b.guess.begin(from.Address)
	if err != nil {
		return "", err
	}
	defer over()
	name = strings.ToLower(name) // a phone begins with a big letter
	p, known := b.person(name)
	right, err := b.slow.matches(ctx, p.Hash, password)
	if err != nil {
		return "", err
	}
	switch {
	case !right || !known:
		return "", b.inVain(ctx, from.Address, now, ErrWrong)
	case p.Expired(now):
		return "", ErrExpired
	}
	return b.enter(ctx, p, now, from)
}

// enter begins the session of somebody who has proved himself, unless his password
// was changed or he was removed while that was checked.
func (b *Book) enter(ctx context.Context, proved sale.Person, now time.Time, from sale.Origin) (string, error) {
	b.changing.Lock()
	defer b.changing.Unlock()
	if p, ok := b.person(proved.Name); !ok || !bytes.Equal(p.Hash, proved.Hash) {
		return "", ErrWrong
	}
	return b.begin(ctx, proved.Name, now, from)
}

// inVain counts a guess, and writes it down now and then.
func (b *Book) inVain(ctx context.Context, from string, now time.Time, why error) error {
	if times := b.guess.wrong(from); times > 0 {
		return errors.Join(why, b.rows.LoginsInVain(ctx, from, times, now))
	}
	return why
}

// begin makes a session. The lock on changes is held.
func (b *Book) begin(ctx context.Context, name string, now time.Time, from sale.Origin) (string, error) {
	if err := b.clearOut(ctx, name, now); err != nil {
		return "", err
	}
	shown := rand.Text() // 130 bits
	h := sha256.Sum256([]byte(shown))
	s := sale.Session{Hash: h[:], Person: name, CreatedAt: now, SeenAt: now, From: from}
	if err := b.settle(ctx, b.rows.AddSession(ctx, s)); err != nil {
		return "", err
	}
	return shown, nil
}

// clearOut ends sessions that are over, and the oldest of a person who has too many.
func (b *Book) clearOut(ctx context.Context, name string, now time.Time) error {
	b.mu.Lock()
	var over, his []sale.Session
	for _, s := range b.sessions {
		switch {
		case ended(s, now):
			over = append(over, s)
		case s.Person == name:
			his = append(his, s)
		}
	}
	b.mu.Unlock()
	slices.SortFunc(his, func(x, y sale.Session) int { return x.CreatedAt.Compare(y.CreatedAt) })
	for len(his) >= mostSessions {
		over, his = append(over, his[0]), his[1:]
	}
	for _, s := range over {
		if err := b.rows.RemoveSession(ctx, s, now, "person:"+s.Person, "over"); err != nil {
			return err
		}
	}
	return nil
}

// ended reports whether a session is over. A clock that was set back makes none
// live longer than it would have.
func ended(s sale.Session, now time.Time) bool {
	return now.Sub(s.SeenAt) >= idle+seenNoted || now.Sub(s.CreatedAt) >= whole
}

// Who is behind a session.
func (b *Book) Who(ctx context.Context, session string, now time.Time) (sale.Person, error) {
	h := sha256.Sum256([]byte(session))
	b.mu.Lock()
	s, ok := b.sessions[h]
	p := b.people[s.Person]
	b.mu.Unlock()
	if !ok || session == "" || ended(s, now) || p.Expired(now) || !p.Role.Valid() {
		return sale.Person{}, ErrSession
	}
	if d := now.Sub(s.SeenAt); d >= seenNoted || d < 0 {
		s.SeenAt = now
		b.mu.Lock()
		if _, still := b.sessions[h]; still {
			b.sessions[h] = s
		}
		b.mu.Unlock()
		if err := b.rows.SessionSeen(ctx, h[:], now); err != nil {
			return sale.Person{}, err
		}
	}
	p.Hash = nil
	return p, nil
}

// Shift follows a clock that was set, by so much: what is left of a session and of
// somebody's time stays the same.
func (b *Book) Shift(ctx context.Context, by time.Duration, now time.Time) error {
	b.changing.Lock()
	defer b.changing.Unlock()
	if len(b.List()) == 0 {
		return nil // no write where it would change nothing
	}
	return b.settle(ctx, b.rows.ShiftPeople(ctx, by, now))
}

// check refuses a person who cannot be.
func check(p sale.Person, password secret.Text) error {
	switch {
	case !ValidName(p.Name):
		return wording.Err(ErrPerson, "that is no person: a name has 1 to 32 of a-z, 0-9, - and ., and begins with a letter")
	case !p.Role.Valid():
		return wording.Err(ErrPerson, "that is no person: a role is one of %v", sale.Roles)
	case password.Empty() && p.Role == sale.RoleOwner:
		return wording.Err(ErrPassword, "the password cannot be used: an owner needs one of his own")
	case password.Empty() && p.ExpiresAt.IsZero():
		return wording.Err(ErrPerson, "that is no person: a PIN needs an end")
	case password.Empty():
		return nil
	}
	return checkPassword(p.Name, password)
}

// ValidName reports whether name can be a person's.
func ValidName(name string) bool {
	if name == "" || len(name) > 32 || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") == ""
}

const (
	leastPassword = 10
	mostPassword  = 200
)

// checkPassword refuses what is guessed first. Nothing is asked about its letters:
// that makes passwords worse.
func checkPassword(name string, password secret.Text) error {
	p := password.Reveal()
	switch {
	case len([]rune(string(p))) < leastPassword:
		return wording.Err(ErrPassword, "the password cannot be used: it has 10 characters or more")
	case len(p) > mostPassword:
		return wording.Err(ErrPassword, "the password cannot be used: it is longer than 200 bytes")
	case bytes.Contains(bytes.ToLower(p), []byte(name)) && len(name) > 3:
		return wording.Err(ErrPassword, "the password cannot be used: it holds the name")
	case same(p):
		return wording.Err(ErrPassword, "the password cannot be used: it is the first that anybody would try")
	}
	return nil
}

// same reports what is hardly a password: one or two characters over and over, a
// row of digits, the usual.
func same(p []byte) bool {
	kinds := map[byte]bool{}
	for _, c := range p {
		kinds[c] = true
	}
	if len(kinds) < 4 {
		return true
	}
	low := strings.ToLower(string(p))
	for _, usual := range []string{"1234567890", "0123456789", "9876543210", "qwertyuiop", "qwertzuiop", "passwordpassword", "password12", "password123", "passwort123", "changeme123", "edgegw"} {
		if low == usual || usual == "edgegw" && strings.HasPrefix(low, usual) && len(low) < 14 {
			return true
		}
	}
	return false
}
