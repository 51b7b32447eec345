package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"edgegw/secret"
)

// quiet is a machine with no file and no variables.
func quiet() Options { return Options{Search: []string{}, Hostname: "forecourt-3"} }

func writeTemp(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "edgegw.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaultsAreTheContracts(t *testing.T) {
	got, err := Load(quiet())
	if err != nil {
		t.Fatal(err)
	}
	got.origins = nil // the rest is that of no settings
	if !got.OpenFiskal.Proxy.Equal(secret.FromString("system")) {
		t.Error("openfiskal.proxy is not system")
	}
	got.OpenFiskal.Proxy = secret.Text{} // DeepEqual holds no two functions equal
	want := Config{
		Site:    Site{Name: "forecourt-3"},
		DataDir: "./data",
		MQTT:    MQTT{TLSListen: ":8883", MaxConnections: 10000, MaxConnectionsPerAddress: 5000, MaxPacketBytes: 65536, MessagesPerSecond: 50},
		OpenFiskal: OpenFiskal{BaseURL: "https://api.openfiskal.com/v1", Timeout: 10 * time.Second,
			Concurrency: 32, RequestsPerSecond: 100, IdempotencyWindow: 20 * time.Hour, OnRejected: StepOver, Topology: DeviceDirect},
		HTTP:  HTTP{Listen: "127.0.0.1:8080"},
		Store: Store{MinFreeBytes: 256 << 20, RetainConfirmed: 90 * 24 * time.Hour},
		Log:   Log{Level: slog.LevelInfo, Format: "json"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestTerminalLogsText(t *testing.T) {
	o := quiet()
	o.Terminal = true
	c, err := Load(o)
	if err != nil || c.Log.Format != "text" {
		t.Errorf("got %q, %v; want text", c.Log.Format, err)
	}
}

// TestEveryKeyFromEverySource gives each key a value that differs from its
// default by file, by environment and by flag, and looks for it in the struct.
func TestEveryKeyFromEverySource(t *testing.T) {
	other := map[string]string{
		"site.name": `"Station 7"`, "data_dir": "/data", "mqtt.tls_listen": "10.0.0.1:8884", "mqtt.plain_listen": "localhost:1883",
		"mqtt.cert_file": "c.pem", "mqtt.key_file": "k.pem", "mqtt.tls_hosts": "pos.example, 10.0.0.9", "mqtt.max_connections": "7000",
		"mqtt.max_connections_per_address": "70", "mqtt.max_packet_bytes": "128 KiB", "mqtt.messages_per_second": "9",
		"openfiskal.base_url": "http://127.0.0.1:9090/v1/", "openfiskal.ca_file": "ca.pem", "openfiskal.proxy": "http://u:p@proxy:3128",
		"openfiskal.timeout": "1m30s", "openfiskal.concurrency": "3", "openfiskal.requests_per_second": "4",
		"openfiskal.idempotency_window": "24h", "openfiskal.on_rejected": "block", "http.listen": `"[::1]:80"`, "http.tls_listen": `":8443"`,
		"vault.kek": `"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"`, "vault.kek_file": "/run/kek", "vault.previous_kek": `"ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"`,
		"vault.previous_kek_file": "/run/old", "openfiskal.topology": "server_side", "openfiskal.organization": "org_01HXYZ", "store.min_free_bytes": "1GiB", "store.retain_confirmed": "1d12h",
		"store.mirror_dir": "/mnt/stick", "store.mirror_bytes": "1GiB",
		"allow_volatile_data": "true", "log.level": "debug", "log.format": "text",
	}
	base, err := Load(quiet())
	if err != nil {
		t.Fatal(err)
	}
	partner := map[string]string{"openfiskal.topology": "openfiskal.organization", "mqtt.cert_file": "mqtt.key_file", "mqtt.key_file": "mqtt.cert_file"}
	for _, k := range known {
		_, ok := other[k.path]
		if !ok {
			t.Errorf("%s: no value in this test", k.path)
			continue
		}
		for _, source := range []Source{FromFile, FromEnvironment, FromFlag} {
			if source == FromFlag && (k.isKEK() || k.path == "openfiskal.proxy") {
				continue // refused: see the table of faults
			}
			o := quiet()
			for _, path := range []string{k.path, partner[k.path]} {
				if path == "" {
					continue
				}
				kk, _ := findKey(path)
				plain := strings.Trim(other[path], `"`)
				switch section, leaf, nested := strings.Cut(path, "."); {
				case source == FromEnvironment:
					o.Env = append(o.Env, kk.env()+"="+plain)
				case source == FromFlag:
					if o.Flags == nil {
						o.Flags = map[string]string{}
					}
					o.Flags[path] = plain
				case path == k.path && nested:
					o.File = writeTemp(t, fmt.Sprintf("%s:\n  %s: %s\n", section, leaf, other[path]))
				case path == k.path:
					o.File = writeTemp(t, fmt.Sprintf("%s: %s\n", path, other[path]))
				default:
					o.Env = append(o.Env, kk.env()+"="+plain)
				}
			}
			c, err := Load(o)
			if err != nil {
				t.Errorf("%s from %s: %v", k.path, source, err)
				continue
			}
			if reflect.DeepEqual(k.field(&c), k.field(&base)) {
				t.Errorf("%s from %s: the struct still holds the default %v", k.path, source, reflect.ValueOf(k.field(&c)).Elem())
			}
			if got := c.Origin(k.path).Source; got != source {
				t.Errorf("%s: origin is %q, want %q", k.path, got, source)
			}
		}
	}
}

func TestLaterSourcesWin(t *testing.T) {
	o := quiet()
	o.File = writeTemp(t, "openfiskal:\n  timeout: 3s\n  concurrency: 3\n  requests_per_second: 3\n")
	o.Env = []string{"PATH=/bin", "EDGEGW_OPENFISKAL_TIMEOUT=4s", "EDGEGW_OPENFISKAL_CONCURRENCY=4"}
	o.Flags = map[string]string{"openfiskal.timeout": "5s"}
	c, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	if c.OpenFiskal.Timeout != 5*time.Second || c.OpenFiskal.Concurrency != 4 || c.OpenFiskal.RequestsPerSecond != 3 {
		t.Errorf("got %+v, want timeout 5s by flag, concurrency 4 by environment, requests 3 by file", c.OpenFiskal)
	}
	want := map[string]Origin{
		"openfiskal.timeout":             {Key: "openfiskal.timeout", Value: "5s", Source: FromFlag, Where: "flag openfiskal.timeout"},
		"openfiskal.concurrency":         {Key: "openfiskal.concurrency", Value: "4", Source: FromEnvironment, Where: "EDGEGW_OPENFISKAL_CONCURRENCY"},
		"openfiskal.requests_per_second": {Key: "openfiskal.requests_per_second", Value: "3", Source: FromFile, Where: o.File + ":4"},
		"openfiskal.on_rejected":         {Key: "openfiskal.on_rejected", Value: "step_over", Source: FromDefault},
	}
	for path, w := range want {
		if got := c.Origin(path); got != w {
			t.Errorf("origin of %s: got %+v, want %+v", path, got, w)
		}
	}
}

func TestSearchOrder(t *testing.T) {
	dir := t.TempDir()
	file := func(n string) string {
		p := filepath.Join(dir, n)
		if err := os.WriteFile(p, []byte("site:\n  name: "+n+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	flag, env, first, second, absent := file("flag"), file("env"), file("first"), file("second"), filepath.Join(dir, "absent")
	for _, row := range []struct {
		name string
		o    Options
		want string // site.name, or "" for an error
	}{
		{"--config before EDGEGW_CONFIG", Options{File: flag, Env: []string{"EDGEGW_CONFIG=" + env}, Search: []string{first}}, "flag"},
		{"EDGEGW_CONFIG before the search", Options{Env: []string{"EDGEGW_CONFIG=" + env}, Search: []string{first}}, "env"},
		{"an empty EDGEGW_CONFIG is none", Options{Env: []string{"EDGEGW_CONFIG="}, Search: []string{first}}, "first"},
		{"the first of the search", Options{Search: []string{first, second}}, "first"},
		{"the second where the first is absent", Options{Search: []string{absent, second}}, "second"},
		{"no file at all", Options{Search: []string{absent}, Hostname: "host"}, "host"},
		{"--config must exist", Options{File: absent, Search: []string{first}}, ""},
		{"EDGEGW_CONFIG must exist", Options{Env: []string{"EDGEGW_CONFIG=" + absent}, Search: []string{first}}, ""},
		{"a directory is no file", Options{File: dir}, ""},
		{"a found directory is no file", Options{Search: []string{dir, second}}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, err := Load(row.o)
			if got := c.Site.Name; got != row.want || (err != nil) != (row.want == "") {
				t.Errorf("got %q, %v; want %q", got, err, row.want)
			}
		})
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	const kek, password = "CANARYKEKCANARYKEKCANARYKEKCANARYKEKCANARYA=", "CANARYPASSWORD" // 32 bytes of base64
	o := quiet()
	o.Env = []string{"EDGEGW_VAULT_KEK=" + kek, "EDGEGW_OPENFISKAL_PROXY=http://user:" + password + "@proxy:3128"}
	c, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	if string(c.Vault.KEK.Reveal()) != kek {
		t.Fatal("the KEK did not arrive")
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%v %+v %#v %v %+v", c, c, c, &c, c.Origins())
	for _, v := range []any{c, c.Origins(), Describe()} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("configuration", "config", c, "origins", c.Origins())
	slog.New(slog.NewJSONHandler(&out, nil)).Info("configuration", "config", c, "vault", c.Vault)
	for _, canary := range []string{kek, password, fmt.Sprintf("%x", kek), fmt.Sprint([]byte(kek)[:6])[1:18]} {
		if strings.Contains(out.String(), canary) {
			t.Errorf("%q is shown in %s", canary, out.String())
		}
	}
	if got := c.Origin("openfiskal.proxy").Value; got != "http://[redacted]@proxy:3128" {
		t.Errorf("the proxy is shown as %q", got)
	}
}

// TestFaultsHideSecrets gives secrets in every wrong way at once.
func TestFaultsHideSecrets(t *testing.T) {
	const canary = "CANARY"
	o := quiet()
	o.File = writeTemp(t, "vault:\n  kek: [CANARY]\n  kekk: CANARY\nopenfiskal:\n  proxy: \"ftp://u:CANARY@h\"\n  base_url: \"https://u:CANARY@h\"\n")
	o.Env = []string{"EDGEGW_VAULT_KEK= CANARY", "EDGEGW_VAULT_KEY=CANARY", "EDGEGW_OPENFISKAL_PROXY=http://u:CANARY@a b", "EDGEGW_OPENFISKAL_BASE_URL=https://u:CANARY@%zz"}
	o.Flags = map[string]string{"vault.kek": canary, "vault.kekk": canary, "vault.previous_kek": canary}
	_, err := Load(o)
	var faults Faults
	if !errors.As(err, &faults) || len(faults) != 11 {
		t.Fatalf("got %d faults, want 11:\n%v", len(faults), err)
	}
	if strings.Contains(err.Error(), canary) {
		t.Errorf("a secret is shown:\n%v", err)
	}
}

func TestReadableFileWithKEKIsRefused(t *testing.T) {
	o := quiet()
	o.File = writeTemp(t, "vault:\n  kek: ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8=\n")
	if _, err := Load(o); err != nil {
		t.Errorf("mode 0600: %v", err)
	}
	if err := os.Chmod(o.File, 0o640); err != nil {
		t.Fatal(err)
	}
	_, err := Load(o)
	want := o.File + ":2: vault.kek: others may read this file: run chmod 600 " + o.File + ", or give the KEK in EDGEGW_VAULT_KEK"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestDescribeNamesEveryKeyOnce(t *testing.T) {
	seen, env := map[string]bool{}, map[string]bool{}
	for _, d := range Describe() {
		if seen[d.Key] || env[d.Env] {
			t.Errorf("%s or %s is there twice", d.Key, d.Env)
		}
		seen[d.Key], env[d.Env] = true, true
		if d.Doc == "" || d.Type == "" {
			t.Errorf("%s lacks a description", d.Key)
		}
	}
	for _, want := range []string{"site.name", "data_dir", "mqtt.tls_listen", "mqtt.plain_listen", "mqtt.cert_file", "mqtt.key_file",
		"mqtt.max_connections", "mqtt.max_packet_bytes", "mqtt.messages_per_second", "openfiskal.base_url", "openfiskal.ca_file",
		"openfiskal.proxy", "openfiskal.timeout", "openfiskal.concurrency", "openfiskal.requests_per_second",
		"openfiskal.idempotency_window", "openfiskal.on_rejected", "http.listen", "vault.kek", "vault.kek_file",
		"store.min_free_bytes", "store.retain_confirmed", "allow_volatile_data", "log.level", "log.format"} {
		if !seen[want] {
			t.Errorf("%s of the contract is missing", want)
		}
	}
	if !env["EDGEGW_OPENFISKAL_BASE_URL"] || env[EnvFile] {
		t.Errorf("environment names are wrong: %v", env)
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{"10s": 10 * time.Second, "90d": 90 * day, "1d12h": 36 * time.Hour, "20h": 20 * time.Hour, "1.5h": 90 * time.Minute, "250ms": 250 * time.Millisecond} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%s: got %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "10", "1.5", "d", "-1d", "1.5d", "1d-12h", "1d+1h", "999999999999d", "106751d999999h", "10 s", "ten", "NaN", "Inf", "1e3"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

// FuzzLoad: whatever stands in the file, Load answers with a configuration
// that keeps its promises or with one line per fault.
func FuzzLoad(f *testing.F) {
	rows, err := readFaultTable()
	if err != nil {
		f.Fatal(err)
	}
	for _, row := range rows {
		f.Add([]byte(row.file))
	}
	for _, s := range []string{"mqtt: &a {tls_listen: *a}", "? [a]\n: b\n", "<<: {a: b}\n", "a: !!binary xx\n", "%YAML 1.1\n---\na: 1\n", "\x00", "&a [*a]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := quiet().load("edgegw.yaml", rawBytes(b), 0o600)
		var faults Faults
		switch {
		case err == nil:
			if c.OpenFiskal.Timeout <= 0 || c.MQTT.MaxConnections <= 0 || c.DataDir == "" || c.HTTP.Listen == "" || len(c.Origins()) != len(known) {
				t.Errorf("accepted, but not usable: %+v", c)
			}
		case !errors.As(err, &faults) || len(faults) == 0:
			t.Errorf("not a list of faults: %v", err)
		case strings.Count(err.Error(), "\n") != len(faults)-1:
			t.Errorf("%d faults are not as many lines: %q", len(faults), err)
		case slices.ContainsFunc(faults, func(f Fault) bool { return f.Where == "" || f.Problem == "" }):
			t.Errorf("a fault does not say where or what: %+v", faults)
		}
	})
}

// rawBytes is a koanf provider of a file that is in memory already.
type rawBytes []byte

func (b rawBytes) ReadBytes() ([]byte, error)    { return b, nil }
func (b rawBytes) Read() (map[string]any, error) { return nil, errors.ErrUnsupported }

// TestProxyOnTheCommandLine: only a login makes it a secret.
func TestProxyOnTheCommandLine(t *testing.T) {
	for _, proxy := range []string{"none", "system", "http://proxy:3128"} {
		o := quiet()
		o.Flags = map[string]string{"openfiskal.proxy": proxy}
		if c, err := Load(o); err != nil || string(c.OpenFiskal.Proxy.Reveal()) != proxy {
			t.Errorf("%s: %v", proxy, err)
		}
	}
}

// TestFormsOfTheKEK: what devicekeys can read, and nothing else, is a KEK.
func TestFormsOfTheKEK(t *testing.T) {
	for _, kek := range []string{
		"00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF",
		"ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8=", "ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8",
		"ABEiM0RVZneImaq7zN3u_wARIjNEVWZ3iJmqu8zd7v8=",
	} {
		o := quiet()
		o.Env = []string{"EDGEGW_VAULT_KEK=" + kek}
		if c, err := Load(o); err != nil || string(c.Vault.KEK.Reveal()) != kek {
			t.Errorf("%s: %v", kek, err)
		}
	}
}

// TestHTTPListenMayBeOff by every source; the default is on.
func TestHTTPListenMayBeOff(t *testing.T) {
	file, env, flag := quiet(), quiet(), quiet()
	file.File = writeTemp(t, "http:\n  listen: \"\"\n")
	env.Env = []string{"EDGEGW_HTTP_LISTEN="}
	flag.Flags = map[string]string{"http.listen": ""}
	for i, o := range []Options{file, env, flag} {
		if c, err := Load(o); err != nil || c.HTTP.Listen != "" {
			t.Errorf("source %d: got %q, %v; want it off", i, c.HTTP.Listen, err)
		}
	}
	if c, err := Load(quiet()); err != nil || c.HTTP.Listen == "" {
		t.Errorf("the default is %q, %v; want it on", c.HTTP.Listen, err)
	}
}
