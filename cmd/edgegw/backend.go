package main

import (
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
)

// patience is how long a command waits for one that has the data for a moment,
// or for a gateway that is just starting or ending.
const patience = 10 * time.Second

// backend reaches the running gateway, or opens its data where none runs.
// create says that a data directory may be made: a command that only looks must
// not leave a database behind because it was called in the wrong folder.
func (a *app) backend(create bool) (admin.Backend, error) {
	c, err := a.load()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(a.ctx, patience)
	defer cancel()
	for {
		b, err := a.reach(c, create)
		if !errors.Is(err, gateway.ErrRunning) {
			return b, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w (it has the data in %s, and does not answer on %s)", err, c.DataDir, admin.SocketName)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (a *app) reach(c config.Config, create bool) (admin.Backend, error) {
	client, err := admin.Dial(filepath.Join(c.DataDir, admin.SocketName))
	if err == nil {
		return client, nil // not b, err: a nil *Client in an interface is not nil
	}
	if !errors.Is(err, admin.ErrNotRunning) {
		return nil, err
	}
	if _, err := os.Stat(c.DataDir); errors.Is(err, fs.ErrNotExist) && !create {
		return nil, fmt.Errorf("there is no data in %s, and no gateway runs there; give the folder with --data-dir, or start one: edgegw run", c.DataDir)
	}
	log := slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	// The context of the opening also bounds the work: only the person's own Ctrl-C ends it.
	b, err := gateway.OpenOffline(a.ctx, c, gateway.Options{Log: log, Version: versionText()})
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
