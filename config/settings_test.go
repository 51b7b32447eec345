package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// settingsSite is a site with a file, variables and settings.
func settingsSite(t *testing.T, settings string) Options {
	t.Helper()
	dir := t.TempDir()
	if settings != "" {
		if err := os.WriteFile(filepath.Join(dir, SettingsFile), []byte(settings), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := quiet()
	o.File = writeTemp(t, "data_dir: "+dir+"\nmqtt:\n  messages_per_second: 7\n  max_connections: 70\nlog:\n  level: debug\n")
	o.Env = []string{"EDGEGW_LOG_LEVEL=warn"}
	o.Flags = map[string]string{"http.listen": ":80"}
	return o
}

func TestSettingsStandBetweenFileAndEnvironment(t *testing.T) {
	o := settingsSite(t, "site:\n  name: Station 7\nmqtt:\n  messages_per_second: 8\nhttp:\n  listen: \":81\"\nlog:\n  level: error\n")
	c, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]struct {
		value  string
		source Source
	}{
		"site.name":                {"Station 7", FromSettings},
		"mqtt.messages_per_second": {"8", FromSettings},
		"mqtt.max_connections":     {"70", FromFile},
		"log.level":                {"warn", FromEnvironment},
		"http.listen":              {":80", FromFlag},
		"openfiskal.timeout":       {"10s", FromDefault},
	} {
		if got := c.Origin(key); got.Value != want.value || got.Source != want.source {
			t.Errorf("%s: got %+v, want %+v", key, got, want)
		}
	}
	if c.Site.Name != "Station 7" || c.MQTT.MessagesPerSecond != 8 || c.HTTP.Listen != ":80" || c.Log.Level.String() != "WARN" || c.MQTT.MaxConnectionsPerAddress != 35 {
		t.Errorf("the struct is %+v", c)
	}
	if s := c.Settings(); len(s.Values) != 4 || s.Problem != "" || s.Trial {
		t.Errorf("the settings are %+v", s)
	}
}

// Whatever is in the file, a start goes on without it and can say why.
func TestDamagedSettingsStopNothing(t *testing.T) {
	for name, row := range map[string]struct{ text, want string }{
		"half a file":          {"site:\n  name: \"Stat", "is not YAML"},
		"zeros":                {strings.Repeat("\x00", 4096), "YAML"},
		"no UTF-8":             {"site:\n  name: \xff\xfe\n", "is not UTF-8"},
		"an unknown key":       {"site:\n  nam: x\n", "unknown key"},
		"an impossible value":  {"mqtt:\n  messages_per_second: 0\n", "is not within"},
		"a key that is fixed":  {"data_dir: /elsewhere\n", "cannot be changed here: the settings themselves lie in it"},
		"a secret":             {"openfiskal:\n  proxy: http://u:CANARY@proxy:3128\n", "this proxy has a login"},
		"wrong only together":  {"mqtt:\n  tls_listen: \"\"\n", "no device could connect"},
		"a port that is taken": {"mqtt:\n  plain_listen: \":80\"\n", "takes the same port"},
		"too long":             {strings.Repeat("#", maxFile+1), "is longer"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Load(settingsSite(t, row.text))
			if err != nil {
				t.Fatal(err)
			}
			if s := c.Settings(); !strings.Contains(s.Problem, row.want) || strings.Contains(s.Problem, "CANARY") || len(s.Values) != 0 {
				t.Errorf("got %+v, want %q", s, row.want)
			}
			if c.MQTT.MessagesPerSecond != 7 || c.Origin("mqtt.messages_per_second").Source != FromFile {
				t.Errorf("what counts is not the file's: %+v", c)
			}
		})
	}
	o := settingsSite(t, "")
	c, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(c.SettingsPath(), 0o700); err != nil {
		t.Fatal(err)
	}
	if c, err = Load(o); err != nil || !strings.Contains(c.Settings().Problem, "is not a regular file") {
		t.Errorf("a folder: %v, %+v", err, c.Settings())
	}
}

// What is written is read again as it was given, whatever the value.
func TestSettingsAreWrittenAndRead(t *testing.T) {
	for _, values := range []map[string]string{
		{},
		{"site.name": `"quoted" # no comment: 'x' <b>&`, "mqtt.tls_listen": "", "mqtt.plain_listen": "1883:1883"},
		{"site.name": "007", "mqtt.max_connections": "0070", "mqtt.max_connections_per_address": "0", "openfiskal.proxy": "none"},
		{"site.name": "ü ✓ \u2028x", "store.min_free_bytes": "1 GiB", "store.retain_confirmed": "1d12h", "log.format": "text", "openfiskal.timeout": "30s"},
		{"mqtt.tls_hosts": "a.example, 10.0.0.9", "mqtt.max_packet_bytes": "131072", "openfiskal.on_rejected": "block", "http.tls_listen": "[::1]:8443"},
	} {
		o := settingsSite(t, "")
		c, err := Load(o)
		if err != nil {
			t.Fatal(err)
		}
		if values["mqtt.plain_listen"] == "1883:1883" {
			values["mqtt.plain_listen"] = ":1883"
		}
		next, err := c.With(values)
		if err != nil {
			t.Fatal(err)
		}
		if err := next.WriteSettings(); err != nil {
			t.Fatal(err)
		}
		again, err := Load(o)
		if err != nil || again.Settings().Problem != "" {
			t.Fatalf("%v: %v, %s", values, err, again.Settings().Problem)
		}
		for key, want := range values {
			if got := again.Settings().Values[key]; got != want {
				t.Errorf("%s: got %q, want %q", key, got, want)
			}
		}
		if len(again.Settings().Values) != len(values) {
			t.Errorf("got %v, want %v", again.Settings().Values, values)
		}
		if info, err := os.Stat(c.SettingsPath()); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
	}
}

func TestWithReplacesTheSettings(t *testing.T) {
	c, err := Load(settingsSite(t, "site:\n  name: Station 7\nmqtt:\n  max_connections: 100\n"))
	if err != nil {
		t.Fatal(err)
	}
	next, err := c.With(map[string]string{"mqtt.messages_per_second": "9", "log.level": "info"})
	if err != nil {
		t.Fatal(err)
	}
	if next.Site.Name != "forecourt-3" || next.MQTT.MessagesPerSecond != 9 || next.MQTT.MaxConnections != 70 || next.MQTT.MaxConnectionsPerAddress != 35 {
		t.Errorf("got %+v", next)
	}
	if o := next.Origin("log.level"); o.Source != FromEnvironment || !next.Settings().Trial {
		t.Errorf("the environment does not win: %+v", o)
	}
	if c.Site.Name != "Station 7" || c.Origin("site.name").Source != FromSettings || c.Settings().Values["site.name"] != "Station 7" {
		t.Error("the one before has changed")
	}
	var faults Faults
	if _, err := c.With(map[string]string{"vault.kek": "CANARY", "mqtt.tls_listen": "nowhere", "nonsense": "x"}); !errors.As(err, &faults) || len(faults) != 3 || strings.Contains(err.Error(), "CANARY") {
		t.Errorf("got %v", err)
	}
}

// Every key can be changed on the box or has its reason.
func TestEveryFixedKeyIsKnown(t *testing.T) {
	for path := range fixed {
		if _, ok := findKey(path); !ok {
			t.Errorf("%s is no key", path)
		}
	}
	for _, d := range Describe() {
		if d.Secret && d.Fixed == "" && d.Key != "openfiskal.proxy" {
			t.Errorf("%s is a secret and could be changed on the box", d.Key)
		}
	}
}
