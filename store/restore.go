package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"edgegw/sale"
)

// Backup writes a whole, consistent copy of the journal into a file that is not
// there yet, while the gateway runs, and looks whether it is sound.
func (db *DB) Backup(ctx context.Context, path string) (e Extent, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return e, fmt.Errorf("copy the journal: %w", err)
	}
	from := sql.OpenDB(connector{dsn: "file:" + db.path + "?mode=ro&_pragma=busy_timeout(5000)&_pragma=temp_store(2)&_dqs=0"})
	_, err = from.ExecContext(ctx, `VACUUM INTO ?`, path)
	if err = errors.Join(err, from.Close()); err != nil {
		return e, fmt.Errorf("copy the journal: %w", err)
	}
	copied := sql.OpenDB(connector{dsn: "file:" + path + "?mode=ro&immutable=1&_pragma=query_only(1)&_dqs=0"})
	var said string
	err = copied.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&said)
	if err == nil && said != "ok" {
		err = errors.New(said)
	}
	if err == nil {
		e, err = extent(ctx, copied)
	}
	if err = errors.Join(err, copied.Close()); err != nil {
		return e, fmt.Errorf("check the copy of the journal: %w", err)
	}
	return e, nil
}

// Extent is how much the journal holds.
type Extent struct {
	Events  int64 // the number of the newest
	Sales   int64 // accepted, ever
	Waiting int64 // sales whose calls are not confirmed
}

// Look counts what a journal holds that nobody has open, and changes nothing.
func Look(ctx context.Context, path string) (e Extent, err error) {
	if err := refuseOrphan(path); err != nil {
		return e, err
	}
	from := sql.OpenDB(connector{dsn: fileDSN(path)})
	e, err = extent(ctx, from)
	if err = errors.Join(err, from.Close()); err != nil {
		return e, fmt.Errorf("count the journal: %w", err)
	}
	return e, nil
}

func fileDSN(path string) string {
	return "file:" + path + "?mode=ro&_pragma=query_only(1)&_dqs=0"
}

func extent(ctx context.Context, from *sql.DB) (e Extent, err error) {
	err = from.QueryRowContext(ctx, `SELECT coalesce((SELECT max(no) FROM event), 0), coalesce(sum(accepted), 0), coalesce(sum(waiting), 0) FROM queue`).Scan(&e.Events, &e.Sales, &e.Waiting)
	return e, err
}

// Note adds a line to the audit trail.
func (db *DB) Note(ctx context.Context, what, subject, detail, by string) error {
	if err := db.change(ctx, func(t *tx) error { return t.audit(millis(db.now()), by, what, subject, detail) }); err != nil {
		return fmt.Errorf("note %q: %w", what, err)
	}
	return nil
}

// MarkRestored notes that the journal is a backup's, before anything is sent from
// it: since is when it was made, or zero where that clock could not be believed.
// Where it was made of a journal that is itself a backup's, what was read back for
// that one stays, and what was not is read from there on.
func (db *DB) MarkRestored(ctx context.Context, since time.Time, detail, by string) error {
	err := db.change(ctx, func(t *tx) error {
		at := millis(db.now())
		if _, err := t.exec(`UPDATE second SET generation = ''`); err != nil { // what it follows is not a copy
			return err
		}
		if _, err := t.exec(`INSERT INTO restored (register, since, until, at)
			SELECT no, ?, coalesce((SELECT max(no) FROM event), 0), ? FROM register WHERE true
			ON CONFLICT (register) DO UPDATE SET since = CASE WHEN read_at = 0 OR refused = 1 THEN min(since, excluded.since) ELSE excluded.since END,
				until = excluded.until, at = excluded.at, read_at = 0, refused = 0`, millisOrZero(since), at); err != nil {
			return err
		}
		return t.audit(at, by, "backup put back", "", detail)
	})
	if err != nil {
		return fmt.Errorf("mark the journal as a backup's: %w", err)
	}
	return nil
}

func millisOrZero(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return millis(t)
}

// ReadBack stores what OpenFiskal has of a register that was put back. Where it
// does not give the list, that is stored instead. A long list is stored in pieces,
// between which sales are acknowledged; it counts as read with the last one.
func (db *DB) ReadBack(ctx context.Context, register sale.RegisterID, list []sale.Listed, refused bool) error {
	const most = 500 // rows of a piece
	var err error
	for piece := range slices.Chunk(list, most) {
		if err = db.change(ctx, func(t *tx) error { return t.listed(register, piece) }); err != nil {
			break
		}
	}
	if err == nil {
		err = db.change(ctx, func(t *tx) error { return t.readBack(millis(db.now()), register, len(list), refused) })
	}
	if err != nil {
		return fmt.Errorf("store what was read back of %s: %w", register, err)
	}
	return nil
}

