// Package config turns edgegw.yaml, environment variables and flags into one
// plain struct, or into the full list of what is wrong with them. It promises
// that an unknown key, a value of the wrong type and an impossible value are
// errors that name the key and the place it came from, so that nothing starts
// half configured (CONTRACT.md section 6), and that no secret is ever printed.
// It is the only package that knows koanf and the only one that reads the
// environment; whether files named here exist is the business of those who
// open them.
package config

import (
	"log/slog"
	"time"

	"edgegw/secret"
)

// Config is the whole configuration after all sources were read and checked.
// The zero value is not usable: it comes from Load.
type Config struct {
	File string // the file that was read, "" where there was none

	Site       Site
	DataDir    string // database, site CA, socket; must lie on persistent storage
	MQTT       MQTT
	OpenFiskal OpenFiskal
	HTTP       HTTP
	Vault      Vault
	Store      Store
	Log        Log

	// AllowVolatileData lets DataDir lie on tmpfs or overlay.
	AllowVolatileData bool

	origins  []Origin
	settings Settings
	base     *Config // without settings; nil: this is it
}

// Site is what people call this gateway by.
type Site struct{ Name string }

// MQTT is the side of the devices.
type MQTT struct {
	TLSListen         string   // host:port, "" is off
	PlainListen       string   // host:port, "" is off
	CertFile, KeyFile string   // the operator's certificate; both or neither
	TLSHosts          []string // further names and addresses for the certificate of the site CA

	MaxConnections           int
	MaxConnectionsPerAddress int // never 0: half of MaxConnections where nothing was given (CONTRACT.md ruling 3)
	MaxPacketBytes           int64
	MessagesPerSecond        int // per device
}

// OpenFiskal is the uplink.
type OpenFiskal struct {
	BaseURL string // without a slash at its end
	CAFile  string // PEM; "" is the system's own list

	// Proxy is "system", "none" or a URL. It is a secret because such a URL may
	// hold a password.
	Proxy secret.Text

	Timeout           time.Duration // of one attempt as a whole
	Concurrency       int           // requests in flight, all registers together
	RequestsPerSecond int
	IdempotencyWindow time.Duration // CONTRACT.md ruling 18: 1 s to 24 h
	OnRejected        string        // StepOver or Block

	Topology     string // DeviceDirect or ServerSide
	Organization string // that a platform key acts for; "" is none
}

// Values of OpenFiskal.Topology (CONTRACT.md section 4).
const (
	DeviceDirect = "device_direct"
	ServerSide   = "server_side"
)

// Values of OpenFiskal.OnRejected (CONTRACT.md section 3, poison).
const (
	StepOver = "step_over"
	Block    = "block"
)

// Values of OpenFiskal.Proxy that are not URLs.
const (
	ProxySystem = "system"
	ProxyNone   = "none"
)

// HTTP is the technicians' page, the API, health and metrics.
type HTTP struct {
	Listen    string // host:port, "" is off
	TLSListen string // the same with TLS
}

// Vault says where the key-encryption key comes from (CONTRACT.md section 4).
type Vault struct {
	KEK     secret.Text
	KEKFile string

	PreviousKEK     secret.Text
	PreviousKEKFile string
}

// Store is what the disk must keep.
type Store struct {
	MinFreeBytes    int64
	RetainConfirmed time.Duration
	MirrorDir       string // of the second journal; "" is in DataDir
	MirrorBytes     int64  // of it; 0 is off
}

// Log is how the gateway tells operators what happens.
type Log struct {
	Level  slog.Level
	Format string // text or json
}

// Origin says where the value of one key came from, for the pages and commands
// that explain a running gateway. Value is fit to be shown: secrets are
// redacted in it.
type Origin struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Source Source `json:"source"`
	Where  string `json:"where"` // "edgegw.yaml:3", "data/settings.yaml", "EDGEGW_HTTP_LISTEN", "flag http.listen"; "" for a default
}

// Source is the kind of place a value came from.
type Source string

// The sources; the later ones win (CONTRACT.md section 6).
const (
	FromDefault     Source = "default"
	FromFile        Source = "file"
	FromSettings    Source = "settings" // changed on the box
	FromEnvironment Source = "environment"
	FromFlag        Source = "flag"
)

// Origins lists every key in the order of Describe.
func (c Config) Origins() []Origin { return append([]Origin(nil), c.origins...) }

// Origin finds one key; the zero Origin where there is no such key.
func (c Config) Origin(path string) Origin {
	for _, o := range c.origins {
		if o.Key == path {
			return o
		}
	}
	return Origin{}
}
