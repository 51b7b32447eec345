package page

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/doctor"
	"edgegw/health"
	"edgegw/sale"
	"edgegw/secret"
)

// memory is a small Backend of one device; what it is not asked for here would
// panic. Its refusals quote the keys they were given, which no page may show.
type memory struct {
	admin.Backend
	mu      sync.Mutex
	changes []string

	exported admin.Period
	exporter string

	uplink, queue string // "" is up, and blocked
	history       *admin.History
	disk          string // "" is low
	mqtt          string // the address for devices; "" is one of the site
	clock         string // "" is synchronised
	broken        error  // the making of a bundle
	looked, well  bool   // by the doctor
	outcome       string // of identify; "" is delivered
	filters       []admin.SaleFilter
	told          []string // stories
	trial         *admin.SettingsTrial
}

var moment = time.Date(2026, 11, 26, 8, 30, 0, 0, time.UTC)

func (m *memory) did(what, by string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changes = append(m.changes, what+" by "+by)
}

func (m *memory) Status(context.Context) (admin.Status, error) {
	return admin.Status{Site: "Station <1>", Uplink: cmp.Or(m.uplink, "up"), Sentence: "All is well.", Devices: 1, Online: 1, Totals: admin.Totals{Waiting: 1, Quarantined: 1},
		Registers:  []admin.Register{{RegisterID: "reg_1", State: cmp.Or(m.queue, "blocked"), Since: moment, Totals: admin.Totals{Waiting: 1}}},
		UplinkFrom: moment, Oldest: &admin.WaitingSale{SaleID: "s/<b>1", DeviceID: "pump-01", RegisterID: "reg_1", Since: moment},
		Disk: &admin.Disk{Free: 300e6, Total: 31.9e9, Database: 12e6, State: cmp.Or(m.disk, "low"), DaysLeft: new(int64(41)), SalesADay: 600}, Clock: admin.Clock{Now: moment.Add(time.Hour), Quality: cmp.Or(m.clock, "synchronised")},
		Conditions: []health.Condition{{Code: "key_refused", Severity: health.Attention, Title: "OpenFiskal refuses its key", Affected: "pump-01", Since: moment, Remedy: "Enter a new one"}}}, nil
}

// History has an outage of each kind, an hour in which nobody ran, and sales.
func (m *memory) History(context.Context) (admin.History, error) {
	if m.history != nil {
		return *m.history, nil
	}
	from := moment.Add(-23 * time.Hour)
	h := admin.History{From: from, To: moment.Add(time.Hour), SalesSince: from,
		Uplink: []admin.Stretch{{From: from, To: from.Add(time.Hour), State: "unknown"}, {From: from.Add(time.Hour), To: from.Add(2 * time.Hour), State: "up"}, {From: from.Add(2 * time.Hour), To: from.Add(3 * time.Hour), State: "off"},
			{From: from.Add(3 * time.Hour), To: from.Add(4 * time.Hour), State: "untried"}, {From: from.Add(4 * time.Hour), To: moment, State: "up"}, {From: moment, To: moment.Add(time.Hour), State: "down"}},
		Outages: []admin.Outage{{Began: from, Ended: from.Add(20 * time.Second), Cause: "dns", Why: "the <b>name</b>"}, {Began: moment, Cause: "new", Why: "of <b>another</b> kind"}},
		Waiting: []admin.WaitingSales{{At: moment, Waiting: 3}, {At: moment.Add(10 * time.Minute), Waiting: 1}}}
	for i := range 24 {
		h.Sales = append(h.Sales, admin.HourOfSales{From: from.Truncate(time.Hour).Add(time.Duration(i+1) * time.Hour), Sales: int64(i)})
	}
	return h, nil
}

func (m *memory) pump() admin.Device {
	return admin.Device{DeviceID: "pump-01", RegisterID: "reg_1", Kind: "pump", Label: "by the <road>", State: "online", Key: "active", KeyHint: "…abcd", Password: true, Waiting: 1, Queue: "blocked", LastSaleAt: moment,
		CreatedAt: moment, Since: moment, Status: json.RawMessage(`{"note":"4111111111111111"}`), Certificates: []admin.CertificateInfo{{Serial: "0a1b", State: "valid", NotAfter: moment}, {Serial: "0c", State: "revoked"}}}
}

func (m *memory) Devices(context.Context) ([]admin.Device, error) {
	return []admin.Device{m.pump()}, nil
}

func (m *memory) Device(_ context.Context, id sale.DeviceID) (admin.Device, error) {
	if id != "pump-01" {
		return admin.Device{}, &admin.Refusal{Code: "not_found", Message: "there is no device " + string(id), Remedy: "List them."}
	}
	return m.pump(), nil
}

func (m *memory) one() admin.Sale {
	return admin.Sale{SaleID: "s1", DeviceID: "pump-01", RegisterID: "reg_1", State: "confirmed", Total: 7622, Currency: "EUR", FiscalState: "succeeded", DocumentNumber: "2026-000001", AcceptedAt: moment, Flags: []string{"start_missing"}}
}

func (m *memory) Sales(_ context.Context, f admin.SaleFilter) ([]admin.Sale, error) {
	if f.SaleID == "none" {
		return nil, nil
	}
	return []admin.Sale{m.one()}, nil
}

func (m *memory) FindSales(ctx context.Context, f admin.SaleFilter) (found admin.FoundSales, err error) {
	m.filters = append(m.filters, f)
	if f.Document != "" && f.Before == 0 {
		found.Next, found.Reached = 7, moment
	}
	found.Sales, err = m.Sales(ctx, f)
	return found, err
}

