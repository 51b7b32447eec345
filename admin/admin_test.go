package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"edgegw/doctor"
	"edgegw/health"
	"edgegw/sale"
	"edgegw/secret"
)

// memory is a small Backend. It is talkative on purpose: its texts quote the
// keys it was given, which no answer may pass on.
type memory struct {
	mu      sync.Mutex
	devices []Device
	keys    map[sale.DeviceID]string
	who     []string
	filters []SaleFilter
	told    []string
	set     []SetKey

	code      string // claims the page
	audited   []AuditFilter
	exported  []Period
	exporter  string
	breaksOff bool
	requested []string
	broken    error

	looked  []QuarantineFilter
	decided []Decision
}

func (m *memory) Status(context.Context) (Status, error) {
	return Status{Site: "Test", Running: true, Uplink: "up", Devices: len(m.devices),
		Conditions: []health.Condition{{Code: "key_refused", Severity: health.Attention, Title: "t", Remedy: "r"}}, Claim: Claim{Code: m.code}}, m.broken
}

func (m *memory) History(context.Context) (History, error) {
	return History{From: time.Unix(0, 0).UTC(), To: time.Unix(24*3600, 0).UTC(), Outages: []Outage{{Began: time.Unix(7, 0).UTC(), Cause: "dns", Why: "w"}}}, m.broken
}

func (m *memory) Devices(context.Context) ([]Device, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.devices, m.broken
}

func (m *memory) Device(_ context.Context, id sale.DeviceID) (Device, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.devices {
		if d.DeviceID == id {
			return d, nil
		}
	}
	return Device{}, &Refusal{Code: "not_found", Message: "no device " + string(id), Remedy: "List them."}
}

func (m *memory) AddDevice(_ context.Context, a AddDevice, by string) (Credentials, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.who = append(m.who, by)
	for _, d := range m.devices {
		if d.DeviceID == a.DeviceID {
			return Credentials{}, &Refusal{Code: "exists", Message: "it exists; you gave " + string(a.Key.Reveal())}
		}
	}
	m.devices = append(m.devices, Device{DeviceID: a.DeviceID, RegisterID: a.RegisterID, Kind: a.Kind, Label: a.Label, CreatedAt: time.Unix(1, 0).UTC()})
	m.keys[a.DeviceID] = string(a.Key.Reveal())
	return Credentials{DeviceID: a.DeviceID, Username: string(a.DeviceID), Password: "once", Notice: "took " + string(a.Key.Reveal())}, nil
}

func (m *memory) Explain(_ context.Context, subject string) (Explanation, error) {
	if subject == "nothing" {
		return Explanation{}, &Refusal{Code: "ambiguous", Message: "two", Remedy: "Choose one"}
	}
	return Explanation{Subject: subject, Kind: "site", Sentence: "All is well."}, m.broken
}

func (m *memory) Acknowledge(_ context.Context, by string) (int, error) {
	return 2, m.act("acknowledge", "", by)
}

func (m *memory) ForgetGaps(ctx context.Context, id sale.DeviceID, by string) error {
	if _, err := m.Device(ctx, id); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.who = append(m.who, by)
	return nil
}

func (m *memory) Doctor(_ context.Context, asker string) ([]Check, error) {
	return []Check{{Check: "version", Title: "One version", State: doctor.OK, Found: asker}}, m.broken
}

func (m *memory) ForgetCards(_ context.Context, id sale.DeviceID, by string) error {
	return m.act("forget-cards", id, by)
}

func (m *memory) RemoveDevice(_ context.Context, id sale.DeviceID, by string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.who = append(m.who, by)
	for i, d := range m.devices {
		if d.DeviceID == id {
			m.devices = append(m.devices[:i:i], m.devices[i+1:]...)
			return nil
		}
	}
	return &Refusal{Code: "not_found", Message: "no device " + string(id)}
}

func (m *memory) SetKey(_ context.Context, k SetKey, by string) (KeyResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.who, m.set = append(m.who, by), append(m.set, k)
	if !k.Unverified {
		return KeyResult{}, &Refusal{Code: "key_refused", Message: "OpenFiskal refuses " + string(k.Key.Reveal()), Remedy: "Not " + string(k.Key.Reveal())}
	}
	m.keys[k.DeviceID] = string(k.Key.Reveal())
	return KeyResult{RegisterID: "reg_1", Key: "unverified", Notice: "stored " + string(k.Key.Reveal())}, nil
}

