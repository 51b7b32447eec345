package simulator

import (
	"fmt"
	"math/big"
	"strings"
)

// Decimal is the exact number Units × 10^-Places: 42.37 is {4237, 2}.
type Decimal struct {
	Units  int64
	Places int // 0 or more
}

// String prints all places, as a display of the device does: {1700, 3} is "1.700".
func (d Decimal) String() string {
	sign, digits := "", fmt.Sprint(d.Units)
	if d.Units < 0 {
		sign, digits = "-", digits[1:]
	}
	if d.Places == 0 {
		return sign + digits
	}
	if missing := d.Places + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	point := len(digits) - d.Places
	return sign + digits[:point] + "." + digits[point:]
}

// LineAmount gives quantity × unit price in minor units of a currency with that
// ISO 4217 exponent, rounded half up as meters do: 42.37 l at 1.799 is 7622.
// Both factors are 0 or more. It panics where the product leaves int64, which
// no meter can reach.
func LineAmount(quantity, unitPrice Decimal, exponent int) int64 {
	n := new(big.Int).Mul(big.NewInt(quantity.Units), big.NewInt(unitPrice.Units))
	drop := quantity.Places + unitPrice.Places - exponent
	if drop <= 0 {
		n.Mul(n, tenTo(-drop))
	} else {
		unit := tenTo(drop)
		n.Lsh(n, 1).Add(n, unit)
		n.Quo(n, unit.Lsh(unit, 1)) // (2n + unit) / 2·unit: half goes up
	}
	if !n.IsInt64() {
		panic(fmt.Sprintf("amount of %v × %v does not fit", quantity, unitPrice))
	}
	return n.Int64()
}

func tenTo(n int) *big.Int {
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
}

// Exponent gives the ISO 4217 exponent of a currency: how many decimals its
// minor unit stands for. Codes it does not know have two, as most do.
func Exponent(currency string) int {
	switch currency {
	case "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF":
		return 0
	case "BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND":
		return 3
	}
	return 2
}

// Money prints minor units for people: 7622 EUR is "76.22 EUR".
func Money(minor int64, currency string) string {
	return Decimal{minor, Exponent(currency)}.String() + " " + currency
}
