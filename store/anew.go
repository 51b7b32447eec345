package store

import (
	"context"
	"crypto/rand"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"edgegw/sale"
)

var errTurnedOff = errors.New("the second journal was turned off meanwhile")

// keep begins a generation of the second journal whenever one is needed, and writes
// what counts into it.
func (db *DB) keep(ctx context.Context) {
	s := db.w.second
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.need:
		}
		if st := s.state.Load(); !st.On && st.Cause != "" { // it has failed
			select {
			case <-ctx.Done():
				return
			case <-time.After(secondAgain):
			}
		}
		err := db.writeAnew(ctx)
		if err == nil || ctx.Err() != nil || errors.Is(err, ErrClosed) {
			continue
		}
		db.log.Warn("the second journal cannot be written anew; it is tried again in a minute", "cause", err)
		if st := s.state.Load(); st.Cause == "" {
			s.tell(SecondState{Used: true, Cause: err.Error(), Since: db.now()})
		}
		s.ring()
	}
}

// writeAnew writes a generation with all that counts: each part in a transaction of
// the writer, so that it is as of that commit, between those of sales.
func (db *DB) writeAnew(ctx context.Context) error {
	s := db.w.second
	half := false
	part := func(do func(*tx) error) error {
		return db.change(ctx, func(t *tx) error {
			if !s.on {
				return errTurnedOff
			}
			half = s.half
			return do(t)
		})
	}
	if err := db.change(ctx, func(t *tx) error { return t.beginSecond() }); err != nil {
		return err
	}
	if err := part(func(t *tx) error { return t.smallTables() }); err != nil {
		return err
	}
	list, err := db.counts(ctx)
	if err != nil {
		return err
	}
	for len(list) > 0 && !half {
		if err := part(func(t *tx) (err error) { list, err = t.copyItems(list); return err }); err != nil {
			return err
		}
	}
	left := int64(0)
	for _, i := range list {
		if i.of == liveSale {
			left++
		}
	}
	err = part(func(*tx) error { s.whole, s.left = true, left; return nil })
	select {
	case db.w.side.kick <- struct{}{}: // so that the database knows which one follows it, whatever becomes of its log
	default:
	}
	return err
}

// beginSecond has the second journal follow the database from this commit on.
func (t *tx) beginSecond() error {
	s := t.w.second
	if s.busy { // it hung: has it answered meanwhile?
		select {
		case <-s.answer:
			s.busy = false
		default:
			return errHangs
		}
	}
	shapes, err := t.shapes()
	if err != nil {
		return err
	}
	v, err := t.value("PRAGMA user_version")
	if err != nil {
		return err
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id) // it never fails
	name := hex.EncodeToString(id)
	if _, err := t.exec(`UPDATE second SET generation = ?`, name); err != nil {
		return err
	}
	s.follow(int(v.(int64)), shapes)
	s.on, s.begin, s.whole, s.isWhole, s.void, s.half, s.stale = true, name, false, false, false, false, false
	return nil
}

// large tables grow with what is sold: of them only what still counts is written
// anew.
const large = " answer attempt audit decision event held mailbox quarantine read_back refused sale session update_seen "

// smallTables gives every row of the tables that a site cannot sell without, and the
// end of the audit trail.
func (t *tx) smallTables() error {
	for _, s := range t.w.second.shapes {
		if strings.Contains(large, " "+s.name+" ") {
			continue
		}
		if err := t.copyRows(s.name, ""); err != nil {
			return err
		}
	}
	return t.copyRows("audit", "no = (SELECT max(no) FROM audit)")
}

// copyRows gives rows to the second journal as they are.
func (t *tx) copyRows(table, where string, args ...any) error {
	s := t.w.second
	no, ok := s.no[table]
	if !ok {
		return nil
	}
	text := "SELECT " + strings.Join(s.shapes[no].columns, ", ") + " FROM " + table
	if where != "" {
		text += " WHERE " + where
	}
	return t.query(text, func(row []driver.Value) error { s.put(no, row); return nil }, args...)
}

// counting is something in a large table that still counts: a sale that is not over,
// a message that waits for a person, a receipt that waits for its device.
type counting struct {
	of string
	no int64
}

const (
	liveSale = "sale"
	message  = "message"
	receipt  = "receipt"
)

// needs are the rows that each of them is.
var needs = map[string][]struct{ table, where string }{
	liveSale: {
		{"event", `no IN (SELECT ?1 UNION SELECT last_update FROM sale WHERE no = ?1 UNION
			SELECT no FROM event WHERE sale = ?1 AND kind IN (3, 4) AND ref IS NULL UNION SELECT event FROM held WHERE sale = ?1)`},
		{"sale", "no = ?1"}, {"update_seen", "sale = ?1"}, {"held", "sale = ?1"}, {"quarantine", "sale = ?1 AND open = 1"},
	},
	message: {{"refused", "no = ?1"}},
	receipt: {
		{"mailbox", "no = ?1"}, {"answer", "no = (SELECT answer FROM mailbox WHERE no = ?1)"},
		{"sale", "no = (SELECT sale FROM mailbox WHERE no = ?1)"}, {"event", "no = (SELECT sale FROM mailbox WHERE no = ?1)"},
	},
}

// counts gives what still counts, the most important first: sales, the newest first,
// read from the end of the journal until all are found.
func (db *DB) counts(ctx context.Context) (list []counting, err error) {
	most := int64(0)
	err = db.queryOne(ctx, `SELECT coalesce(sum(waiting + quarantined), 0) FROM queue`, nil, &most)
	if err != nil {
		return nil, fmt.Errorf("count what is not over: %w", err)
	}
	for _, q := range []struct {
		of, text string
		args     []any
	}{
		{liveSale, `SELECT o.no FROM event o LEFT JOIN sale s ON s.no = o.no
			WHERE o.ref IS NOT NULL AND coalesce(s.state, 1) IN (?1, ?2) ORDER BY o.no DESC LIMIT ?3`, []any{int64(sale.Waiting), int64(sale.Quarantine), most}},
		{message, `SELECT no FROM refused WHERE no NOT IN (SELECT item FROM decision) ORDER BY no DESC`, nil},
		{receipt, `SELECT no FROM mailbox WHERE delivered_at IS NULL ORDER BY no DESC`, nil},
	} {
		err = db.query(ctx, q.text, func(scan func(...any) error) error {
			c := counting{of: q.of}
			err := scan(&c.no)
			list = append(list, c)
			return err
		}, q.args...)
		if err != nil {
			return nil, fmt.Errorf("look for what still counts: %w", err)
		}
	}
	return list, nil
}

// copyItems gives some of them with all that they need, and says which are left.
func (t *tx) copyItems(list []counting) (left []counting, err error) {
	for i, c := range list {
		if i > 0 && len(t.w.second.buf) > partBytes {
			return list[i:], nil
		}
		for _, q := range needs[c.of] {
			if err := t.copyRows(q.table, q.where, c.no); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}
