package main

import (
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"os"
	"runtime"
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"

	"edgegw/config"
	"edgegw/gateway"
	"edgegw/support"
)

type runCmd struct{}

// Run is the gateway: it ends well with SIGINT or SIGTERM.
func (c *runCmd) Run(a *app) error {
	conf, err := a.load()
	shown := forgetSecrets()
	// What libraries say without being asked is no line for a technician.
	log.SetFlags(0)
	log.SetOutput(slog.NewLogLogger(newLog(a.err, conf.Log).Handler(), slog.LevelDebug).Writer())
	if hardened := errors.Join(shown, harden()); err == nil {
		err = c.serve(a, conf, hardened)
	}
	return err
}

// serve is Run without what changes the process.
func (c *runCmd) serve(a *app, conf config.Config, hardened error) error {
	recent := &support.Log{}
	log := func(c config.Config) *slog.Logger { return slog.New(recent.Handler(newLog(a.err, c.Log).Handler())) }
	if hardened != nil {
		log(conf).Warn("secrets could be read in the memory of the process, or in a core dump", "cause", hardened)
	}
	if a.notAnew != nil {
		log(conf).Debug("memory that is freed is not overwritten", "cause", a.notAnew)
	}
	var unheard func() bool
	defer func() {
		if unheard != nil {
			unheard()
		}
	}()
	return gateway.Serve(a.ctx, conf, func(now config.Config, legacy gateway.Legacy) (g *gateway.Gateway, err error) {
		err = a.patiently(func() (err error) { // a command may have the data for a moment
			g, err = gateway.New(a.ctx, now, gateway.Options{Log: log(now), Recent: recent, Version: versionText(), Legacy: legacy, Rehearse: rehearse,
				Notify: notify, UpdateLock: updateLock(a.env), Abort: func(cause error) { abort(log(now), cause) }})
			return err
		})
		conf.Vault.KEK.Wipe() // what it opens has been derived from it
		if err == nil && unheard == nil {
			// The first signal asks for a clean end; a second one does not wait for it.
			unheard = context.AfterFunc(a.ctx, a.stop)
		}
		return g, err
	})
}

// updateLock is where balena's supervisor looks. Elsewhere its folder is not there.
func updateLock(env []string) string {
	for _, e := range env {
		if path, is := strings.CutPrefix(e, "BALENA_APP_LOCK_PATH="); is && path != "" {
			return path
		}
	}
	return "/tmp/balena/updates.lock"
}

// notify tells systemd, where it has asked to be told. Nobody listens, or nobody can
// be told: neither is a reason to do anything.
func notify(state string) { _, _ = daemon.SdNotify(false, state) }

// abort ends the process with what every goroutine was at, for whoever has to find
// out why it hung. Stacks show places and no contents.
func abort(log *slog.Logger, cause error) {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	log.Error("the process is ended", "cause", cause, "stacks", string(stacks))
	os.Exit(exitFailed)
}

func newLog(w io.Writer, c config.Log) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.Level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
