package gateway

import (
	"time"

	"edgegw/clock"
	"edgegw/health"
	"edgegw/wording"
)

// wrongBy is how far the box's clock may be from OpenFiskal's before somebody
// should set it.
const wrongBy = time.Minute

// clockCondition says what is wrong with the box's clock. Nothing waits for it:
// devices' times go out as they came, and the gateway's own are estimated.
func (k *control) clockCondition(b *health.Board) {
	s := k.clock.State()
	c := health.Condition{Severity: health.Attention, Since: k.since}
	remedy := wording.Of("Give the box a way to a time server (NTP, UDP port 123), and check the battery of its real-time clock. Sales are taken and sent all the while, with the devices' own times")
	var title wording.Sentence
	if s.Jumped != 0 {
		c.Since = s.JumpAt
	}
	switch {
	case s.Quality == clock.Unknown:
		c.Code, title = "clock_unknown", wording.Of("The clock of this box says %s, which cannot be right; the gateway counts on from %s", day(s.Wall), day(s.Now))
	case s.Hinted && s.Off.Abs() > wrongBy:
		c.Code, title = "clock_wrong", wording.Of("The clock of this box is %s %s OpenFiskal's", long(s.Off.Abs()), ahead(s.Off))
	case s.Source == clock.Continued:
		c.Code, title = "clock_wrong", wording.Of("The clock of this box has jumped %s %s; the gateway counts on from before", long(s.Jumped.Abs()), direction(s.Jumped))
	case s.Quality == clock.Informative:
		c.Code, c.Severity, title = "clock_unsynchronised", health.Notice, wording.Of("Nothing keeps the clock of this box right")
	default:
		return
	}
	b.Set(c.Saying(title, remedy))
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

func ahead(d time.Duration) wording.Sentence {
	if d < 0 {
		return wording.Of("behind")
	}
	return wording.Of("ahead of")
}

func direction(d time.Duration) wording.Sentence {
	if d < 0 {
		return wording.Of("back")
	}
	return wording.Of("ahead")
}

// long is a duration in its largest unit, rounded.
func long(d time.Duration) wording.Sentence {
	const year = 365 * 24 * time.Hour
	for _, u := range []struct {
		of   time.Duration
		name wording.Sentence
	}{{year, wording.Of("years")}, {24 * time.Hour, wording.Of("days")}, {time.Hour, wording.Of("hours")}, {time.Minute, wording.Of("minutes")}} {
		if d >= 2*u.of-u.of/20 {
			return wording.Of("%d %s", int64(d.Round(u.of)/u.of), u.name)
		}
	}
	return wording.Of("%d seconds", int64(d.Round(time.Second)/time.Second))
}
