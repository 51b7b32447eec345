package gateway

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"edgegw/admin"
	"edgegw/broker/brokertest"
	"edgegw/clock"
	"edgegw/fiscal/sandbox"
	"edgegw/relay"
)

var (
	linkUp      = relay.UplinkState{Up: true, Known: true}
	linkUntried = relay.UplinkState{Up: true}
	linkDown    = relay.UplinkState{Known: true, Problem: "dns"}
)

// inMinutes tells stretches in minutes after a time.
func inMinutes(since time.Time, all []admin.Stretch) string {
	var text []string
	for i, s := range all {
		if i > 0 && !all[i-1].To.Equal(s.From) {
			text = append(text, "GAP")
		}
		text = append(text, fmt.Sprintf("%d-%d %s", int(s.From.Sub(since)/time.Minute), int(s.To.Sub(since)/time.Minute), s.State))
	}
	return strings.Join(text, ", ")
}

// What is shown of the uplink has no gap, and calls nothing up that nobody has seen
// up: not the time in which no gateway ran, and none of which nobody knows when it was.
func TestWhatIsShownOfTheUplink(t *testing.T) {
	from := time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)
	at := func(minute int) time.Time { return from.Add(time.Duration(minute) * time.Minute) }
	part := func(begin, end int, state string) stretch { return stretch{From: at(begin), To: at(end), State: state} }
	undated := func(s stretch) stretch { s.Undated = true; return s }
	for _, c := range []struct {
		name string
		all  []stretch
		want string
	}{
		{"nothing was written down", nil, "0-60 unknown"},
		{"all of it", []stretch{part(-10, 60, "up")}, "0-60 up"},
		{"before it", []stretch{part(-20, -10, "up")}, "0-60 off"},
		{"a new site", []stretch{part(20, 30, "untried"), part(30, 60, "up")}, "0-20 unknown, 20-30 untried, 30-60 up"},
		{"an outage", []stretch{part(-10, 20, "up"), part(20, 30, "down"), part(30, 60, "up")}, "0-20 up, 20-30 down, 30-60 up"},
		{"two runs", []stretch{part(-10, 20, "up"), part(40, 60, "up")}, "0-20 up, 20-40 off, 40-60 up"},
		{"no gateway runs now", []stretch{part(-10, 20, "up")}, "0-20 up, 20-60 off"},
		{"the same, one after the other", []stretch{part(-10, 20, "up"), part(20, 60, "up")}, "0-60 up"},
		{"a run without a clock", []stretch{part(-10, 20, "up"), undated(part(30, 40, "up")), part(50, 60, "up")}, "0-20 up, 20-50 unknown, 50-60 up"},
		{"a run without a clock was the last", []stretch{undated(part(-10, 20, "up"))}, "0-60 unknown"},
	} {
		if got := inMinutes(from, dayOf(c.all, from, at(60))); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestOutagesOfTheHistory(t *testing.T) {
	from := time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)
	part := func(begin, end int, state, cause string) stretch {
		return stretch{From: from.Add(time.Duration(begin) * time.Minute), To: from.Add(time.Duration(end) * time.Minute), State: state, Cause: cause}
	}
	for _, c := range []struct {
		name string
		all  []stretch
		want string
	}{
		{"none", []stretch{part(0, 60, "up", "")}, ""},
		{"one", []stretch{part(0, 5, "up", ""), part(5, 9, "down", "dns"), part(9, 60, "up", "")}, "5-9 dns"},
		{"over before", []stretch{part(-9, -1, "down", "dns"), part(-1, 60, "up", "")}, ""},
		{"it reaches into the time, and is told whole", []stretch{part(-99, 3, "down", "dns"), part(3, 60, "up", "")}, "-99-3 dns"},
		{"under way", []stretch{part(0, 5, "up", ""), part(5, 60, "down", "refused")}, "5- refused"},
		{"a restart does not end it", []stretch{part(5, 9, "down", "dns"), part(12, 13, "untried", ""), part(13, 20, "down", "refused"), part(20, 60, "up", "")}, "5-20 dns"},
		{"two", []stretch{part(5, 9, "down", "dns"), part(9, 10, "up", ""), part(10, 11, "down", "refused"), part(11, 60, "up", "")}, "5-9 dns, 10-11 refused"},
	} {
		var got []string
		for _, o := range outages(c.all, from) {
			end := ""
			if !o.Ended.IsZero() {
				end = fmt.Sprint(int(o.Ended.Sub(from) / time.Minute))
			}
			if got = append(got, fmt.Sprintf("%d-%s %s", int(o.Began.Sub(from)/time.Minute), end, o.Cause)); o.Why == "" || o.Why == o.Cause {
				t.Errorf("%s: it does not say why: %+v", c.name, o)
			}
		}
		if text := strings.Join(got, ", "); text != c.want {
			t.Errorf("%s: %s, want %s", c.name, text, c.want)
		}
	}
}

