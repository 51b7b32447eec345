package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"edgegw/admin"
	"edgegw/config"
	"edgegw/provision"
)

type importCmd struct {
	File        string `arg:"" optional:"" help:"CSV, or a bundle that was encrypted with age for this box; - is standard input."`
	Recipient   bool   `help:"Print what bundles for this box are encrypted to (age1…), and nothing else."`
	New         bool   `help:"With --recipient: make another one, which opens no earlier bundle, because the one before is lost, or somebody else may have it."`
	Credentials string `placeholder:"FILE" help:"Append the credentials of new devices to this file (JSON lines, mode 0600) instead of printing them."`
	JSON        bool   `help:"Print JSON: an array of rows."`
}

// Run imports, or prints the recipient.
func (c *importCmd) Run(a *app) error {
	if c.Recipient == (c.File != "") || c.New && !c.Recipient {
		return usage("give a file to import, or --recipient")
	}
	if c.Recipient {
		return a.with(true, func(b admin.Backend) error {
			to, err := b.Recipient(a.ctx, c.New, admin.LocalUser())
			if err == nil {
				fmt.Fprintln(a.out, to)
			}
			return err
		})
	}
	file, err := c.read(a)
	if err != nil {
		return err
	}
	keep, err := c.open()
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGPIPE) // a reader that left must not end us between the adding and the showing
	rows, failed := []admin.ImportRow{}, 0
	far := a.progress("import", "row", rowsIn(file))
	err = a.with(true, func(b admin.Backend) error {
		return b.Import(a.ctx, file, admin.LocalUser(), func(r admin.ImportRow) {
			if r.CAFile != "" {
				r.CAFile = absolute(r.CAFile)
			}
			if r.Result == admin.RowFailed {
				failed++
			}
			r = keep.take(r)
			rows = append(rows, r)
			if !c.JSON {
				far.aside(func() { c.show(a, r) })
			}
			far.done(int64(len(rows)))
		})
	})
	far.end()
	err = errors.Join(err, keep.close())
	if c.JSON && (err == nil || len(rows) > 0) {
		err = errors.Join(err, a.printJSON(rows))
	}
	if err != nil {
		return err
	}
	return c.sum(a, rows, failed)
}

// longestImport is what is read of a file; the gateway says what is too long.
const longestImport = 2 << 20

func (c *importCmd) read(a *app) ([]byte, error) {
	in := a.in
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return nil, fmt.Errorf("read the file: %w", unreadable(c.File, err))
		}
		defer func() { _ = f.Close() }() // it was only read
		in = f
	}
	file, err := io.ReadAll(io.LimitReader(in, longestImport))
	if err != nil {
		return nil, fmt.Errorf("read the file: %w", err)
	}
	return file, nil
}

// rowsIn counts them, as far as the file can be read here: a bundle opens on the
// box only.
func rowsIn(file []byte) int64 {
	if provision.IsBundle(file) {
		return 0
	}
	rows, err := provision.Parse(file)
	for _, r := range rows {
		r.Key.Wipe()
	}
	if err != nil {
		return 0 // the gateway says what is wrong
	}
	return int64(len(rows))
}

// show prints a row as soon as it is done: a device's password is shown once.
func (c *importCmd) show(a *app, r admin.ImportRow) {
	line := fmt.Sprintf("line %-4s %-20s %-20s %-12s %s", strconv.Itoa(r.Line), dash(string(r.DeviceID)), dash(string(r.RegisterID)), r.Result, r.Key)
	if r.Line == 0 {
		line = "stopped"
	}
	if r.Password != "" {
		line += "  password " + r.Password
	}
	if r.Detail != "" {
		line += "  " + clean(r.Detail)
	}
	fmt.Fprintln(a.out, line)
}

// sum says how it went; 1 where a row failed.
func (c *importCmd) sum(a *app, rows []admin.ImportRow, failed int) error {
	n := map[string]int{}
	for _, r := range rows {
		n[r.Result]++
	}
	if !c.JSON {
		fmt.Fprintf(a.out, "\n%d rows: %d added, %d with a new key, %d updated, %d unchanged, %d failed.\n", len(rows), n[admin.RowAdded], n[admin.RowKeyChanged], n[admin.RowUpdated], n[admin.RowUnchanged], n[admin.RowFailed])
		if c.Credentials != "" && n[admin.RowAdded] > 0 {
			fmt.Fprintf(a.out, "The passwords are in %s and nowhere else.\n", absolute(c.Credentials))
		}
		if failed > 0 {
			fmt.Fprintln(a.out, "Correct the rows that failed and import the file again: what is done already stays as it is.")
		}
	}
	if failed > 0 {
		return errSaid
	}
	return nil
}

// credentialsFile keeps what is shown once. The zero value keeps nothing.
type credentialsFile struct {
	f   *os.File
	err error
}

func (c *importCmd) open() (*credentialsFile, error) {
	if c.Credentials == "" {
		return &credentialsFile{}, nil
	}
	f, err := os.OpenFile(c.Credentials, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the file for credentials: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = fmt.Errorf("others may read %s: run chmod 600 %s", c.Credentials, c.Credentials)
	}
	if err == nil {
		err = config.SyncDir(filepath.Dir(c.Credentials)) // before anything stands in it that is shown once
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the file for credentials: %w", err), f.Close())
	}
	return &credentialsFile{f: f}, nil
}

// take puts the credentials of a row on disk, and out of what is printed. Where
// that fails they are printed after all: there is no second showing.
func (k *credentialsFile) take(r admin.ImportRow) admin.ImportRow {
	if k.f == nil || r.Password == "" {
		return r
	}
	line, err := json.Marshal(map[string]string{"device_id": string(r.DeviceID), "username": r.Username, "password": r.Password, "mqtt_url": r.MQTTURL, "ca_file": r.CAFile})
	if err == nil {
		_, err = k.f.Write(append(line, '\n'))
	}
	if err == nil {
		err = k.f.Sync()
	}
	if err != nil {
		k.err = errors.Join(k.err, fmt.Errorf("keep the credentials of %s: %w", r.DeviceID, err))
		return r
	}
	r.Password = ""
	return r
}

func (k *credentialsFile) close() error {
	if k.f == nil {
		return nil
	}
	return errors.Join(k.err, k.f.Close())
}
