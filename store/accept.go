package store

import (
	"context"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"

	"edgegw/sale"
)

// ErrUnknownDevice is given for an event of a device that is not (any more)
// among the site's devices.
var ErrUnknownDevice = errors.New("this device is unknown")

// Flags of an event row.
const (
	flagUnsafe       = 1 // came with QoS 0
	flagStartMissing = 2
	flagSuperseded   = 4 // a newer update stands for it; it is not sent

	// How far the time of acceptance can be believed; none of them: not recorded.
	flagSynchronised = 8
	flagInformative  = 16
	flagUnknownTime  = 32
)

// Append puts an event and the calls it owes into the journal: all or nothing.
// done is called once, from the writer's goroutine, so it must be quick: with
// nil after the commit is synced, or with what prevented it.
func (db *DB) Append(ctx context.Context, e sale.Entry, done func(sale.Accepted, error)) {
	var a sale.Accepted
	j := job{
		bytes: len(e.Raw) + len(e.Opening) + len(e.Calls) + 200,
		do:    func(t *tx) (err error) { a, err = t.append(&e); return err },
		after: func(err error) { done(a, err) },
	}
	if e.Event.CanOpen() || e.Event.Kind.Opens() {
		// Nearly every such event opens a sale, so that is tried first: one
		// statement, and the unique index says if there is one already.
		j.first = func(t *tx) (opened bool, err error) { a, opened, err = t.open(&e); return opened, err }
	}
	db.w.submit(ctx, j)
}

// Refuse keeps a message that cannot become part of a sale, byte for byte. A
// repeated one is kept once.
func (db *DB) Refuse(ctx context.Context, r sale.Refusal, done func(sale.Accepted, error)) {
	a := sale.Accepted{Status: r.Status, Fault: r.Fault}
	db.w.submit(ctx, job{
		bytes: len(r.Message.Payload),
		do: func(t *tx) error {
			d, ok := t.w.rows.devices[r.Message.Device]
			if !ok {
				return fmt.Errorf("keep a message of %s: %w", r.Message.Device, ErrUnknownDevice)
			}
			kept, err := t.refuse(d.no, r.Message.Kind, millis(r.Message.Received), r.Status, r.SaleID, r.Fault, r.Message.Payload)
			if kept && r.HasSeq {
				w := db.w
				w.seen = append(w.seen, seen{device: d.no, register: d.register, seq: r.Seq, at: millis(r.Message.Received)})
			}
			return err
		},
		after: func(err error) { done(a, err) },
	})
}

// refuse keeps a message as evidence; kept is false where it is there already.
func (t *tx) refuse(device int64, k sale.Kind, at int64, s sale.Status, ref string, f *sale.Fault, raw []byte) (kept bool, err error) {
	h := sha256.New()
	h.Write([]byte{byte(k)})
	h.Write(raw)
	n, err := t.exec(`INSERT INTO refused (no, device, kind, at, status, ref, code, field, message, mark, raw)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (device, mark) DO NOTHING`,
		t.w.rows.item, device, k, at, string(s), ref, f.Code, f.Field, f.Message, h.Sum(nil)[:16], nonNil(raw))
	t.w.rows.item += n
	return n == 1, err
}

// nonNil keeps an empty payload from becoming NULL.
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func (t *tx) append(e *sale.Entry) (sale.Accepted, error) {
	d, ok := t.w.rows.devices[e.Device]
	if !ok {
		return sale.Accepted{}, fmt.Errorf("accept an event of %s: %w", e.Device, ErrUnknownDevice)
	}
	known, err := t.record(d.no, e.Event.SaleID)
	if err != nil {
		return sale.Accepted{}, err
	}
	if known.No == 0 && e.Begun {
		// Its start was on its way and failed: the device sends both again. Kept
		// as evidence now, the end would never meet its start.
		return sale.Accepted{}, fmt.Errorf("accept an event of sale %s: its start was not stored: %w", e.Event.SaleID, sale.ErrNotReady)
	}
	fate, fault := known.Take(e.Event)
	switch fate {
	case sale.Continue, sale.Follow, sale.Reopen:
		return t.proceed(e, d, known, fate)
	case sale.Compare:
		return t.compare(e, d, known, fault)
	}
	return t.evidence(e, d, sale.Quarantined, fault)
}

