package store

import (
	"database/sql/driver"

	"edgegw/audit"
	"edgegw/sale"
)

// cache is what the writer knows without asking the file: small things that
// every event needs. It is read again whenever a transaction is undone.
type cache struct {
	devices   map[sale.DeviceID]deviceRow
	registers map[sale.RegisterID]int64
	names     map[int64]sale.RegisterID
	tails     map[int64]int64          // the last rseq given, by register
	sequences map[int64]*sale.Sequence // by device
	counters  map[int64]counter        // in the rows of queues, by register
	places    map[int64]int64          // the register in whose queue's row a device's counter is
	item      int64                    // number of the next quarantine item
	trail     audit.Point              // the end of the audit trail
}

type deviceRow struct{ no, register int64 }

// tally is what a batch adds to a register's queue row, written once at its end.
type tally struct{ accepted int64 }

// seen notes an event counter; see sale.Sequence.
type seen struct {
	device, register, seq, at int64
	again                     bool // its event came before
}

// counter is the highest event counter of a device.
type counter struct{ device, seq int64 }

func (c *cache) load(t *tx, next *int64) error {
	fresh := cache{}
	if err := fresh.read(t, next); err != nil {
		return err
	}
	*c = fresh
	return nil
}

func (c *cache) read(t *tx, next *int64) error {
	*c = cache{devices: map[sale.DeviceID]deviceRow{}, registers: map[sale.RegisterID]int64{},
		names: map[int64]sale.RegisterID{}, tails: map[int64]int64{}, sequences: map[int64]*sale.Sequence{},
		counters: map[int64]counter{}, places: map[int64]int64{}}
	err := t.query(`SELECT device_id, no, register FROM device`, func(row []driver.Value) error {
		c.devices[sale.DeviceID(row[0].(string))] = deviceRow{row[1].(int64), row[2].(int64)}
		return nil
	})
	if err != nil {
		return err
	}
	err = t.query(`SELECT r.register_id, r.no, coalesce(q.tail, 0) FROM register r LEFT JOIN queue q ON q.register = r.no`,
		func(row []driver.Value) error {
			id, no := sale.RegisterID(row[0].(string)), row[1].(int64)
			c.registers[id], c.names[no], c.tails[no] = no, id, row[2].(int64)
			return nil
		})
	if err != nil {
		return err
	}
	if err := c.readSequences(t); err != nil {
		return err
	}
	if err := c.readTrail(t); err != nil {
		return err
	}
	v, err := t.value(`SELECT coalesce(max(no), 0) + 1 FROM event`)
	if err != nil {
		return err
	}
	*next = v.(int64)
	v, err = t.value(`SELECT max((SELECT coalesce(max(no), 0) FROM refused), (SELECT coalesce(max(no), 0) FROM quarantine)) + 1`)
	if err == nil {
		c.item = v.(int64)
	}
	return err
}

// flush writes the batch's tallies.
func (w *writer) flush(t *tx) error {
	if err := w.count(t); err != nil { // into the same rows, where it can be
		return err
	}
	for register, d := range w.dirty {
		c := w.rows.counters[register]
		if _, err := t.exec(`UPDATE queue SET tail = ?1, accepted = accepted + ?2, waiting = waiting + ?2, seq_device = ?4, seq = ?5 WHERE register = ?3`,
			w.rows.tails[register], d.accepted, register, c.device, c.seq); err != nil {
			return err
		}
		delete(w.dirty, register)
	}
	return nil
}

// queued notes that register's queue has grown to rseq, by a new sale or not.
func (w *writer) queued(register, rseq int64, newSale bool) {
	w.rows.tails[register] = rseq
	d := w.dirty[register]
	if d == nil {
		d = &tally{}
		w.dirty[register] = d
	}
	if newSale {
		d.accepted++
	}
}
