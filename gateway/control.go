package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"edgegw/admin"
	"edgegw/clock"
	"edgegw/config"
	"edgegw/devicekeys"
	"edgegw/fiscal"
	"edgegw/people"
	"edgegw/relay"
	"edgegw/sale"
	"edgegw/siteca"
	"edgegw/store"
	"edgegw/tokens"
	"edgegw/wording"
)

// ErrRunning is given where another gateway, or a command, has the data
// directory.
var ErrRunning = errors.New("another edgegw is using it: stop that one, or give this one another data_dir")

// control is what people can do to a site, whether its gateway runs or not. It
// is an admin.Backend.
type control struct {
	config    config.Config
	options   Options
	log       *slog.Logger
	since     time.Time
	db        *store.DB
	clock     *clock.Clock
	told      atomic.Pointer[clock.Quality] // that devices have heard of
	ring      *devicekeys.Ring
	kek       atomic.Pointer[kekState]
	tokens    *tokens.Set
	people    *people.Book
	peopleAt  leap                      // of the clock by which they end
	unclaimed atomic.Pointer[time.Time] // when the site was taken from its owners; nil: not since the start
	authority *siteca.Authority
	files     *siteca.Files // the operator's certificate, nil without one
	fiscal    *fiscal.Client
	relay     *relay.Relay // nil without a gateway
	running   *Gateway     // nil without one
	tlsAddr   net.Addr
	plainAddr net.Addr
	meters    *meters
	tidy      *tidy
	books     books
	requests  requesting
	doctors   singleflight.Group
	backingUp sync.Mutex             // one at a time: each takes the room of the data
	bundles   sync.Mutex             // the key that opens them is made once
	damage    atomic.Pointer[string] // of the journal, once it was found
	lostKeys  atomic.Bool            // a request for a key was lost, and is not over
	deciding  sync.Mutex             // one decision about a message at a time
	exporting sync.Mutex             // one export at a time
	settings  settingsState
	history   *history
	before    lastRun // how the run before ended; of a gateway
	times     int     // runs in a row that did not end cleanly, before this one

	identifying identifying
	rehearsing  sync.Mutex // one test sale at a time
	trials      string     // the folder in which the site of one lies

	closing sync.Once
	undos   []func() error
	closed  error
}

var _ admin.Backend = (*control)(nil)

// OpenOffline opens the data for a command where no gateway runs. ErrRunning
// if one does.
func OpenOffline(ctx context.Context, c config.Config, o Options) (admin.Backend, error) {
	k, err := open(ctx, c, o, false)
	if err != nil {
		return nil, err
	}
	return k, nil
}

// undo notes how to take back what was just opened.
func (k *control) undo(f func() error) { k.undos = append(k.undos, f) }

// Close lets go of everything, in the reverse order of opening. Safe twice.
func (k *control) Close() error {
	k.closing.Do(func() {
		var errs []error
		for i := len(k.undos) - 1; i >= 0; i-- {
			errs = append(errs, k.undos[i]())
		}
		k.closed = errors.Join(errs...)
	})
	return k.closed
}

// CAFile is the site CA's certificate, which devices trust.
func (k *control) CAFile() string { return k.authority.CAFile() }

// MQTTURL is the address devices of this machine can use; "" without a gateway
// and without a port in the configuration.
func (k *control) MQTTURL() string {
	if urls := k.mqttURLs(); len(urls) > 0 {
		return urls[0]
	}
	return ""
}

func (k *control) mqttURLs() (urls []string) {
	for _, u := range []string{urlOf("mqtts", k.tlsAddr, k.config.MQTT.TLSListen), urlOf("mqtt", k.plainAddr, k.config.MQTT.PlainListen)} {
		if u != "" {
			urls = append(urls, u)
		}
	}
	return urls
}

// urlOf is a listener as this machine can reach it; "" where it is off.
func urlOf(scheme string, bound net.Addr, configured string) string {
	addr := configured
	if bound != nil {
		addr = bound.String()
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

func unknown(id sale.DeviceID) error {
	return admin.Refuse("not_found", wording.Of("there is no device %q", string(id)), wording.Of("See all of them: edgegw device list"))
}

// refusal marks an error that the person caused.
func refusal(err error) error {
	var remedy wording.Sentence
	if errors.Is(err, devicekeys.ErrNoKEK) {
		remedy = wording.Of("See where it is looked for, and put it there: edgegw doctor")
	}
	return admin.Refuse("invalid", wording.From(err), remedy)
}
