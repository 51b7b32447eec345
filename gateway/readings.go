package gateway

import (
	"runtime"
	"slices"
	"time"

	"edgegw/sale"
	"edgegw/store"
)

// reading is a metric that is read at a scrape. No label ever holds a key or a
// payload, or one of so many values that a site could not be watched any more.
type reading struct {
	metric
	read func(s *snapshot, set func(v float64, labels ...string))
}

// mostRegisters is how many registers a site may have for them to be shown one
// by one.
const mostRegisters = 500

// blockReasons are the classes that block a queue.
var blockReasons = []sale.Class{sale.KeyRefused, sale.RegisterUnknown, sale.Misconfigured, sale.Poison}

// otherReason is for a queue that is blocked by anything else.
const otherReason = "other"

// readings are explained to operators in docs/metrics.md; a test compares.
var readings = []reading{
	// The books. Kept in the database: they survive restarts.
	counter("sales_accepted_total", "Sales accepted, ever: each is on disk.",
		func(s *snapshot) float64 { return float64(s.status.Totals.Accepted) }),
	counter("sales_confirmed_total", "Sales whose end OpenFiskal has confirmed, ever.",
		func(s *snapshot) float64 { return float64(s.status.Totals.Confirmed) }),
	gauge("sales_waiting", "Sales that wait now, open ones included: accepted, and their end not yet confirmed.",
		func(s *snapshot) float64 { return float64(s.status.Totals.Waiting) }),
	gauge("sales_quarantined", "Sales in quarantine now: a person must decide.",
		func(s *snapshot) float64 { return float64(s.status.Totals.Quarantined) }),
	counter("sales_resolved_total", "Sales that a person has resolved or discarded, ever.",
		func(s *snapshot) float64 { return float64(s.status.Totals.Resolved) }),
	gauge("books_balanced", "1 while accepted = confirmed + waiting + quarantined + resolved for every register, 0 otherwise.",
		func(s *snapshot) float64 {
			return truth(!slices.ContainsFunc(s.queues, func(q store.Queue) bool { return !balanced(q) }))
		}),

	// Queues.
	gauge("oldest_waiting_seconds", "Age of the oldest event that still owes OpenFiskal a call, 0 where none does.",
		func(s *snapshot) float64 { return oldest(s.at, s.queues...) }),
	gauges("queue_blocked", "Queues that are blocked, by the class of what blocks them.", []string{"reason"}, readBlocked),
	gauge("registers", "Registers of the site.", func(s *snapshot) float64 { return float64(len(s.queues)) }),
	gauges("register_waiting", "Sales that wait now, by register; absent where there are more than 500 registers.", []string{"register"},
		eachRegister(func(_ *snapshot, q store.Queue) float64 { return float64(q.Waiting) })),
	gauges("register_oldest_waiting_seconds", "Age of the register's oldest event that still owes OpenFiskal a call, 0 where none does; absent where there are more than 500 registers.",
		[]string{"register"}, eachRegister(func(s *snapshot, q store.Queue) float64 { return oldest(s.at, q) })),

	// OpenFiskal.
	gauge("uplink_up", "1 while OpenFiskal can be reached, or nothing has been tried yet; 0 while it cannot.",
		func(s *snapshot) float64 { return truth(s.uplink.Up) }),
	gauge("fiscal_pending", "Completed sales whose fiscal state is still pending at OpenFiskal.",
		func(s *snapshot) float64 { return float64(s.pending) }),

	// Receipts.
	gauge("receipts_waiting", "Receipts that wait for the PUBACK of their device.",
		func(s *snapshot) float64 { return float64(s.status.Totals.Receipts) }),
	counter("receipts_sent_total", "Receipts written to a device's connection, repetitions included.",
		func(s *snapshot) float64 { return float64(s.mqtt.LettersSent) }),
	counter("receipts_delivered_total", "Receipts whose PUBACK came and is recorded.",
		func(s *snapshot) float64 { return float64(s.mqtt.Letters) }),

	// What devices report.
	counter("events_accepted_total", "Events on disk: queued, duplicate or conflict.",
		func(s *snapshot) float64 { return float64(s.mqtt.Accepted) }),
	counter("events_quarantined_total", "Events on disk that a person must look at.",
		func(s *snapshot) float64 { return float64(s.mqtt.Quarantined) }),
	counter("events_unstored_total", "Events that could not be stored and got no acknowledgement; their device keeps them.",
		func(s *snapshot) float64 { return float64(s.mqtt.Unstored) }),
	counter("events_unsafe_total", "Events that came with QoS 0: their device cannot know whether they were stored.",
		func(s *snapshot) float64 { return float64(s.mqtt.Unsafe) }),
	gauge("messages_refused", "Messages kept as evidence because they could not become part of a sale.",
		func(s *snapshot) float64 { return float64(s.status.Totals.Refused) }),
	counter("acks_dropped_total", "Messages on sale/ack that their device left no room for; the PUBACK came all the same.",
		func(s *snapshot) float64 { return float64(s.mqtt.AcksDropped) }),

	// Devices and their connections.
	gauge("devices", "Devices of the site.", func(s *snapshot) float64 { return float64(s.status.Devices) }),
	gauge("devices_online", "Devices that are connected.", func(s *snapshot) float64 { return float64(s.status.Online) }),
	gauge("mqtt_connections", "MQTT connections established.", func(s *snapshot) float64 { return float64(s.mqtt.Connections) }),
	gauge("mqtt_sockets", "Sockets of the MQTT listeners, those that have not logged in included.",
		func(s *snapshot) float64 { return float64(s.mqtt.Sockets) }),
	counter("mqtt_connects_total", "Devices' log-ins that succeeded.", func(s *snapshot) float64 { return float64(s.mqtt.Connects) }),
	counter("mqtt_takeovers_total", "Connections ended by a newer one of the same device.",
		func(s *snapshot) float64 { return float64(s.mqtt.TakenOver) }),
	counter("mqtt_auth_failures_total", "Log-ins refused: wrong device secret, unknown or disabled device.",
		func(s *snapshot) float64 { return float64(s.mqtt.AuthFailures) }),
	counter("mqtt_refused_total", "PUBLISH, SUBSCRIBE or will outside the device's own topics.",
		func(s *snapshot) float64 { return float64(s.mqtt.Refused) }),
	counter("mqtt_turned_away_total", "Sockets closed at once because a connection limit was reached.",
		func(s *snapshot) float64 { return float64(s.mqtt.Turned) }),
	counter("mqtt_unfinished_total", "Sockets closed because TLS or CONNECT did not come in time or was broken.",
		func(s *snapshot) float64 { return float64(s.mqtt.Unfinished) }),
	counter("mqtt_accept_errors_total", "Errors of the listening sockets, each tried again.",
		func(s *snapshot) float64 { return float64(s.mqtt.AcceptErrors) }),
	counter("mqtt_oversize_total", "Messages not sent because they are longer than the device's Maximum Packet Size.",
		func(s *snapshot) float64 { return float64(s.mqtt.Oversize) }),
	counter("mqtt_session_write_failures_total", "MQTT sessions that could not be written to the journal; tried again.",
		func(s *snapshot) float64 { return float64(s.mqtt.SessionFails) }),
	counter("mqtt_panics_total", "Faults of the broker that were caught; each cost one connection.",
		func(s *snapshot) float64 { return float64(s.mqtt.Panics) }),

	// The journal.
	gauge("journal_bytes", "Size of the database file.", func(s *snapshot) float64 { return float64(s.database) }),
	gauges("disk_days_left", "Days of sales like the last one for which there is room without an uplink, until devices are told to hold back; absent where no whole day of sales was seen.", nil, readDaysLeft),
	gauge("journal_wal_bytes", "Size of the database's write-ahead log.", func(s *snapshot) float64 { return float64(s.log) }),

	// The gateway.
	gauges("condition", "1 for each code of the conditions that hold now (edgegw status says them in words).", []string{"code", "severity"}, readConditions),
	gauges("build_info", "1; what runs here.", []string{"goversion", "version"},
		func(s *snapshot, set func(float64, ...string)) { set(1, runtime.Version(), s.status.Version) }),
}

