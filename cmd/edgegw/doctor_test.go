package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"edgegw/admin"
	"edgegw/doctor"
	"edgegw/fiscal/sandbox"
)

// The doctor is asked of a gateway that runs, of its data, of data that is damaged
// and of a folder that holds none.
func TestDoctor(t *testing.T) {
	flags, _ := uplink(t, sandbox.Options{})
	b := newBox(t, flags...)
	stop := b.start()
	o := b.edgegw("doctor", "--json")
	all := decode[[]admin.Check](t, o)
	want := 0
	if doctor.NeedsSomebody(all) {
		want = 3 // the machine of the test may have something, such as a file system that forgets
	}
	if o.code != want || len(all) != len(doctor.Catalogue) || o.err != "" {
		t.Errorf("exit code %d, want %d; %d checks; %s", o.code, want, len(all), o.err)
	}
	for _, check := range []string{"gateway_running", "version", "mqtt_publish", "uplink_tls", "database_integrity"} {
		i := slices.IndexFunc(all, func(c admin.Check) bool { return c.Check == check })
		if all[i].State != doctor.OK {
			t.Errorf("%s is %s: %s", check, all[i].State, all[i].Found)
		}
	}
	if o := b.edgegw("doctor"); !strings.Contains(o.out, "\nok       mqtt_publish ") || !strings.Contains(o.out, "checks: ") {
		t.Errorf("got %s", o.out)
	}
	stop()

	failed := func(o outcome, line, fix string) {
		t.Helper()
		o.want(t, 3)
		_, rest, found := strings.Cut("\n"+o.out, "\nFAILED   "+line)
		if next := strings.Split(rest, "\n"); !found || len(next) < 2 || !strings.HasPrefix(next[1], "        ") || !strings.Contains(next[1], fix) {
			t.Errorf("%q with %q is not in %s", line, fix, o.out)
		}
		if first, _, _ := strings.Cut(o.out, " "); first != "FAILED" {
			t.Errorf("the failed are not first: %s", o.out)
		}
	}
	failed(b.edgegw("doctor"), "gateway_running ", "edgegw run")

	if err := os.WriteFile(filepath.Join(b.dir, "edgegw.db"), []byte(strings.Repeat("no database", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(b.dir, "edgegw.db-wal")); err != nil && !os.IsNotExist(err) { // it would mend it
		t.Fatal(err)
	}
	failed(b.edgegw("doctor"), "database_opens ", "edgegw run")
	empty := newBox(t)
	failed(empty.edgegw("doctor"), "database_opens ", "edgegw run")
	if _, err := os.Stat(empty.dir); !os.IsNotExist(err) {
		t.Errorf("the doctor has made %s: %v", empty.dir, err)
	}
	b.edgegw("--set", "nonsense=1", "doctor").want(t, 2, "nonsense")
}
