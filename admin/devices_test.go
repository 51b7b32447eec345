package admin

import (
	"slices"
	"testing"
)

func TestIdentitiesOverTheSocket(t *testing.T) {
	m, path, _ := serve(t)
	c := dial(t, path)
	for _, act := range []func() error{
		func() error { return c.DisableDevice(t.Context(), "pump-1", "anna") },
		func() error { return c.EnableDevice(t.Context(), "pump-1", "anna") },
		func() error {
			got, err := c.RenewPassword(t.Context(), "pump-1", "anna")
			if got.Password != "once" {
				t.Errorf("password: %+v", got)
			}
			return err
		},
		func() error { _, err := c.ReplaceDevice(t.Context(), "pump-1", true, "anna"); return err },
		func() error {
			got, err := c.IssueCertificate(t.Context(), "pump-1", "anna")
			if got.Certificate == nil || got.Certificate.Serial != "1f" || got.Certificate.Key != "PRIVATE" {
				t.Errorf("certificate: %+v", got)
			}
			return err
		},
		func() error { return c.RevokeCertificate(t.Context(), "pump-1", "1f", "anna") },
		func() error { return c.ForgetCards(t.Context(), "pump-1", "anna") },
	} {
		if err := act(); err != nil {
			t.Error(err)
		}
	}
	want := []string{"disable pump-1", "enable pump-1", "password pump-1", "replace true pump-1", "certificate pump-1", "revoke 1f pump-1", "forget-cards pump-1"}
	if !slices.Equal(m.requested, want) || slices.ContainsFunc(m.who, func(w string) bool { return w != "anna" }) {
		t.Errorf("the backend got %q of %q", m.requested, m.who)
	}
}
