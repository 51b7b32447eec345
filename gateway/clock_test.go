package gateway

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/broker/brokertest"
	"edgegw/clock"
	"edgegw/fiscal/sandbox"
	"edgegw/health"
	"edgegw/secret"
)

// A box whose clock is wrong sells as ever, over real TLS both ways: the device's
// time goes out as it came, the gateway's is estimated, and a condition says by
// how much the clock is wrong.
func TestABoxWithAWrongClock(t *testing.T) {
	for _, row := range []struct {
		name         string
		wall         func() time.Time
		synchronised bool
		before       string // the condition before OpenFiskal has answered
		after        string
		words        string
	}{
		{"kept_right", time.Now, true, "", "", ""},
		{"not_kept_right", time.Now, false, "clock_unsynchronised", "clock_unsynchronised", "Nothing keeps"},
		{"1970", func() time.Time { return time.Unix(30, 0).Add(time.Since(began)) }, false, "clock_unknown", "clock_wrong", "years behind OpenFiskal's"},
		{"2077", func() time.Time { return time.Now().AddDate(51, 0, 0) }, false, "clock_unknown", "clock_wrong", "51 years ahead of OpenFiskal's"},
		{"two_hours_fast", func() time.Time { return time.Now().Add(2 * time.Hour) }, false, "clock_unsynchronised", "clock_wrong", "2 hours ahead of OpenFiskal's"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, sandbox.Options{})
			s.options.Clock = clock.Options{Wall: row.wall, Synchronised: func() bool { return row.synchronised }}
			s.on()
			defer s.off()
			if got := clockCode(t, s); got != row.before {
				t.Errorf("before an answer the condition is %q, want %q", got, row.before)
			}
			s.add("pump-01") // asks OpenFiskal about the key
			c := s.connect("pump-01", 5, topic("pump-01", "receipt"), topic("pump-01", "sale/ack"))
			if err := c.Publish(topic("pump-01", "sale"), 1, 1, fmt.Sprintf(wholeEvent, "s1")); err != nil {
				t.Fatal(err)
			}
			if off := time.Since(acceptedAt(t, c)).Abs(); (off > 10*time.Second) && row.name != "two_hours_fast" {
				t.Errorf("accepted_at is off by %s", off)
			}
			if r := awaitReceipt(t, c, nil); r.State != "completed" {
				t.Errorf("receipt %+v", r)
			}
			if op := s.sandbox.Operations("")[0]; op.StartedAt != "2026-11-22T08:33:00+01:00" {
				t.Errorf("the device's time went out as %s", op.StartedAt)
			}
			if got := clockCode(t, s); got != row.after {
				t.Errorf("the condition is %q, want %q", got, row.after)
			}
			if row.words != "" {
				st, _ := s.Status(t.Context())
				if b, _ := json.Marshal(st.Conditions); !strings.Contains(string(b), row.words) {
					t.Errorf("nobody says %q: %s", row.words, b)
				}
			}
		})
	}
}

var began = time.Now()

func clockCode(t *testing.T, s *testSite) string {
	t.Helper()
	b := &health.Board{}
	s.clockCondition(b)
	for _, c := range b.List() {
		return c.Code
	}
	return ""
}

func acceptedAt(t *testing.T, c *brokertest.Client) time.Time {
	t.Helper()
	for {
		p, _, err := c.Await(brokertest.PUBLISH)
		if err != nil {
			t.Fatal(err)
		}
		if p.QoS() == 1 {
			if err := c.Answer(brokertest.PUBACK, p.ID); err != nil {
				t.Fatal(err)
			}
		}
		if !strings.HasSuffix(p.Topic, "/sale/ack") {
			continue
		}
		var ack struct {
			AcceptedAt time.Time `json:"accepted_at"`
		}
		if err := json.Unmarshal(p.Payload, &ack); err != nil {
			t.Fatal(err)
		}
		return ack.AcceptedAt
	}
}

// A jump while the gateway runs is told to devices at once.
func TestDevicesHearThatTheClockBecameWrong(t *testing.T) {
	var jumped, synchronised atomic.Bool
	synchronised.Store(true)
	s := newSite(t, sandbox.Options{})
	s.options.Clock = clock.Options{Synchronised: synchronised.Load, Wall: func() time.Time {
		if jumped.Load() {
			return time.Now().AddDate(50, 0, 0)
		}
		return time.Now()
	}}
	s.on()
	defer s.off()
	key := s.sandbox.MustAddRegister("reg_1")
	cr, err := s.AddDevice(t.Context(), admin.AddDevice{DeviceID: "pump-01", RegisterID: "reg_1", Key: secret.FromString(key)}, "test")
	if err != nil {
		t.Fatal(err)
	}
	s.secrets["pump-01"] = cr.Password
	c := s.connect("pump-01", 5, "edgegw/v1/site/time")
	for _, want := range []string{"synchronised", "informative"} {
		p, _, err := c.Await(brokertest.PUBLISH)
		if err != nil {
			t.Fatal(err)
		}
		var told struct {
			Now     time.Time
			Quality string
		}
		if err := json.Unmarshal(p.Payload, &told); err != nil || told.Quality != want || time.Since(told.Now).Abs() > time.Minute {
			t.Errorf("site/time says %s, want %s: %v", p.Payload, want, err)
		}
		synchronised.Store(false) // as the kernel does when somebody sets its clock
		jumped.Store(true)
	}
}

// A box that sold for a while with its clock twenty years ahead, and without
// internet, has a journal from the future. Once its clock has been set right, by
// hand, OpenFiskal's certificate must not count as long ended.
func TestAJournalFromTheFutureDoesNotCostTheUplink(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	never := func() bool { return false }
	s.options.Clock = clock.Options{Synchronised: never, Wall: func() time.Time { return time.Now().AddDate(20, 0, 0) }}
	s.on()
	s.sandbox.SetDown(true)
	key := s.sandbox.MustAddRegister("reg_1")
	cr, err := s.AddDevice(t.Context(), admin.AddDevice{DeviceID: "pump-01", RegisterID: "reg_1", Key: secret.FromString(key)}, "test")
	if err != nil {
		t.Fatal(err)
	}
	s.secrets["pump-01"] = cr.Password
	c := s.connect("pump-01", 5)
	if err := c.Publish(topic("pump-01", "sale"), 1, 1, fmt.Sprintf(wholeEvent, "s1")); err != nil {
		t.Fatal(err)
	}
	if p, _, err := c.Await(brokertest.PUBACK); err != nil || p.Code != 0 {
		t.Fatalf("%v, code %d", err, p.Code)
	}
	s.off()
	s.sandbox.SetDown(false)
	s.options.Clock = clock.Options{Synchronised: never}
	s.on()
	defer s.off()
	if got := clockCode(t, s); got != "clock_unknown" {
		t.Errorf("before an answer the condition is %q", got)
	}
	s.confirmed(1) // its next attempt stands in the future as well: a minute from now at the most
	c = s.connect("pump-01", 5, topic("pump-01", "receipt"))
	if r := awaitReceipt(t, c, nil); r.State != "completed" {
		t.Errorf("receipt %+v", r)
	}
	if got := clockCode(t, s); got != "clock_unsynchronised" {
		t.Errorf("after an answer the condition is %q", got)
	}
}
