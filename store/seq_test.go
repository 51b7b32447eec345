package store

import (
	"fmt"
	"slices"
	"testing"

	"edgegw/sale"
)

// What is stored of a device's gaps is what is known of them, also where there are so
// many that the oldest become one.
func TestManyGapsAreStoredAsTheyAreKnown(t *testing.T) {
	dir := t.TempDir()
	db := openIn(t, dir)
	addDevice(t, db, "pump1", "r1")
	known := &sale.Sequence{}
	for n, seq := range []int64{2, 4, 6, 7, 8, 5} {
		for round := range int64(40) {
			e := entry("pump1", "r1", sale.Whole, fmt.Sprint("s", n, "-", round), "x")
			e.Event.Seq, e.Event.HasSeq = seq+10*round, true
			if seq == 5 {
				e.Event.Seq = 10*round + 1 // missing from the second round on
			}
			known.Note(e.Event.Seq)
			mustAppend(t, db, e, sale.Queued)
		}
	}
	for _, db := range []*DB{db, openIn(t, kill(t, db))} {
		gaps, err := db.Gaps(t.Context())
		if err != nil || len(gaps) != len(known.Missing) || len(gaps) < 5 {
			t.Fatalf("%d gaps are stored, %d are known (%v)", len(gaps), len(known.Missing), err)
		}
		for _, g := range gaps {
			if s := (sale.Span{First: g.First, Last: g.Last}); !slices.Contains(known.Missing, s) {
				t.Errorf("%v is stored, and not known", s)
			}
		}
	}
}
