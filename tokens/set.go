package tokens

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"edgegw/sale"
	"edgegw/secret"
)

// useNoted is how exact the time of the last use is: each write costs a sync.
const useNoted = time.Hour

// Set is the tokens of a site. It keeps them in memory, because a request must
// not wait for a disk to be turned away.
type Set struct {
	rows   Rows
	hash   hashFunc
	nobody []byte // stands in for the hash of a token that is not there; no secret matches it

	changing sync.Mutex
	state    atomic.Pointer[state]
}

// state is one consistent view; it is replaced, never changed.
type state struct{ byID map[string]sale.Token }

// Open reads all rows.
func Open(ctx context.Context, rows Rows) (*Set, error) {
	_, _, nobody := newToken()
	s := &Set{rows: rows, hash: keyedHash, nobody: nobody}
	return s, s.reload(ctx)
}

func (s *Set) reload(ctx context.Context) error {
	list, err := s.rows.Tokens(ctx)
	if err != nil {
		return fmt.Errorf("read tokens: %w", err)
	}
	next := &state{byID: make(map[string]sale.Token, len(list))}
	for _, t := range list {
		next.byID[t.ID] = t
	}
	s.state.Store(next)
	return nil
}

// settle ends a change. After an error nobody knows whether it was committed, so
// memory is read anew: a token whose removal did reach the disk must open
// nothing.
func (s *Set) settle(ctx context.Context, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(err, s.reload(ctx))
}

// change puts a committed change into memory.
func (s *Set) change(f func(byID map[string]sale.Token)) {
	next := &state{byID: maps.Clone(s.state.Load().byID)}
	f(next.byID)
	s.state.Store(next)
}

// New is what a person says of a token.
type New struct {
	Name    string // of the program that gets it
	Scope   sale.Scope
	Expires time.Duration // 0: never
}

// The bounds of New.Expires.
const (
	Shortest = time.Minute
	Longest  = 10 * 365 * 24 * time.Hour
)

// Check refuses what cannot be.
func (n New) Check() error {
	switch {
	case !ValidName(n.Name):
		return errors.New("the name of a token has 1 to 63 of a-z, 0-9, - and ., and begins with a letter or digit, as in back-office")
	case !n.Scope.Valid():
		return fmt.Errorf("the scope of a token is one of %v", sale.Scopes)
	case n.Expires != 0 && (n.Expires < Shortest || n.Expires > Longest):
		return errors.New("a token expires after one minute at the least and ten years at the most")
	}
	return nil
}

// ValidName reports whether name can be a token's. It has no room for a key or a
// token that was pasted there.
func ValidName(name string) bool {
	if name == "" || len(name) > 63 || name[0] == '-' || name[0] == '.' {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

// Add makes a token and gives it, the only time it is seen. ErrExists if there
// is one of that name.
func (s *Set) Add(ctx context.Context, n New, now time.Time, by string) (secret.Text, sale.Token, error) {
	if err := n.Check(); err != nil {
		return secret.Text{}, sale.Token{}, err
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	for _, t := range s.state.Load().byID {
		if t.Name == n.Name {
			return secret.Text{}, sale.Token{}, fmt.Errorf("add token %s: %w", n.Name, ErrExists)
		}
	}
	whole, id, kept := newToken()
	t := sale.Token{ID: id, Name: n.Name, Scope: n.Scope, CreatedAt: now, Hash: kept}
	if n.Expires != 0 {
		t.ExpiresAt = now.Add(n.Expires)
	}
	if err := s.rows.AddToken(ctx, t, by); err != nil {
		return secret.Text{}, sale.Token{}, s.settle(ctx, err)
	}
	s.change(func(byID map[string]sale.Token) { byID[id] = t })
	t.Hash = nil
	return whole, t, nil
}

// Remove ends a token at once.
func (s *Set) Remove(ctx context.Context, id string, now time.Time, by string) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	if _, there := s.state.Load().byID[id]; !there {
		return fmt.Errorf("remove token: %w", sale.ErrNone)
	}
	if err := s.rows.RevokeToken(ctx, id, now, by); err != nil {
		return s.settle(ctx, err)
	}
	s.change(func(byID map[string]sale.Token) { delete(byID, id) })
	return nil
}

// Used notes that a token was used, where that was not noted within the hour. A
// use that could not be noted is not tried again before the hour is over: a disk
// that takes nothing must not be asked with every request.
func (s *Set) Used(ctx context.Context, id string, now time.Time) error {
	if !s.toNote(id, now) {
		return nil
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	if !s.toNote(id, now) {
		return nil
	}
	s.change(func(byID map[string]sale.Token) {
		t := byID[id]
		t.UsedAt = now
		byID[id] = t
	})
	return s.rows.TokenUsed(ctx, id, now)
}

// toNote counts in both directions: a clock that ran ahead may have noted a time
// that is yet to come.
func (s *Set) toNote(id string, now time.Time) bool {
	t, there := s.state.Load().byID[id]
	return there && now.Sub(t.UsedAt).Abs() >= useNoted
}

// List gives all tokens by name, without what is kept of their secrets.
func (s *Set) List() []sale.Token {
	list := slices.Collect(maps.Values(s.state.Load().byID))
	for i := range list {
		list[i].Hash = nil
	}
	slices.SortFunc(list, func(a, b sale.Token) int { return cmp.Compare(a.Name, b.Name) })
	return list
}
