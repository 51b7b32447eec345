package broker

import (
	"strings"

	"edgegw/sale"
)

const (
	topicRoot  = "edgegw/v1/"
	siteStatus = topicRoot + "site/status"
	siteTime   = topicRoot + "site/time"

	// Longest and deepest topic filter that is looked at. The cost of a
	// subscription in mochi grows with the square of its levels (FAULTS.md T12).
	maxFilterBytes  = 256
	maxFilterLevels = 8
	// How many filters one session may hold. A device needs four; each change
	// stores all of them with a synced commit.
	maxFilters = 16
)

// route is what a topic that a device publishes to means.
type route uint8

const (
	routeForbidden  route = iota
	routeSale             // with a sale.Kind
	routeReceiptGet       // receipt/get
	routeStatus
)

// prefixOf is the part of the topic tree that belongs to d.
func prefixOf(d sale.DeviceID) string { return topicRoot + string(d) + "/" }

// routeOf says what a PUBLISH of the device with this prefix means. Whatever is
// not listed in CONTRACT.md 2.2 is forbidden, below the device's own prefix too:
// a device that could write `receipt` could forge one to itself.
func routeOf(prefix, topic string) (route, sale.Kind) {
	rest, ok := strings.CutPrefix(topic, prefix)
	if !ok {
		return routeForbidden, 0
	}
	switch rest {
	case "sale/start":
		return routeSale, sale.Start
	case "sale/update":
		return routeSale, sale.Update
	case "sale/complete":
		return routeSale, sale.Complete
	case "sale/cancel":
		return routeSale, sale.Cancel
	case "sale":
		return routeSale, sale.Whole
	case "receipt/get":
		return routeReceiptGet, 0
	case "status":
		return routeStatus, 0
	}
	return routeForbidden, 0
}

// maySubscribe reports whether every topic that filter can match lies below the
// device's own prefix or below the site's (CONTRACT.md 2.1). The first three
// levels must be written out, so no wildcard can reach beyond them; with that,
// `$share/…` and `$SYS/…` are refused without a rule of their own.
func maySubscribe(prefix, filter string) bool {
	if len(filter) > maxFilterBytes || strings.Count(filter, "/") >= maxFilterLevels || !wellFormed(filter) {
		return false
	}
	return strings.HasPrefix(filter, prefix) || strings.HasPrefix(filter, topicRoot+"site/")
}

// wellFormed reports whether wildcards stand only where [MQTT-4.7.1-1] and
// [MQTT-4.7.1-2] allow them. Mochi looks at `#` only.
func wellFormed(filter string) bool {
	if filter == "" {
		return false
	}
	for rest, more := filter, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		if strings.ContainsAny(level, "+#") && len(level) > 1 {
			return false
		}
		if level == "#" && more {
			return false
		}
	}
	return true
}

// matches reports whether a well-formed filter covers topic [MQTT-4.7].
func matches(filter, topic string) bool {
	for {
		want, restWant, moreWant := strings.Cut(filter, "/")
		if want == "#" {
			return true
		}
		level, rest, more := strings.Cut(topic, "/")
		if want != "+" && want != level {
			return false
		}
		if !more {
			return !moreWant || restWant == "#" // `a/#` covers `a` [MQTT-4.7.1-2]
		}
		if !moreWant {
			return false
		}
		filter, topic = restWant, rest
	}
}

// mayAnswerAt reports whether the gateway may publish an answer on the Response
// Topic that a device asked for: below its own prefix, one topic, not a filter.
func mayAnswerAt(prefix, topic string) bool {
	return len(topic) > len(prefix) && len(topic) <= maxFilterBytes &&
		strings.HasPrefix(topic, prefix) && !strings.ContainsAny(topic, "+#")
}
