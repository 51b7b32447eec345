package simulator

import (
	"bytes"
	"encoding/json"
	"math/big"
	"regexp"
	"testing"
	"time"
)

func TestLineAmountRoundsHalfUp(t *testing.T) {
	for _, c := range []struct {
		name     string
		quantity Decimal
		price    Decimal
		exponent int
		want     int64
	}{
		{"fuel of the contract's example: 76.22363", Decimal{4237, 2}, Decimal{1799, 3}, 2, 7622},
		{"a half goes up: 0.505", Decimal{50, 2}, Decimal{1010, 3}, 2, 51},
		{"a half of an even cent goes up too: 0.125", Decimal{125, 3}, Decimal{1, 0}, 2, 13},
		{"just below a half stays: 0.50499", Decimal{50499, 5}, Decimal{1, 0}, 2, 50},
		{"energy: 31.417 kWh at 0.5899 is 18.5328883", Decimal{31417, 3}, Decimal{5899, 4}, 2, 1853},
		{"yen have no decimals: 42.37 × 179.9 is 7622.363", Decimal{4237, 2}, Decimal{1799, 1}, 0, 7622},
		{"pieces: nothing to round", Decimal{3, 0}, Decimal{289, 2}, 2, 867},
		{"fewer places than the currency has", Decimal{3, 0}, Decimal{2, 0}, 3, 6000},
		{"nothing costs nothing", Decimal{0, 2}, Decimal{1799, 3}, 2, 0},
		{"beyond what a product of int64 holds", Decimal{9_000_000_000_000, 3}, Decimal{9_000_000_000, 9}, 2, 8_100_000_000_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := LineAmount(c.quantity, c.price, c.exponent); got != c.want {
				t.Errorf("%v × %v: got %d, want %d", c.quantity, c.price, got, c.want)
			}
		})
	}
}

func TestDecimalPrintsAllPlaces(t *testing.T) {
	for want, d := range map[string]Decimal{
		"42.37": {4237, 2}, "1.700": {1700, 3}, "0.05": {5, 2}, "0.000": {0, 3}, "12": {12, 0}, "-0.50": {-50, 2},
	} {
		if got := d.String(); got != want {
			t.Errorf("%#v: got %s, want %s", d, got, want)
		}
	}
}

func TestSaleText(t *testing.T) {
	s := &Sale{Currency: "EUR", Lines: []Line{{Description: "Super E10", Unit: "l", Quantity: Decimal{4237, 2}, Amount: 7622}}}
	if got, want := s.Text(), "42.37 l Super E10 76.22 EUR"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

var uuidV4 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// wantContract checks the rules of CONTRACT.md 2.2 on rendered bytes, with
// rationals and without any code of the package.
func wantContract(t *testing.T, body []byte, exponent int64) {
	t.Helper()
	var p struct {
		SaleID     string `json:"sale_id"`
		OccurredAt string `json:"occurred_at"`
		Lines      []struct {
			Quantity  string     `json:"quantity"`
			UnitPrice string     `json:"unit_price"`
			Amount    int64      `json:"amount"`
			Discounts []Discount `json:"discounts"`
		} `json:"line_items"`
		Payments []Payment `json:"payments"`
		Meter    *struct{ Begin, End string }
	}
	if err := json.Unmarshal(body, &p); err != nil {
		t.Fatalf("not JSON: %v", err)
	}
	if !uuidV4.MatchString(p.SaleID) {
		t.Errorf("sale id: got %q, want a UUID of version 7", p.SaleID)
	}
	if _, err := time.Parse(time.RFC3339, p.OccurredAt); err != nil {
		t.Errorf("occurred_at: %v", err)
	}
	var total, paid int64
	for _, l := range p.Lines {
		want := new(big.Rat).Mul(rat(t, l.Quantity), rat(t, l.UnitPrice))
		want.Mul(want, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(exponent), nil)))
		before := l.Amount
		for _, d := range l.Discounts {
			before += d.Amount
			if d.Amount <= 0 {
				t.Errorf("discount of %d: want a positive one", d.Amount)
			}
		}
		off := want.Sub(want, new(big.Rat).SetInt64(before))
		if off.Abs(off).Cmp(big.NewRat(1, 2)) > 0 {
			t.Errorf("%s × %s and %d differ by %v minor units", l.Quantity, l.UnitPrice, before, off)
		}
		total += l.Amount
	}
	for _, pay := range p.Payments {
		if pay.Amount <= 0 {
			t.Errorf("payment of %d: want a positive one", pay.Amount)
		}
		if pay.Direction == "outbound" {
			paid -= pay.Amount
		} else {
			paid += pay.Amount
		}
	}
	if len(p.Lines) == 0 || len(p.Payments) == 0 || total != paid || total <= 0 {
		t.Errorf("%d lines of %d in all, paid %d", len(p.Lines), total, paid)
	}
	if p.Meter != nil {
		moved := new(big.Rat).Sub(rat(t, p.Meter.End), rat(t, p.Meter.Begin))
		if moved.Cmp(rat(t, p.Lines[0].Quantity)) != 0 {
			t.Errorf("the meter moved by %v, sold were %s", moved, p.Lines[0].Quantity)
		}
	}
}