// Times of a run are kept as distances: a clock that jumps while it runs moves
// nothing, what runs before have written down in the future is left out, and while
// nobody knows the time they are not shown at all.
func TestTheHistoryOutlivesItsClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wall := time.Now()
		h := newHistory([]stretch{{From: wall.Add(-40 * time.Minute), To: wall.Add(-30 * time.Minute), State: "up"}, {From: wall.Add(5 * time.Hour), To: wall.Add(6 * time.Hour), State: "up"}})
		for _, u := range []relay.UplinkState{linkUntried, linkUp, linkUp, linkDown, {Known: true, Problem: "refused"}, linkUp} {
			h.note(u, time.Now())
			<-time.After(10 * time.Minute)
		}
		shown := func(jump time.Duration, trusted bool) string {
			now := time.Now().Add(jump)
			return inMinutes(now.Add(-2*time.Hour), dayOf(h.stretches(now, trusted), now.Add(-2*time.Hour), now))
		}
		if got, want := shown(0, true), "0-20 unknown, 20-30 up, 30-60 off, 60-70 untried, 70-90 up, 90-110 down, 110-120 up"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if got, want := shown(100*24*time.Hour, true), "0-60 off, 60-70 untried, 70-90 up, 90-110 down, 110-120 up"; got != want {
			t.Errorf("after a jump: %s, want %s", got, want)
		}
		if got, want := shown(0, false), "0-60 unknown, 60-70 untried, 70-90 up, 90-110 down, 110-120 up"; got != want {
			t.Errorf("without a clock: %s, want %s", got, want)
		}
		now := time.Now()
		if all := outages(h.stretches(now, true), now.Add(-time.Hour)); len(all) != 1 || all[0].Cause != "dns" || all[0].Lasted(now) != 20*time.Minute {
			t.Errorf("outages: %+v", all)
		}
		for _, s := range h.kept(now, false)[2:] {
			if !s.Undated {
				t.Errorf("it is kept as if the clock had been known: %+v", s)
			}
		}
	})
}

// An uplink that comes and goes does not fill the memory, and what had to be forgotten
// is not shown as up.
func TestTheHistoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory(nil)
		for range mostStretches {
			h.note(linkUp, time.Now())
			<-time.After(time.Second)
			h.note(linkDown, time.Now())
			<-time.After(time.Second)
		}
		now := time.Now()
		all := h.stretches(now, true)
		if len(all) != mostStretches || all[0].State != admin.UplinkUnknown || all[0].To.Sub(all[0].From) < mostStretches*time.Second || all[1].State == all[2].State {
			t.Errorf("%d stretches, the first %+v", len(all), all[0])
		}
	})
}

// The most that waited in each ten minutes is kept, for a day and no longer, and not
// for the time before the gateway began.
func TestWhatWaitedIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory(nil)
		if got := h.waited(time.Now()); len(got) != 0 {
			t.Errorf("nobody has looked yet: %v", got)
		}
		began := time.Now()
		for minute := range 25 {
			h.waits(int64(minute % 20))
			<-time.After(time.Minute)
		}
		got := h.waited(time.Now())
		want := []admin.WaitingSales{{At: began, Waiting: 9}, {At: began.Add(10 * time.Minute), Waiting: 19}, {At: began.Add(20 * time.Minute), Waiting: 4}}
		if !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		for range 30 * 60 {
			<-time.After(time.Minute)
			h.waits(7)
		}
		got = h.waited(time.Now())
		if len(got) != historySlots || got[0].Waiting != 7 || time.Since(got[0].At) > historySpan || time.Since(got[0].At) < historySpan-historySlot {
			t.Errorf("after a day: %d, from %v on", len(got), got[0])
		}
	})
}

// A large journal is counted step by step, and says since when it is counted; each
// event once.
func TestTheTallyCountsInSteps(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	s.on()
	s.add("pump-01")
	c := s.connect("pump-01", 5)
	for i := range 3 {
		if err := c.Publish(topic("pump-01", "sale"), 1, uint16(i+1), fmt.Sprintf(wholeEvent, fmt.Sprint("s", i))); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Await(brokertest.PUBACK); err != nil {
			t.Fatal(err)
		}
	}
	defer s.off()
	h, err := s.History(t.Context())
	if err != nil || len(h.Sales) != hoursShown {
		t.Fatalf("%+v, %v", h.Sales, err)
	}
	sum := func(all []admin.HourOfSales) (n int64) {
		for _, hour := range all {
			n += hour.Sales
		}
		return n
	}
	for range 3 { // asking again counts nothing twice
		if h, err = s.History(t.Context()); err != nil || sum(h.Sales) != 3 || !h.SalesSince.Equal(h.Sales[0].From) {
			t.Errorf("%d sales since %v, %v", sum(h.Sales), h.SalesSince, err)
		}
	}
	steps, asked := tally{step: 1}, 0
	for ; !steps.done() && asked < 10; asked++ {
		if err := steps.catchUp(t.Context(), s.db, s.now()); err != nil {
			t.Fatal(err)
		}
		if hours, since := steps.hours(s.now()); !steps.done() && (sum(hours) != int64(asked+1) || !since.After(h.SalesSince)) {
			t.Errorf("after %d steps: %d sales since %v", asked+1, sum(hours), since)
		}
	}
	if hours, since := steps.hours(s.now()); asked != 3 || sum(hours) != 3 || !since.Equal(hours[0].From) {
		t.Errorf("after %d steps: %d sales since %v", asked, sum(hours), since)
	}
	old := tally{}
	now := s.now().Add(30 * time.Hour)
	if err := old.catchUp(t.Context(), s.db, now); err != nil || !old.done() {
		t.Errorf("a journal of yesterday is not done: %v", err)
	}
	if hours, _ := old.hours(now); sum(hours) != 0 {
		t.Errorf("sales of yesterday count: %v", hours)
	}
}

