package config

import (
	"slices"
	"strings"
	"time"
)

// EnvPrefix begins the name of every environment variable of the gateway.
const EnvPrefix = "EDGEGW_"

// EnvFile names the environment variable that names the file (CONTRACT.md
// ruling 4); it is not a key.
const EnvFile = EnvPrefix + "CONFIG"

// KeyDoc describes one known key, for docs and --help.
type KeyDoc struct {
	Key     string `json:"key"`
	Env     string `json:"env"`
	Type    string `json:"type"`
	Default string `json:"default"`
	Doc     string `json:"doc"`
	Secret  bool   `json:"secret"`
	Fixed   string `json:"fixed"`  // why it is no setting; "" where it can be changed on the box
	OnBox   bool   `json:"on_box"` // as a setting: not from a browser
}

// Describe lists every known key in the order of CONTRACT.md section 6.
func Describe() []KeyDoc {
	docs := make([]KeyDoc, 0, len(known))
	for _, k := range known {
		docs = append(docs, KeyDoc{Key: k.path, Env: k.env(), Type: k.kind.name, Default: k.shownDefault(), Doc: k.doc, Secret: k.secret,
			Fixed: fixed[k.path], OnBox: slices.Contains(onTheBox, k.path)})
	}
	return docs
}

// key is one thing that can be configured. Everything the package knows about
// keys is derived from this list, so that a key cannot be known to the file and
// unknown to the environment.
type key struct {
	path   string
	kind   kind
	def    string // parsed like any other value
	defDoc string // where the default is found out at start
	doc    string
	secret bool
	field  func(*Config) any // pointer to the field the parsed value goes into
}

func (k key) env() string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(k.path, ".", "_"))
}

// isKEK reports whether the key is a key-encryption key itself: no place that
// others can read may hold it.
func (k key) isKEK() bool { return k.secret && strings.HasPrefix(k.path, "vault.") }

func (k key) shownDefault() string {
	if k.defDoc != "" {
		return k.defDoc
	}
	return k.def
}

const (
	day      = 24 * time.Hour
	mebibyte = 1 << 20
)