func (m *memory) act(what string, id sale.DeviceID, by string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.who, m.requested = append(m.who, by), append(m.requested, what+" "+string(id))
	return m.broken
}

func (m *memory) Identify(_ context.Context, id sale.DeviceID, by string) (Identified, error) {
	return Identified{DeviceID: id, Outcome: "silent", Sentence: "nothing came back", Seconds: 30, TookMS: 5000}, m.act("identify", id, by)
}

func (m *memory) TestSale(_ context.Context, id sale.DeviceID, by string) (TestSale, error) {
	return TestSale{DeviceID: id, Kind: "pump", Currency: "EUR", Sentence: "it works", Notice: NoFiscalRecord}, m.act("test", id, by)
}

func (m *memory) DisableDevice(_ context.Context, id sale.DeviceID, by string) error {
	return m.act("disable", id, by)
}

func (m *memory) EnableDevice(_ context.Context, id sale.DeviceID, by string) error {
	return m.act("enable", id, by)
}

func (m *memory) RenewPassword(_ context.Context, id sale.DeviceID, by string) (Credentials, error) {
	return Credentials{DeviceID: id, Password: "once"}, m.act("password", id, by)
}

func (m *memory) ReplaceDevice(_ context.Context, id sale.DeviceID, cert bool, by string) (Credentials, error) {
	return Credentials{DeviceID: id}, m.act(fmt.Sprintf("replace %v", cert), id, by)
}

func (m *memory) IssueCertificate(_ context.Context, id sale.DeviceID, by string) (Credentials, error) {
	return Credentials{DeviceID: id, Certificate: &ClientCertificate{Serial: "1f", Key: "PRIVATE"}}, m.act("certificate", id, by)
}

func (m *memory) RevokeCertificate(_ context.Context, id sale.DeviceID, serial, by string) error {
	return m.act("revoke "+serial, id, by)
}

func (m *memory) RequestKey(_ context.Context, q KeyRequest, by string) (KeyResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.who, m.requested = append(m.who, by), append(m.requested, fmt.Sprintf("%s %s%s %s %s", q.Kind, q.DeviceID, q.RegisterID, q.PlatformKey.Reveal(), q.Organization))
	if q.Organization == "" {
		return KeyResult{}, &Refusal{Code: "answer_lost", Message: "lost under " + string(q.PlatformKey.Reveal())}
	}
	return KeyResult{RegisterID: "reg_1", Key: "active", Notice: "by " + string(q.PlatformKey.Reveal())}, nil
}

func (m *memory) CheckKey(_ context.Context, of KeyOf) ([]KeyCheck, error) {
	return []KeyCheck{{RegisterID: of.RegisterID, Version: 1, State: "active", Verdict: "accepted"}}, m.broken
}

func (m *memory) ForRotation(context.Context) ([]KeyToRotate, error) {
	return []KeyToRotate{{RegisterID: "reg_1", DeviceIDs: []sale.DeviceID{"pump-1"}, KeyHint: "…wxyz"}}, m.broken
}

func (m *memory) SetPlatformKey(_ context.Context, key secret.Text, by string) (KeyResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.who = append(m.who, by)
	return KeyResult{RegisterID: sale.PlatformKey, Key: "active", Notice: "is " + string(key.Reveal())}, nil
}

func (m *memory) ForgetPlatformKey(_ context.Context, by string) error {
	return m.act("forget", "", by)
}

func (m *memory) Recipient(_ context.Context, anew bool, _ string) (string, error) {
	if anew {
		return "age1new", m.broken
	}
	return "age1test", m.broken
}

func (m *memory) Import(_ context.Context, file []byte, by string, each func(ImportRow)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.who = append(m.who, by)
	if string(file) == "bad" {
		return &Refusal{Code: "invalid", Message: "no CSV"}
	}
	for i, line := range strings.Split(string(file), ";") {
		each(ImportRow{Line: i + 1, DeviceID: sale.DeviceID(line), Result: RowAdded, Password: "once"})
	}
	return m.broken
}

func (m *memory) Sales(_ context.Context, f SaleFilter) ([]Sale, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.filters = append(m.filters, f)
	if f.SaleID == "none" {
		return nil, nil
	}
	return []Sale{{SaleID: "s/1 &x", DeviceID: "pump-1", Total: 7622, Currency: "EUR"}}, m.broken
}

func (m *memory) FindSales(ctx context.Context, f SaleFilter) (found FoundSales, err error) {
	if f.Document == "more*" && f.Before == 0 {
		found.Next, found.Reached = 7, time.UnixMilli(1_800_000_000_123).UTC()
	}
	found.Sales, err = m.Sales(ctx, f)
	return found, err
}

