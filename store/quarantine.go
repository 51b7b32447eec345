package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"edgegw/sale"
)

// ErrDecided is given for an item that was decided before, or that another
// decision has just taken.
var ErrDecided = errors.New("this has been decided already")

// quarantine records that a call cannot be confirmed without a person: the sale
// leaves the queue with all its events, its device is told, and the queue goes
// on behind it or, with o.Blocked, waits for the decision.
func (t *tx) quarantine(o *sale.Outcome) (posted sale.DeviceID, err error) {
	c, p, at := &o.Call, o.Problem, millis(o.At)
	register := t.w.rows.registers[c.Register]
	blocked := int64(0)
	if o.Blocked {
		blocked = at
	}
	item := t.w.rows.item
	var no, device, accepted, place int64
	err = t.query(`SELECT e.sale, o.device, d.device_id, e.at, e.rseq FROM event e JOIN event o ON o.no = e.sale JOIN device d ON d.no = o.device
		WHERE e.no = ?`, func(row []driver.Value) error {
		no, device, posted, accepted, place = row[0].(int64), row[1].(int64), sale.DeviceID(row[2].(string)), row[3].(int64), row[4].(int64)
		return nil
	}, c.Event)
	if err != nil {
		return "", err
	}
	next := place + 1
	if o.Blocked {
		next = place // so that a retry finds its place, and nothing has gone past it
	}
	err = t.atHead(c, register, `UPDATE queue SET head = ?1, step = 0, attempts = 0, doubt_since = 0, next_attempt = 0, waiting = waiting - 1,
		quarantined = quarantined + 1, blocked_since = ?2, blocker = ?3, class = ?4, problem = ?5
		WHERE register = ?6 AND head = (SELECT rseq FROM event WHERE no = ?7) AND step = ?8`,
		next, blocked, when(o.Blocked, item), when(o.Blocked, int64(p.Class)), text(o.Blocked, p.Error()), register, c.Event, c.Index)
	if err != nil {
		return "", err
	}
	if err := t.takeOut(o, no, place); err != nil {
		return "", err
	}
	if err := t.attempt(c, p, at); err != nil {
		return "", err
	}
	if err := t.newItem(o, item, no, register); err != nil {
		return "", err
	}
	delayed := o.At.Sub(instant(accepted)) > sale.DelayedAfter
	if _, err := t.exec(`INSERT INTO mailbox (device, sale, answer, at, delayed, item) VALUES (?, ?, 0, ?, ?, ?)`, device, no, at, delayed, item); err != nil {
		return "", err
	}
	t.w.rows.item++
	return posted, nil
}

func when(yes bool, n int64) int64 {
	if yes {
		return n
	}
	return 0
}

func text(yes bool, s string) string {
	if yes {
		return s
	}
	return ""
}

