package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"

	"edgegw/secret"
)

// Options says where a configuration comes from.
type Options struct {
	File  string            // --config FILE: it must exist; "" searches as CONTRACT.md ruling 4 says
	Env   []string          // os.Environ()
	Flags map[string]string // path of a key to its value, from the command line

	Search   []string // files tried in turn where nobody named one; nil is SearchPath
	Hostname string   // default of site.name; "" asks the system
	Terminal bool     // log.format is text by default
}

// SearchPath is where the file is looked for when neither --config nor
// EDGEGW_CONFIG names one (CONTRACT.md ruling 4).
var SearchPath = []string{"./edgegw.yaml", "/etc/edgegw/edgegw.yaml"}

// Load reads and checks everything. An error is a Faults with one line for each
// thing that is wrong. Settings that cannot be used are no error: see Settings.
func Load(o Options) (Config, error) {
	c, err := o.read()
	if err != nil {
		return Config{}, err
	}
	return c.withSettings(), nil
}

func (o Options) read() (Config, error) {
	path, err := o.find()
	if err != nil {
		return Config{}, err
	}
	if path == "" {
		return o.load("", nil, 0)
	}
	info, err := os.Stat(path)
	if err != nil {
		return Config{}, unreadable(path, err)
	}
	if !info.Mode().IsRegular() {
		return Config{}, Faults{{Where: path, Problem: "is not a regular file"}}
	}
	if info.Size() > maxFile {
		return Config{}, Faults{{Where: path, Problem: fmt.Sprintf("is longer than %d bytes", maxFile)}}
	}
	return o.load(path, file.Provider(path), info.Mode().Perm())
}

func unreadable(path string, err error) Faults {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		err = pe.Err // the line begins with the path already
	}
	return Faults{{Where: path, Problem: "cannot be read: " + err.Error()}}
}

// find names the file to read, "" for none. A file that somebody named is read
// or is an error; one that is merely there is read too, so only its absence is
// passed over.
func (o Options) find() (string, error) {
	if o.File != "" {
		return o.File, nil
	}
	for _, e := range o.Env {
		if v, found := strings.CutPrefix(e, EnvFile+"="); found && v != "" {
			return v, nil
		}
	}
	search := o.Search
	if search == nil {
		search = SearchPath
	}
	for _, path := range search {
		_, err := os.Stat(path)
		switch {
		case err == nil:
			return path, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", unreadable(path, err)
		}
	}
	return "", nil
}

// given is one value before it is understood.
type given struct {
	key    key
	text   string
	source Source
	where  string
	line   int
}

var rank = map[Source]int{FromDefault: 4, FromFile: 0, FromSettings: 1, FromEnvironment: 2, FromFlag: 3}

func (g given) fault(problem string) Fault {
	return Fault{Where: g.where, Key: g.key.path, Problem: problem, rank: rank[g.source], line: g.line}
}

// loading is one run of Load.
type loading struct {
	merged *koanf.Koanf
	latest map[string]given // by path: the value that counts
	faults Faults
}

func (o Options) load(path string, provider koanf.Provider, mode fs.FileMode) (Config, error) {
	l := &loading{merged: koanf.New("."), latest: map[string]given{}}
	l.layer(o.defaults())
	if provider != nil {
		parser := newStrictYAML(path)
		read := koanf.New(".")
		if err := read.Load(provider, parser); err != nil {
			return Config{}, unreadable(path, err)
		}
		l.faults = append(l.faults, parser.faults...)
		l.layer(fromFile(path, parser, read, mode, &l.faults))
	}
	l.layer(o.environment(&l.faults))
	l.layer(o.flags(&l.faults))

	c := l.config()
	c.File = path
	l.check(&c)
	if len(l.faults) > 0 {
		return Config{}, l.faults.sorted()
	}
	return c, nil
}

