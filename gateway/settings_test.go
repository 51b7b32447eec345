package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"edgegw/admin"
	"edgegw/config"
	"edgegw/fiscal/sandbox"
)

// settled is a site whose gateways follow one another in one process, as edgegw
// run has them.
type settled struct {
	*testSite
	began chan *Gateway // each that begins
	limit chan time.Time
	waits chan time.Duration // for what is asked to be waited
	env   []string
}

// onFile is a site whose listeners stand in the configuration file, where
// settings count more.
func onFile(t *testing.T) *settled {
	t.Helper()
	s := &settled{testSite: newSite(t, sandbox.Options{}), began: make(chan *Gateway, 10), limit: make(chan time.Time), waits: make(chan time.Duration, 10)}
	file := fmt.Sprintf("site:\n  name: test\nmqtt:\n  tls_listen: 127.0.0.1:0\nhttp:\n  listen: 127.0.0.1:0\nopenfiskal:\n  base_url: %s\n", s.server.URL())
	for _, key := range []string{"site.name", "mqtt.tls_listen", "http.listen", "openfiskal.base_url"} {
		delete(s.flags, key)
	}
	if err := os.WriteFile(s.file(), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	s.options.Trial = func(d time.Duration) <-chan time.Time {
		s.waits <- d
		return s.limit
	}
	return s
}

func (s *settled) file() string { return s.dir + ".yaml" }

func (s *settled) load() config.Config {
	s.t.Helper()
	c, err := config.Load(config.Options{File: s.file(), Flags: s.flags, Env: s.env})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// serve begins the first gateway.
func (s *settled) serve() *settled {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s.stop, s.ended = cancel, make(chan error, 1)
	s.t.Cleanup(cancel)
	c := s.load()
	go func() {
		s.ended <- Serve(ctx, c, func(c config.Config, l Legacy) (*Gateway, error) {
			o := s.options
			o.Legacy = l
			g, err := New(ctx, c, o)
			if err == nil {
				s.began <- g
			}
			return g, err
		})
	}()
	s.next()
	return s
}

// next waits for a gateway to begin.
func (s *settled) next() {
	s.t.Helper()
	select {
	case s.Gateway = <-s.began:
	case err := <-s.ended:
		s.t.Fatalf("no gateway began: %v", err)
	case <-time.After(time.Minute):
		s.t.Fatal("no gateway began")
	}
}

// change asks for a change, as a technician does.
func (s *settled) change(set map[string]string) admin.ChangedSettings {
	s.t.Helper()
	done, err := s.client().ChangeSettings(s.t.Context(), admin.SettingsChange{Set: set}, "person:olga")
	if err != nil {
		s.t.Fatal(err)
	}
	return done
}

func (s *settled) client() *admin.Client {
	s.t.Helper()
	var c *admin.Client
	await(s.t, "the socket", func() bool {
		var err error
		c, err = admin.Dial(filepath.Join(s.dir, admin.SocketName))
		return err == nil
	})
	s.t.Cleanup(func() { c.Close() })
	return c
}

// tells is what the history says, the oldest first.
func (s *settled) tells(want ...string) []admin.SettingsRecord {
	s.t.Helper()
	all, err := readHistory(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	var got []string
	for _, r := range all {
		got = append(got, r.What)
	}
	if !slices.Equal(got, want) {
		s.t.Errorf("the history says %v, want %v", got, want)
	}
	return all
}

func (s *settled) conditions() (all []string) {
	s.t.Helper()
	st, err := s.Status(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, c := range st.Conditions {
		if strings.HasPrefix(c.Code, "settings_") {
			all = append(all, c.Code)
		}
	}
	return all
}

func (s *settled) holds(want ...string) {
	s.t.Helper()
	if got := s.conditions(); !slices.Equal(got, want) {
		s.t.Errorf("what is said of the settings is %v, want %v", got, want)
	}
}

// free finds a port that nobody has.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// answers reports whether devices are let in at an address.
func (s *settled) answers(addr string) bool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.authority.CAPEM())
	c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool, ServerName: "localhost"})
	if err != nil {
		return false
	}
	c.Close()
	return true
}