// SaleStory has one part of each kind.
func (m *memory) SaleStory(_ context.Context, device sale.DeviceID, saleID string, payloads bool) (admin.SaleStory, error) {
	if saleID == "none" {
		return admin.SaleStory{}, &admin.Refusal{Code: "not_found", Message: "none", Remedy: "Search."}
	}
	m.told = append(m.told, fmt.Sprint(device, " ", saleID, " ", payloads))
	body := ""
	if payloads {
		body = `{"note":"4111111111111111","a":"<b>"}`
	}
	receipt := &admin.StoryReceipt{DocumentNumber: "2026-000001", FiscalState: "succeeded", DeliveredAt: moment.Add(3 * time.Hour)}
	one := m.one()
	one.SaleID = saleID
	return admin.SaleStory{Sale: one, Sentence: "It was sold.", Parts: []admin.StoryPart{
		{At: moment, What: "event", Event: &admin.StoryEvent{Event: "sale", Clock: "unknown", DeviceTime: "2026-11-22T08:31:07+01:00", DeviceClock: "relative", Flags: []string{"start_missing"}, Payload: body,
			Calls: []admin.StoryCall{{Step: "complete", State: "confirmed", Method: "POST", Path: "/sales/op/complete", IdempotencyKey: "key-of-it", Body: body}}}},
		{At: moment, What: "quarantine", Item: &admin.StoryItem{ID: "7", Event: "sale", Step: "complete", Reason: "refuses its <b>complete</b>", InDoubt: true, Status: 422, Body: body}},
		{At: moment.Add(time.Hour), What: "decision", Decision: &admin.StoryDecision{Item: "7", Decision: sale.DecisionRetry, By: "person:anna", Reason: "mended 4111111111111111"}},
		{At: moment.Add(time.Hour), What: "attempt", Attempt: &admin.StoryAttempt{Step: "complete", Times: 136, Last: moment.Add(2 * time.Hour), Class: "uplink", Code: "refused", Detail: "connection <refused>", Body: body}},
		{At: moment.Add(2 * time.Hour), What: "answer", Answer: &admin.StoryAnswer{Step: "complete", Status: 200, Adopted: true, RequestID: "req_1", Body: body}},
		{At: moment.Add(2 * time.Hour), What: "receipt", Receipt: receipt}, {At: moment.Add(3 * time.Hour), What: "delivered", Receipt: receipt},
	}}, nil
}

func (m *memory) Explain(_ context.Context, subject string) (admin.Explanation, error) {
	return admin.Explanation{Subject: subject, Sentence: "It was sold.", Details: []admin.Detail{{At: moment, What: "event", Text: "sale reported"}, {At: moment, What: "answer", Text: "confirmed", RequestID: "req_1"}}}, nil
}

func (m *memory) item() admin.QuarantineItem {
	return admin.QuarantineItem{ID: "7", DeviceID: "pump-01", RegisterID: "reg_1", SaleID: "s1", State: "quarantined", Code: "invalid", Reason: "OpenFiskal refuses it", Since: moment, InDoubt: true,
		Allowed: []sale.Decision{sale.DecisionRetry, sale.DecisionResolve, sale.DecisionDiscard}, Rule: "400", Payload: `{"a":"<b>"}`,
		Request: &admin.QuarantineRequest{Method: "POST", Path: "/x", Body: "{}"}, Answer: &admin.QuarantineAnswer{Status: 400, RequestID: "req_2", Body: "{}"}}
}

func (m *memory) Quarantine(context.Context, admin.QuarantineFilter) ([]admin.QuarantineItem, error) {
	return []admin.QuarantineItem{m.item()}, nil
}

func (m *memory) QuarantineItem(context.Context, string) (admin.QuarantineItem, error) {
	return m.item(), nil
}

func (m *memory) Decide(_ context.Context, d admin.Decision, by string) (admin.DecisionResult, error) {
	if f := d.Check(); f != nil {
		return admin.DecisionResult{}, f
	}
	m.did("decided "+string(d.Decision)+" "+d.ID, by)
	return admin.DecisionResult{}, nil
}

func (m *memory) AddDevice(_ context.Context, a admin.AddDevice, by string) (admin.Credentials, error) {
	if a.DeviceID == "pump-01" {
		return admin.Credentials{}, &admin.Refusal{Code: "exists", Message: "it exists, and you gave " + string(a.Key.Reveal()), Remedy: "Choose another name."}
	}
	m.did("added "+string(a.DeviceID), by)
	return m.credentials(a.DeviceID), nil
}

func (m *memory) credentials(id sale.DeviceID) admin.Credentials {
	return admin.Credentials{DeviceID: id, Username: string(id), Password: "pass-4111111111111111", MQTTURL: cmp.Or(m.mqtt, "mqtts://10.0.0.2:8883"), CAFile: "ca.pem", Key: "active",
		Certificate: &admin.ClientCertificate{Serial: "0a", PEM: "CERT", Key: "PRIVATE"}}
}

func (m *memory) SetKey(_ context.Context, k admin.SetKey, by string) (admin.KeyResult, error) {
	if k.Key.Empty() {
		return admin.KeyResult{}, &admin.Refusal{Code: "invalid", Message: "there is no key"}
	}
	if string(k.Key.Reveal()) == refusedKey {
		return admin.KeyResult{}, &admin.Refusal{Code: "key_refused", Message: "OpenFiskal refuses " + refusedKey + " and " + "it is gone", Remedy: "Ask for another."}
	}
	m.did("key of "+string(k.DeviceID), by)
	return admin.KeyResult{RegisterID: "reg_1", Key: "active"}, nil
}

