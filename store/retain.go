package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"edgegw/sale"
)

// Sweep is how far a walk through the journal has come that removes what is kept
// long enough. The zero value begins at the oldest row.
type Sweep struct {
	// Now is by a clock that can be believed. A row of later was written by a clock that
	// ran ahead: it does not say that what follows is younger. Zero: each row is believed.
	Now                   time.Time
	event, answer, letter int64
	Removed               int64 // sales, on this walk
	Done                  bool  // all that is old enough was looked at
}

const (
	// sweepSpan is how many rows of a table one step looks at, and sweepSales the
	// most sales that it removes: so much the acknowledgements may wait for.
	sweepSpan  = 1000
	sweepSales = 100
)

// Sweep makes one step of the walk: it removes sales that OpenFiskal confirmed
// before then, with all that was kept of them, and gives where to go on. Removed is
// only what is over: nothing that waits, whose fiscal state or receipt is open, that
// was ever before a person, or that a person decided. Totals stay as they are, and so
// does the audit trail.
//
// A device may use the id of a sale that was removed again: it is a new sale.
func (db *DB) Sweep(ctx context.Context, s Sweep, before time.Time) (Sweep, error) {
	step := db.sweepAnswers
	over, err := db.swept(ctx, "event", s.event, before, s.Now)
	if err == nil && !over {
		step = db.sweepSales
	}
	if err == nil {
		s, err = step(ctx, s, before)
	}
	if err != nil {
		return s, fmt.Errorf("remove sales that are kept long enough: %w", err)
	}
	return s, nil
}

// swept reports whether the rows of a table from no on are all younger.
func (db *DB) swept(ctx context.Context, table string, no int64, before, now time.Time) (bool, error) {
	latest := int64(math.MaxInt64)
	if !now.IsZero() {
		latest = millis(now)
	}
	var at int64
	err := db.queryOne(ctx, `SELECT at FROM `+table+` WHERE no >= ? AND at <= ? ORDER BY no LIMIT 1`, []any{no, latest}, &at)
	if errors.Is(err, sql.ErrNoRows) {
		return true, nil
	}
	return err == nil && at >= millis(before), err
}

// overQuery finds sales that may be removed among the events of a span. The newest
// event stays: its number says which is the next.
var overQuery = `SELECT o.no FROM event o CROSS JOIN sale s ON s.no = o.no
	 WHERE o.no >= ?1 AND o.no < ?2 AND o.ref IS NOT NULL AND s.state = ?3 AND s.changed_at < ?4 AND coalesce(s.fiscal_state, '') <> 'pending'
	   AND o.no NOT IN (SELECT sale FROM quarantine)
	   AND NOT EXISTS (SELECT 1 FROM mailbox m JOIN device d ON d.no = m.device WHERE m.device = o.device AND m.delivered_at IS NULL AND m.sale = o.no AND d.removed = 0)
	   AND NOT EXISTS (SELECT 1 FROM event e LEFT JOIN queue q ON q.register = e.register
	       WHERE e.no IN ` + strings.ReplaceAll(saleEvents, "?1", "o.no") + `
	         AND (e.rseq >= q.head OR e.no = (SELECT max(no) FROM event)))
	 ORDER BY o.no LIMIT ?5`

func (db *DB) sweepSales(ctx context.Context, s Sweep, before time.Time) (Sweep, error) {
	to := s.event + sweepSpan
	var first int64 // what was removed before has left a gap
	if err := db.queryOne(ctx, `SELECT min(no) FROM event WHERE no >= ?`, []any{s.event}, &first); err != nil {
		return s, err
	}
	to = max(to, first+sweepSpan)
	var found []int64
	err := db.query(ctx, overQuery, func(scan func(...any) error) error {
		var no int64
		err := scan(&no)
		found = append(found, no)
		return err
	}, first, to, sale.Settled, millis(before), sweepSales)
	if err != nil {
		return s, err
	}
	if len(found) == sweepSales {
		to = found[len(found)-1] + 1
	}
	if len(found) > 0 {
		if err := db.changeOf(ctx, len(found)*sweepBytes, func(t *tx) error { return t.remove(found, before, &s) }); err != nil {
			return s, err
		}
	}
	s.event = to
	return s, nil
}

// sweepBytes is about what removing a sale changes.
const sweepBytes = 3000

