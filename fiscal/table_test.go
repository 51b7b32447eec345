package fiscal

import (
	"net/http"
	"testing"
	"time"

	"edgegw/sale"
)

// Whatever number comes, only a whole 2xx confirms, and neither a look-up nor a
// probe ends in poison.
func TestTableHasNoHoles(t *testing.T) {
	for status := -1; status <= 1000; status++ {
		for _, p := range purposes() {
			for _, fault := range []string{"", codeCut} {
				for _, hints := range []bool{false, true} {
					got := decide(status, facts{purpose: p, fault: fault, fiscalErrors: hints, retryable: hints})
					confirms := status/100 == 2 && status > 0 && fault == ""
					if (got.Class == sale.Confirmed) != confirms {
						t.Fatalf("status %d, %+v, fault %q: %s", status, p, fault, got.Class)
					}
					if got.Class == sale.Poison && (!p.call() || fault != "") {
						t.Fatalf("status %d, %+v, fault %q is poison", status, p, fault)
					}
					if !confirms && got.Code == "" {
						t.Fatalf("status %d, %+v has no code", status, p)
					}
				}
			}
		}
	}
}

func TestRetryAfter(t *testing.T) {
	for _, row := range []struct {
		value, date string
		want        time.Duration
	}{
		{"", "", 0},
		{"0", "", 0},
		{"7", "", 7 * time.Second},
		{" 7 ", "", 7 * time.Second},
		{"3600", "", time.Hour},
		{"1000000000", "", time.Hour},
		{"99999999999999999999999", "", time.Hour},
		{"-5", "", 0},
		{"1.5", "", 0},
		{"soon", "", 0},
		{"Sun, 22 Nov 2026 08:31:30 GMT", "Sun, 22 Nov 2026 08:31:00 GMT", 30 * time.Second},
		{"Sun, 22 Nov 2026 08:30:30 GMT", "Sun, 22 Nov 2026 08:31:00 GMT", 0},
		{"Mon, 23 Nov 2026 08:31:00 GMT", "Sun, 22 Nov 2026 08:31:00 GMT", time.Hour},
		{"Sun, 22 Nov 2226 08:31:00 GMT", "nonsense", 0},
		{"Sun, 22 Nov 2026 08:31:30 GMT", "", 0},
	} {
		h := http.Header{"Retry-After": {row.value}, "Date": {row.date}}
		if got := retryAfter(h); got != row.want {
			t.Errorf("%q at %q: %v, want %v", row.value, row.date, got, row.want)
		}
	}
}

func TestCleanMakesOneShortLine(t *testing.T) {
	if got := clean("a\x1b[31m\r\nb\u202ec", 99); got != "a [31m  b c" {
		t.Errorf("got %q", got)
	}
	if got := clean("ääää", 4); got != "äää …" {
		t.Errorf("got %q", got)
	}
}
