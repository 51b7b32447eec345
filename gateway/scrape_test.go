package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"edgegw/admin"
	"edgegw/broker/brokertest"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/store"
)

// exposition is what a scrape brought.
type exposition struct {
	text     []byte
	families map[string]*dto.MetricFamily
}

func (s *testSite) url(path string) string { return "http://" + s.page.Addr().String() + path }

// get asks http.listen; a host that is not "" goes into the Host header.
func (s *testSite) get(path, host string) (*http.Response, []byte) {
	s.t.Helper()
	return fetch(s.t, http.DefaultClient, s.url(path), host)
}

func fetch(t testing.TB, c *http.Client, url, host string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, body
}

// overSocket is a client of the commands' socket.
func (s *testSite) overSocket() *http.Client {
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(s.dir, admin.SocketName))
	}}
	return &http.Client{Transport: tr}
}

// exposed scrapes the site as Prometheus does.
func (s *testSite) exposed(t testing.TB) exposition {
	t.Helper()
	res, body := s.get("/metrics", "")
	return parse(t, res, body)
}

func parse(t testing.TB, res *http.Response, body []byte) exposition {
	t.Helper()
	if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain") {
		t.Fatalf("%s, %s: %s", res.Status, res.Header.Get("Content-Type"), body)
	}
	samples := map[string]bool{}
	for line := range strings.Lines(string(body)) {
		name := line[:max(0, strings.LastIndexByte(line, ' '))]
		if samples[name] || !utf8.ValidString(line) { // what Prometheus refuses, and its parser for programs takes
			t.Errorf("a sample is there twice, or is no text: %q", line)
		}
		samples[name] = !strings.HasPrefix(line, "#")
	}
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return exposition{body, families}
}

// find gives the metric with exactly these labels, name and value in turn.
func (e exposition) find(name string, labels ...string) *dto.Metric {
	for _, m := range e.families[name].GetMetric() {
		got := []string{}
		for _, l := range m.GetLabel() {
			got = append(got, l.GetName(), l.GetValue())
		}
		if slices.Equal(got, labels) {
			return m
		}
	}
	return nil
}

func (e exposition) value(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	m := e.find(name, labels...)
	switch {
	case m == nil:
		t.Fatalf("there is no %s %q", name, labels)
	case m.Gauge != nil:
		return m.GetGauge().GetValue()
	case m.Counter != nil:
		return m.GetCounter().GetValue()
	}
	return float64(m.GetHistogram().GetSampleCount())
}