// remove looks again: a receipt may have been asked for since.
func (t *tx) remove(sales []int64, before time.Time, s *Sweep) error {
	for _, no := range sales {
		still, err := t.value(overQuery, no, no+1, sale.Settled, millis(before), 1)
		if err != nil {
			return err
		}
		if still == nil {
			continue
		}
		for _, text := range []string{
			`INSERT INTO forgotten (register, confirmed, resolved) SELECT register, 1, 0 FROM event WHERE no = ?1
				ON CONFLICT (register) DO UPDATE SET confirmed = confirmed + 1`, // its total outlives it, also where the database is made again
			`DELETE FROM attempt WHERE event IN ` + saleEvents,
			`DELETE FROM held WHERE event IN ` + saleEvents,
			`DELETE FROM event WHERE no IN ` + saleEvents,
			`DELETE FROM update_seen WHERE sale = ?1`,
			`DELETE FROM sale WHERE no = ?1`,
		} {
			if _, err := t.exec(text, no); err != nil {
				return err
			}
		}
		s.Removed++
	}
	return nil
}

// sweepAnswers removes answers and receipts whose sale is gone. They stand in the
// order in which they came, and no index leads from a sale to them. The newest row of
// each stays, for its number.
func (db *DB) sweepAnswers(ctx context.Context, s Sweep, before time.Time) (Sweep, error) {
	for _, of := range []struct {
		table, gone string
		at          *int64
	}{
		{"answer", `NOT EXISTS (SELECT 1 FROM event WHERE no = answer.event)`, &s.answer},
		{"mailbox", `NOT EXISTS (SELECT 1 FROM event WHERE no = mailbox.sale)`, &s.letter},
	} {
		over, err := db.swept(ctx, of.table, *of.at, before, s.Now)
		if err != nil {
			return s, err
		}
		if over {
			continue
		}
		var first, gone int64
		if err := db.queryOne(ctx, `SELECT min(no) FROM `+of.table+` WHERE no >= ?`, []any{*of.at}, &first); err != nil {
			return s, err
		}
		which := ` FROM ` + of.table + ` WHERE no >= ?1 AND no < ?2 AND at < ?3 AND no < (SELECT max(no) FROM ` + of.table + `) AND ` + of.gone
		args := []any{first, first + sweepSpan, millis(before)}
		if err := db.queryOne(ctx, `SELECT count(*)`+which, args, &gone); err != nil {
			return s, err
		}
		if gone > 0 {
			err := db.changeOf(ctx, int(gone)*sweepBytes/2, func(t *tx) error {
				_, err := t.exec(`DELETE`+which, args...)
				return err
			})
			if err != nil {
				return s, err
			}
		}
		*of.at = first + sweepSpan
		return s, nil
	}
	s.Done = true
	return s, nil
}

const (
	// Free pages are given back to the file system from so many on, down to so many:
	// what the next sales need stays.
	giveBackFrom = 16384 // 64 MiB
	giveBackTo   = 4096
	giveBackStep = 256 // pages, a step
)

// GiveBack returns some of the free pages inside the database to the file system,
// where there are many, and reports whether there are more to return. A database that
// was made by an edgegw before does not shrink; its pages are used again.
func (db *DB) GiveBack(ctx context.Context) (more bool, err error) {
	var free, mode int64
	if err := errors.Join(db.queryOne(ctx, `PRAGMA freelist_count`, nil, &free), db.queryOne(ctx, `PRAGMA auto_vacuum`, nil, &mode)); err != nil {
		return false, fmt.Errorf("give back space: %w", err)
	}
	if mode != incremental || free < giveBackTo+giveBackStep || free < giveBackFrom && !db.givesBack.Load() {
		db.givesBack.Store(false)
		return false, nil
	}
	err = db.changeOf(ctx, giveBackStep*pageEstimate, func(t *tx) error {
		return t.query(fmt.Sprintf(`PRAGMA incremental_vacuum(%d)`, giveBackStep), func([]driver.Value) error { return nil })
	})
	if err != nil {
		return false, fmt.Errorf("give back space: %w", err)
	}
	db.givesBack.Store(true)
	return true, nil
}

// incremental is SQLite's word for a database that can shrink piece by piece.
const incremental = 2

// Room gives the bytes inside the database that rows may still take before the file
// grows, and the bytes that all of it takes.
func (db *DB) Room(ctx context.Context) (free, used int64, err error) {
	var size, pages int64
	err = errors.Join(db.queryOne(ctx, `PRAGMA freelist_count`, nil, &free), db.queryOne(ctx, `PRAGMA page_size`, nil, &size),
		db.queryOne(ctx, `PRAGMA page_count`, nil, &pages))
	if err != nil {
		return 0, 0, fmt.Errorf("read how full the database is: %w", err)
	}
	return free * size, (pages - free) * size, nil
}
