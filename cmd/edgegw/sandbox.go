package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"edgegw/fiscal/sandbox"
)

type sandboxCmd struct {
	Listen   string   `default:"127.0.0.1:8443" placeholder:"ADDR" help:"Address to serve on (default 127.0.0.1:8443)."`
	Plain    bool     `help:"Serve plain HTTP; on loopback addresses only."`
	Bare     []string `placeholder:"ID" help:"Register to make without fiscal unit and key, for edgegw key issue; may stand often."`
	Register []string `placeholder:"ID:COUNTRY" help:"Register to make: DE, AT or IT, e.g. reg_1:DE; may stand often (default reg_sandbox_1:DE)."`
	KeyDir   string   `placeholder:"DIR" help:"Write CA and register keys to files there, mode 0600, and print their paths."`
	Verbose  bool     `help:"Print one line for each request."`
}

// Run serves until a signal.
func (c *sandboxCmd) Run(a *app) (err error) {
	dir := c.KeyDir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "edgegw-sandbox-"); err != nil {
			return fmt.Errorf("make a folder for the CA: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	} else if err = os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make --key-dir: %w", err)
	}
	o := sandbox.Options{Control: true, PlatformKey: ""}
	if c.Verbose {
		o.Log = slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	service := sandbox.New(o)
	registers, err := c.registers(service)
	if err != nil {
		return err
	}
	listen := service.ListenTLS
	if c.Plain {
		listen = service.Listen
	}
	server, err := listen(c.Listen)
	if err != nil {
		return fmt.Errorf("%w; choose another address with --listen", err)
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	if err := c.tell(a, dir, server, registers, service.PlatformKey()); err != nil {
		return err
	}
	<-a.ctx.Done()
	t := service.Totals()
	fmt.Fprintf(a.out, "\nThe stand-in held %d completed, %d cancelled and %d open sales.\n", t.Completed, t.Cancelled, t.Open)
	return nil
}

func (c *sandboxCmd) registers(service *sandbox.Service) ([]sandbox.Register, error) {
	wanted := c.Register
	if len(wanted) == 0 {
		wanted = []string{"reg_sandbox_1:DE"}
	}
	var made []sandbox.Register
	for _, w := range wanted {
		id, country, _ := strings.Cut(w, ":")
		if id == "" {
			return nil, usage("--register %q: give it as ID:COUNTRY, e.g. reg_1:DE", w)
		}
		r, err := service.AddRegister(id, strings.ToUpper(country))
		if err != nil {
			return nil, usage("--register: %w", err)
		}
		made = append(made, r)
	}
	for _, id := range c.Bare {
		if err := service.AddBareRegister(id); err != nil {
			return nil, usage("--bare: %w", err)
		}
	}
	return made, nil
}

// tell prints what a gateway, or a firmware author, needs.
func (c *sandboxCmd) tell(a *app, dir string, server *sandbox.Server, registers []sandbox.Register, platformKey string) error {
	fmt.Fprintf(a.out, "The OpenFiskal stand-in serves. Nothing here is fiscal, and all is gone when it ends (Ctrl-C).\n\n")
	rows := [][]string{{"base URL", server.URL()}}
	settings := "EDGEGW_OPENFISKAL_BASE_URL=" + server.URL()
	if pem := server.CAPEM(); pem != nil {
		path := absolute(filepath.Join(dir, "openfiskal-ca.pem"))
		if err := os.WriteFile(path, pem, 0o600); err != nil {
			return fmt.Errorf("write the CA: %w", err)
		}
		rows = append(rows, []string{"CA file", path})
		settings += " EDGEGW_OPENFISKAL_CA_FILE=" + path
	}
	rows = append(rows, []string{"faults, ledger", server.Origin() + "/_sandbox/faults, " + server.Origin() + "/_sandbox/ledger"})
	for _, r := range registers {
		key := "key " + r.Key
		if c.KeyDir != "" {
			path := absolute(filepath.Join(dir, r.ID+".key"))
			if err := writeKey(path, r.Key); err != nil {
				return fmt.Errorf("write a register key: %w", err)
			}
			key = "key in " + path
		}
		rows = append(rows, []string{"register " + r.ID + " (" + r.Jurisdiction + ")", key})
	}
	key := "key " + platformKey
	if c.KeyDir != "" {
		path := absolute(filepath.Join(dir, "platform.key"))
		if err := writeKey(path, platformKey); err != nil {
			return fmt.Errorf("write the platform key: %w", err)
		}
		key = "key in " + path
	}
	rows = append(rows, []string{"platform, organization org_sandbox", key})
	table(a.out, rows...)
	fmt.Fprintf(a.out, "\nA gateway uses it with:\n  %s edgegw run\n", settings)
	return nil
}

// writeKey replaces a file of an earlier run, whose mode may be another.
func writeKey(path, key string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, []byte(key+"\n"), 0o600)
}