func TestAChangeIsConfirmedAndStays(t *testing.T) {
	s := onFile(t).serve()
	s.add("pump-01")
	before, code := s.tlsAddr.String(), s.claim().Code
	addr := free(t)
	done := s.change(map[string]string{"mqtt.tls_listen": addr, "site.name": "Station 12"})
	if want := []string{admin.EffectRestart, admin.EffectDevices}; !slices.Equal(done.Effects, want) || len(done.Changes) != 2 || done.Until.IsZero() {
		t.Errorf("got %+v, want effects %v", done, want)
	}
	s.next()
	if !s.answers(addr) || s.answers(before) || s.config.Site.Name != "Station 12" {
		t.Errorf("the listener is not where it should be: %s, before %s", s.tlsAddr, before)
	}
	if s.claim().Code != code {
		t.Error("the code that claims the page has changed under whoever holds it")
	}
	s.holds("settings_unconfirmed")
	if d := <-s.waits; d != 2*time.Minute {
		t.Errorf("it is on trial for %s", d)
	}
	if _, err := s.client().ChangeSettings(t.Context(), admin.SettingsChange{Set: map[string]string{"site.name": "x"}}, ""); codeOf(err) != "conflict" {
		t.Errorf("a change while one is on trial: %v", err)
	}
	if err := s.client().ConfirmSettings(t.Context(), "person:olga"); err != nil {
		t.Fatal(err)
	}
	if err := s.client().ConfirmSettings(t.Context(), "person:olga"); codeOf(err) != "conflict" {
		t.Errorf("confirmed twice: %v", err)
	}
	s.holds()
	all := s.tells("tried", "confirmed")
	if all[1].By != "person:olga" || all[1].Values["site.name"] != "Station 12" || all[1].Changes[0].Old != "test" && all[1].Changes[1].Old != "test" {
		t.Errorf("got %+v", all[1])
	}
	s.off()
	s.serve()
	if !s.answers(addr) || s.config.Site.Name != "Station 12" || s.config.Origin("site.name").Source != config.FromSettings {
		t.Errorf("after a start it is %s at %s", s.config.Site.Name, s.tlsAddr)
	}
	s.off()
}

func codeOf(err error) string {
	var f *admin.Refusal
	if errors.As(err, &f) {
		return f.Code
	}
	return ""
}

