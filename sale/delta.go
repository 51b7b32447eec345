package sale

import (
	"encoding/binary"
	"sync"
)

const (
	leastCopy  = 12 // a shorter copy costs as much as it saves
	deltaBits  = 12
	deltaWidth = 8 // bytes that are hashed
	// Only every second place of raw is remembered: half the work, and a copy is
	// found one byte later at the worst.
	deltaStride = 2
)

// places remembers, by hash, where eight bytes stand in frozenText + raw; 0 is
// nowhere. The last place wins.
type places [1 << deltaBits]uint32

func hashAt(b []byte) uint32 {
	return uint32(binary.LittleEndian.Uint64(b) * 0x9E3779B97F4A7C15 >> (64 - deltaBits))
}

// frozenBytes is frozenText.
var frozenBytes = []byte(frozenText)

// textPlaces are those of frozenText, found once.
var textPlaces = func() *places {
	p := new(places)
	for i := 0; i+deltaWidth <= len(frozenBytes); i++ {
		p[hashAt(frozenBytes[i:])] = uint32(i) + 1
	}
	return p
}()

// tables are those of appendDelta. On the stack one would have the stack of every
// connection's goroutine grow to 64 KiB, where it stays.
var tables = sync.Pool{New: func() any { return new(places) }}

// appendDelta appends plain as literals and copies.
func appendDelta(b, plain, raw []byte) []byte {
	table := tables.Get().(*places)
	defer tables.Put(table)
	*table = *textPlaces
	for i := 0; i+deltaWidth <= len(raw); i += deltaStride {
		table[hashAt(raw[i:])] = uint32(len(frozenText)+i) + 1
	}
	literal := 0 // where the pending literal begins
	for i := 0; i+deltaWidth <= len(plain); {
		at := int(table[hashAt(plain[i:])]) - 1
		n := 0
		if at >= 0 {
			n = sameBytes(plain[i:], source(at, raw))
		}
		if n < leastCopy {
			i++
			continue
		}
		b = appendPiece(b, plain[literal:i], n, at)
		i += n
		literal = i
	}
	return appendPiece(b, plain[literal:], 0, 0)
}

func appendPiece(b, literal []byte, n, at int) []byte {
	b = binary.AppendUvarint(b, uint64(len(literal)))
	b = append(b, literal...)
	b = binary.AppendUvarint(b, uint64(n))
	if n > 0 {
		b = binary.AppendUvarint(b, uint64(at))
	}
	return b
}

// source gives what stands at a place of frozenText + raw. A copy does not
// cross from the one into the other.
func source(at int, raw []byte) []byte {
	if at < len(frozenText) {
		return frozenBytes[at:]
	}
	return raw[at-len(frozenText):]
}

func sameBytes(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// expand undoes appendDelta; ok is false if delta is damaged. It never grows
// past the capacity of plain.
func expand(plain, delta, raw []byte) (_ []byte, ok bool) {
	take := func() (uint64, bool) {
		n, w := binary.Uvarint(delta)
		if w <= 0 {
			return 0, false
		}
		delta = delta[w:]
		return n, true
	}
	for {
		n, ok := take()
		if !ok || n > uint64(len(delta)) || n > uint64(cap(plain)-len(plain)) {
			return nil, false
		}
		plain = append(plain, delta[:n]...)
		delta = delta[n:]
		if n, ok = take(); !ok {
			return nil, false
		}
		if n == 0 {
			return plain, len(delta) == 0
		}
		at, ok := take()
		if !ok || at >= uint64(len(frozenText)+len(raw)) {
			return nil, false
		}
		from := source(int(at), raw)
		if n > uint64(len(from)) || n > uint64(cap(plain)-len(plain)) {
			return nil, false
		}
		plain = append(plain, from[:n]...)
	}
}
