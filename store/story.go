package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"edgegw/sale"
)

// Story is what the journal knows of one sale, each list with the oldest first.
// It holds no payload.
type Story struct {
	Sale
	Queued  bool // a call is owed: Place counts
	Place   int64
	Events  []StoryEvent
	Tries   []TriedInVain
	Answers []StoryAnswer
	Letters []StoryLetter
	Items   []sale.Item
}

// StoryEvent is an event that a device reported.
type StoryEvent struct {
	Kind       sale.Kind
	At         time.Time // accepted
	Superseded bool      // a newer update stands for it
}

// StoryAnswer is an answer of OpenFiskal that confirmed a call.
type StoryAnswer struct {
	Step      sale.Step
	At        time.Time
	Attempts  int
	Status    int
	Adopted   bool // read back by a look-up
	RequestID string
}

// StoryLetter is a receipt.
type StoryLetter struct {
	At        time.Time
	Delivered time.Time // the device acknowledged it; zero while it waits
	Item      int64     // it says that the sale is in quarantine as this item; 0: it says how the sale ended
}

// Story tells of one sale; sale.ErrNone if there is no such one.
func (db *DB) Story(ctx context.Context, d sale.DeviceID, saleID string) (Story, error) {
	found, err := db.Sales(ctx, SaleFilter{Device: d, SaleID: saleID, Limit: 1})
	if err == nil && len(found) == 0 {
		err = sale.ErrNone
	}
	if err != nil {
		return Story{}, err
	}
	s := Story{Sale: found[0]}
	var no int64
	err = db.queryOne(ctx, `SELECT o.no FROM device d JOIN event o ON o.device = d.no AND o.ref = ?2 WHERE d.device_id = ?1`, []any{string(d), saleID}, &no)
	if err != nil {
		return s, err
	}
	for _, read := range []func(context.Context, *Story, int64) error{db.storyEvents, db.storyTries, db.storyAnswers, db.storyLetters} {
		if err := read(ctx, &s, no); err != nil {
			return s, err
		}
	}
	s.Items, err = db.Items(ctx, ItemFilter{Device: d, SaleID: saleID, Register: s.Register})
	return s, err
}

// saleEvents are the events of sale ?1, by the indexes there are: the one that
// opened it, its updates and its end.
const saleEvents = `(SELECT ?1 UNION SELECT event FROM update_seen WHERE sale = ?1 UNION SELECT no FROM event WHERE sale = ?1 AND kind IN (3, 4) AND ref IS NULL)`

func (db *DB) storyEvents(ctx context.Context, s *Story, no int64) error {
	return db.query(ctx, `SELECT e.kind, e.at, e.flags, coalesce(e.rseq, 0), coalesce(e.rseq >= q.head, 0)
		  FROM event e JOIN queue q ON q.register = e.register WHERE e.no IN `+saleEvents+` ORDER BY e.no`,
		func(scan func(...any) error) error {
			var e StoryEvent
			var at, flags, place int64
			var owed bool
			err := scan(&e.Kind, &at, &flags, &place, &owed)
			e.At, e.Superseded = instant(at), flags&flagSuperseded != 0
			if owed && !s.Queued {
				s.Queued, s.Place = true, place
			}
			s.Events = append(s.Events, e)
			return err
		}, no)
}

func (db *DB) storyTries(ctx context.Context, s *Story, no int64) error {
	return db.query(ctx, `SELECT step, at, last_at, times, class, status, code, detail, request_id FROM attempt WHERE event IN `+saleEvents+` ORDER BY no`,
		func(scan func(...any) error) error {
			a := TriedInVain{SaleID: s.SaleID}
			var at, last int64
			err := scan(&a.Step, &at, &last, &a.Times, &a.Class, &a.Status, &a.Code, &a.Detail, &a.RequestID)
			a.At, a.Last = instant(at), instant(last)
			s.Tries = append(s.Tries, a)
			return err
		}, no)
}

// mostAnswers bounds how many answers of other sales are passed over: answers
// are found by when they came, because nothing else asks for them by sale.
const mostAnswers = 50_000