// A register key can be opened after the change, although nobody gave the
// key-encryption key a second time; what was acknowledged before it is sent once.
func TestAChangeThatNobodyConfirmsIsUndone(t *testing.T) {
	s := onFile(t)
	kek := strings.Repeat("0f1e2d3c4b5a6978", 4)
	s.env = []string{"EDGEGW_VAULT_KEK=" + kek}
	s.serve()
	s.config.Vault.KEK.Wipe() // as edgegw run does
	s.add("pump-01")
	s.sandbox.SetDown(true)
	c := s.connect("pump-01", 5, topic("pump-01", "sale/ack"))
	var want []sandbox.Expect
	for i := range 20 {
		id := fmt.Sprintf("s%d", i)
		if err := c.Publish(topic("pump-01", "sale"), 1, uint16(i+1), fmt.Sprintf(wholeEvent, id)); err != nil {
			t.Fatal(err)
		}
		want = append(want, sandbox.Expect{Register: "reg_pump-01", ExternalID: id, Total: 7622})
	}
	await(t, "the sales to be acknowledged", func() bool { st, err := s.Status(t.Context()); return err == nil && st.Totals.Waiting == 20 })
	before, addr := s.config.MQTT.TLSListen, free(t)
	s.change(map[string]string{"mqtt.tls_listen": addr})
	s.next()
	if !s.answers(addr) {
		t.Error("the change does not count")
	}
	<-s.waits
	s.limit <- time.Time{}
	s.next()
	if s.answers(addr) || s.config.MQTT.TLSListen != before {
		t.Error("the change still counts")
	}
	s.holds("settings_undone")
	s.tells("tried", "expired")
	s.sandbox.SetDown(false)
	await(t, "the sales to be sent", func() bool { st, err := s.Status(t.Context()); return err == nil && st.Totals.Confirmed == 20 })
	if err := s.sandbox.Check(want); err != nil {
		t.Error(err)
	}
	s.off()
	if _, err := os.Stat(filepath.Join(s.dir, config.SettingsFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was kept: %v", err)
	}
}

func TestAPersonUndoesAChange(t *testing.T) {
	s := onFile(t).serve()
	if err := s.client().UndoSettings(t.Context(), ""); codeOf(err) != "conflict" {
		t.Errorf("nothing to undo: %v", err)
	}
	s.change(map[string]string{"site.name": "Station 12"})
	s.next()
	if err := s.client().UndoSettings(t.Context(), "cli:root"); err != nil {
		t.Fatal(err)
	}
	s.next()
	if s.config.Site.Name != "test" {
		t.Errorf("the site is still called %s", s.config.Site.Name)
	}
	s.holds()
	if all := s.tells("tried", "undone"); all[1].By != "cli:root" {
		t.Errorf("by %s", all[1].By)
	}
	s.off()
}

// A gateway that cannot begin with a change never leaves the site without one.
func TestAChangeThatCannotBegin(t *testing.T) {
	s := onFile(t).serve()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	before := s.config.MQTT.TLSListen
	s.change(map[string]string{"mqtt.tls_listen": taken.Addr().String()})
	s.next()
	if s.config.MQTT.TLSListen != before || !s.answers(s.tlsAddr.String()) {
		t.Errorf("the former settings are not back: %s", s.config.MQTT.TLSListen)
	}
	s.holds("settings_undone")
	if all := s.tells("tried", "failed"); !strings.Contains(all[1].Why, "is another program using the port?") {
		t.Errorf("it says %q", all[1].Why)
	}
	s.change(map[string]string{"site.name": "Station 12"}) // the next one goes
	s.next()
	s.off()
}

// A process that dies in the two minutes has undone the change: what it is
// started with is what was confirmed last.
func TestAPowerCutUndoesAChange(t *testing.T) {
	s := onFile(t).serve()
	s.change(map[string]string{"site.name": "Station 11"})
	s.next()
	if err := s.client().ConfirmSettings(t.Context(), "cli:root"); err != nil {
		t.Fatal(err)
	}
	s.change(map[string]string{"site.name": "Station 12"})
	s.next()
	s.off()
	s.serve()
	if s.config.Site.Name != "Station 11" {
		t.Errorf("the site is called %s", s.config.Site.Name)
	}
	s.holds("settings_undone")
	s.tells("tried", "confirmed", "tried", "interrupted")
	s.off()
	s.serve()
	s.tells("tried", "confirmed", "tried", "interrupted")
	s.off()
}

// Between the file that keeps a change and the line that says so, the power goes.
func TestAPowerCutWhileConfirming(t *testing.T) {
	s := onFile(t).serve()
	s.change(map[string]string{"site.name": "Station 12"})
	s.next()
	if err := s.config.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	s.off()
	s.serve()
	if s.config.Site.Name != "Station 12" {
		t.Errorf("the site is called %s", s.config.Site.Name)
	}
	s.holds()
	s.tells("tried", "confirmed")
	s.off()
}

func TestDamagedSettingsAreSetAside(t *testing.T) {
	s := onFile(t)
	path := filepath.Join(s.dir, config.SettingsFile)
	if err := os.WriteFile(path, []byte("site:\n  name: \"Stat"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.serve()
	s.holds("settings_damaged")
	if all := s.tells("set_aside"); !strings.Contains(all[0].Why, "is not YAML") {
		t.Errorf("it says %q", all[0].Why)
	}
	s.change(map[string]string{"site.name": "Station 12"})
	s.next()
	if err := s.client().ConfirmSettings(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	s.holds("settings_damaged") // until somebody has looked
	aside, err := filepath.Glob(path + ".bad-*")
	if err != nil || len(aside) != 1 || os.Remove(aside[0]) != nil {
		t.Fatalf("%v, %v", aside, err)
	}
	s.holds()
	s.off()
}

func TestWhatCannotBeChanged(t *testing.T) {
	s := onFile(t)
	s.env = []string{"EDGEGW_OPENFISKAL_TIMEOUT=9s"}
	s.serve()
	p, err := s.client().PreviewSettings(t.Context(), admin.SettingsChange{Reset: []string{"site.name"}, Set: map[string]string{
		"openfiskal.timeout": "8s", "openfiskal.requests_per_second": "7", "openfiskal.topology": "server_side", "vault.kek": "x", "nonsense": "x", "mqtt.max_connections": "many", "log.level": "debug"}})
	if err != nil || len(p.Changes) != 0 || len(p.Effects) != 0 {
		t.Fatalf("%+v, %v", p, err)
	}
	why := map[string]string{}
	for _, r := range p.Refused {
		why[r.Key] = r.Why
	}
	for key, want := range map[string]string{"openfiskal.timeout": "EDGEGW_OPENFISKAL_TIMEOUT: change it there", "openfiskal.requests_per_second": "on the command line", "openfiskal.topology": "needs other keys",
		"vault.kek": "secret", "": "unknown key", "mqtt.max_connections": "not a whole number", "site.name": "was not changed on this box"} {
		if !strings.Contains(why[key], want) {
			t.Errorf("%s: %q, want %q", key, why[key], want)
		}
	}
	if len(p.Refused) != 7 {
		t.Errorf("%d are refused: %+v", len(p.Refused), p.Refused)
	}
	if _, err := s.client().ChangeSettings(t.Context(), admin.SettingsChange{Set: map[string]string{"data_dir": "/x"}}, ""); codeOf(err) != "setting_refused" {
		t.Errorf("got %v", err)
	}
	if _, err := s.client().ChangeSettings(t.Context(), admin.SettingsChange{Set: map[string]string{"site.name": "ofk_live_CANARY1234567890"}}, ""); codeOf(err) != "invalid" || strings.Contains(err.Error(), "CANARY") {
		t.Errorf("got %v", err)
	}
	if _, err := s.client().ChangeSettings(t.Context(), admin.SettingsChange{}, ""); codeOf(err) != "conflict" {
		t.Errorf("no change: %v", err)
	}
	s.tells()
	s.off()
}

// A gateway that nobody would follow, as that of the demo, does not end for a
// change.
func TestAGatewayWithoutASuccessorStays(t *testing.T) {
	s := newSite(t, sandbox.Options{}).on()
	_, err := s.ChangeSettings(t.Context(), admin.SettingsChange{Set: map[string]string{"log.level": "debug"}}, "")
	if codeOf(err) != "not_ready" || s.successor.Load() != nil {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, trialFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a trial was left: %v", err)
	}
	s.off()
}

// Where no gateway runs, a change is for the next start.
func TestAChangeWithoutAGateway(t *testing.T) {
	s := onFile(t)
	s.serve()
	s.off()
	for i, name := range []string{"Station 11", "Station 12"} {
		b, err := OpenOffline(t.Context(), s.load(), s.options)
		if err != nil {
			t.Fatal(err)
		}
		done, err := b.ChangeSettings(t.Context(), admin.SettingsChange{Set: map[string]string{"site.name": name}}, "cli:root")
		if err != nil || !done.Until.IsZero() || !slices.Equal(done.Effects, []string{admin.EffectNextStart}) {
			t.Errorf("%d: %+v, %v", i, done, err)
		}
		if err := b.ConfirmSettings(t.Context(), ""); codeOf(err) != "conflict" {
			t.Errorf("confirmed: %v", err)
		}
		b.Close()
	}
	s.serve()
	all := s.tells("written", "written")
	now, err := s.client().Settings(t.Context())
	if err != nil || s.config.Site.Name != "Station 12" || now.Changed != 1 {
		t.Fatalf("%s, %+v, %v", s.config.Site.Name, now, err)
	}
	back := admin.RollBack(now, all[0])
	if len(back.Reset) != 0 || back.Set["site.name"] != "Station 11" || len(back.Set) != 1 {
		t.Errorf("back to 1: %+v", back)
	}
	if back := admin.RollBack(now, admin.SettingsRecord{}); len(back.Set) != 0 || !slices.Equal(back.Reset, []string{"site.name"}) {
		t.Errorf("back to the beginning: %+v", back)
	}
	s.off()
}

// settingsAsked asks a site about its settings, and judges what it answers.
func settingsAsked(t *testing.T) map[string]bool {
	s := onFile(t).serve()
	defer s.off()
	d := describedSite(t, s.testSite)
	d.ask(200, "GET", "/settings", "")
	d.ask(200, "POST", "/settings/preview", `{"set":{"site.name":"x","data_dir":"/x"},"reset":["log.level"]}`)
	d.ask(400, "POST", "/settings/preview", `{"set":{"site.name":7}}`)
	d.ask(422, "PUT", "/settings", `{"set":{"data_dir":"/x"}}`)
	d.ask(409, "POST", "/settings/confirm", "")
	d.ask(200, "PUT", "/settings", `{"set":{"site.name":"x"}}`)
	s.next()
	d.ask(200, "GET", "/settings", "")
	d.ask(204, "POST", "/settings/confirm", "")
	d.ask(200, "PUT", "/settings", `{"reset":["site.name"]}`)
	s.next()
	d.ask(204, "POST", "/settings/undo", "")
	s.next()
	d.ask(200, "GET", "/settings/history", "")
	return d.asked
}