func counter(name, help string, value func(*snapshot) float64) reading {
	return reading{metric: metric{counterKind, name, help, nil}, read: one(value)}
}

func gauge(name, help string, value func(*snapshot) float64) reading {
	return reading{metric: metric{gaugeKind, name, help, nil}, read: one(value)}
}

func gauges(name, help string, labels []string, read func(*snapshot, func(float64, ...string))) reading {
	return reading{metric: metric{gaugeKind, name, help, labels}, read: read}
}

func one(value func(*snapshot) float64) func(*snapshot, func(float64, ...string)) {
	return func(s *snapshot, set func(float64, ...string)) { set(value(s)) }
}

func readDaysLeft(s *snapshot, set func(float64, ...string)) {
	if d := s.status.Disk; d != nil && d.DaysLeft != nil {
		set(float64(*d.DaysLeft))
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// oldest gives the age in seconds of what has waited longest. A clock that was
// set back makes nothing younger than now.
func oldest(now time.Time, queues ...store.Queue) float64 {
	var most time.Duration
	for _, q := range queues {
		if !q.Idle && !q.Oldest.IsZero() {
			most = max(most, now.Sub(q.Oldest))
		}
	}
	return most.Seconds()
}

// readBlocked gives every reason, those that block nothing with 0.
func readBlocked(s *snapshot, set func(float64, ...string)) {
	count := map[sale.Class]int{}
	other := 0
	for _, q := range s.queues {
		switch {
		case q.Idle || q.BlockedSince.IsZero():
		case slices.Contains(blockReasons, q.Class):
			count[q.Class]++
		default:
			other++
		}
	}
	for _, class := range blockReasons {
		set(float64(count[class]), class.String())
	}
	set(float64(other), otherReason)
}

func eachRegister(value func(*snapshot, store.Queue) float64) func(*snapshot, func(float64, ...string)) {
	return func(s *snapshot, set func(float64, ...string)) {
		if len(s.queues) > mostRegisters {
			return
		}
		for _, q := range s.queues {
			set(value(s, q), string(q.Register))
		}
	}
}

// readConditions gives each code once, whatever the number of things it holds
// for.
func readConditions(s *snapshot, set func(float64, ...string)) {
	type kind struct{ code, severity string }
	seen := map[kind]bool{}
	for _, c := range s.status.Conditions {
		if k := (kind{c.Code, c.Severity.String()}); !seen[k] {
			seen[k] = true
			set(1, k.code, k.severity)
		}
	}
}
