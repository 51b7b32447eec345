package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"edgegw/admin"
)

// What a device says of itself is shown on one line, without anything that
// could steer a terminal, and not at any length.
func TestDeviceSays(t *testing.T) {
	at := time.Date(2026, 11, 22, 10, 42, 0, 0, time.UTC)
	for _, row := range []struct{ status, want string }{
		{"", "-"},
		{"null", "-"},
		{"{\n  \"door\": \"open\"\n}", `{"door":"open"} (2026-11-22T10:42:00Z)`},
		{`"` + strings.Repeat("ä", 400) + `"`, `"` + strings.Repeat("ä", 299) + "… (all of it with --json) (2026-11-22T10:42:00Z)"},
	} {
		if got := (&app{}).says(admin.Device{Status: json.RawMessage(row.status), StatusAt: at}); got != row.want {
			t.Errorf("%.40s: %s, want %s", row.status, got, row.want)
		}
	}
}
