package main

import (
	"context"
	"io"
	"log/slog"

	"edgegw/config"
	"edgegw/gateway"
)

type runCmd struct{}

// Run is the gateway: it ends well with SIGINT or SIGTERM.
func (c *runCmd) Run(a *app) error { return c.serve(a, harden()) }

// serve is Run without what changes the process.
func (c *runCmd) serve(a *app, hardened error) error {
	conf, err := a.load()
	if err != nil {
		return err
	}
	log := newLog(a.err, conf.Log)
	if hardened != nil {
		log.Warn("register keys could end up in a core dump", "cause", hardened)
	}
	var g *gateway.Gateway
	err = a.patiently(func() (err error) { // a command may have the data for a moment
		g, err = gateway.New(a.ctx, conf, gateway.Options{Log: log, Version: versionText()})
		return err
	})
	if err != nil {
		return err
	}
	// The first signal asks for a clean end; a second one does not wait for it.
	defer context.AfterFunc(a.ctx, a.stop)()
	return g.Run(a.ctx)
}

func newLog(w io.Writer, c config.Log) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.Level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
