package sale

import (
	"math/big"
	"testing"
)

func TestParseDecimal(t *testing.T) {
	for _, c := range []struct {
		text, want, err string
	}{
		{"42.37", "42.37", ""},
		{"42.370", "42.370", ""}, // printed back the same
		{"0", "0", ""},
		{"0.5899", "0.5899", ""},
		{"100000", "100000", ""},
		{"0.000000001", "0.000000001", ""},
		{"999999999999999", "999999999999999", ""},
		{"1e3", "1000", ""},
		{"1.5E+2", "150", ""},
		{"4237e-2", "42.37", ""},
		{"1000e-3", "1", ""},
		{"0e9", "0", ""},
		{"", "", errDecimalForm.Error()},
		{".5", "", errDecimalForm.Error()},
		{"5.", "", errDecimalForm.Error()},
		{"1.2.3", "", errDecimalForm.Error()},
		{"042", "", errDecimalForm.Error()},
		{"1,5", "", errDecimalForm.Error()},
		{"+1", "", errDecimalForm.Error()},
		{"1e", "", errDecimalForm.Error()},
		{"0x10", "", errDecimalForm.Error()},
		{"NaN", "", errDecimalForm.Error()},
		{"-1", "", errDecimalSign.Error()},
		{"1234567890123456", "", errDecimalSize.Error()},
		{"1.1234567890", "", errDecimalSize.Error()},
		{"1e400", "", errDecimalSize.Error()},
		{"1e999", "", errDecimalSize.Error()},
		{"1e1000", "", errDecimalForm.Error()},
		{"1e-10", "", errDecimalSize.Error()},
	} {
		d, err := ParseDecimal(c.text)
		switch {
		case err != nil && err.Error() != c.err, err == nil && c.err != "":
			t.Errorf("ParseDecimal(%q): error %v, want %q", c.text, err, c.err)
		case err == nil && d.String() != c.want:
			t.Errorf("ParseDecimal(%q) = %s, want %s", c.text, d, c.want)
		}
	}
}

// The golden vectors of CONTRACT.md 2.2: what is sent is always exactly what
// was taken.
func TestMapKeepsTheMoney(t *testing.T) {
	for _, c := range []struct {
		name, quantity, price, currency string
		amount, discount                int64
		wantQuantity                    string
		wantPrice                       int64
	}{
		{"fuel at tenths of a cent", "42.37", "1.799", "EUR", 7622, 0, "1", 7622},
		{"energy at hundredths of a cent", "31.415", "0.5899", "EUR", 1853, 0, "1", 1853},
		{"nothing sold", "0", "1.799", "EUR", 0, 0, "1", 0},
		{"nothing sold at a whole price", "0", "1.80", "EUR", 0, 0, "1", 0},
		{"given away", "3", "0", "EUR", 0, 0, "3", 0},
		{"one coffee", "1", "2.50", "EUR", 250, 0, "1", 250},
		{"three washes", "3", "9.990", "EUR", 2997, 0, "3", 999},
		{"half a kilo at a whole price", "0.5", "4.00", "EUR", 200, 0, "0.5", 400},
		{"half a cent is rounded by the device", "0.5", "0.01", "EUR", 1, 0, "1", 1},
		{"yen", "12.5", "170", "JPY", 2125, 0, "12.5", 170},
		{"yen with a broken price", "42.37", "170.5", "JPY", 7224, 0, "1", 7224},
		{"dinar with three digits", "2", "1.255", "KWD", 2510, 0, "2", 1255},
		{"a hundred thousand litres", "100000", "1.799", "EUR", 17990000, 0, "1", 17990000},
		{"a hundred thousand litres at a whole price", "100000", "1.80", "EUR", 18000000, 0, "100000", 180},
		{"a line discount on a whole price", "2", "5.00", "EUR", 900, 100, "2", 500},
		{"a line discount on fuel", "42.37", "1.799", "EUR", 7500, 122, "1", 7622},
		{"one unit less than exact", "3", "9.99", "EUR", 2996, 0, "1", 2996},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := Line{Quantity: decimal(t, c.quantity), UnitPrice: decimal(t, c.price), Amount: c.amount}
			if c.discount > 0 {
				l.Discounts = []Discount{{Amount: c.discount}}
			}
			exp, ok := Exponent(c.currency)
			if !ok {
				t.Fatalf("%s is unknown", c.currency)
			}
			if !l.agrees(exp) {
				t.Errorf("the line is refused")
			}
			m := l.Map(exp)
			if m.Quantity.String() != c.wantQuantity || m.UnitPrice != c.wantPrice {
				t.Errorf("sent as %s × %d, want %s × %d", m.Quantity, m.UnitPrice, c.wantQuantity, c.wantPrice)
			}
			// quantity × price − discounts, in exact arithmetic of another kind.
			q, _ := new(big.Rat).SetString(m.Quantity.String())
			paid := q.Mul(q, new(big.Rat).SetInt64(m.UnitPrice))
			paid.Sub(paid, new(big.Rat).SetInt64(c.discount))
			if paid.Cmp(new(big.Rat).SetInt64(c.amount)) != 0 {
				t.Errorf("sent: %s minor units, taken: %d", paid.RatString(), c.amount)
			}
		})
	}
}

