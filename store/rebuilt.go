package store

import (
	"context"
	"fmt"
	"time"
)

// Rebuilt says that the database was made again, or mended, after damage.
type Rebuilt struct {
	No      int64
	At      time.Time
	Cause   string
	Aside   string // the file that was damaged; "": it was mended in its place
	Kept    string
	Unknown string // "": nothing is missing
	Trail   int64  // the line of the audit trail that says so
	SeenAt  time.Time
	SeenBy  string
}

// rebuiltBy writes it down, with its line in the audit trail.
func (db *DB) rebuiltBy(ctx context.Context, r Rebuilt) error {
	err := db.change(ctx, func(t *tx) error { return t.rebuilt(r, millis(db.now())) })
	if err != nil {
		return fmt.Errorf("write down that the database was made again: %w", err)
	}
	db.log.Error("the database was made again", "cause", r.Cause, "aside", r.Aside, "kept", r.Kept, "unknown", r.Unknown)
	return nil
}

func (t *tx) rebuilt(r Rebuilt, at int64) error {
	detail := r.Cause + "; " + r.Kept
	if r.Unknown != "" {
		detail += "; not known: " + r.Unknown
	}
	what := "database mended"
	if r.Aside != "" {
		what = "database rebuilt"
	}
	if err := t.audit(at, "edgegw", what, r.Aside, detail); err != nil {
		return err
	}
	_, err := t.exec(`INSERT INTO rebuilt (at, cause, aside, kept, unknown, trail) VALUES (?, ?, ?, ?, ?, ?)`,
		at, r.Cause, r.Aside, r.Kept, r.Unknown, t.w.rows.trail.No)
	return err
}

// RebuiltNews gives what nobody has acknowledged yet, the oldest first.
func (db *DB) RebuiltNews(ctx context.Context) (list []Rebuilt, err error) {
	err = db.query(ctx, `SELECT no, at, cause, aside, kept, unknown, trail FROM rebuilt WHERE seen_at = 0 ORDER BY no`, func(scan func(...any) error) error {
		var r Rebuilt
		var at int64
		err := scan(&r.No, &at, &r.Cause, &r.Aside, &r.Kept, &r.Unknown, &r.Trail)
		r.At = instant(at)
		list = append(list, r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read how the database was made again: %w", err)
	}
	return list, nil
}

// LastRebuilt gives the last time, whoever has acknowledged it; No 0: never.
func (db *DB) LastRebuilt(ctx context.Context) (r Rebuilt, err error) {
	err = db.query(ctx, `SELECT no, at, cause, aside, trail FROM rebuilt WHERE aside <> '' ORDER BY no DESC LIMIT 1`, func(scan func(...any) error) error {
		var at int64
		err := scan(&r.No, &at, &r.Cause, &r.Aside, &r.Trail)
		r.At = instant(at)
		return err
	})
	if err != nil {
		err = fmt.Errorf("read when the database was made again: %w", err)
	}
	return r, err
}

// AcknowledgeRebuilt notes that a person knows of it, and gives how much there was to
// know.
func (db *DB) AcknowledgeRebuilt(ctx context.Context, at time.Time, by string) (n int, err error) {
	err = db.change(ctx, func(t *tx) error {
		rows, err := t.exec(`UPDATE rebuilt SET seen_at = ?, seen_by = ? WHERE seen_at = 0`, millis(at), by)
		if n = int(rows); err != nil || n == 0 {
			return err
		}
		return t.audit(millis(at), by, "rebuilt database acknowledged", "", "")
	})
	if err != nil {
		err = fmt.Errorf("note who knows that the database was made again: %w", err)
	}
	return n, err
}

// second gives the second journal's image where it follows the damaged database.
// One that was turned off before, or is another database's, puts nothing in.
func (r *rebuilder) second(t *tx, generation string, readable bool) (m *image, trusted bool, err error) {
	if !r.secondKnows() || readable && !follows(r.generations(), generation) {
		return nil, false, nil
	}
	shapes, err := t.shapes()
	if err != nil {
		return nil, false, err
	}
	built := map[string]*shape{}
	for _, s := range shapes {
		built[s.name] = s
	}
	if m, err = readImageFor(r.Second, built); err != nil {
		r.Log.Error("the second journal cannot be read", "cause", err)
		return nil, false, nil
	}
	return m, m.lost == 0, nil
}