const refusedKey = `ofk_reg_test_"<&`

func (m *memory) RequestKey(_ context.Context, q admin.KeyRequest, by string) (admin.KeyResult, error) {
	m.did("asked for a key of "+string(q.DeviceID), by)
	return admin.KeyResult{RegisterID: "reg_1", Key: "pending", Notice: "asked about"}, nil
}

func (m *memory) CheckKey(context.Context, admin.KeyOf) ([]admin.KeyCheck, error) {
	return []admin.KeyCheck{{RegisterID: "reg_1", State: "active", Verdict: "accepted"}}, nil
}

func (m *memory) Identify(_ context.Context, id sale.DeviceID, by string) (admin.Identified, error) {
	m.did("identified "+string(id), by)
	return admin.Identified{DeviceID: id, Outcome: cmp.Or(m.outcome, "delivered"), Sentence: "in its own words", Seconds: 30}, nil
}

func (m *memory) TestSale(_ context.Context, id sale.DeviceID, by string) (admin.TestSale, error) {
	m.did("tried "+string(id), by)
	t := admin.TestSale{DeviceID: id, Kind: "pump", Currency: "EUR", Ready: m.well, Sentence: "The way <b>through</b> works.", TookMS: 28, Receipt: json.RawMessage(`{"state":"completed"}`),
		Checks: []admin.Check{{Check: "gateway", State: doctor.OK, Found: "It went through."}, {Check: "device", State: doctor.OK, Found: "It is connected."}, {Check: "seq_gap", State: doctor.Notice, Found: "An event is <missing>.", Fix: "Look."}},
		Parts:  []admin.StoryPart{{What: "event", Event: &admin.StoryEvent{Event: "start", Payload: `{"sale_id":"x"}`}}, {What: "delivered", Receipt: &admin.StoryReceipt{}}}}
	if !m.well {
		t.Checks[1] = admin.Check{Check: "device", State: doctor.Failed, Found: "pump-01 is <not> connected.", Fix: "Check its power."}
	}
	return t, nil
}

func (m *memory) DisableDevice(_ context.Context, id sale.DeviceID, by string) error {
	m.did("disabled "+string(id), by)
	return nil
}

func (m *memory) EnableDevice(_ context.Context, id sale.DeviceID, by string) error {
	m.did("enabled "+string(id), by)
	return nil
}

func (m *memory) RemoveDevice(_ context.Context, id sale.DeviceID, by string) error {
	m.did("removed "+string(id), by)
	return nil
}

func (m *memory) RevokeCertificate(_ context.Context, id sale.DeviceID, serial, by string) error {
	m.did("revoked "+serial+" of "+string(id), by)
	return nil
}

func (m *memory) RenewPassword(_ context.Context, id sale.DeviceID, by string) (admin.Credentials, error) {
	m.did("new password of "+string(id), by)
	return m.credentials(id), nil
}

func (m *memory) ReplaceDevice(_ context.Context, id sale.DeviceID, _ bool, by string) (admin.Credentials, error) {
	m.did("replaced "+string(id), by)
	return m.credentials(id), nil
}

func (m *memory) IssueCertificate(_ context.Context, id sale.DeviceID, by string) (admin.Credentials, error) {
	m.did("certificate of "+string(id), by)
	return m.credentials(id), nil
}

func (m *memory) People(context.Context) ([]admin.Person, error) {
	return []admin.Person{{Name: "anna", Role: sale.RoleOwner, LastSeen: moment}, {Name: "tom", Role: sale.RoleTechnician, ExpiresAt: moment.AddDate(0, 0, 7)}}, nil
}

func (m *memory) AddPerson(_ context.Context, a admin.AddPerson, by string) (admin.AddedPerson, error) {
	if a.Name == "tom" {
		return admin.AddedPerson{}, &admin.Refusal{Code: "exists", Message: "there is a tom"}
	}
	m.did("let in "+a.Name, by)
	return admin.AddedPerson{Person: admin.Person{Name: a.Name, Role: a.Role, ExpiresAt: moment.Add(a.Lives)}, PIN: "4111111111"}, nil
}

func (m *memory) Doctor(context.Context, string) ([]admin.Check, error) {
	m.looked = true
	all := []admin.Check{{Check: "disk_space", Title: "Free space", State: "failed", Found: "0 bytes are free.", Fix: "Make room on <this> disk"},
		{Check: "kek", Title: "The key-encryption key", State: "notice", Found: "It lies beside the data.", Fix: "Keep a copy."}, {Check: "clock_source", Title: "The clock's source", State: "ok", Found: "A time server."}}
	if m.well {
		all = all[1:]
	}
	return all, nil
}

func (m *memory) Backup(_ context.Context, passphrase secret.Text, w io.Writer, by string) error {
	m.did("backup", by)
	if len(passphrase.Reveal()) < 12 {
		return &admin.Refusal{Code: "invalid", Message: "the passphrase is too short", Remedy: "Choose a longer one"}
	}
	_, err := io.WriteString(w, "age-encryption.org/v1")
	return err
}