func TestMetricsSayWhatStatusSays(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	s.add("pump-02")
	c := s.connect("pump-01", 5, topic("pump-01", "receipt"))
	for i := range 3 {
		if err := c.Publish(topic("pump-01", "sale"), 1, uint16(i+1), fmt.Sprintf(wholeEvent, fmt.Sprint("s", i))); err != nil {
			t.Fatal(err)
		}
		awaitReceipt(t, c, nil)
	}
	publish(t, c, 4, "sale/start", fmt.Sprintf(startEvent, "open")) // its end never comes
	publish(t, c, 5, "sale", `{"sale_id":"odd"}`)
	await(t, "all to be settled", func() bool {
		st, err := s.Status(t.Context())
		return err == nil && st.Totals.Confirmed == 3 && st.Totals.Receipts == 0 && st.Registers[0].State == "idle"
	})

	m := s.exposed(t)
	st, err := s.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{
		"sales_accepted_total": st.Totals.Accepted, "sales_confirmed_total": st.Totals.Confirmed, "sales_waiting": st.Totals.Waiting,
		"sales_quarantined": st.Totals.Quarantined, "sales_resolved_total": st.Totals.Resolved, "messages_refused": st.Totals.Refused,
		"receipts_waiting": st.Totals.Receipts, "devices": int64(st.Devices), "devices_online": int64(st.Online), "registers": int64(len(st.Registers)),
	} {
		if got := m.value(t, "edgegw_"+name); got != float64(want) {
			t.Errorf("%s is %v, and %d in status", name, got, want)
		}
	}
	for _, row := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"sales_accepted_total", nil, 4}, {"sales_confirmed_total", nil, 3}, {"sales_waiting", nil, 1}, {"books_balanced", nil, 1},
		{"uplink_up", nil, 1}, {"oldest_waiting_seconds", nil, 0}, {"fiscal_pending", nil, 0},
		{"register_waiting", []string{"register", "reg_pump-01"}, 1}, {"register_waiting", []string{"register", "reg_pump-02"}, 0},
		{"register_oldest_waiting_seconds", []string{"register", "reg_pump-01"}, 0},
		{"openfiskal_request_seconds", []string{"outcome", "2xx", "step", "start"}, 4},
		{"openfiskal_request_seconds", []string{"outcome", "2xx", "step", "update"}, 3},
		{"openfiskal_request_seconds", []string{"outcome", "2xx", "step", "complete"}, 3},
		{"openfiskal_request_seconds", []string{"outcome", "2xx", "step", "probe"}, 2},
		{"attempts_total", []string{"class", "confirmed"}, 10}, {"attempts_total", []string{"class", "poison"}, 0},
		{"events_accepted_total", nil, 4}, {"events_quarantined_total", nil, 1}, {"events_unstored_total", nil, 0},
		{"receipts_sent_total", nil, 3}, {"receipts_delivered_total", nil, 3},
		{"mqtt_connects_total", nil, 1}, {"mqtt_connections", nil, 1}, {"mqtt_auth_failures_total", nil, 0},
		{"condition", []string{"code", "messages_refused", "severity", "attention"}, 1},
	} {
		if got := m.value(t, "edgegw_"+row.name, row.labels...); got != row.want {
			t.Errorf("%s %q is %v, want %v", row.name, row.labels, got, row.want)
		}
	}
	// Three sales are 1 event, 3 begins and 3 outcomes each; the writer joins what comes at once.
	if commits, changes := m.value(t, "edgegw_commit_seconds"), m.value(t, "edgegw_committed_changes_total"); commits < 10 || changes < commits {
		t.Errorf("%v commits of %v changes", commits, changes)
	}
	if m.value(t, "edgegw_journal_bytes") == 0 || m.value(t, "edgegw_journal_wal_bytes") == 0 {
		t.Error("the journal has no size")
	}
	if m.families["go_goroutines"] == nil || m.families["process_open_fds"] == nil || m.families["process_resident_memory_bytes"] == nil || m.families["process_io_storage_written_bytes_total"] != nil || m.find("edgegw_build_info", "goversion", goVersion(m), "version", "test") == nil {
		t.Errorf("what runs here is not said:\n%s", m.text)
	}
	s.holdsNoSecret(t, m.text)

	res, body := fetch(t, s.overSocket(), "http://edgegw/metrics", "")
	if got := parse(t, res, body).value(t, "edgegw_sales_accepted_total"); got != 4 {
		t.Errorf("over the socket %v sales, want 4", got)
	}
	if res, _ := fetch(t, s.overSocket(), "http://edgegw/api/v1/status", ""); res.StatusCode != http.StatusOK {
		t.Errorf("the API on the socket answers %s", res.Status)
	}
}

func goVersion(e exposition) string {
	for _, l := range e.families["edgegw_build_info"].GetMetric()[0].GetLabel() {
		if l.GetName() == "goversion" {
			return l.GetValue()
		}
	}
	return ""
}

func publish(t *testing.T, c *brokertest.Client, id uint16, kind, payload string) {
	t.Helper()
	if err := c.Publish(topic("pump-01", kind), 1, id, payload); err != nil {
		t.Fatal(err)
	}
	for {
		p, _, err := c.Await(brokertest.PUBACK)
		if err != nil {
			t.Fatal(err)
		}
		if p.ID == id {
			return
		}
	}
}

func (s *testSite) holdsNoSecret(t *testing.T, text []byte) {
	t.Helper()
	for _, k := range s.keys {
		if bytes.Contains(text, []byte(k)) || bytes.Contains(text, []byte(k[len(k)-8:])) {
			t.Error("the exposition holds a register key, or its end")
		}
	}
	for id, k := range s.secrets {
		if bytes.Contains(text, []byte(k)) {
			t.Errorf("the exposition holds the device secret of %s", id)
		}
	}
	for _, payload := range []string{"Super E10", "visa", "product_ref"} { // not digits: a time or a size may have those
		if bytes.Contains(text, []byte(payload)) {
			t.Errorf("the exposition holds %q, which a device reported", payload)
		}
	}
}

