package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// At a terminal a reset says what it ends, and asks: anything but yes leaves everybody
// where he is.
func TestAResetAsksFirst(t *testing.T) {
	b := newBox(t)
	password := b.dir + ".password"
	if err := os.WriteFile(password, []byte("horse battery staple correct\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.edgegw("person", "add", "anna", "--role", "owner", "--password-file", password).want(t, exitDone)
	for _, row := range []struct {
		answer, says string
		left         int
	}{
		{"", "Nothing was changed.", 1}, {"\n", "Nothing was changed.", 1}, {"n\n", "Nothing was changed.", 1}, {"yess\n", "Nothing was changed.", 1}, {"yes\n", "Nobody owns", 0},
	} {
		var out, errs bytes.Buffer
		a := &app{in: strings.NewReader(row.answer), out: &out, err: &errs, inTerminal: true}
		if code := a.main(t.Context(), func() {}, append(append([]string{}, b.flags...), "claim", "--reset")); code != exitDone {
			t.Errorf("%q: exit code %d: %s", row.answer, code, errs.String())
		}
		if !strings.Contains(out.String(), row.says) || !strings.Contains(out.String(), "anna (owner)") || errs.String() != "Take the site from its owners? [y/N] " {
			t.Errorf("%q: %s\n%s", row.answer, out.String(), errs.String())
		}
		if n := len(decode[[]struct{ Name string }](t, b.edgegw("person", "list", "--json"))); n != row.left {
			t.Errorf("%q: %d people are left, want %d", row.answer, n, row.left)
		}
	}
}
