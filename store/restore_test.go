package store

import (
	"path/filepath"
	"testing"
	"time"

	"edgegw/sale"
)

// What a backup says of a call that OpenFiskal may have carried out since.
func TestWhatMayHaveBeenSentSinceTheBackup(t *testing.T) {
	db := openTest(t)
	addDevice(t, db, "pump-01", "reg_1")
	addDevice(t, db, "pump-02", "reg_2")
	mustAppend(t, db, entry("pump-01", "reg_1", sale.Start, "old", "a"), sale.Queued)
	confirm(t, db, "reg_1")
	mustAppend(t, db, entry("pump-01", "reg_1", sale.Whole, "waits", "a"), sale.Queued)
	copied := filepath.Join(t.TempDir(), FileName)
	if e, err := db.Backup(t.Context(), copied); err != nil || e.Sales != 2 || e.Waiting != 2 || e.Events != 2 {
		t.Fatalf("%+v, %v", e, err)
	}
	if _, err := db.Backup(t.Context(), copied); err == nil {
		t.Error("a file that is there is overwritten")
	}
	back := openIn(t, filepath.Dir(copied))
	if err := back.MarkRestored(t.Context(), t0, "of yesterday", "anna"); err != nil {
		t.Fatal(err)
	}
	head := func(r sale.RegisterID) sale.Head {
		t.Helper()
		h, err := back.Head(t.Context(), r)
		if err != nil || h.Restored == nil || !h.Restored.Since.Equal(t0) {
			t.Fatalf("%s: %+v, %v", r, h.Restored, err)
		}
		return h
	}
	sent := func(c sale.Call) string {
		t.Helper()
		s, err := back.Sent(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if !s.May {
			return "no"
		}
		return s.Operation
	}
	waits := head("reg_1")
	if waits.Restored.Read || waits.SaleID != "waits" {
		t.Fatalf("%+v", waits)
	}
	if got := sent(waits.Call); got != "no" {
		t.Errorf("before anything was read: %s", got)
	}
	if err := back.ReadBack(t.Context(), "reg_1", nil, true); err != nil {
		t.Fatal(err)
	}
	if got := sent(waits.Call); got != waits.Operation {
		t.Errorf("a start of the backup, where the list is refused: %s", got)
	}
	if err := back.ReadBack(t.Context(), "reg_1", []sale.Listed{{Operation: "op_other", ExternalID: "waits", Cashier: "pump-99"}, {Operation: "op_made", ExternalID: "waits", MadeAt: t0.Add(time.Hour)}}, false); err != nil {
		t.Fatal(err)
	}
	waits = head("reg_1")
	waits.Body = []byte(`{"cashier":{"id":"pump-01"}}`)
	if got := sent(waits.Call); got != "op_made" || !waits.Restored.Read {
		t.Errorf("a start that was carried out: %s", got)
	}
	// A call of a sale that the backup knows, whatever the list has; and of one that
	// came after it, by the list only.
	mustAppend(t, back, entry("pump-01", "reg_1", sale.Complete, "old", "b"), sale.Queued)
	mustAppend(t, back, entry("pump-02", "reg_2", sale.Whole, "new", "b"), sale.Queued)
	if got := sent(sale.Call{Event: 3, Register: "reg_1", Step: sale.StepComplete, Operation: "op_old"}); got != "op_old" {
		t.Errorf("the end of an older sale: %s", got)
	}
	later := head("reg_2")
	for operation, want := range map[string]string{"op_new": "no", "op_there": "op_there"} {
		later.Step, later.Operation = sale.StepComplete, operation
		if err := back.ReadBack(t.Context(), "reg_2", []sale.Listed{{Operation: "op_there"}}, false); err != nil {
			t.Fatal(err)
		}
		if got := sent(later.Call); got != want {
			t.Errorf("a call of a new sale, to %s: %s", operation, got)
		}
	}
	all, err := back.RestoredRegisters(t.Context())
	if err != nil || len(all) != 2 || !all[0].Read || all[0].Refused || !all[0].Waiting {
		t.Errorf("%+v, %v", all, err)
	}
}
