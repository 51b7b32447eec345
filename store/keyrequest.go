package store

import (
	"context"
	"fmt"

	"edgegw/sale"
)

// KeyRequests gives the registers for which OpenFiskal was asked to make a key
// that has not been stored.
func (db *DB) KeyRequests(ctx context.Context) (list []sale.KeyRequest, err error) {
	err = db.query(ctx, `SELECT r.register_id, k.kind, k.at, k.who, k.version, k.state FROM key_request k JOIN register r ON r.no = k.register ORDER BY k.at`,
		func(scan func(...any) error) error {
			var q sale.KeyRequest
			var at int64
			err := scan(&q.Register, &q.Kind, &at, &q.By, &q.Version, &q.State)
			q.At = instant(at)
			list = append(list, q)
			return err
		})
	return list, err
}

// AskKey writes down that a key is about to be asked for: before the request
// leaves, because the key in use may be dead from then on.
func (db *DB) AskKey(ctx context.Context, q sale.KeyRequest) error {
	err := db.change(ctx, func(t *tx) error {
		register, err := t.register(q.Register)
		if err != nil {
			return err
		}
		if _, err := t.exec(`INSERT INTO key_request (register, kind, at, who, state, version)
			VALUES (?1, ?2, ?3, ?4, ?5, (SELECT coalesce(max(version), 0) FROM register_key WHERE register = ?1))
			ON CONFLICT (register) DO UPDATE SET kind = ?2, at = ?3, who = ?4, state = ?5, version = excluded.version`,
			register, string(q.Kind), millis(q.At), q.By, string(sale.KeyAsked)); err != nil {
			return err
		}
		if err := t.audit(millis(q.At), q.By, "register key asked for", string(q.Register), string(q.Kind)); err != nil {
			return err
		}
		c := &t.w.rows
		c.registers[q.Register], c.names[register] = register, q.Register
		if _, ok := c.tails[register]; !ok {
			c.tails[register] = 0
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("note that a key of %s is asked for: %w", q.Register, err)
	}
	return nil
}

// EndLostRequest says that a lost request made no key; of a request that came after
// it nothing is said. sale.ErrNone: there is no such request.
func (db *DB) EndLostRequest(ctx context.Context, q sale.KeyRequest, why, by string) error {
	err := db.change(ctx, func(t *tx) error {
		n, err := t.exec(`DELETE FROM key_request WHERE register = ? AND state = ? AND at = ? AND version = ?`, t.w.rows.registers[q.Register], string(sale.KeyLost), millis(q.At), q.Version)
		if err == nil && n == 0 {
			err = sale.ErrNone
		}
		if err != nil {
			return err
		}
		return t.audit(millis(db.now()), by, "register key request over", string(q.Register), why)
	})
	if err != nil {
		return fmt.Errorf("end the lost request for a key of %s: %w", q.Register, err)
	}
	return nil
}

// ReturnToLost says that a request brought no key and none was made, and that the
// answer to the one before it is as lost as it was.
func (db *DB) ReturnToLost(ctx context.Context, before sale.KeyRequest, why, by string) error {
	err := db.change(ctx, func(t *tx) error {
		register, ok := t.w.rows.registers[before.Register]
		if !ok {
			return sale.ErrNone
		}
		if _, err := t.exec(`UPDATE key_request SET kind = ?, at = ?, who = ?, state = ?, version = ? WHERE register = ?`,
			string(before.Kind), millis(before.At), before.By, string(sale.KeyLost), before.Version, register); err != nil {
			return err
		}
		return t.audit(millis(db.now()), by, "register key request over", string(before.Register), why)
	})
	if err != nil {
		return fmt.Errorf("end the request for a key of %s: %w", before.Register, err)
	}
	return nil
}

// EndKeyRequest says what became of a request that brought no key: lost, or
// over, because it is known that OpenFiskal made none.
func (db *DB) EndKeyRequest(ctx context.Context, r sale.RegisterID, lost bool, why, by string) error {
	err := db.change(ctx, func(t *tx) error {
		register, ok := t.w.rows.registers[r]
		if !ok {
			return sale.ErrNone
		}
		what, n, err := "register key request over", int64(0), error(nil)
		if lost {
			what = "register key request lost"
			n, err = t.exec(`UPDATE key_request SET state = ? WHERE register = ?`, string(sale.KeyLost), register)
		} else {
			n, err = t.exec(`DELETE FROM key_request WHERE register = ?`, register)
		}
		if err != nil || n == 0 {
			return err
		}
		return t.audit(millis(db.now()), by, what, string(r), why)
	})
	if err != nil {
		return fmt.Errorf("end the request for a key of %s: %w", r, err)
	}
	return nil
}
