package doctor

import (
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"edgegw/wording"
)

var update = flag.Bool("update", false, "write the table of docs/doctor.md anew")

var now = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// healthy is a site that needs nobody.
func healthy() Facts {
	return Facts{
		Now: now, Running: true, Version: "1.0", Asker: "1.0",
		Data:      Data{Dir: "/data", Sync: time.Millisecond, Space: &Space{Free: 10 << 30, Total: 20 << 30, FreeInodes: 1e6, Inodes: 2e6}, MinFree: 256 << 20},
		Database:  &Database{Path: "/data/edgegw.db-wal", Log: 1 << 20},
		Clock:     &Clock{Wall: now, Synchronised: true, Source: "kernel"},
		Uplink:    Uplink{Host: "api.test", Address: "api.test:443", NameHost: "api.test", NameKey: "openfiskal.base_url", Addresses: []string{"192.0.2.1"}, TLS: TLSGood, Issuer: "CN=x", CertEnd: now.AddDate(0, 2, 0)},
		Registers: []Register{{Name: "reg_1", Key: "active"}}, KEK: &KEK{},
		Listeners:    Listeners{Address: "127.0.0.1:8883", Took: time.Millisecond},
		Certificates: &Certificates{Dir: "/data", CA: now.AddDate(20, 0, 0), Server: now.AddDate(10, 0, 0)},
		Box:          Box{Memory: &Use{1 << 30, 4 << 30}, Files: &Use{100, 1 << 20}, MostConns: 10000, KnowsMount: true},
		Config:       Config{File: "/etc/edgegw/edgegw.yaml", Settings: 3},
	}
}