func (m *memory) SupportBundle(_ context.Context, w io.Writer, by string) error {
	if m.broken != nil {
		return m.broken
	}
	m.did("bundle", by)
	_, err := io.WriteString(w, "a ZIP")
	return err
}

func (m *memory) RemovePerson(_ context.Context, name, by string) error {
	m.did("removed "+name, by)
	return nil
}

func (m *memory) Sessions(context.Context) ([]admin.Session, error) {
	return []admin.Session{{ID: "AAAAAAAA", Name: "anna-owner", Role: sale.RoleOwner, CreatedAt: moment, LastSeen: moment, Address: "10.0.0.1", Browser: "Firefox", System: "Linux"},
		{ID: "BBBBBBBB", Name: "tom", Role: sale.RoleTechnician, CreatedAt: moment, LastSeen: moment, Address: "10.0.0.2", System: "Android"}}, nil
}

func (m *memory) EndSession(_ context.Context, id, by string) error {
	if id != "BBBBBBBB" {
		return &admin.Refusal{Code: "not_found", Message: "there is no session of that id"}
	}
	m.did("ended "+id, by)
	return nil
}

func (m *memory) EndSessions(_ context.Context, name, by string) (admin.EndedSessions, error) {
	m.did("logged out "+name, by)
	return admin.EndedSessions{Name: name, Ended: 1}, nil
}

func (m *memory) Audit(context.Context, admin.AuditFilter) ([]admin.AuditEntry, error) {
	return slices.Repeat([]admin.AuditEntry{{No: 7, At: moment, Who: "person:<anna>", What: "device added", Subject: "pump-01", Detail: "by the <road>"}}, pageOfAudit), nil
}

// people is a Door with one person of each role. A session is its person's name.
type people struct {
	claimed bool
	did     func(what, by string)
	from    []sale.Origin
}

func (p *people) Claimed(context.Context) (bool, error) { return p.claimed, nil }

func (p *people) Claim(_ context.Context, code, name string, _ secret.Text, _ sale.Origin) (string, error) {
	if code != "RIGHT-CODE" {
		return "", &admin.Refusal{Code: "wrong", Message: "That is not the code.", Remedy: "Read it again."}
	}
	p.claimed = true
	return "owner", nil
}

func (p *people) Login(_ context.Context, name string, password secret.Text, from sale.Origin) (string, error) {
	p.from = append(p.from, from)
	if string(password.Reveal()) != "right password" {
		return "", &admin.Refusal{Code: admin.CodeTooMany, Message: "The name or the password is wrong.", Remedy: "Wait ten seconds."}
	}
	return name, nil
}

func (p *people) Who(_ context.Context, session string) (admin.Person, error) {
	switch r := sale.Role(session); r {
	case sale.RoleOwner, sale.RoleTechnician, sale.RoleAuditor:
		return admin.Person{Name: "anna-" + session, Role: r}, nil
	}
	return admin.Person{}, &admin.Refusal{Code: "session", Message: "nobody"}
}

func (p *people) Logout(context.Context, string) error { return nil }

func (p *people) Own(_ context.Context, session string) ([]admin.Session, error) {
	one := admin.Session{ID: "AAAAAAAA", Name: "anna-" + session, Role: sale.Role(session), CreatedAt: moment, LastSeen: moment, Address: "10.0.0.1", Browser: "Firefox", System: "Linux", Current: true}
	other := one
	other.ID, other.Browser, other.System, other.Current = "BBBBBBBB", "", "", false
	return []admin.Session{one, other}, nil
}

func (p *people) EndOwn(_ context.Context, session, id string) error {
	if id != "BBBBBBBB" {
		return &admin.Refusal{Code: "not_found", Message: "there is no session of that id"}
	}
	p.did("ended "+id, "person:anna-"+session)
	return nil
}

func (p *people) LogoutEverywhere(_ context.Context, session string) error {
	p.did("logged out everywhere", "person:anna-"+session)
	return nil
}

type browser struct {
	t       *testing.T
	site    *Site
	backend *memory
	door    *people
	session string
	lang    string
}

// parsed reads the templates once for all tests.
var parsed = sync.OnceValues(func() (map[lang]views, error) {
	return parse(func() time.Time { return moment.Add(time.Hour) })
})