func rat(t *testing.T, s string) *big.Rat {
	t.Helper()
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		t.Fatalf("%q is no decimal", s)
	}
	return r
}

func TestDrawnSalesKeepTheContract(t *testing.T) {
	at := time.Date(2026, 11, 22, 8, 31, 7, 250e6, time.FixedZone("", 3600))
	for _, kind := range []Kind{KindPump, KindCharger, KindKiosk} {
		for _, currency := range []string{"EUR", "JPY", "KWD"} {
			r := Source(1, string(kind)+currency)
			seen := map[string]bool{}
			for range 300 {
				s := Draw(kind, r, currency, at)
				s.Seq = 4711
				wantContract(t, s.CompleteJSON(), int64(Exponent(currency)))
				wantContract(t, s.WholeJSON(), int64(Exponent(currency)))
				if seen[s.ID] {
					t.Fatalf("sale id %s twice", s.ID)
				}
				seen[s.ID] = true
			}
		}
	}
}

func TestKioskHasTwoTaxRatesDiscountsAndChange(t *testing.T) {
	r := Source(1, "kiosk")
	discounts, changes := 0, 0
	for range 200 {
		s := Kiosk(r, "EUR", time.Time{})
		rates := map[string]bool{}
		for _, l := range s.Lines {
			rates[l.TaxRate] = true
			discounts += len(l.Discounts)
		}
		if len(rates) != 2 {
			t.Fatalf("got %d tax rates, want 2", len(rates))
		}
		changes += len(s.Payments) - 1
	}
	if discounts == 0 || changes == 0 {
		t.Errorf("200 sales with %d discounts and %d change payments: want some of both", discounts, changes)
	}
}

func TestStartBytes(t *testing.T) {
	at := time.Date(2026, 11, 22, 8, 31, 7, 250e6, time.FixedZone("", 3600))
	s := &Sale{ID: "0192f1de-7c1a-4b3e-9c51-6f0f6d1d2a10", Currency: "EUR", StartedAt: at, Seq: 4711, Nozzle: "2"}
	want := `{"sale_id":"0192f1de-7c1a-4b3e-9c51-6f0f6d1d2a10","occurred_at":"2026-11-22T08:31:07.250+01:00","currency":"EUR","seq":4711,"metadata":{"nozzle":"2"}}`
	if got := string(s.StartJSON()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTheSameSeedMakesTheSameBytes(t *testing.T) {
	for _, kind := range []Kind{KindPump, KindCharger, KindKiosk} {
		a := Draw(kind, Source(42, "x"), "EUR", time.Unix(0, 0))
		b := Draw(kind, Source(42, "x"), "EUR", time.Unix(0, 0))
		c := Draw(kind, Source(42, "y"), "EUR", time.Unix(0, 0))
		if !bytes.Equal(a.WholeJSON(), b.WholeJSON()) {
			t.Errorf("%s: one seed, two sales", kind)
		}
		if a.ID == c.ID {
			t.Errorf("%s: two devices of one seed make the same sale ids", kind)
		}
	}
}

func TestBulkMakesNewSalesOfAKibibyte(t *testing.T) {
	b := NewBulk(Source(3, "bulk"), "EUR")
	seen := map[string]bool{}
	var buf []byte
	for i := range int64(100) {
		var id string
		buf, id = b.Append(buf[:0], time.Now())
		wantContract(t, buf, 2)
		var p struct {
			SaleID string `json:"sale_id"`
			Seq    int64
		}
		if err := json.Unmarshal(buf, &p); err != nil {
			t.Fatal(err)
		}
		if p.SaleID != id || seen[id] || p.Seq != i+1 {
			t.Fatalf("sale %s (said %s), seq %d: want a new id, its own, and seq %d", p.SaleID, id, p.Seq, i+1)
		}
		seen[id] = true
		if len(buf) < BulkBytes-64 || len(buf) > BulkBytes+64 {
			t.Fatalf("got %d bytes, want about %d", len(buf), BulkBytes)
		}
	}
}

func BenchmarkBulk(b *testing.B) {
	bulk := NewBulk(Source(3, "bulk"), "EUR")
	var buf []byte
	at := time.Now()
	for b.Loop() {
		buf, _ = bulk.Append(buf[:0], at)
	}
}
