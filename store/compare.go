package store

import (
	"bytes"
	"context"
	"database/sql/driver"
	"fmt"
	"hash/fnv"
	"slices"
	"sort"
)

// image is what the second journal knows of the database: of each row that it has
// seen the newest version, and which ones came before.
type image struct {
	rows   map[string]*seenRow
	frames int
	lost   int
	clean  bool // the database was closed after the last frame, and holds all of them
	shapes []*shape
	built  map[string]*shape // how the tables are built that it is put into; nil: as it says itself
}

type seenRow struct {
	of     *shape
	key    []byte
	newest []byte // nil: the row is gone
	older  map[uint64]bool
	frame  int
}

func hashOf(b []byte) uint64 {
	h := fnv.New64a()
	h.Write(b)
	return h.Sum64()
}

// readImage reads the whole second journal, for tables that are built as it says.
func readImage(j Second) (*image, error) { return readImageFor(j, nil) }

// readImageFor reads it for tables that may lack columns, of a newer edgegw: what stood
// in them is left out.
func readImageFor(j Second, built map[string]*shape) (*image, error) {
	m := &image{rows: map[string]*seenRow{}, built: built}
	for _, g := range j.Generations() {
		m.lost += g.Lost
	}
	shapes, of := map[int]*shape{}, -1
	var before []byte // a frame counts once the next one does not say otherwise
	take := func(payload []byte) error {
		if len(payload) == 0 {
			return nil
		}
		m.frames++
		return m.take(payload, shapes)
	}
	err := j.Read(func(generation int, payload []byte) error {
		void := false
		if of != generation {
			if err := take(before); err != nil {
				return err
			}
			before, of, shapes = nil, generation, map[int]*shape{}
		}
		if i := voidAt(payload); i >= 0 {
			void = true
			payload = slices.Concat(payload[:i], payload[i+1:])
		}
		if !void {
			if err := take(before); err != nil {
				return err
			}
		}
		before = bytes.Clone(payload)
		return nil
	})
	if err == nil {
		err = take(before)
	}
	for no := 0; shapes[no] != nil; no++ {
		m.shapes = append(m.shapes, shapes[no])
	}
	return m, err
}

// voidAt finds the word that the frame before does not count. It stands before all
// rows.
func voidAt(payload []byte) int {
	r := reader{b: payload}
	for len(r.b) > 0 && r.b[0] == opTable {
		r.octet()
		if r.shape(); r.bad {
			return -1
		}
	}
	if len(r.b) > 0 && r.b[0] == opVoid {
		return len(payload) - len(r.b)
	}
	return -1
}

func (m *image) take(payload []byte, shapes map[int]*shape) error {
	r := reader{b: payload}
	m.clean = false
	for len(r.b) > 0 && !r.bad {
		switch op := r.octet(); op {
		case opTable:
			if no, s := r.shape(); s != nil {
				shapes[no] = s
			}
		case opClean:
			m.clean = true
		case opPut, opDelete:
			s := shapes[r.number()]
			if s == nil {
				return errFrame
			}
			n := len(s.key)
			if op == opPut {
				n = len(s.columns)
			}
			at := r.b
			row := r.row(n)
			if r.bad {
				return errFrame
			}
			stored := at[:len(at)-len(r.b)]
			if op == opDelete {
				if lacks(m.built[s.name], s) {
					s, _ = s.without(m.built[s.name], make([]driver.Value, len(s.columns)))
				}
				m.see(s, stored, nil)
			} else {
				if lacks(m.built[s.name], s) {
					s, row = s.without(m.built[s.name], row)
					stored = appendRow(nil, row)
				}
				m.see(s, s.keyOf(row), stored)
			}
		default:
			return errFrame
		}
	}
	if r.bad {
		return errFrame
	}
	return nil
}

func lacks(into, s *shape) bool {
	return into != nil && slices.ContainsFunc(s.columns, func(c string) bool { return !slices.Contains(into.columns, c) })
}

