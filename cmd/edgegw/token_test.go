package main

import (
	"strings"
	"testing"

	"edgegw/admin"
)

// The life of a token, with a gateway and without one.
func TestTokenCommands(t *testing.T) {
	for _, running := range []bool{false, true} {
		b := newBox(t, "--set", "http.tls_listen=127.0.0.1:0")
		if running {
			defer b.start()()
		}
		o := b.edgegw("token", "add", "back-office", "--scope", "provision")
		if o.want(t, 0); !strings.Contains(o.out, "  edgegw_") || !strings.Contains(o.out, "(shown this once)") || !strings.Contains(o.out, "https://127.0.0.1:") || !strings.Contains(o.out, "site-ca.pem") {
			t.Errorf("running %v: %s", running, o.out)
		}
		made := decode[admin.MadeToken](t, b.edgegw("token", "add", "scraper", "--scope", "metrics", "--expires", "90d", "--json"))
		if made.Name != "scraper" || made.Scope != "metrics" || len(made.Secret) != 41 || made.ExpiresAt.Sub(made.CreatedAt).Hours() != 90*24 || made.State != "valid" {
			t.Errorf("running %v: %+v", running, made)
		}
		list := b.edgegw("token", "list", "--json")
		all := decode[[]admin.Token](t, list)
		if len(all) != 2 || all[0].Name != "back-office" || all[1].ID != made.ID || all[1].Scope != "metrics" || !all[0].ExpiresAt.IsZero() {
			t.Errorf("running %v: %+v", running, all)
		}
		if text := b.edgegw("token", "list"); !strings.Contains(text.out, "SCOPE") || strings.Contains(text.out+list.out, made.Secret[15:]) {
			t.Errorf("running %v: %s", running, text.out)
		}
		b.edgegw("token", "add", "scraper", "--scope", "read").want(t, 1, "already")
		b.edgegw("token", "add", "Back Office", "--scope", "read").want(t, 1, "name of a token")
		b.edgegw("token", "add", "x", "--scope", "admin").want(t, 2)
		b.edgegw("token", "add", "x").want(t, 2)
		b.edgegw("token", "add", "x", "--scope", "read", "--expires", "90").want(t, 2, "--expires", "unit")
		b.edgegw("token", "add", "x", "--scope", "read", "--expires", "1s").want(t, 2, "minute")
		b.edgegw("token", "add", "x", "--scope", "read", "--expires", "40000d").want(t, 1, "ten years")
		wrong := b.edgegw("token", "remove", made.Secret)
		if wrong.want(t, 2, "edgegw token list"); strings.Contains(wrong.err, made.Secret[7:]) {
			t.Errorf("it is shown again: %s", wrong.err)
		}
		b.edgegw("token", "remove", "AAAAAAAA").want(t, 1, "no such token")
		b.edgegw("token", "remove", made.ID).want(t, 0)
		if all := decode[[]admin.Token](t, b.edgegw("token", "list", "--json")); len(all) != 1 {
			t.Errorf("running %v: %+v", running, all)
		}
	}
	off := newBox(t)
	if o := off.edgegw("token", "add", "back-office", "--scope", "read"); !strings.Contains(o.out, "http.tls_listen is off") {
		t.Errorf("nobody says that the API is off: %s", o.out)
	}
}
