package gateway

import (
	"encoding/json"
	"testing"
	"time"
)

func TestClockQuality(t *testing.T) {
	for _, c := range []struct {
		now  time.Time
		sync bool
		want string
	}{
		{time.Unix(0, 0), false, "unknown"},
		{time.Unix(0, 0), true, "unknown"}, // a kernel in 1970 is wrong whatever it says
		{noEarlier.Add(time.Hour), false, "informative"},
		{noEarlier.Add(time.Hour), true, "synchronised"},
	} {
		if got := clockQuality(c.now, c.sync); got != c.want {
			t.Errorf("%s, %v: %s, want %s", c.now, c.sync, got, c.want)
		}
	}
	var told struct {
		Now     time.Time
		Quality string
	}
	if err := json.Unmarshal(siteTime(), &told); err != nil || time.Since(told.Now) > time.Minute || told.Quality == "" {
		t.Errorf("site/time tells %+v, %v", told, err)
	}
}
