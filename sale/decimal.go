package sale

import (
	"errors"
	"math/bits"
	"strings"
)

// Decimal is an exact, non-negative decimal number: a quantity or a unit
// price. It is read from text, keeps that text, and never passes through a
// float. At most 15 digits, at most 9 of them after the point: 100,000 l and
// 0.5899 EUR/kWh fit with room to spare, and a product of two fits 128 bits.
type Decimal struct {
	coef  uint64 // the digits
	scale uint8  // how many of them stand after the point
	text  string
}

const (
	maxDigits = 15
	maxScale  = 9
)

var (
	errDecimalForm = errors.New(`must be a decimal number such as "42.37"`)
	errDecimalSign = errors.New("must not be negative")
	errDecimalSize = errors.New("has too many digits: 15 are allowed, 9 after the point")
)

// ParseDecimal reads text such as "42.37". An exponent is understood, as JSON
// numbers may have one; a sign is not.
func ParseDecimal(text string) (Decimal, error) {
	if strings.HasPrefix(text, "-") {
		return Decimal{}, errDecimalSign
	}
	mantissa, exp, err := splitExponent(text)
	if err != nil {
		return Decimal{}, err
	}
	d, err := parseMantissa(mantissa)
	if err != nil || exp == 0 && len(mantissa) == len(text) {
		d.text = text
		return d, err
	}
	if d, err = d.shift(exp); err != nil {
		return Decimal{}, err
	}
	d.text = string(d.appendCanonical(nil))
	return d, nil
}

func splitExponent(text string) (mantissa string, exp int, err error) {
	at := strings.IndexAny(text, "eE")
	if at < 0 {
		return text, 0, nil
	}
	digits, negative := strings.CutPrefix(text[at+1:], "-")
	if !negative {
		digits = strings.TrimPrefix(digits, "+")
	}
	if len(digits) == 0 || len(digits) > 3 {
		return "", 0, errDecimalForm
	}
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return "", 0, errDecimalForm
		}
		exp = exp*10 + int(c-'0')
	}
	if negative {
		exp = -exp
	}
	return text[:at], exp, nil
}

func parseMantissa(s string) (Decimal, error) {
	var d Decimal
	digits, point := 0, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '.' && !point && i > 0 && i < len(s)-1:
			point = true
		case c >= '0' && c <= '9':
			if d.coef != 0 || c != '0' {
				digits++
			}
			if digits > maxDigits {
				return Decimal{}, errDecimalSize
			}
			d.coef = d.coef*10 + uint64(c-'0')
			if point {
				d.scale++
			}
			if d.scale > maxScale {
				return Decimal{}, errDecimalSize
			}
		default:
			return Decimal{}, errDecimalForm
		}
	}
	if len(s) == 0 || len(s) > 1 && s[0] == '0' && s[1] != '.' {
		return Decimal{}, errDecimalForm
	}
	return d, nil
}

func (d Decimal) shift(exp int) (Decimal, error) {
	for ; exp > 0 && d.scale > 0; exp-- {
		d.scale--
	}
	if d.coef == 0 {
		return Decimal{}, nil
	}
	for ; exp > 0; exp-- {
		if d.coef *= 10; d.coef >= pow10[maxDigits] {
			return Decimal{}, errDecimalSize
		}
	}
	for ; exp < 0; exp++ {
		if d.coef%10 == 0 && d.scale == 0 {
			d.coef /= 10
		} else if d.scale++; d.scale > maxScale {
			return Decimal{}, errDecimalSize
		}
	}
	return d, nil
}

// String gives the text the number was read from.
func (d Decimal) String() string {
	if d.text == "" {
		return string(d.appendCanonical(nil))
	}
	return d.text
}

// IsZero reports whether the number is 0.
func (d Decimal) IsZero() bool { return d.coef == 0 }

// aboveOne reports whether the number is greater than 1.
func (d Decimal) aboveOne() bool { return d.coef > pow10[d.scale] }

func (d Decimal) appendCanonical(b []byte) []byte {
	var digits [24]byte
	n, c := len(digits), d.coef
	for i := 0; i <= int(d.scale) || c > 0; i++ {
		if d.scale > 0 && i == int(d.scale) {
			n--
			digits[n] = '.'
		}
		n--
		digits[n] = byte('0' + c%10)
		c /= 10
	}
	return append(b, digits[n:]...)
}

var pow10 = func() (p [20]uint64) {
	p[0] = 1
	for i := 1; i < len(p); i++ {
		p[i] = p[i-1] * 10
	}
	return p
}()

// u128 is just enough of a wide integer to compare a product of two decimals
// with an amount of money.
type u128 struct{ hi, lo uint64 }

func mul64(a, b uint64) u128 {
	hi, lo := bits.Mul64(a, b)
	return u128{hi, lo}
}

// times multiplies by 10^n. The callers' bounds keep it below 2^128.
func (u u128) times(n int) u128 {
	for ; n > 0; n -= min(n, 19) {
		p := pow10[min(n, 19)]
		hi, lo := bits.Mul64(u.lo, p)
		u = u128{hi + u.hi*p, lo}
	}
	return u
}

func (u u128) less(v u128) bool {
	return u.hi < v.hi || u.hi == v.hi && u.lo < v.lo
}

// minus gives the absolute difference.
func (u u128) minus(v u128) u128 {
	if u.less(v) {
		u, v = v, u
	}
	lo, borrow := bits.Sub64(u.lo, v.lo, 0)
	hi, _ := bits.Sub64(u.hi, v.hi, borrow)
	return u128{hi, lo}
}
