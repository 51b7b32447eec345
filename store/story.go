package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"edgegw/sale"
)

// Story is what the journal knows of one sale, each list with the oldest first but
// items. What was reported and answered is in it as it came.
type Story struct {
	Sale
	Queued  bool // a call is owed: Place counts
	Place   int64
	Events  []StoryEvent
	Tries   []TriedInVain
	Answers []StoryAnswer
	Letters []StoryLetter
	Items   []sale.Item // of the sale, the newest first
	Refused []sale.Item // messages with its name that are no part of it, likewise
}

// StoryEvent is an event that a device reported.
type StoryEvent struct {
	No           int64
	Kind         sale.Kind
	At           time.Time // accepted
	Quality      string    // how far At can be believed; "" if that was not recorded
	Superseded   bool      // a newer update stands for it
	StartMissing bool
	Unsafe       bool
	Held         bool        // out of its queue, for a person's decision or by it
	Done         int         // so many of its calls are over, the first ones
	Calls        []sale.Call // that it owes or owed; nil where their frozen form is damaged
	Raw          []byte
}

// StoryAnswer is an answer of OpenFiskal that confirmed a call.
type StoryAnswer struct {
	Event     int64 // StoryEvent.No
	Step      sale.Step
	At        time.Time
	Attempts  int
	Status    int
	Adopted   bool // read back by a look-up
	RequestID string
	Body      []byte
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
	if s.Items, err = db.Items(ctx, ItemFilter{Device: d, SaleID: saleID, Register: s.Register}); err != nil {
		return s, err
	}
	s.Refused, err = db.Items(ctx, ItemFilter{Device: d, SaleID: saleID, Messages: true})
	return s, err
}

// saleEvents are the events of sale ?1, by the indexes there are: the one that
// opened it, its updates and its end.
const saleEvents = `(SELECT ?1 UNION SELECT event FROM update_seen WHERE sale = ?1 UNION SELECT no FROM event WHERE sale = ?1 AND kind IN (3, 4) AND ref IS NULL)`

func (db *DB) storyEvents(ctx context.Context, s *Story, no int64) error {
	return db.query(ctx, `SELECT e.no, e.kind, e.at, e.flags, coalesce(e.rseq, 0), q.head, q.step, coalesce(h.out, 0) > 0, coalesce(h.step, 0), e.raw, e.calls
		  FROM event e JOIN queue q ON q.register = e.register LEFT JOIN held h ON h.event = e.no WHERE e.no IN `+saleEvents+` ORDER BY e.no`,
		func(scan func(...any) error) error {
			var e StoryEvent
			var at, flags, place, head int64
			var step, before int
			var frozen []byte
			if err := scan(&e.No, &e.Kind, &at, &flags, &place, &head, &step, &e.Held, &before, &e.Raw, &frozen); err != nil {
				return err
			}
			e.At, e.Quality = instant(at), quality(flags)
			e.Superseded, e.StartMissing, e.Unsafe = flags&flagSuperseded != 0, flags&flagStartMissing != 0, flags&flagUnsafe != 0
			if place > 0 && place >= head && !s.Queued {
				s.Queued, s.Place = true, place
			}
			if calls, err := sale.Thaw(frozen, e.Raw); err == nil {
				e.Calls = calls
			}
			switch e.Done = before; {
			case e.Superseded:
				e.Done = 0
			case e.Held || place == 0 || place > head: // as far as it was when it was taken out
			case place == head:
				e.Done = max(step, before)
			default:
				e.Done = len(e.Calls)
			}
			for i := range e.Calls {
				e.Calls[i].Operation = s.Operation
			}
			s.Events = append(s.Events, e)
			return nil
		}, no)
}

func (db *DB) storyTries(ctx context.Context, s *Story, no int64) error {
	return db.query(ctx, `SELECT step, at, last_at, times, class, status, code, detail, request_id, body FROM attempt WHERE event IN `+saleEvents+` ORDER BY no`,
		func(scan func(...any) error) error {
			a := TriedInVain{SaleID: s.SaleID}
			var at, last int64
			err := scan(&a.Step, &at, &last, &a.Times, &a.Class, &a.Status, &a.Code, &a.Detail, &a.RequestID, &a.Body)
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
	return db.query(ctx, `SELECT event, step, at, attempts, status, adopted, request_id, body FROM answer
		 WHERE (no BETWEEN ?2 AND ?3 OR no = (SELECT answer FROM sale WHERE no = ?1)) AND event IN `+saleEvents+` ORDER BY no`,
		func(scan func(...any) error) error {
			var a StoryAnswer
			var at int64
			err := scan(&a.Event, &a.Step, &at, &a.Attempts, &a.Status, &a.Adopted, &a.RequestID, &a.Body)
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
	if err := db.queryOne(ctx, spanQuery(table), nil, &low, &high); err != nil {
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
