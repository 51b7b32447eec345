package store

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"edgegw/sale"
)

var errStep = errors.New("the event has no such call")

// headQuery is a few exact index look-ups, however long the queue is: the
// register's cursor, then the event at that place, or at place ?2.
const headQuery = `
	SELECT e.no, e.rseq, e.at, e.calls, e.raw, max(q.step, coalesce(h.step, 0)), q.attempts, q.doubt_since, q.next_attempt, q.blocked_since, q.class,
	       o.ref, coalesce(s.operation, o.operation), d.device_id, q.blocker,
	       q.step <= coalesce(h.step, 0), coalesce(h.attempts, 0), coalesce(h.doubt_since, 0),
	       m.register IS NOT NULL, coalesce(m.since, 0), coalesce(m.at, 0), coalesce(m.read_at, 0), coalesce(m.refused, 0)
	  FROM register r
	  JOIN queue q  ON q.register = r.no
	  JOIN event e  ON e.no = (SELECT no FROM event WHERE rseq = coalesce(?2, q.head) AND register = q.register)
	  JOIN event o  ON o.no = e.sale
	  JOIN device d ON d.no = o.device
	  LEFT JOIN sale s ON s.no = e.sale
	  LEFT JOIN held h ON h.event = e.no
	  LEFT JOIN restored m ON m.register = q.register
	 WHERE r.register_id = ?1`

// Head gives the call at the head of the register's queue; sale.ErrNone if
// nothing waits, sale.ErrHeld if it waits for a decision.
func (db *DB) Head(ctx context.Context, register sale.RegisterID) (sale.Head, error) {
	var h sale.Head
	var rseq, at, step, doubt, next, blocked, blocker int64
	var resumed struct {
		here            bool
		attempts, doubt int64
	}
	var restored, refused bool
	var since, restoredAt, readAt int64
	var frozen, raw []byte
	read := func(place any) error {
		return db.queryOne(ctx, headQuery, []any{string(register), place}, &h.Event, &rseq, &at, &frozen, &raw, &step, &h.Attempts,
			&doubt, &next, &blocked, &h.Class, &h.SaleID, &h.Operation, &h.Device, &blocker, &resumed.here, &resumed.attempts, &resumed.doubt,
			&restored, &since, &restoredAt, &readAt, &refused)
	}
	err := read(nil)
	if errors.Is(err, sql.ErrNoRows) {
		err = db.passGap(ctx, register, read)
	}
	switch {
	case errors.Is(err, sale.ErrHeld) || err == nil && blocker != 0:
		return h, sale.ErrHeld
	case errors.Is(err, sql.ErrNoRows):
		return h, sale.ErrNone
	case err != nil:
		return h, fmt.Errorf("read the head of %s: %w", register, err)
	}
	if resumed.here && h.Attempts == 0 {
		// It came back from quarantine and has not been touched since.
		h.Attempts = int(resumed.attempts)
		doubt = cmp.Or(doubt, resumed.doubt)
	}
	if restored {
		h.Restored = &sale.Restored{Read: readAt != 0, Refused: refused, At: instant(restoredAt)}
		if since != 0 {
			h.Restored.Since = instant(since)
		}
	}
	calls, err := sale.Thaw(frozen, raw)
	if err != nil || step >= int64(len(calls)) {
		return h, fmt.Errorf("read the head of %s: event %d, step %d: %w", register, h.Event, step, cmp.Or(err, errStep))
	}
	for i := range calls {
		c := &calls[i]
		c.Event, c.Register, c.SaleID, c.Operation, c.Last = h.Event, register, h.SaleID, h.Operation, i == len(calls)-1
	}
	c := calls[step]
	c.Attempts, c.InDoubtSince, c.NextAttempt = h.Attempts, instant(doubt), instant(next)
	h.Call, h.Rest, h.Accepted, h.BlockedSince = c, calls[step+1:], instant(at), instant(blocked)
	return h, nil
}

