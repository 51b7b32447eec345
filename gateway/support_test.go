package gateway

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/config"
	"edgegw/fiscal/sandbox"
	"edgegw/sale"
	"edgegw/secret"
	"edgegw/store"
	"edgegw/support"
)

// unpacked is a bundle as support staff have it.
type unpacked struct {
	files map[string]string
	support.Manifest
}

// unpack judges a bundle by its own manifest.
func unpack(t *testing.T, whole []byte) unpacked {
	t.Helper()
	m, err := support.Read(bytes.NewReader(whole), int64(len(whole)))
	must(t, err)
	if len(whole) >= support.Limit {
		t.Errorf("the bundle has %d bytes", len(whole))
	}
	z, err := zip.NewReader(bytes.NewReader(whole), int64(len(whole)))
	must(t, err)
	u := unpacked{map[string]string{}, m}
	for _, f := range z.File {
		r, err := f.Open()
		must(t, err)
		text, err := io.ReadAll(r)
		must(t, err)
		u.files[f.Name] = string(text)
		if strings.HasSuffix(f.Name, ".json") && !json.Valid(text) {
			t.Errorf("%s is no JSON: %.200s", f.Name, text)
		}
	}
	for _, f := range m.Files {
		sum := sha256.Sum256([]byte(u.files[f.Name]))
		if f.Size != len(u.files[f.Name]) || f.SHA256 != hex.EncodeToString(sum[:]) || f.What == "" || f.Size == 0 {
			t.Errorf("%s is not as the manifest says: %+v, it has %d bytes, %x", f.Name, f, len(u.files[f.Name]), sum)
		}
	}
	if len(u.files) != len(m.Files)+1 || len(m.LeftOut) < 5 || m.Site != "test" || m.Version != "test" || m.Made.IsZero() {
		t.Errorf("%d files; the manifest: %+v", len(u.files), m)
	}
	return u
}

// missing names the parts that could not be made.
func (u unpacked) missing() (names []string) {
	for _, m := range u.Missing {
		names = append(names, m.Name)
	}
	return names
}

func (s *testSite) bundle() unpacked {
	s.t.Helper()
	var out bytes.Buffer
	must(s.t, s.SupportBundle(s.t.Context(), &out, "cli:tom"))
	return unpack(s.t.(*testing.T), out.Bytes())
}

// stopped makes a bundle as the command does where no gateway runs.
func (s *testSite) stopped(env ...string) unpacked {
	s.t.Helper()
	var out bytes.Buffer
	c, err := config.Load(config.Options{Flags: s.flags, Env: env, Search: []string{}})
	must(s.t, err)
	b, err := OpenOffline(s.t.Context(), c, s.options)
	if err != nil {
		must(s.t, SupportClosed(s.t.Context(), c, s.options, err, &out, "cli:tom"))
		return unpack(s.t.(*testing.T), out.Bytes())
	}
	defer b.Close()
	must(s.t, b.SupportBundle(s.t.Context(), &out, "cli:tom"))
	return unpack(s.t.(*testing.T), out.Bytes())
}

// keepsLog lets the site keep its last lines, as edgegw run does.
func (s *testSite) keepsLog() {
	s.options.Recent = &support.Log{}
	s.options.Log = slog.New(s.options.Recent.Handler(s.options.Log.Handler()))
}

// secretive is a site with every kind of secret, and what must be in no bundle.
type secretive struct {
	*testSite
	needles map[string]string
}

const proxyPassword = "hunter2-and-more"

