package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"edgegw/admin"
)

// healthLimit bounds the question. A canary may take longer where the disk is slow, but
// one is under way already when the last has become too old.
const healthLimit = 10 * time.Second

type healthcheckCmd struct{}

// Run says whether the gateway does its job, for the health check of a container: 0
// where it does, 1 where it does not or does not run.
func (c *healthcheckCmd) Run(a *app) error {
	conf, err := a.load()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(a.ctx, healthLimit)
	defer cancel()
	client, err := admin.Dial(filepath.Join(conf.DataDir, admin.SocketName))
	if errors.Is(err, admin.ErrNotRunning) {
		return fmt.Errorf("%w; start it: edgegw run", err)
	}
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Healthy(ctx); err != nil {
		return fmt.Errorf("%w; see: edgegw status", err)
	}
	fmt.Fprintln(a.out, "ok")
	return nil
}