// The uplink's history of a site, through an outage and a restart: the page's words
// and the file for the next run.
func TestTheLastDayOfASite(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	s.options.Jitter = func(time.Duration) time.Duration { return 10 * time.Millisecond }
	s.on()
	state := func() string {
		h, err := s.History(t.Context())
		if err != nil || len(h.Uplink) == 0 {
			t.Fatalf("%+v, %v", h, err)
		}
		return h.Uplink[len(h.Uplink)-1].State
	}
	if got := state(); got != admin.UplinkUntried {
		t.Errorf("before anything was sent: %s", got)
	}
	s.add("pump-01")
	c := s.connect("pump-01", 5, topic("pump-01", "receipt"))
	sell := func(id uint16) {
		t.Helper()
		if err := c.Publish(topic("pump-01", "sale"), 1, id, fmt.Sprintf(wholeEvent, fmt.Sprint("s", id))); err != nil {
			t.Fatal(err)
		}
	}
	sell(1)
	await(t, "the sale to be confirmed", func() bool {
		st, err := s.Status(t.Context())
		return err == nil && st.Totals.Confirmed == 1
	})
	if got := state(); got != admin.UplinkUp {
		t.Errorf("after a sale: %s", got)
	}
	s.sandbox.SetDown(true)
	sell(2)
	await(t, "the uplink to be down", func() bool { return state() == admin.UplinkDown })
	st, err := s.Status(t.Context())
	if err != nil || st.Oldest == nil || st.Oldest.SaleID != "s2" || st.Oldest.DeviceID != "pump-01" || st.Oldest.Since.IsZero() ||
		len(st.Outages) != 1 || !st.Outages[0].Ended.IsZero() || !st.UplinkFrom.Equal(st.Outages[0].Began) {
		t.Errorf("during the outage: oldest %+v, outages %+v, since %v, %v", st.Oldest, st.Outages, st.UplinkFrom, err)
	}
	if st.Clock.Quality != string(clock.Synchronised) || time.Until(st.Clock.Now).Abs() > time.Minute || st.Disk == nil || st.Disk.Free <= 0 || st.Disk.Total < st.Disk.Free ||
		st.Disk.Database == 0 || st.Disk.State == "" {
		t.Errorf("the box: %+v %+v", st.Clock, st.Disk)
	}
	s.off()
	if info, err := os.Stat(filepath.Join(s.dir, uplinkFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file for the next run: %v, %v", info, err)
	}

	s.sandbox.SetDown(false)
	s.on()
	await(t, "the sale to arrive", func() bool {
		st, err = s.Status(t.Context())
		return err == nil && st.Totals.Confirmed == 2 && st.Oldest == nil
	})
	h, err := s.History(t.Context())
	var states []string
	for _, x := range h.Uplink {
		states = append(states, x.State)
	}
	if got := strings.Join(states, " "); err != nil || got != "unknown untried up down off untried up" && got != "unknown untried up down off up" {
		t.Errorf("after a restart: %s, %v", got, err)
	}
	if len(h.Outages) != 1 || h.Outages[0].Ended.IsZero() || h.Outages[0].Lasted(h.To) <= 0 || h.Outages[0].Why == "" {
		t.Errorf("outages: %+v", h.Outages)
	}
	s.off()
}

// What is left of a file that was cut is not known, and stops nothing.
func TestADamagedHistoryIsUnknown(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	if err := os.WriteFile(filepath.Join(s.dir, uplinkFile), []byte(`[{"from":"2026-`), 0o600); err != nil {
		t.Fatal(err)
	}
	s.on()
	defer s.off()
	h, err := s.History(t.Context())
	if err != nil || len(h.Uplink) == 0 || h.Uplink[0].State != admin.UplinkUnknown {
		t.Errorf("%+v, %v", h.Uplink, err)
	}
}

// Whoever has a page open is not told every second that something is new while
// nothing is.
func TestAQuietSiteIsQuiet(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	first, err := s.outline(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if again, err := s.outline(t.Context()); err != nil || again != first {
			t.Fatalf("it changes by itself, %v:\n%s\n%s", err, first, again)
		}
	}
}
