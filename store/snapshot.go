package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"edgegw/audit"
	"edgegw/sale"
)

// Snapshot is the journal at one moment. It has a connection of its own, so that a
// long reading takes none from the queues; the write-ahead log cannot begin anew
// until it ends.
type Snapshot struct{ tx *sql.Tx }

// Period is a time from From on and before To.
type Period struct{ From, To time.Time }

// Snapshot lets use read the journal at one moment.
func (db *DB) Snapshot(ctx context.Context, use func(*Snapshot) error) error {
	pool := sql.OpenDB(db.reader)
	defer func() { _ = pool.Close() }() // it was only read
	tx, err := pool.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // likewise
	return use(&Snapshot{tx})
}

// each calls row for each row of a SELECT.
func (s *Snapshot) each(ctx context.Context, text string, row func(scan func(...any) error) error, args ...any) error {
	rows, err := s.tx.QueryContext(ctx, text, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // it was only read; Err has what went wrong
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// SaleRecord is all that the journal knows of a sale, for an export.
type SaleRecord struct {
	Sale
	Kind       sale.Kind // of the event that opened it
	Raw        []byte
	Quality    string // how far AcceptedAt can be believed; "" if that was not recorded
	EndKind    sale.Kind
	End        []byte // of the event that ended it, where that is another
	EndAt      time.Time
	EndQuality string
	SettledAt  time.Time // by the answer of OpenFiskal
	Attempts   int64     // of the call that was confirmed by it
	InVain     int64     // attempts for any of its calls that confirmed nothing
	Adopted    bool
	RequestID  string
	Decided    sale.Ruling // the last one; Item 0: none
}

// Sales gives the sales that were accepted in a period, the oldest first.
func (s *Snapshot) Sales(ctx context.Context, p Period, sold func(*SaleRecord) error) error {
	decisions, err := s.decisions(ctx)
	if err != nil {
		return err
	}
	return s.each(ctx, `SELECT o.no, d.device_id, r.register_id, o.ref, coalesce(s.state, 1), o.kind = 1 AND e.no IS NULL, o.kind, o.flags, o.at, o.raw,
		       coalesce(e.total, o.total), o.currency, coalesce(s.operation, o.operation), coalesce(s.fiscal_state, ''), coalesce(s.document, ''), coalesce(s.changed_at, 0),
		       coalesce(e.kind, 0), coalesce(e.at, 0), coalesce(e.flags, 0), e.raw,
		       coalesce(a.at, 0), coalesce(a.attempts, 0), coalesce(a.adopted, 0), coalesce(a.request_id, ''),
		       (SELECT coalesce(sum(t.times), 0) FROM attempt t WHERE t.event IN (SELECT o.no UNION SELECT u.event FROM update_seen u WHERE u.sale = o.no UNION SELECT e.no))
		  FROM event o
		  JOIN device d   ON d.no = o.device
		  JOIN register r ON r.no = o.register
		  LEFT JOIN sale s   ON s.no = o.no
		  LEFT JOIN event e  ON e.sale = o.no AND e.kind IN (3, 4) AND e.ref IS NULL
		  LEFT JOIN answer a ON a.no = s.answer
		 WHERE o.ref IS NOT NULL AND o.at >= ? AND o.at < ? ORDER BY o.no`,
		func(scan func(...any) error) error {
			var x SaleRecord
			var no, flags, at, changed, endAt, endFlags, settled int64
			if err := scan(&no, &x.Device, &x.Register, &x.SaleID, &x.State, &x.Open, &x.Kind, &flags, &at, &x.Raw,
				&x.Total, &x.Currency, &x.Operation, &x.FiscalState, &x.Document, &changed, &x.EndKind, &endAt, &endFlags, &x.End,
				&settled, &x.Attempts, &x.Adopted, &x.RequestID, &x.InVain); err != nil {
				return err
			}
			x.AcceptedAt, x.ChangedAt, x.EndAt, x.SettledAt = instant(at), instant(changed), instant(endAt), instant(settled)
			x.Quality, x.EndQuality = quality(flags), quality(endFlags)
			x.StartMissing, x.Unsafe = flags&flagStartMissing != 0, flags&flagUnsafe != 0
			x.Decided = decisions[no]
			return sold(&x)
		}, millis(p.From), millis(p.To))
}

// quality reads how far a time of acceptance can be believed.
func quality(flags int64) string {
	for word, flag := range qualityFlags {
		if flags&flag != 0 {
			return word
		}
	}
	return ""
}

// decisions gives the last decision about each sale, by the number of its event.
func (s *Snapshot) decisions(ctx context.Context) (map[int64]sale.Ruling, error) {
	all := map[int64]sale.Ruling{}
	err := s.each(ctx, `SELECT q.sale, w.item, w.decision, w.at, w.who, w.reason FROM decision w JOIN quarantine q ON q.no = w.item ORDER BY w.item`,
		func(scan func(...any) error) error {
			var v sale.Ruling
			var of, at int64
			err := scan(&of, &v.Item, &v.Decision, &at, &v.By, &v.Reason)
			v.At = instant(at)
			all[of] = v
			return err
		})
	return all, err
}

// EventRecord is an event, for an export.
type EventRecord struct {
	Device     sale.DeviceID
	Register   sale.RegisterID
	SaleID     string
	Kind       sale.Kind
	At         time.Time
	Quality    string
	Total      int64
	Superseded bool
	Unsafe     bool
	Raw        []byte
}

// Events gives what was accepted in a period, the oldest first.
func (s *Snapshot) Events(ctx context.Context, p Period, reported func(*EventRecord) error) error {
	return s.each(ctx, `SELECT d.device_id, r.register_id, o.ref, e.kind, e.at, e.flags, e.total, e.raw
		  FROM event e
		  JOIN event o    ON o.no = e.sale
		  JOIN device d   ON d.no = e.device
		  JOIN register r ON r.no = e.register
		 WHERE e.at >= ? AND e.at < ? ORDER BY e.no`,
		func(scan func(...any) error) error {
			var x EventRecord
			var at, flags int64
			if err := scan(&x.Device, &x.Register, &x.SaleID, &x.Kind, &at, &flags, &x.Total, &x.Raw); err != nil {
				return err
			}
			x.At, x.Quality, x.Superseded, x.Unsafe = instant(at), quality(flags), flags&flagSuperseded != 0, flags&flagUnsafe != 0
			return reported(&x)
		}, millis(p.From), millis(p.To))
}

// ItemRecord is an item of the quarantine, for an export.
type ItemRecord struct {
	No       int64
	Message  bool // no sale
	Device   sale.DeviceID
	Register sale.RegisterID
	SaleID   string
	Kind     sale.Kind
	At       time.Time
	Code     string
	Detail   string
	Status   int64 // of HTTP
	Decided  sale.Ruling
}

// Items gives what came into quarantine in a period, or was decided in it.
func (s *Snapshot) Items(ctx context.Context, p Period, item func(*ItemRecord) error) error {
	return s.each(ctx, `SELECT i.no, i.message, i.device_id, i.register_id, i.ref, i.kind, i.at, i.code, i.detail, i.status,
		       coalesce(w.decision, ''), coalesce(w.at, 0), coalesce(w.who, ''), coalesce(w.reason, ''), coalesce(w.operation, '')
		  FROM (SELECT q.no, 0 AS message, d.device_id, r.register_id, o.ref, e.kind, q.at, q.code, q.detail, q.status
		          FROM quarantine q JOIN event o ON o.no = q.sale JOIN event e ON e.no = q.event JOIN device d ON d.no = o.device JOIN register r ON r.no = q.register
		        UNION ALL
		        SELECT f.no, 1, d.device_id, '', f.ref, f.kind, f.at, f.code, f.message, 0
		          FROM refused f JOIN device d ON d.no = f.device) i
		  LEFT JOIN decision w ON w.item = i.no
		 WHERE i.at >= ?1 AND i.at < ?2 OR w.at >= ?1 AND w.at < ?2 ORDER BY i.no`,
		func(scan func(...any) error) error {
			var x ItemRecord
			var at, decided int64
			v := &x.Decided
			if err := scan(&x.No, &x.Message, &x.Device, &x.Register, &x.SaleID, &x.Kind, &at, &x.Code, &x.Detail, &x.Status,
				&v.Decision, &decided, &v.By, &v.Reason, &v.Operation); err != nil {
				return err
			}
			x.At, v.At = instant(at), instant(decided)
			return item(&x)
		}, millis(p.From), millis(p.To))
}

// Span gives the part of the audit trail from the first line of a period to its
// last one, and where the whole trail ends.
func (s *Snapshot) Span(ctx context.Context, p Period) (span audit.Span, err error) {
	if span.Head, err = s.point(ctx, `1`); err != nil {
		return span, err
	}
	var first, last sql.NullInt64
	if err := s.tx.QueryRowContext(ctx, `SELECT min(no), max(no) FROM audit WHERE at >= ? AND at < ?`, millis(p.From), millis(p.To)).Scan(&first, &last); err != nil {
		return span, err
	}
	if !first.Valid {
		span.Before, span.Last = span.Head, span.Head
		return span, nil
	}
	if span.Before, err = s.point(ctx, `no < ?`, first.Int64); err != nil {
		return span, err
	}
	span.Last, err = s.point(ctx, `no <= ?`, last.Int64)
	return span, err
}

// point gives the last line that is so.
func (s *Snapshot) point(ctx context.Context, so string, args ...any) (p audit.Point, err error) {
	var chain []byte
	err = s.tx.QueryRowContext(ctx, `SELECT no, chain FROM audit WHERE `+so+` ORDER BY no DESC LIMIT 1`, args...).Scan(&p.No, &chain)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	copy(p.Chain[:], chain)
	return p, err
}

// Lines gives the lines of a span, with the values that are stored beside them.
func (s *Snapshot) Lines(ctx context.Context, span audit.Span, line func(l audit.Line, chain []byte) error) error {
	return s.each(ctx, `SELECT no, at, who, what, subject, detail, chain FROM audit WHERE no > ? AND no <= ? ORDER BY no`,
		func(scan func(...any) error) error {
			var l audit.Line
			var chain []byte
			if err := scan(&l.No, &l.At, &l.Who, &l.What, &l.Subject, &l.Detail, &chain); err != nil {
				return err
			}
			return line(l, chain)
		}, span.Before.No, span.Last.No)
}