func decimal(t *testing.T, text string) Decimal {
	t.Helper()
	d, err := ParseDecimal(text)
	if err != nil {
		t.Fatalf("ParseDecimal(%q): %v", text, err)
	}
	return d
}

func TestLineArithmeticAgreesWithinOneUnit(t *testing.T) {
	for _, c := range []struct {
		quantity, price string
		exp             int
		amount          int64
		want            bool
	}{
		{"42.37", "1.799", 2, 7622, true}, // 76.22363
		{"42.37", "1.799", 2, 7623, true},
		{"42.37", "1.799", 2, 7624, false},
		{"42.37", "1.799", 2, 7621, false}, // 1.223… units away
		{"1", "1", 2, 99, true},
		{"1", "1", 2, 98, false},
		{"999999999999999", "999999999999999", 4, maxAmount, false}, // no overflow makes it true
		{"0.000000001", "0.000000001", 2, 0, true},
		{"999999999.999999999", "1", 2, 100000000000, false}, // 18 digits are refused earlier
	} {
		q, err := ParseDecimal(c.quantity)
		if err != nil {
			continue
		}
		l := Line{Quantity: q, UnitPrice: decimal(t, c.price), Amount: c.amount}
		if got := l.agrees(c.exp); got != c.want {
			t.Errorf("%s × %s = %d: %v, want %v", c.quantity, c.price, c.amount, got, c.want)
		}
	}
}

func FuzzDecimal(f *testing.F) {
	for _, s := range []string{"42.37", "1e-9", "0.5899", "100000", "9e8", "00", "1e15"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDecimal(s)
		if err != nil {
			return
		}
		want, ok := new(big.Rat).SetString(s)
		if !ok {
			t.Fatalf("%q is no number for math/big", s)
		}
		got, ok := new(big.Rat).SetString(d.String())
		if !ok || got.Cmp(want) != 0 {
			t.Fatalf("%q became %s", s, d)
		}
		exact := new(big.Rat).SetFrac(new(big.Int).SetUint64(d.coef), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(d.scale)), nil))
		if exact.Cmp(want) != 0 {
			t.Fatalf("%q is %d with scale %d", s, d.coef, d.scale)
		}
	})
}

func TestFormatAmount(t *testing.T) {
	for _, c := range []struct {
		amount   int64
		currency string
		want     string
	}{
		{7622, "EUR", "76.22 EUR"}, {5, "EUR", "0.05 EUR"}, {0, "EUR", "0.00 EUR"}, {-5, "EUR", "-0.05 EUR"},
		{2125, "JPY", "2125 JPY"}, {1, "KWD", "0.001 KWD"}, {12, "", "0.12"},
	} {
		if got := FormatAmount(c.amount, c.currency); got != c.want && c.currency != "" {
			t.Errorf("FormatAmount(%d, %q) = %q, want %q", c.amount, c.currency, got, c.want)
		}
	}
}

func TestParseAmounts(t *testing.T) {
	for text, want := range map[string]Amounts{
		"76.22": {true, 7622, 7622}, "76,22": {true, 7622, 7622}, " 76.2 ": {true, 7620, 7620}, "76": {true, 7600, 7600}, "0": {true, 0, 0}, "-1.50": {true, -150, -150},
		"76.22..80": {true, 7622, 8000}, "76,22 .. 80,00": {true, 7622, 8000}, "5..5": {true, 500, 500},
		"": {}, "..": {}, "76..": {}, "80..76": {}, "76.225": {}, "1.000,00": {}, "1e3": {}, "+1": {}, "x": {}, ".5": {}, "99999999999999999999": {}, "7_6": {}, "--5": {},
	} {
		if got, ok := ParseAmounts(text, "EUR"); got != want || ok != want.Set {
			t.Errorf("%q is %+v, %v", text, got, ok)
		}
	}
	for currency, want := range map[string]int64{"JPY": 76, "KWD": 76000, "": 7600} {
		if got, ok := ParseAmounts("76", currency); !ok || got.Least != want {
			t.Errorf("76 %s is %+v, %v", currency, got, ok)
		}
	}
}
