package store

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Changes that may wait share a commit; one that may not takes none of them along, and
// waits for none; and the end of the journal waits for nothing.
func TestPatientChangesShareACommit(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var commits []int
		counted := func() []int {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(commits)
		}
		db, err := Open(t.Context(), dir, Options{Committed: func(_ time.Duration, jobs int) {
			mu.Lock()
			defer mu.Unlock()
			commits = append(commits, jobs)
		}})
		if err != nil {
			t.Fatal(err)
		}
		nothing := func(*tx) error { return nil }
		var wg sync.WaitGroup
		patient := func(wait time.Duration) {
			wg.Go(func() {
				if err := db.changeWith(t.Context(), 0, wait, nothing); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		for range 10 {
			patient(time.Second)
		}
		began := time.Now()
		if err := db.change(t.Context(), nothing); err != nil || !slices.Equal(counted(), []int{1}) {
			t.Errorf("one that does not wait: %v, commits of %v", err, counted())
		}
		wg.Wait()
		if took := time.Since(began); took != time.Second || !slices.Equal(counted(), []int{1, 10}) {
			t.Errorf("after %v commits of %v", took, counted())
		}
		patient(time.Hour)
		patient(time.Second) // who is in more of a hurry decides for both
		if wg.Wait(); time.Since(began) != 2*time.Second || !slices.Equal(counted(), []int{1, 10, 2}) {
			t.Errorf("after %v commits of %v", time.Since(began), counted())
		}
		for range mostPatient {
			patient(time.Hour)
		}
		if wg.Wait(); time.Since(began) != 2*time.Second || !slices.Equal(counted(), []int{1, 10, 2, mostPatient}) {
			t.Errorf("too many to keep: after %v commits of %v", time.Since(began), counted())
		}
		patient(time.Hour)
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		if wg.Wait(); time.Since(began) != 2*time.Second || !slices.Equal(counted(), []int{1, 10, 2, mostPatient, 1}) {
			t.Errorf("at the end: after %v commits of %v", time.Since(began), counted())
		}
	})
}
