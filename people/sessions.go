package people

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"slices"
	"time"

	"edgegw/sale"
)

// sessionID is how people name a session. It is drawn from the hash that is kept, not
// from what a browser shows: whoever reads it is two hashes away from that.
func sessionID(hash []byte) string {
	h := sha256.Sum256(hash)
	return base32.StdEncoding.EncodeToString(h[:5])
}

// Sessions gives those that let somebody in, of one person or, where name is "", of
// all; the last used first, without what proves them.
func (b *Book) Sessions(name string, now time.Time) (list []sale.Session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.sessions {
		if p, there := b.people[s.Person]; !there || ended(s, now) || p.Expired(now) || name != "" && s.Person != name {
			continue
		}
		s.Hash = nil
		list = append(list, s)
	}
	slices.SortFunc(list, func(x, y sale.Session) int {
		if c := y.SeenAt.Compare(x.SeenAt); c != 0 {
			return c
		}
		return y.CreatedAt.Compare(x.CreatedAt)
	})
	return list
}

// IDOf names the session that a browser shows; "" where it is none.
func (b *Book) IDOf(session string) string {
	h := sha256.Sum256([]byte(session))
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sessions[h].ID
}

// Logout ends a session.
func (b *Book) Logout(ctx context.Context, session string, now time.Time) error {
	b.changing.Lock() // what a login reads meanwhile must not bring it back
	defer b.changing.Unlock()
	h := sha256.Sum256([]byte(session))
	b.mu.Lock()
	s, ok := b.sessions[h]
	b.mu.Unlock()
	if !ok {
		return nil
	}
	return b.settle(ctx, b.rows.RemoveSession(ctx, s, now, "person:"+s.Person, "by himself"))
}

// EndSession ends the session of that name; of is whose it must be, "" for anybody's.
func (b *Book) EndSession(ctx context.Context, id, of string, now time.Time, by string) error {
	b.changing.Lock()
	defer b.changing.Unlock()
	b.mu.Lock()
	var found sale.Session
	for _, s := range b.sessions {
		if s.ID == id && (of == "" || s.Person == of) {
			found = s
		}
	}
	b.mu.Unlock()
	if found.Hash == nil {
		return ErrNoSession
	}
	return b.settle(ctx, b.rows.RemoveSession(ctx, found, now, by, "session "+id))
}

// EndSessions logs somebody out everywhere, and says out of how many browsers.
func (b *Book) EndSessions(ctx context.Context, name string, now time.Time, by string) (int, error) {
	b.changing.Lock()
	defer b.changing.Unlock()
	if _, ok := b.person(name); !ok {
		return 0, sale.ErrNone
	}
	n := len(b.Sessions(name, now))
	return n, b.settle(ctx, b.rows.RemoveSessions(ctx, name, now, by))
}
