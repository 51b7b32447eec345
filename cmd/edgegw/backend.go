package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"edgegw/admin"
	"edgegw/config"
	"edgegw/gateway"
	"edgegw/store"
)

// usualPatience is how long a command waits for one that has the data for a
// moment, or for a gateway that is just starting or ending.
const usualPatience = 10 * time.Second

// patiently repeats what fails because somebody else has the data, until it
// goes or the patience ends.
func (a *app) patiently(try func() error) error {
	ctx, cancel := context.WithTimeout(a.ctx, cmp.Or(a.patience, usualPatience))
	defer cancel()
	for {
		err := try()
		if !errors.Is(err, gateway.ErrRunning) {
			return err
		}
		if a.waits != nil {
			a.waits()
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// backend reaches the running gateway, or opens its data where none runs.
// create says that a site may be made: a command that only looks must not leave
// a database behind because it was called in the wrong folder.
func (a *app) backend(create bool) (b admin.Backend, err error) {
	c, err := a.load()
	if err != nil {
		return nil, err
	}
	err = a.patiently(func() error {
		b, err = a.reach(c, create)
		return err
	})
	if errors.Is(err, gateway.ErrRunning) {
		return nil, fmt.Errorf("%w (it has the data in %s, and does not answer on %s)", err, c.DataDir, admin.SocketName)
	}
	return b, err
}

func (a *app) reach(c config.Config, create bool) (admin.Backend, error) {
	client, err := admin.Dial(filepath.Join(c.DataDir, admin.SocketName))
	if err == nil {
		return client, nil // not b, err: a nil *Client in an interface is not nil
	}
	if !errors.Is(err, admin.ErrNotRunning) {
		return nil, err
	}
	// The folder alone says nothing: an empty one is not a site.
	if _, err := os.Stat(filepath.Join(c.DataDir, store.FileName)); errors.Is(err, fs.ErrNotExist) && !create {
		return nil, fmt.Errorf("there is no data in %s, and no gateway runs there; give the folder with --data-dir, or start one: edgegw run", c.DataDir)
	}
	log := slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	// The context of the opening also bounds the work: only the person's own Ctrl-C ends it.
	b, err := gateway.OpenOffline(a.ctx, c, gateway.Options{Log: log, Version: versionText(), Rehearse: rehearse})
	if err != nil {
		return nil, err
	}
	return b, nil
}

// with runs f on the backend and closes it.
func (a *app) with(create bool, f func(admin.Backend) error) error {
	b, err := a.backend(create)
	if err != nil {
		return err
	}
	err = f(b)
	if closed := b.Close(); err == nil && closed != nil {
		err = fmt.Errorf("close the data: %w", closed)
	}
	return err
}