// open inserts the event as the opening of a new sale, if there is none of
// that name.
func (t *tx) open(e *sale.Entry) (sale.Accepted, bool, error) {
	w := t.w
	d, ok := w.rows.devices[e.Device]
	if !ok {
		return sale.Accepted{}, false, fmt.Errorf("accept an event of %s: %w", e.Device, ErrUnknownDevice)
	}
	register, ok := w.rows.registers[e.Register]
	if !ok {
		return sale.Accepted{}, false, fmt.Errorf("accept an event for register %s: it is unknown", e.Register)
	}
	flags := t.flags(e)
	if e.Event.Kind == sale.Complete {
		flags |= flagStartMissing
	}
	rseq := w.rows.tails[register] + 1
	n, err := t.exec(`INSERT INTO event (no, sale, device, register, rseq, kind, flags, at, total, ref, operation, currency, raw, calls)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (ref, device) WHERE ref IS NOT NULL DO NOTHING`,
		w.next, w.next, d.no, register, rseq, e.Event.Kind, flags, millis(e.At), e.Event.Total,
		e.Event.SaleID, e.Operation, e.Event.Currency, e.Raw, e.Opening)
	if err != nil || n == 0 {
		return sale.Accepted{}, false, err
	}
	w.next++
	w.queued(register, rseq, true)
	w.counted(e, d)
	return sale.Accepted{Status: sale.Queued, Register: e.Register}, true, nil
}

var qualityFlags = map[string]int64{"synchronised": flagSynchronised, "informative": flagInformative, "unknown": flagUnknownTime}

func (t *tx) flags(e *sale.Entry) int64 {
	flags := qualityFlags[e.Quality]
	if e.Unsafe {
		flags |= flagUnsafe
	}
	return flags
}

// record is what is known of a sale, and its register's number.
type record struct {
	sale.Record
	Register int64
}

func (t *tx) record(device int64, ref string) (r record, err error) {
	err = t.query(`SELECT o.no, o.operation, o.currency, o.kind, o.register, coalesce(s.state, 1),
			(SELECT kind FROM event e WHERE e.sale = o.no AND e.kind IN (3, 4) AND e.ref IS NULL)
		FROM event o LEFT JOIN sale s ON s.no = o.no WHERE o.device = ? AND o.ref = ?`,
		func(row []driver.Value) error {
			r = record{sale.Record{No: row[0].(int64), Operation: row[1].(string), Currency: row[2].(string),
				Opened: sale.Kind(row[3].(int64)), State: sale.State(row[5].(int64))}, row[4].(int64)}
			if r.Opened.Ends() {
				r.End = r.Opened
			} else if end, ok := row[6].(int64); ok {
				r.End = sale.Kind(end)
			}
			return nil
		}, device, ref)
	return r, err
}

