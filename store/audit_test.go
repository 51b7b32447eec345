package store

import (
	"fmt"
	"testing"
	"time"

	"edgegw/sale"
)

func TestAudit(t *testing.T) {
	db, err := Open(t.Context(), t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	begin := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	for i := range 10 {
		who, at := "person:anna", begin.Add(time.Duration(i)*time.Minute)
		if i%2 == 1 {
			who = "root"
		}
		if err := db.change(t.Context(), func(t *tx) error {
			return t.audit(millis(at), who, "device added", fmt.Sprint("pump-", i), "of a test")
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		name string
		f    sale.AuditFilter
		want []int64
	}{
		{"the newest first", sale.AuditFilter{Limit: 3}, []int64{10, 9, 8}},
		{"the next page", sale.AuditFilter{Before: 8, Limit: 2}, []int64{7, 6}},
		{"of one person", sale.AuditFilter{Who: "root", Limit: 2}, []int64{10, 8}},
		{"of one thing", sale.AuditFilter{Subject: "pump-3", Limit: 100}, []int64{4}},
		{"of nothing", sale.AuditFilter{What: "device removed", Limit: 100}, nil},
		{"of a time", sale.AuditFilter{From: begin.Add(time.Minute), To: begin.Add(3 * time.Minute), Limit: 100}, []int64{3, 2}},
	} {
		all, err := db.Audit(t.Context(), row.f)
		if err != nil {
			t.Fatal(err)
		}
		var got []int64
		for _, e := range all {
			got = append(got, e.No)
		}
		if fmt.Sprint(got) != fmt.Sprint(row.want) {
			t.Errorf("%s: lines %v, want %v", row.name, got, row.want)
		}
	}
	all, err := db.Audit(t.Context(), sale.AuditFilter{Limit: 1})
	if want := (sale.AuditEntry{No: 10, At: begin.Add(9 * time.Minute), Who: "root", What: "device added", Subject: "pump-9", Detail: "of a test"}); err != nil || !all[0].At.Equal(want.At) || all[0].Who != want.Who || all[0].Detail != want.Detail {
		t.Errorf("%+v, %v", all, err)
	}
}
