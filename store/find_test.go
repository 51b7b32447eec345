package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"edgegw/sale"
)

// bigJournal has n sales of two registers, one a second. Every other one was
// started and completed, the others came whole; all but every tenth are confirmed.
// Sale i is of i × 100 + 7 cents.
func bigJournal(t *testing.T, n int) *DB {
	t.Helper()
	dir := t.TempDir()
	db := openIn(t, dir)
	addDevice(t, db, "pump-01", "reg_1")
	addDevice(t, db, "pump-02", "reg_2")
	db.Close()
	of := fmt.Sprintf(`WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < %d) `, n)
	begin := t0.UnixMilli()
	outside(t, dir,
		of+fmt.Sprintf(`INSERT INTO event (no, sale, device, register, kind, flags, at, total, ref, operation, currency, raw, calls)
			SELECT 2 * i, 2 * i, d.no, d.register, iif(i %% 2, 1, 5), 8, %d + i * 1000, iif(i %% 2, 0, i * 100 + 7), printf('s%%06d', i),
			       printf('%%s-%%s-7abc-8000-%%012d', substr(printf('%%012x', %d + i * 1000), 1, 8), substr(printf('%%012x', %d + i * 1000), 9), i), 'EUR', x'7b7d', x'00'
			  FROM c JOIN device d ON d.device_id = iif(i %% 4 < 2, 'pump-01', 'pump-02')`, begin, begin, begin),
		of+fmt.Sprintf(`INSERT INTO event (no, sale, device, register, kind, flags, at, total, raw, calls)
			SELECT 2 * i + 1, 2 * i, o.device, o.register, 3, 8, %d + i * 1000 + 500, i * 100 + 7, x'7b7d', x'00' FROM c JOIN event o ON o.no = 2 * i WHERE i %% 2`, begin),
		of+fmt.Sprintf(`INSERT INTO sale (no, state, changed_at, operation, fiscal_state, document)
			SELECT 2 * i, 2, %d + i * 1000 + 900, iif(i %% 100 = 1, 'op_' || i, NULL), 'succeeded', printf('2026-%%06d', i) FROM c WHERE i %% 10`, begin))
	return openIn(t, dir)
}

func second(i int) time.Time { return t0.Add(time.Duration(i) * time.Second) }

func idsOf(sales []Sale) (ids []string) {
	for _, s := range sales {
		ids = append(ids, s.SaleID)
	}
	return ids
}

// Each field finds what it names among a thousand, and nothing else.
func TestFindSales(t *testing.T) {
	db := bigJournal(t, 1000)
	made := second(314).UnixMilli()
	operation := fmt.Sprintf("%08x-%04x-7abc-8000-%012d", made>>16, made&0xffff, 314)
	one := func(n int64) sale.Amounts { return sale.Amounts{Set: true, Least: n, Most: n} }
	for name, row := range map[string]struct {
		f    SaleFilter
		want string
	}{
		"id":                         {SaleFilter{SaleID: "s000314"}, "s000314"},
		"id of another device":       {SaleFilter{SaleID: "s000314", Device: "pump-01"}, ""},
		"operation, as made here":    {SaleFilter{Operation: operation}, "s000314"},
		"operation, as it is called": {SaleFilter{Operation: "op_401"}, "s000401"},
		"receipt number":             {SaleFilter{Document: "2026-000314"}, "s000314"},
		"half a receipt number":      {SaleFilter{Document: "2026-00031"}, ""},
		"how receipt numbers begin":  {SaleFilter{Document: "2026-00031*"}, "s000319 s000318 s000317 s000316 s000315 s000314 s000313 s000312 s000311"},
		"a wildcard of SQL":          {SaleFilter{Document: "2026-00031%"}, ""},
		"amount of a whole one":      {SaleFilter{Amount: one(31407)}, "s000314"},
		"amount of a completed one":  {SaleFilter{Amount: one(31507)}, "s000315"},
		"amounts":                    {SaleFilter{Amount: sale.Amounts{Set: true, Least: 31407, Most: 31607}}, "s000316 s000315 s000314"},
		"no amount":                  {SaleFilter{Amount: one(0)}, ""},
		"amounts and a register":     {SaleFilter{Amount: sale.Amounts{Set: true, Least: 31407, Most: 31607}, Register: "reg_1"}, "s000316"},
		"time":                       {SaleFilter{From: second(314), To: second(316)}, "s000315 s000314"},
		"time and device":            {SaleFilter{From: second(314), To: second(318), Device: "pump-01"}, "s000317 s000316"},
		"since":                      {SaleFilter{From: second(999)}, "s001000 s000999"},
		"until":                      {SaleFilter{To: second(3)}, "s000002 s000001"},
		"a time before all":          {SaleFilter{To: t0}, ""},
		"a time after all":           {SaleFilter{From: second(5000)}, ""},
		"time and state":             {SaleFilter{From: second(300), To: second(315), State: sale.Waiting}, "s000310 s000300"},
		"an unknown register":        {SaleFilter{Register: "reg_9"}, ""},
	} {
		found, err := db.FindSales(t.Context(), row.f)
		if got := strings.Join(idsOf(found.Sales), " "); err != nil || got != row.want || found.Next != 0 {
			t.Errorf("%s: %s, next %d, %v; want %s", name, got, found.Next, err, row.want)
		}
	}
	found, err := db.FindSales(t.Context(), SaleFilter{SaleID: "s000315"})
	if err != nil || len(found.Sales) != 1 {
		t.Fatal(found, err)
	}
	if s := found.Sales[0]; s.Device != "pump-02" || s.Register != "reg_2" || s.Total != 31507 || s.Currency != "EUR" || s.Document != "2026-000315" || !s.AcceptedAt.Equal(second(315)) || s.State != sale.Settled || s.Open {
		t.Errorf("found %+v", s)
	}
}

