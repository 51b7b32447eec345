package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"edgegw/gateway"
	"edgegw/sale"
)

func rehearsal(t *testing.T, kind, currency string) gateway.Rehearsal {
	return gateway.Rehearsal{Dir: t.TempDir(), Currency: currency, Device: sale.Device{ID: "pump-07", Register: "reg_01HXYZ", Kind: kind, Label: "Säule 7"}}
}

// What a device of each kind would go through is a real sale's whole way, in its
// currency, under its register.
func TestARehearsalIsAWholeSale(t *testing.T) {
	for _, d := range []struct{ kind, currency, ends string }{{"pump", "EUR", "complete"}, {"charger", "JPY", "complete"}, {"kiosk", "KWD", "sale"}} {
		done, err := rehearse(t.Context(), rehearsal(t, d.kind, d.currency))
		if err != nil {
			t.Fatal(err)
		}
		var events, answers []string
		end, delivered := "", false
		for _, p := range done.Parts {
			switch {
			case p.Event != nil:
				events = append(events, p.Event.Event)
				end = p.Event.Payload
				for _, c := range p.Event.Calls {
					if c.Step == "start" && (c.Path != "/registers/reg_01HXYZ/sales" || !json.Valid([]byte(c.Body))) {
						t.Errorf("%s: %+v", d.kind, c)
					}
				}
			case p.Answer != nil:
				answers = append(answers, p.Answer.Step)
			}
			delivered = delivered || p.What == "delivered"
		}
		if events[len(events)-1] != d.ends || !slices.Equal(slices.Compact(answers), []string{"start", "update", "complete"}) || !delivered || !strings.Contains(end, `"line_items"`) {
			t.Errorf("%s: events %v, answers %v, delivered %v, %s", d.kind, events, answers, delivered, end)
		}
		var receipt sale.Receipt
		if err := json.Unmarshal(done.Receipt, &receipt); err != nil || receipt.FiscalState != "succeeded" || done.Took <= 0 || !strings.HasSuffix(done.What, " "+d.currency) {
			t.Errorf("%s: %s in %s, %v, %s", d.kind, done.What, done.Took, err, done.Receipt)
		}
	}
}

// A folder that cannot be used, and somebody who does not wait any longer, end in an
// error that says so.
func TestARehearsalThatCannotBe(t *testing.T) {
	r := rehearsal(t, "pump", "EUR")
	file := filepath.Join(r.Dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.Dir = filepath.Join(file, "below")
	if _, err := rehearse(t.Context(), r); err == nil || !strings.Contains(err.Error(), "make data_dir: mkdir "+file) {
		t.Errorf("below a file: %v", err)
	}
	over, end := context.WithCancel(t.Context())
	end()
	if _, err := rehearse(over, rehearsal(t, "pump", "EUR")); !errors.Is(err, context.Canceled) {
		t.Errorf("when nobody waits: %v", err)
	}
}
