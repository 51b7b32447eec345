package gateway

import "time"

// noEarlier is a time before which no right clock can be: this was written
// then.
var noEarlier = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// clockQuality says how far devices may believe the gateway's clock: the
// kernel says synchronised, or nobody does, or it cannot be right.
func clockQuality(now time.Time, synchronised bool) string {
	switch {
	case now.Before(noEarlier):
		return "unknown"
	case synchronised:
		return "synchronised"
	}
	return "informative"
}
