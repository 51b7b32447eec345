package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"edgegw/fiscal/sandbox"
	"edgegw/sale"
)

// A completed sale whose fiscal state is pending is asked for until it settles,
// over a restart too; each change is a receipt for the device, and the queue
// has long gone on.
func TestAPendingFiscalStateIsFollowed(t *testing.T) {
	for _, row := range []struct {
		to       string
		after    time.Duration
		restart  bool
		document bool
	}{{"succeeded", 20 * time.Second, false, true}, {"failed", 20 * time.Second, false, false}, {"succeeded", 3 * time.Hour, true, true}} {
		t.Run(fmt.Sprintf("%s_after_%s", row.to, row.after), func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, w *world, l *life) {
				w.sandbox.Inject(sandbox.Fault{Step: sandbox.StepComplete, Action: sandbox.Pend, PendFor: row.after, PendTo: row.to, Times: 1})
				w.device("pump-1", []event{{0, sale.Whole, fmt.Sprintf(wholeEvent, "s1")}, {0, sale.Whole, fmt.Sprintf(wholeEvent, "s2")}})
				<-time.After(time.Second)
				l.receipts(t, "s1 pending false,s2 succeeded false")
				if q := l.queue(t, "reg_1"); !q.Idle || q.Confirmed != 2 {
					t.Errorf("the queue waits for a signature: %+v", q)
				}
				if row.restart {
					<-time.After(row.after / 2)
					w.off()
					l.end()
					*l = *w.start(newPower(0))
				}
				asked := len(arrivals(w.sandbox, sandbox.StepLookup))
				<-time.After(row.after + 2*time.Minute)
				l.receipts(t, fmt.Sprintf("s1 pending false,s2 succeeded false,s1 %s true", row.to))
				n := len(arrivals(w.sandbox, sandbox.StepLookup))
				if most := int(row.after/time.Minute) + 12; n == asked || n > most {
					t.Errorf("asked %d times, at most %d are expected", n, most)
				}
				<-time.After(time.Hour)
				if again := len(arrivals(w.sandbox, sandbox.StepLookup)); again != n {
					t.Errorf("asked %d times more after it had settled", again-n)
				}
			})
		})
	}
}

// receipts compares the mailbox of pump-1.
func (l *life) receipts(t *testing.T, want string) {
	t.Helper()
	letters, err := l.db.Letters(t.Context(), "pump-1", 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, letter := range letters {
		r, err := letter.Receipt()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %s %v", r.SaleID, r.FiscalState, r.Delayed))
	}
	if strings.Join(got, ",") != want {
		t.Errorf("receipts %q, want %q", strings.Join(got, ","), want)
	}
}
