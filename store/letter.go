package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"edgegw/sale"
)

// letterQuery reads the waiting part of one device's mailbox, and of it one
// sale's newest letter.
const letterQuery = `SELECT m.no, m.delayed, m.item > 0, coalesce(a.status, 0), coalesce(a.request_id, ''), a.body
	  FROM device d
	  JOIN mailbox m ON m.device = d.no AND m.delivered_at IS NULL
	  JOIN event o   ON o.no = m.sale AND o.ref = ?2
	  LEFT JOIN answer a ON a.no = m.answer
	 WHERE d.device_id = ?1 ORDER BY m.no DESC LIMIT 1`

// Letter gives the newest receipt of a sale that waits for the device;
// sale.ErrNone if none does.
func (db *DB) Letter(ctx context.Context, device sale.DeviceID, saleID string) (sale.StoredLetter, error) {
	l := sale.StoredLetter{Sale: saleID}
	err := db.queryOne(ctx, letterQuery, []any{string(device), saleID}, &l.No, &l.Delayed, &l.Quarantined, &l.Status, &l.RequestID, &l.Body)
	if errors.Is(err, sql.ErrNoRows) {
		return l, sale.ErrNone
	}
	if err != nil {
		return l, fmt.Errorf("read the receipt of %s for %s: %w", saleID, device, err)
	}
	return l, nil
}
