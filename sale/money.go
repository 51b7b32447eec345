package sale

import (
	"strconv"
	"strings"
)

// maxAmount bounds every amount of money, in minor units: 10^15 cents are more
// than any site sells, and sums of many such lines stay inside int64.
const maxAmount = 1_000_000_000_000_000

// Exponent gives how many digits after the point the currency's minor unit
// has: EUR 2, JPY 0, KWD 3 (ISO 4217). ok is false for a code that is not a
// circulating currency.
func Exponent(currency string) (exp int, ok bool) {
	if len(currency) != 3 {
		return 0, false
	}
	for e, codes := range currencies {
		for i := 0; i < len(codes); i += 4 {
			if codes[i:i+3] == currency {
				return e, true
			}
		}
	}
	return 0, false
}

// currencies holds the ISO 4217 codes by the exponent of their minor unit.
var currencies = [...]string{
	0: "JPY KRW CLP ISK VND BIF DJF GNF KMF PYG RWF UGX UYI VUV XAF XOF XPF",
	1: "",
	2: "EUR USD GBP CHF SEK NOK DKK PLN CZK HUF RON BGN TRY UAH RSD ALL AMD AZN BAM BYN GEL GIP MDL MKD " +
		"AED AFN ANG AOA ARS AUD AWG BBD BDT BMD BND BOB BRL BSD BTN BWP BZD CAD CDF CNY COP CRC CUP CVE " +
		"DOP DZD EGP ERN ETB FJD FKP GHS GMD GTQ GYD HKD HNL HTG IDR ILS INR IRR JMD KES KGS KHR KPW KYD " +
		"KZT LAK LBP LKR LRD LSL MAD MGA MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NPR NZD PAB " +
		"PEN PGK PHP PKR QAR RUB SAR SBD SCR SDG SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP " +
		"TTD TWD TZS UYU UZS VES WST XCD XCG YER ZAR ZMW ZWG",
	3: "BHD IQD JOD KWD LYD OMR TND",
	4: "CLF UYW",
}

// FormatAmount prints minor units for people: 7622 EUR is "76.22 EUR".
func FormatAmount(amount int64, currency string) string {
	exp, _ := Exponent(currency)
	sign := ""
	if amount < 0 {
		sign, amount = "-", -amount
	}
	digits := strconv.FormatInt(amount, 10)
	if exp > 0 {
		if len(digits) <= exp {
			digits = strings.Repeat("0", exp+1-len(digits)) + digits
		}
		digits = digits[:len(digits)-exp] + "." + digits[len(digits)-exp:]
	}
	if currency == "" {
		return sign + digits
	}
	return sign + digits + " " + currency
}

// Amounts are the amounts from Least to Most, in minor units; the zero value is
// every amount.
type Amounts struct {
	Set         bool
	Least, Most int64
}

// ParseAmounts reads what a person types, in the currency's major units: 76.22, or
// 76.22..80 for all from one to the other. A comma is as good as a point.
func ParseAmounts(text, currency string) (a Amounts, ok bool) {
	least, most, isRange := strings.Cut(strings.TrimSpace(text), "..")
	exp, known := Exponent(currency)
	if !known {
		exp = 2
	}
	if a.Least, ok = parseAmount(least, exp); !ok {
		return Amounts{}, false
	}
	if a.Most = a.Least; isRange {
		if a.Most, ok = parseAmount(most, exp); !ok || a.Most < a.Least {
			return Amounts{}, false
		}
	}
	a.Set = true
	return a, true
}

// parseAmount reads one amount with at most exp digits behind the point.
func parseAmount(text string, exp int) (int64, bool) {
	text, negative := strings.CutPrefix(strings.TrimSpace(text), "-")
	whole, part, _ := strings.Cut(strings.ReplaceAll(text, ",", "."), ".")
	if len(part) > exp || whole == "" {
		return 0, false
	}
	n, err := strconv.ParseUint(whole+part+strings.Repeat("0", exp-len(part)), 10, 63)
	if err != nil || n > maxAmount {
		return 0, false
	}
	if negative {
		return -int64(n), true
	}
	return int64(n), true
}
