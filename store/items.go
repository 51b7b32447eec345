package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"edgegw/sale"
)

// ItemFilter chooses what is or was in quarantine; zero fields choose all.
type ItemFilter struct {
	No       int64
	SaleID   string
	Device   sale.DeviceID
	Register sale.RegisterID // sales only
	Open     bool            // undecided ones only
	Messages bool            // no sales
	Limit    int             // 0: 100
}

// Items gives what is or was in quarantine, sales and messages, the newest
// first. Raw and Call are only there where No is given.
func (db *DB) Items(ctx context.Context, f ItemFilter) ([]sale.Item, error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	var items []sale.Item
	if !f.Messages {
		var err error
		if items, err = db.saleItems(ctx, f); err != nil {
			return nil, fmt.Errorf("list the quarantine: %w", err)
		}
	}
	if f.Register == "" {
		messages, err := db.messageItems(ctx, f)
		if err != nil {
			return nil, fmt.Errorf("list the quarantine: %w", err)
		}
		items = append(items, messages...)
	}
	slices.SortFunc(items, func(a, b sale.Item) int { return cmp.Compare(b.No, a.No) })
	return items[:min(len(items), f.Limit)], nil
}

func (db *DB) saleItems(ctx context.Context, f ItemFilter) (items []sale.Item, err error) {
	err = db.query(ctx, `SELECT q.no, d.device_id, r.register_id, o.ref, e.kind, q.step, q.place, q.at, q.blocking, q.in_doubt, q.class, q.status, q.request_id,
		       q.code, q.detail, q.param, q.body, coalesce(s.operation, o.operation), e.no, CASE WHEN ?1 THEN e.raw END, CASE WHEN ?1 THEN e.calls END,
		       coalesce(w.decision, ''), coalesce(w.at, 0), coalesce(w.who, ''), coalesce(w.reason, ''), coalesce(w.operation, '')
		  FROM quarantine q
		  JOIN event o    ON o.no = q.sale
		  JOIN event e    ON e.no = q.event
		  JOIN device d   ON d.no = o.device
		  JOIN register r ON r.no = q.register
		  LEFT JOIN sale s     ON s.no = q.sale
		  LEFT JOIN decision w ON w.item = q.no
		 WHERE (?1 = 0 OR q.no = ?1) AND (?2 = '' OR o.ref = ?2) AND (?3 = '' OR d.device_id = ?3) AND (?4 = '' OR r.register_id = ?4) AND (?5 = 0 OR q.open = 1)
		 ORDER BY q.no DESC LIMIT ?6`,
		func(scan func(...any) error) error {
			var i sale.Item
			var at, decided, event int64
			var place int
			var raw, calls []byte
			var named string
			err := scan(&i.No, &i.Device, &i.Register, &i.SaleID, &i.Kind, &i.Step, &place, &at, &i.Blocking, &i.InDoubt, &i.Problem.Class, &i.Problem.Status,
				&i.Problem.RequestID, &i.Problem.Code, &i.Problem.Detail, &i.Problem.Param, &i.Problem.Body, &i.Operation, &event, &raw, &calls,
				&i.Decision, &decided, &i.By, &i.Reason, &named)
			i.At, i.Decided, i.Status = instant(at), instant(decided), sale.Quarantined
			i.Operation = cmp.Or(named, i.Operation)
			if err == nil && f.No != 0 {
				i.Raw = raw
				i.Call = itemCall(&i, event, place, calls)
			}
			items = append(items, i)
			return err
		}, f.No, f.SaleID, string(f.Device), string(f.Register), f.Open, f.Limit)
	return items, err
}

// itemCall gives the refused request, nil where its frozen form is damaged: a
// person can still decide without it.
func itemCall(i *sale.Item, event int64, place int, frozen []byte) *sale.Call {
	calls, err := sale.Thaw(frozen, i.Raw)
	if err != nil || place >= len(calls) {
		return nil
	}
	c := calls[place]
	c.Event, c.Register, c.SaleID, c.Operation, c.Last = event, i.Register, i.SaleID, i.Operation, place == len(calls)-1
	return &c
}