// known is the table of CONTRACT.md section 6 and what that table leaves open:
// mqtt.tls_hosts where the site's address is not one of the box's own (a
// container), mqtt.max_connections_per_address for the "by default" of ruling 3,
// the topology of section 4 with its organization, the KEK before a change of it,
// and http.tls_listen, without which no key could come over a network.
var known = []key{
	{path: "site.name", kind: name, defDoc: "the host name", doc: "name of the site, shown everywhere",
		field: func(c *Config) any { return &c.Site.Name }},
	{path: "data_dir", kind: requiredPath, def: "./data", doc: "database, site CA and socket; must be on persistent storage",
		field: func(c *Config) any { return &c.DataDir }},
	{path: "mqtt.tls_listen", kind: listenOrOff, def: ":8883", doc: "address of the MQTT listener with TLS; empty is off",
		field: func(c *Config) any { return &c.MQTT.TLSListen }},
	{path: "mqtt.plain_listen", kind: listenOrOff, doc: "address of the MQTT listener without TLS; empty is off",
		field: func(c *Config) any { return &c.MQTT.PlainListen }},
	{path: "mqtt.cert_file", kind: path, defDoc: "made from the site CA", doc: "PEM certificate chain of the TLS listener; reloaded when it changes",
		field: func(c *Config) any { return &c.MQTT.CertFile }},
	{path: "mqtt.key_file", kind: path, defDoc: "made from the site CA", doc: "PEM private key of mqtt.cert_file, mode 0600",
		field: func(c *Config) any { return &c.MQTT.KeyFile }},
	{path: "mqtt.tls_hosts", kind: hosts, doc: "further names and addresses, separated by commas, for the certificate made from the site CA",
		field: func(c *Config) any { return &c.MQTT.TLSHosts }},
	{path: "mqtt.max_connections", kind: integer(1, 1_000_000), def: "10000", doc: "most connections at one time",
		field: func(c *Config) any { return &c.MQTT.MaxConnections }},
	{path: "mqtt.max_connections_per_address", kind: integer(0, 1_000_000), def: "0", defDoc: "half of mqtt.max_connections", doc: "most connections from one address; 0 is half of mqtt.max_connections",
		field: func(c *Config) any { return &c.MQTT.MaxConnectionsPerAddress }},
	{path: "mqtt.max_packet_bytes", kind: size(1<<10, 16*mebibyte), def: "65536", doc: "longest MQTT packet",
		field: func(c *Config) any { return &c.MQTT.MaxPacketBytes }},
	{path: "mqtt.messages_per_second", kind: integer(1, 1_000_000), def: "50", doc: "messages per second and device; more are read more slowly, none is dropped",
		field: func(c *Config) any { return &c.MQTT.MessagesPerSecond }},
	{path: "openfiskal.base_url", kind: baseURL, def: "https://api.openfiskal.com/v1", doc: "address of the OpenFiskal API; http:// only for this machine itself",
		field: func(c *Config) any { return &c.OpenFiskal.BaseURL }},
	{path: "openfiskal.ca_file", kind: path, defDoc: "the system's list", doc: "PEM certificates of the authorities to trust for OpenFiskal",
		field: func(c *Config) any { return &c.OpenFiskal.CAFile }},
	{path: "openfiskal.proxy", kind: proxy, def: ProxySystem, doc: "system, none, or the URL of an HTTP proxy", secret: true,
		field: func(c *Config) any { return &c.OpenFiskal.Proxy }},
	{path: "openfiskal.timeout", kind: duration(100*time.Millisecond, 10*time.Minute), def: "10s", doc: "longest time for one attempt",
		field: func(c *Config) any { return &c.OpenFiskal.Timeout }},
	{path: "openfiskal.concurrency", kind: integer(1, 1024), def: "32", doc: "most requests in flight, all registers together",
		field: func(c *Config) any { return &c.OpenFiskal.Concurrency }},
	{path: "openfiskal.requests_per_second", kind: integer(1, 100_000), def: "100", doc: "most requests per second for the site",
		field: func(c *Config) any { return &c.OpenFiskal.RequestsPerSecond }},
	{path: "openfiskal.idempotency_window", kind: duration(time.Second, day), def: "20h", doc: "how long a call in doubt may be sent again where it cannot be looked up",
		field: func(c *Config) any { return &c.OpenFiskal.IdempotencyWindow }},
	{path: "openfiskal.on_rejected", kind: choice(StepOver, Block), def: StepOver, doc: "what the queue does when a sale is refused for good",
		field: func(c *Config) any { return &c.OpenFiskal.OnRejected }},
	{path: "openfiskal.topology", kind: choice(DeviceDirect, ServerSide), def: DeviceDirect, doc: "device_direct: a key of its own for each register; server_side: one platform key for all, a larger loss when the box is stolen",
		field: func(c *Config) any { return &c.OpenFiskal.Topology }},
	{path: "openfiskal.organization", kind: organization, doc: "the organization that a platform key acts for (org_…)",
		field: func(c *Config) any { return &c.OpenFiskal.Organization }},
	{path: "http.listen", kind: listenOrOff, def: "127.0.0.1:8080", doc: "address of the technicians' page, API, health and metrics; empty is off",
		field: func(c *Config) any { return &c.HTTP.Listen }},
	{path: "http.tls_listen", kind: listenOrOff, doc: "address of the technicians' page, and of the API and metrics for programs with a token, with TLS; its certificate is that of mqtt.tls_listen; empty is off",
		field: func(c *Config) any { return &c.HTTP.TLSListen }},
	{path: "vault.kek", kind: kek, defDoc: "made at first start", doc: "key-encryption key: 32 bytes in hex or base64; best given by the environment", secret: true,
		field: func(c *Config) any { return &c.Vault.KEK }},
	{path: "vault.kek_file", kind: path, defDoc: "data_dir/kek", doc: "file that holds the key-encryption key, mode 0600",
		field: func(c *Config) any { return &c.Vault.KEKFile }},
	{path: "vault.previous_kek", kind: kek, doc: "the key-encryption key before a change of it, until everything is sealed anew", secret: true,
		field: func(c *Config) any { return &c.Vault.PreviousKEK }},
	{path: "vault.previous_kek_file", kind: path, doc: "file that holds it, mode 0600",
		field: func(c *Config) any { return &c.Vault.PreviousKEKFile }},
	{path: "store.min_free_bytes", kind: size(0, 1<<50), def: "256 MiB", doc: "free space below which accept turns to limited, then to no",
		field: func(c *Config) any { return &c.Store.MinFreeBytes }},
	{path: "store.retain_confirmed", kind: duration(time.Hour, 36500*day), def: "90d", doc: "how long confirmed sales are kept; unsent ones are never removed",
		field: func(c *Config) any { return &c.Store.RetainConfirmed }},
	{path: "store.mirror_dir", kind: path, defDoc: "data_dir/mirror", doc: "directory of the second journal, from which a damaged database is made again; best on another disk",
		field: func(c *Config) any { return &c.Store.MirrorDir }},
	{path: "store.mirror_bytes", kind: size(0, 1<<40), def: "0", doc: "size of the second journal, 64 MiB for example; 0 is off",
		field: func(c *Config) any { return &c.Store.MirrorBytes }},
	{path: "allow_volatile_data", kind: boolean, def: "false", doc: "lets data_dir lie on tmpfs or overlay, with a standing condition",
		field: func(c *Config) any { return &c.AllowVolatileData }},
	{path: "log.level", kind: level, def: "info", doc: "debug, info, warn or error",
		field: func(c *Config) any { return &c.Log.Level }},
	{path: "log.format", kind: choice("text", "json"), defDoc: "text on a terminal, else json", doc: "text or json",
		field: func(c *Config) any { return &c.Log.Format }},
}

// findKey finds a known key by its path.
func findKey(path string) (key, bool) {
	for _, k := range known {
		if k.path == path {
			return k, true
		}
	}
	return key{}, false
}

// isSection reports whether known keys lie below path.
func isSection(path string) bool {
	for _, k := range known {
		if strings.HasPrefix(k.path, path+".") {
			return true
		}
	}
	return false
}
