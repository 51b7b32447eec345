package clock

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

var (
	b   = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)  // built
	now = time.Date(2027, 5, 1, 12, 0, 0, 0, time.UTC)  // the truth
	y70 = time.Date(1970, 1, 1, 0, 0, 30, 0, time.UTC)  // a box without a battery
	y77 = time.Date(2077, 5, 1, 12, 0, 0, 0, time.UTC)  // fifty years ahead
	old = time.Date(2027, 4, 30, 23, 0, 0, 0, time.UTC) // the journal's newest time
	bad = time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)   // … written by a clock that was wrong
)

func TestThePolicy(t *testing.T) {
	for _, c := range []struct {
		name   string
		f      facts
		want   time.Time
		q      Quality
		source Source
	}{
		{"kept right", facts{wall: now, synchronised: true, journal: old}, now, Synchronised, Kernel},
		{"kept right, with a journal from the future", facts{wall: now, synchronised: true, journal: bad}, now, Synchronised, Kernel},
		{"a kernel in 1970 is wrong whatever it says", facts{wall: y70, synchronised: true, journal: old}, old, Unknown, Floor},
		{"a kernel in 2077 too", facts{wall: y77, synchronised: true, journal: old}, old, Unknown, Floor},
		{"nobody keeps it right", facts{wall: now, journal: old}, now, Informative, Wall},
		{"before the journal's time", facts{wall: now, journal: bad}, bad, Unknown, Floor},
		{"1970 without a journal", facts{wall: y70}, b, Unknown, Floor},
		{"1970, some time later", facts{wall: y70, journal: old, continued: old.Add(time.Hour), before: Unknown}, old.Add(time.Hour), Unknown, Floor},
		{"1970, and OpenFiskal says what time it is", facts{wall: y70, journal: old, hint: now}, now, Informative, OpenFiskal},
		{"OpenFiskal agrees", facts{wall: now, journal: old, hint: now.Add(-time.Second)}, now, Informative, Wall},
		{"OpenFiskal does not", facts{wall: now.Add(time.Hour), journal: old, hint: now}, now, Informative, OpenFiskal},
		{"OpenFiskal against a journal from the future", facts{wall: now, journal: bad, hint: now}, now, Informative, Wall},
		{"kept right, whatever OpenFiskal says", facts{wall: now, synchronised: true, hint: now.Add(time.Hour)}, now, Synchronised, Kernel},
		{"a jump of fifty years", facts{wall: y77, journal: old, continued: now, before: Informative}, now, Informative, Continued},
		{"a jump of an hour", facts{wall: now.Add(time.Hour), journal: old, continued: now, before: Synchronised}, now, Informative, Continued},
		{"a jump back", facts{wall: y70, journal: old, continued: now, before: Informative}, now, Informative, Continued},
		{"a small step", facts{wall: now.Add(time.Minute), journal: old, continued: now, before: Informative}, now.Add(time.Minute), Informative, Wall},
		{"from 1970 to the truth", facts{wall: now, journal: old, continued: old.Add(time.Hour), before: Unknown}, now, Informative, Wall},
		{"a jump that the kernel vouches for", facts{wall: now, synchronised: true, continued: bad, before: Informative}, now, Synchronised, Kernel},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.f.built = b
			if at, q, source := c.f.judge(); !at.Equal(c.want) || q != c.q || source != c.source {
				t.Errorf("%s, %s by %s; want %s, %s by %s", at, q, source, c.want, c.q, c.source)
			}
		})
	}
}

// The estimate follows real time, not the wall: over jumps, hints and a return
// to synchronised.
func TestTheEstimateOnlyMovesWithTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		offset := time.Until(now)
		synchronised := false
		truth := func() time.Time { return time.Now().Add(now.Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))) }
		c := New(Options{Built: b, Journal: old, Wall: func() time.Time { return time.Now().Add(offset) }, Synchronised: func() bool { return synchronised }})
		right := func(what string, q Quality) {
			t.Helper()
			if d := c.Now().Sub(truth()).Abs(); d > time.Second || c.Quality() != q {
				t.Errorf("%s: off by %s, %s; want %s", what, d, c.Quality(), q)
			}
		}
		year := 365 * 24 * time.Hour
		right("at the start", Informative)
		for _, jump := range []time.Duration{50 * year, -100 * year, 50 * year} {
			<-time.After(time.Hour)
			offset += jump
			right(fmt.Sprint("after a jump of ", jump), Informative)
			<-time.After(time.Hour)
			right("an hour later", Informative)
		}
		offset += 50 * year
		right("ahead again", Informative)
		if s := c.State(); s.Jumped != 50*year || s.Hinted || s.Source != Continued {
			t.Errorf("state %+v", s)
		}
		c.Hint(truth())
		<-time.After(24 * time.Hour)
		right("a day after a hint", Informative)
		if s := c.State(); s.Off.Round(time.Minute) != 50*year || !s.Hinted || s.Source != OpenFiskal {
			t.Errorf("state %+v", s)
		}
		offset -= 50 * year
		synchronised = true
		right("kept right at last", Synchronised)
		if now, least := c.Bounds(); !now.Equal(least) {
			t.Errorf("bounds %s, %s", now, least)
		}
	})
}