// newItem writes the row of an item, the sale's state and the audit trail.
func (t *tx) newItem(o *sale.Outcome, item, no, register int64) error {
	c, p, at := &o.Call, o.Problem, millis(o.At)
	if _, err := t.exec(`INSERT INTO quarantine (no, sale, register, event, step, place, at, open, blocking, in_doubt, class, status, request_id, code, detail, param, body)
		VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, item, no, register, c.Event, c.Step, c.Index, at, o.Blocked, o.InDoubt,
		p.Class, p.Status, p.RequestID, p.Code, p.Detail, p.Param, nonNil(p.Body)); err != nil {
		return err
	}
	if err := t.setState(no, sale.Quarantine, at); err != nil {
		return err
	}
	return t.audit(at, "edgegw", "sale quarantined", c.SaleID, fmt.Sprintf("item %d, register %s: %s", item, c.Register, p.Error()))
}

func (t *tx) setState(no int64, s sale.State, at int64) error {
	_, err := t.exec(`INSERT INTO sale (no, state, changed_at) VALUES (?1, ?2, ?3) ON CONFLICT (no) DO UPDATE SET state = ?2, changed_at = ?3`, no, s, at)
	return err
}

// takeOut takes the events of a sale out of the queue, from place on: the
// refused one, its newest update and its end. An older update has been sent or
// superseded.
func (t *tx) takeOut(o *sale.Outcome, no, place int64) error {
	c := &o.Call
	doubt := int64(0)
	if o.InDoubt {
		if doubt = millis(c.InDoubtSince); doubt == 0 {
			doubt = millis(o.At)
		}
	}
	if _, err := t.exec(`INSERT OR REPLACE INTO held (event, sale, out, rseq, step, attempts, doubt_since)
		SELECT e.no, ?2, 1, e.rseq, CASE e.no WHEN ?1 THEN ?4 ELSE 0 END, CASE e.no WHEN ?1 THEN ?5 ELSE 0 END, CASE e.no WHEN ?1 THEN ?6 ELSE 0 END
		  FROM event e WHERE e.rseq >= ?3 AND e.no IN (?1, ?2, (SELECT last_update FROM sale WHERE no = ?2),
		       (SELECT no FROM event WHERE sale = ?2 AND kind IN (3, 4) AND ref IS NULL))`,
		c.Event, no, place, c.Index, c.Attempts, doubt); err != nil {
		return err
	}
	_, err := t.exec(`UPDATE event SET rseq = NULL WHERE no IN (SELECT event FROM held WHERE sale = ? AND out = 1)`, no)
	return err
}

// follow stores a later event of a sale in quarantine with it. Where the queue
// waits for that sale, the event keeps its place in it. One that brings money for
// a sale that a person has closed calls for a person again.
func (t *tx) follow(e *sale.Entry, known record, fate sale.Fate, place int64) (kept bool, err error) {
	at, doubt := millis(e.At), int64(0)
	if fate == sale.Reopen {
		doubt = at // a person may have entered it: it is looked up before it is sent
	}
	waits, err := t.value(`SELECT 1 FROM queue q JOIN quarantine i ON i.no = q.blocker WHERE q.register = ? AND i.sale = ?`, known.Register, known.No)
	if err != nil {
		return false, err
	}
	var own driver.Value
	if kept = waits != nil; kept {
		own = place
	}
	if _, err := t.exec(`INSERT INTO held (event, sale, out, rseq, step, attempts, doubt_since) VALUES (?, ?, 1, ?, 0, 0, ?)`, t.w.next, known.No, own, doubt); err != nil {
		return false, err
	}
	if fate == sale.Reopen {
		err = t.reopen(e, known)
	}
	return kept, err
}

// reopen brings a closed sale before a person again.
func (t *tx) reopen(e *sale.Entry, known record) error {
	if _, err := t.exec(`UPDATE queue SET resolved = resolved - 1, quarantined = quarantined + 1 WHERE register = ?`, known.Register); err != nil {
		return err
	}
	o := sale.Outcome{At: e.At, InDoubt: true, Call: sale.Call{Event: t.w.next, SaleID: e.Event.SaleID, Register: t.w.rows.names[known.Register], Step: sale.StepUpdate},
		Problem: &sale.Problem{Class: sale.Poison, Code: "event_after_decision", Detail: "the device reported the end of this sale, with payments, after a person had closed it"}}
	if err := t.newItem(&o, t.w.rows.item, known.No, known.Register); err != nil {
		return err
	}
	t.w.rows.item++
	return nil
}

// openItem is an undecided item of a sale.
type openItem struct {
	no, sale, register, event int64
	blocking                  bool
}

func (t *tx) openItem(no int64) (i openItem, err error) {
	err = t.query(`SELECT no, sale, register, event, blocking FROM quarantine WHERE no = ? AND open = 1`, func(row []driver.Value) error {
		i = openItem{row[0].(int64), row[1].(int64), row[2].(int64), row[3].(int64), row[4].(int64) != 0}
		return nil
	}, no)
	if err == nil && i.no == 0 {
		err = ErrDecided
	}
	return i, err
}

// close records a decision and lets go of the queue that waited for it.
func (t *tx) close(i openItem, v *sale.Ruling) error {
	if _, err := t.exec(`UPDATE quarantine SET open = 0 WHERE no = ?`, i.no); err != nil {
		return err
	}
	if _, err := t.exec(`UPDATE queue SET blocker = 0, blocked_since = 0, class = 0, problem = '' WHERE register = ? AND blocker = ?`, i.register, i.no); err != nil {
		return err
	}
	return t.decided(v)
}

func (t *tx) decided(v *sale.Ruling) error {
	if _, err := t.exec(`INSERT INTO decision (item, at, decision, who, reason, operation) VALUES (?, ?, ?, ?, ?, ?)`,
		v.Item, millis(v.At), string(v.Decision), v.By, v.Reason, v.Operation); err != nil {
		return err
	}
	detail := v.Reason
	if v.Operation != "" {
		detail += " (operation " + v.Operation + ")"
	}
	return t.audit(millis(v.At), v.By, "quarantine "+string(v.Decision), fmt.Sprintf("item %d", v.Item), detail)
}

// Decide carries out a person's decision about a sale in quarantine, in one
// commit: all of it or nothing. register is whose queue has work or is free
// again, posted whose mailbox has got a receipt; both may be "". ErrDecided if
// it was decided before.
func (db *DB) Decide(ctx context.Context, v sale.Ruling) (register sale.RegisterID, posted sale.DeviceID, err error) {
	size := 400
	if v.Answer != nil {
		size += len(v.Answer.Body)
	}
	err = db.changeOf(ctx, size, func(t *tx) error {
		posted = ""
		i, err := t.openItem(v.Item)
		if err != nil {
			return err
		}
		register = t.w.rows.names[i.register]
		if v.Decision == sale.DecisionRetry {
			return t.retry(i, &v)
		}
		posted, err = t.closeSale(i, &v)
		return err
	})
	if err != nil {
		err = fmt.Errorf("decide item %d: %w", v.Item, err)
	}
	return register, posted, err
}

// retry puts the sale's events back: into their old places where the queue
// waited for it, else at the tail, because calls behind them have gone out.
func (t *tx) retry(i openItem, v *sale.Ruling) error {
	at := millis(v.At)
	inPlace, err := t.value(`SELECT 1 FROM queue WHERE register = ? AND blocker = ?`, i.register, i.no)
	if err != nil {
		return err
	}
	// A person takes the age of a doubt upon himself: it is looked up once more,
	// and where that is not possible its window begins anew.
	if _, err := t.exec(`UPDATE held SET doubt_since = ?2 WHERE sale = ?1 AND out = 1 AND doubt_since > 0`, i.sale, at); err != nil {
		return err
	}
	if err := t.putBack(i, inPlace != nil); err != nil {
		return err
	}
	return t.close(i, v)
}

// backRow is an event on its way back.
type backRow struct {
	event int64
	kind  sale.Kind
	place driver.Value
}

func (t *tx) putBack(i openItem, inPlace bool) error {
	w := t.w
	var rows []backRow
	var kinds []sale.Kind
	err := t.query(`SELECT h.event, e.kind, h.rseq FROM held h JOIN event e ON e.no = h.event WHERE h.sale = ? AND h.out = 1 ORDER BY h.event`,
		func(row []driver.Value) error {
			rows = append(rows, backRow{row[0].(int64), sale.Kind(row[1].(int64)), row[2]})
			kinds = append(kinds, sale.Kind(row[1].(int64)))
			return nil
		}, i.sale)
	if err != nil {
		return err
	}
	tail := w.rows.tails[i.register]
	for n, sent := range sale.Back(kinds) {
		b := rows[n]
		if !sent {
			if _, err := t.exec(`UPDATE event SET flags = flags | ? WHERE no = ?`, int64(flagSuperseded), b.event); err != nil {
				return err
			}
			continue
		}
		place := b.place
		if place == nil || !inPlace {
			tail++
			place = tail
		}
		if _, err := t.exec(`UPDATE event SET rseq = ? WHERE no = ?`, place, b.event); err != nil {
			return err
		}
	}
	if _, err := t.exec(`UPDATE held SET out = 0 WHERE sale = ? AND out = 1`, i.sale); err != nil {
		return err
	}
	if _, err := t.exec(`UPDATE sale SET state = 1 WHERE no = ?`, i.sale); err != nil {
		return err
	}
	if _, err := t.exec(`UPDATE queue SET quarantined = quarantined - 1, waiting = waiting + 1, tail = ? WHERE register = ?`, tail, i.register); err != nil {
		return err
	}
	if tail != w.rows.tails[i.register] {
		w.queued(i.register, tail, false)
	}
	return nil
}

// closeSale records that a person has settled a sale, by an operation that is
// there already or by giving it up.
func (t *tx) closeSale(i openItem, v *sale.Ruling) (posted sale.DeviceID, err error) {
	at := millis(v.At)
	if err := t.setState(i.sale, sale.ByPerson, at); err != nil {
		return "", err
	}
	if _, err := t.exec(`UPDATE queue SET quarantined = quarantined - 1, resolved = resolved + 1 WHERE register = ?`, i.register); err != nil {
		return "", err
	}
	if v.Operation != "" {
		if _, err := t.exec(`UPDATE sale SET operation = ? WHERE no = ?`, v.Operation, i.sale); err != nil {
			return "", err
		}
		// Another operation stands for these events: sent after all, should the
		// sale ever come back, they would make a second one.
		if _, err := t.exec(`UPDATE held SET out = 2 WHERE sale = ? AND out = 1`, i.sale); err != nil {
			return "", err
		}
	}
	if v.Answer != nil {
		if posted, err = t.adopt(i, v); err != nil {
			return "", err
		}
	}
	return posted, t.close(i, v)
}

// adopt keeps the answer that a person's operation has, and sends its receipt.
func (t *tx) adopt(i openItem, v *sale.Ruling) (posted sale.DeviceID, err error) {
	a, at := v.Answer, millis(v.At)
	step := sale.StepComplete
	if a.State == sale.StateCancelled {
		step = sale.StepCancel
	}
	answer, err := t.insert(`INSERT INTO answer (event, step, at, attempts, status, adopted, request_id, body) VALUES (?, ?, ?, 0, ?, 1, ?, ?)`,
		i.event, step, at, a.Status, a.RequestID, nonNil(a.Body))
	if err != nil {
		return "", err
	}
	if _, err := t.exec(`UPDATE sale SET fiscal_state = ?, document = ?, answer = ? WHERE no = ?`, a.FiscalState, a.DocumentNumber, answer, i.sale); err != nil {
		return "", err
	}
	device, err := t.value(`SELECT device FROM event WHERE no = ?`, i.sale)
	if err != nil {
		return "", err
	}
	if _, err := t.exec(`INSERT INTO mailbox (device, sale, answer, at, delayed) VALUES (?, ?, ?, ?, 1)`, device, i.sale, answer, at); err != nil {
		return "", err
	}
	v2, err := t.value(`SELECT device_id FROM device WHERE no = ?`, device)
	id, _ := v2.(string)
	return sale.DeviceID(id), err
}

// Reinstate takes back what the gateway itself has quarantined since, on a
// register whose refusals turn out to be an outage of signing: a 422 of several
// registers at once is never poison (CONTRACT.md section 3). Sales return to
// their own places, before all that waits, unless something behind them has
// been confirmed. It gives how many came back.
func (db *DB) Reinstate(ctx context.Context, r sale.RegisterID, since, at time.Time, reason string) (n int, err error) {
	err = db.change(ctx, func(t *tx) error {
		n = 0
		register, ok := t.w.rows.registers[r]
		if !ok {
			return nil
		}
		items, least, err := t.refusedSince(register, since)
		if err != nil || len(items) == 0 {
			return err
		}
		inPlace, err := t.moveBack(register, least, items)
		if err != nil {
			return err
		}
		for _, i := range items {
			if err := t.putBack(i, inPlace); err != nil {
				return err
			}
			if err := t.close(i, &sale.Ruling{Item: i.no, Decision: sale.DecisionRetry, By: "edgegw", Reason: reason, At: at}); err != nil {
				return err
			}
		}
		n = len(items)
		return nil
	})
	if err != nil {
		err = fmt.Errorf("take back what was quarantined on %s: %w", r, err)
	}
	return n, err
}

// refusedSince gives a register's open items that OpenFiskal's 422 has made
// since then, and the first place that their events had.
func (t *tx) refusedSince(register int64, since time.Time) (items []openItem, least int64, err error) {
	err = t.query(`SELECT q.no, q.sale, q.register, q.event, q.blocking, coalesce((SELECT min(h.rseq) FROM held h WHERE h.sale = q.sale AND h.out = 1), 0)
		  FROM quarantine q WHERE q.register = ? AND q.open = 1 AND q.status = 422 AND q.at >= ? ORDER BY q.no`,
		func(row []driver.Value) error {
			items = append(items, openItem{row[0].(int64), row[1].(int64), row[2].(int64), row[3].(int64), row[4].(int64) != 0})
			if p := row[5].(int64); p > 0 && (least == 0 || p < least) {
				least = p
			}
			return nil
		}, register, millis(since))
	return items, least, err
}

// moveBack brings the cursor to an earlier place, if nothing from there on has
// been confirmed and what stands at the head now is not in doubt.
func (t *tx) moveBack(register, place int64, items []openItem) (bool, error) {
	if place == 0 {
		return false, nil
	}
	blocker := int64(0)
	for _, i := range items {
		if i.blocking {
			blocker = i.no
		}
	}
	n, err := t.exec(`UPDATE queue SET head = ?1, attempts = 0, next_attempt = 0 WHERE register = ?2 AND done < ?1 AND head >= ?1 AND step = 0
		AND doubt_since = 0 AND blocker IN (0, ?3)`, place, register, blocker)
	return n == 1, err
}
