package store

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"edgegw/sale"
)

// sweepAll walks to the end and gives how many sales went.
func sweepAll(t testing.TB, db *DB, before time.Time) int64 {
	t.Helper()
	s := Sweep{Now: before.Add(24 * time.Hour)}
	for n := 0; !s.Done; n++ {
		var err error
		if s, err = db.Sweep(t.Context(), s, before); err != nil {
			t.Fatal(err)
		}
		if n > 10_000 {
			t.Fatal("the walk does not end")
		}
	}
	return s.Removed
}

// sold accepts a whole sale and confirms it; its mailed.
func sold(t testing.TB, db *DB, d sale.DeviceID, r sale.RegisterID, id string) {
	t.Helper()
	if _, err := appendNow(t, db, entry(d, r, sale.Whole, id, "content")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		confirm(t, db, r)
	}
}

// taken says that the device has its receipts.
func taken(t testing.TB, db *DB, d sale.DeviceID) {
	t.Helper()
	letters, err := db.Letters(t.Context(), d, 0, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range letters {
		if err := db.Delivered(t.Context(), d, l.No, t0); err != nil {
			t.Fatal(err)
		}
	}
}

func saleIDs(t testing.TB, db *DB) (all []string) {
	t.Helper()
	list, err := db.Sales(t.Context(), SaleFilter{Limit: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		all = append(all, s.SaleID)
	}
	slices.Sort(all)
	return all
}

func rowsOf(t testing.TB, db *DB, table string) (n int64) {
	t.Helper()
	if err := db.queryOne(t.Context(), `SELECT count(*) FROM `+table, nil, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Only what is over goes, with all that was kept of it; the books stay.
func TestSweepRemovesOnlyWhatIsOver(t *testing.T) {
	db := openTest(t)
	addDevice(t, db, "pump-1", "reg_1")
	addDevice(t, db, "pump-2", "reg_2")
	addDevice(t, db, "pump-3", "reg_3")
	later := t0.Add(time.Hour)
	sold(t, db, "pump-1", "reg_1", "over")
	for _, k := range []sale.Kind{sale.Start, sale.Update, sale.Complete} { // of several events
		if _, err := appendNow(t, db, entry("pump-1", "reg_1", k, "parts", "content")); err != nil {
			t.Fatal(err)
		}
		for n := map[sale.Kind]int{sale.Start: 1, sale.Update: 1, sale.Complete: 2}[k]; n > 0; n-- {
			confirm(t, db, "reg_1")
		}
	}
	taken(t, db, "pump-1")
	sold(t, db, "pump-2", "reg_2", "mailed")
	for _, id := range []string{"waits", "newest"} {
		if _, err := appendNow(t, db, entry("pump-3", "reg_3", sale.Whole, id, "content")); err != nil {
			t.Fatal(err)
		}
	}
	before, err := db.Queues(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := sweepAll(t, db, t0); n != 0 {
		t.Errorf("%d sales went before their time", n)
	}
	if n := sweepAll(t, db, later); n != 2 {
		t.Errorf("%d sales went, want 2", n)
	}
	if got, want := saleIDs(t, db), []string{"mailed", "newest", "waits"}; !slices.Equal(got, want) {
		t.Errorf("left are %v, want %v", got, want)
	}
	for table, want := range map[string]int64{"event": 3, "sale": 1, "answer": 3, "mailbox": 1, "update_seen": 0} {
		if got := rowsOf(t, db, table); got != want {
			t.Errorf("%d rows of %s are left, want %d", got, table, want)
		}
	}
	if after, err := db.Queues(t.Context()); err != nil || !reflect.DeepEqual(after, before) {
		t.Errorf("the books were %+v and are %+v, %v", before, after, err)
	}
	if faults, err := db.Recount(t.Context()); err != nil || len(faults) > 0 {
		t.Errorf("the books do not add up afterwards: %v, %v", faults, err)
	}
	if h := confirm(t, db, "reg_3"); h.SaleID != "waits" {
		t.Errorf("the queue goes on with %s", h.SaleID)
	}
	if a, err := appendNow(t, db, entry("pump-1", "reg_1", sale.Whole, "over", "another content")); err != nil || a.Status != sale.Queued {
		t.Errorf("the id of a sale that was removed: %v, %v", a.Status, err)
	}
	if err := db.RemoveDevice(t.Context(), "pump-2", "test"); err != nil {
		t.Fatal(err)
	}
	if n := sweepAll(t, db, later); n != 1 { // nobody will ask for that receipt
		t.Errorf("%d sales of a device that was removed went, want 1", n)
	}
}

// Numbers are never given twice, though all is removed and the journal opened anew.
func TestSweepKeepsTheNumbers(t *testing.T) {
	dir := t.TempDir()
	db := openIn(t, dir)
	addDevice(t, db, "pump-1", "reg_1")
	for n := range 5 {
		sold(t, db, "pump-1", "reg_1", fmt.Sprint("s", n))
	}
	taken(t, db, "pump-1")
	highest := func() (event, answer, letter int64) {
		if err := db.queryOne(t.Context(), `SELECT (SELECT max(no) FROM event), (SELECT max(no) FROM answer), (SELECT max(no) FROM mailbox)`, nil, &event, &answer, &letter); err != nil {
			t.Fatal(err)
		}
		return event, answer, letter
	}
	e, a, l := highest()
	if n := sweepAll(t, db, t0.Add(time.Hour)); n != 4 {
		t.Errorf("%d sales went, want all but the newest", n)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openIn(t, dir)
	sold(t, db, "pump-1", "reg_1", "next")
	if e2, a2, l2 := highest(); e2 != e+1 || a2 != a+3 || l2 != l+1 {
		t.Errorf("the next numbers are %d, %d, %d after %d, %d, %d", e2, a2, l2, e, a, l)
	}
	if got, want := saleIDs(t, db), []string{"next", "s4"}; !slices.Equal(got, want) {
		t.Errorf("left are %v, want %v", got, want)
	}
}

// A walk over thousands of sales takes many small steps, and the space goes back to
// the file system.
func TestSpaceIsGivenBack(t *testing.T) {
	dir := t.TempDir()
	db := openIn(t, dir)
	addDevice(t, db, "pump-1", "reg_1")
	const sales = 1600
	err := db.change(t.Context(), func(t *tx) error { // as so many sales would leave it
		for n := 1; n <= sales; n++ {
			if _, err := t.exec(`INSERT INTO event (no, sale, device, register, kind, flags, at, total, ref, operation, currency, raw, calls)
				VALUES (?1, ?1, 1, 1, 5, 0, 0, 0, 's' || ?1, '', 'EUR', zeroblob(50000), x'')`, n); err != nil {
				return err
			}
			if _, err := t.exec(`INSERT INTO sale (no, state, changed_at) VALUES (?, ?, 0)`, n, sale.Settled); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if more, err := db.GiveBack(t.Context()); more || err != nil {
		t.Errorf("before anything is free: %v, %v", more, err)
	}
	if n := sweepAll(t, db, t0.Add(time.Hour)); n != sales-1 {
		t.Fatalf("%d sales went, want %d", n, sales-1)
	}
	free, used, err := db.Room(t.Context())
	if err != nil || free < 70<<20 || used > 10<<20 {
		t.Errorf("%d bytes free, %d used, %v", free, used, err)
	}
	steps := 0
	for more := true; more; steps++ {
		if more, err = db.GiveBack(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if free, _, err = db.Room(t.Context()); err != nil || free > (giveBackTo+giveBackStep)*4096 || free < giveBackTo*4096 {
		t.Errorf("%d bytes are free afterwards, %v", free, err)
	}
	if err := db.Close(); err != nil { // copies the log, and with it the shorter file
		t.Fatal(err)
	}
	info, err := os.Stat(db.path)
	if err != nil || info.Size() > 40<<20 {
		t.Errorf("the file has %d bytes after %d steps, %v", info.Size(), steps, err)
	}
	db = openIn(t, dir)
	if damage, err := db.QuickCheck(t.Context()); damage != "" || err != nil {
		t.Errorf("afterwards: %s, %v", damage, err)
	}
	if events, sales := rowsOf(t, db, "event"), rowsOf(t, db, "sale"); events != 1 || sales != 1 {
		t.Errorf("%d events and %d sales are left", events, sales)
	}
}

// What was accepted while the clock ran ahead by decades keeps nothing that came after it
// for as long: the disk would fill.
func TestSweepPassesWhatCameFromTheFuture(t *testing.T) {
	db := openTest(t)
	addDevice(t, db, "pump-1", "reg_1")
	ahead := entry("pump-1", "reg_1", sale.Whole, "ahead", "content")
	ahead.At = t0.AddDate(24, 0, 0)
	if _, err := appendNow(t, db, ahead); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		confirm(t, db, "reg_1")
	}
	for _, id := range []string{"after", "newest"} {
		sold(t, db, "pump-1", "reg_1", id)
	}
	taken(t, db, "pump-1")
	sweepAll(t, db, t0.Add(time.Hour))
	if left := saleIDs(t, db); !slices.Equal(left, []string{"newest"}) {
		t.Errorf("left are %q", left)
	}
}
