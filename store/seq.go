package store

import (
	"context"
	"database/sql/driver"
	"slices"
	"time"

	"edgegw/sale"
)

// counted notes the event counter of an event that was stored for the first
// time. It is written with the batch.
func (w *writer) counted(e *sale.Entry, d deviceRow) {
	if e.Event.HasSeq {
		w.seen = append(w.seen, seen{device: d.no, register: d.register, seq: e.Event.Seq, at: millis(e.At), again: e.Again})
	}
}

// count brings the devices' sequences up to date with the batch's counters. It comes
// before flush writes the rows of the queues.
func (w *writer) count(t *tx) error {
	if len(w.seen) == 0 {
		return nil
	}
	changed := map[int64]int64{}      // devices, and their registers
	before := map[int64][]sale.Span{} // gaps that are stored
	at := int64(0)
	for _, s := range w.seen {
		q := w.rows.sequences[s.device]
		if q == nil {
			q = &sale.Sequence{}
			w.rows.sequences[s.device] = q
		}
		if _, noted := before[s.device]; !noted {
			before[s.device] = slices.Clone(q.Missing)
		}
		note := q.Note
		if s.again {
			note = q.Late
		}
		if note(s.seq) {
			changed[s.device] = s.register
		}
		at = s.at
	}
	for device, register := range changed {
		q := w.rows.sequences[device]
		if err := w.keepSeq(t, device, register, q.Last, changed); err != nil {
			return err
		}
		if err := t.keepGaps(device, before[device], q.Missing, at); err != nil {
			return err
		}
	}
	w.seen = w.seen[:0]
	return nil
}

// keepSeq writes the highest counter of a device: into the row of its register's queue
// where the batch writes that anyway and no other device of the batch has it, which flush
// then does; into its own row otherwise.
func (w *writer) keepSeq(t *tx, device, register, last int64, changed map[int64]int64) error {
	c := &w.rows
	there, placed := c.places[device]
	holder := c.counters[register].device
	_, taken := changed[holder]
	switch {
	case placed && (there == register || w.dirty[register] == nil || taken):
		c.counters[there] = counter{device, last}
		if w.dirty[there] != nil {
			return nil
		}
		_, err := t.exec(`UPDATE queue SET seq = ? WHERE register = ?`, last, there)
		return err
	case w.dirty[register] == nil || taken:
		_, err := t.exec(`UPDATE device SET last_seq = ? WHERE no = ?`, last, device)
		return err
	}
	return w.takePlace(t, device, register, last)
}

// takePlace puts a device's counter into the row of its register's queue, and takes it
// and the one that was there to where they belong now.
func (w *writer) takePlace(t *tx, device, register, last int64) error {
	c := &w.rows
	if was := c.counters[register]; was.device != 0 {
		if _, err := t.exec(`UPDATE device SET last_seq = ? WHERE no = ?`, was.seq, was.device); err != nil {
			return err
		}
		delete(c.places, was.device)
	}
	if there, placed := c.places[device]; placed { // it has been given another register
		if _, err := t.exec(`UPDATE queue SET seq_device = 0, seq = 0 WHERE register = ?`, there); err != nil {
			return err
		}
		delete(c.counters, there)
	} else if _, err := t.exec(`UPDATE device SET last_seq = NULL WHERE no = ? AND last_seq IS NOT NULL`, device); err != nil {
		return err
	}
	c.counters[register], c.places[device] = counter{device, last}, register
	return nil
}

// keepGaps stores what the batch has changed of a device's gaps. What is left of one
// that was there keeps its time.
func (t *tx) keepGaps(device int64, before, after []sale.Span, at int64) error {
	if slices.Equal(before, after) { // as nearly always
		return nil
	}
	for _, m := range after {
		if slices.Contains(before, m) {
			continue
		}
		if _, err := t.exec(`INSERT INTO seq_gap (device, first, last, at) VALUES (?1, ?2, ?3,
			coalesce((SELECT max(at) FROM seq_gap WHERE device = ?1 AND first <= ?2 AND last >= ?3), ?4)) ON CONFLICT DO NOTHING`,
			device, m.First, m.Last, at); err != nil {
			return err
		}
	}
	for _, m := range before {
		if slices.Contains(after, m) {
			continue
		}
		if _, err := t.exec(`DELETE FROM seq_gap WHERE device = ? AND first = ? AND last = ?`, device, m.First, m.Last); err != nil {
			return err
		}
	}
	return nil
}

func (c *cache) readSequences(t *tx) error {
	err := t.query(`SELECT no, last_seq FROM device WHERE last_seq IS NOT NULL`, func(row []driver.Value) error {
		c.sequences[row[0].(int64)] = &sale.Sequence{Last: row[1].(int64), Known: true}
		return nil
	})
	if err != nil {
		return err
	}
	// A gateway of before counts in the device's row only: where both have a counter,
	// it ran since, and that of the queue is the old one.
	if _, err := t.exec(`UPDATE queue SET seq_device = 0, seq = 0 WHERE seq_device IN (SELECT no FROM device WHERE last_seq IS NOT NULL)`); err != nil {
		return err
	}
	err = t.query(`SELECT register, seq_device, seq FROM queue WHERE seq_device <> 0`, func(row []driver.Value) error {
		register, here := row[0].(int64), counter{row[1].(int64), row[2].(int64)}
		c.sequences[here.device] = &sale.Sequence{Last: here.seq, Known: true}
		c.counters[register], c.places[here.device] = here, register
		return nil
	})
	if err != nil {
		return err
	}
	return t.query(`SELECT device, first, last FROM seq_gap ORDER BY device, first`, func(row []driver.Value) error {
		if q := c.sequences[row[0].(int64)]; q != nil {
			q.Missing = append(q.Missing, sale.Span{First: row[1].(int64), Last: row[2].(int64)})
		}
		return nil
	})
}

// Gap is a run of event counters of a device that never came.
type Gap struct {
	Device      sale.DeviceID
	First, Last int64
	At          time.Time // noticed
}

// Gaps gives all of them, of devices that are at the site.
func (db *DB) Gaps(ctx context.Context) (gaps []Gap, err error) {
	err = db.query(ctx, `SELECT d.device_id, g.first, g.last, g.at FROM seq_gap g JOIN device d ON d.no = g.device
		WHERE d.removed = 0 ORDER BY d.device_id, g.first`, func(scan func(...any) error) error {
		var g Gap
		var at int64
		err := scan(&g.Device, &g.First, &g.Last, &at)
		g.At = instant(at)
		gaps = append(gaps, g)
		return err
	})
	return gaps, err
}

// ForgetGaps takes the gaps of a device off, as a person decides who has looked
// into them.
func (db *DB) ForgetGaps(ctx context.Context, d sale.DeviceID, at time.Time, by string) error {
	return db.change(ctx, func(t *tx) error {
		row, ok := t.w.rows.devices[d]
		if !ok {
			return ErrUnknownDevice
		}
		if _, err := t.exec(`DELETE FROM seq_gap WHERE device = ?`, row.no); err != nil {
			return err
		}
		if err := t.audit(millis(at), by, "event gaps forgotten", string(d), ""); err != nil {
			return err
		}
		if q := t.w.rows.sequences[row.no]; q != nil {
			q.Missing = nil
		}
		return nil
	})
}
