package store

import (
	"context"
	"fmt"
	"math"

	"edgegw/sale"
)

// Audit gives lines of the audit trail, the newest first. It reads the trail from
// its end and stops when it has enough: what is chosen by a name is looked for line
// by line, in a table that grows with what people do, not with what is sold.
func (db *DB) Audit(ctx context.Context, f sale.AuditFilter) (list []sale.AuditEntry, err error) {
	before, to := int64(math.MaxInt64), int64(math.MaxInt64)
	if f.Before > 0 {
		before = f.Before
	}
	if !f.To.IsZero() {
		to = millis(f.To)
	}
	subject := shown(f.Subject) // as it was written
	err = db.query(ctx, `SELECT no, at, who, what, subject, detail FROM audit
		 WHERE no < ? AND at >= ? AND at < ? AND (? = '' OR who = ?) AND (? = '' OR what = ?) AND (? = '' OR subject = ?)
		 ORDER BY no DESC LIMIT ?`,
		func(scan func(...any) error) error {
			var e sale.AuditEntry
			var at int64
			err := scan(&e.No, &at, &e.Who, &e.What, &e.Subject, &e.Detail)
			e.At = instant(at)
			list = append(list, e)
			return err
		}, before, millis(f.From), to, f.Who, f.Who, f.What, f.What, subject, subject, f.Limit)
	if err != nil {
		return nil, fmt.Errorf("read the audit trail: %w", err)
	}
	return list, nil
}
