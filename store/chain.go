package store

import (
	"context"
	"database/sql/driver"
	"fmt"
	"math"

	"edgegw/audit"
	"edgegw/card"
	"edgegw/secret"
)

// audit writes a line of the audit trail, with its chain value. Its texts
// are fit to be shown: an export shows them as they were hashed.
//
// It moves the end of the chain before the job is over; the writer takes that back
// where the job fails.
func (t *tx) audit(at int64, who, what, subject, detail string) error {
	// Its number is one that nobody has, also where somebody else has written to the
	// file: the trail must not end by that.
	v, err := t.value(`SELECT max(?, (SELECT coalesce(max(no), 0) FROM audit))`, t.w.rows.trail.No)
	if err != nil {
		return err
	}
	l := audit.Line{No: v.(int64) + 1, At: at, Who: shown(who), What: shown(what), Subject: shown(subject), Detail: shown(detail)}
	next := t.w.rows.trail.Chain.Next(l)
	if _, err := t.exec(`INSERT INTO audit (no, at, who, what, subject, detail, chain) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		l.No, l.At, l.Who, l.What, l.Subject, l.Detail, next[:]); err != nil {
		return err
	}
	t.w.rows.trail = audit.Point{No: l.No, Chain: next}
	return nil
}

// shown is a text of others without card numbers and keys, as UTF-8.
func shown(text string) string { return card.Text(secret.WithoutKeys([]byte(text))) }

// readTrail reads where the chain ends.
func (c *cache) readTrail(t *tx) error {
	return t.query(`SELECT no, chain FROM audit ORDER BY no DESC LIMIT 1`, func(row []driver.Value) error {
		c.trail.No = row[0].(int64)
		stored, _ := row[1].([]byte)
		copy(c.trail.Chain[:], stored) // one of another length was altered: Trail says so
		return nil
	})
}

// chainOld gives the lines that are there their values, and takes out of them
// what is not to be shown.
func chainOld(t *tx) error {
	const most = 500 // rows read at a time
	var at audit.Point
	for {
		var lines []audit.Line
		err := t.query(`SELECT no, at, who, what, subject, detail FROM audit WHERE no > ? ORDER BY no LIMIT ?`, func(row []driver.Value) error {
			lines = append(lines, audit.Line{No: row[0].(int64), At: row[1].(int64), Who: shown(row[2].(string)), What: shown(row[3].(string)),
				Subject: shown(row[4].(string)), Detail: shown(row[5].(string))})
			return nil
		}, at.No, most)
		if err != nil || len(lines) == 0 {
			return err
		}
		for _, l := range lines {
			at = audit.Point{No: l.No, Chain: at.Chain.Next(l)}
			if _, err := t.exec(`UPDATE audit SET who = ?, what = ?, subject = ?, detail = ?, chain = ? WHERE no = ?`, l.Who, l.What, l.Subject, l.Detail, at.Chain[:], l.No); err != nil {
				return err
			}
		}
	}
}

// TrailEnd gives the last line's place as the writer knows it.
func (db *DB) TrailEnd(ctx context.Context) (end audit.Point, err error) {
	err = db.change(ctx, func(t *tx) error { end = t.w.rows.trail; return nil })
	if err != nil {
		err = fmt.Errorf("ask for the end of the audit trail: %w", err)
	}
	return end, err
}

// Trail gives every line of the audit trail with the chain value that is stored
// beside it, the oldest first, until line says stop. It reads a page at a time, so
// that a long trail holds up nobody.
func (db *DB) Trail(ctx context.Context, line func(l audit.Line, chain []byte) (more bool)) error {
	const most = 1000
	for from := int64(math.MinInt64); ; {
		n, more := 0, true
		err := db.query(ctx, `SELECT no, at, who, what, subject, detail, chain FROM audit WHERE no >= ? ORDER BY no LIMIT ?`,
			func(scan func(...any) error) error {
				var l audit.Line
				var chain []byte
				if err := scan(&l.No, &l.At, &l.Who, &l.What, &l.Subject, &l.Detail, &chain); err != nil || !more {
					return err
				}
				n, from = n+1, l.No+1
				more = line(l, chain)
				return nil
			}, from, most)
		if err != nil {
			return fmt.Errorf("read the audit trail: %w", err)
		}
		if n < most || !more || from == math.MinInt64 {
			return nil
		}
	}
}