func secretiveSite(t *testing.T) *secretive {
	t.Helper()
	s := &secretive{newSite(t, sandbox.Options{}), map[string]string{"a card's number": pan, "the proxy's password": proxyPassword}}
	s.keepsLog()
	s.on()
	s.need("the claim code", s.claim().Code)
	s.add("pump-01")
	s.add("pump-02")
	_, err := s.AddPerson(t.Context(), admin.AddPerson{Name: "olga", Role: sale.RoleOwner, Password: secret.FromString("correct horse battery")}, "test")
	must(t, err)
	s.need("a password", "correct horse battery")
	tom, err := s.AddPerson(t.Context(), admin.AddPerson{Name: "tom", Role: sale.RoleTechnician}, "test")
	must(t, err)
	s.need("a PIN", tom.PIN)
	made, err := s.AddToken(t.Context(), admin.NewToken{Name: "reader", Scope: sale.ScopeRead}, "test")
	must(t, err)
	s.need("a token", made.Secret[len("edgegw_"):])
	session, err := s.Login(t.Context(), "olga", secret.FromString("correct horse battery"), sale.Origin{Address: "10.0.0.1"})
	must(t, err)
	s.need("a session", session)
	kek, err := os.ReadFile(filepath.Join(s.dir, "kek"))
	must(t, err)
	s.need("the KEK", strings.TrimSpace(string(kek)))
	for _, name := range []string{"site-ca-key.pem", "server-key.pem"} {
		text, err := os.ReadFile(filepath.Join(s.dir, name))
		must(t, err)
		s.need(name, strings.Split(string(text), "\n")[1])
	}
	for i, key := range s.keys {
		s.need(fmt.Sprint("key ", i), key[strings.LastIndexByte(key, '_')+1:])
	}
	for id, password := range s.secrets {
		s.need("the password of "+string(id), password)
	}
	return s
}

func (s *secretive) need(what, text string) {
	if len(text) < 8 {
		s.t.Fatalf("%s is %q", what, text)
	}
	s.needles[what] = text
}

// sells makes confirmed sales, one in quarantine, and a device that says what it
// should keep to itself wherever it can.
func (s *secretive) sells(t *testing.T) {
	t.Helper()
	c := s.connect("pump-01", 5, topic("pump-01", "receipt"))
	report(t, c, 1, "sale", fmt.Sprintf(wholeEvent, "good"))
	hears(t, c, "good", "completed")
	s.sandbox.Inject(sandbox.Fault{Step: sandbox.StepComplete, Action: sandbox.Answer, Status: 422, Times: 1,
		Body: fmt.Sprintf(`{"code":"validation_error","message":"%s is refused with 4111 1111 1111 1111 and password %s","param":"x"}`, s.keys[0], s.secrets["pump-01"])})
	report(t, c, 2, "sale", strings.TrimSuffix(fmt.Sprintf(wholeEvent, "bad"), "}")+`,"metadata":{"customer":"Mrs Miller","pan":"`+pan+`"}}`)
	hears(t, c, "bad", "quarantined")
	must(t, c.Publish(topic("pump-01", "status"), 1, 3, fmt.Sprintf(`{"card":%s,"password":"correct horse battery","note":%q,"url":"http://tech:%s@10.0.0.9/","esc":"\u006ffk_reg_live_%s"}`, pan, s.keys[1], proxyPassword, s.needles["key 0"])))
	await(t, "the status", func() bool {
		d, err := s.Device(t.Context(), "pump-01")
		return err == nil && len(d.Status) > 0
	})
	s.log.Error("a line that should never be", "key", s.keys[0], "cause", errors.New("proxy http://tech:"+proxyPassword+"@127.0.0.1:1 refuses"), "secret", s.secrets["pump-02"], "card", pan)
}

// quiet demands that no secret is in any file of a bundle.
func (s *secretive) quiet(t *testing.T, when string, u unpacked) {
	t.Helper()
	for name, text := range u.files {
		plain := strings.NewReplacer(" ", "", "-", "").Replace(text)
		for what, needle := range s.needles {
			if strings.Contains(text, needle) || what == "a card's number" && strings.Contains(plain, needle) {
				t.Errorf("%s: %s holds %s", when, name, what)
			}
		}
		for _, never := range []string{"ofk_reg_", "PRIVATE KEY-----", "Mrs Miller"} {
			if strings.Contains(text, never) {
				t.Errorf("%s: %s holds %s", when, name, never)
			}
		}
	}
}

