package doctor

import (
	"time"

	"edgegw/wording"
)

// Facts are what was found. A nil part could not be looked at; Closed says why,
// where that is because the data could not be opened.
type Facts struct {
	Now     time.Time
	Running bool
	Closed  string // why the data could not be opened; "" if it is open

	Version, Asker string // of the gateway, and of the command that asks
	Replaced       bool   // the running program is no longer the one on disk

	Data         Data
	Database     *Database
	Clock        *Clock
	Uplink       Uplink
	Registers    []Register // on which devices sell
	KEK          *KEK
	Sealed       []string // registers whose key stays shut
	Queues       []Queue
	Quarantined  int64
	Messages     int64
	Listeners    Listeners
	Certificates *Certificates
	Box          Box
	Config       Config
	Conditions   []Condition // that need somebody
}

// Data is the data directory and what lies in it.
type Data struct {
	Dir        string
	Volatile   string // kind of a file system that forgets
	Missing    bool   // there is no such folder
	WriteError string
	Sync       time.Duration // of one small write, the median
	Space      *Space
	MinFree    int64
	DaysLeft   *int64 // of sales without an uplink; nil: nobody can tell
	Loose      []Loose
}

// Space is what a file system has.
type Space struct{ Free, Total, FreeInodes, Inodes int64 }

// Loose is a file that others may use.
type Loose struct {
	Path string
	Mode string // that it has
	Want string
}

// Database is the state of edgegw.db.
type Database struct {
	Path     string
	Damage   string // what quick_check said first; "" for nothing
	CutShort bool   // it took too long
	Log      int64  // bytes of the write-ahead log
	Wrong    string // what does not balance
}

// Clock is what the gateway thinks of the time.
type Clock struct {
	Wall         time.Time
	Problem      string // what is wrong with it
	Code         string // of the condition that says so
	Synchronised bool
	Source       string
}

// Uplink is the way to OpenFiskal, as far as it was gone.
type Uplink struct {
	Host, Address string // of OpenFiskal
	Proxy         string // host:port, "" without one
	ProxyError    string
	ProxyUntried  bool   // it answers, and its tunnel is of a kind that is not tried
	NameHost      string // that was looked up; "" where an address is given
	NameKey       string // of the configuration
	NameError     string
	Addresses     []string
	RouteError    string
	ConnectError  string
	Plain         bool // no TLS: to this machine itself
	TLS           TLSResult
	TLSError      string
	Issuer        string
	CertEnd       time.Time
}

// TLSResult is how a handshake ended.
type TLSResult uint8

// The results.
const (
	TLSNotTried TLSResult = iota
	TLSGood
	TLSStranger // an authority that is not trusted
	TLSEnded    // a certificate that has ended, or has not begun
	TLSOtherName
	TLSOther
)

// Register is the key of one register.
type Register struct {
	Name     string           // for edgegw key set
	Key      string           // active, unverified, pending, refused or missing
	HostLine wording.Sentence // why the key does not go to this host
}

// KEK is the key-encryption key.
type KEK struct {
	Problem  string
	LooseAt  string // its file, where others may read it
	SelfMade string // its path, where it lies beside the data
}

// Queue is a queue that is not idle.
type Queue struct {
	Register string
	Blocked  bool
	ByKey    bool // blocked because of the key, or because nobody decided: said elsewhere
	Since    time.Time
	Why      string
}

// Listeners are what others can reach, and what became of the canary.
type Listeners struct {
	Address      string // of MQTT; "" where none is bound
	ConnectError string
	PublishError string
	Took         time.Duration
	Plain        string // without TLS, and not on loopback
	HTTP         string // the same of http.listen
}

// Certificates are those of the site.
type Certificates struct {
	Dir      string
	CA       time.Time // ends
	Trouble  string    // why the server certificate could not be renewed
	Operator bool
	Server   time.Time
	Clients  []Client
}

// Client is the client certificate of a device that ends first.
type Client struct {
	Device string
	End    time.Time
}

// Box is the machine. Nil parts cannot be told on this system.
type Box struct {
	Memory     *Use
	Files      *Use
	MostConns  int
	Container  string // its kind, "" outside
	Mounted    bool   // the data directory is a mount of its own
	Root       bool
	ReadOnly   bool // the root file system
	KnowsMount bool
}

// Use is how much of a limit is used.
type Use struct{ Used, Limit int64 }

// Condition is one of edgegw status.
type Condition struct{ Code, Title string }

func (c Condition) String() string { return c.Title }

// Config is where the configuration came from.
type Config struct {
	File     string
	Loose    bool // others may read it, and it holds a password
	Settings int  // that are not defaults
}