// proceed adds an event to its sale.
func (t *tx) proceed(e *sale.Entry, d deviceRow, known record, fate sale.Fate) (sale.Accepted, error) {
	w, register := t.w, known.Register
	if e.Currency != known.Currency {
		// Two starts of one sale were under way together. The device sends the
		// event again, and then the journal says which one counts.
		return sale.Accepted{}, fmt.Errorf("accept an event of sale %s: rendered in %q, the sale is in %q: %w",
			e.Event.SaleID, e.Currency, known.Currency, sale.ErrNotReady)
	}
	a := sale.Accepted{Status: sale.Queued, Register: w.rows.names[register]}
	rseq := w.rows.tails[register] + 1
	var place any = rseq
	if fate != sale.Continue {
		place, a = nil, sale.Accepted{Status: sale.Quarantined, Fault: &sale.Fault{Code: "sale_quarantined", Field: "/sale_id",
			Message: "this sale waits for a person; the event is stored with it"}}
	}
	if e.Event.Kind == sale.Update {
		if again, err := t.newUpdate(e, d, known); again != nil || err != nil {
			return deref(again), err
		}
	}
	if fate == sale.Continue && (e.Event.Kind == sale.Update || e.Event.Kind == sale.Complete) {
		if err := t.supersede(known.No, register); err != nil {
			return sale.Accepted{}, err
		}
	}
	if _, err := t.exec(`INSERT INTO event (no, sale, device, register, rseq, kind, flags, at, total, raw, calls)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		w.next, known.No, d.no, register, place, e.Event.Kind, t.flags(e), millis(e.At), e.Event.Total, e.Raw, e.Calls); err != nil {
		return sale.Accepted{}, err
	}
	if e.Event.Kind == sale.Update {
		if _, err := t.exec(`INSERT INTO sale (no, state, changed_at, last_update) VALUES (?1, 1, ?2, ?3)
			ON CONFLICT (no) DO UPDATE SET last_update = ?3`, known.No, millis(e.At), w.next); err != nil {
			return sale.Accepted{}, err
		}
	}
	placed := place != nil
	if !placed {
		var err error
		if placed, err = t.follow(e, known, fate, rseq); err != nil {
			return sale.Accepted{}, err
		}
	}
	w.next++
	if placed {
		w.queued(register, rseq, false)
	}
	w.counted(e, d)
	return a, nil
}

func deref(a *sale.Accepted) sale.Accepted {
	if a == nil {
		return sale.Accepted{}
	}
	return *a
}

// supersede takes the sale's newest update out of the queue if it still waits
// there untouched: what comes now replaces its content.
func (t *tx) supersede(no, register int64) error {
	_, err := t.exec(`UPDATE event SET rseq = NULL, flags = flags | ?
		WHERE no = (SELECT last_update FROM sale WHERE no = ?) AND EXISTS
			(SELECT 1 FROM queue q WHERE q.register = ? AND (event.rseq > q.head OR event.rseq = q.head AND q.attempts = 0))`,
		int64(flagSuperseded), no, register)
	return err
}

// mark tells an update of a sale from the others.
func mark(e *sale.Entry) []byte {
	if e.Event.HasSeq {
		return binary.BigEndian.AppendUint64([]byte{'s'}, uint64(e.Event.Seq))
	}
	h := sha256.Sum256(e.Raw)
	return append([]byte{'h'}, h[:16]...)
}

// newUpdate notes the update; again is set if it has been here before.
func (t *tx) newUpdate(e *sale.Entry, d deviceRow, known record) (again *sale.Accepted, err error) {
	n, err := t.exec(`INSERT INTO update_seen (sale, mark, event) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`,
		known.No, mark(e), t.w.next)
	if err != nil || n == 1 {
		return nil, err
	}
	a, err := t.compare(e, d, known, nil)
	return &a, err
}

// compare tells a duplicate from a conflict. With fault set, an event that is
// not stored yet is refused for it.
func (t *tx) compare(e *sale.Entry, d deviceRow, known record, fault *sale.Fault) (sale.Accepted, error) {
	stored, err := t.same(e, known)
	if err != nil {
		return sale.Accepted{}, err
	}
	switch {
	case stored == nil:
		if fault == nil {
			fault = &sale.Fault{Code: "sale_ended", Field: "/sale_id", Message: "nothing follows the end of a sale"}
		}
		return t.evidence(e, d, sale.Quarantined, fault)
	case sale.SameContent(stored, e.Raw):
		// It may be the repetition of one whose commit was said to have failed:
		// then nobody has been told of its calls yet.
		return sale.Accepted{Status: sale.Duplicate, Register: t.w.rows.names[known.Register]}, nil
	}
	return t.evidence(e, d, sale.Conflict, &sale.Fault{Code: "conflict",
		Message: "this event of the sale was reported before with another content; the first one counts"})
}

// same gives the stored bytes of the same event, nil if there is none.
func (t *tx) same(e *sale.Entry, known record) ([]byte, error) {
	var v driver.Value
	var err error
	switch e.Event.Kind {
	case sale.Update:
		v, err = t.value(`SELECT e.raw FROM update_seen u JOIN event e ON e.no = u.event WHERE u.sale = ? AND u.mark = ?`,
			known.No, mark(e))
	case known.Opened:
		v, err = t.value(`SELECT raw FROM event WHERE no = ?`, known.No)
	default:
		v, err = t.value(`SELECT raw FROM event WHERE sale = ? AND kind IN (3, 4) AND ref IS NULL`, known.No)
	}
	raw, _ := v.([]byte)
	return raw, err
}

func (t *tx) evidence(e *sale.Entry, d deviceRow, s sale.Status, f *sale.Fault) (sale.Accepted, error) {
	kept, err := t.refuse(d.no, e.Event.Kind, millis(e.At), s, e.Event.SaleID, f, e.Raw)
	if kept {
		t.w.counted(e, d)
	}
	return sale.Accepted{Status: s, Fault: f}, err
}
