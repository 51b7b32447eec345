package main

import "testing"

// What few sales have grown the database by says nothing of one: it may be nothing at all.
func TestWhatAWaitingSaleTakes(t *testing.T) {
	for _, c := range []struct {
		name  string
		grown int64
		sold  int
		want  float64
	}{
		{"all in the log still", 0, 150, waitingTakes},
		{"few", 400 << 10, 150, waitingTakes},
		{"given back", -4096, measuredFrom, waitingTakes},
		{"none", 0, 0, waitingTakes},
		{"enough", 2500 * measuredFrom, measuredFrom, 2500},
	} {
		if got := waitingSale(c.grown, c.sold); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
