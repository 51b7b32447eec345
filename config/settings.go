package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// SettingsFile is what was changed on the box itself, in data_dir: a layer of
// its own between the configuration file and the environment.
const SettingsFile = "settings.yaml"

// Settings are the values that people have changed on a box, by key. They are
// never secrets.
type Settings struct {
	Values map[string]string // of SettingsFile, or of a trial
	// Problem is why SettingsFile does not count, a line for each fault; then Values
	// is empty. A file that cannot be used never stops the start: whoever damaged it
	// is not there to mend it.
	Problem string
	Trial   bool // made by With, and in no file yet
}

// SettingsPath is where the settings of this site are kept.
func (c Config) SettingsPath() string { return filepath.Join(c.DataDir, SettingsFile) }

// Settings are what counts of the settings.
func (c Config) Settings() Settings {
	s := c.settings
	s.Values = cloneOf(s.Values)
	return s
}

func cloneOf(m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	maps.Copy(out, m)
	return out
}

// withSettings adds what is kept in data_dir. Without it c is valid.
func (c Config) withSettings() Config {
	values, err := readSettings(c.SettingsPath())
	if err == nil && values == nil {
		return c
	}
	if err == nil {
		var full Config
		if full, err = c.With(values); err == nil {
			full.settings.Trial = false
			return full
		}
	}
	c.settings.Problem = err.Error()
	return c
}

// Kept is the configuration as the next process would find it: with what is kept
// in data_dir, and not with what is on trial.
func (c Config) Kept() Config {
	if c.base != nil {
		c = *c.base
	}
	c.settings = Settings{}
	return c.withSettings()
}

// With gives the configuration with these settings in the place of those that it
// has, or what is wrong with them. File, environment and flags are not read
// again: they stay as they were when the process began.
func (c Config) With(values map[string]string) (Config, error) {
	base := c.base
	if base == nil {
		base = &c // settings that did not count left it as it was
	}
	next := *base
	next.base, next.settings = base, Settings{Values: cloneOf(values), Trial: true}
	next.origins = slices.Clone(base.origins)
	l := &loading{latest: map[string]given{}}
	for _, o := range base.origins {
		k, _ := findKey(o.Key)
		l.latest[o.Key] = given{key: k, text: o.Value, source: o.Source, where: o.Where}
	}
	for _, path := range slices.Sorted(maps.Keys(values)) {
		l.set(&next, path, values[path])
	}
	if next.Origin(perAddress).Value == "0" {
		next.MQTT.MaxConnectionsPerAddress = 0 // half of what may have changed
	}
	l.check(&next)
	if len(l.faults) > 0 {
		return Config{}, l.faults.sorted()
	}
	return next, nil
}

const perAddress = "mqtt.max_connections_per_address"

// set puts one setting in its place, unless the environment or a flag has it.
func (l *loading) set(c *Config, path, text string) {
	k, ok := findKey(path)
	if !ok {
		l.faults = append(l.faults, Fault{Where: SettingsFile, Problem: shownKey(path) + ": " + unknown(path, func(k key) string { return k.path })})
		return
	}
	g := given{key: k, text: text, source: FromSettings, where: c.SettingsPath()}
	v, err := k.setting(text)
	if err != nil {
		l.faults = append(l.faults, g.fault(err.Error()))
		return
	}
	if now := l.latest[path]; rank[now.source] > rank[FromSettings] && now.source != FromDefault {
		return
	}
	l.latest[path] = g
	i := slices.IndexFunc(c.origins, func(o Origin) bool { return o.Key == path })
	c.origins[i] = Origin{Key: path, Value: k.shown(text), Source: FromSettings, Where: g.where}
	assign(k.field(c), v)
}

// setting judges a value that somebody gives on the box.
func (k key) setting(text string) (any, error) {
	if why := fixed[k.path]; why != "" {
		return nil, errors.New("cannot be changed here: " + why)
	}
	if k.path == "openfiskal.proxy" && hasLogin(text) {
		return nil, errors.New("this proxy has a login, and settings and their history are shown: use " + k.env() + " or the configuration file")
	}
	return k.kind.parse(text)
}

// fixed are the keys that are no settings, and why.
var fixed = map[string]string{
	"data_dir":                "the settings themselves lie in it",
	"allow_volatile_data":     "it would let the site's data lie where a restart loses them",
	"mqtt.cert_file":          "whoever puts the certificate on the box names its file in the configuration file",
	"mqtt.key_file":           "whoever puts the key on the box names its file in the configuration file",
	"openfiskal.topology":     "it changes what the keys of this site mean, and needs other keys",
	"openfiskal.organization": "it says for whom a platform key acts, and belongs to openfiskal.topology",
	"vault.kek":               "it is a secret, and opens every register key",
	"vault.kek_file":          "it opens every register key, and changing it is a task of its own",
	"vault.previous_kek":      "it is a secret, and opens every register key",
	"vault.previous_kek_file": "it opens every register key, and changing it is a task of its own",
}

// onTheBox are the settings that say where register keys are sent. Whoever takes
// over a browser must not be able to have them sent to himself.
var onTheBox = []string{"openfiskal.base_url", "openfiskal.ca_file"}

// readSettings gives nil where there is no file.
func readSettings(path string) (map[string]string, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, unreadable(path, err)
	case !info.Mode().IsRegular():
		return nil, Faults{{Where: path, Problem: "is not a regular file"}}
	case info.Size() > maxFile:
		return nil, Faults{{Where: path, Problem: fmt.Sprintf("is longer than %d bytes", maxFile)}}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	p := newStrictYAML(path)
	_, _ = p.Unmarshal(text) // it never fails: what it finds are its faults
	if len(p.faults) > 0 {
		return nil, p.faults.sorted()
	}
	return p.values, nil
}

// settingsHead begins the file, for whoever opens it.
const settingsHead = "# Changed on this box. It counts more than the configuration file, and less than the\n# environment. See it and change it: edgegw settings\n"

// render writes settings as the file has them. What was checked can be read
// back: bare text is for kinds that take no quotes.
func render(values map[string]string) []byte {
	var b strings.Builder
	b.WriteString(settingsHead)
	section := ""
	for _, k := range known {
		text, ok := values[k.path]
		if !ok {
			continue
		}
		indent := ""
		if before, _, nested := strings.Cut(k.path, "."); nested {
			indent = "  "
			if before != section {
				section = before
				b.WriteString(section + ":\n")
			}
		}
		if slices.Contains(k.kind.tags, "!!str") {
			quoted, _ := json.Marshal(text) // text that was checked always has a JSON form, which YAML takes
			text = string(quoted)
		}
		b.WriteString(indent + last(k.path) + ": " + text + "\n")
	}
	return []byte(b.String())
}

// WriteSettings keeps settings for the next start; c is what With made of them.
// After an error the file is as it was, or as it should be: nothing between.
func (c Config) WriteSettings() error {
	return writeFile(c.SettingsPath(), render(c.settings.Values))
}

// writeFile replaces a file as a whole, and is on disk when it returns.
func writeFile(path string, text []byte) (err error) {
	young := path + ".new"
	f, err := os.OpenFile(young, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write the settings: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(0o600), f.Sync(), f.Close()); err == nil {
		err = os.Rename(young, path)
	}
	if err != nil {
		return fmt.Errorf("write the settings: %w", errors.Join(err, os.Remove(young)))
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir brings the names in a folder to the disk.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	return errors.Join(d.Sync(), d.Close())
}
