package store

import (
	"context"
	"database/sql/driver"
	"fmt"
	"time"

	"edgegw/sale"
)

// People gives everybody who may use the page, by name.
func (db *DB) People(ctx context.Context) (list []sale.Person, err error) {
	err = db.query(ctx, `SELECT name, role, created_at, expires_at, seen_at, hash FROM person ORDER BY name`,
		func(scan func(...any) error) error {
			var p sale.Person
			var created, expires, seen int64
			err := scan(&p.Name, &p.Role, &created, &expires, &seen, &p.Hash)
			p.CreatedAt, p.ExpiresAt, p.SeenAt = instant(created), instant(expires), instant(seen)
			list = append(list, p)
			return err
		})
	return list, err
}

// Logins gives the browsers in which somebody has logged in.
func (db *DB) Logins(ctx context.Context) (list []sale.Session, err error) {
	err = db.query(ctx, `SELECT hash, person, created_at, seen_at, address, browser, system FROM session ORDER BY created_at`,
		func(scan func(...any) error) error {
			var s sale.Session
			var created, seen int64
			err := scan(&s.Hash, &s.Person, &created, &seen, &s.From.Address, &s.From.Browser, &s.From.System)
			s.CreatedAt, s.SeenAt = instant(created), instant(seen)
			list = append(list, s)
			return err
		})
	return list, err
}

// AddPerson adds somebody. No two have one name.
func (db *DB) AddPerson(ctx context.Context, p sale.Person, by string) error {
	err := db.change(ctx, func(t *tx) error {
		if _, err := t.exec(`INSERT INTO person (name, role, created_at, expires_at, hash) VALUES (?, ?, ?, ?, ?)`,
			p.Name, string(p.Role), millis(p.CreatedAt), millis(p.ExpiresAt), nonNil(p.Hash)); err != nil {
			return err
		}
		return t.audit(millis(p.CreatedAt), by, "person added", p.Name, string(p.Role))
	})
	if err != nil {
		return fmt.Errorf("add person %s: %w", p.Name, err)
	}
	return nil
}

// RemovePerson ends somebody's access, in all browsers. sale.ErrNone if there is
// nobody of that name.
func (db *DB) RemovePerson(ctx context.Context, name string, at time.Time, by string) error {
	err := db.change(ctx, func(t *tx) error {
		if _, err := t.exec(`DELETE FROM session WHERE person = ?`, name); err != nil {
			return err
		}
		n, err := t.exec(`DELETE FROM person WHERE name = ?`, name)
		if err != nil {
			return err
		}
		if n == 0 {
			return sale.ErrNone
		}
		return t.audit(millis(at), by, "person removed", name, "")
	})
	if err != nil {
		return fmt.Errorf("remove person %s: %w", name, err)
	}
	return nil
}

// RemoveEverybody ends everybody's access in one commit, with a line for each of
// them and one for the whole.
func (db *DB) RemoveEverybody(ctx context.Context, at time.Time, by string) error {
	err := db.change(ctx, func(t *tx) error {
		var names, roles []string
		if err := t.query(`SELECT name, role FROM person ORDER BY name`, func(row []driver.Value) error {
			names, roles = append(names, row[0].(string)), append(roles, row[1].(string))
			return nil
		}); err != nil {
			return err
		}
		for _, all := range []string{`DELETE FROM session`, `DELETE FROM person`} {
			if _, err := t.exec(all); err != nil {
				return err
			}
		}
		for i, name := range names {
			if err := t.audit(millis(at), by, "person removed", name, roles[i]+", with the claim"); err != nil {
				return err
			}
		}
		return t.audit(millis(at), by, "claim reset", "", fmt.Sprintf("people removed: %d", len(names)))
	})
	if err != nil {
		return fmt.Errorf("remove everybody: %w", err)
	}
	return nil
}

