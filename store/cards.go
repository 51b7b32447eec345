package store

import (
	"context"
	"fmt"
	"time"

	"edgegw/sale"
)

// CardSeen is a device that sent what looks like a card number.
type CardSeen struct {
	Device      sale.DeviceID
	Times       int64
	First, Last time.Time
}

// NoteCards adds to how often devices did.
func (db *DB) NoteCards(ctx context.Context, seen map[sale.DeviceID]int64, at time.Time) error {
	err := db.change(ctx, func(t *tx) error {
		for d, n := range seen {
			row, ok := t.w.rows.devices[d]
			if !ok {
				continue // removed meanwhile
			}
			if _, err := t.exec(`INSERT INTO card_seen (device, times, first_at, last_at) VALUES (?1, ?2, ?3, ?3)
				ON CONFLICT (device) DO UPDATE SET times = times + ?2, last_at = ?3`, row.no, n, millis(at)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("note card data: %w", err)
	}
	return nil
}

// CardsSeen gives the devices that did, by id.
func (db *DB) CardsSeen(ctx context.Context) (list []CardSeen, err error) {
	err = db.query(ctx, `SELECT d.device_id, c.times, c.first_at, c.last_at FROM card_seen c JOIN device d ON d.no = c.device WHERE d.removed = 0 ORDER BY d.device_id`,
		func(scan func(...any) error) error {
			var c CardSeen
			var first, last int64
			err := scan(&c.Device, &c.Times, &first, &last)
			c.First, c.Last = instant(first), instant(last)
			list = append(list, c)
			return err
		})
	return list, err
}

// ForgetCards takes a device off, as a person decides who has seen to it.
func (db *DB) ForgetCards(ctx context.Context, d sale.DeviceID, at time.Time, by string) error {
	return db.change(ctx, func(t *tx) error {
		row, ok := t.w.rows.devices[d]
		if !ok {
			return ErrUnknownDevice
		}
		if _, err := t.exec(`DELETE FROM card_seen WHERE device = ?`, row.no); err != nil {
			return err
		}
		return t.audit(millis(at), by, "card data seen to", string(d), "")
	})
}