func TestMetricsTellOfAnOutage(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	s.sandbox.SetDown(true)
	s.sell("pump-01", "s1")
	await(t, "the uplink to be seen down", func() bool { return s.exposed(t).value(t, "edgegw_uplink_up") == 0 })
	first := s.exposed(t)
	if age := first.value(t, "edgegw_oldest_waiting_seconds"); age <= 0 || age > 30 {
		t.Errorf("the oldest has waited %v s", age)
	}
	await(t, "the oldest to grow older", func() bool {
		return s.exposed(t).value(t, "edgegw_oldest_waiting_seconds") > first.value(t, "edgegw_oldest_waiting_seconds")
	})
	if first.value(t, "edgegw_attempts_total", "class", "uplink") == 0 || first.value(t, "edgegw_condition", "code", "uplink_down", "severity", "attention") != 1 {
		t.Errorf("the outage shows nowhere else:\n%s", first.text)
	}
	s.sandbox.SetDown(false)
	await(t, "the uplink to be back and the queue empty", func() bool {
		m := s.exposed(t)
		return m.value(t, "edgegw_uplink_up") == 1 && m.value(t, "edgegw_sales_waiting") == 0 && m.value(t, "edgegw_oldest_waiting_seconds") == 0
	})
}

func TestMetricsTellThatTheBooksDoNotBalance(t *testing.T) {
	disk := &grip{}
	s := newSite(t, sandbox.Options{})
	s.options.Disk = disk.wrap
	s.on()
	defer s.off()
	s.add("pump-01")
	if v := s.exposed(t).value(t, "edgegw_books_balanced"); v != 1 {
		t.Errorf("edgegw_books_balanced is %v before, want 1", v)
	}
	disk.exec(t, loseASale)
	m := s.exposed(t)
	if v := m.value(t, "edgegw_books_balanced"); v != 0 {
		t.Errorf("edgegw_books_balanced is %v, want 0", v)
	}
	if v := m.value(t, "edgegw_condition", "code", "books_unbalanced", "severity", "attention"); v != 1 {
		t.Errorf("the condition is %v, want 1", v)
	}
}

func TestMetricsTellWhyAQueueIsBlocked(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	s.add("pump-01")
	s.add("pump-02")
	for _, reason := range append(reasons(), otherReason) {
		if v := s.exposed(t).value(t, "edgegw_queue_blocked", "reason", reason); v != 0 {
			t.Errorf("%v queues are blocked by %s before anything happened", v, reason)
		}
	}
	s.keys = append(s.keys, s.sandbox.Rotate("reg_pump-01"))
	s.sell("pump-01", "s1")
	await(t, "the queue to be blocked", func() bool { return s.exposed(t).value(t, "edgegw_queue_blocked", "reason", "key_refused") == 1 })
	m := s.exposed(t)
	for _, reason := range append(reasons(), otherReason) {
		if v := m.value(t, "edgegw_queue_blocked", "reason", reason); reason != "key_refused" && v != 0 {
			t.Errorf("%v queues are blocked by %s", v, reason)
		}
	}
	if v := m.value(t, "edgegw_openfiskal_request_seconds", "outcome", "4xx", "step", "start"); v == 0 {
		t.Error("the refused request was not measured")
	}
	s.holdsNoSecret(t, m.text)
}

func reasons() (words []string) {
	for _, class := range blockReasons {
		words = append(words, class.String())
	}
	return words
}

// A class that begins to block a queue must get a reason of its own.
func TestEveryClassThatBlocksIsAReason(t *testing.T) {
	for class := sale.Confirmed; class <= sale.Misconfigured; class++ {
		if (&sale.Problem{Class: class}).Course().Blocked && !slices.Contains(blockReasons, class) {
			t.Errorf("%s blocks a queue and is no reason", class)
		}
	}
}

func TestMetricsOnAListenerThatOthersCanReach(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	s.flags["http.listen"] = "0.0.0.0:0"
	s.on()
	defer s.off()
	_, port, err := net.SplitHostPort(s.page.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	url := "http://127.0.0.1:" + port // that this one asks from here says nothing about the next
	res, body := fetch(t, http.DefaultClient, url+"/metrics", "")
	if res.StatusCode != http.StatusUnauthorized || res.Header.Get("WWW-Authenticate") == "" || bytes.Contains(body, []byte("edgegw_")) || !bytes.Contains(body, []byte("token")) {
		t.Errorf("%s, %v: %s", res.Status, res.Header, body)
	}
	if res, _ := fetch(t, http.DefaultClient, url+"/readyz", ""); res.StatusCode != http.StatusOK {
		t.Errorf("/readyz answers %s", res.Status)
	}
	res, body = fetch(t, s.overSocket(), "http://edgegw/metrics", "")
	parse(t, res, body)
}

// A page from elsewhere must not have a browser of this machine ask in its place.
func TestMetricsAreMeantForThisMachine(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	for host, want := range map[string]int{
		"localhost": 200, "LocalHost:8080": 200, "127.0.0.1": 200, "127.0.0.1:8080": 200, "127.9.9.9": 200, "[::1]:8080": 200, "[::1]": 200,
		"evil.test": 421, "evil.test:8080": 421, "localhost.evil.test": 421, "127.0.0.1.evil.test": 421, "192.168.1.10": 421, "0.0.0.0": 421,
		"2130706433": 421, "[fe80::1]:80": 421,
	} {
		if res, body := s.get("/metrics", host); res.StatusCode != want {
			t.Errorf("Host %q: %s, want %d: %s", host, res.Status, want, body)
		}
	}
}

func TestOnLoopbackIsDecidedByTheBoundAddress(t *testing.T) {
	for _, row := range []struct {
		bound net.Addr
		want  bool
	}{
		{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080}, true},
		{&net.TCPAddr{IP: net.IPv4(127, 8, 0, 1), Port: 8080}, true},
		{&net.TCPAddr{IP: net.IPv6loopback, Port: 8080}, true},
		{&net.TCPAddr{IP: net.IPv4zero, Port: 8080}, false},
		{&net.TCPAddr{IP: net.IPv6zero, Port: 8080}, false},
		{&net.TCPAddr{Port: 8080}, false},
		{&net.TCPAddr{IP: net.IPv4(192, 168, 1, 10), Port: 8080}, false},
		{&net.UnixAddr{Name: "@somewhere", Net: "unix"}, false},
	} {
		if got := onLoopback(row.bound); got != row.want {
			t.Errorf("bound to %v: %v, want %v", row.bound, got, row.want)
		}
	}
}

