package gateway

import (
	"path/filepath"
	"testing"

	"edgegw/fiscal/sandbox"
	"edgegw/store"
)

// What is set aside stays whatever the clock says: two restores in one second, or on
// a box whose clock begins anew with each start.
func TestWhatIsSetAsideIsNotOverwritten(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	s.add("pump-01")
	file := s.backedUp()
	s.cutOffUplink()
	s.report("pump-01", whole("1"))
	s.off()
	for range 3 {
		if _, err := s.restore(file, true); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.salesSetAside(); n != 1 {
		t.Errorf("%d of the sales that were set aside are left, want 1", n)
	}
}

func (s *testSite) salesSetAside() (n int64) {
	s.t.Helper()
	all, err := filepath.Glob(filepath.Join(s.dir, "before-restore-*", store.FileName))
	must(s.t, err)
	for _, path := range all {
		e, err := store.Look(s.t.Context(), path)
		must(s.t, err)
		n += e.Sales
	}
	return n
}