// Each row breaks one thing: the check that must say so, and how.
func TestWhatIsWrongIsNamedAlone(t *testing.T) {
	for _, row := range []struct {
		name, check string
		state       State
		fix         string // essential words
		breaks      func(*Facts)
	}{
		{"no gateway", "gateway_running", Failed, "edgegw run", func(f *Facts) { f.Running = false }},
		{"another version asks", "version", Failed, "Start the gateway again", func(f *Facts) { f.Asker = "2.0" }},
		{"the program was replaced", "version", Failed, "replaced while it ran", func(f *Facts) { f.Replaced = true }},
		{"nothing is configured", "configuration", Notice, "edgegw.yaml", func(f *Facts) { f.Config = Config{} }},
		{"a password for everybody", "configuration", Failed, "chmod 600 /etc/edgegw/edgegw.yaml", func(f *Facts) { f.Config.Loose = true }},
		{"tmpfs", "data_persistent", Failed, "persistent storage", func(f *Facts) { f.Data.Volatile = "tmpfs" }},
		{"read-only", "data_writable", Failed, "writable", func(f *Facts) { f.Data.WriteError = "read-only file system" }},
		{"before the first start", "data_writable", Failed, "edgegw run", func(f *Facts) { f.Data.Missing = true }},
		{"a disk that lies", "data_sync", Notice, "write cache", func(f *Facts) { f.Data.Sync = time.Microsecond }},
		{"full", "disk_space", Failed, "Make room", func(f *Facts) { f.Data.Space.Free = 1 << 20 }},
		{"nearly full", "disk_space", Notice, "Make room", func(f *Facts) { f.Data.Space.Free = 300 << 20 }},
		{"no inodes", "disk_inodes", Failed, "df -i /data", func(f *Facts) { f.Data.Space.FreeInodes = 5 }},
		{"a loose key", "file_modes", Failed, "chmod 600 /data/server-key.pem", func(f *Facts) { f.Data.Loose = []Loose{{"/data/server-key.pem", "0644", "600"}} }},
		{"a damaged page", "database_integrity", Failed, "copy the data directory", func(f *Facts) { f.Database.Damage = "page 7" }},
		{"too large to check", "database_integrity", Notice, "again", func(f *Facts) { f.Database.CutShort = true }},
		{"a long log", "wal_size", Failed, "/data/edgegw.db-wal", func(f *Facts) { f.Database.Log = 200 << 20 }},
		{"the books", "books", Failed, "call support", func(f *Facts) { f.Database.Wrong = "1 + 1 = 3" }},
		{"a wrong clock", "clock", Failed, "NTP", func(f *Facts) { f.Clock.Problem = "it says 1970" }},
		{"no time server", "clock_source", Notice, "timesyncd", func(f *Facts) { f.Clock.Synchronised = false }},
		{"no DNS", "uplink_name", Failed, "getent hosts api.test", func(f *Facts) { f.Uplink.NameError = "no such host" }},
		{"no route", "uplink_route", Failed, "ip route", func(f *Facts) { f.Uplink.RouteError = "network is unreachable" }},
		{"a proxy that is down", "proxy", Failed, "openfiskal.proxy", func(f *Facts) { f.Uplink.Proxy, f.Uplink.ProxyError = "p:3128", "connection refused" }},
		{"a closed port", "uplink_connect", Failed, "firewall", func(f *Facts) { f.Uplink.ConnectError = "connection refused" }},
		{"TLS inspection", "uplink_tls", Failed, "openfiskal.ca_file", func(f *Facts) { f.Uplink.TLS = TLSStranger }},
		{"an expired chain", "uplink_tls", Failed, "must renew its certificate", func(f *Facts) { f.Uplink.TLS = TLSEnded }},
		{"another name", "uplink_tls", Failed, "openfiskal.base_url", func(f *Facts) { f.Uplink.TLS = TLSOtherName }},
		{"no TLS at all", "uplink_tls", Failed, "openssl s_client", func(f *Facts) { f.Uplink.TLS = TLSOther }},
		{"their certificate ends", "uplink_certificate", Notice, "renew", func(f *Facts) { f.Uplink.CertEnd = now.Add(day) }},
		{"a live key at a sandbox", "key_host", Failed, "openfiskal.base_url", func(f *Facts) { f.Registers[0].HostLine = wording.Of("this is a live key") }},
		{"no key", "register_keys", Failed, "edgegw key set reg_1", func(f *Facts) { f.Registers[0].Key = "missing" }},
		{"a refused key", "register_keys", Failed, "new register key", func(f *Facts) { f.Registers[0].Key = "refused" }},
		{"a key nobody asked about", "register_keys", Notice, "edgegw key check reg_1", func(f *Facts) { f.Registers[0].Key = "unverified" }},
		{"the KEK is gone", "kek", Failed, "vault.kek", func(f *Facts) { f.KEK.Problem = "missing" }},
		{"the KEK for everybody", "kek", Failed, "chmod 600 /data/kek", func(f *Facts) { f.KEK.LooseAt, f.KEK.Problem = "/data/kek", "may be read by others" }},
		{"the KEK beside the data", "kek", Notice, "copy of /data/kek", func(f *Facts) { f.KEK.SelfMade = "/data/kek" }},
		{"another KEK", "keys_open", Failed, "edgegw key set reg_1", func(f *Facts) { f.Sealed = []string{"reg_1"} }},
		{"a blocked queue", "queues_blocked", Failed, "edgegw explain reg_1", func(f *Facts) { f.Queues = []Queue{{Register: "reg_1", Blocked: true, Since: now, Why: "404"}} }},
		{"an old call", "queue_age", Failed, "edgegw explain reg_1", func(f *Facts) { f.Queues = []Queue{{Register: "reg_1", Since: now.Add(-time.Hour)}} }},
		{"a call that waits", "queue_age", Notice, "edgegw explain reg_1", func(f *Facts) { f.Queues = []Queue{{Register: "reg_1", Since: now.Add(-2 * time.Minute)}} }},
		{"a poisoned sale", "quarantine", Failed, "edgegw quarantine list", func(f *Facts) { f.Quarantined = 1 }},
		{"a bad message", "quarantine", Failed, "edgegw quarantine list", func(f *Facts) { f.Messages = 1 }},
		{"a taken port", "mqtt_listener", Failed, "ss -ltnp", func(f *Facts) { f.Listeners.ConnectError = "another program answers there" }},
		{"no acknowledgement", "mqtt_publish", Failed, "disk", func(f *Facts) { f.Listeners.PublishError = "EOF" }},
		{"MQTT in clear", "mqtt_plain", Failed, "mqtt.plain_listen", func(f *Facts) { f.Listeners.Plain = ":1883" }},
		{"HTTP in clear", "http_plain", Notice, "http.tls_listen", func(f *Facts) { f.Listeners.HTTP = ":80" }},
		{"the CA ends", "site_ca", Failed, "site-ca.pem", func(f *Facts) { f.Certificates.CA = now.AddDate(0, 1, 0) }},
		{"no renewal", "server_certificate", Failed, "/data", func(f *Facts) { f.Certificates.Trouble = "no space" }},
		{"the operator's ends", "server_certificate", Failed, "mqtt.cert_file", func(f *Facts) { f.Certificates.Operator, f.Certificates.Server = true, now.Add(3*day) }},
		{"a client's ends", "client_certificates", Notice, "edgegw device cert pump-1", func(f *Facts) { f.Certificates.Clients = []Client{{"pump-1", now.Add(20 * day)}} }},
		{"no memory", "memory", Failed, "mem_limit", func(f *Facts) { f.Box.Memory.Used = 4 << 30 }},
		{"few descriptors", "descriptors", Failed, "LimitNOFILE", func(f *Facts) { f.Box.Files.Limit = 256 }},
		{"descriptors for fewer devices", "descriptors", Notice, "10256", func(f *Facts) { f.Box.Files.Limit = 4096 }},
		{"no volume", "container", Notice, "/data", func(f *Facts) { f.Box.Container = "docker" }},
		{"root", "user", Notice, "root", func(f *Facts) { f.Box.Root = true }},
		{"a device fight", "conditions", Failed, "edgegw status", func(f *Facts) { f.Conditions = []Condition{{"device_fight", "two"}} }},
		{"a condition whose check is well", "conditions", Failed, "edgegw status", func(f *Facts) { f.Conditions = []Condition{{"uplink_down", "down"}} }},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := healthy()
			row.breaks(&f)
			for _, c := range Examine(f) {
				switch {
				case c.Check == row.check && (c.State != row.state || !strings.Contains(c.Fix, row.fix)):
					t.Errorf("got %s %q, want %s with %q", c.State, c.Fix, row.state, row.fix)
				case c.Check != row.check && (c.State == Failed || c.State == Notice):
					t.Errorf("%s is %s, too: %s", c.Check, c.State, c.Found)
				}
				wellSaid(t, c)
			}
		})
	}
}