// passGap looks behind the places that superseded updates have left: one look-up
// each, once, because Begin moves the cursor to what is found.
func (db *DB) passGap(ctx context.Context, register sale.RegisterID, read func(place any) error) error {
	var head, tail, blocker int64
	err := db.queryOne(ctx, `SELECT q.head, q.tail, q.blocker FROM register r JOIN queue q ON q.register = r.no WHERE r.register_id = ?`,
		[]any{string(register)}, &head, &tail, &blocker)
	if err != nil {
		return err
	}
	if blocker != 0 {
		return sale.ErrHeld
	}
	for place := head; place <= tail; place++ {
		if err := read(place); !errors.Is(err, sql.ErrNoRows) {
			return err
		}
	}
	return sql.ErrNoRows
}

// Begin notes an attempt before its bytes leave: should the process die now,
// the call is in doubt, never unsent (law 2). sale.ErrNone means the call is
// not the head any more. now is the attempt's begin; doubt, where it is set,
// is an earlier attempt's that could not be resolved.
func (db *DB) Begin(ctx context.Context, a sale.Attempt) error {
	return db.changeWith(ctx, 400, a.MayWait, func(t *tx) error { return t.begin(&a) })
}

func (t *tx) begin(a *sale.Attempt) error {
	register := t.w.rows.registers[a.Call.Register]
	// step and attempts are 0 still where the event came back from quarantine in
	// the middle of its calls, and this is the first touch.
	n, err := t.exec(`UPDATE queue SET head = (SELECT rseq FROM event WHERE no = ?1), step = ?5, attempts = ?6 + 1, doubt_since = ?2, next_attempt = ?3
		WHERE register = ?4 AND blocker = 0 AND head <= (SELECT rseq FROM event WHERE no = ?1) AND step IN (0, ?5) AND attempts IN (0, ?6)`,
		a.Call.Event, begunAt(a), millis(a.Next), register, a.Call.Index, a.Call.Attempts)
	if err == nil && n != 1 {
		err = sale.ErrNone
	}
	return err
}

// begunAt is since when the call of an attempt is in doubt.
func begunAt(a *sale.Attempt) int64 {
	if a.Call.InDoubtSince.IsZero() {
		return millis(a.At)
	}
	return millis(a.Call.InDoubtSince)
}

// Settle records the end of an attempt: the outcome, the answer verbatim, the
// receipt into the mailbox, the queue's advance and the begin of the event's
// next call where there is one, all in one commit. posted is the device for
// which a receipt was put into the mailbox, "" if none was.
func (db *DB) Settle(ctx context.Context, o sale.Outcome) (posted sale.DeviceID, err error) {
	size := 400
	if o.Answer != nil {
		size += len(o.Answer.Body)
	} else {
		size += len(o.Problem.Body)
	}
	err = db.changeWith(ctx, size, o.MayWait, func(t *tx) (err error) {
		switch {
		case o.Answer != nil:
			posted, err = t.confirm(&o)
		case o.Quarantine:
			posted, err = t.quarantine(&o)
		default:
			err = t.trouble(&o)
		}
		return err
	})
	if err != nil {
		err = fmt.Errorf("settle %s of sale %s: %w", o.Call.Step, o.Call.SaleID, err)
	}
	return posted, err
}