// A box that boots in 1970 knows at least what its journal knows, and the time
// since.
func TestABootIn1970(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		offset := time.Until(y70)
		c := New(Options{Built: b, Journal: old, Vouched: old.Add(-time.Hour), Wall: func() time.Time { return time.Now().Add(offset) }, Synchronised: func() bool { return false }})
		<-time.After(3 * time.Hour)
		if got := c.Now(); !got.Equal(old.Add(3*time.Hour)) || c.Quality() != Unknown {
			t.Errorf("%s, %s", got, c.Quality())
		}
		if now, least := c.Bounds(); !now.Equal(old.Add(3*time.Hour)) || !least.Equal(old.Add(-time.Hour)) {
			t.Errorf("bounds %s, %s", now, least)
		}
		offset = time.Until(now)
		if got := c.Now(); !got.Equal(now) || c.Quality() != Informative {
			t.Errorf("set right: %s, %s", got, c.Quality())
		}
		c.Hint(y70)
		if s := c.State(); s.Hinted {
			t.Error("a service in 1970 was believed")
		}
	})
}

// A journal that a wrong clock has written, up to the day it was read, is no
// reason to call a certificate ended; one that cannot be right says nothing.
func TestAJournalFromTheFuture(t *testing.T) {
	never := func() bool { return false }
	c := New(Options{Built: b, Journal: bad, Wall: func() time.Time { return now }, Synchronised: never})
	if at, least := c.Bounds(); at.Before(bad) || !least.Equal(b) || c.Quality() != Unknown {
		t.Errorf("%s, at least %s, %s; want %s, at least %s", at, least, c.Quality(), bad, b)
	}
	c.Hint(now)
	if s := c.State(); s.Now.Sub(now).Abs() > time.Second || s.Quality != Informative {
		t.Errorf("after a hint: %+v", s)
	}
	c = New(Options{Built: b, Journal: y77, Wall: func() time.Time { return y70 }, Synchronised: never})
	if at := c.Now(); at.Sub(b) > time.Minute {
		t.Errorf("the estimate is %s, want the time of the build", at)
	}
}

// FAULTS.md F38: a clock that loses ten seconds every five is followed a little,
// and no further.
func TestManySmallStepsDoNotLeadAstray(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		offset := time.Until(now)
		truth := offset
		c := New(Options{Built: b, Journal: old, Wall: func() time.Time { return time.Now().Add(offset) }, Synchronised: func() bool { return false }})
		for range 1000 {
			<-time.After(5 * time.Second)
			offset -= 10 * time.Second
			if off := c.Now().Sub(time.Now().Add(truth)).Abs(); off > jump {
				t.Fatalf("the estimate is %s off", off)
			}
		}
		if s := c.State(); s.Source != Continued {
			t.Errorf("state %+v", s)
		}
	})
}

// An answer that was long under way does not set the estimate back; one that
// contradicts the last, or comes when that has grown old, does.
func TestTheTightestHintCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		c := New(Options{Built: b, Wall: func() time.Time { return y70 }, Synchronised: func() bool { return false }})
		truth := func() time.Time { return now.Add(time.Since(begin)) }
		off := func(what string, want time.Duration) {
			t.Helper()
			if got := c.Now().Sub(truth()); got != want {
				t.Errorf("%s: off by %s, want %s", what, got, want)
			}
		}
		c.Hint(truth().Add(-3 * time.Second))
		off("the first", -3*time.Second)
		<-time.After(time.Second)
		c.Hint(truth().Add(-time.Second))
		off("a better one", -time.Second)
		<-time.After(time.Minute)
		c.Hint(truth().Add(-9 * time.Second))
		off("a slow answer", -time.Second)
		<-time.After(time.Hour)
		c.Hint(truth().Add(-2 * time.Second))
		off("an hour later", -2*time.Second)
		c.Hint(truth().Add(-time.Hour))
		off("the service's clock was set back", -time.Hour)
	})
}

// The kernel is not asked for each sale, but whenever its clock was set.
func TestTheKernelIsAskedSeldomAndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const years = 5 * 365 * 24 * time.Hour
		offset, kept, asked := time.Until(now), true, 0
		c := New(Options{Built: b, Wall: func() time.Time { return time.Now().Add(offset) }, Synchronised: func() bool { asked++; return kept }})
		for range 1000 {
			c.Now()
			time.Sleep(time.Millisecond)
		}
		if asked < 5 || asked > 20 {
			t.Errorf("asked %d times for 1,000 sales in a second", asked)
		}
		offset, kept = offset+years, false // date --set; no time passes
		if at, q := c.read(); q != Informative || at.After(now.Add(time.Minute)) {
			t.Errorf("a clock that was set just now: %s, %s", at, q)
		}
		offset, kept = offset-years, true
		time.Sleep(time.Second)
		c.Now()
		kept = false // the daemon was ended; nothing moves
		time.Sleep(believe + time.Millisecond)
		if q := c.Quality(); q != Informative {
			t.Errorf("%s, and the kernel has not vouched for it for %s", q, believe)
		}
	})
}

func BenchmarkNow(b *testing.B) {
	c := New(Options{})
	for b.Loop() {
		c.Now()
	}
}