// wellSaid holds every check to its entry: a fix where one is needed, and none that
// the page does not list.
func wellSaid(t *testing.T, c Check) {
	t.Helper()
	i := slices.IndexFunc(Catalogue, func(e Entry) bool { return e.Check == c.Check })
	needs := c.State == Failed || c.State == Notice
	if needs != (c.Fix != "") || c.Found == "." || strings.Contains(c.Fix, "{") {
		t.Errorf("%s is %s, found %q, fix %q", c.Check, c.State, c.Found, c.Fix)
	}
	place := regexp.MustCompile(`\\\{[a-z]+\\\}`)
	if needs && !slices.ContainsFunc(Catalogue[i].Fixes, func(fix string) bool {
		return regexp.MustCompile("^" + place.ReplaceAllString(regexp.QuoteMeta(fix), ".+") + "$").MatchString(c.Fix)
	}) {
		t.Errorf("the catalogue has no such fix of %s: %s", c.Check, c.Fix)
	}
}

func TestAHealthySiteNeedsNobody(t *testing.T) {
	all := Examine(healthy())
	if len(all) != len(Catalogue) || len(all) < 25 || NeedsSomebody(all) {
		t.Fatalf("%d checks, %+v", len(all), all)
	}
	for _, c := range all {
		if c.State != OK {
			t.Errorf("%s is %s: %s", c.Check, c.State, c.Found)
		}
	}
}

// What could not be looked at is never well.
func TestNothingIsKnown(t *testing.T) {
	all := Examine(Facts{Closed: "it is damaged", Now: now})
	if all[0].State != Failed {
		t.Errorf("the failed are not first: %+v", all[0])
	}
	well := map[string]bool{}
	for _, c := range all {
		well[c.Check] = c.State == OK
	}
	for _, check := range []string{"database_opens", "database_integrity", "wal_size", "books", "clock", "register_keys", "kek", "keys_open",
		"queues_blocked", "queue_age", "quarantine", "mqtt_listener", "mqtt_publish", "site_ca", "server_certificate", "memory", "descriptors", "disk_space", "conditions"} {
		if well[check] {
			t.Errorf("%s is well, and nobody has looked", check)
		}
	}
}

// A condition is left out only where its own check has failed.
func TestAConditionIsSaidOnce(t *testing.T) {
	f := healthy()
	f.Registers[0].Key = "refused"
	f.Conditions = []Condition{{"key_refused", "refused"}}
	for _, c := range Examine(f) {
		if (c.State == Failed) != (c.Check == "register_keys") {
			t.Errorf("%s is %s", c.Check, c.State)
		}
	}
	for code, checks := range said {
		for _, check := range checks {
			if !slices.ContainsFunc(Catalogue, func(e Entry) bool { return e.Check == check }) {
				t.Errorf("%s is said by %s, which does not exist", code, check)
			}
		}
	}
}

const page = "../docs/doctor.md"

// The page that people read is made from what the command says.
func TestThePageListsEveryCheck(t *testing.T) {
	const begin, end = "<!-- checks: made from the code -->\n", "<!-- end of checks -->"
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	from, to := strings.Index(text, begin), strings.Index(text, end)
	if from < 0 || to < from {
		t.Fatalf("%s has no place for the checks", page)
	}
	var table strings.Builder
	table.WriteString("\n| check | what is looked at | what to do |\n|---|---|---|\n")
	code := regexp.MustCompile(`\{([a-z]+)\}`)
	for _, e := range Catalogue {
		fixes := code.ReplaceAllStringFunc(strings.Join(e.Fixes, "<br>"), func(s string) string { return strings.ToUpper(strings.Trim(s, "{}")) })
		table.WriteString("| `" + e.Check + "` | **" + e.Title + "**: " + e.Looks + " | " + fixes + " |\n")
	}
	want := text[:from+len(begin)] + table.String() + "\n" + text[to:]
	if want == text {
		return
	}
	if !*update {
		t.Fatalf("%s differs from the code; write it anew: go test ./doctor -run TestThePageListsEveryCheck -update", page)
	}
	if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}