// A site with every kind of secret: none of them is in any file of its bundle, while
// the gateway runs, without an uplink, and where no gateway runs.
func TestSupportBundleHoldsNoSecret(t *testing.T) {
	s := secretiveSite(t)
	s.sells(t)
	u := s.bundle()
	s.quiet(t, "online", u)
	if len(u.Missing) > 0 || !u.Running || u.Clock != "synchronised" || u.By != "cli:tom" {
		t.Errorf("online: %+v, missing %+v", u.About, u.Missing)
	}
	for name, want := range map[string]string{
		"doctor.txt": "database_integrity", "doctor.json": `"check": "mqtt_publish"`, "status.json": `"accepted": 2`, "conditions.json": `"card_data"`, "queues.json": `"reg_pump-01"`,
		"devices.json": `"************1111"`, "quarantine.json": "validation_error", "sales.json": `"total": 7622`, "audit.jsonl": `"what":"support bundle made"`, "config.json": `"key": "openfiskal.proxy"`,
		"metrics.txt": "edgegw_card_data_total 1", "log.txt": "a line that should never be", "build.json": `"GOARCH"`, "goroutines.txt": "goroutine profile", "database.json": `"quick_check": "ok: `, "files.json": `"edgegw.db"`,
	} {
		if !strings.Contains(u.files[name], want) {
			t.Errorf("%s has no %s: %.300s", name, want, u.files[name])
		}
	}
	if trail := strings.Split(strings.TrimSpace(u.files["audit.jsonl"]), "\n"); !strings.Contains(trail[len(trail)-1], "support bundle made") || !strings.Contains(trail[0], `"no":1,`) {
		t.Errorf("the audit trail is in another order: %q", trail)
	}
	if redacted := slices.IndexFunc(u.Files, func(f support.File) bool { return f.Name == "log.txt" && f.Redacted }); redacted < 0 {
		t.Error("the manifest does not say that the log was redacted")
	}
	s.off()
	s.quiet(t, "stopped", s.stopped())

	env := "EDGEGW_OPENFISKAL_PROXY=http://tech:" + proxyPassword + "@127.0.0.1:1"
	c, err := config.Load(config.Options{Flags: s.flags, Env: []string{env}, Search: []string{}})
	must(t, err)
	g, err := New(t.Context(), c, s.options)
	must(t, err)
	_, err = g.CheckKey(t.Context(), admin.KeyOf{DeviceID: "pump-01"}) // … and finds no way to OpenFiskal
	must(t, err)
	var out bytes.Buffer
	must(t, g.SupportBundle(t.Context(), &out, "cli:tom"))
	must(t, g.Close())
	u = unpack(t, out.Bytes())
	s.quiet(t, "with a proxy that is not there", u)
	if !strings.Contains(u.files["config.json"], `"http://[redacted]@127.0.0.1:1"`) || !strings.Contains(u.files["doctor.txt"], "failed") {
		t.Errorf("the proxy is not as it should be: %s", u.files["config.json"])
	}
	u = s.stopped(env)
	s.quiet(t, "stopped, with a proxy", u)
	if missing := u.missing(); !slices.Equal(missing, []string{"metrics.txt", "log.txt"}) || u.Running || !strings.Contains(u.files["sales.json"], `"bad"`) {
		t.Errorf("stopped: missing %v", missing)
	}
}

