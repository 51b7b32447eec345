package audit

import "fmt"

// Fault is the first record that does not fit.
type Fault struct {
	File   string `json:"file,omitempty"` // of an export; "" is the trail itself
	Record int64  `json:"record"`         // its number in the trail or in its file; 0: no record, see Message
	Name   string `json:"name,omitempty"` // what the record is about, as far as it can be read
	Kind   string `json:"kind" enum:"altered,missing,inserted,reordered"`

	Message string `json:"message"` // the whole of it, as a sentence
}

// The kinds of a fault.
const (
	Altered   = "altered"
	Missing   = "missing"
	Inserted  = "inserted"
	Reordered = "reordered"
)

func (f *Fault) Error() string { return f.Message }

// Point is a place in the trail: the number of a line and the value after it.
// The zero value stands before the first line.
type Point struct {
	No    int64 `json:"no"`
	Chain Chain `json:"chain"`
}

// Check goes along a trail, line by line. Its zero value begins before the first
// one; At is where it stands.
type Check struct {
	At    Point
	Lines int64
	Wants []Chain // values that must occur: those that are left were not seen

	trail string // how the trail is called in messages; "" is "the audit trail"
}

// Take looks at the next line with the value that is stored beside it.
func (k *Check) Take(l Line, stored []byte) *Fault {
	k.seen()
	switch {
	case l.No == k.At.No+1:
	case l.No > k.At.No:
		return k.fault(k.At.No+1, Missing, fmt.Sprintf("line %d is missing: line %d is followed by %d", k.At.No+1, k.At.No, l.No))
	case l.No < 1:
		return k.fault(l.No, Inserted, fmt.Sprintf("line %d was put in: a trail begins with line 1", l.No))
	default:
		return k.fault(k.At.No+1, Reordered, fmt.Sprintf("line %d is not in its place: line %d stands there", k.At.No+1, l.No))
	}
	next := k.At.Chain.Next(l)
	if string(stored) != string(next[:]) {
		f := k.fault(l.No, Altered, fmt.Sprintf("line %d was altered, or put in place of another: what it says does not fit its chain value", l.No))
		f.Name = l.What
		return f
	}
	k.At = Point{l.No, next}
	k.Lines++
	k.seen()
	return nil
}

// seen crosses off the values that were asked for.
func (k *Check) seen() {
	left := k.Wants[:0]
	for _, w := range k.Wants {
		if w != k.At.Chain {
			left = append(left, w)
		}
	}
	k.Wants = left
}

// End says what is wrong with a trail that ends here and went on to last when
// that was noted; the zero Point asks for nothing.
func (k *Check) End(last Point) *Fault {
	k.seen()
	switch {
	case k.At.No < last.No:
		return k.fault(k.At.No+1, Missing, fmt.Sprintf("line %d is missing: the trail ends with line %d and went on to %d", k.At.No+1, k.At.No, last.No))
	case len(k.Wants) > 0:
		why := "the line it was noted after was taken out, or what stands here was made anew since"
		if k.trail != "" {
			why += ", or it was noted after a line that is not in this export"
		}
		return k.fault(0, Missing, fmt.Sprintf("the chain value %s does not occur: %s", k.Wants[0], why))
	}
	return nil
}

func (k *Check) fault(no int64, kind, message string) *Fault {
	where := "the audit trail"
	if k.trail != "" {
		where = k.trail
	}
	return &Fault{File: k.trail, Record: no, Kind: kind, Message: where + ": " + message}
}
