package sale

import "slices"

// Span is a range of event counters, both ends included.
type Span struct{ First, Last int64 }

// Sequence is what is known of a device's own event counter (CONTRACT.md 2.2,
// `seq`: +1 each): the highest one, and those below it that never came.
type Sequence struct {
	Last    int64
	Known   bool   // a counter has been seen
	Missing []Span // as they were found
}

// mostSpans bounds what is remembered of one device. Beyond it the two oldest
// become one that covers both: it says too much rather than too little.
const mostSpans = 64

// Note takes the counter of an event that is stored for the first time, and
// gives true if it changed what is known. A counter below the highest that is
// not missing is one that begins anew, after a replacement or a reset: nothing
// can be missing then.
func (s *Sequence) Note(seq int64) bool {
	switch {
	case !s.Known:
		s.Last, s.Known = seq, true
	case seq == s.Last:
		return false
	case seq > s.Last:
		if seq > s.Last+1 {
			s.Missing = append(s.Missing, Span{s.Last + 1, seq - 1})
			s.bound()
		}
		s.Last = seq
	case !s.fill(seq):
		s.Last = seq
	}
	return true
}

// Late takes the counter of an event that came before and is stored only now. It
// may have been missed until then; it begins nothing anew.
func (s *Sequence) Late(seq int64) bool { return s.fill(seq) }

// fill takes a counter out of what is missing; false if it is not.
func (s *Sequence) fill(seq int64) bool {
	for i := range s.Missing {
		m := s.Missing[i]
		if seq < m.First || seq > m.Last {
			continue
		}
		var rest []Span
		if m.First < seq {
			rest = append(rest, Span{m.First, seq - 1})
		}
		if seq < m.Last {
			rest = append(rest, Span{seq + 1, m.Last})
		}
		s.Missing = slices.Replace(s.Missing, i, i+1, rest...)
		s.bound()
		return true
	}
	return false
}

// bound makes one of the oldest two. After a counter that began anew they need not
// stand in their order.
func (s *Sequence) bound() {
	for len(s.Missing) > mostSpans {
		a, b := s.Missing[0], s.Missing[1]
		s.Missing[1] = Span{min(a.First, b.First), max(a.Last, b.Last)}
		s.Missing = slices.Delete(s.Missing, 0, 1)
	}
}

// Count gives how many counters are missing.
func (s *Sequence) Count() (n int64) {
	for _, m := range s.Missing {
		n += m.Last - m.First + 1
	}
	return n
}
