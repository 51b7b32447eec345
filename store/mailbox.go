package store

import (
	"context"
	"database/sql/driver"
	"fmt"
	"time"

	"edgegw/sale"
)

// Letters gives receipts of the device that it has not acknowledged, oldest
// first, numbered above after, at most most of them.
func (db *DB) Letters(ctx context.Context, device sale.DeviceID, after int64, most int) (letters []sale.StoredLetter, err error) {
	err = db.query(ctx, `SELECT m.no, o.ref, m.delayed, m.item > 0, coalesce(a.status, 0), coalesce(a.request_id, ''), a.body
		  FROM device d
		  JOIN mailbox m ON m.device = d.no AND m.delivered_at IS NULL AND m.no > ?2
		  JOIN event o   ON o.no = m.sale
		  LEFT JOIN answer a ON a.no = m.answer
		 WHERE d.device_id = ?1 ORDER BY m.no LIMIT ?3`,
		func(scan func(...any) error) error {
			var l sale.StoredLetter
			err := scan(&l.No, &l.Sale, &l.Delayed, &l.Quarantined, &l.Status, &l.RequestID, &l.Body)
			letters = append(letters, l)
			return err
		}, string(device), after, most)
	if err != nil {
		err = fmt.Errorf("read the mailbox of %s: %w", device, err)
	}
	return letters, err
}

// deliveredWait is how long the note of a delivery may wait for others to share its
// commit. Should it be lost the receipt goes to its device once more.
const deliveredWait = 20 * time.Millisecond

// Delivered notes the device's own acknowledgement of a receipt. Another
// device's letter, or one delivered before, is left as it is.
func (db *DB) Delivered(ctx context.Context, device sale.DeviceID, no int64, at time.Time) error {
	return db.changeWith(ctx, 100, deliveredWait, func(t *tx) error {
		d, ok := t.w.rows.devices[device]
		if !ok {
			return fmt.Errorf("note a delivery to %s: %w", device, ErrUnknownDevice)
		}
		_, err := t.exec(`UPDATE mailbox SET delivered_at = ? WHERE no = ? AND device = ? AND delivered_at IS NULL`,
			millis(at), no, d.no)
		return err
	})
}

// Again puts the receipt of a sale back into the device's mailbox, unless it
// waits there already; sale.ErrNone if the sale has none yet. Of a sale in
// quarantine it is the one that says so.
func (db *DB) Again(ctx context.Context, device sale.DeviceID, saleID string, at time.Time) error {
	return db.change(ctx, func(t *tx) error {
		no, err := t.value(`SELECT s.no FROM device d JOIN event o ON o.device = d.no AND o.ref = ?2 JOIN sale s ON s.no = o.no
			WHERE d.device_id = ?1 AND s.answer IS NOT NULL`, string(device), saleID)
		if err == nil && no == nil {
			return t.againQuarantined(device, saleID, at)
		}
		if err != nil {
			return err
		}
		_, err = t.exec(`INSERT INTO mailbox (device, sale, answer, at, delayed)
			SELECT o.device, s.no, s.answer, ?2, s.changed_at - e.at > ?3
			  FROM sale s JOIN event o ON o.no = s.no JOIN answer a ON a.no = s.answer JOIN event e ON e.no = a.event
			 WHERE s.no = ?1 AND NOT EXISTS
			       (SELECT 1 FROM mailbox m WHERE m.device = o.device AND m.sale = s.no AND m.delivered_at IS NULL)`,
			no, millis(at), sale.DelayedAfter.Milliseconds())
		return err
	})
}

// againQuarantined is Again for a sale that has no answer.
func (t *tx) againQuarantined(device sale.DeviceID, saleID string, at time.Time) error {
	var no, item, dev int64
	err := t.query(`SELECT o.no, q.no, d.no FROM device d JOIN event o ON o.device = d.no AND o.ref = ?2 JOIN quarantine q ON q.sale = o.no AND q.open = 1
		WHERE d.device_id = ?1`, func(row []driver.Value) error {
		no, item, dev = row[0].(int64), row[1].(int64), row[2].(int64)
		return nil
	}, string(device), saleID)
	if err != nil {
		return err
	}
	if no == 0 {
		return sale.ErrNone
	}
	_, err = t.exec(`INSERT INTO mailbox (device, sale, answer, at, delayed, item) SELECT ?1, ?2, 0, ?3, 1, ?4
		WHERE NOT EXISTS (SELECT 1 FROM mailbox m WHERE m.device = ?1 AND m.sale = ?2 AND m.delivered_at IS NULL)`, dev, no, millis(at), item)
	return err
}

// SaveSession keeps the broker's content of a device's MQTT session.
func (db *DB) SaveSession(ctx context.Context, device sale.DeviceID, content []byte) error {
	return db.change(ctx, func(t *tx) error {
		_, err := t.exec(`INSERT INTO mqtt_session (device_id, content) VALUES (?1, ?2)
			ON CONFLICT (device_id) DO UPDATE SET content = ?2`, string(device), nonNil(content))
		return err
	})
}

// DeleteSession forgets it.
func (db *DB) DeleteSession(ctx context.Context, device sale.DeviceID) error {
	return db.change(ctx, func(t *tx) error {
		_, err := t.exec(`DELETE FROM mqtt_session WHERE device_id = ?`, string(device))
		return err
	})
}

// Sessions gives all of them.
func (db *DB) Sessions(ctx context.Context) (map[sale.DeviceID][]byte, error) {
	m := map[sale.DeviceID][]byte{}
	err := db.query(ctx, `SELECT device_id, content FROM mqtt_session`, func(scan func(...any) error) error {
		var id sale.DeviceID
		var content []byte
		err := scan(&id, &content)
		m[id] = content
		return err
	})
	return m, err
}
