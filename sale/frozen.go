package sale

import (
	"encoding/binary"
	"errors"
)

// frozenVersion is the first byte of packed calls; a later form gets another.
const frozenVersion = 1

var errFrozen = errors.New("the stored calls are damaged")

// Freeze packs the calls of one event for the journal: step, idempotency key,
// method, path and body of each, as they will go out.
func Freeze(calls []Call, raw []byte) []byte {
	n := 2
	for i := range calls {
		c := &calls[i]
		n += 1 + 4*binary.MaxVarintLen32 + len(c.IdempotencyKey) + len(c.Method) + len(c.Path) + len(c.Body)
	}
	b := append(make([]byte, 0, n), frozenVersion, byte(len(calls)))
	for i := range calls {
		c := &calls[i]
		b = append(b, byte(c.Step))
		b = appendText(b, c.IdempotencyKey)
		b = appendText(b, c.Method)
		b = appendText(b, c.Path)
		b = binary.AppendUvarint(b, uint64(len(c.Body)))
		b = append(b, c.Body...)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Thaw unpacks calls that Freeze packed. The calls share frozen's memory.
func Thaw(frozen, raw []byte) ([]Call, error) {
	if len(frozen) < 2 || frozen[0] != frozenVersion {
		return nil, errFrozen
	}
	calls := make([]Call, frozen[1])
	rest := frozen[2:]
	for i := range calls {
		c := &calls[i]
		if len(rest) == 0 {
			return nil, errFrozen
		}
		c.Index, c.Step = i, Step(rest[0])
		rest = rest[1:]
		var parts [4][]byte
		for p := range parts {
			n, w := binary.Uvarint(rest)
			if w <= 0 || n > uint64(len(rest)-w) {
				return nil, errFrozen
			}
			parts[p], rest = rest[w:w+int(n)], rest[w+int(n):]
		}
		c.IdempotencyKey, c.Method, c.Path, c.Body = string(parts[0]), string(parts[1]), string(parts[2]), parts[3]
	}
	if len(rest) != 0 {
		return nil, errFrozen
	}
	return calls, nil
}