func newBrowser(t *testing.T, session string) *browser {
	b := &browser{t: t, backend: &memory{}, session: session, lang: "en"}
	b.door = &people{claimed: true, did: b.backend.did}
	var err error
	b.site, err = newSite(Options{Backend: b.backend, Door: b.door, Log: slog.New(slog.DiscardHandler), Version: "v1", Now: func() time.Time { return moment.Add(time.Hour) },
		CA: func() []byte { return []byte("-----BEGIN") }, Changed: func(ctx context.Context) error { return errors.New("ended") }}, parsed)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *browser) ask(method, path string, form url.Values, headers ...string) *httptest.ResponseRecorder {
	b.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r := httptest.NewRequestWithContext(b.t.Context(), method, path, body)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r.Header.Set("Accept-Language", b.lang)
	if b.session != "" {
		r.AddCookie(&http.Cookie{Name: cookieName(r), Value: b.session})
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	b.site.ServeHTTP(w, r)
	return w
}

// paths fills the patterns of routes with what there is.
func paths(pattern string) (method string, all []string) {
	method, path, ok := strings.Cut(pattern, " ")
	if !ok {
		return "", nil
	}
	path = strings.NewReplacer("{$}", "", "{device}", "pump-01", "{sale}", "s1").Replace(path)
	if strings.HasPrefix(path, "/quarantine/") {
		return method, []string{strings.Replace(path, "{id}", "7", 1)}
	}
	path = strings.Replace(path, "{id}", "pump-01", 1)
	if !strings.Contains(path, "{act}") {
		return method, []string{path}
	}
	for act, asks := range acts {
		if asks || method == http.MethodPost {
			all = append(all, strings.Replace(path, "{act}", act, 1))
		}
	}
	return method, all
}

// everything is a form with which every change would be done.
var everything = url.Values{"device_id": {"pump-02"}, "register_id": {"reg_2"}, "kind": {"pump"}, "register_key": {"ofk_reg_test_1"}, "platform_key": {"ofk_plat_1"}, "serial": {"0a1b"},
	"decision": {"retry"}, "reason": {"why not"}, "to": {"de"}, "back": {"/"}, "name": {"anna"}, "password": {"right password"}, "code": {"x"}, "role": {"auditor"}, "days": {"7"}, "passphrase": {"correct horse battery"}, "again": {"correct horse battery"}, "session": {"BBBBBBBB"}, "set.site.name": {"Station 2"}}

// needed says who may make each change, written down a second time: who adds a route,
// or changes whom one is for, must mean it.
var needed = map[string]need{
	"POST /login":    anybody,
	"POST /logout":   anybody,
	"POST /claim":    anybody,
	"POST /language": anybody,

	"POST /account/end":    reader,
	"POST /account/logout": reader,

	"POST /devices/new":            worker,
	"POST /devices/{id}/{act}":     worker,
	"POST /quarantine/{id}/decide": worker,
	"POST /commissioning/begin":    worker,
	"POST /support/bundle":         worker,
	"POST /doctor":                 worker,

	"POST /backup/file":      owner,
	"POST /settings/apply":   owner,
	"POST /settings/confirm": owner,
	"POST /settings/undo":    owner,
	"POST /people/add":       owner,
	"POST /people/remove":    owner,
	"POST /people/end":       owner,
	"POST /people/logout":    owner,
}

// Every route that changes something has its row in the table, and is for whom it says.
func TestEveryChangeIsForWhomItIsMeant(t *testing.T) {
	there := map[string]bool{}
	for pattern, rt := range newBrowser(t, "").site.routes() {
		if strings.HasPrefix(pattern, "GET ") || pattern == "/" {
			continue
		}
		there[pattern] = true
		if n, known := needed[pattern]; !known || n != rt.need {
			t.Errorf("%s: in the table %t, for %d, is for %d", pattern, known, n, rt.need)
		}
	}
	for pattern := range needed {
		if !there[pattern] {
			t.Errorf("there is no %s", pattern)
		}
	}
	if exported := Changes(); len(exported) != len(needed) || slices.ContainsFunc(exported, func(p string) bool { return !there[p] }) {
		t.Errorf("others are told of %v", exported)
	}
}

// lesser are the roles that may not do what asks for one; doers has the least that may.
var (
	lesser = map[need][]string{reader: nil, worker: {"auditor"}, owner: {"auditor", "technician"}}
	doers  = map[need]string{reader: "auditor", worker: "technician", owner: "owner"}
)

// Nothing is changed by somebody who has not logged in, whom another page has sent,
// or whose role is a lesser one; all of it is by the least role that may. The
// patterns are those of the router: a new one is tried without anybody naming it.
func TestEveryChangeAsksWhoAndWhereFrom(t *testing.T) {
	outside := map[string]bool{"/login": true, "/logout": true, "/claim": true, "/language": true}
	for pattern := range newBrowser(t, "").site.routes() {
		method, all := paths(pattern)
		if method == http.MethodGet || pattern == "/" {
			continue
		}
		need := needed[pattern]
		if method != http.MethodPost || len(all) == 0 {
			t.Errorf("%s: this test cannot try it", pattern)
		}
		for _, path := range all {
			type try struct {
				who, name string
				headers   []string
				status    int
			}
			rows := []try{
				{"", "without a session", nil, http.StatusSeeOther},
				{"nobody", "with a session that is over", nil, http.StatusSeeOther},
				{"owner", "from another site", []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
				{"owner", "from a neighbour", []string{"Sec-Fetch-Site", "same-site"}, http.StatusForbidden},
				{"owner", "with another origin", []string{"Origin", "https://evil.example"}, http.StatusForbidden},
				{"owner", "with no origin", []string{"Origin", "null"}, http.StatusForbidden},
			}
			for _, role := range lesser[need] {
				rows = append(rows, try{role, "as " + role, nil, http.StatusForbidden})
			}
			for _, row := range rows {
				if outside[path] && len(row.headers) == 0 {
					continue
				}
				b := newBrowser(t, row.who)
				w := b.ask(method, path, everything, row.headers...)
				if w.Code != row.status || len(b.backend.changes) > 0 || w.Code == http.StatusSeeOther && w.Header().Get("Location") != "/login" {
					t.Errorf("%s %s: %d %s, changed %v", path, row.name, w.Code, w.Header().Get("Location"), b.backend.changes)
				}
			}
			if outside[path] || strings.HasSuffix(path, "/check") || path == "/commissioning/begin" || path == "/doctor" { // they change nothing of the gateway
				continue
			}
			doer := doers[need]
			b := newBrowser(t, doer)
			if w := b.ask(method, path, everything, "Origin", "http://example.com"); w.Code >= 400 || len(b.backend.changes) != 1 || !strings.HasSuffix(b.backend.changes[0], " by person:anna-"+doer) {
				t.Errorf("%s as %s: %d, changed %v", path, doer, w.Code, b.backend.changes)
			}
		}
	}
}

// A GET changes nothing, whatever it carries.
func TestNoLinkChangesAnything(t *testing.T) {
	for pattern := range newBrowser(t, "").site.routes() {
		_, all := paths(pattern)
		for _, path := range all {
			b := newBrowser(t, "owner")
			b.ask(http.MethodGet, path+"?"+everything.Encode(), nil)
			b.ask(http.MethodHead, path, nil)
			if len(b.backend.changes) > 0 {
				t.Errorf("GET %s changed %v", path, b.backend.changes)
			}
		}
	}
}

// Every page can be shown to each role in each language, quotes what comes from
// outside, loads nothing from elsewhere, masks card numbers, and is small.
func TestEveryPage(t *testing.T) {
	elsewhere := regexp.MustCompile(`(?:src|href|action)="(?:https?:|//)|<style|style="|\son[a-z]+="|javascript:`)
	for pattern, rt := range newBrowser(t, "").site.routes() {
		method, all := paths(pattern)
		for _, path := range all {
			for _, role := range []sale.Role{"", sale.RoleOwner, sale.RoleTechnician, sale.RoleAuditor} {
				if method != http.MethodGet || path == "/live" || path == "/site-ca.pem" || path == "/export" {
					continue
				}
				for _, l := range langs {
					b := newBrowser(t, string(role))
					b.lang = string(l)
					w := b.ask(method, path, nil)
					want := http.StatusOK
					switch {
					case role == "" && rt.need != anybody, role != "" && path == "/login", path == "/claim":
						want = http.StatusSeeOther
					case role == sale.RoleAuditor && rt.need == worker, role != "" && role != sale.RoleOwner && rt.need == owner:
						want = http.StatusForbidden
					}
					text := w.Body.String()
					if w.Code != want {
						t.Errorf("%s as %q in %s: %d, want %d", path, role, l, w.Code, want)
					}
					if w.Code == http.StatusSeeOther {
						continue
					}
					for _, never := range []string{"<road>", "Station <1>", "<b>", "4111111111111111", "ZgotmplZ", "%!", "<no value>"} {
						if strings.Contains(text, never) {
							t.Errorf("%s as %q in %s holds %q", path, role, l, never)
						}
					}
					if found := elsewhere.FindString(text); found != "" {
						t.Errorf("%s holds %s", path, found)
					}
					if !strings.Contains(text, `lang="`+string(l)+`"`) || strings.Count(text, "<h1")+strings.Count(text, `role="alert"`) == 0 || len(text) > 100<<10 {
						t.Errorf("%s in %s: %d bytes, no language or no heading", path, l, len(text))
					}
					if w.Header().Get("Cache-Control") != "no-store" || !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
						t.Errorf("%s: %v", path, w.Header())
					}
				}
			}
		}
	}
}

// All that a browser loads, beside one page, in all.
func TestThePagesAreLight(t *testing.T) {
	total, count := 0, 0
	err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := files.ReadFile(path)
		total += len(b)
		if strings.HasPrefix(path, "static/") {
			count++
		}
		return err
	})
	if err != nil || total > 300<<10 || count > 3 {
		t.Errorf("%d bytes in all, %d files beside a page, %v; want less than 300 KiB and 3", total, count, err)
	}
	b := newBrowser(t, "owner")
	loads := regexp.MustCompile(`(?:<script src|<link rel="stylesheet" href|<link rel="icon" href|<img src)="([^"]*)"`)
	requests := loads.FindAllStringSubmatch(b.ask(http.MethodGet, "/", nil).Body.String(), -1)
	if len(requests) != 3 {
		t.Errorf("a page loads %v", requests)
	}
	for _, m := range requests {
		if w := b.ask(http.MethodGet, m[1], nil); w.Code != http.StatusOK || !strings.Contains(w.Header().Get("Cache-Control"), "max-age") {
			t.Errorf("%s: %d %v", m[1], w.Code, w.Header())
		}
	}
}

