package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"edgegw/sale"
)

// What ends a certificate is in the same commit as what it ends with: its
// revocation, and the replacement and the removal of its device. It stays so
// after a restart, and when the device's name is given away again.
func TestCertificatesEndWithTheirDevice(t *testing.T) {
	dir := t.TempDir()
	db := openIn(t, dir)
	device := func(id sale.DeviceID) sale.Device {
		return sale.Device{ID: id, Register: "reg_1", Kind: "pump", CreatedAt: t0, SecretHash: []byte("h")}
	}
	for _, id := range []sale.DeviceID{"pump-1", "pump-2", "pump-3"} {
		if err := db.AddDevice(t.Context(), device(id), "test"); err != nil {
			t.Fatal(err)
		}
		for n := range 2 {
			c := sale.Certificate{Serial: fmt.Sprintf("%s-%d", id, n), Device: id, IssuedAt: t0, NotAfter: t0.AddDate(50, 0, 0)}
			if err := db.AddCertificate(t.Context(), c, "anna"); err != nil {
				t.Fatal(err)
			}
		}
	}
	valid := func(db *DB) (serials []string) {
		t.Helper()
		all, err := db.Certificates(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			if !c.IssuedAt.Equal(t0) || !c.NotAfter.Equal(t0.AddDate(50, 0, 0)) {
				t.Errorf("%+v", c)
			}
			if c.RevokedAt.IsZero() {
				serials = append(serials, c.Serial)
			}
		}
		return serials
	}
	for _, id := range []sale.DeviceID{"pump-1", "pump-2", "pump-3"} {
		if err := db.SaveSession(t.Context(), id, []byte("session")); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		name string
		do   func() error
		want []string // valid after it
	}{
		{"one is revoked", func() error { return db.RevokeCertificates(t.Context(), "pump-1", "pump-1-0", "anna") }, []string{"pump-1-1", "pump-2-0", "pump-2-1", "pump-3-0", "pump-3-1"}},
		{"another device's serial ends nothing", func() error {
			if err := db.RevokeCertificates(t.Context(), "pump-1", "pump-2-0", "anna"); !errors.Is(err, sale.ErrNone) {
				t.Errorf("got %v", err)
			}
			return nil
		}, []string{"pump-1-1", "pump-2-0", "pump-2-1", "pump-3-0", "pump-3-1"}},
		{"a device is replaced", func() error { return db.ReplaceDevice(t.Context(), device("pump-2"), "anna") }, []string{"pump-1-1", "pump-3-0", "pump-3-1"}},
		{"a device is removed", func() error { return db.RemoveDevice(t.Context(), "pump-3", "anna") }, []string{"pump-1-1"}},
		{"its name is given to another", func() error { return db.AddDevice(t.Context(), device("pump-3"), "anna") }, []string{"pump-1-1"}},
		{"all are revoked", func() error { return db.RevokeCertificates(t.Context(), "pump-1", "", "anna") }, nil},
	} {
		if err := step.do(); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if got := valid(db); !slices.Equal(got, step.want) {
			t.Errorf("%s: valid are %q, want %q", step.name, got, step.want)
		}
	}
	if err := db.AddCertificate(t.Context(), sale.Certificate{Serial: "x", Device: "pump-9"}, "anna"); !errors.Is(err, ErrUnknownDevice) {
		t.Errorf("a certificate of nobody: %v", err)
	}
	if left, err := db.Sessions(t.Context()); err != nil || len(left) != 1 || left["pump-1"] == nil {
		t.Errorf("MQTT sessions of hardware that is gone: %v, %v", left, err)
	}
	var audit []string
	err := db.query(t.Context(), `SELECT what, subject, detail FROM audit WHERE who = 'anna' ORDER BY no`, func(scan func(...any) error) error {
		var what, subject, detail string
		err := scan(&what, &subject, &detail)
		audit = append(audit, what+" "+subject+" "+detail)
		return err
	})
	want := []string{"certificate issued pump-1 pump-1-0", "certificate issued pump-1 pump-1-1", "certificate issued pump-2 pump-2-0", "certificate issued pump-2 pump-2-1",
		"certificate issued pump-3 pump-3-0", "certificate issued pump-3 pump-3-1", "certificates revoked pump-1 1, pump-1-0", "device replaced pump-2 reg_1",
		"device removed pump-3 ", "device added pump-3 reg_1", "certificates revoked pump-1 1, all"}
	if err != nil || !slices.Equal(audit, want) {
		t.Errorf("audit trail %q, %v", audit, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if got := valid(openIn(t, dir)); len(got) != 0 {
		t.Errorf("after a restart %q are valid again", got)
	}
}