// SetPersonHash gives somebody another password and, where it is a PIN, another
// end, and logs him out everywhere. sale.ErrNone if there is nobody of that name.
func (db *DB) SetPersonHash(ctx context.Context, name string, hash []byte, expires, at time.Time, by string) error {
	err := db.change(ctx, func(t *tx) error {
		n, err := t.exec(`UPDATE person SET hash = ?, expires_at = ? WHERE name = ?`, nonNil(hash), millis(expires), name)
		if err != nil {
			return err
		}
		if n == 0 {
			return sale.ErrNone
		}
		if _, err := t.exec(`DELETE FROM session WHERE person = ?`, name); err != nil {
			return err
		}
		return t.audit(millis(at), by, "password of a person", name, "")
	})
	if err != nil {
		return fmt.Errorf("change the password of %s: %w", name, err)
	}
	return nil
}

// AddSession notes that somebody has logged in.
func (db *DB) AddSession(ctx context.Context, s sale.Session) error {
	err := db.change(ctx, func(t *tx) error {
		if _, err := t.exec(`INSERT INTO session (hash, person, created_at, seen_at, address, browser, system) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			s.Hash, s.Person, millis(s.CreatedAt), millis(s.SeenAt), s.From.Address, s.From.Browser, s.From.System); err != nil {
			return err
		}
		if _, err := t.exec(`UPDATE person SET seen_at = ? WHERE name = ?`, millis(s.CreatedAt), s.Person); err != nil {
			return err
		}
		return t.audit(millis(s.CreatedAt), "person:"+s.Person, "logged in", s.Person, "from "+s.From.Address)
	})
	if err != nil {
		return fmt.Errorf("note the login of %s: %w", s.Person, err)
	}
	return nil
}

// SessionSeen notes that a browser was used.
func (db *DB) SessionSeen(ctx context.Context, hash []byte, at time.Time) error {
	err := db.change(ctx, func(t *tx) error {
		_, err := t.exec(`UPDATE session SET seen_at = ? WHERE hash = ?`, millis(at), hash)
		return err
	})
	if err != nil {
		return fmt.Errorf("note the use of a session: %w", err)
	}
	return nil
}

// RemoveSession logs a browser out. It is no error if it is gone already.
func (db *DB) RemoveSession(ctx context.Context, s sale.Session, at time.Time, by, why string) error {
	err := db.change(ctx, func(t *tx) error {
		n, err := t.exec(`DELETE FROM session WHERE hash = ?`, s.Hash)
		if err != nil || n == 0 {
			return err
		}
		return t.audit(millis(at), by, "logged out", s.Person, why)
	})
	if err != nil {
		return fmt.Errorf("log %s out: %w", s.Person, err)
	}
	return nil
}

// RemoveSessions logs somebody out of all browsers. It is no error if there are none.
func (db *DB) RemoveSessions(ctx context.Context, person string, at time.Time, by string) error {
	err := db.change(ctx, func(t *tx) error {
		n, err := t.exec(`DELETE FROM session WHERE person = ?`, person)
		if err != nil || n == 0 {
			return err
		}
		return t.audit(millis(at), by, "logged out", person, fmt.Sprintf("everywhere, %d in all", n))
	})
	if err != nil {
		return fmt.Errorf("log %s out everywhere: %w", person, err)
	}
	return nil
}

// LoginsInVain notes guesses in the audit trail, so many at a time.
func (db *DB) LoginsInVain(ctx context.Context, from string, times int, at time.Time) error {
	err := db.change(ctx, func(t *tx) error {
		return t.audit(millis(at), "gateway", "logins in vain", from, fmt.Sprintf("%d times", times))
	})
	if err != nil {
		return fmt.Errorf("note logins in vain: %w", err)
	}
	return nil
}

// ShiftPeople moves the ends of people, and all times of sessions, with a clock that
// was set: what is left of them stays the same.
func (db *DB) ShiftPeople(ctx context.Context, by time.Duration, at time.Time) error {
	err := db.change(ctx, func(t *tx) error {
		ms := by.Milliseconds()
		if _, err := t.exec(`UPDATE session SET created_at = created_at + ?1, seen_at = seen_at + ?1`, ms); err != nil {
			return err
		}
		n, err := t.exec(`UPDATE person SET expires_at = expires_at + ? WHERE expires_at > 0`, ms)
		if err != nil || n == 0 {
			return err
		}
		return t.audit(millis(at), "clock", "ends of people moved", "", "by "+by.Round(time.Second).String())
	})
	if err != nil {
		return fmt.Errorf("move the ends of people: %w", err)
	}
	return nil
}