// without leaves out what a table has no column for.
func (s *shape) without(into *shape, row []driver.Value) (*shape, []driver.Value) {
	less, kept := &shape{name: s.name, rowid: s.rowid}, []driver.Value(nil)
	for i, c := range s.columns {
		if !slices.Contains(into.columns, c) {
			continue
		}
		if slices.Contains(s.key, i) {
			less.key = append(less.key, len(less.columns))
		}
		less.columns, kept = append(less.columns, c), append(kept, row[i])
	}
	less.make()
	return less, kept
}

func (m *image) see(s *shape, key, row []byte) {
	name := s.name + "\x00" + string(key)
	x := m.rows[name]
	if x == nil {
		x = &seenRow{of: s, key: key, older: map[uint64]bool{}}
		m.rows[name] = x
	} else if x.newest != nil && !bytes.Equal(x.newest, row) {
		x.older[hashOf(x.newest)] = true
	}
	x.of, x.newest, x.frame = s, row, m.frames
}

// mended is what was put into a database from its second journal.
type mended struct {
	rows    int
	events  int // of which were not there, or were damaged
	damaged int // of these
	late    int // rows whose frame was not the last one: the database had lost what was synced
}

// reconcile puts into the database what the second journal knows better. A row that
// the database has in an older version, or not at all, is behind; one that it has in
// a version that the second journal has never seen was written in the last commit
// before the power went, and stays, unless it is of a kind that never changes.
func (t *tx) reconcile(m *image) (did mended, err error) {
	names := make([]string, 0, len(m.rows))
	for name := range m.rows {
		names = append(names, name)
	}
	sort.Strings(names)
	exists := map[string]bool{}
	if err := t.query(`SELECT name FROM sqlite_schema WHERE type = 'table'`, func(row []driver.Value) error {
		exists[row[0].(string)] = true
		return nil
	}); err != nil {
		return did, err
	}
	for _, name := range names {
		x := m.rows[name]
		if !exists[x.of.name] {
			continue
		}
		if err := t.reconcileRow(m, x, &did); err != nil {
			return did, fmt.Errorf("put a row of %s back: %w", x.of.name, err)
		}
	}
	return did, nil
}

func (t *tx) reconcileRow(m *image, x *seenRow, did *mended) error {
	key := reader{b: x.key}
	args := make([]any, 0, len(x.of.key))
	for _, v := range key.row(len(x.of.key)) {
		args = append(args, v)
	}
	var have []byte
	if err := t.query(x.of.read, func(row []driver.Value) error { have = appendRow([]byte{}, row); return nil }, args...); err != nil {
		return err
	}
	behind := have == nil || x.older[hashOf(have)]
	torn := have != nil && x.newest != nil && !behind && x.of.name == "event" && differs(x.of, have, x.newest)
	switch {
	case bytes.Equal(have, x.newest) || have == nil && x.newest == nil || !behind && !torn:
		return nil
	case x.newest == nil:
		if _, err := t.exec(x.of.remove, args...); err != nil {
			return err
		}
	default:
		row := reader{b: x.newest}
		args = args[:0]
		for _, v := range row.row(len(x.of.columns)) {
			args = append(args, v)
		}
		if _, err := t.exec(x.of.put, args...); err != nil {
			return err
		}
	}
	did.rows++
	if x.of.name == "event" && (have == nil || torn) {
		did.events++
	}
	if torn {
		did.damaged++
	}
	if torn || x.frame < m.frames {
		did.late++
	}
	return nil
}

// differs compares what never changes of an event.
func differs(s *shape, a, b []byte) bool {
	one, other := reader{b: a}, reader{b: b}
	x, y := one.row(len(s.columns)), other.row(len(s.columns))
	for i, c := range s.columns {
		if c != "rseq" && c != "flags" && !bytes.Equal(appendValue(nil, x[i]), appendValue(nil, y[i])) {
			return true
		}
	}
	return false
}

// known is what the second journal was found to be at the opening.
type known struct {
	image   *image
	follows bool // it follows this very database
	mended  mended
}

