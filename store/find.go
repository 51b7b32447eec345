package store

import (
	"context"
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"time"

	"edgegw/sale"
)

// SaleFilter chooses sales; zero fields choose all.
type SaleFilter struct {
	Device    sale.DeviceID
	Register  sale.RegisterID
	SaleID    string
	State     sale.State
	Operation string       // as it was made here, or as OpenFiskal or a person calls it
	Document  string       // the receipt number; with * at its end all that begin so
	Amount    sale.Amounts // of sales that have ended
	From, To  time.Time    // accepted: not before From, and before To
	Before    int64        // Found.Next of the page before; 0: the newest
	Limit     int          // 0: 50
}

// Found is a page of sales, the newest first.
type Found struct {
	Sales []Sale
	// Next is where the search goes on, 0 where it is over. A page is short, or
	// empty, where Next is set and as much was looked at as one search may.
	Next    int64
	Reached time.Time // where Next is set: all that was accepted since has been looked at
}

// What one search looks at, in numbers of events: a kilobyte or so each, with what
// was reported, and sixty or so of the short rows of sale to a page.
const (
	mostEvents = 20_000
	mostSales  = 200_000
)

// Sales gives sales, newest first, however long the search takes.
func (db *DB) Sales(ctx context.Context, f SaleFilter) (all []Sale, err error) {
	want := f.Limit
	if want <= 0 {
		want = usualSales
	}
	for {
		f.Limit = want - len(all)
		found, err := db.FindSales(ctx, f)
		all = append(all, found.Sales...)
		if err != nil || found.Next == 0 || len(all) == want {
			return all, err
		}
		f.Before = found.Next
	}
}

const usualSales = 50

// FindSales looks for sales. A sale's id is in an index, and an operation's id says
// when it was made; everything else is looked for from the newest sale on, as far as
// one search may look. Indexes on amounts and the like would change a page of each
// with every sale, for a question that is asked now and then.
func (db *DB) FindSales(ctx context.Context, f SaleFilter) (Found, error) {
	if f.Limit <= 0 {
		f.Limit = usualSales
	}
	if f.wide() {
		select {
		case db.wide <- struct{}{}:
			defer func() { <-db.wide }()
		case <-ctx.Done():
			return Found{}, fmt.Errorf("look for sales: %w", context.Cause(ctx))
		}
	}
	found, err := db.findSales(ctx, &f)
	if err != nil {
		return Found{}, fmt.Errorf("look for sales: %w", err)
	}
	return found, nil
}

// wide reports whether much may have to be looked at before anything fits.
func (f *SaleFilter) wide() bool {
	return f.SaleID == "" && (f.Device != "" || f.Register != "" || f.State != 0 || f.Operation != "" || f.Document != "" || f.Amount != sale.Amounts{})
}

func (db *DB) findSales(ctx context.Context, f *SaleFilter) (Found, error) {
	if f.SaleID != "" {
		return db.look(ctx, f, []span{{0, math.MaxInt64}}, math.MaxInt64)
	}
	if made, is := madeAt(f.Operation); is && f.Before == 0 {
		near, err := db.spans(ctx, made.Add(-operationSlack), made.Add(operationSlack))
		if err != nil {
			return Found{}, err
		}
		if found, err := db.look(ctx, f, near, mostEvents); err != nil || len(found.Sales) > 0 {
			return Found{Sales: found.Sales}, err
		}
	}
	all, err := db.spans(ctx, f.From, f.To)
	if err != nil {
		return Found{}, err
	}
	most := int64(mostEvents)
	if f.Document != "" {
		most = mostSales
	}
	return db.look(ctx, f, all, most)
}

// look looks through spans, the newest first, and says where to go on.
func (db *DB) look(ctx context.Context, f *SaleFilter, spans []span, most int64) (found Found, err error) {
	for _, s := range spans {
		if f.Before > 0 {
			s.high = min(s.high, f.Before)
		}
		if s.low >= s.high {
			continue
		}
		part := span{max(s.low, s.high-most), s.high}
		if most -= part.high - part.low; part.low < part.high {
			if found.Next, err = db.page(ctx, f, part, &found); err != nil {
				return found, err
			}
		}
		if found.Next == 0 && part.low > s.low {
			found.Next = part.low
		}
		if found.Next != 0 {
			break
		}
	}
	if found.Next == 0 {
		return found, nil
	}
	var reached int64
	err = db.queryOne(ctx, `SELECT at FROM event WHERE no >= ? ORDER BY no LIMIT 1`, []any{found.Next}, &reached)
	found.Reached = instant(reached)
	return found, err
}

// page adds the newest of the sales of a span; next is where there are more of them,
// 0 where there are not.
func (db *DB) page(ctx context.Context, f *SaleFilter, at span, found *Found) (next int64, err error) {
	text, args := f.query(at)
	last := at.high
	err = db.query(ctx, text, func(scan func(...any) error) error {
		var s Sale
		var no, accepted, changed, flags int64
		if err := scan(&no, &s.Device, &s.Register, &s.SaleID, &s.State, &s.Open, &s.Total, &s.Currency, &s.Operation, &s.FiscalState,
			&s.Document, &accepted, &changed, &flags); err != nil {
			return err
		}
		if len(found.Sales) == f.Limit {
			next = last
			return nil
		}
		s.AcceptedAt, s.ChangedAt = instant(accepted), instant(changed)
		s.StartMissing, s.Unsafe = flags&flagStartMissing != 0, flags&flagUnsafe != 0
		found.Sales, last = append(found.Sales, s), no
		return nil
	}, append(args, f.Limit-len(found.Sales)+1)...) // one more says that there are more
	return next, err
}