// What cannot be read is said, and what can be said is said: of data that another
// process has, of a database that is none, and where nothing can be written.
func TestSupportBundleOfABrokenSite(t *testing.T) {
	sick := &atomic.Bool{}
	s := secretiveSite(t)
	s.off()
	s.options.Disk = func(c driver.Connector) driver.Connector { return sickDisk{c, sick} }
	s.on()
	u := s.stopped() // the gateway has the data
	s.quiet(t, "in use", u)
	if len(u.Notes) != 2 || !strings.Contains(u.Notes[0], "another edgegw is using it") || len(u.Files) != 5 {
		t.Errorf("in use: %+v", u.Manifest)
	}
	sick.Store(true)
	u = s.bundle()
	s.quiet(t, "with a sick disk", u)
	if len(u.Notes) != 1 || !strings.Contains(u.Notes[0], "the disk is sick") || len(u.Missing) > 0 {
		t.Errorf("with a sick disk: %+v", u.Manifest)
	}
	sick.Store(false)
	s.off()
	must(t, os.RemoveAll(filepath.Join(s.dir, store.FileName+"-wal")))
	must(t, os.WriteFile(filepath.Join(s.dir, store.FileName), bytes.Repeat([]byte("no database "), 1000), 0o600))
	u = s.stopped()
	s.quiet(t, "with a database that is none", u)
	var names []string
	for _, f := range u.Files {
		names = append(names, f.Name)
	}
	if !slices.Equal(names, []string{"doctor.txt", "doctor.json", "config.json", "build.json", "files.json"}) || !strings.Contains(u.files["doctor.txt"], "database_opens") {
		t.Errorf("with a database that is none: %v", names)
	}
}

// One part that fails does not fail the others.
func TestSupportBundleWithoutTime(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	defer s.off()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	must(t, s.SupportBundle(ctx, &out, "cli:tom"))
	u := unpack(t, out.Bytes())
	if missing := u.missing(); !slices.Contains(missing, "sales.json") || slices.Contains(missing, "build.json") || !strings.Contains(u.files["config.json"], "data_dir") {
		t.Errorf("missing %v", missing)
	}
}

// A huge log and a long audit trail: the bundle is small, and has the newest of both.
func TestSupportBundleOfALongLife(t *testing.T) {
	s := newSite(t, sandbox.Options{})
	s.options.Log = slog.New(slog.DiscardHandler)
	s.keepsLog()
	s.on()
	defer s.off()
	lines := 100_000
	if testing.Short() {
		lines = 2000
	}
	var wg sync.WaitGroup
	for worker := range 100 { // they share their commits
		wg.Go(func() {
			for i := range lines / 100 {
				must(t, s.db.LoginsInVain(t.Context(), fmt.Sprintf("10.0.%d.%d", worker, i), 1, time.Now()))
			}
		})
	}
	wg.Wait()
	for i := range 50_000 {
		s.log.Info("a line that is like all the others, and there are many", "number", i, "register", "reg_01HXYZABCDEFGHJKMNPQRSTVWX")
	}
	u := s.bundle()
	if n := strings.Count(u.files["audit.jsonl"], "\n"); n != bundleAudit || !strings.HasSuffix(u.files["audit.jsonl"], "\"detail\":\"\"}\n") {
		t.Errorf("the audit trail has %d lines", n)
	}
	if log := u.files["log.txt"]; len(log) < 1<<20 || len(log) > 2<<20 || !strings.Contains(log[len(log)-4000:], "number=49999") {
		t.Errorf("the log has %d bytes", len(log))
	}
}

// A technician takes a bundle with his browser, over TLS; the audit trail names him.
func TestSupportBundleOverThePage(t *testing.T) {
	s := newAPISite(t)
	defer s.off()
	b := s.surf()
	if status, at, _ := b.send("/support/bundle", url.Values{}); status != 200 || at != "/claim" {
		t.Errorf("a stranger: %d at %s", status, at)
	}
	if status, at, _ := b.send("/claim", url.Values{"code": {s.claim().Code}, "name": {"anna"}, "password": {ownersPassword}, "again": {ownersPassword}}); status != 200 || at != "/" {
		t.Fatalf("the claim: %d at %s", status, at)
	}
	status, _, whole := b.send("/support/bundle", url.Values{})
	if status != 200 {
		t.Fatalf("%d: %.500s", status, whole)
	}
	u := unpack(t, []byte(whole))
	if u.By != "person:anna" || !strings.Contains(u.files["audit.jsonl"], `"who":"person:anna","what":"support bundle made"`) {
		t.Errorf("%+v", u.About)
	}
	for name, text := range u.files {
		if strings.Contains(text, ownersPassword) {
			t.Errorf("%s holds the password", name)
		}
	}
}