// A key that came with a form is in no page, also where somebody quotes it.
func TestNoPageShowsAKeyThatWasSent(t *testing.T) {
	b := newBrowser(t, "owner")
	for _, row := range []struct {
		path string
		form url.Values
	}{
		{"/devices/pump-01/key", url.Values{"register_key": {refusedKey}}},
		{"/devices/new", url.Values{"device_id": {"pump-01"}, "register_id": {"reg_1"}, "kind": {"pump"}, "register_key": {refusedKey}}},
		{"/devices/new", url.Values{"device_id": {"pump-09"}, "register_id": {"ofk_reg_test_abcdefgh"}, "kind": {"pump"}}},
	} {
		w := b.ask(http.MethodPost, row.path, row.form)
		text := w.Body.String()
		if w.Code < 400 || strings.Contains(text, "ofk_reg") || !strings.Contains(text, `role="alert"`) {
			t.Errorf("%s: %d\n%s", row.path, w.Code, text)
		}
	}
}

// The credentials of a device are shown whole, once, and in nothing that is kept.
func TestCredentialsAreShownWhole(t *testing.T) {
	w := newBrowser(t, "technician").ask(http.MethodPost, "/devices/new", everything)
	text := w.Body.String()
	for _, want := range []string{"pass-4111111111111111", `<svg class="qr"`, "mqtts://10.0.0.2:8883", `download="pump-02.txt"`, `download="pump-02.pem"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

// A device cannot reach the gateway at localhost: it is told the name under which
// the technician's phone has.
func TestTheAddressThatADeviceIsGiven(t *testing.T) {
	for _, row := range []struct{ url, asked, want string }{
		{"mqtts://localhost:8883", "10.0.0.9:8443", "mqtts://10.0.0.9:8883"},
		{"mqtts://localhost:8883", "station-12.lan", "mqtts://station-12.lan:8883"},
		{"mqtts://localhost:8883", "[fd00::9]:8443", "mqtts://[fd00::9]:8883"},
		{"mqtts://10.0.0.2:8883", "10.0.0.9:8443", "mqtts://10.0.0.2:8883"}, // that listener only
		{"mqtts://localhost:8883", "localhost:8443", "mqtts://localhost:8883"},
		{"mqtts://localhost:8883", "127.0.0.1:8080", "mqtts://localhost:8883"},
		{"mqtt://127.0.0.1:1883", "10.0.0.9:8443", "mqtt://127.0.0.1:1883"}, // for this machine only
		{"", "10.0.0.9:8443", ""},
	} {
		if got := fromOutside(row.url, row.asked); got != row.want {
			t.Errorf("%s, asked at %s: %s, want %s", row.url, row.asked, got, row.want)
		}
	}
	b := newBrowser(t, "technician")
	b.backend.mqtt = "mqtts://localhost:8883"
	text := b.ask(http.MethodPost, "/devices/new", everything).Body.String() // at example.com
	if !strings.Contains(text, "mqtts://example.com:8883") || strings.Contains(text, "localhost") {
		t.Errorf("the address in\n%s", text)
	}
}

func TestTheSessionCookie(t *testing.T) {
	b := newBrowser(t, "")
	w := b.ask(http.MethodPost, "/login", url.Values{"name": {"owner"}, "password": {"right password"}})
	c := w.Result().Cookies()
	if w.Code != http.StatusSeeOther || len(c) != 1 || c[0].Value != "owner" || !c[0].HttpOnly || c[0].SameSite != http.SameSiteStrictMode || c[0].Path != "/" || c[0].Secure {
		t.Errorf("login: %d %+v", w.Code, c)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://example.com/login", strings.NewReader("name=owner&password=right+password"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	over := httptest.NewRecorder()
	b.site.ServeHTTP(over, r)
	if c = over.Result().Cookies(); len(c) != 1 || !c[0].Secure || c[0].Name != "__Host-edgegw" {
		t.Errorf("login over TLS: %d %+v", over.Code, c)
	}
	b.session = "owner"
	if c = b.ask(http.MethodPost, "/logout", url.Values{}).Result().Cookies(); len(c) != 1 || c[0].MaxAge >= 0 {
		t.Errorf("logout: %+v", c)
	}
	b.session = ""
	if w = b.ask(http.MethodPost, "/login", url.Values{"name": {"<owner>"}, "password": {"wrong <password>"}}); w.Code != http.StatusTooManyRequests || len(w.Result().Cookies()) > 0 ||
		strings.Contains(w.Body.String(), "wrong") && strings.Contains(w.Body.String(), "password&gt;") || !strings.Contains(w.Body.String(), "Wait ten seconds.") || !strings.Contains(w.Body.String(), `value="&lt;owner&gt;"`) {
		t.Errorf("login in vain: %d %s", w.Code, w.Body)
	}
}

func TestAnUnclaimedSiteIsClaimedFirst(t *testing.T) {
	b := newBrowser(t, "")
	b.door.claimed = false
	for _, path := range []string{"/", "/devices", "/login"} {
		if w := b.ask(http.MethodGet, path, nil); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/claim" {
			t.Errorf("%s: %d %s", path, w.Code, w.Header().Get("Location"))
		}
	}
	form := url.Values{"code": {"RIGHT-CODE"}, "name": {"anna"}, "password": {"right password"}, "again": {"another"}}
	if w := b.ask(http.MethodPost, "/claim", form); w.Code != http.StatusBadRequest || b.door.claimed {
		t.Errorf("with two passwords: %d", w.Code)
	}
	form.Set("again", "right password")
	if w := b.ask(http.MethodPost, "/claim", form); w.Code != http.StatusSeeOther || !b.door.claimed || len(w.Result().Cookies()) != 1 {
		t.Errorf("claim: %d", w.Code)
	}
	if w := b.ask(http.MethodGet, "/claim", nil); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/login" {
		t.Errorf("claimed already: %d", w.Code)
	}
}

func TestTheLanguageIsChosenAndStaysHere(t *testing.T) {
	b := newBrowser(t, "owner")
	for back, want := range map[string]string{"/devices": "/devices", "//evil.example": "/", "https://evil.example": "/", `/\evil.example`: "/", "": "/"} {
		w := b.ask(http.MethodPost, "/language", url.Values{"to": {"de"}, "back": {back}})
		if got := w.Header().Get("Location"); got != want || w.Result().Cookies()[0].Value != "de" {
			t.Errorf("back to %q: %q", back, got)
		}
	}
	b.lang = "fr, de-AT;q=0.8"
	if text := b.ask(http.MethodGet, "/", nil).Body.String(); !strings.Contains(text, "Überblick") || !strings.Contains(text, "Etwas braucht Sie.") {
		t.Errorf("not in German:\n%s", text)
	}
}

// Every text of a page has its German one, and no German one is left over.
func TestEveryTextIsInGerman(t *testing.T) {
	used := map[string]bool{}
	note := func(all [][]string) {
		for _, m := range all {
			for _, text := range m[1:] {
				used[strings.ReplaceAll(text, `\"`, `"`)] = true
			}
		}
	}
	quoted := `"((?:[^"\\]|\\.)*)"`
	inPage, ofMany := regexp.MustCompile(`\bt `+quoted), regexp.MustCompile(`count [^"]*`+quoted+` `+quoted)
	inCode, manyInCode := regexp.MustCompile(`\.(?:t|text)\(`+quoted), regexp.MustCompile(`count\([^"\n]*, `+quoted+`, `+quoted+`\)`)
	ofWording := regexp.MustCompile(`wording\.Of\(` + quoted)
	refused := regexp.MustCompile(`Message: ` + quoted + `, Remedy: ` + quoted)
	err := fs.WalkDir(files, "templates", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			var b []byte
			b, err = files.ReadFile(path)
			note(inPage.FindAllStringSubmatch(string(b), -1))
			note(ofMany.FindAllStringSubmatch(string(b), -1))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range sources(t) {
		note(inCode.FindAllStringSubmatch(source, -1))
		note(manyInCode.FindAllStringSubmatch(source, -1))
		note(refused.FindAllStringSubmatch(source, -1))
		note(ofWording.FindAllStringSubmatch(source, -1))
	}
	for _, w := range words {
		used[w] = true
	}
	for text := range used {
		if _, ok := translated(text); !ok {
			t.Errorf("no German for %q", text)
		}
	}
	for text, translated := range inGerman {
		if !used[text] {
			t.Errorf("nobody says %q", text)
		}
		if strings.Count(text, "%") != strings.Count(translated, "%") {
			t.Errorf("%q and %q take different arguments", text, translated)
		}
	}
}