func (db *DB) messageItems(ctx context.Context, f ItemFilter) (items []sale.Item, err error) {
	err = db.query(ctx, `SELECT f.no, d.device_id, f.kind, f.at, f.status, f.ref, f.code, f.field, f.message, CASE WHEN ?1 THEN f.raw END,
		       coalesce(w.decision, ''), coalesce(w.at, 0), coalesce(w.who, ''), coalesce(w.reason, ''), coalesce(w.operation, '')
		  FROM refused f JOIN device d ON d.no = f.device LEFT JOIN decision w ON w.item = f.no
		 WHERE (?1 = 0 OR f.no = ?1) AND (?2 = '' OR f.ref = ?2) AND (?3 = '' OR d.device_id = ?3) AND (?4 = 0 OR w.item IS NULL)
		 ORDER BY f.no DESC LIMIT ?5`,
		func(scan func(...any) error) error {
			var i sale.Item
			var at, decided int64
			err := scan(&i.No, &i.Device, &i.Kind, &at, &i.Status, &i.SaleID, &i.Fault.Code, &i.Fault.Field, &i.Fault.Message, &i.Raw,
				&i.Decision, &decided, &i.By, &i.Reason, &i.Operation)
			i.At, i.Decided = instant(at), instant(decided)
			items = append(items, i)
			return err
		}, f.No, f.SaleID, string(f.Device), f.Open, f.Limit)
	return items, err
}

// OwnerOf gives the sale that an operation stands for, by the id that was made
// for it or the one that the service or a person has named; sale.ErrNone if none
// does. It looks at every sale: for a person's decision, not for a queue.
func (db *DB) OwnerOf(ctx context.Context, operation string) (s Sale, err error) {
	err = sale.ErrNone
	failed := db.query(ctx, `SELECT d.device_id, o.ref FROM event o JOIN device d ON d.no = o.device LEFT JOIN sale s ON s.no = o.no
		WHERE o.ref IS NOT NULL AND (o.operation = ?1 OR s.operation = ?1) LIMIT 1`, func(scan func(...any) error) error {
		err = nil
		return scan(&s.Device, &s.SaleID)
	}, operation)
	if failed != nil {
		err = fmt.Errorf("look for the sale of an operation: %w", failed)
	}
	return s, err
}

// DecideMessage records a person's decision about a message. What a retry does
// is the caller's: the message has been accepted again by then.
func (db *DB) DecideMessage(ctx context.Context, v sale.Ruling) error {
	err := db.change(ctx, func(t *tx) error {
		found, err := t.value(`SELECT no FROM refused WHERE no = ?1 AND NOT EXISTS (SELECT 1 FROM decision WHERE item = ?1)`, v.Item)
		if err == nil && found == nil {
			err = ErrDecided
		}
		if err != nil {
			return err
		}
		return t.decided(&v)
	})
	if err != nil {
		err = fmt.Errorf("decide item %d: %w", v.Item, err)
	}
	return err
}

// CountRefused counts the messages that wait for a person.
func (db *DB) CountRefused(ctx context.Context) (n int64, err error) {
	err = db.queryOne(ctx, `SELECT count(*) FROM refused f WHERE NOT EXISTS (SELECT 1 FROM decision w WHERE w.item = f.no)`, nil, &n)
	return n, err
}

// Recount compares the totals of every register with the rows they count, and
// gives one line for each that differs. It reads the whole journal at one
// moment: seconds for a million sales.
func (db *DB) Recount(ctx context.Context) (faults []string, err error) {
	err = db.query(ctx, `SELECT r.register_id, q.accepted, q.waiting, q.confirmed, q.quarantined, q.resolved,
		       coalesce(c.accepted, 0) + coalesce(f.confirmed + f.resolved, 0), coalesce(c.waiting, 0), coalesce(c.confirmed, 0) + coalesce(f.confirmed, 0),
		       coalesce(c.quarantined, 0), coalesce(c.resolved, 0) + coalesce(f.resolved, 0)
		  FROM queue q JOIN register r ON r.no = q.register LEFT JOIN forgotten f ON f.register = q.register LEFT JOIN (
			SELECT o.register, count(*) AS accepted, sum(coalesce(s.state, 1) = 1) AS waiting, sum(s.state = 2) AS confirmed,
			       sum(s.state = 3) AS quarantined, sum(s.state = 4) AS resolved
			  FROM event o LEFT JOIN sale s ON s.no = o.no WHERE o.ref IS NOT NULL GROUP BY o.register) c ON c.register = q.register`,
		func(scan func(...any) error) error {
			var register string
			var kept, rows [5]int64
			err := scan(&register, &kept[0], &kept[1], &kept[2], &kept[3], &kept[4], &rows[0], &rows[1], &rows[2], &rows[3], &rows[4])
			for i, name := range []string{"accepted", "waiting", "confirmed", "quarantined", "resolved"} {
				if kept[i] != rows[i] {
					faults = append(faults, fmt.Sprintf("register %s: %d sales are counted as %s, and %d are there", register, kept[i], name, rows[i]))
				}
			}
			return err
		})
	return faults, err
}
