package page

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
	"testing"

	"edgegw/admin"
	"edgegw/health"
	"edgegw/wording"
)

// A condition in German names the device, the number and the cause, and the place on the
// page instead of the command.
func TestAConditionInGerman(t *testing.T) {
	c := health.Condition{Code: "key_refused", Affected: "reg_1"}.Saying(
		wording.Of("%s: %s; %s", wording.Of("%s", "kiosk-1"), wording.Of("%d sales wait", 3), wording.Of("OpenFiskal refuses %s key%s", "its", " (401)")),
		wording.Of("Enter a new key: %s", wording.Of("edgegw key set %s --key-stdin", "kiosk-1")))
	if c.Title != "kiosk-1: 3 sales wait; OpenFiskal refuses its key (401)" || c.Remedy != "Enter a new key: edgegw key set kiosk-1 --key-stdin" {
		t.Errorf("in English %q, %q", c.Title, c.Remedy)
	}
	w := german.condition(c)
	if w.Title != "kiosk-1: 3 Verkäufe warten; OpenFiskal lehnt den Schlüssel ab (401)" || w.Remedy != "Geben Sie einen neuen Schlüssel ein: „Geräte“, kiosk-1, „Schlüssel eingeben“." || w.Beneath != "" || w.Open != "/devices" {
		t.Errorf("in German %q, %q, beneath %q, at %s", w.Title, w.Remedy, w.Beneath, w.Open)
	}
	says := wording.Of("%s. %s", wording.Of("%d sale is open, its end has not been reported", 1), wording.Capital(wording.Of("%s key has not been entered yet", "its")))
	if got := german.sentence(says); got != "1 Verkauf ist offen, sein Ende ist nicht gemeldet. Der Schlüssel fehlt noch" || says.String() != "1 sale is open, its end has not been reported. Its key has not been entered yet" {
		t.Errorf("%s; in English %s", got, says)
	}
}

// condition finds one that has its texts from elsewhere than its words.
func (s *speaker) condition(n *ast.CompositeLit) {
	for _, e := range n.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok && slices.Contains([]string{"Title", "Remedy"}, fmt.Sprint(kv.Key)) {
			s.t.Errorf("%s: the %s of a condition that is in no other language: use Saying", s.files.Position(kv.Pos()), kv.Key)
		}
	}
}

// assigned finds a condition that gets its texts afterwards.
func (s *speaker) assigned(dir string, n *ast.AssignStmt) {
	for _, to := range n.Lhs {
		to, _ := to.(*ast.SelectorExpr)
		if to == nil || !strings.HasSuffix(dir, "/gateway") || to.Sel.Name != "Title" && to.Sel.Name != "Remedy" {
			continue
		}
		if _, of := to.X.(*ast.Ident); of {
			s.t.Errorf("%s: the %s of a condition that is in no other language: use Saying", s.files.Position(to.Pos()), to.Sel.Name)
		}
	}
}

// What holds up a whole site is told, in German, beside whatever waits.
func TestWhatHoldsUpTheSiteIsToldInGerman(t *testing.T) {
	for _, code := range []string{"uplink_down", "signing_down", "kek_missing", "storage_low", "storage_full", "storage_failed"} {
		st := &admin.Status{Conditions: []health.Condition{{Code: code, Severity: health.Attention}}}
		v := &visit{lang: german}
		if parts := v.causes(st, true, "reg_1"); len(parts) != 2 {
			t.Errorf("%s: %q", code, parts)
		}
		if parts := v.causes(st, false, "reg_1"); len(parts) != 0 {
			t.Errorf("%s is told where nothing waits: %q", code, parts)
		}
	}
}