// compare brings a database up to what its second journal holds, before anything
// else is done to it: SQLite leaves out the end of a write-ahead log that was
// damaged, and says nothing.
func (w *writer) compare(t *tx) (k known, err error) {
	if w.second == nil {
		return k, nil
	}
	generations := w.second.j.Generations()
	id, version, err := t.followed()
	if err != nil || id == "" || len(generations) == 0 || !follows(generations, id) {
		return k, err
	}
	if k.image, err = readImage(w.second.j); err != nil {
		w.db.log.Error("the second journal cannot be read", "cause", err)
		return known{}, nil
	}
	k.follows = true
	if k.image.clean || slices.ContainsFunc(generations, func(g SecondGeneration) bool { return g.Schema != version }) {
		return k, nil
	}
	err = w.script(t, "PRAGMA foreign_keys = 0", "BEGIN IMMEDIATE")
	if err == nil {
		if k.mended, err = t.reconcile(k.image); err == nil {
			err = w.script(t, "COMMIT")
		} else {
			_ = w.script(t, "ROLLBACK") // what went wrong before counts
		}
	}
	if err != nil {
		return k, fmt.Errorf("compare with the second journal: %w", err)
	}
	return k, w.script(t, "PRAGMA foreign_keys = 1")
}

// follows reports whether the database is the one that the generations are of. Its
// own word may be of the commit before.
func follows(generations []SecondGeneration, id string) bool {
	newest := generations[len(generations)-1]
	return newest.Before == id || slices.ContainsFunc(generations, func(g SecondGeneration) bool { return g.ID == id })
}

// followed gives the generation that follows the database by its own word.
func (t *tx) followed() (id string, version int, err error) {
	v, err := t.value("PRAGMA user_version")
	if err != nil {
		return "", 0, err
	}
	there, err := t.value(`SELECT 1 FROM sqlite_schema WHERE name = 'second'`)
	if err != nil || there == nil {
		return "", int(v.(int64)), err
	}
	g, err := t.value(`SELECT generation FROM second`)
	id, _ = g.(string)
	return id, int(v.(int64)), err
}

// goOn has the second journal follow from here on.
func (w *writer) goOn(t *tx, k known) error {
	id, version, err := t.followed()
	if err != nil {
		return err
	}
	s := w.second
	if s == nil {
		if id != "" { // what changes from now on, it does not see
			_, err = t.exec(`UPDATE second SET generation = ''`)
		}
		return err
	}
	w.known = k
	go s.own()
	shapes, err := t.shapes()
	if err != nil {
		return err
	}
	if g := s.j.Generations(); k.follows && len(g) == 1 && g[0].ID == id && g[0].Schema == version && sameShapes(shapes, k.image.shapes) {
		if err := s.j.Continue(); err == nil {
			s.follow(version, shapes)
			s.on, s.isWhole = true, true
			s.tell(SecondState{Used: true, On: true})
			if s.j.Room() < secondRest {
				s.ring()
			}
			return nil
		}
	}
	s.ring()
	return nil
}

func sameShapes(a, b []*shape) bool {
	return slices.EqualFunc(a, b, func(x, y *shape) bool {
		return x.name == y.name && slices.Equal(x.columns, y.columns) && slices.Equal(x.key, y.key)
	})
}

// tellMended writes down that the database had lost what was synced, and has it
// again. A last commit that only one of the two had finished was promised to nobody.
func (db *DB) tellMended(ctx context.Context) error {
	m := db.w.known.mended
	db.w.known = known{}
	if m.late == 0 {
		return nil
	}
	cause := "the database had lost what was committed: its write-ahead log was damaged or cut off"
	if m.damaged > 0 {
		cause = "the database had changed by itself"
	}
	return db.rebuiltBy(ctx, Rebuilt{Cause: cause, Kept: fmt.Sprintf("%d rows were put back from the second journal, %d of them events of sales", m.rows, m.events)})
}