func (t *tx) listed(register sale.RegisterID, list []sale.Listed) error {
	for _, l := range list {
		if _, err := t.exec(`INSERT INTO read_back (register, operation, ref, cashier, made_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			t.w.rows.registers[register], l.Operation, l.ExternalID, l.Cashier, millisOrZero(l.MadeAt)); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) readBack(at int64, register sale.RegisterID, operations int, refused bool) error {
	if _, err := t.exec(`UPDATE restored SET read_at = ?, refused = ? WHERE register = ?`, at, refused, t.w.rows.registers[register]); err != nil {
		return err
	}
	detail := fmt.Sprintf("%d operations made since the backup", operations)
	if refused {
		detail = "OpenFiskal does not give the list"
	}
	return t.audit(at, "edgegw", "register read back", string(register), detail)
}

// Sent tells of a call on a register that was put back, and read, whether it may
// have been carried out since the backup.
func (db *DB) Sent(ctx context.Context, c sale.Call) (s sale.Sent, err error) {
	if c.Step != sale.StepStart {
		s.Operation = c.Operation
		err = db.queryOne(ctx, `SELECT e.sale <= m.until OR EXISTS (SELECT 1 FROM read_back b WHERE b.register = m.register AND b.operation = ?2)
			FROM event e JOIN restored m ON m.register = e.register WHERE e.no = ?1`, []any{c.Event, c.Operation}, &s.May)
		if err != nil {
			err = fmt.Errorf("look for call of event %d in what was read back: %w", c.Event, err)
		}
		return s, err
	}
	s.Operation, err = db.madeBy(ctx, c)
	if s.May = s.Operation != ""; err == nil && !s.May {
		s, err = db.unlisted(ctx, c)
	}
	if err != nil {
		return sale.Sent{}, fmt.Errorf("look for sale %s in what was read back: %w", c.SaleID, err)
	}
	return s, nil
}

// unlisted is Sent of a start that was not read back. Where the list was not given, a
// start of the backup may have been carried out, and one that a device reports again.
// What a person has had sent again is on his word.
func (db *DB) unlisted(ctx context.Context, c sale.Call) (sale.Sent, error) {
	s := sale.Sent{Operation: c.Operation}
	var refused, known, decided bool
	var since, at int64
	err := db.queryOne(ctx, `SELECT m.refused, e.sale <= m.until, EXISTS (SELECT 1 FROM held h WHERE h.event = e.no), m.since, m.at
		FROM event e JOIN restored m ON m.register = e.register WHERE e.no = ?`, []any{c.Event}, &refused, &known, &decided, &since, &at)
	if err != nil || !refused {
		return s, err
	}
	m := sale.Restored{At: instant(at)}
	if since != 0 {
		m.Since = instant(since)
	}
	s.Unproven = !known && !decided && m.Happened(c)
	s.May = known || s.Unproven
	return s, nil
}

// madeQuery gives what was read back and may be of a start: what has its id or its
// sale's, and is not known as another sale's. own says that the cashier is no device,
// so that the device itself may have named him.
const madeQuery = `
	SELECT b.operation, b.ref, b.cashier, b.made_at, e.at, e.kind, NOT EXISTS (SELECT 1 FROM device d WHERE d.device_id = b.cashier) AS own
	  FROM event e
	  JOIN read_back b ON b.register = e.register AND b.operation IN (SELECT ?3 UNION SELECT x.operation FROM read_back x WHERE x.register = e.register AND x.ref = ?2)
	 WHERE e.no = ?1
	   AND NOT EXISTS (SELECT 1 FROM event o LEFT JOIN sale s ON s.no = o.no
	                    WHERE o.ref = ?2 AND o.register = e.register AND o.no <> e.sale AND b.operation IN (o.operation, s.operation))`

// madeBy gives the operation that a start made after the backup; "" where there is
// none.
func (db *DB) madeBy(ctx context.Context, c sale.Call) (operation string, err error) {
	best, oldest := 0, int64(0)
	err = db.query(ctx, madeQuery, func(scan func(...any) error) error {
		var l sale.Listed
		var made, accepted int64
		var kind sale.Kind
		var own bool
		if err := scan(&l.Operation, &l.ExternalID, &l.Cashier, &made, &accepted, &kind, &own); err != nil {
			return err
		}
		if made != 0 {
			l.MadeAt = instant(made)
		}
		fits := 0
		switch at := instant(accepted); {
		case l.Operation == c.Operation:
			fits = 3
		case l.Is(c, at, false):
			fits = 2
		case kind == sale.Complete && own && l.Is(c, at, true):
			fits = 1
		}
		if fits > best || fits > 0 && fits == best && made < oldest {
			best, oldest, operation = fits, made, l.Operation
		}
		return nil
	}, c.Event, c.SaleID, c.Operation)
	return operation, err
}

// RestoredRegister is how far the reading back of a register has come.
type RestoredRegister struct {
	Register sale.RegisterID
	sale.Restored
	Waiting bool // something is to be sent
}

// RestoredRegisters gives those whose journal is a backup's.
func (db *DB) RestoredRegisters(ctx context.Context) (list []RestoredRegister, err error) {
	err = db.query(ctx, `SELECT r.register_id, m.since, m.at, m.read_at <> 0, m.refused, q.waiting > 0
			FROM restored m JOIN register r ON r.no = m.register JOIN queue q ON q.register = m.register ORDER BY r.register_id`,
		func(scan func(...any) error) error {
			var m RestoredRegister
			var since, at int64
			err := scan(&m.Register, &since, &at, &m.Read, &m.Refused, &m.Waiting)
			if m.At = instant(at); since != 0 {
				m.Since = instant(since)
			}
			list = append(list, m)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("read which registers were put back: %w", err)
	}
	return list, nil
}
