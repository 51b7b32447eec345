package store

import (
	"context"
	"fmt"
	"time"
)

// LastTime gives the newest time that the journal holds: that of the last event
// or answer, by number, and of the last line of the audit trail where nothing was
// ever sold. A clock that was wrong may have written it. vouched is the newest
// time among the last events that was written while the kernel kept the clock
// right: it has certainly passed. The zero time means that there is none.
//
// The audit trail does not count beside events: one line written while a box was
// set up with a wrong clock would stand for the newest time until somebody
// changes something again.
func (db *DB) LastTime(ctx context.Context) (last, vouched time.Time, err error) {
	var sold, audit, sure int64
	err = db.queryOne(ctx, `SELECT
		max(coalesce((SELECT at FROM event ORDER BY no DESC LIMIT 1), 0),
		    coalesce((SELECT at FROM answer ORDER BY no DESC LIMIT 1), 0)),
		coalesce((SELECT at FROM audit ORDER BY no DESC LIMIT 1), 0),
		coalesce((SELECT max(at) FROM (SELECT at, flags FROM event ORDER BY no DESC LIMIT ?) WHERE flags & ? <> 0), 0)`,
		[]any{vouchedAmong, int64(flagSynchronised)}, &sold, &audit, &sure)
	if err != nil {
		return time.Time{}, time.Time{}, fmt.Errorf("read the journal's last time: %w", err)
	}
	if sold == 0 {
		sold = audit
	}
	return instant(sold), instant(sure), nil
}

// vouchedAmong is how many of the last events are looked at: a start must not
// read a journal of millions.
const vouchedAmong = 1000
