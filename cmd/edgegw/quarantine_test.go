package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edgegw/admin"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
)

// A kiosk sells three times and OpenFiskal refuses each; a person looks, and
// decides each in another way, with the words that the product itself gives.
func TestQuarantineCommands(t *testing.T) {
	t.Parallel()
	flags, service := uplink(t, sandbox.Options{})
	b := newBox(t, flags...)
	stop := b.start()
	b.edgegw("quarantine", "list").want(t, 0)
	if all := decode[[]any](t, b.edgegw("quarantine", "list", "--json")); len(all) != 0 {
		t.Errorf("an empty quarantine lists %v", all)
	}
	b.sellRefused(service, 3)
	all := decode[[]map[string]any](t, b.edgegw("quarantine", "list", "--json", "--device", "kiosk-1"))
	if len(all) != 3 {
		t.Fatalf("listed %v", all)
	}
	for _, name := range []string{"id", "device_id", "register_id", "sale_id", "event", "step", "state", "code", "reason", "since", "blocking", "in_doubt", "allowed",
		"decision", "decided_by", "decision_reason", "operation"} {
		if _, there := all[0][name]; !there {
			t.Errorf("the listing lacks %s: %v", name, all[0])
		}
	}
	if other := decode[[]any](t, b.edgegw("quarantine", "list", "--json", "--device", "pump-9")); len(other) != 0 {
		t.Errorf("another device has %v", other)
	}
	if o := b.edgegw("quarantine", "list"); o.code != 0 || strings.Count(o.out, "validation_error") != 3 {
		t.Errorf("the listing shows\n%s", o.out)
	}
	b.lookAt(t)

	b.edgegw("quarantine", "resolve", "1", "--reason", "it is there").want(t, 1, "still open", "quarantine retry 1")
	if r := decode[map[string]any](t, b.edgegw("quarantine", "retry", "1", "--reason", "tax rate is there", "--json")); r["id"] != "1" || r["decision"] != "retry" {
		t.Errorf("retried: %v", r)
	}
	if o := b.edgegw("quarantine", "discard", "2", "--reason", "a test"); o.code != 0 || !strings.Contains(o.out, "nothing is sent for it") || !strings.Contains(o.out, "stays open") {
		t.Errorf("discarded: %+v", o)
	}
	b.edgegw("quarantine", "discard", "2", "--reason", "again").want(t, 1, "decided already")
	stop() // the rest with no gateway
	service.SetDown(true)
	b.edgegw("quarantine", "resolve", all[0]["sale_id"].(string), "--reason", "by hand").want(t, 1, "cannot be read now", "--operation")
	if o := b.edgegw("quarantine", "resolve", all[0]["sale_id"].(string), "--reason", "by hand", "--operation", "op_1"); o.code != 0 ||
		!strings.Contains(o.out, "operation op_1 stands for it") || !strings.Contains(o.out, "your word counts") {
		t.Errorf("resolved: %+v", o)
	}
	if o := b.edgegw("quarantine", "show", "3"); o.code != 0 || !strings.Contains(o.out, "resolve (by hand)") || strings.Contains(o.out, "What you can decide") {
		t.Errorf("a decided item shows\n%s", o.out)
	}
	if left := decode[[]any](t, b.edgegw("quarantine", "list", "--json")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if o := b.edgegw("quarantine", "list", "--all"); o.code != 0 || !strings.Contains(o.out, "discard by "+admin.LocalUser()) {
		t.Errorf("all of it:\n%s", o.out)
	}
}

// sellRefused makes the kiosk sell n times, with each end refused.
func (b *box) sellRefused(service *sandbox.Service, n int) {
	t := b.t
	t.Helper()
	service.Inject(sandbox.Fault{Step: sandbox.StepComplete, Action: sandbox.Answer, Status: 422, Times: n,
		Body: `{"object":"error","code":"validation_error","message":"no such tax rate","param":"line_items[0]"}`})
	o := edgegw(t, service.MustAddRegister("reg_1"), append(append([]string{}, b.flags...), "device", "add", "kiosk-1", "--kind", "kiosk",
		"--register", "reg_1", "--key-stdin", "--json")...)
	o.want(t, 0)
	file := filepath.Join(t.TempDir(), "login")
	if err := os.WriteFile(file, []byte(o.out), 0o600); err != nil {
		t.Fatal(err)
	}
	edgegw(t, "", "simulate", "--quiet", "--credentials", file, "--sales", fmt.Sprint(n), "--pace", "10ms", "--fill", "10ms", "--settle", "300ms")
	for waited := 0; ; waited++ {
		st := decode[admin.Status](t, b.edgegw("status", "--json"))
		if st.Totals.Quarantined == int64(n) {
			return
		}
		if waited == 200 {
			t.Fatalf("in quarantine: %+v", st.Totals)
		}
	}
}

// lookAt shows the first item as people see it, and follows what it says.
func (b *box) lookAt(t *testing.T) {
	t.Helper()
	o := b.edgegw("quarantine", "show", "1")
	o.want(t, 0)
	i := decode[admin.QuarantineItem](t, b.edgegw("quarantine", "show", "1", "--json"))
	if i.Request == nil || i.Answer == nil || i.Answer.Status != 422 || i.Payload == "" || i.Rule == "" || len(i.Allowed) != 3 || i.Step != "complete" {
		t.Errorf("item %+v", i)
	}
	for _, words := range []string{i.Request.IdempotencyKey, i.Request.Path, i.Operation, "no such tax rate", "line_items[0]", `"sale_id": "` + i.SaleID + `"`, "OpenFiskal answered: 422",
		`edgegw quarantine retry 1 --reason "why"`, `edgegw quarantine resolve 1 --reason "why"`, `edgegw quarantine discard 1 --reason "why"`} {
		if !strings.Contains(o.out, words) {
			t.Errorf("show lacks %q:\n%s", words, o.out)
		}
	}
}

func TestQuarantineUsage(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"no item", []string{"retry", "--reason", "x"}, "<id>"},
		{"no reason", []string{"retry", "1"}, "--reason"},
		{"empty reason", []string{"retry", "1", "--reason", " "}, "no reason"},
		{"two lines", []string{"retry", "1", "--reason", "a\nb"}, "printable"},
		{"operation of a retry", []string{"retry", "1", "--reason", "x", "--operation", "op_1"}, "--operation"},
		{"operation that cannot be", []string{"resolve", "1", "--reason", "x", "--operation", "../x"}, "operation"},
		{"key as operation", []string{"resolve", "1", "--reason", "x", "--operation", "ofk_reg_live_0123456789"}, "key"},
		{"key as item", []string{"show", "ofk_reg_live_0123456789"}, "key"},
		{"limit", []string{"list", "--limit", "0"}, "--limit"},
		{"device", []string{"list", "--device", "A_1"}, "device id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := b.edgegw(append([]string{"quarantine"}, c.args...)...)
			o.want(t, 2, c.want)
			if strings.Contains(o.err+o.out, "0123456789") {
				t.Errorf("the key is shown: %s", o.err)
			}
		})
	}
	b.edgegw("quarantine", "list").want(t, 1, "there is no data")
}

// A message that is no sale is decided with words of its own.
func TestCommandsOfAMessage(t *testing.T) {
	i := admin.QuarantineItem{ID: "4", SaleID: "s1", Allowed: []sale.Decision{sale.DecisionResolve}, Payload: "no \x1b[31m JSON"}
	var out strings.Builder
	(&app{out: &out}).printItem(i)
	for _, words := range []string{`edgegw quarantine resolve 4 --reason "why" --operation op_…`, "no ?[31m JSON"} {
		if !strings.Contains(out.String(), words) {
			t.Errorf("it lacks %q:\n%s", words, out.String())
		}
	}
}
