package simulator

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// TestBalancedMeansFiscalized: a receipt alone is not enough; it must say that
// the sale was signed, and nobody may have to look at it.
func TestBalancedMeansFiscalized(t *testing.T) {
	all := func(a string) []string {
		return []string{a, receiptJSON("b", "completed", "succeeded", "2"), receiptJSON("c", "cancelled", "", "")}
	}
	for _, c := range []struct {
		name     string
		receipts []string
		want     string // in the summary; "" for balanced
	}{
		{"all signed", all(receiptJSON("a", "completed", "succeeded", "1")), ""},
		{"failed", all(receiptJSON("a", "completed", "failed", "1")), "1 sale failed to be signed"},
		{"pending", all(receiptJSON("a", "completed", "pending", "1")), "1 sale is still pending"},
		{"no fiscal state", all(receiptJSON("a", "completed", "", "1")), "1 sale has a receipt that does not say whether it is signed"},
		{"quarantined", all(receiptJSON("a", "quarantined", "", "")), "1 sale waits for a person in quarantine"},
		{"no receipt", all(receiptJSON("b", "completed", "succeeded", "2")), "1 sale was acknowledged and has no receipt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &Device{ledger: *sold()}
			for _, r := range d.ledger.records {
				r.Events, r.Acknowledged = 1, 1
			}
			for _, r := range c.receipts {
				if _, ok := d.ledger.received([]byte(r)); !ok {
					t.Fatalf("%s could not be read", r)
				}
			}
			sum := d.Reconcile()
			if sum.Balanced() != (c.want == "") {
				t.Errorf("balanced: %v; differences %q", sum.Balanced(), sum.Differences())
			}
			if text := sum.String(); strings.Contains(text, "NOT BALANCED") != (c.want != "") || !strings.Contains(text, c.want) {
				t.Errorf("the summary does not say %q:\n%s", c.want, text)
			}
		})
	}
}

// TestReceiptsOfAnEarlierRun: they are expected after a restart of the device,
// unless another device of the fleet made that sale in this run.
func TestReceiptsOfAnEarlierRun(t *testing.T) {
	one, two := &Device{ledger: *sold()}, &Device{ledger: *sold()}
	one.cfg.DeviceID, two.cfg.DeviceID = "pump-1", "pump-2"
	delete(two.ledger.byID, "a") // what only pump-1 sold
	two.ledger.records = two.ledger.records[1:]
	f := &Fleet{devices: []*Device{one, two}}
	for range 2 {
		one.ledger.received([]byte(receiptJSON("z", "completed", "succeeded", "9")))
	}
	if sum := f.Reconcile(); sum.Earlier != 1 || len(sum.Faults) != 0 || !strings.Contains(sum.String(), "1 receipt from before this run") {
		t.Errorf("an earlier one: %d, %q\n%s", sum.Earlier, sum.Faults, sum)
	}
	two.ledger.received([]byte(receiptJSON("a", "completed", "succeeded", "1")))
	if sum := f.Reconcile(); len(sum.Faults) != 1 || !strings.Contains(sum.Faults[0], "pump-2: receipt for sale a, which pump-1 made") || sum.Balanced() {
		t.Errorf("a receipt of another device: %q", sum.Faults)
	}
}

// TestSoldOutComesBeforeTheReceipts: the sales are made although no receipt
// comes, and waiting for the receipts is another thing.
func TestSoldOutComesBeforeTheReceipts(t *testing.T) {
	s := startSite(t, nil)
	d := s.device(t, Config{Sales: 2, Until: Receipted})
	wait, stop := run(t, d)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := (&Fleet{devices: []*Device{d}}).SoldOut(ctx); err != nil {
		t.Fatal(err)
	}
	if n := len(d.Sales()); n != 2 {
		t.Errorf("%d sales, want 2", n)
	}
	short, enough := context.WithTimeout(ctx, 50*time.Millisecond)
	defer enough()
	if err := d.StopSelling(short, Receipted); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the end of the patience: no receipt came", err)
	}
	stop()
	_ = wait()
}
