package sale

import "strings"

// DeviceID names a device: the MQTT client identifier, the user name and the
// level of its topics (CONTRACT.md 2.1). Chosen by the technician.
type DeviceID string

// RegisterID is what OpenFiskal knows a register as, `reg_…`.
type RegisterID string

// ReservedDevice is the topic level of the site itself; no device may have it.
const ReservedDevice DeviceID = "site"

// maxSaleID is the longest sale id of a device, in bytes (CONTRACT.md 2.2).
const maxSaleID = 64

// Valid reports whether d is `^[a-z0-9][a-z0-9-]{0,62}$` and not reserved.
func (d DeviceID) Valid() bool {
	if len(d) == 0 || len(d) > 63 || d[0] == '-' || d == ReservedDevice {
		return false
	}
	for i := 0; i < len(d); i++ {
		c := d[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// Valid reports whether r is `^[A-Za-z0-9_-]{1,128}$` (CONTRACT.md ruling 17).
// The pattern is narrow on purpose: the id becomes a path segment, and neither
// PathEscape nor JoinPath makes "..", "?" or "#" harmless (FAULTS.md H3).
func (r RegisterID) Valid() bool { return validToken(string(r), 128) }

// LooksLikeKey reports whether text has the form of an OpenFiskal key. A register
// id may have the same characters, so that only its beginning tells the two apart.
func LooksLikeKey(text string) bool {
	const family = "ofk_" // of all their keys
	return len(text) >= len(family) && strings.EqualFold(text[:len(family)], family)
}

// ValidOperation reports whether id can stand in a path as an operation id of
// OpenFiskal (`op_01HXYZ` or a UUID).
func ValidOperation(id string) bool { return validToken(id, 128) }

func validToken(s string, most int) bool {
	if len(s) == 0 || len(s) > most {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// validSaleID reports whether s is 1..64 printable ASCII characters.
func validSaleID(s string) bool {
	if len(s) == 0 || len(s) > maxSaleID {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}