func (t *tx) confirm(o *sale.Outcome) (posted sale.DeviceID, err error) {
	c, at := &o.Call, millis(o.At)
	register := t.w.rows.registers[c.Register]
	begun, err := t.advance(o, register)
	if err != nil {
		return "", err
	}
	answer, err := t.insert(`INSERT INTO answer (event, step, at, attempts, status, adopted, request_id, body)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, c.Event, c.Step, at, c.Attempts, o.Answer.Status, o.Answer.Adopted,
		o.Answer.RequestID, nonNil(o.Answer.Body))
	if err != nil {
		return "", err
	}
	if c.Step == sale.StepStart && o.Answer.Operation != c.Operation {
		// The id in the answer wins for later paths: OPENFISKAL.md decision 2.
		if _, err := t.exec(`INSERT INTO sale (no, state, changed_at, operation) SELECT sale, 1, ?2, ?3 FROM event WHERE no = ?1
			ON CONFLICT (no) DO UPDATE SET operation = ?3`, c.Event, at, o.Answer.Operation); err != nil {
			return "", err
		}
	}
	if begun {
		return "", nil
	}
	if o.Then != nil {
		return "", t.begin(o.Then)
	}
	if !c.Step.Ends() {
		return "", nil
	}
	return t.end(o, answer)
}

// Where the cursor goes from a call that was confirmed, while the queue was not blocked:
// a row of the queue is changed once with each answer.
const (
	sameCall = ` WHERE register = ?1 AND head = (SELECT rseq FROM event WHERE no = ?2) AND step = ?3`
	settled  = `doubt_since = 0, next_attempt = 0, attempts = 0, blocked_since = 0, class = 0, problem = ''`
	advance  = `UPDATE queue SET step = step + 1, ` + settled + sameCall
	pass     = `UPDATE queue SET head = head + 1, done = head, step = 0, ` + settled + sameCall
	passEnd  = `UPDATE queue SET confirmed = confirmed + 1, waiting = waiting - 1, head = head + 1, done = head, step = 0, ` + settled + sameCall
	unhurt   = ` AND blocked_since = 0`
	goOn     = `UPDATE queue SET step = step + 1, doubt_since = ?4, next_attempt = ?5, attempts = 1, class = 0, problem = ''` + sameCall + unhurt + ` AND blocker = 0`
)

// advance moves the cursor past the call, and begins the next one of its event where that
// is at hand; begin does what is left of that.
func (t *tx) advance(o *sale.Outcome, register int64) (begun bool, err error) {
	c, n := &o.Call, int64(0)
	move, unless := advance, advance+unhurt
	switch {
	case c.Last && c.Step.Ends():
		move, unless = passEnd, passEnd+unhurt
	case c.Last:
		move, unless = pass, pass+unhurt
	}
	if a := o.Then; a != nil && a.Call.Event == c.Event && a.Call.Index == c.Index+1 && a.Call.Attempts == 0 {
		n, err = t.exec(goOn, register, c.Event, c.Index, begunAt(a), millis(a.Next))
		begun = n == 1
	} else {
		n, err = t.exec(unless, register, c.Event, c.Index)
	}
	if err != nil || n == 1 {
		return begun, err
	}
	blocked, err := t.value(`SELECT blocked_since FROM queue WHERE register = ?`, register)
	if err != nil {
		return false, err
	}
	if err := t.atHead(c, register, move, register, c.Event, c.Index); err != nil || blocked == int64(0) {
		return false, err
	}
	return false, t.audit(millis(o.At), "edgegw", "queue goes on", string(c.Register), "")
}

// atHead runs an update of the queue's row that holds only while the call is at
// its head. Where it was not begun in this place, because it came back from
// quarantine and was looked up first, the cursor is brought to it.
func (t *tx) atHead(c *sale.Call, register int64, update string, args ...any) error {
	n, err := t.exec(update, args...)
	if err != nil || n == 1 {
		return err
	}
	n, err = t.exec(`UPDATE queue SET head = (SELECT rseq FROM event WHERE no = ?1), step = ?2 WHERE register = ?3 AND blocker = 0 AND attempts = 0 AND step IN (0, ?2)
		AND head <= (SELECT rseq FROM event WHERE no = ?1) AND EXISTS (SELECT 1 FROM held WHERE event = ?1 AND out = 0)`, c.Event, c.Index, register)
	if err == nil && n == 1 {
		n, err = t.exec(update, args...)
	}
	if err == nil && n != 1 {
		err = fmt.Errorf("event %d is not at the head of the queue: %w", c.Event, sale.ErrNone)
	}
	return err
}

// end settles the sale, which advance has counted, and posts its receipt.
func (t *tx) end(o *sale.Outcome, answer int64) (posted sale.DeviceID, err error) {
	var no, device, accepted int64
	err = t.query(`SELECT e.sale, o.device, d.device_id, e.at FROM event e JOIN event o ON o.no = e.sale JOIN device d ON d.no = o.device
		WHERE e.no = ?`, func(row []driver.Value) error {
		no, device, posted, accepted = row[0].(int64), row[1].(int64), sale.DeviceID(row[2].(string)), row[3].(int64)
		return nil
	}, o.Call.Event)
	if err != nil {
		return "", err
	}
	at := millis(o.At)
	if _, err := t.exec(`INSERT INTO sale (no, state, changed_at, fiscal_state, document, answer) VALUES (?1, 2, ?2, ?3, ?4, ?5)
		ON CONFLICT (no) DO UPDATE SET state = 2, changed_at = ?2, fiscal_state = ?3, document = ?4, answer = ?5`,
		no, at, o.Answer.FiscalState, o.Answer.DocumentNumber, answer); err != nil {
		return "", err
	}
	delayed := o.At.Sub(instant(accepted)) > sale.DelayedAfter
	_, err = t.exec(`INSERT INTO mailbox (device, sale, answer, at, delayed) VALUES (?, ?, ?, ?, ?)`, device, no, answer, at, delayed)
	return posted, err
}

// trouble records why an attempt confirmed nothing.
func (t *tx) trouble(o *sale.Outcome) error {
	c, p, at := &o.Call, o.Problem, millis(o.At)
	register := t.w.rows.registers[c.Register]
	doubt, blocked := int64(0), int64(0)
	if o.InDoubt {
		if doubt = millis(c.InDoubtSince); doubt == 0 {
			doubt = at
		}
	}
	if o.Blocked {
		blocked = at
	}
	was, err := t.value(`SELECT blocked_since FROM queue WHERE register = ?`, register)
	if err != nil {
		return err
	}
	err = t.atHead(c, register, `UPDATE queue SET doubt_since = ?1, next_attempt = ?2, class = ?3, problem = ?4,
		blocked_since = CASE WHEN ?5 = 0 THEN 0 WHEN blocked_since > 0 THEN blocked_since ELSE ?5 END
		WHERE register = ?6 AND head = (SELECT rseq FROM event WHERE no = ?7) AND step = ?8`,
		doubt, millis(o.Next), p.Class, p.Error(), blocked, register, c.Event, c.Index)
	if err != nil {
		return err
	}
	if o.Blocked && was == int64(0) {
		if err := t.audit(at, "edgegw", "queue blocked", string(c.Register), p.Error()); err != nil {
			return err
		}
	}
	return t.attempt(c, p, at)
}

// attempt keeps what an attempt met. The same trouble again adds to the row:
// three months without uplink must not fill the disk with attempts.
func (t *tx) attempt(c *sale.Call, p *sale.Problem, at int64) error {
	n, err := t.exec(`UPDATE attempt SET times = times + 1, last_at = ?1
		WHERE no = (SELECT no FROM attempt WHERE event = ?2 AND step = ?3 AND class = ?4 AND status = ?5 AND code = ?6 LIMIT 1)`,
		at, c.Event, c.Step, p.Class, p.Status, p.Code)
	if err != nil || n == 1 {
		return err
	}
	_, err = t.exec(`INSERT INTO attempt (event, step, at, last_at, times, class, status, request_id, code, detail, body)
		VALUES (?1, ?2, ?3, ?3, 1, ?4, ?5, ?6, ?7, ?8, ?9)`,
		c.Event, c.Step, at, p.Class, p.Status, p.RequestID, p.Code, p.Detail, nonNil(p.Body))
	return err
}

// WithWork gives the registers whose queue is not empty.
func (db *DB) WithWork(ctx context.Context) (ids []sale.RegisterID, err error) {
	err = db.query(ctx, `SELECT r.register_id FROM queue q JOIN register r ON r.no = q.register WHERE q.head <= q.tail`,
		func(scan func(...any) error) error {
			var id sale.RegisterID
			ids = append(ids, id)
			return scan(&ids[len(ids)-1])
		})
	return ids, err
}

// Foreign gives the operations, as far as they are known, of other sales of the
// call's register that have the same external id: two devices of one register
// may count alike, and a look-up must not take the one for the other.
func (db *DB) Foreign(ctx context.Context, c sale.Call) (map[string]bool, error) {
	m := map[string]bool{}
	err := db.query(ctx, `SELECT o.operation, coalesce(s.operation, o.operation)
		  FROM device d
		  JOIN event o ON o.device = d.no AND o.ref = ?1
		  JOIN register r ON r.no = o.register AND r.register_id = ?2
		  LEFT JOIN sale s ON s.no = o.no
		 WHERE o.no <> (SELECT sale FROM event WHERE no = ?3)`,
		func(scan func(...any) error) error {
			var made, adopted string
			err := scan(&made, &adopted)
			m[made], m[adopted] = true, true
			return err
		}, c.SaleID, string(c.Register), c.Event)
	return m, err
}

// Pending gives ended sales whose fiscal state is pending, the oldest first.
func (db *DB) Pending(ctx context.Context, most int) (list []sale.Pending, err error) {
	err = db.query(ctx, `SELECT s.no, r.register_id, o.ref, coalesce(s.operation, o.operation)
		  FROM sale s JOIN event o ON o.no = s.no JOIN register r ON r.no = o.register
		 WHERE s.fiscal_state = 'pending' ORDER BY s.no LIMIT ?`,
		func(scan func(...any) error) error {
			var p sale.Pending
			err := scan(&p.No, &p.Register, &p.SaleID, &p.Operation)
			list = append(list, p)
			return err
		}, most)
	return list, err
}

// SettleFiscal records what became of a pending fiscal state: the answer
// verbatim, and the receipt into the mailbox once more. Done before, it changes
// nothing, and posted is "".
func (db *DB) SettleFiscal(ctx context.Context, p sale.Pending, a sale.Answer, at time.Time) (posted sale.DeviceID, err error) {
	err = db.changeOf(ctx, 400+len(a.Body), func(t *tx) error {
		posted = ""
		n, err := t.exec(`UPDATE sale SET fiscal_state = ?2, document = ?3, changed_at = ?4 WHERE no = ?1 AND fiscal_state = 'pending'`,
			p.No, a.FiscalState, a.DocumentNumber, millis(at))
		if err != nil || n == 0 {
			return err
		}
		answer, err := t.insert(`INSERT INTO answer (event, step, at, attempts, status, adopted, request_id, body)
			SELECT event, step, ?2, 0, ?3, 1, ?4, ?5 FROM answer WHERE no = (SELECT answer FROM sale WHERE no = ?1)`,
			p.No, millis(at), a.Status, a.RequestID, nonNil(a.Body))
		if err != nil {
			return err
		}
		if _, err := t.exec(`UPDATE sale SET answer = ?2 WHERE no = ?1`, p.No, answer); err != nil {
			return err
		}
		if _, err := t.exec(`INSERT INTO mailbox (device, sale, answer, at, delayed) SELECT o.device, o.no, ?2, ?3, ?3 - e.at > ?4
			FROM event o JOIN answer a ON a.no = ?2 JOIN event e ON e.no = a.event WHERE o.no = ?1`,
			p.No, answer, millis(at), sale.DelayedAfter.Milliseconds()); err != nil {
			return err
		}
		v, err := t.value(`SELECT d.device_id FROM event o JOIN device d ON d.no = o.device WHERE o.no = ?`, p.No)
		if id, ok := v.(string); ok {
			posted = sale.DeviceID(id)
		}
		return err
	})
	if err != nil {
		err = fmt.Errorf("settle the fiscal state of sale %s: %w", p.SaleID, err)
	}
	return posted, err
}
