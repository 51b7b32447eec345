package store

import (
	"context"
	"errors"
	"time"

	"edgegw/sale"
)

// Queue is a register's queue as people see it.
type Queue struct {
	Register     sale.RegisterID
	Waiting      int64 // sales accepted, not confirmed, not in quarantine, not resolved; counted by itself
	Accepted     int64
	Confirmed    int64
	Quarantined  int64
	Resolved     int64
	Idle         bool      // no call is owed now (open sales may still wait for their end)
	Oldest       time.Time // acceptance of the event at the head; zero if idle
	Attempts     int
	NextAttempt  time.Time
	InDoubtSince time.Time
	BlockedSince time.Time
	Blocker      int64 // the quarantine item whose decision it waits for; 0: none
	Class        sale.Class
	Problem      string
}

// Queues gives every register's queue.
func (db *DB) Queues(ctx context.Context) (queues []Queue, err error) {
	err = db.query(ctx, `SELECT r.register_id, q.accepted, q.confirmed, q.waiting, q.quarantined, q.resolved, q.attempts, q.next_attempt,
		       q.doubt_since, q.blocked_since, q.blocker, q.class, q.problem,
		       coalesce((SELECT at FROM event WHERE rseq = q.head AND register = q.register), 0), q.head > q.tail
		  FROM queue q JOIN register r ON r.no = q.register ORDER BY r.register_id`,
		func(scan func(...any) error) error {
			var q Queue
			var next, doubt, blocked, oldest int64
			err := scan(&q.Register, &q.Accepted, &q.Confirmed, &q.Waiting, &q.Quarantined, &q.Resolved, &q.Attempts, &next, &doubt, &blocked,
				&q.Blocker, &q.Class, &q.Problem, &oldest, &q.Idle)
			q.NextAttempt, q.InDoubtSince, q.BlockedSince, q.Oldest = instant(next), instant(doubt), instant(blocked), instant(oldest)
			queues = append(queues, q)
			return err
		})
	for i := range queues {
		q := &queues[i]
		if err != nil || q.Idle || !q.Oldest.IsZero() || q.Blocker != 0 {
			continue
		}
		h, headErr := db.Head(ctx, q.Register) // behind superseded updates, or just gone
		q.Oldest, q.Idle = h.Accepted, errors.Is(headErr, sale.ErrNone)
	}
	return queues, err
}

// Sale is a sale as people see it.
type Sale struct {
	Device       sale.DeviceID
	Register     sale.RegisterID
	SaleID       string
	State        sale.State
	Open         bool // its end has not been reported
	Total        int64
	Currency     string
	Operation    string
	FiscalState  string
	Document     string
	AcceptedAt   time.Time
	ChangedAt    time.Time // zero while nothing became of it
	StartMissing bool
	Unsafe       bool
}

// Currency gives the currency of a device's sale; sale.ErrNone if there is no
// such sale.
func (db *DB) Currency(ctx context.Context, device sale.DeviceID, saleID string) (string, error) {
	c, found := "", false
	err := db.query(ctx, `SELECT o.currency FROM device d JOIN event o ON o.device = d.no AND o.ref = ?2 WHERE d.device_id = ?1`,
		func(scan func(...any) error) error { found = true; return scan(&c) }, string(device), saleID)
	if err == nil && !found {
		err = sale.ErrNone
	}
	return c, err
}

// Mail counts the receipts of each device that wait for it.
func (db *DB) Mail(ctx context.Context) (map[sale.DeviceID]int64, error) {
	m := map[sale.DeviceID]int64{}
	err := db.query(ctx, `SELECT d.device_id, count(*) FROM mailbox m JOIN device d ON d.no = m.device
		WHERE m.delivered_at IS NULL GROUP BY m.device`, func(scan func(...any) error) error {
		var id sale.DeviceID
		var n int64
		err := scan(&id, &n)
		m[id] = n
		return err
	})
	return m, err
}

// lastLook is how many places of a register's queue are looked at for the last report
// of each of its devices. Most registers have one device, and one look is enough.
const lastLook = 32

const reportQuery = `SELECT d.device_id, e.at FROM event e JOIN device d ON d.no = e.device AND d.register = e.register AND d.removed = 0
	WHERE e.rseq = ? AND e.register = ?`

// LastReports gives when the last report of each device was accepted. One whose
// register was used by others since, for more than lastLook reports, is not there: to
// look for it would be to read the journal.
func (db *DB) LastReports(ctx context.Context) (map[sale.DeviceID]time.Time, error) {
	type end struct{ register, tail, devices int64 }
	var ends []end
	err := db.query(ctx, `SELECT q.register, q.tail, count(*) FROM queue q JOIN device d ON d.register = q.register
		WHERE q.tail > 0 AND d.removed = 0 GROUP BY q.register`, func(scan func(...any) error) error {
		var e end
		err := scan(&e.register, &e.tail, &e.devices)
		ends = append(ends, e)
		return err
	})
	last := map[sale.DeviceID]time.Time{}
	for _, e := range ends {
		for place := e.tail; err == nil && e.devices > 0 && place > max(0, e.tail-lastLook); place-- {
			err = db.query(ctx, reportQuery, func(scan func(...any) error) error {
				var id sale.DeviceID
				var at int64
				err := scan(&id, &at)
				if _, there := last[id]; !there {
					last[id], e.devices = instant(at), e.devices-1
				}
				return err
			}, place, e.register)
		}
	}
	return last, err
}

// TriedInVain is an attempt that confirmed nothing; the same trouble in a row
// is one, with Times.
type TriedInVain struct {
	SaleID    string
	Step      sale.Step
	At, Last  time.Time
	Times     int
	Class     sale.Class
	Status    int
	Code      string
	Detail    string
	RequestID string
	Body      []byte // of the answer; in a story only
}

// Attempts gives the attempts of a register that confirmed nothing, the oldest
// first.
func (db *DB) Attempts(ctx context.Context, r sale.RegisterID) (list []TriedInVain, err error) {
	err = db.query(ctx, `SELECT o.ref, a.step, a.at, a.last_at, a.times, a.class, a.status, a.code, a.detail, a.request_id
		  FROM attempt a JOIN event e ON e.no = a.event JOIN event o ON o.no = e.sale JOIN register r ON r.no = e.register
		 WHERE r.register_id = ? ORDER BY a.no`, func(scan func(...any) error) error {
		var a TriedInVain
		var at, last int64
		err := scan(&a.SaleID, &a.Step, &at, &last, &a.Times, &a.Class, &a.Status, &a.Code, &a.Detail, &a.RequestID)
		a.At, a.Last = instant(at), instant(last)
		list = append(list, a)
		return err
	}, string(r))
	return list, err
}

// HasRegister reports whether the site knows the register.
func (db *DB) HasRegister(ctx context.Context, r sale.RegisterID) (bool, error) {
	var n int
	err := db.queryOne(ctx, `SELECT count(*) FROM register r JOIN queue q ON q.register = r.no WHERE r.register_id = ?`, []any{string(r)}, &n)
	return n > 0, err
}