func (m *memory) SaleStory(_ context.Context, device sale.DeviceID, saleID string, payloads bool) (SaleStory, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.told = append(m.told, fmt.Sprintf("%s %s %v", device, saleID, payloads))
	return SaleStory{Sale: Sale{SaleID: saleID, DeviceID: device}}, m.broken
}

func (m *memory) Quarantine(_ context.Context, f QuarantineFilter) ([]QuarantineItem, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.looked = append(m.looked, f)
	if f.SaleID == "none" {
		return nil, nil
	}
	return []QuarantineItem{{ID: "7", DeviceID: "pump-1", SaleID: "s/1 &x"}}, m.broken
}

func (m *memory) QuarantineItem(_ context.Context, id string) (QuarantineItem, error) {
	if id != "7" && id != "s/1 &x" {
		return QuarantineItem{}, &Refusal{Code: "not_found", Message: "no item", Remedy: "List them."}
	}
	return QuarantineItem{ID: "7", Allowed: []sale.Decision{sale.DecisionDiscard}, Payload: "{}", Request: &QuarantineRequest{Method: "POST"}, Answer: &QuarantineAnswer{Status: 422}}, nil
}

func (m *memory) Decide(_ context.Context, d Decision, by string) (DecisionResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.who, m.decided = append(m.who, by), append(m.decided, d)
	if len(m.decided) > 3 {
		return DecisionResult{}, &Refusal{Code: "conflict", Message: "decided already", Remedy: "See it."}
	}
	return DecisionResult{ID: "7", Decision: d.Decision, Operation: d.Operation, Notice: "noted"}, nil
}

func (m *memory) Close() error { return nil }

// serve starts the handler on a real socket and keeps every byte it answers.
func serve(t *testing.T) (m *memory, path string, said *bytes.Buffer) {
	t.Helper()
	m = &memory{keys: map[sale.DeviceID]string{}}
	dir, err := os.MkdirTemp("", "edgegw") // t.TempDir is too long for a socket on some systems
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path = filepath.Join(dir, SocketName)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	said = &bytes.Buffer{}
	var mu sync.Mutex
	inner := Handler(m)
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner.ServeHTTP(&tee{ResponseWriter: w, mu: &mu, said: said}, r)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return m, path, said
}

type tee struct {
	http.ResponseWriter
	mu   *sync.Mutex
	said *bytes.Buffer
}

func (t *tee) Write(b []byte) (int, error) {
	t.mu.Lock()
	t.said.Write(b)
	fmt.Fprintf(t.said, "%v\n", t.Header())
	t.mu.Unlock()
	return t.ResponseWriter.Write(b)
}

