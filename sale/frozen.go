package sale

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// Frozen calls repeat most of what the device reported: descriptions,
// metadata, payments. They are stored as differences to the event's own bytes,
// which stand in the same row, and to a fixed text of what every body has. So
// a fact is on the disk once, and the bytes that go out are still fixed at
// acceptance: putting them together again renders nothing, and a checksum
// tells if it went wrong.
//
// The form: version, CRC-32C of the plain form (4 bytes, big endian), length
// of the plain form, then pieces until its end: the length of a literal, the
// literal, the length of a copy, its place in frozenText + raw.
const frozenVersion = 1

// frozenText is part of version 1 and must never change.
const frozenText = `POST/registers/reg_/salesPATCH/sales/{operation}/sales/{operation}/complete/sales/{operation}/cancel` +
	`{"id":"","external_id":"","cashier":{"id":"","display_name":""},"currency":"EUR","occurred_at":"","metadata":{` +
	`{"occurred_at":"","line_items":[{"description":"","quantity":1,"unit_price_gross":,"tax":{"rate":"0.19","category":"standard"}` +
	`,"unit":"piece","line_discounts":[{"source":"manual","label":"discount","amount":}],"product_ref":"","flags":[]}]` +
	`,"metadata":{"lines":[{"line":1,"quantity":"","unit":"l","unit_price":""}]}` +
	`{"occurred_at":"","payments":[{"method":"card","direction":"inbound","amount":,"card":{"scheme":"","last4":""}}]}` +
	`{"method":"cash","direction":"outbound","amount":{"occurred_at":"","reason":"cancelled at the device"}`

var (
	errFrozen  = errors.New("the stored calls are damaged")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// Freeze packs the calls of one event for the journal: step, idempotency key,
// method, path and body of each, as they will go out. raw is what the device
// reported.
func Freeze(calls []Call, raw []byte) []byte {
	plain := packCalls(calls)
	b := make([]byte, 0, len(plain)/2+32)
	b = append(b, frozenVersion)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(plain, castagnoli))
	b = binary.AppendUvarint(b, uint64(len(plain)))
	return appendDelta(b, plain, raw)
}

func packCalls(calls []Call) []byte {
	n := 1
	for i := range calls {
		c := &calls[i]
		n += 1 + 4*binary.MaxVarintLen32 + len(c.IdempotencyKey) + len(c.Method) + len(c.Path) + len(c.Body)
	}
	b := append(make([]byte, 0, n), byte(len(calls)))
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

// Thaw unpacks calls that Freeze packed, given the same raw.
func Thaw(frozen, raw []byte) ([]Call, error) {
	if len(frozen) < 6 || frozen[0] != frozenVersion {
		return nil, errFrozen
	}
	sum := binary.BigEndian.Uint32(frozen[1:])
	n, w := binary.Uvarint(frozen[5:])
	if w <= 0 || n > 1<<24 {
		return nil, errFrozen
	}
	plain, ok := expand(make([]byte, 0, n), frozen[5+w:], raw)
	if !ok || uint64(len(plain)) != n || crc32.Checksum(plain, castagnoli) != sum {
		return nil, errFrozen
	}
	return unpackCalls(plain)
}

func unpackCalls(plain []byte) ([]Call, error) {
	if len(plain) == 0 {
		return nil, errFrozen
	}
	calls := make([]Call, plain[0])
	rest := plain[1:]
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