func TestMoney(t *testing.T) {
	for _, row := range []struct {
		minor    int64
		currency string
		en, de   string
	}{
		{7622, "EUR", "76.22 EUR", "76,22 EUR"}, {5, "EUR", "0.05 EUR", "0,05 EUR"}, {0, "EUR", "0.00 EUR", "0,00 EUR"}, {123456789, "EUR", "1,234,567.89 EUR", "1.234.567,89 EUR"},
		{-150, "EUR", "−1.50 EUR", "−1,50 EUR"}, {1000, "JPY", "1,000 JPY", "1.000 JPY"}, {1234, "KWD", "1.234 KWD", "1,234 KWD"}, {-9223372036854775808, "JPY", "−9,223,372,036,854,775,808 JPY", "−9.223.372.036.854.775.808 JPY"},
	} {
		if en, de := english.money(row.minor, row.currency), german.money(row.minor, row.currency); en != row.en || de != row.de {
			t.Errorf("%d %s: %s, %s", row.minor, row.currency, en, de)
		}
	}
}

// A page never says that all is well while something needs a person.
func TestTheHeadlineIsTrue(t *testing.T) {
	idle, busy := admin.Register{State: "idle"}, admin.Register{State: "waiting"}
	for _, row := range []struct {
		name string
		st   admin.Status
		o    overviewView
		mood string
		want string
	}{
		{"all well", admin.Status{Uplink: "up", Registers: []admin.Register{idle, idle}}, overviewView{}, "good", "All 2 registers are up to date."},
		{"one register", admin.Status{Uplink: "unknown", Registers: []admin.Register{idle}}, overviewView{}, "good", "The register is up to date."},
		{"nothing there", admin.Status{}, overviewView{}, "notice", "There is no device yet."},
		{"under way", admin.Status{Registers: []admin.Register{idle, busy}, Totals: admin.Totals{Waiting: 2}}, overviewView{Busy: []admin.Register{busy}}, "notice", "2 sales are on their way."},
		{"no uplink", admin.Status{Uplink: "down", Registers: []admin.Register{idle}, Totals: admin.Totals{Waiting: 1}}, overviewView{}, "notice", "No way to OpenFiskal: 1 sale waits on this box."},
		{"to do", admin.Status{Uplink: "up", Registers: []admin.Register{idle}}, overviewView{Attention: make([]health.Condition, 3)}, "bad", "3 things need you."},
	} {
		v := &visit{lang: english}
		if mood, got := v.mood(row.st, row.o); mood != row.mood || got != row.want {
			t.Errorf("%s: %s %q, want %s %q", row.name, mood, got, row.mood, row.want)
		}
	}
}

// What changes is told to browsers only as long as their person may see it.
func TestLiveEndsWithTheSession(t *testing.T) {
	b := newBrowser(t, "owner")
	times := 0
	b.site.Changed = func(context.Context) error {
		if times++; times == 3 {
			b.site.Door = gone{b.door}
		}
		return nil
	}
	w := b.ask(http.MethodGet, "/live", nil)
	if got := strings.Count(w.Body.String(), "event: changed"); got != 2 || w.Header().Get("Content-Type") != "text/event-stream" {
		t.Errorf("told %d times: %s", got, w.Body)
	}
	b.session, b.site.Door = "", b.door
	if w := b.ask(http.MethodGet, "/live", nil); w.Code != http.StatusUnauthorized {
		t.Errorf("without a session: %d", w.Code)
	}
}

type gone struct{ admin.Door }

func (gone) Who(context.Context, string) (admin.Person, error) {
	return admin.Person{}, fmt.Errorf("gone")
}