// A journal that cannot be read is no quiet site.
func TestAScrapeFailsAsAWhole(t *testing.T) {
	disk := &grip{}
	s := newSite(t, sandbox.Options{})
	s.options.Disk = disk.wrap
	s.on()
	defer s.off()
	disk.exec(t, `DROP TABLE refused`)
	if res, body := s.get("/metrics", ""); res.StatusCode != http.StatusInternalServerError || bytes.Contains(body, []byte("edgegw_")) {
		t.Errorf("%s: %s", res.Status, body)
	}
}

// collect reads one metric of a snapshot.
func collect(t *testing.T, name string, s *snapshot) map[string]float64 {
	t.Helper()
	got := map[string]float64{}
	for _, r := range readings {
		if r.name == name {
			r.read(s, func(v float64, labels ...string) { got[strings.Join(labels, "/")] = v })
			return got
		}
	}
	t.Fatalf("there is no reading %s", name)
	return nil
}

func TestOddReadings(t *testing.T) {
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	s := &snapshot{at: now, queues: []store.Queue{
		{Register: "reg_1", Oldest: now.Add(-time.Minute), BlockedSince: now, Class: sale.Poison},
		{Register: "reg_2", Oldest: now.Add(time.Hour)}, // the clock was set back
		{Register: "reg_3", Idle: true, Oldest: now.Add(-time.Hour), BlockedSince: now, Class: sale.Poison},
		{Register: "reg_4", Oldest: now.Add(-time.Second), BlockedSince: now, Class: sale.Throttled},
	}}
	if got := collect(t, "oldest_waiting_seconds", s)[""]; got != 60 {
		t.Errorf("oldest %v, want 60", got)
	}
	if got := collect(t, "register_oldest_waiting_seconds", s); got["reg_1"] != 60 || got["reg_2"] != 0 || got["reg_3"] != 0 || got["reg_4"] != 1 {
		t.Errorf("oldest by register %v", got)
	}
	if got := collect(t, "queue_blocked", s); len(got) != len(blockReasons)+1 || got["poison"] != 1 || got[otherReason] != 1 || got["key_refused"] != 0 {
		t.Errorf("blocked %v", got)
	}
	s.queues = make([]store.Queue, mostRegisters+1)
	if got := collect(t, "register_waiting", s); len(got) != 0 {
		t.Errorf("%d registers are shown one by one, want none above %d", len(got), mostRegisters)
	}
}

// docs/metrics.md names what there is, and nothing else.
func TestEveryMetricIsInItsPage(t *testing.T) {
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, r := range readings {
		known["edgegw_"+r.name] = true
	}
	for _, f := range newMeters().families {
		known["edgegw_"+f.name] = true
	}
	rows := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(edgegw_\\w+)").FindAllSubmatch(page, -1) {
		rows[string(row[1])] = true
	}
	for name := range known {
		if !rows[name] {
			t.Errorf("%s has no row in docs/metrics.md", name)
		}
	}
	for _, name := range regexp.MustCompile(`edgegw_\w+`).FindAllString(string(page), -1) {
		name = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count"), "_sum")
		if !known[name] {
			t.Errorf("docs/metrics.md names %s, which there is not", name)
		}
	}
}