func (o Options) defaults() []given {
	host := o.Hostname
	if host == "" {
		host, _ = os.Hostname() // a box without a name is called edgegw
	}
	if _, err := parseName(host); err != nil {
		host = "edgegw"
	}
	format := "json"
	if o.Terminal {
		format = "text"
	}
	found := map[string]string{"site.name": host, "log.format": format}
	all := make([]given, 0, len(known))
	for _, k := range known {
		all = append(all, given{key: k, text: cmp.Or(k.def, found[k.path]), source: FromDefault})
	}
	return all
}

func fromFile(path string, parser *strictYAML, read *koanf.Koanf, mode fs.FileMode, faults *Faults) []given {
	var all []given
	for _, k := range known {
		if !read.Exists(k.path) {
			continue
		}
		line := parser.lines[k.path]
		g := given{key: k, text: read.String(k.path), source: FromFile, where: path + ":" + strconv.Itoa(line), line: line}
		if k.isKEK() && mode&0o077 != 0 {
			*faults = append(*faults, g.fault("others may read this file: run chmod 600 "+path+", or give the KEK in "+k.env()))
		}
		all = append(all, g)
	}
	return all
}

func (o Options) environment(faults *Faults) []given {
	names := make(map[string]key, len(known))
	for _, k := range known {
		names[k.env()] = k
	}
	var all []given
	for _, e := range o.Env {
		name, text, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, EnvPrefix) || name == EnvFile {
			continue
		}
		k, ok := names[name]
		if !ok {
			*faults = append(*faults, Fault{Where: shownKey(name), rank: rank[FromEnvironment], Problem: unknownEnv(name)})
			continue
		}
		all = append(all, given{key: k, text: text, source: FromEnvironment, where: name})
	}
	return all
}

// unknownEnv compares in the form people type: sections and words are both
// divided by "_" there.
func unknownEnv(name string) string {
	best, least := known[0], 1<<30
	for _, k := range known {
		if d := min(distance(name, k.env()), wordDistance(name, k.env())); d < least {
			best, least = k, d
		}
	}
	return "unknown key; the nearest known key is " + best.env()
}

func (o Options) flags(faults *Faults) []given {
	var all []given
	for path, text := range o.Flags {
		where := "flag " + shownKey(path)
		k, ok := findKey(path)
		switch {
		case !ok:
			*faults = append(*faults, Fault{Where: where, rank: rank[FromFlag], Problem: unknown(path, func(k key) string { return k.path })})
		case k.isKEK():
			*faults = append(*faults, Fault{Where: where, rank: rank[FromFlag], Problem: "a command line is seen by everybody on the machine: use " + k.env() + " or " + k.path + "_file"})
		case k.path == "openfiskal.proxy" && hasLogin(text):
			*faults = append(*faults, Fault{Where: where, rank: rank[FromFlag], Problem: "a command line is seen by everybody on the machine, and this proxy has a login: use " + k.env() + " or the configuration file"})
		default:
			all = append(all, given{key: k, text: text, source: FromFlag, where: where})
		}
	}
	return all
}

// hasLogin reports whether a proxy's URL carries a user name or a password: a
// token may stand in either. What cannot be read has one where it has an @.
func hasLogin(text string) bool {
	u, err := url.Parse(text)
	if err != nil {
		return strings.Contains(text, "@")
	}
	return u.User != nil
}

// layer checks every value of one source, also those that a later source
// replaces: a wrong line does not become right because something hides it.
func (l *loading) layer(all []given) {
	flat := map[string]any{}
	for _, g := range all {
		if g.source != FromDefault {
			if _, err := g.key.kind.parse(g.text); err != nil {
				l.faults = append(l.faults, g.fault(err.Error()))
				continue
			}
		}
		flat[g.key.path] = g.text
		l.latest[g.key.path] = g
	}
	// confmap reads a map in memory: there is nothing in it that can fail
	if err := l.merged.Load(confmap.Provider(flat, "."), nil); err != nil {
		l.faults = append(l.faults, Fault{Where: "configuration", Problem: err.Error()})
	}
}

