package store

import (
	"context"
	"fmt"
	"time"

	"edgegw/sale"
)

// Begun counts the sales that a part of the journal holds by the hour in which they
// were accepted.
type Begun struct {
	ByHour         map[int64]int64 // hours since 1970, UTC
	Oldest, Newest time.Time       // of its events; zero: there are none
}

const begunQuery = `SELECT at / 3600000, count(ref), min(at), max(at) FROM event WHERE no >= ? AND no < ? GROUP BY 1`

// Begun counts those of the events from low on and below high: what it costs is what
// lies between.
func (db *DB) Begun(ctx context.Context, low, high int64) (Begun, error) {
	b := Begun{ByHour: map[int64]int64{}}
	err := db.query(ctx, begunQuery, func(scan func(...any) error) error {
		var hour, n, oldest, newest int64
		if err := scan(&hour, &n, &oldest, &newest); err != nil {
			return err
		}
		if n > 0 {
			b.ByHour[hour] = n
		}
		if at := instant(oldest); b.Oldest.IsZero() || at.Before(b.Oldest) {
			b.Oldest = at
		}
		if at := instant(newest); at.After(b.Newest) {
			b.Newest = at
		}
		return nil
	}, low, high)
	if err != nil {
		return b, fmt.Errorf("count sales by hours: %w", err)
	}
	return b, nil
}

// spanQuery gives the number of a table's first row, and the one after its last; 0 and
// 0 where there is none. Two look-ups: asked for both at once, SQLite reads the whole
// table.
func spanQuery(table string) string {
	return `SELECT coalesce((SELECT min(no) FROM ` + table + `), 0), coalesce((SELECT max(no) FROM ` + table + `), -1) + 1`
}

// EventSpan gives the number of the first event, and the one after the last; 0 and 0
// where there is none.
func (db *DB) EventSpan(ctx context.Context) (low, high int64, err error) {
	err = db.queryOne(ctx, spanQuery("event"), nil, &low, &high)
	return low, high, err
}

// Oldest is the sale whose next call has waited longest.
type Oldest struct {
	Device   sale.DeviceID
	Register sale.RegisterID
	SaleID   string
	Since    time.Time // the event that owes the call was accepted
}

// The first event of each queue: one look-up, or a few where superseded updates and
// sales in quarantine have left their places.
const oldestQuery = `
	SELECT d.device_id, r.register_id, o.ref, e.at
	  FROM queue q
	  JOIN event e    ON e.no = (SELECT no FROM event INDEXED BY event_queue
	                              WHERE rseq >= q.head AND rseq <= min(q.tail, q.head + 999) AND register = q.register ORDER BY rseq LIMIT 1)
	  JOIN event o    ON o.no = e.sale
	  JOIN device d   ON d.no = o.device
	  JOIN register r ON r.no = q.register
	 WHERE q.head <= q.tail`

// Oldest gives it; ok is false where no call waits. An open sale that owes nothing
// until its end is none.
func (db *DB) Oldest(ctx context.Context) (o Oldest, ok bool, err error) {
	err = db.query(ctx, oldestQuery, func(scan func(...any) error) error {
		var of Oldest
		var at int64
		err := scan(&of.Device, &of.Register, &of.SaleID, &at)
		if of.Since = instant(at); !ok || of.Since.Before(o.Since) {
			o, ok = of, true
		}
		return err
	})
	if err != nil {
		return Oldest{}, false, fmt.Errorf("look for the oldest waiting sale: %w", err)
	}
	return o, ok, nil
}
