package sale

import "time"

// AuditEntry is one line of the audit trail: who changed what. It holds no key and
// no payload.
type AuditEntry struct {
	No      int64
	At      time.Time
	Who     string
	What    string
	Subject string
	Detail  string
}

// AuditFilter chooses lines; zero fields choose all.
type AuditFilter struct {
	Who     string
	What    string
	Subject string
	From    time.Time
	To      time.Time
	Before  int64 // lines with a lower number
	Limit   int
}
