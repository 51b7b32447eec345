package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"math"
	"slices"
	"strings"
)

// A row behind one that cannot be read is looked for number by number, so far.
const probes = 10_000

// salvage reads what can be read of a damaged copy, table by table and row by row.
type salvage struct {
	from   *sql.DB
	t      *tx
	s      *shape
	kept   map[string]int
	unread map[string]int // rows that cannot be read, or not put into the new database
}

// take goes through all tables that the new database has.
func (v *salvage) take(ctx context.Context) error {
	shapes, err := v.t.allShapes()
	if err != nil {
		return err
	}
	for _, s := range shapes {
		v.s = s
		if err := v.table(ctx); err != nil {
			return fmt.Errorf("salvage %s: %w", s.name, err)
		}
	}
	return nil
}

// numbered reports whether the table's rows have numbers, and are found by them.
func (v *salvage) numbered() bool { return len(v.s.key) == 1 && v.s.rowid }

// table gives an error only where the new database takes nothing.
func (v *salvage) table(ctx context.Context) error {
	if !v.numbered() {
		_, damaged, err := v.scan(ctx, "", nil)
		if err != nil || !damaged {
			return err
		}
		var back []string
		for _, k := range v.s.key {
			back = append(back, v.s.columns[k]+" DESC")
		}
		if _, _, err = v.scan(ctx, "ORDER BY "+strings.Join(back, ", "), nil); err == nil {
			v.unread[v.s.name]++ // one at least
		}
		return err
	}
	key := v.s.columns[v.s.key[0]]
	last := int64(math.MinInt64)
	for {
		at, damaged, err := v.scan(ctx, fmt.Sprintf("WHERE %s > ?1 ORDER BY %s", key, key), &last)
		if err != nil || !damaged {
			return err
		}
		next, found, err := v.probe(ctx, key, at)
		if err != nil {
			return err
		}
		if !found {
			// Nothing was found behind it: from the other end.
			last = at
			_, _, err := v.scan(ctx, fmt.Sprintf("WHERE %s > ?1 ORDER BY %s DESC", key, key), &last)
			return err
		}
		last = next
	}
}

// scan reads rows until one cannot be read; last is the key of the one before.
func (v *salvage) scan(ctx context.Context, rest string, after *int64) (last int64, damaged bool, err error) {
	var args []any
	if after != nil {
		last, args = *after, []any{*after}
	}
	rows, bad := v.from.QueryContext(ctx, v.text(rest), args...)
	if bad != nil {
		return last, true, ctx.Err()
	}
	defer func() { _ = rows.Close() }() // it was only read
	for rows.Next() {
		row, bad := v.row(rows)
		if bad != nil {
			return last, true, ctx.Err()
		}
		if v.numbered() {
			last, _ = row[v.s.key[0]].(int64)
		}
		if err := v.put(row); err != nil {
			return last, false, err
		}
	}
	return last, rows.Err() != nil, ctx.Err()
}

func (v *salvage) text(rest string) string {
	not := ""
	if v.numbered() {
		not = " NOT INDEXED"
	}
	return "SELECT " + strings.Join(v.s.columns, ", ") + " FROM " + v.s.name + not + " " + rest
}

func (v *salvage) row(rows *sql.Rows) ([]driver.Value, error) {
	held, into := make([]any, len(v.s.columns)), make([]any, len(v.s.columns))
	for i := range held {
		into[i] = &held[i]
	}
	err := rows.Scan(into...)
	row := make([]driver.Value, len(held))
	for i, x := range held {
		row[i] = x
	}
	return row, err
}

// probe looks for rows behind at, one number after the other.
func (v *salvage) probe(ctx context.Context, key string, at int64) (no int64, found bool, err error) {
	if at == math.MinInt64 {
		at = 0
	}
	one := v.text("WHERE " + key + " = ?1")
	lost, most := 0, at+probes
	var end sql.NullInt64
	if v.from.QueryRowContext(ctx, "SELECT max("+key+") FROM "+v.s.name+" NOT INDEXED").Scan(&end) == nil && end.Int64 < most {
		most = end.Int64
	}
	for no = at + 1; no <= most; no++ {
		rows, bad := v.from.QueryContext(ctx, one, no)
		if bad == nil {
			if rows.Next() {
				row, failed := v.row(rows)
				if bad = failed; bad == nil {
					_ = rows.Close() // it was only read
					v.unread[v.s.name] += lost
					return no, true, v.put(row)
				}
			} else {
				bad = rows.Err()
			}
			_ = rows.Close() // likewise
		}
		if ctx.Err() != nil {
			return 0, false, ctx.Err()
		}
		if bad != nil {
			lost++
		}
	}
	v.unread[v.s.name] += min(lost, 1) // how many there were nobody can say
	return 0, false, nil
}

// put puts a row into the new database, unless it is there or does not fit.
func (v *salvage) put(row []driver.Value) error {
	args := make([]any, len(row))
	for i, x := range row {
		args[i] = x
	}
	n, err := v.t.exec(strings.Replace(v.s.put, "OR REPLACE", "OR IGNORE", 1), args...)
	switch {
	case deadly(err) || endsTransaction(err):
		return err
	case err != nil:
		v.unread[v.s.name]++
	case n == 1:
		v.kept[v.s.name]++
	}
	return nil
}

// allShapes are the tables of the new database, those that others refer to first.
func (t *tx) allShapes() ([]*shape, error) {
	list, err := t.shapes()
	if err != nil {
		return nil, err
	}
	for _, name := range unmirrored {
		s, err := t.shape(name)
		if err != nil {
			return nil, err
		}
		if len(s.columns) > 0 && name != "second" {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b *shape) int { return strings.Compare(a.name, b.name) })
	return list, nil
}

// words says what was kept, or lost, for people.
func words(of map[string]int) string {
	var parts []string
	for _, w := range []struct{ table, one, many string }{
		{"event", "event", "events"}, {"sale", "outcome of a sale", "outcomes of sales"}, {"device", "device", "devices"}, {"register_key", "register key", "register keys"},
		{"queue", "register's totals", "registers' totals"}, {"answer", "answer of OpenFiskal", "answers of OpenFiskal"}, {"mailbox", "receipt", "receipts"},
		{"refused", "message in quarantine", "messages in quarantine"}, {"audit", "line of the audit trail", "lines of the audit trail"},
	} {
		if n := of[w.table]; n == 1 {
			parts = append(parts, "1 "+w.one)
		} else if n > 1 {
			parts = append(parts, fmt.Sprintf("%d %s", n, w.many))
		}
	}
	rest := 0
	for table, n := range of {
		if !strings.Contains(" event sale device register_key queue answer mailbox refused audit ", " "+table+" ") {
			rest += n
		}
	}
	if rest > 0 {
		parts = append(parts, fmt.Sprintf("%d other rows", rest))
	}
	return strings.Join(parts, ", ")
}