func dial(t *testing.T, path string) *Client {
	t.Helper()
	c, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestClientDoesWhatTheBackendDoes(t *testing.T) {
	m, path, said := serve(t)
	c, ctx := dial(t, path), t.Context()
	const key = `ofk_reg_test_"quoted"_0123456789`

	creds, err := c.AddDevice(ctx, AddDevice{DeviceID: "pump-1", RegisterID: "reg_1", Kind: "pump", Label: "Säule 1", Key: secretText(key)}, "person:anna")
	if err != nil || creds.Password != "once" || creds.Username != "pump-1" {
		t.Fatalf("added %+v, %v", creds, err)
	}
	if m.keys["pump-1"] != key {
		t.Errorf("the key that arrived is %q", m.keys["pump-1"])
	}
	if _, err = c.AddDevice(ctx, AddDevice{DeviceID: "pump-1", RegisterID: "reg_1", Key: secretText(key)}, ""); refusalCode(err) != "exists" {
		t.Errorf("second add: %v", err)
	}
	all, err := c.Devices(ctx)
	if err != nil || len(all) != 1 || all[0].Label != "Säule 1" || !all[0].CreatedAt.Equal(time.Unix(1, 0)) {
		t.Errorf("devices %+v, %v", all, err)
	}
	if one, err := c.Device(ctx, "pump-1"); err != nil || !reflect.DeepEqual(one, all[0]) {
		t.Errorf("device %+v, %v", one, err)
	}
	if _, err := c.SetKey(ctx, SetKey{DeviceID: "pump-1", Key: secretText(key)}, ""); refusalCode(err) != "key_refused" {
		t.Errorf("refused key: %v", err)
	}
	if r, err := c.SetKey(ctx, SetKey{DeviceID: "pump-1", Key: secretText(key + "2"), Unverified: true}, ""); err != nil || r.Key != "unverified" {
		t.Errorf("set key: %+v, %v", r, err)
	}
	if m.keys["pump-1"] != key+"2" {
		t.Errorf("the new key that arrived is %q", m.keys["pump-1"])
	}
	s, err := c.Status(ctx)
	if err != nil || s.Devices != 1 || len(s.Conditions) != 1 || s.Conditions[0].Severity != health.Attention {
		t.Errorf("status %+v, %v", s, err)
	}
	if err := c.RemoveDevice(ctx, "pump-1", ""); err != nil {
		t.Errorf("remove: %v", err)
	}
	if err := c.RemoveDevice(ctx, "pump-1", ""); refusalCode(err) != "not_found" {
		t.Errorf("second remove: %v", err)
	}
	if want := LocalUser(); m.who[0] != "person:anna" || m.who[len(m.who)-1] != want || !strings.HasPrefix(want, "cli:") {
		t.Errorf("the audit trail names %q, want person:anna first and %s last", m.who, want)
	}
	for _, form := range []string{key, `ofk_reg_test_\"quoted\"_0123456789`, "ofk_reg"} {
		if bytes.Contains(said.Bytes(), []byte(form)) {
			t.Errorf("an answer holds the key as %q:\n%s", form, said)
		}
	}
}

// TestKeyOfARegister: where the device is gone, its sales still need the key.
func TestKeyOfARegister(t *testing.T) {
	m, path, _ := serve(t)
	c := dial(t, path)
	if _, err := c.SetKey(t.Context(), SetKey{RegisterID: "reg_01HX", Key: secretText("ofk_reg_test_1"), Unverified: true}, ""); err != nil {
		t.Fatal(err)
	}
	if got := m.set[0]; got.RegisterID != "reg_01HX" || got.DeviceID != "" || !got.Unverified || !got.Key.Equal(secretText("ofk_reg_test_1")) {
		t.Errorf("arrived as %+v", got)
	}
	if _, err := c.SetKey(t.Context(), SetKey{DeviceID: "pump-1", RegisterID: "reg_2", Key: secretText("ofk_reg_test_1"), Unverified: true}, ""); err != nil {
		t.Fatal(err)
	}
	if got := m.set[1]; got.DeviceID != "pump-1" || got.RegisterID != "" {
		t.Errorf("the device does not go first: %+v", got)
	}
	for _, bad := range []sale.RegisterID{"", "../x", "ofk_reg_live_0123456789"} {
		if _, err := c.SetKey(t.Context(), SetKey{RegisterID: bad, Key: secretText("ofk_reg_test_1"), Unverified: true}, ""); err == nil {
			t.Errorf("%q was taken as a register", bad)
		}
	}
	if len(m.set) != 2 {
		t.Errorf("%d keys arrived, want 2", len(m.set))
	}
}

func TestSalesFilterArrivesWhole(t *testing.T) {
	m, path, _ := serve(t)
	c := dial(t, path)
	want := SaleFilter{DeviceID: "pump-1", RegisterID: "reg_1", SaleID: "a/b&c=d #1", State: "waiting", Operation: "op_1", Document: "2026-00*", Amount: sale.Amounts{Set: true, Least: -5, Most: 7622},
		From: time.UnixMilli(1_795_000_000_250).UTC(), To: time.UnixMilli(1_796_000_000_000).UTC(), Before: 4711, Limit: 7}
	got, err := c.Sales(t.Context(), want)
	if err != nil || len(got) != 1 || got[0].SaleID != "s/1 &x" || got[0].Flags == nil {
		t.Errorf("sales %+v, %v", got, err)
	}
	if m.filters[0] != want {
		t.Errorf("the filter arrived as %+v, want %+v", m.filters[0], want)
	}
	if _, err := c.Sales(t.Context(), SaleFilter{}); err != nil || m.filters[1] != (SaleFilter{}) {
		t.Errorf("the empty filter arrived as %+v, %v", m.filters[1], err)
	}
}

func TestListsAreNeverNull(t *testing.T) {
	_, path, said := serve(t)
	c := dial(t, path)
	if _, err := c.Devices(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Sales(t.Context(), SaleFilter{SaleID: "none"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Quarantine(t.Context(), QuarantineFilter{SaleID: "none"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Quarantine(t.Context(), QuarantineFilter{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(said.String(), "null") {
		t.Errorf("a list is null:\n%s", said)
	}
}

func TestUnforeseenErrorIsTold(t *testing.T) {
	m, path, _ := serve(t)
	m.broken = errors.New("read devices: database or disk is full")
	_, err := dial(t, path).Devices(t.Context())
	if err == nil || refusalCode(err) != "" || !strings.Contains(err.Error(), "disk is full") {
		t.Errorf("got %v", err)
	}
}

func TestDialFindsNobody(t *testing.T) {
	dir := t.TempDir()
	if _, err := Dial(filepath.Join(dir, "none.sock")); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no file: %v", err)
	}
	_, path, _ := serve(t)
	left := filepath.Join(filepath.Dir(path), "left.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: left, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	if _, err := Dial(left); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a file that a dead gateway left: %v", err)
	}
	if _, err := Dial("/" + strings.Repeat("x", 120)); err == nil || errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), "shorter") {
		t.Errorf("a long path: %v", err)
	}
}

// TestRequestsThatAreRefused speaks HTTP by hand: what the client never sends.
func TestRequestsThatAreRefused(t *testing.T) {
	_, path, said := serve(t)
	web := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	defer web.CloseIdleConnections()
	const key = "ofk_reg_test_secret"
	for _, c := range []struct {
		name, method, path, body, plain string
		status                          int
		code                            string
	}{
		{"unknown path", "GET", "/api/v1/nothing", "", "", 404, "not_found"},
		{"outside the API", "GET", "/", "", "", 404, "not_found"},
		{"wrong method", "PUT", "/api/v1/devices", "{}", "", 405, "method"},
		{"key as register", "POST", "/api/v1/devices", `{"device_id":"a","register_id":"` + key + `","kind":"pump"}`, "", 400, "invalid"},
		{"register that cannot be", "POST", "/api/v1/devices", `{"device_id":"a","register_id":"../x","kind":"pump"}`, "", 400, "invalid"},
		{"device that cannot be made", "POST", "/api/v1/devices", `{"device_id":"A_1","register_id":"r","kind":"pump"}`, "", 400, "invalid"},
		{"key as register in the address", "PUT", "/api/v1/registers/" + key + "/key", `{"register_key":"` + key + `"}`, "", 404, "not_found"},
		{"unknown field", "POST", "/api/v1/devices", `{"device_id":"a","register_id":"r","key":"` + key + `"}`, "", 400, "invalid"},
		{"other case", "POST", "/api/v1/devices", `{"Device_ID":"a"}`, "", 400, "invalid"},
		{"repeated field", "POST", "/api/v1/devices", `{"device_id":"a","device_id":"b"}`, "", 400, "invalid"},
		{"key of a wrong type", "POST", "/api/v1/devices", `{"register_key":77112233445566}`, "", 400, "invalid"},
		{"null", "POST", "/api/v1/devices", `{"device_id":null}`, "", 400, "invalid"},
		{"text behind", "POST", "/api/v1/devices", `{"device_id":"a"} {}`, "", 400, "invalid"},
		{"half", "POST", "/api/v1/devices", `{"device_id":"a`, "", 400, "invalid"},
		{"not an object", "POST", "/api/v1/devices", `["` + key + `"]`, "", 400, "invalid"},
		{"too long", "POST", "/api/v1/devices", `{"label":"` + strings.Repeat("x", 1<<20) + `"}`, "", 413, "too_large"},
		{"a form of another page", "POST", "/api/v1/devices", `{"device_id":"a"}`, "text/plain", 415, "media_type"},
		{"key in the address", "PUT", "/api/v1/devices/pump-1/key?register_key=" + key, `{"register_key":"` + key + `"}`, "", 400, "invalid"},
		{"no key", "PUT", "/api/v1/devices/pump-1/key", `{"unverified":true}`, "", 400, "invalid"},
		{"unknown parameter", "GET", "/api/v1/sales?" + key + "=1", "", "", 400, "invalid"},
		{"repeated parameter", "GET", "/api/v1/sales?state=waiting&state=confirmed", "", "", 400, "invalid"},
		{"unknown state", "GET", "/api/v1/sales?state=lost", "", "", 400, "invalid"},
		{"limit", "GET", "/api/v1/sales?limit=0", "", "", 400, "invalid"},
		{"unknown state of the quarantine", "GET", "/api/v1/quarantine?state=decided", "", "", 400, "invalid"},
		{"limit of the quarantine", "GET", "/api/v1/quarantine?limit=10001", "", "", 400, "invalid"},
		{"device of the quarantine", "GET", "/api/v1/quarantine?device_id=A_1", "", "", 404, "not_found"},
		{"no such item", "GET", "/api/v1/quarantine/8", "", "", 404, "not_found"},
		{"key as item", "GET", "/api/v1/quarantine/" + key, "", "", 404, "not_found"},
		{"key as item to decide", "POST", "/api/v1/quarantine/" + key + "/retry", `{"reason":"x"}`, "", 404, "not_found"},
		{"unknown decision", "POST", "/api/v1/quarantine/7/forget", `{"reason":"x"}`, "", 404, "not_found"},
		{"decision by GET", "GET", "/api/v1/quarantine/7/retry", "", "", 405, "method"},
		{"no reason", "POST", "/api/v1/quarantine/7/retry", `{}`, "", 400, "invalid"},
		{"empty reason", "POST", "/api/v1/quarantine/7/retry", `{"reason":"  "}`, "", 400, "invalid"},
		{"reason of two lines", "POST", "/api/v1/quarantine/7/retry", `{"reason":"a\nb"}`, "", 400, "invalid"},
		{"long reason", "POST", "/api/v1/quarantine/7/retry", `{"reason":"` + strings.Repeat("ä", 501) + `"}`, "", 400, "invalid"},
		{"key in the reason", "POST", "/api/v1/quarantine/7/retry", `{"reason":"new key ` + key + `"}`, "", 400, "invalid"},
		{"key as operation", "POST", "/api/v1/quarantine/7/resolve", `{"reason":"x","operation":"` + key + `"}`, "", 400, "invalid"},
		{"operation that cannot be", "POST", "/api/v1/quarantine/7/resolve", `{"reason":"x","operation":"a/b"}`, "", 400, "invalid"},
		{"operation without resolve", "POST", "/api/v1/quarantine/7/discard", `{"reason":"x","operation":"op_1"}`, "", 400, "invalid"},
		{"device that cannot be", "GET", "/api/v1/devices/%2e%2e", "", "", 404, "not_found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), c.method, "http://edgegw"+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			if c.plain != "" {
				r.Header.Set("Content-Type", c.plain)
			}
			answer, err := web.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			text, err := io.ReadAll(answer.Body)
			if err != nil {
				t.Fatal(err)
			}
			if got := refusalCode(refused(answer.StatusCode, text)); answer.StatusCode != c.status || got != c.code {
				t.Errorf("got %d %q, want %d %q: %s", answer.StatusCode, got, c.status, c.code, text)
			}
		})
	}
	for _, form := range []string{key, "77112233445566"} {
		if strings.Contains(said.String(), form) {
			t.Errorf("a refusal quotes the key:\n%s", said)
		}
	}
}

func TestByIsOneShortLine(t *testing.T) {
	for header, want := range map[string]string{"": "api", "cli:root": "cli:root", strings.Repeat("x", 129): "api", "a\tb": "api"} {
		r, _ := http.NewRequest(http.MethodDelete, "/", nil)
		r.Header[HeaderBy] = []string{header}
		if got := by(r); got != want {
			t.Errorf("%q: got %q, want %q", header, got, want)
		}
	}
}

func refusalCode(err error) string {
	if f := (*Refusal)(nil); errors.As(err, &f) {
		return f.Code
	}
	return ""
}

func secretText(s string) secret.Text { return secret.FromString(s) }

// Subjects arrive as they were given, and refusals come back as they were said.
func TestExplainAndForgetGaps(t *testing.T) {
	m, path, _ := serve(t)
	c := dial(t, path)
	for _, subject := range []string{"", "pump-01", "pump-01/a b&c=d", "ä/ö"} {
		e, err := c.Explain(t.Context(), subject)
		if err != nil || e.Subject != subject || e.Sentence != "All is well." || e.Details == nil {
			t.Errorf("%q: %+v, %v", subject, e, err)
		}
	}
	var f *Refusal
	if _, err := c.Explain(t.Context(), "nothing"); !errors.As(err, &f) || f.Code != "ambiguous" {
		t.Errorf("%v", err)
	}
	if err := c.ForgetGaps(t.Context(), "pump-9", "cli:me"); !errors.As(err, &f) || f.Code != "not_found" {
		t.Errorf("%v", err)
	}
	m.devices = []Device{{DeviceID: "pump-01"}}
	if err := c.ForgetGaps(t.Context(), "pump-01", "cli:me"); err != nil || len(m.who) != 1 || m.who[0] != "cli:me" {
		t.Errorf("%v, %q", err, m.who)
	}
}