// query is the SELECT of a span. What is looked at first is named, so that a
// statistic can never make SQLite read everything.
func (f *SaleFilter) query(at span) (text string, args []any) {
	from, by := `event o LEFT JOIN sale s ON s.no = o.no`, "o"
	switch {
	case f.SaleID != "":
		from = `event o INDEXED BY event_ref LEFT JOIN sale s ON s.no = o.no`
	case f.Document != "":
		from, by = `sale s CROSS JOIN event o ON o.no = s.no`, "s"
	}
	var where strings.Builder
	and := func(condition string, values ...any) {
		where.WriteString(" AND " + condition)
		args = append(args, values...)
	}
	and(by+".no >= ? AND "+by+".no < ?", at.low, at.high)
	f.conditions(and)
	return `SELECT o.no, d.device_id, r.register_id, o.ref, coalesce(s.state, 1), o.kind = 1 AND e.no IS NULL,
	       coalesce(e.total, o.total), o.currency, coalesce(s.operation, o.operation), coalesce(s.fiscal_state, ''),
	       coalesce(s.document, ''), o.at, coalesce(s.changed_at, 0), o.flags
	  FROM ` + from + `
	  CROSS JOIN device d   ON d.no = o.device
	  CROSS JOIN register r ON r.no = o.register
	  LEFT JOIN event e ON e.sale = o.no AND e.kind IN (3, 4) AND e.ref IS NULL
	 WHERE o.ref IS NOT NULL` + where.String() + ` ORDER BY ` + by + `.no DESC LIMIT ?`, args
}

func (f *SaleFilter) conditions(and func(string, ...any)) {
	if f.SaleID != "" {
		and("o.ref = ?", f.SaleID)
	}
	if f.Device != "" {
		and("o.device = (SELECT no FROM device WHERE device_id = ?)", string(f.Device))
	}
	if f.Register != "" {
		and("o.register = (SELECT no FROM register WHERE register_id = ?)", string(f.Register))
	}
	if f.State != 0 {
		and("coalesce(s.state, 1) = ?", int64(f.State))
	}
	if f.Operation != "" {
		and("(o.operation = ? OR s.operation = ?)", f.Operation, f.Operation)
	}
	if begins, is := strings.CutSuffix(f.Document, "*"); is {
		and("substr(s.document, 1, length(?)) = ?", begins, begins)
	} else if f.Document != "" {
		and("s.document = ?", f.Document)
	}
	if !f.From.IsZero() {
		and("o.at >= ?", millis(f.From))
	}
	if !f.To.IsZero() {
		and("o.at < ?", millis(f.To))
	}
	if f.Amount.Set {
		and("coalesce(e.total, o.total) BETWEEN ? AND ? AND NOT (o.kind = 1 AND e.no IS NULL)", f.Amount.Least, f.Amount.Most)
	}
}

// span is of numbers of events: from low on, below high.
type span struct{ low, high int64 }

// marks is how many events are looked at to find a time in the journal.
const marks = 256

// spans gives, the newest first, where events of a time stand; a zero time is no
// bound. Numbers grow, and so do times, but where a clock was set back. So this does
// not halve its way to a time, where a wrong one could hide a year: it looks at
// events that stand evenly in the journal, and takes in all from one to the next
// where some of that time can be, or the times go back.
func (db *DB) spans(ctx context.Context, from, to time.Time) (all []span, err error) {
	low, high, err := db.EventSpan(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case low == 0: // nothing was ever sold
		return nil, nil
	case from.IsZero() && to.IsZero():
		return []span{{low, high}}, nil
	}
	first, last := int64(math.MinInt64), int64(math.MaxInt64)
	if !from.IsZero() {
		first = millis(from)
	}
	if !to.IsZero() {
		last = millis(to)
	}
	step := max(1, (high-low)/marks)
	for next, newer := high, int64(math.MaxInt64); next > low; {
		place, at := max(low, next-step), int64(0)
		if err := db.queryOne(ctx, `SELECT at FROM event WHERE no >= ? ORDER BY no LIMIT 1`, []any{place}, &at); err != nil {
			return nil, err
		}
		switch n := len(all); {
		case at <= newer && (newer < first || at >= last): // none of that time
		case n > 0 && all[n-1].low == next:
			all[n-1].low = place
		default:
			all = append(all, span{place, next})
		}
		next, newer = place, at
	}
	return all, nil
}

// operationSlack is how far the two clocks may differ that dated a sale and its
// operation: the gateway's does not go back where the box's does.
const operationSlack = time.Hour

// madeAt reads the time out of an operation's id that was made here: a UUID of
// version 7.
func madeAt(operation string) (time.Time, bool) {
	if len(operation) != 36 || operation[14] != '7' {
		return time.Time{}, false
	}
	b, err := hex.DecodeString(operation[:8] + operation[9:13])
	if err != nil {
		return time.Time{}, false
	}
	var ms int64
	for _, x := range b {
		ms = ms<<8 | int64(x)
	}
	return time.UnixMilli(ms), true
}
