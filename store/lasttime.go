package store

import (
	"context"
	"fmt"
	"time"
)

// LastTime gives the newest time that the journal holds: that of the last event,
// answer, attempt and line of the audit trail, by number. It has certainly
// passed, unless the clock was wrong that wrote it. The zero time means an empty
// journal.
func (db *DB) LastTime(ctx context.Context) (time.Time, error) {
	var ms int64
	err := db.queryOne(ctx, `SELECT max(
		coalesce((SELECT at FROM event ORDER BY no DESC LIMIT 1), 0),
		coalesce((SELECT at FROM answer ORDER BY no DESC LIMIT 1), 0),
		coalesce((SELECT last_at FROM attempt ORDER BY no DESC LIMIT 1), 0),
		coalesce((SELECT at FROM audit ORDER BY no DESC LIMIT 1), 0))`, nil, &ms)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the journal's last time: %w", err)
	}
	return instant(ms), nil
}
