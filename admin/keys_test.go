package admin

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"edgegw/sale"
	"edgegw/secret"
)

const platformCanary = "ofk_platform_live_CANARY0123456789"

// What goes in at the client comes out at the backend, and no answer holds the
// platform key.
func TestKeysOverTheSocket(t *testing.T) {
	m, path, _ := serve(t)
	c := dial(t, path)
	for _, row := range []struct {
		of   KeyOf
		kind sale.KeyRequestKind
		want string
	}{
		{KeyOf{DeviceID: "pump-1"}, sale.KeyRotate, "rotate pump-1 " + platformCanary + " org_1"},
		{KeyOf{RegisterID: "reg_1"}, sale.KeyIssue, "issue reg_1 " + platformCanary + " org_1"},
	} {
		got, err := c.RequestKey(t.Context(), KeyRequest{KeyOf: row.of, Kind: row.kind, PlatformKey: secret.FromString(platformCanary), Organization: "org_1"}, "anna")
		if err != nil || got.Key != "active" || got.Notice != "by [redacted]" {
			t.Errorf("%s: %+v, %v", row.kind, got, err)
		}
		if last := m.requested[len(m.requested)-1]; last != row.want {
			t.Errorf("the backend got %q, want %q", last, row.want)
		}
	}
	_, err := c.RequestKey(t.Context(), KeyRequest{KeyOf: KeyOf{DeviceID: "pump-1"}, Kind: sale.KeyRotate, PlatformKey: secret.FromString(platformCanary)}, "anna")
	if f := (*Refusal)(nil); !errors.As(err, &f) || f.Code != "answer_lost" || strings.Contains(f.Message, "CANARY") {
		t.Errorf("a lost answer: %v", err)
	}
	if _, err := c.RequestKey(t.Context(), KeyRequest{KeyOf: KeyOf{RegisterID: "ofk_reg_live_CANARY"}, Kind: sale.KeyRotate, PlatformKey: secret.FromString(platformCanary)}, ""); err == nil {
		t.Error("a key in the place of a register goes into an address")
	}
	if got, err := c.CheckKey(t.Context(), KeyOf{RegisterID: "reg_1"}); err != nil || len(got) != 1 || got[0].RegisterID != "reg_1" || got[0].Verdict != "accepted" {
		t.Errorf("check: %+v, %v", got, err)
	}
	if got, err := c.ForRotation(t.Context()); err != nil || len(got) != 1 || got[0].KeyHint != "…wxyz" || got[0].DeviceIDs[0] != "pump-1" {
		t.Errorf("for rotation: %+v, %v", got, err)
	}
	if got, err := c.SetPlatformKey(t.Context(), secret.FromString(platformCanary), "anna"); err != nil || got.Notice != "is [redacted]" {
		t.Errorf("platform key: %+v, %v", got, err)
	}
	for anew, want := range map[bool]string{false: "age1test", true: "age1new"} {
		if got, err := c.Recipient(t.Context(), anew, "anna"); err != nil || got != want {
			t.Errorf("recipient: %q, %v", got, err)
		}
	}
	if err := c.ForgetPlatformKey(t.Context(), "anna"); err != nil || m.requested[len(m.requested)-1] != "forget " {
		t.Errorf("forget: %v, %q", err, m.requested)
	}
	if slices.ContainsFunc(m.who, func(who string) bool { return who != "anna" }) {
		t.Errorf("the audit trail would name %q", m.who)
	}
}

func TestImportOverTheSocket(t *testing.T) {
	m, path, _ := serve(t)
	c := dial(t, path)
	var rows []ImportRow
	each := func(r ImportRow) { rows = append(rows, r) }
	if err := c.Import(t.Context(), []byte("pump-1;pump-2"), "anna", each); err != nil || len(rows) != 2 || rows[1].DeviceID != "pump-2" || rows[1].Password != "once" {
		t.Errorf("%+v, %v", rows, err)
	}
	var f *Refusal
	if err := c.Import(t.Context(), []byte("bad"), "anna", each); !errors.As(err, &f) || f.Code != "invalid" {
		t.Errorf("a bad file: %v", err)
	}
	if err := c.Import(t.Context(), bytes.Repeat([]byte("x"), maxBody+1), "anna", each); !errors.As(err, &f) || f.Code != "too_large" {
		t.Errorf("a long file: %v", err)
	}
	m.broken, rows = errors.New("disk I/O error"), nil
	if err := c.Import(t.Context(), []byte("pump-1"), "anna", each); err != nil || len(rows) != 2 || rows[1].Result != RowFailed || rows[1].Detail != "disk I/O error" {
		t.Errorf("an error behind the first row: %+v, %v", rows, err)
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, Prefix+"/import", strings.NewReader("{}"))
	r.Header.Set("Content-Type", "application/json")
	Handler(m).ServeHTTP(w, r)
	if w.Code != http.StatusUnsupportedMediaType {
		t.Errorf("JSON as a file: %d", w.Code)
	}
}
