package store

import (
	"context"
	"fmt"
	"time"

	"edgegw/sale"
)

// Tokens gives the tokens that are not revoked, by name.
func (db *DB) Tokens(ctx context.Context) (list []sale.Token, err error) {
	err = db.query(ctx, `SELECT token_id, name, scope, created_at, expires_at, used_at, hash FROM token WHERE revoked_at = 0 ORDER BY name`,
		func(scan func(...any) error) error {
			var t sale.Token
			var created, expires, used int64
			err := scan(&t.ID, &t.Name, &t.Scope, &created, &expires, &used, &t.Hash)
			t.CreatedAt, t.ExpiresAt, t.UsedAt = instant(created), instant(expires), instant(used)
			list = append(list, t)
			return err
		})
	return list, err
}

// AddToken adds a token. No two that are valid have one name.
func (db *DB) AddToken(ctx context.Context, k sale.Token, by string) error {
	err := db.change(ctx, func(t *tx) error {
		if _, err := t.exec(`INSERT INTO token (token_id, name, scope, created_at, expires_at, hash) VALUES (?, ?, ?, ?, ?, ?)`,
			k.ID, k.Name, string(k.Scope), millis(k.CreatedAt), millis(k.ExpiresAt), nonNil(k.Hash)); err != nil {
			return err
		}
		return t.audit(millis(k.CreatedAt), by, "token added", k.ID, fmt.Sprintf("%s, scope %s", k.Name, k.Scope))
	})
	if err != nil {
		return fmt.Errorf("add token %s: %w", k.Name, err)
	}
	return nil
}

// RevokeToken ends a token for good. sale.ErrNone if there is none.
func (db *DB) RevokeToken(ctx context.Context, id string, at time.Time, by string) error {
	err := db.change(ctx, func(t *tx) error {
		n, err := t.exec(`UPDATE token SET revoked_at = ?, hash = x'' WHERE token_id = ? AND revoked_at = 0`, millis(at), id)
		if err != nil {
			return err
		}
		if n == 0 {
			return sale.ErrNone
		}
		name, err := t.value(`SELECT name FROM token WHERE token_id = ?`, id)
		if err != nil {
			return err
		}
		return t.audit(millis(at), by, "token removed", id, fmt.Sprint(name))
	})
	if err != nil {
		return fmt.Errorf("remove token %s: %w", id, err)
	}
	return nil
}

// TokenUsed notes that a token was used. What was done with it has lines of its
// own in the audit trail.
func (db *DB) TokenUsed(ctx context.Context, id string, at time.Time) error {
	err := db.change(ctx, func(t *tx) error {
		_, err := t.exec(`UPDATE token SET used_at = ? WHERE token_id = ? AND revoked_at = 0`, millis(at), id)
		return err
	})
	if err != nil {
		return fmt.Errorf("note the use of token %s: %w", id, err)
	}
	return nil
}
