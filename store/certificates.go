package store

import (
	"cmp"
	"context"
	"fmt"

	"edgegw/sale"
)

// Certificates gives all client certificates of devices that the site has, also
// the revoked.
func (db *DB) Certificates(ctx context.Context) (list []sale.Certificate, err error) {
	err = db.query(ctx, `SELECT c.serial, d.device_id, c.issued_at, c.not_after, c.revoked_at
		FROM certificate c JOIN device d ON d.no = c.device WHERE d.removed = 0 ORDER BY d.device_id, c.issued_at, c.serial`,
		func(scan func(...any) error) error {
			var c sale.Certificate
			var issued, end, revoked int64
			err := scan(&c.Serial, &c.Device, &issued, &end, &revoked)
			c.IssuedAt, c.NotAfter = instant(issued), instant(end)
			if revoked != 0 {
				c.RevokedAt = instant(revoked)
			}
			list = append(list, c)
			return err
		})
	return list, err
}

// AddCertificate lists a certificate: it lets its device in from now on.
func (db *DB) AddCertificate(ctx context.Context, c sale.Certificate, by string) error {
	err := db.change(ctx, func(t *tx) error {
		d, ok := t.w.rows.devices[c.Device]
		if !ok {
			return ErrUnknownDevice
		}
		if _, err := t.exec(`INSERT INTO certificate (serial, device, issued_at, not_after) VALUES (?, ?, ?, ?)`,
			c.Serial, d.no, millis(c.IssuedAt), millis(c.NotAfter)); err != nil {
			return err
		}
		return t.audit(millis(c.IssuedAt), by, "certificate issued", string(c.Device), c.Serial)
	})
	if err != nil {
		return fmt.Errorf("list a certificate of %s: %w", c.Device, err)
	}
	return nil
}

// RevokeCertificates ends one certificate of a device, or with an empty serial
// all of them. sale.ErrNone if there was none to end.
func (db *DB) RevokeCertificates(ctx context.Context, id sale.DeviceID, serial, by string) error {
	err := db.change(ctx, func(t *tx) error {
		n, err := t.revoke(id, serial, millis(db.now()))
		if err != nil {
			return err
		}
		if n == 0 {
			return sale.ErrNone
		}
		return t.audit(millis(db.now()), by, "certificates revoked", string(id), fmt.Sprintf("%d, %s", n, cmp.Or(serial, "all")))
	})
	if err != nil {
		return fmt.Errorf("revoke certificates of %s: %w", id, err)
	}
	return nil
}

func (t *tx) revoke(id sale.DeviceID, serial string, at int64) (int64, error) {
	return t.exec(`UPDATE certificate SET revoked_at = ?1 WHERE device = ?2 AND revoked_at = 0 AND (?3 = '' OR serial = ?3)`,
		max(1, at), t.w.rows.devices[id].no, serial)
}

// ReplaceDevice is UpdateDevice for new hardware in an old place: what the old
// one logged in with ends in the same commit, and its MQTT session with it.
func (db *DB) ReplaceDevice(ctx context.Context, d sale.Device, by string) error {
	return db.updateDevice(ctx, d, true, "device replaced", by)
}
