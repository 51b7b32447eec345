package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"edgegw/broker/brokertest"
	"edgegw/fiscal/sandbox"
	"edgegw/health"
	"edgegw/sale"
	"edgegw/store"
)

// What a technician reads of a queue, in each state it can be in.
func TestQueueConditions(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	devices := s.ring.List()
	long, now := time.Now().Add(-time.Hour), time.Now()
	for _, row := range []struct {
		name         string
		queue        store.Queue
		code, remedy string
	}{
		{"idle", store.Queue{Idle: true}, "", ""},
		{"just tried", store.Queue{Oldest: now, Problem: "transient (503)", Class: sale.Transient, Waiting: 1}, "", ""},
		{"tried for an hour", store.Queue{Oldest: long, Problem: "transient (503)", Class: sale.Transient, Waiting: 1}, "queue_waits", "support"},
		{"in doubt for an hour", store.Queue{Oldest: long, Problem: "in_doubt unreadable", Class: sale.InDoubt, Waiting: 1}, "queue_waits", "support"},
		{"in doubt since an hour", store.Queue{Oldest: long, InDoubtSince: long, Problem: "in_doubt cut", Class: sale.InDoubt, Waiting: 1}, "in_doubt", "support"},
		{"in doubt just now", store.Queue{Oldest: now, InDoubtSince: now, Problem: "in_doubt cut", Class: sale.InDoubt, Waiting: 1}, "", ""},
		{"no uplink for an hour", store.Queue{Oldest: long, Problem: "uplink dns", Class: sale.Uplink, Waiting: 1}, "", ""},
		{"key refused", store.Queue{Oldest: long, BlockedSince: long, Class: sale.KeyRefused, Waiting: 2}, "key_refused", "edgegw key set pump-01"},
		{"register unknown", store.Queue{Oldest: long, BlockedSince: long, Class: sale.RegisterUnknown, Waiting: 2}, "register_unknown", "archived"},
		{"redirected", store.Queue{Oldest: long, BlockedSince: long, Class: sale.Misconfigured, Waiting: 2}, "misconfigured", "base_url"},
		{"poison", store.Queue{Oldest: long, BlockedSince: long, Blocker: 7, Waiting: 2, Problem: "poison (400)"}, "queue_blocked", "edgegw quarantine show 7"},
		{"a register nobody has", store.Queue{Register: "reg_gone", Oldest: long, BlockedSince: long, Class: sale.KeyRefused, Waiting: 2}, "key_missing", "edgegw key set --register reg_gone"},
	} {
		t.Run(strings.ReplaceAll(row.name, " ", "_"), func(t *testing.T) {
			if row.queue.Register == "" {
				row.queue.Register = "reg_pump-01"
			}
			var b health.Board
			s.queueCondition(t.Context(), &b, row.queue, devices)
			list := b.List()
			if row.code == "" {
				if len(list) != 0 {
					t.Errorf("conditions %+v", list)
				}
				return
			}
			if len(list) != 1 || list[0].Code != row.code || list[0].Severity != health.Attention || !strings.Contains(list[0].Remedy, row.remedy) ||
				!strings.Contains(list[0].Title, "wait") {
				t.Errorf("conditions %+v; want %s with %q", list, row.code, row.remedy)
			}
		})
	}
}

// A message that could not become a sale is never passed over in silence.
func TestEvidenceCallsForAttention(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	if st, err := s.Status(t.Context()); err != nil || !strings.Contains(st.Sentence, "up to date") {
		t.Errorf("%q, %v", st.Sentence, err)
	}
	c := s.connect("pump-01", 4)
	if err := c.Publish(topic("pump-01", "sale"), 1, 1, strings.Replace(fmt.Sprintf(wholeEvent, "s1"), `"amount":7622,"tax"`, `"amount":7600,"tax"`, 1)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Await(brokertest.PUBACK); err != nil {
		t.Fatal(err)
	}
	st, err := s.Status(t.Context())
	if err != nil || !hasCondition(st, "messages_refused") || strings.Contains(st.Sentence, "up to date") || !strings.Contains(st.Sentence, "pump-01") {
		t.Errorf("%q, %+v, %v", st.Sentence, st.Conditions, err)
	}
}

func TestProxyIsAskedForTheRealHost(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://proxy.test:3128") // read once per process: the rows that need it come first
	t.Setenv("HTTP_PROXY", "http://proxy.test:3128")
	for _, row := range []struct{ text, base, want string }{
		{"none", "https://api.openfiskal.com/v1", ""},
		{"http://p.test:1", "https://api.openfiskal.com/v1", "http://p.test:1"},
		{"http://p.test:1", "http://127.0.0.1:8080/v1", ""}, // a key never goes through a proxy in clear
		{"system", "http://127.0.0.1:8080/v1", ""},
		{"system", "https://127.0.0.1:8080/v1", ""}, // loopback needs none
	} {
		u, err := proxyURL(row.text, row.base)
		got := ""
		if u != nil {
			got = u.String()
		}
		if err != nil || got != row.want {
			t.Errorf("%s for %s: %q, %v; want %q", row.text, row.base, got, err, row.want)
		}
	}
}