func TestNothingWasEverSold(t *testing.T) {
	db := openTest(t)
	for _, f := range []SaleFilter{{}, {From: t0}, {To: t0}, {From: t0, To: second(1)}, {SaleID: "s1"}, {Document: "2026*"}, {Operation: "019abcde-0000-7abc-8000-000000000000"}, {Before: 7}} {
		if found, err := db.FindSales(t.Context(), f); err != nil || len(found.Sales) > 0 || found.Next != 0 {
			t.Errorf("%+v: %+v, %v", f, found, err)
		}
	}
}

// Page by page a search gives every sale once.
func TestPagesOfSales(t *testing.T) {
	db := bigJournal(t, 120)
	var all []string
	f, sizes := SaleFilter{Limit: 50, Register: "reg_1"}, []int{}
	for {
		found, err := db.FindSales(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		all, sizes = append(all, idsOf(found.Sales)...), append(sizes, len(found.Sales))
		if f.Before = found.Next; found.Next == 0 {
			break
		}
		if want := found.Sales[len(found.Sales)-1].AcceptedAt; !found.Reached.Equal(want) {
			t.Errorf("reached %s, want %s", found.Reached, want)
		}
	}
	if len(slices.Compact(all)) != 60 || !slices.IsSortedFunc(all, func(a, b string) int { return strings.Compare(b, a) }) || !slices.Equal(sizes, []int{50, 10}) {
		t.Errorf("pages of %v: %v", sizes, all)
	}
	f = SaleFilter{Limit: 60, Register: "reg_1"}
	if found, err := db.FindSales(t.Context(), f); err != nil || len(found.Sales) != 60 || found.Next != 0 {
		t.Errorf("%d sales, and then %d, %v: there is no more", len(found.Sales), found.Next, err)
	}
}

// Among a hundred thousand sales no search looks at more than it may, and each says
// where it goes on.
func TestASearchIsBounded(t *testing.T) {
	const sales = 100_000
	db := bigJournal(t, sales)
	none := sale.Amounts{Set: true, Least: 1, Most: 1}
	for name, row := range map[string]struct {
		f    SaleFilter
		most int64 // numbers looked at by one search
	}{
		"amount":         {SaleFilter{Amount: none}, mostEvents},
		"device":         {SaleFilter{Device: "pump-77"}, mostEvents},
		"state":          {SaleFilter{State: sale.ByPerson}, mostEvents},
		"operation":      {SaleFilter{Operation: "op_none"}, mostEvents},
		"receipt number": {SaleFilter{Document: "none"}, mostSales},
	} {
		at, searches := int64(2*sales+1), 0
		for {
			found, err := db.FindSales(t.Context(), row.f)
			if err != nil || len(found.Sales) > 0 {
				t.Fatalf("%s: %v, %v", name, idsOf(found.Sales), err)
			}
			searches++
			if looked := at - max(found.Next, 2); looked > row.most || found.Reached.IsZero() != (found.Next == 0) {
				t.Errorf("%s: search %d looked at %d numbers and reached %s", name, searches, looked, found.Reached)
			}
			if at = found.Next; at == 0 {
				break
			}
			row.f.Before = found.Next
		}
		if want := (2*sales + row.most - 1) / row.most; int64(searches) != want {
			t.Errorf("%s: %d searches, want %d", name, searches, want)
		}
	}
	// A time leads to its sales at once, wherever they stand; so do an id and an operation.
	made := second(4711).UnixMilli()
	for name, f := range map[string]SaleFilter{
		"time":      {From: second(4711), To: second(4712)},
		"id":        {SaleID: "s004711"},
		"operation": {Operation: fmt.Sprintf("%08x-%04x-7abc-8000-%012d", made>>16, made&0xffff, 4711)},
	} {
		if found, err := db.FindSales(t.Context(), f); err != nil || len(found.Sales) != 1 || found.Sales[0].SaleID != "s004711" || found.Next != 0 {
			t.Errorf("%s: %v, next %d, %v", name, idsOf(found.Sales), found.Next, err)
		}
	}
	if at, err := db.spans(t.Context(), second(4711), second(4712)); err != nil || len(at) != 1 || at[0].high-at[0].low > 2*2*sales/marks {
		t.Errorf("a second stands in %v, %v", at, err)
	}
	if all, err := db.Sales(t.Context(), SaleFilter{Amount: sale.Amounts{Set: true, Least: 107, Most: 307}}); err != nil || !slices.Equal(idsOf(all), []string{"s000003", "s000002", "s000001"}) {
		t.Errorf("all of them: %v, %v", idsOf(all), err)
	}
}

// A clock that was wrong for a while hides no sale of a right time.
func TestAWrongClockHidesNothing(t *testing.T) {
	for name, wrong := range map[string]time.Duration{"ten years ahead": 10 * 365 * 24 * time.Hour, "a year behind": -365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			whole := bigJournal(t, 10_000)
			dir := filepath.Dir(whole.path)
			whole.Close()
			outside(t, dir, fmt.Sprintf(`UPDATE event SET at = at + %d WHERE no BETWEEN 10000 AND 11000`, wrong.Milliseconds()))
			db := openIn(t, dir)
			for _, i := range []int{1, 100, 4990, 4999, 5501, 5510, 9000, 10000} {
				found, err := db.FindSales(t.Context(), SaleFilter{From: second(i), To: second(i + 1)})
				if err != nil || !slices.Equal(idsOf(found.Sales), []string{fmt.Sprintf("s%06d", i)}) {
					t.Errorf("sale %d: %v, %v", i, idsOf(found.Sales), err)
				}
			}
		})
	}
}

// Whoever looks through much of the file leaves connections to those who sell.
func TestSearchesLeaveRoomForTheQueues(t *testing.T) {
	db := openTest(t)
	addDevice(t, db, "pump-01", "reg_1")
	mustAppend(t, db, entry("pump-01", "reg_1", sale.Whole, "s1", "a"), sale.Queued)
	for range searches {
		db.wide <- struct{}{}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("nobody waits any more")
	cancel(gone)
	if _, err := db.FindSales(ctx, SaleFilter{Device: "pump-01"}); !errors.Is(err, gone) {
		t.Errorf("a wide search does not wait for others: %v", err)
	}
	for _, f := range []SaleFilter{{}, {SaleID: "s1", Device: "pump-01"}} {
		if found, err := db.FindSales(t.Context(), f); err != nil || len(found.Sales) != 1 {
			t.Errorf("a quick one: %+v, %v", found, err)
		}
	}
	if _, err := db.QuickCheck(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := db.Head(t.Context(), "reg_1"); err != nil {
		t.Error(err)
	}
}
