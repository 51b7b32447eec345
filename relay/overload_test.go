package relay

import (
	"testing"
	"time"
)

// One register that is refused again and again does not slow its site down; several
// within a minute do.
func TestOverloadIsWhatSeveralMeet(t *testing.T) {
	var o overload
	at := time.Now()
	for range 5 {
		if at = at.Add(10 * time.Second); o.note("reg_1", 8, at) {
			t.Fatal("one register alone")
		}
	}
	if !o.note("reg_2", 8, at.Add(59*time.Second)) {
		t.Error("a second register within a minute")
	}
	if o.note("reg_3", 8, at.Add(3*time.Minute)) {
		t.Error("another one, minutes later")
	}
	var alone overload
	if !alone.note("reg_1", 1, at) {
		t.Error("all that the site has")
	}
}