func (db *DB) storyAnswers(ctx context.Context, s *Story, no int64) error {
	from, err := db.firstSince(ctx, "answer", s.AcceptedAt)
	if err != nil {
		return err
	}
	return db.query(ctx, `SELECT step, at, attempts, status, adopted, request_id FROM answer
		 WHERE (no BETWEEN ?2 AND ?3 OR no = (SELECT answer FROM sale WHERE no = ?1)) AND event IN `+saleEvents+` ORDER BY no`,
		func(scan func(...any) error) error {
			var a StoryAnswer
			var at int64
			err := scan(&a.Step, &at, &a.Attempts, &a.Status, &a.Adopted, &a.RequestID)
			a.At = instant(at)
			s.Answers = append(s.Answers, a)
			return err
		}, no, from, from+mostAnswers)
}

func (db *DB) storyLetters(ctx context.Context, s *Story, no int64) error {
	from, err := db.firstSince(ctx, "mailbox", s.AcceptedAt)
	if err != nil {
		return err
	}
	return db.query(ctx, `SELECT at, coalesce(delivered_at, 0), item FROM mailbox WHERE no >= ?2 AND sale = ?1 ORDER BY no`,
		func(scan func(...any) error) error {
			var l StoryLetter
			var at, delivered int64
			err := scan(&at, &delivered, &l.Item)
			l.At, l.Delivered = instant(at), instant(delivered)
			s.Letters = append(s.Letters, l)
			return err
		}, no, from)
}

// firstSince gives the first row of a table that grows at its end which is not
// older than t. A clock that was set back may hide a few rows from it.
func (db *DB) firstSince(ctx context.Context, table string, t time.Time) (int64, error) {
	var low, high int64
	if err := db.queryOne(ctx, `SELECT coalesce(min(no), 0), coalesce(max(no), 0) + 1 FROM `+table, nil, &low, &high); err != nil {
		return 0, err
	}
	for low < high {
		middle := low + (high-low)/2
		var no, at int64
		err := db.queryOne(ctx, `SELECT no, at FROM `+table+` WHERE no >= ? ORDER BY no LIMIT 1`, []any{middle}, &no, &at)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			high = middle
		case err != nil:
			return 0, err
		case at >= millis(t):
			high = middle
		default:
			low = no + 1
		}
	}
	return low, nil
}

// Trouble gives the last attempt in vain of the event at the head of a
// register's queue; sale.ErrNone if there is none.
func (db *DB) Trouble(ctx context.Context, r sale.RegisterID) (a TriedInVain, err error) {
	var at, last int64
	err = db.queryOne(ctx, `SELECT o.ref, a.step, a.at, a.last_at, a.times, a.class, a.status, a.code, a.detail, a.request_id
		  FROM register r JOIN queue q ON q.register = r.no
		  JOIN event e   ON e.no = (SELECT no FROM event WHERE rseq = q.head AND register = q.register)
		  JOIN event o   ON o.no = e.sale
		  JOIN attempt a ON a.event = e.no
		 WHERE r.register_id = ? ORDER BY a.last_at DESC, a.no DESC LIMIT 1`, []any{string(r)},
		&a.SaleID, &a.Step, &at, &last, &a.Times, &a.Class, &a.Status, &a.Code, &a.Detail, &a.RequestID)
	a.At, a.Last = instant(at), instant(last)
	if errors.Is(err, sql.ErrNoRows) {
		err = sale.ErrNone
	}
	return a, err
}

// PendingSince gives the first of the ended sales whose fiscal state is pending,
// and since when it is; sale.ErrNone if there is none.
func (db *DB) PendingSince(ctx context.Context) (d sale.DeviceID, saleID string, since time.Time, err error) {
	var at int64
	err = db.queryOne(ctx, `SELECT d.device_id, o.ref, s.changed_at FROM sale s JOIN event o ON o.no = s.no JOIN device d ON d.no = o.device
		WHERE s.fiscal_state = 'pending' ORDER BY s.no LIMIT 1`, nil, &d, &saleID, &at)
	if errors.Is(err, sql.ErrNoRows) {
		err = sale.ErrNone
	}
	return d, saleID, instant(at), err
}
