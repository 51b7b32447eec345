package store

import (
	"bytes"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// What the second journal holds: for each commit the rows that it has changed, as
// they are after it. The form is stored: numbers of operations and of types are
// added, never changed.
const (
	opTable  = 1 // number, name, columns, and which of them are the key
	opPut    = 2 // a row as it is now
	opDelete = 3 // the key of a row that is gone
	opVoid   = 4 // the frame before was not committed
	opClean  = 5 // the database was closed, and holds all of this
)

const (
	typeNull    = 0
	typeInteger = 1
	typeText    = 2
	typeBlob    = 3
	typeReal    = 4
)

var errFrame = errors.New("a frame of the second journal cannot be understood")

// shape is how a table is built.
type shape struct {
	name    string
	columns []string
	key     []int // of the columns
	rowid   bool  // its rows have numbers

	read, put, remove string // statements
}

func (s *shape) make() {
	var where []string
	for i, k := range s.key {
		where = append(where, fmt.Sprintf("%s = ?%d", s.columns[k], i+1))
	}
	marks := strings.TrimSuffix(strings.Repeat("?, ", len(s.columns)), ", ")
	s.read = fmt.Sprintf("SELECT %s FROM %s WHERE %s", strings.Join(s.columns, ", "), s.name, strings.Join(where, " AND "))
	s.put = fmt.Sprintf("INSERT OR REPLACE INTO %s (%s) VALUES (%s)", s.name, strings.Join(s.columns, ", "), marks)
	s.remove = fmt.Sprintf("DELETE FROM %s WHERE %s", s.name, strings.Join(where, " AND "))
}

// keyOf gives the row's key in its stored form.
func (s *shape) keyOf(row []driver.Value) []byte {
	var b []byte
	for _, k := range s.key {
		b = appendValue(b, row[k])
	}
	return b
}

func appendValue(b []byte, v driver.Value) []byte {
	switch x := v.(type) {
	case nil:
		return append(b, typeNull)
	case int64:
		return binary.AppendVarint(append(b, typeInteger), x)
	case string:
		b = binary.AppendUvarint(append(b, typeText), uint64(len(x)))
		return append(b, x...)
	case []byte:
		b = binary.AppendUvarint(append(b, typeBlob), uint64(len(x)))
		return append(b, x...)
	case float64:
		return binary.LittleEndian.AppendUint64(append(b, typeReal), math.Float64bits(x))
	}
	panic(fmt.Sprintf("a column of type %T", v)) // guard gives it back as an error
}

func appendRow(b []byte, row []driver.Value) []byte {
	for _, v := range row {
		b = appendValue(b, v)
	}
	return b
}

func appendShape(b []byte, no int, s *shape) []byte {
	b = binary.AppendUvarint(append(b, opTable), uint64(no))
	b = appendValue(b, s.name)
	b = binary.AppendUvarint(b, uint64(len(s.columns)))
	for i, c := range s.columns {
		b = appendValue(b, c)
		in := byte(0)
		if slices.Contains(s.key, i) {
			in = 1
		}
		b = append(b, in)
	}
	return b
}

// reader takes what was appended.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) number() int {
	n, w := binary.Uvarint(r.b)
	if w <= 0 || n > uint64(len(r.b)) && n > 1<<20 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[w:]
	return int(n)
}

func (r *reader) octet() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	o := r.b[0]
	r.b = r.b[1:]
	return o
}

func (r *reader) value() driver.Value {
	switch r.octet() {
	case typeNull:
		return nil
	case typeInteger:
		n, w := binary.Varint(r.b)
		if w <= 0 {
			break
		}
		r.b = r.b[w:]
		return n
	case typeText:
		return string(r.bytes())
	case typeBlob:
		return bytes.Clone(nonNil(r.bytes()))
	case typeReal:
		if len(r.b) < 8 {
			break
		}
		v := math.Float64frombits(binary.LittleEndian.Uint64(r.b))
		r.b = r.b[8:]
		return v
	}
	r.bad, r.b = true, nil
	return nil
}

func (r *reader) bytes() []byte {
	n := r.number()
	if n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) row(n int) []driver.Value {
	row := make([]driver.Value, n)
	for i := range row {
		row[i] = r.value()
	}
	return row
}

func (r *reader) shape() (no int, s *shape) {
	no, s = r.number(), &shape{}
	s.name, _ = r.value().(string)
	for i := range r.number() {
		c, _ := r.value().(string)
		if s.columns = append(s.columns, c); r.octet() == 1 {
			s.key = append(s.key, i)
		}
		if r.bad {
			return 0, nil
		}
	}
	if s.name == "" || len(s.columns) == 0 || len(s.key) == 0 {
		r.bad = true
		return 0, nil
	}
	s.make()
	return no, s
}

// unmirrored tables are not worth their bytes, or are about the second journal
// itself.
var unmirrored = []string{"attempt", "second"}

// shapes reads how the tables are built that the second journal follows.
func (t *tx) shapes() (list []*shape, err error) {
	var names []string
	err = t.query(`SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name`, func(row []driver.Value) error {
		if name := row[0].(string); !slices.Contains(unmirrored, name) {
			names = append(names, name)
		}
		return nil
	})
	for _, name := range names {
		if err != nil {
			return nil, err
		}
		var s *shape
		s, err = t.shape(name)
		list = append(list, s)
	}
	return list, err
}

func (t *tx) shape(name string) (*shape, error) {
	s := &shape{name: name}
	err := t.query(`SELECT name, pk FROM pragma_table_info(?) ORDER BY cid`, func(row []driver.Value) error {
		if s.columns = append(s.columns, row[0].(string)); row[1].(int64) > 0 {
			s.key = append(s.key, len(s.columns)-1)
		}
		return nil
	}, name)
	if err != nil {
		return nil, err
	}
	v, err := t.value(`SELECT wr FROM pragma_table_list WHERE name = ?`, name)
	s.rowid = v == int64(0)
	s.make()
	return s, err
}