// config fills the struct from what koanf merged.
func (l *loading) config() Config {
	var c Config
	for _, k := range known {
		text := l.merged.String(k.path)
		g := l.latest[k.path]
		c.origins = append(c.origins, Origin{Key: k.path, Value: k.shown(text), Source: g.source, Where: g.where})
		if text == "" && g.source == FromDefault {
			continue // off, or made at start
		}
		v, err := k.kind.parse(text)
		if err != nil {
			l.faults = append(l.faults, Fault{Where: "default", Key: k.path, Problem: err.Error()})
			continue
		}
		assign(k.field(&c), v)
	}
	return c
}

func (k key) shown(text string) string {
	if !k.secret || text == "" {
		return text
	}
	if k.path == "openfiskal.proxy" {
		if u, err := url.Parse(text); err == nil && u.User == nil {
			return strings.Clone(text) // a caller may wipe the environment of secrets
		} else if err == nil {
			return u.Scheme + "://" + secret.Redacted + "@" + u.Host
		}
	}
	return secret.Redacted
}

// assign puts v where field points. Each key pairs the two once; the test over
// all keys finds a pair that does not fit.
func assign(field, v any) {
	switch p := field.(type) {
	case *string:
		*p = v.(string)
	case *[]string:
		*p = v.([]string)
	case *int:
		*p = v.(int)
	case *int64:
		*p = v.(int64)
	case *bool:
		*p = v.(bool)
	case *time.Duration:
		*p = v.(time.Duration)
	case *slog.Level:
		*p = v.(slog.Level)
	case *secret.Text:
		*p = v.(secret.Text)
	default:
		panic(fmt.Sprintf("config: no assignment to %T", field))
	}
}

// check finds what is impossible only together.
func (l *loading) check(c *Config) {
	if (c.MQTT.CertFile == "") != (c.MQTT.KeyFile == "") {
		set, missing := "mqtt.cert_file", "mqtt.key_file"
		if c.MQTT.CertFile == "" {
			set, missing = missing, set
		}
		l.crossFault(set, "needs "+missing+" as well: give both or neither")
	}
	if c.MQTT.TLSListen == "" && c.MQTT.PlainListen == "" && !l.faulty("mqtt.tls_listen", "mqtt.plain_listen") {
		l.crossFault("mqtt.tls_listen", "is empty, and so is mqtt.plain_listen: no device could connect")
	}
	if c.OpenFiskal.Topology == ServerSide && c.OpenFiskal.Organization == "" && !l.faulty("openfiskal.organization") {
		l.crossFault("openfiskal.topology", "needs openfiskal.organization: a platform key acts for one (org_…)")
	}
	listeners := []struct{ key, addr string }{
		{"mqtt.tls_listen", c.MQTT.TLSListen}, {"mqtt.plain_listen", c.MQTT.PlainListen}, {"http.listen", c.HTTP.Listen},
		{"http.tls_listen", c.HTTP.TLSListen},
	}
	for i, a := range listeners {
		for _, b := range listeners[i+1:] {
			if clash(a.addr, b.addr) {
				l.crossFault(b.key, "takes the same port as "+a.key)
			}
		}
	}
	switch per := &c.MQTT.MaxConnectionsPerAddress; {
	case *per > c.MQTT.MaxConnections:
		l.crossFault("mqtt.max_connections_per_address", "is more than mqtt.max_connections")
	case *per == 0:
		*per = (c.MQTT.MaxConnections + 1) / 2 // ruling 3
	}
}

func (l *loading) crossFault(path, problem string) {
	g := l.latest[path]
	g.where = cmp.Or(g.where, string(FromDefault))
	l.faults = append(l.faults, g.fault(problem))
}

// faulty reports whether one of the paths has a fault of its own already, so
// that a consequence of it need not be told.
func (l *loading) faulty(paths ...string) bool {
	return slices.ContainsFunc(l.faults, func(f Fault) bool { return slices.Contains(paths, f.Key) })
}

// clash reports whether two listeners want the same port of the same address.
func clash(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	wild := func(h string) bool { return h == "" || h == "0.0.0.0" || h == "::" }
	return hostA == hostB || wild(hostA) || wild(hostB)
}
