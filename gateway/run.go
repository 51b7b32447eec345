package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"edgegw/admin"
)

// Run serves until ctx ends, and gives nil then; or until a part dies, and
// gives its cause. It closes the gateway.
func (g *Gateway) Run(ctx context.Context) error {
	err := errors.New("run the gateway: it has run before")
	g.run.Do(func() {
		err = g.serve(ctx)
		g.cause = err
	})
	return errors.Join(err, g.Close())
}

// stage is a part that lives, in the order in which parts begin. They end in
// the reverse order: MQTT first, so that nothing new is promised; then the
// relay, which lets the attempt under way finish; the commands' socket last,
// so that a technician can watch.
type stage struct {
	name string
	run  func(context.Context) error
	end  context.CancelFunc
	done chan struct{}
}

func (g *Gateway) serve(ctx context.Context) error {
	stages := []*stage{
		{name: "socket", run: g.serveSocket},
		{name: "http", run: g.serveHTTP},
		{name: "https", run: g.serveHTTPS},
		{name: "upkeep", run: g.upkeep},
		{name: "books", run: g.watchBooks},
		{name: "keys", run: g.checkKeys},
		{name: "kek", run: g.awaitKEK},
		{name: "accept", run: g.accepting.run},
		{name: "room", run: g.room.run},
		{name: "retain", run: g.retain},
		{name: "check", run: g.checkAfter},
		{name: "cards", run: g.noteCards},
		{name: "settings", run: g.awaitConfirmation},
		{name: "history", run: g.keepHistory},
		{name: "link", run: g.watchLink},
		{name: "relay", run: g.relay.Run},
		{name: "broker", run: g.broker.Run},
		{name: "pulse", run: g.pulse.run},
		{name: "watchdog", run: g.newWatchdog().run},
	}
	died := make(chan error, len(stages))
	base := context.WithoutCancel(ctx)
	for _, s := range stages {
		var own context.Context
		own, s.end = context.WithCancel(base)
		s.done = make(chan struct{})
		go func() {
			defer close(s.done)
			err := s.run(own)
			if err == nil && own.Err() == nil {
				err = errors.New("ended without being asked to")
			}
			if err != nil {
				died <- fmt.Errorf("%s: %w", s.name, err)
			}
		}()
	}
	g.sayUnclaimed()
	g.log.Info("the gateway runs", "site", g.config.Site.Name, "mqtt", g.MQTTURL(), "openfiskal", g.config.OpenFiskal.BaseURL, "version", g.options.Version)
	g.options.Notify(daemon.SdNotifyReady)
	var cause error
	select {
	case <-ctx.Done():
		g.options.Notify(daemon.SdNotifyStopping)
	case cause = <-died:
	case <-g.db.Failed():
		cause = g.db.Cause()
	case <-g.leaving:
		g.log.Info("the gateway begins anew with other settings")
	}
	g.log.Info("the gateway ends", "cause", cause)
	close(g.ending)
	defer g.mustEnd(cause)()
	for i := len(stages) - 1; i >= 0; i-- {
		stages[i].end()
		<-stages[i].done
	}
	g.requests.all.Wait() // a key that OpenFiskal is making is given once
	g.rehearsing.Lock()   // the site of a test sale is taken away, and no other is made
	defer g.rehearsing.Unlock()
	for len(died) > 0 {
		cause = errors.Join(cause, <-died)
	}
	return cause
}

// mustEnd has the process ended should the parts not end: what hangs may hang there
// as well. The attempt under way may take its time.
func (g *Gateway) mustEnd(cause error) (ended func() bool) {
	return time.AfterFunc(endLimit+g.config.OpenFiskal.Timeout, func() {
		err := errors.Join(cause, errors.New("a part of the gateway hangs and does not end"))
		if noted := g.endRun(err); noted != nil {
			g.log.Warn("how the run ended cannot be noted", "cause", noted)
		}
		if g.options.Abort != nil {
			g.options.Abort(err)
		}
	}).Stop
}

// upkeep tells devices how the site is, and renews what ages.
func (g *Gateway) upkeep(ctx context.Context) error {
	day, look := time.NewTimer(renewEvery), time.NewTicker(clockLook)
	defer day.Stop()
	defer look.Stop()
	for {
		g.broker.SetSite(g.siteStatus())
		select {
		case <-ctx.Done():
			return nil
		case <-look.C: // a jump is seen by comparing often
			g.peopleNow(ctx)
			if q, told := g.clock.Quality(), g.told.Load(); told != nil && *told != q {
				g.log.Info("the quality of the clock has changed", "quality", string(q))
				g.broker.TellTime()
			}
			if g.tidy.look() {
				g.log.Debug("memory was tidied")
			}
		case <-g.site.changed:
		case <-day.C:
			day.Reset(g.renew())
		}
	}
}

// watchLink tries the uplink at once when the box's network comes up. Without the
// kernel's help the probe's own back-off finds out, within a minute.
func (g *Gateway) watchLink(ctx context.Context) error {
	if err := watchLink(ctx, g.linkUp); err != nil {
		g.log.Info("the box's network is not watched; the uplink is tried from time to time", "cause", err)
		<-ctx.Done()
	}
	return nil
}

// linkUp tries the uplink at once. Kept-alive connections may lead over a link or
// from an address that is gone, so a new one is made.
func (g *Gateway) linkUp() {
	g.fiscal.CloseIdle()
	g.relay.LinkUp()
}

// clockLook is how often the box's clock is compared with the time that has
// passed.
const clockLook = 5 * time.Second

// How often the server certificate is looked at, and where it could not be
// renewed.
const (
	renewEvery = 24 * time.Hour
	renewAgain = time.Hour
)

// renew says when to look again.
func (g *Gateway) renew() time.Duration {
	renewed, err := g.authority.Renew()
	if err != nil {
		g.log.Error("the server certificate cannot be renewed", "cause", err)
		return renewAgain
	}
	if renewed {
		g.log.Info("the server certificate was renewed")
	}
	return renewEvery
}

// mostSocketPath is the system's limit of a socket's path.
const mostSocketPath = 103

// listenSocket binds the commands' socket with mode 0600. The lock on the data
// directory is held, so a file that is there was left by a process that died.
// The socket is made in a directory that nobody else may enter and moved to
// its place with its mode, so that there is no moment at which others may
// connect.
func (g *Gateway) listenSocket() (net.Listener, error) {
	path := filepath.Join(g.config.DataDir, admin.SocketName)
	if len(path) > mostSocketPath {
		return nil, fmt.Errorf("make the commands' socket: its path %s is longer than %d bytes: choose a shorter data_dir", path, mostSocketPath)
	}
	nest := filepath.Join(g.config.DataDir, ".s")
	if err := errors.Join(os.RemoveAll(nest), os.Mkdir(nest, 0o700)); err != nil {
		return nil, fmt.Errorf("make the commands' socket: %w", err)
	}
	defer os.Remove(nest)
	young := filepath.Join(nest, "s")
	l, err := net.Listen("unix", young)
	if err != nil {
		return nil, fmt.Errorf("make the commands' socket: %w", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // its name changes
	if err := errors.Join(os.Chmod(young, 0o600), os.Rename(young, path)); err != nil {
		l.Close()
		return nil, fmt.Errorf("make the commands' socket: %w", err)
	}
	g.undo(func() error {
		os.Remove(path)
		return closed(l.Close())
	})
	return l, nil
}

// closed forgets that somebody else has closed it before.
func closed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
